"""Two network namespaces with addresses of their own, as two machines."""

import os
import shutil
import subprocess
import sys

import pytest
from helpers import CASES, assert_alike, start_launcher, survivors, train_into, words

ADDRESSES = ("10.213.7.1", "10.213.7.2")


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def machines():
    """Names of two namespaces joined by a cable; skips where they cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces are root's to make")
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` (iproute2)")
    names = [f"d2l-{os.getpid()}-{side}" for side in "ab"]
    ends = [f"d2l{side}{os.getpid()}"[:15] for side in "ab"]
    try:
        join(names, ends)
    except subprocess.CalledProcessError as error:
        remove(names)
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    yield names
    remove(names)


def join(names, ends):
    for name in names:
        ip("netns", "add", name)
    ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
    for name, end, address in zip(names, ends, ADDRESSES):
        ip("link", "set", end, "netns", name)
        ip("-n", name, "address", "add", f"{address}/24", "dev", end)
        ip("-n", name, "link", "set", end, "up")
        ip("-n", name, "link", "set", "lo", "up")
        ip("netns", "exec", name, "true")


def remove(names):
    for name in names:  # the cable goes with them
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def launch_over(machines, folder, *program):
    """A server and a worker on each machine, the scheduler on the first; what all printed."""
    # each worker says first where it is
    command = ["sh", "-c", 'ip netns identify; exec "$@"', "sh", sys.executable, *program]
    nodes = ("--nodes", 2, "--scheduler", f"{ADDRESSES[0]}:9100", "-n", 1, "-s", 1)
    processes = [
        start_launcher(
            folder, *nodes, "--node", node, "--", *command, within=("ip", "netns", "exec", name)
        )
        for node, name in enumerate(machines)
    ]

    printed = [process.communicate(timeout=300) for process in processes]
    assert survivors(folder) == []
    for rank, (process, (out, err)) in enumerate(zip(processes, printed)):
        assert process.returncode == 0, err
        assert f"[worker {rank}] {machines[rank]}" in out.splitlines()
    return "".join(out for out, _ in printed)


def test_the_run_command_across_two_machines_equals_one_process(machines, tmp_path):
    options = CASES["sparse"]
    train_into(tmp_path / "alone", **options, quiet=True)
    given = [*words(options), "--kvstore", "dist_sync", "--out", "together", "--quiet"]
    launch_over(machines, tmp_path, "-m", "d2l_autorec.run", *given)
    assert_alike(tmp_path / "together", tmp_path / "alone", atol=1e-5)

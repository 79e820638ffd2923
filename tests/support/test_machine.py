"""CPUs and memory: what a process has, and networks and data that cannot fit."""

import os

import mxnet as mx
import pytest
from helpers import PEAK, assert_user_error, python, succeeded

from d2l_autorec.data import sources
from d2l_autorec.models.autorec import AutoRec
from d2l_autorec.runs import network_size
from d2l_autorec.runs.network_size import check_network
from d2l_autorec.support import machine as limits
from d2l_autorec.support.errors import ConfigError

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 GiB left, in files; returns a function that writes more of them."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(proc__meminfo="MemTotal: 16000000 kB\nMemAvailable: 8388608 kB\n")
    monkeypatch.setattr(limits, "PROC", tmp_path / "proc")
    monkeypatch.setattr(limits, "CGROUPS", tmp_path / "cg")
    return write


def test_what_the_machine_has(machine):
    assert limits.available_memory() == 8 * GIB
    machine(proc__meminfo="nonsense")
    assert limits.available_memory() is None
    limits.check_fits(2**70, None, "x", "")


def test_the_limit_of_a_container(machine):
    """What is cached of files can be freed, and the limit of an outer group holds as well."""
    machine(
        proc__self__cgroup="0::/a/b\n",
        cg__a__b__memory_DOT_max=f"{3 * GIB}\n",
        cg__a__b__memory_DOT_current=f"{2 * GIB}\n",
        cg__a__b__memory_DOT_stat=f"anon 5\nfile {GIB // 2}\n",
    )
    assert limits.available_memory() == 3 * GIB // 2
    machine(
        cg__a__memory_DOT_max=str(GIB),
        cg__a__memory_DOT_current="0",
        cg__a__memory_DOT_stat="file 0",
    )
    assert limits.available_memory() == GIB
    machine(cg__a__memory_DOT_current=str(2 * GIB))
    assert limits.available_memory() == 0


@pytest.mark.parametrize(
    "text, threads",
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # rounded up
        ("10000 100000\n", 1),
        ("1600000 100000\n", 8),  # more than there are
        ("nonsense", 8),
    ],
)
def test_the_quota_of_a_container(machine, monkeypatch, text, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    machine(proc__self__cgroup="0::/a\n", cg__a__cpu_DOT_max=text)
    assert limits.available_threads() == threads


def test_the_affinity_of_this_process():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert limits.available_threads() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    "text, idle",
    [
        ("cpu 1 2\nprocs_running 1\nprocs_blocked 0\n", 4),
        ("procs_running 3\n", 2),
        ("procs_running 9\n", 0),
        ("cpu 1 2\n", None),
    ],
)
def test_idle_cpus(machine, monkeypatch, text, idle):
    """Of 4, this thread's own among them."""
    machine(proc__stat=text)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert limits.idle_cpus() == idle


MEASURED = f"""
{PEAK}
import resource, sys
from pathlib import Path
from d2l_autorec.runs import network_size
from d2l_autorec.run import main

def recorded(needed, *_):
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    print("measured", needed, held, file=sys.stderr)

network_size.check_fits = recorded
main(sys.argv[1:])
print("measured", peak(), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "options",
    ["--val-ratio 0.1", "--hidden 400,100,400"],
    ids=["fused, with validation", "composed"],
)
def test_the_estimate_is_what_a_run_takes(options, tmp_path):
    """Beside what was held when it was made: the program and the ratings."""
    words = f"--dataset synthetic:30000x4000x200000 {options} --epochs 1 --json".split()
    process = succeeded(python("-c", MEASURED, *words, folder=tmp_path))
    numbers = [line.split() for line in process.stderr.splitlines() if line.startswith("measured")]
    (needed, held), (peak,) = (map(int, words[1:]) for words in numbers)
    assert 0.8 < (peak - held) / needed < 1.3


def test_of_a_gpu_its_own_memory_counts(monkeypatch):
    monkeypatch.setattr(network_size, "available_memory", lambda: 10**9)
    monkeypatch.setattr(mx.context, "gpu_memory_info", lambda number: (10**6 * (1 + number), 0))
    check_network(AutoRec(20, 50), [mx.gpu(0), mx.gpu(1)], "hidden")
    with pytest.raises(ConfigError, match="are available"):
        check_network(AutoRec(2000, 50), [mx.gpu(1), mx.gpu(0)], "hidden")


def test_more_than_mxnet_can_index(monkeypatch):
    monkeypatch.setattr(network_size, "available_memory", lambda: None)
    with pytest.raises(ConfigError, match="matrix of 2829000000 numbers.* smaller `hidden`"):
        check_network(AutoRec(3_000_000, 943), [mx.cpu()], "hidden")
    with pytest.raises(ConfigError, match="matrix of 10000000000 numbers.*`batch_size`"):
        check_network(AutoRec(3, 943), [mx.cpu()], "hidden", (10**5, 10**5))


@pytest.mark.parametrize(
    "words, option",
    [
        ("--hidden 60000,60000", "--hidden"),
        ("--hidden 2000000", "--hidden"),
        ("--model mf --factors 1000000000", "--factors"),
        ("--model mult-vae --hidden 60000,60000", "--hidden"),
        ("--kernel dense --hidden 2000000000 --batch-size 2000000000", "--hidden"),
    ],
)
def test_a_network_that_cannot_fit_leaves_nothing_behind(
    in_process, tmp_path, monkeypatch, words, option
):
    monkeypatch.setattr(network_size, "available_memory", lambda: 5 * GIB)
    process = in_process("run", "--dataset", "synthetic", *words.split(), "--out", "out")
    assert process.returncode == 2 and process.stdout == ""
    assert "5.0 GiB are available: choose a smaller " + option in process.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_generated_ratings_that_cannot_fit(in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "available_memory", lambda: 5 * GIB)
    for shape, fragment in (
        ("100000x100000x2000000000", "needs 186.3 GiB, and 5.0 GiB are"),
        ("100000x100000x5000000000", "must be from 100000 to 2147483647"),
        (f"{'9' * 30}x5x5", "a generated set is synthetic or"),
        ("٣x٣x٣", "a generated set is synthetic or"),
    ):
        process = in_process("run", "--dataset", f"synthetic:{shape}", "--out", "out")
        assert_user_error(process, fragment)
    assert os.listdir(tmp_path) == []

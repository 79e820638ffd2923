"""The launcher and the workers, with real processes of MXNet's parameter server."""

import os
import re
import signal
import sys
import time

import numpy as onp
import pytest
import worker_program
from helpers import (
    assert_user_error,
    launch,
    main_process,
    marked,
    remaining,
    start_launcher,
    succeeded,
    survivors,
)

from d2l_autorec.launch import _parser, plan
from d2l_autorec.support.errors import ConfigError
from d2l_autorec.training import parameter_server
from d2l_autorec.training.parameter_server import Workers

PROGRAM = (sys.executable, worker_program.__file__)


@pytest.mark.parametrize("servers, count, contexts, batch", [(2, 3, 1, 10), (1, 2, 2, 12)])
def test_training_equals_one_process(tmp_path, servers, count, contexts, batch):
    """With a last batch of 7 rows or of 1, fewer than workers; on several contexts a worker."""
    words = (*PROGRAM, f"train-{contexts}-{batch}", tmp_path)
    succeeded(launch(tmp_path, "-n", count, "-s", servers, "--", *words))
    alone = worker_program.train(Workers(), 1, batch)
    for rank in range(count):
        onp.testing.assert_allclose(onp.load(tmp_path / f"{rank}.npy"), alone, rtol=0, atol=1e-5)


def begin_endless(tmp_path):
    process = start_launcher(tmp_path, "-n", 2, "-s", 1, "--", *PROGRAM, "endless", tmp_path)
    while not all((tmp_path / f"ready-{k}").exists() for k in range(2)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    time.sleep(0.3)
    return process


@pytest.mark.parametrize(
    "victim, variables",
    [
        ("worker 1", ("DMLC_ROLE=worker", "D2L_AUTOREC_WORKER=1")),
        ("scheduler 0", ("DMLC_ROLE=scheduler",)),
    ],
)
def test_a_kill_ends_everything(tmp_path, victim, variables):
    process = begin_endless(tmp_path)
    os.kill(main_process(tmp_path, *variables), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert survivors(tmp_path) == []
    assert process.returncode == 137
    assert f"d2l_autorec.launch: error: {victim} ended with exit code 137" in err.splitlines()


def test_nothing_outlives_the_launcher(tmp_path):
    process = begin_endless(tmp_path)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert remaining(tmp_path, 60) == [] and process.returncode == 130
    last = process.stderr.read().splitlines()[-1]
    assert last == "d2l_autorec.launch: stopped: SIGINT; every process was ended"


def test_nohup_protects_it_and_what_it_starts(tmp_path):
    """SIGHUP is ignored at the start, and stays so; SIGTERM still ends all."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = begin_endless(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)

    for pid in {process.pid, *marked(tmp_path)}:
        os.kill(pid, signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None

    process.terminate()
    process.wait(timeout=60)
    assert remaining(tmp_path, 60) == [] and process.returncode == 143


def test_an_exception_in_one_worker_is_shown(tmp_path):
    process = launch(tmp_path, "-n", 2, "-s", 1, "--", *PROGRAM, "raise")
    assert process.returncode == 1
    lines = process.stderr.splitlines()
    assert lines[-1] == "d2l_autorec.launch: error: worker 1 ended with exit code 1"
    assert "[worker 1] RuntimeError: the second worker fails" in lines


def test_streams_and_unfinished_lines(tmp_path):
    script = "echo to stdout; printf 'no newline, %s' $D2L_AUTOREC_WORKER >&2"
    process = launch(tmp_path, *"-n 2 -s 1 -- sh -c".split(), script)
    assert process.returncode == 0
    told = sorted(process.stdout.splitlines()) + sorted(process.stderr.splitlines())
    assert told == [f"[worker {k}] to stdout" for k in range(2)] + [
        f"[worker {k}] no newline, {k}" for k in range(2)
    ]


def test_a_stubborn_worker_is_killed(tmp_path):
    """It would sleep for longer than `launch` waits."""
    process = launch(
        tmp_path,
        *"-n 2 -s 1 -- sh -c".split(),
        "[ $D2L_AUTOREC_WORKER = 1 ] && exit 7; trap '' TERM; sleep 600; sleep 600",
    )
    assert process.returncode == 7


@pytest.mark.parametrize(
    "words, fragments",
    [
        ("-n 0 -s 1 -- true", ("-n/--workers", "'0'", "from 1")),
        ("-n 2 -s x -- true", ("-s/--servers", "'x'", "from 1")),
        ("-n 2 -s 1", ("no command", "behind --")),
        ("-n 1 -s 1 --node 1 -- true", ("--node is 1", "below --nodes 1")),
        ("-n 1 -s 1 --nodes 2 -- true", ("other machines cannot reach",)),
        *(
            (f"-n 1 -s 1 --scheduler={value} -- true", ("HOST:PORT",))
            for value in ("10.0.0.1", "10.0.0.1:65536", "a" * 99 + ":9", "no.invalid:9")
        ),
        ("-n 1 -s 1 -- no-such-program", ("no-such-program cannot be started",)),
    ],
)
def test_bad_arguments_in_one_line(in_process, words, fragments):
    process = in_process("launch", *words.split())
    assert_user_error(process, "d2l_autorec.launch: error", *fragments)


def test_each_machine_starts_its_part():
    """Two workers and a server on each of three machines; the scheduler is on the first."""
    words = ["-n", "2", "-s", "1", "--nodes", "3"]
    options = [_parser().parse_args([*words, "--node", str(k), "--", "true"]) for k in range(3)]
    assert [(role, rank) for machine in options for role, rank, _ in plan(machine)] == [
        *[("scheduler", 0), ("server", 0), ("worker", 0), ("worker", 1)],
        *[("server", 1), ("worker", 2), ("worker", 3)],
        *[("server", 2), ("worker", 4), ("worker", 5)],
    ]


SET = {
    "DMLC_ROLE": "worker",
    "DMLC_PS_ROOT_URI": "127.0.0.1",
    "DMLC_PS_ROOT_PORT": "9",
    "DMLC_NUM_WORKER": "2",
    "DMLC_NUM_SERVER": "1",
}


@pytest.mark.parametrize(
    "environment, fragment",
    [
        *(({**SET, name: None}, f"but {name} is '': start with") for name in SET),
        ({**SET, "DMLC_ROLE": "server"}, "DMLC_ROLE is 'server': it must be worker"),
        ({**SET, "DMLC_PS_ROOT_PORT": "x"}, "but DMLC_PS_ROOT_PORT is 'x': start with"),
    ],
)
def test_no_parameter_server(monkeypatch, environment, fragment):
    """MXNet checks none of them, and dies of a segmentation fault without a port."""
    for name in (*SET, "DMLC_NODE_HOST", "D2L_AUTOREC_WORKER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=re.escape(fragment)):
        parameter_server.connect("dist_sync")


def test_a_command_is_no_server(command):
    """MXNet serves as soon as it is imported, before any option is read."""
    process = command("run", "--model", "mean", "--dataset", "synthetic", DMLC_ROLE="server")
    assert_user_error(process, "DMLC_ROLE is 'server': it must be worker, or not be set")

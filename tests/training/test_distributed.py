"""Training with MXNet's parameter server: `launch -- run --kvstore dist_sync` as users call it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import (
    CASES,
    assert_alike,
    assert_user_error,
    launch,
    main_process,
    outcome,
    start_launcher,
    succeeded,
    survivors,
    train_into,
    words,
)

from d2l_autorec.support.files import read_json

RUN = (sys.executable, "-m", "d2l_autorec.run")


def numbers(folder):
    """Every metric of every epoch, and the numbers of the result; without the times."""
    _, epochs, result = outcome(folder)
    table = [[float(v) for name, v in row.items() if v and name != "phase"] for row in epochs]
    return sum(table, []) + [value for value in result.values() if isinstance(value, float)]


def train_by(tmp_path, options, *more, workers=2, servers=1):
    """The finished launcher of a run into the folder run."""
    run = [*RUN, *words(options), "--kvstore", "dist_sync", "--out", "run", *more]
    return launch(tmp_path, "-n", workers, "-s", servers, "--", *run)


def assert_as_one_process(tmp_path, options):
    train_into(tmp_path / "alone", **options, quiet=True)
    assert_alike(tmp_path / "run", tmp_path / "alone", atol=1e-5)


# what two workers and one server do with the dense kernel is in test_refit_with_workers
@pytest.mark.parametrize(
    "case, servers, count", [("sparse", 2, 3), ("mf", 1, 2), ("mult-dae", 1, 2)]
)
def test_dist_sync_equals_one_process(tmp_path, case, servers, count):
    process = train_by(tmp_path, CASES[case], "--json", workers=count, servers=servers)
    assert succeeded(process).stdout.count("\n") == 1  # worker 0 alone prints
    assert_as_one_process(tmp_path, CASES[case])
    assert numbers(tmp_path / "run") == pytest.approx(numbers(tmp_path / "alone"), rel=1e-4)
    result = read_json(tmp_path / "run" / "result.json")
    assert result["devices"] == [f"worker {rank} cpu(0)" for rank in range(count)]


def test_refit_with_workers(tmp_path):
    """The second phase has a trainer of its own on the same servers."""
    options = {**CASES["dense"], "lr_schedule": "plateau", "lr_step": 1}
    succeeded(train_by(tmp_path, options, "--refit", "--quiet"))
    assert_as_one_process(tmp_path, {**options, "refit": True})


# small batches: an epoch takes long enough to be hit
LONG = dict(dataset="synthetic:70x200x1500", hidden=(8,), batch_size=4, epochs=5, dropout=(0.2,))


def begin(tmp_path):
    """A launcher of two workers in their third epoch or later; it does not end before it is hit."""
    options = {**LONG, "kvstore": "dist_sync", "checkpoint_every": 1, "out": "run"}
    command = (*RUN, *words(options))
    process = start_launcher(tmp_path, "-n", 2, "-s", 1, "--", *command)
    seen = []
    while not seen or "epoch 2/" not in seen[-1]:
        seen.append(process.stderr.readline())
        assert process.poll() is None, "".join(seen) + process.stderr.read()
    time.sleep(0.1)
    return process


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(("DMLC_ROLE=worker", "D2L_AUTOREC_WORKER=0"), id="worker"),
        # the launcher ends the workers then, as in test_launch.py, which kills each of the three
        pytest.param(("DMLC_ROLE=server",), id="server", marks=pytest.mark.slow),
        pytest.param(("DMLC_ROLE=scheduler",), id="scheduler", marks=pytest.mark.slow),
    ],
)
def test_a_kill_in_mid_epoch_loses_nothing(tmp_path, tmp_path_factory, variables):
    process = begin(tmp_path)
    os.kill(main_process(tmp_path, *variables), signal.SIGKILL)
    process.communicate(timeout=60)
    assert survivors(tmp_path) == []
    assert process.returncode == 137 and not (tmp_path / "run" / "result.json").exists()

    succeeded(launch(tmp_path, "-n", 2, "-s", 1, "--", *RUN, "--resume", "run", "--quiet"))
    assert not (tmp_path / "run" / "checkpoint.bin").exists()
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    train_by(undisturbed, LONG, "--quiet")
    # to the bit: a sum of two has one order
    assert outcome(tmp_path / "run") == outcome(undisturbed / "run")


def test_ctrl_c(tmp_path):
    """The checkpoint, of which the test above goes on, is left."""
    process = begin(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert survivors(tmp_path) == []
    assert process.returncode == 130, err
    assert (tmp_path / "run" / "checkpoint.bin").exists()


def test_a_user_error_of_worker_0_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    process = train_by(tmp_path, CASES["sparse"])
    assert process.returncode == 2
    assert "run holds a run already" in process.stderr


def test_workers_with_other_options_are_told(tmp_path):
    program = " ".join(RUN + tuple(words(CASES["sparse"])))
    program = f"exec {program} --kvstore dist_sync --out run --seed $D2L_AUTOREC_WORKER"
    process = launch(tmp_path, "-n", 2, "-s", 1, "--", "sh", "-c", program)
    assert process.returncode == 2
    assert "worker 1 has other options or ratings than worker 0" in process.stderr


def test_a_loss_that_is_not_finite_ends_all_workers(tmp_path):
    process = train_by(tmp_path, {**CASES["sparse"], "lr": 1e30}, "--quiet")
    assert process.returncode == 3
    assert "the loss is not finite in epoch 1 at batch" in process.stderr
    assert "Traceback" not in process.stderr


def test_without_the_launcher(in_process):
    process = in_process("run", "--dataset", "synthetic", "--kvstore", "dist_sync")
    assert_user_error(process, "--kvstore dist_sync needs", "d2l_autorec.launch", "DMLC_")


def test_by_hand(tmp_path):
    """The recipe of the launcher's help: the processes and their DMLC_* variables."""
    with open(tmp_path / "script.sh", "w") as script:
        script.write(f"""
            export DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT={free_port()}
            export DMLC_NUM_WORKER=2 DMLC_NUM_SERVER=1 DMLC_NODE_HOST=127.0.0.1
            DMLC_ROLE=scheduler {sys.executable} -c 'import d2l_autorec, mxnet' &
            DMLC_ROLE=server {sys.executable} -c 'import d2l_autorec, mxnet' &
            export DMLC_ROLE=worker
            run="{" ".join(RUN)} {" ".join(words(CASES["sparse"]))} --kvstore dist_sync --out run"
            $run & $run && wait
        """)
    subprocess.run(["sh", "script.sh"], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "run" / "result.json").exists()


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

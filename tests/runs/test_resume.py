"""Stopping, resuming and failing: nothing is lost, nothing is half written, all is exact."""

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import mxnet as mx
import numpy as onp
import pytest
from helpers import StopAfter, assert_user_error, epochs_of, history_of, outcome, started, train_run

from d2l_autorec import AutoRec, AutoRecConfig
from d2l_autorec.data.sources import synthetic_ratings
from d2l_autorec.models.kinds import Own
from d2l_autorec.runs.experiment import make_trainer
from d2l_autorec.support import files
from d2l_autorec.support.errors import DataError
from d2l_autorec.support.files import locked, read_json, write_json
from d2l_autorec.training import history as histories
from d2l_autorec.training.callbacks import StepSeed
from d2l_autorec.training.checkpoint import Checkpoint, live_arrays, restore
from d2l_autorec.training.loaders import BATCHES, loader_state, train_loader
from d2l_autorec.training.loop import Training, fit
from d2l_autorec.training.losses import MaskedL2Loss

RUN = (
    "--dataset synthetic:90x300x3000 --hidden 16 --batch-size 32 --val-ratio 0.1 "
    "--lr-schedule plateau --lr-step 2 --patience 6"
).split()


def state(net, trainer, loader):
    """All that the next epoch depends on."""
    return dict(live_arrays(net, trainer, loader_state(loader)))


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_runs_resume_to_the_bit(tmp_path, thirty_epochs, kills):
    """By SIGKILL at random moments; a run that ends before makes room for another."""
    clock, killed, folder = random.Random(kills), 0, tmp_path / "run"
    whole, longest = thirty_epochs
    while killed < kills or not (folder / "result.json").exists():
        words = (*THIRTY_EPOCHS, "--out", "run")
        if (folder / "result.json").exists():
            assert outcome(folder) == whole
            shutil.rmtree(folder)
        elif (folder / "config.json").exists():
            words = ("--resume", "run")
        process = started(tmp_path, "run", *words)
        try:
            timeout = clock.uniform(0.5, longest) if killed < kills else None
            _, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0, errors
    assert outcome(folder) == whole


THIRTY_EPOCHS = (*RUN[:-2], "--epochs", "30", "--patience", "30", "--checkpoint-every", "1")


@pytest.fixture(scope="module")
def thirty_epochs(tmp_path_factory):
    """The outcome of a run that nothing stopped, and its seconds."""
    folder, began = tmp_path_factory.mktemp("thirty"), time.monotonic()
    assert started(folder, "run", *THIRTY_EPOCHS, "--out", "whole").wait() == 0
    return outcome(folder / "whole"), time.monotonic() - began


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_between_steps_and_say_how_to_go_on(
    tmp_path, in_process, monkeypatch, thirty_epochs, number, code
):
    """Right after its first checkpoint."""
    save = Checkpoint.save

    def signalled(self, *arguments):
        save(self, *arguments)
        monkeypatch.setattr(Checkpoint, "save", save)
        signal.raise_signal(number)

    monkeypatch.setattr(Checkpoint, "save", signalled)
    process = in_process("run", *THIRTY_EPOCHS, "--out", "run")
    assert process.returncode == code and process.stdout == ""
    last = process.stderr.splitlines()[-1]
    assert "go on with python -m d2l_autorec.run --resume run" in last
    assert in_process("run", "--resume", "run").returncode == 0
    assert outcome(tmp_path / "run") == thirty_epochs[0]


# What an optimizer remembers depends on it alone, and how it is stored on kernel and devices: every
# pair of the three occurs, and every combination of adam, which alone has a kernel of its own.
OTHERS = ("sgd", "nag", "rmsprop", "adagrad", "adadelta", "adamax", "ftrl")


@pytest.mark.parametrize(
    "optimizer, devices, kernel",
    [
        *(("adam", devices, kernel) for devices in (1, 3) for kernel in ("sparse", "dense")),
        *((name, 1, ("sparse", "dense")[k % 2]) for k, name in enumerate(OTHERS)),
        *((name, 3, ("dense", "sparse")[k % 2]) for k, name in enumerate(OTHERS)),
    ],
)
def test_every_optimizer_resumes_to_the_bit(optimizer, devices, kernel):
    """Two epochs, then two more in a new net from the captured arrays; rows roll over."""
    matrix = synthetic_ratings(30, 43, 400).to_csr()
    config = AutoRecConfig(optimizer=optimizer, lr=0.01)
    contexts = [mx.cpu(i) for i in range(devices)]

    def new():
        mx.random.seed(1)
        net = AutoRec(5, matrix.shape[1], 0.2)
        net.initialize(init=mx.init.Normal(0.1), ctx=contexts)
        loader = train_loader(matrix, 16, 0, BATCHES[kernel])
        return net, make_trainer(net, config, contexts), loader

    def train(parts, epochs, history=()):
        net, trainer, loader = parts
        training = Training(net, loader, MaskedL2Loss(), trainer, contexts)
        training.history = list(history)
        return fit(training, epochs, [StepSeed(3)])

    whole, stopped, resumed = new(), new(), new()
    train(whole, 4)
    history = train(stopped, 2)
    restore(*resumed, state(*stopped))
    train(resumed, 4, history)
    first, second = state(*whole), state(*resumed)
    assert first.keys() == second.keys()
    for name in first:
        onp.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """A run folder with a checkpoint after the first epoch."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    given = dict(dataset="synthetic:30x40x300", out=str(folder), checkpoint_every=1)
    config = AutoRecConfig(hidden=16, quiet=True, **given)
    with pytest.raises(KeyboardInterrupt):
        train_run(config.with_own(Own(callbacks=[StopAfter(2)])))
    return folder


@pytest.fixture
def stopped_run(one_epoch, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(one_epoch, tmp_path / "run")


@pytest.mark.parametrize("damage", ["truncated", "empty", "bit flipped", "swapped"])
def test_damaged_checkpoints_are_named_and_refused(stopped_run, in_process, damage):
    path = stopped_run / "checkpoint.bin"
    good = path.read_bytes()
    middle = len(good) // 2  # in an array: the headers of a zip file have no checksum
    Checkpoint("another run").save(path)
    changed = {
        "truncated": good[:-100],
        "empty": b"",
        "swapped": path.read_bytes(),
        "bit flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
    }[damage]
    path.write_bytes(changed)
    said = "another run" if damage == "swapped" else "is missing or damaged"
    assert_user_error(in_process("run", "--resume", "run"), "run/checkpoint.bin", said)
    assert path.read_bytes() == changed


def test_other_devices_are_refused(stopped_run, in_process):
    config = read_json(stopped_run / "config.json")
    write_json(stopped_run / "config.json", {**config, "devices": ["gpu(0)"]})
    process = in_process("run", "--resume", stopped_run)
    assert_user_error(process, "gpu(0)", "on a machine like the first")


def test_resuming_what_is_finished_or_no_run(tmp_path, in_process):
    out = str(tmp_path / "run")
    first = in_process("run", *RUN, "--epochs", "2", "--out", out, "--json")
    again = in_process("run", "--resume", out, "--json")
    assert first.returncode == again.returncode == 0
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert "is finished already" in again.stderr
    assert_user_error(in_process("run", "--resume", tmp_path), "is not a run folder")


def test_two_processes_on_one_folder(tmp_path, in_process):
    with locked(tmp_path / "run"):
        process = in_process("run", *RUN, "--out", "run")
        assert_user_error(process, "another process is at work in")
    with locked(tmp_path / "run"):
        pass  # the lock went with its holder


def test_disk_full_in_mid_run(tmp_path, in_process, monkeypatch):
    """The third checkpoint fails: one line; the second is whole, and the run goes on from it."""
    save, calls = Checkpoint.save, []

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failing(self, *arguments):
        calls.append(arguments)
        with monkeypatch.context() as patch:
            if len(calls) == 3:
                patch.setattr(files.os, "fsync", full)
            save(self, *arguments)

    monkeypatch.setattr(Checkpoint, "save", failing)
    options = (*RUN, "--epochs", "5", "--quiet", "--checkpoint-every", "1")
    process = in_process("run", *options, "--out", "run")
    assert_user_error(process, "checkpoint.bin cannot be written (No space left on device)")
    assert in_process("run", "--resume", "run", "--quiet").returncode == 0
    assert in_process("run", *options, "--out", "whole").returncode == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("constant", [1, 1, 1, 1, 1, 1]),
        ("step", [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("cosine", [(1 + math.cos(math.pi * k / 6)) / 2 for k in range(6)]),
        ("plateau", [1, 1, 1, 0.5, 0.5, 0.25]),
    ],
)
def test_learning_rates_by_hand(name, expected):
    """Validation scores: better, then four epochs without."""
    config = AutoRecConfig(
        lr=1.0, lr_schedule=name, lr_step=2, lr_factor=0.5, epochs=6, val_ratio=0.1
    )
    scores = history_of([5, 6, 6, 6, 6])
    rates = [histories.learning_rate(config, scores[:k], config.epochs) for k in range(6)]
    assert rates == pytest.approx(expected)


REFITTED = AutoRecConfig(
    dataset="synthetic:90x300x3000",
    hidden=(16,),
    lr=0.02,
    batch_size=32,
    epochs=60,
    patience=3,
    val_ratio=0.2,
    refit=True,
    quiet=True,
)


def test_refit_trains_on_all_ratings_for_the_best_number_of_epochs(tmp_path):
    result = train_run(replace(REFITTED, out=str(tmp_path / "run")))
    epochs, refit = (epochs_of(tmp_path / "run", phase) for phase in ("search", "refit"))
    search = [float(row["validation_rmse"]) for row in epochs]
    assert result["best_epoch"] == 1 + search.index(min(search)) == len(refit) == result["epochs"]
    assert len(search) == result["best_epoch"] + 3 < 60
    assert int(refit[-1]["ratings"]) > int(epochs[1]["ratings"]) * 1.1
    assert result["test_rmse"] == float(refit[-1]["test_rmse"])


def test_plateau_and_refit(tmp_path):
    """The refit goes through the learning rates of the search."""
    plateau = dict(lr_schedule="plateau", lr_step=1, patience=4)
    train_run(replace(REFITTED, **plateau, out=str(tmp_path / "run")))
    search, refit = (
        [row["lr"] for row in epochs_of(tmp_path / "run", phase)] for phase in ("search", "refit")
    )
    assert refit == search[: len(refit)] and len(set(search)) > 1


def test_unpickling_is_never_tried(tmp_path):
    """A file with an object array, and a right checksum, is refused."""
    path = tmp_path / "c.npz"
    onp.savez(path, about=onp.array([{}], dtype=object))
    with open(path, "rb") as file, pytest.raises(DataError, match="damaged.*allow_pickle"):
        Checkpoint.read(file, path, "run")

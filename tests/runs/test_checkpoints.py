"""Checkpoints: when they are due, what they hold, what they cost; what is kept of a training."""

import math
import shutil
import signal
import tracemalloc
from dataclasses import replace

import mxnet as mx
import numpy as onp
import pytest
from helpers import outcome, parameters, train_run

from d2l_autorec import AutoRec, AutoRecConfig
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs import checkpoints
from d2l_autorec.runs.checkpoints import Pace
from d2l_autorec.runs.experiment import make_trainer
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.support.errors import DataError, Interrupted, NumericalError
from d2l_autorec.training.callbacks import Signals
from d2l_autorec.training.checkpoint import Checkpoint, live_arrays
from d2l_autorec.training.history import EpochRecord
from d2l_autorec.training.losses import MaskedL2Loss

BASE = dict(dataset="synthetic:50x60x700", epochs=3, batch_size=16, lr=0.02, quiet=True, cpus=1)
ALL_ROWS = dict(optimizer="rprop", batch_size="all")
PRETRAINED = dict(hidden=(6, 4, 6), pretrain=True, pretrain_epochs=(2, 3), val_ratio=0.1)
CLICKS = {
    **BASE,
    "model": "mult-vae",
    "dataset": "synthetic:60x40x900",
    "heldout_users": 8,
    "hidden": (6, 4),
}
MODELS = {
    "fused": {**BASE, "hidden": (6,), "dropout": 0.2, "val_ratio": 0.1},
    "sparse": {**BASE, "hidden": (6,), "tied": True, "val_ratio": 0.1, "refit": True},
    "dense": {**BASE, "hidden": (6,), "dropout": 0.2, "kernel": "dense"},
    "deep": {**BASE, "hidden": (6, 4, 6), "dropout": 0.2, "optimizer": "rmsprop"},
    "two contexts": {**BASE, "hidden": (6,), "dropout": 0.2, "cpus": 2},
    "rprop": {**BASE, **ALL_ROWS, "hidden": (6,), "val_ratio": 0.1},
    "rprop, two contexts": {**BASE, **ALL_ROWS, "hidden": (6,), "cpus": 2},
    "pretrained": {**BASE, **PRETRAINED, "refit": True},
    "pretrained by rprop": {**BASE, **ALL_ROWS, **PRETRAINED, "hidden": (6, 4, 3, 4, 6)},
    "mf": {**BASE, "model": "mf", "factors": 4, "batch_size": 100, "val_ratio": 0.1},
    "mult-vae": CLICKS,
}


class Stopper:
    """A signal comes during the step of this number, counted from 1."""

    def __init__(self, monkeypatch, step):
        self.steps = 0
        on_step_end = Signals.on_step_end

        def counting(signals, training):
            self.steps += 1
            if self.steps == step:
                signal.raise_signal(signal.SIGINT)
            on_step_end(signals, training)

        monkeypatch.setattr(Signals, "on_step_end", counting)


@pytest.mark.parametrize("name", MODELS)
def test_stopped_at_any_step_a_run_ends_bit_identically(name, tmp_path):
    """Stopped at every second step, in each phase; the last stops come after a resume."""
    config = make_config(MODELS[name])
    with pytest.MonkeyPatch.context() as patch:
        counted = Stopper(patch, 0)
        train_run(replace(config, out=str(tmp_path / "whole")))
    whole = outcome(tmp_path / "whole")

    for step in range(1, counted.steps + 1, 2):
        path = tmp_path / f"run-{step}"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            Stopper(patch, step)
            train_run(replace(config, out=str(path)))

        if 2 < step < counted.steps:  # and once more
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
                Stopper(patch, 1)
                train_run(RunFolder.read(path).config, resume=path)

        train_run(RunFolder.read(path).config, resume=path)
        assert outcome(path) == whole, step
        shutil.rmtree(path)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_by_time_a_checkpoint_is_due_after_its_pause():
    clock = Clock()
    pace = Pace("60s", clock)
    clock.now += 59.9
    assert not pace.is_due() and not pace.is_due(1)
    clock.now += 0.1
    assert pace.is_due() and pace.is_due(1)

    with pace.writing():
        clock.now += 2
    clock.now += 59.9
    assert not pace.is_due()
    clock.now += 0.1
    assert pace.is_due()


@pytest.mark.parametrize("cost", [0.1, 3, 14])
def test_checkpoints_take_a_twentieth_of_the_time_at_most(cost):
    """Asked for after each step of 0.5 s; writing goes on top of it."""
    clock = Clock()
    pace = Pace("1s", clock)
    spent = 0

    for _ in range(20_000):
        clock.now += 0.5
        if pace.is_due():
            with pace.writing():
                clock.now += cost
            spent += cost

    assert 0 < spent <= 0.05 * (clock.now - 1000) + cost


def saves(monkeypatch):
    """The epochs and steps of the checkpoints that are written."""
    save, found = Checkpoint.save, []

    def noted(self, *arguments):
        found.append((len(self.history), len(self.under_way.steps)))
        save(self, *arguments)

    monkeypatch.setattr(Checkpoint, "save", noted)
    return found


def test_a_run_of_a_few_seconds_writes_no_checkpoint(tmp_path, monkeypatch):
    found = saves(monkeypatch)
    train_run(make_config({**MODELS["fused"], "out": str(tmp_path / "run")}))
    assert found == []


def test_how_often_does_not_change_what_is_computed(tmp_path, monkeypatch):
    """In mid-epoch where the time has come; at the end of every second one of three."""
    for every, share in (("0.000001s", 1e9), (2, 0.05), ("60s", 0.05)):
        monkeypatch.setattr(checkpoints, "SHARE", share)
        found = saves(monkeypatch)
        out = str(tmp_path / str(every))
        train_run(make_config({**MODELS["fused"], "checkpoint_every": every, "out": out}))

        if every == 2:
            assert found == [(2, 0)]
        if share > 1:
            assert {(0, 1), (1, 1), (1, 0), (3, 0)} <= set(found)

    for every in ("2", "60s"):
        assert outcome(tmp_path / every) == outcome(tmp_path / "0.000001s")


# What a checkpoint costs, and what becomes of it.


def trained_network():
    """A network of 8 MB with Adam's moments."""
    net = AutoRec(500, 2000, 0.0)
    net.initialize(mx.init.Normal(0.1))
    trainer = make_trainer(net, AutoRecConfig(), [mx.cpu()])

    with mx.autograd.record():
        loss = (net(mx.np.ones((2, 2000))) ** 2).sum()
    loss.backward()
    trainer.step(2)
    mx.npx.waitall()
    return net, trainer


def test_a_save_holds_no_copy_of_the_arrays(tmp_path):
    net, trainer = trained_network()
    arrays = live_arrays(net, trainer, {"loader/epoch": onp.array(1)})
    run = Checkpoint("run")

    tracemalloc.start()
    run.save(tmp_path / "c", arrays)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    written = (tmp_path / "c").stat().st_size
    assert written > 3 * 4 * 2 * 500 * 2000
    largest = 4 * 500 * 2000
    assert peak < 1.2 * largest  # a chunk of NumPy's, of 16 MiB at most


def test_every_damaged_byte_is_told(tmp_path):
    """But for those that say nothing, as the date of an array."""
    path, run = tmp_path / "c", Checkpoint("run", history=[EpochRecord(1, 0.5, 0.25, 9, 1.0)])
    run.save(path, [("x", onp.arange(20.0))])
    good = path.read_bytes()

    damaged = [good[:length] for length in range(len(good))]
    for position in range(len(good)):
        changed = bytes([good[position] ^ 1])
        damaged.append(good[:position] + changed + good[position + 1 :])

    told = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            with open(path, "rb") as file:
                found = Checkpoint.read(file, path, "run")
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            told += 1
        else:
            assert len(content) == len(good) and found.history == run.history
            onp.testing.assert_array_equal(found.arrays["x"], onp.arange(20.0))
    assert told > 0.9 * len(damaged)


# A training that diverges.


class Broken(MaskedL2Loss):
    """NaN from a call on; with 60 rows in batches of 16 the 9th is of the third epoch."""

    calls = 0
    since = 9

    def __call__(self, prediction, label):
        Broken.calls += 1
        value = super().__call__(prediction, label)
        if Broken.calls >= Broken.since:
            return value * math.nan
        return value


@pytest.fixture
def broken(monkeypatch):
    Broken.calls = 0
    monkeypatch.setattr("d2l_autorec.training.losses.MaskedL2Loss", Broken)


def test_the_best_parameters_in_memory_are_kept(tmp_path, broken, monkeypatch):
    options = {**MODELS["dense"], "val_ratio": 0.1, "lr": 1e-4}
    with pytest.raises(NumericalError, match="the parameters of the best epoch, 2, are kept in"):
        train_run(make_config({**options, "out": str(tmp_path / "broken")}))

    monkeypatch.undo()
    train_run(make_config({**options, "epochs": 2, "out": str(tmp_path / "two")}))
    kept, two = parameters(tmp_path / "broken"), parameters(tmp_path / "two")
    assert kept.keys() == two.keys()
    for name in two:
        onp.testing.assert_array_equal(kept[name], two[name])


def test_without_a_checkpoint_nothing_is_kept(tmp_path, broken):
    config = make_config({**MODELS["dense"], "out": str(tmp_path / "run")})
    with pytest.raises(NumericalError, match="no checkpoint was due, so no parameters are kept"):
        train_run(config)
    assert not (tmp_path / "run" / "model.params").exists()


def test_a_checkpoint_in_mid_epoch_is_named_by_its_step(tmp_path, broken, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    options = {**MODELS["dense"], "checkpoint_every": "0.000001s", "out": str(tmp_path / "run")}
    Broken.since = 6

    try:
        with pytest.raises(NumericalError, match="last checkpoint, after step . of epoch 2, are"):
            train_run(make_config(options))
    finally:
        Broken.since = 9

    for array in parameters(tmp_path / "run").values():
        assert onp.isfinite(array).all()

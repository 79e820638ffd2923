"""Checkpoints: when they are due, what they hold, what they cost; what is kept of a training."""

import signal
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import mxnet as mx
import numpy as onp
import pytest
from helpers import outcome, train_into, train_run

from d2l_autorec import AutoRec, AutoRecConfig
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs import checkpoints
from d2l_autorec.runs.checkpoints import Pace
from d2l_autorec.runs.experiment import make_trainer
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.support.errors import Interrupted
from d2l_autorec.training.callbacks import Signals
from d2l_autorec.training.checkpoint import Checkpoint, live_arrays

# steps are few, but an epoch is no whole number of batches
BASE = dict(dataset="synthetic:50x60x700", epochs=3, batch_size=25, lr=0.02, quiet=True, cpus=1)
ALL_ROWS = dict(optimizer="rprop", batch_size="all")
PRETRAINED = dict(hidden=(6, 4, 6), pretrain=True, pretrain_epochs=(1, 2), val_ratio=0.1)
CLICKS = {**BASE, "dataset": "synthetic:60x40x900", "heldout_users": 8, "hidden": (6, 4)}
PLATEAU = dict(lr_schedule="plateau", lr_step=1, eval_every=2, early_stopping="loss")
REFITTED = dict(val_ratio=0.1, refit=True, average=True)
MODELS = {
    "fused": {**BASE, "hidden": (6,), "dropout": 0.2, "val_ratio": 0.1},
    "sparse": {**BASE, **REFITTED, "hidden": (6,), "tied": True},
    "dense": {**BASE, "hidden": (6,), "dropout": 0.2, "kernel": "dense"},
    "deep": {**BASE, "hidden": (6, 4, 6), "dropout": 0.2, "optimizer": "rmsprop"},
    "two contexts": {**BASE, "hidden": (6,), "dropout": 0.2, "cpus": 2},
    "rprop": {**BASE, **ALL_ROWS, "hidden": (6,), "val_ratio": 0.1},
    "rprop, two contexts": {**BASE, **ALL_ROWS, "hidden": (6,), "cpus": 2},
    "pretrained": {**BASE, **PRETRAINED, "batch_size": 40, "epochs": 2, "refit": True},
    "pretrained by rprop": {**BASE, **ALL_ROWS, **PRETRAINED, "hidden": (6, 4, 3, 4, 6)},
    "mf": {**BASE, "model": "mf", "factors": 4, "batch_size": 200, "val_ratio": 0.1},
    "mult-vae": {**CLICKS, "search_beta": True, "anneal": "recotour", "kernel": "dense"},
    "mult-dae": {**CLICKS, **PLATEAU, "cpus": 2},
}


@contextmanager
def stopping(step):
    """Let a signal come during the step of this number in the block; yield a list of its steps."""
    steps, on_step_end = [], Signals.on_step_end

    def counting(signals, training):
        steps.append(training)
        if len(steps) == step:
            signal.raise_signal(signal.SIGINT)
        on_step_end(signals, training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Signals, "on_step_end", counting)
        yield steps


@pytest.mark.parametrize("name", MODELS)
def test_stopped_at_any_step_a_run_ends_bit_identically(name, tmp_path):
    """Stopped at every third step, in each phase; the last stops come after a resume."""
    model = name if name.startswith("mult") else "autorec"
    config = make_config({"model": model, **MODELS[name]})
    with stopping(0) as steps:
        train_run(replace(config, out=str(tmp_path / "whole")))
    whole = outcome(tmp_path / "whole")

    for step in range(1, len(steps) + 1, 3):
        path = tmp_path / f"run-{step}"
        with stopping(step), pytest.raises(Interrupted):
            train_run(replace(config, out=str(path)))

        if 2 < step < len(steps):  # and once more
            with stopping(1), pytest.raises(Interrupted):
                train_run(RunFolder.read(path).config, resume=path)

        train_run(RunFolder.read(path).config, resume=path)
        assert outcome(path) == whole, step


@pytest.fixture
def clock(monkeypatch):
    """Let the time of `Pace` go on by `clock(seconds)`; it returns the time."""
    now = [1000.0]

    def pass_by(seconds):
        now[0] += seconds
        return now[0]

    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    return pass_by


def test_by_time_a_checkpoint_is_due_after_its_pause(clock):
    pace = Pace("60s")
    clock(59.9)
    assert not pace.is_due() and not pace.is_due(1)
    clock(0.1)
    assert pace.is_due() and pace.is_due(1)

    with pace.writing():
        clock(2)
    clock(59.9)
    assert not pace.is_due()
    clock(0.1)
    assert pace.is_due()


@pytest.mark.parametrize("cost", [0.1, 3, 14])
def test_checkpoints_take_a_twentieth_of_the_time_at_most(cost, clock):
    """Asked for after each step of 0.5 s; writing goes on top of it."""
    pace = Pace("1s")
    spent = 0

    for _ in range(20_000):
        clock(0.5)
        if pace.is_due():
            with pace.writing():
                clock(cost)
            spent += cost

    assert 0 < spent <= 0.05 * (clock(0) - 1000) + cost


def saves(monkeypatch):
    """The epochs and steps of the checkpoints that are written."""
    save, found = Checkpoint.save, []

    def noted(self, *arguments):
        found.append((len(self.history), len(self.under_way["steps"])))
        save(self, *arguments)

    monkeypatch.setattr(Checkpoint, "save", noted)
    return found


def test_how_often_does_not_change_what_is_computed(tmp_path, monkeypatch):
    """In mid-epoch where the time has come; at the end of every second one of three; not at all."""
    for every, share in (("0.000001s", 1e9), (2, 0.05), ("60s", 0.05)):
        monkeypatch.setattr(checkpoints, "SHARE", share)
        found = saves(monkeypatch)
        train_into(tmp_path / str(every), **MODELS["fused"], checkpoint_every=every)

        if share > 1:
            assert {(0, 1), (1, 1), (1, 0), (3, 0)} <= set(found)
        else:
            assert found == ([(2, 0)] if every == 2 else [])

    for every in ("2", "60s"):
        assert outcome(tmp_path / every) == outcome(tmp_path / "0.000001s")


def test_a_save_holds_no_copy_of_the_arrays(tmp_path):
    """Of a network of 8 MB with Adam's moments."""
    net = AutoRec(500, 2000, 0.0)
    net.initialize(mx.init.Normal(0.1))
    trainer = make_trainer(net, AutoRecConfig(), [mx.cpu()])
    with mx.autograd.record():
        loss = (net(mx.np.ones((2, 2000))) ** 2).sum()
    loss.backward()
    trainer.step(2)
    mx.npx.waitall()

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

"""Greedy layer-wise pretraining: what each phase trains, and on what."""

import mxnet as mx
import numpy as np
import pytest
from helpers import epochs_of, train_into, values_of
from numpy.testing import assert_allclose, assert_array_equal

from d2l_autorec.models.deep_autorec import DeepAutoRec
from d2l_autorec.models.registry import make_config
from d2l_autorec.models.sparse_autorec import CodeAutoencoder, codes
from d2l_autorec.runs.rating import RatingExperiment
from d2l_autorec.support.terminal import SignalWatch
from d2l_autorec.training.checkpoint import Checkpoint

DEEP = dict(
    dataset="synthetic:50x60x700",
    hidden=(7, 5, 3, 5, 7),
    pretrain=True,
    pretrain_epochs=(4, 6),
    epochs=3,
    lr=0.01,
    dropout=0.0,
    quiet=True,
    cpus=1,
)
LAYERS = {1: ("encoder", "decoder"), 2: ("inner.0.0", "inner.3.0"), 3: ("inner.1.0", "inner.2.0")}


def epochs_by_phase(folder):
    phases = dict.fromkeys(row["phase"] for row in epochs_of(folder))
    return {phase: epochs_of(folder, phase) for phase in phases}


@pytest.fixture
def starts(monkeypatch):
    """Phase to the parameters that are left to it."""
    left = {}
    following = Checkpoint.next

    def next_phase(checkpoint, phase, start):
        left[phase] = {name.removeprefix("parameter/"): value for name, value in start.items()}
        return following(checkpoint, phase, start)

    monkeypatch.setattr(Checkpoint, "next", next_phase)
    return left


@pytest.mark.parametrize("kernel", ["sparse", "dense"])
def test_each_stage_trains_its_two_layers_alone(kernel, starts, tmp_path):
    train_into(tmp_path / "run", **DEEP, kernel=kernel)
    assert list(starts) == ["pretrain-2", "pretrain-3", "search"]
    assert set(starts["pretrain-2"]) == {
        f"{layer}.{kind}" for layer in LAYERS[1] for kind in ("weight", "bias")
    }

    before, after = starts["pretrain-3"], starts["search"]
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed == {f"{layer}.{kind}" for layer in LAYERS[3] for kind in ("weight", "bias")}
    for name, value in starts["pretrain-2"].items():
        assert_array_equal(value, after[name])


def test_the_phases_and_their_epochs(tmp_path):
    result = train_into(tmp_path / "run", **DEEP, val_ratio=0.1, refit=True)
    found = epochs_by_phase(tmp_path / "run")

    stages = ["pretrain-1", "pretrain-2", "pretrain-3"]
    assert list(found) == [*stages, "search", *(f"refit-{name}" for name in stages), "refit"]
    lengths = [len(found[name]) for name in [*stages, "search"]]
    assert lengths == [4, 6, 6, 3]
    assert len(found["refit"]) == result["best_epoch"]

    scores = [float(row["validation_rmse"]) for row in found["pretrain-1"]]
    assert len(found["refit-pretrain-1"]) == 1 + int(np.argmin(scores))
    for name in ("pretrain-2", "refit-pretrain-3"):
        errors = [float(row["train_rmse"]) for row in found[name]]
        assert errors[-1] < errors[0]
        assert all(row["test_rmse"] == "" for row in found[name])


def test_a_search_without_a_test_trains_the_same(tmp_path):
    """What `tune` measures is what a run does."""
    options = {**DEEP, "val_ratio": 0.1, "pretrain_epochs": (60, 5), "lr": 0.05}
    train_into(tmp_path / "run", **options)
    expected = [float(r["validation_rmse"]) for r in epochs_by_phase(tmp_path / "run")["search"]]

    history = RatingExperiment(make_config(options)).validate(SignalWatch(""))
    found = [record.validation["rmse"] for record in history]
    first = epochs_by_phase(tmp_path / "run")["pretrain-1"]
    assert len(first) < 60, "it is to be stopped early, and its best epoch to be kept"
    assert found == pytest.approx(expected, rel=1e-6)


def test_codes_and_their_autoencoder_by_numpy():
    mx.npx.set_np()
    net = DeepAutoRec((4, 3, 2, 3, 4), 6, 0.0, "tanh")
    net.initialize(mx.init.Normal(0.5))
    w = values_of(net)
    x = np.random.default_rng(0).integers(0, 6, (5, 6)).astype("float32")

    first = np.tanh(x @ w["encoder.weight"] + w["encoder.bias"])
    second = np.tanh(first @ w["inner.0.0.weight"].T + w["inner.0.0.bias"])
    for depth, expected in ((1, first), (2, second)):
        found = codes(net, mx.np.array(x), depth)
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    third = np.tanh(second @ w["inner.1.0.weight"].T + w["inner.1.0.bias"])
    back = np.tanh(third @ w["inner.2.0.weight"].T + w["inner.2.0.bias"])
    found = CodeAutoencoder(net, 2)(mx.np.array(second)).asnumpy()
    assert_allclose(found, back, rtol=1e-5, atol=1e-6)


def test_inner_weights_decay_by_a_lambda_of_their_own():
    """Of hidden units in their stages, and beside the others' when all are trained."""
    config = make_config({**DEEP, "regularization": 50.0, "inner_regularization": 2.0})
    experiment = RatingExperiment(config)
    decays = [("search", 50 * 60), ("pretrain-2", 60 * 7), ("refit-pretrain-3", 60 * 5)]
    for phase, numbers in decays:
        found = config.weight_decay(experiment.train_data, phase)
        assert found == pytest.approx(50 / numbers)

    net = experiment.network("search")
    shares = {name: p.wd_mult for name, p in net._collect_params_with_prefix().items()}
    assert shares["inner.1.0.weight"] == pytest.approx(2 / 50)
    assert shares["encoder.weight"] == shares["decoder.weight"] == 1


def test_the_rate_of_pretraining(tmp_path):
    options = {**DEEP, "pretrain_lr": 0.02, "lr_schedule": "step", "lr_step": 2, "lr_factor": 0.5}
    train_into(tmp_path / "run", **options)
    found = epochs_by_phase(tmp_path / "run")
    rates = {phase: [float(row["lr"]) for row in rows] for phase, rows in found.items()}

    assert rates["pretrain-1"] == pytest.approx([0.02, 0.02, 0.01, 0.01])
    assert rates["pretrain-3"][-1] == pytest.approx(0.005)
    assert rates["search"] == pytest.approx([0.01, 0.01, 0.005])

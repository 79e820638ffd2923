"""RProp against NumPy in float64, and in runs, of which one has the fused step."""

import mxnet as mx
import numpy as onp
import pytest
from helpers import epochs_of, train_into
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import np

from d2l_autorec.training.fused import RProp

RUN = dict(dataset="synthetic:50x60x700", epochs=6, hidden=(6,), dropout=0.0, quiet=True)
FULL = {**RUN, "optimizer": "rprop", "batch_size": "all", "lr": 0.01, "cpus": 1}


def reference(weights, gradients, first, wd):
    """Igel and Huesken (2000), algorithm 4, a weight at a time; the weights after each step."""
    weights = onp.array(weights, dtype="float64")
    size, last = onp.full(weights.shape, first), onp.zeros(weights.shape)
    found = []

    for gradient in gradients:
        now = gradient + wd * weights
        for k in range(len(weights)):
            if now[k] * last[k] > 0:
                size[k] = min(size[k] * 1.2, 0.1)
            elif now[k] * last[k] < 0:
                size[k] = max(size[k] * 0.5, 1e-6)
                now[k] = 0
            weights[k] -= onp.sign(now[k]) * size[k]
            last[k] = now[k]
        found.append(weights.copy())

    return found


def steps_of(optimizer, weights, gradients):
    """The same by MXNet's updater, as a Trainer calls it."""
    weight = np.array(weights, dtype="float32")
    updater = mx.optimizer.get_updater(optimizer)
    found = []

    for gradient in gradients:
        updater(0, np.array(gradient, dtype="float32"), weight)
        found.append(weight.asnumpy().copy())

    return found


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([1e-30, 1.0, 1e20]),
)
def test_steps_equal_those_of_float64(seed, count, wd, unit):
    """Whatever the unit: the product of two gradients would be 0, or infinite, in float32."""
    rng = onp.random.default_rng(seed)
    gradients = rng.choice([-1, -0.5, 0, 0.5, 1], (count, 5)) * unit
    weights = rng.normal(size=5)
    found = steps_of(RProp(learning_rate=0.02, wd=wd * unit), weights, gradients)
    expected = reference(weights, gradients, 0.02, wd * unit)
    onp.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    "options", [{"kernel": "dense"}, {"cpus": 2}, {"hidden": (6, 4, 6)}, {"center": True}]
)
def test_all_kernels_and_devices_train_alike(options, tmp_path):
    losses = []
    for name, others in (("fused", {}), ("other", options)):
        train_into(tmp_path / name, **{**FULL, **others})
        losses.append([float(row["train_loss"]) for row in epochs_of(tmp_path / name)])

    assert losses[1] == sorted(losses[1], reverse=True)
    if not {"hidden", "center"} & options.keys():
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)

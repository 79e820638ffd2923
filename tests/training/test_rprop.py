"""RProp by hand, against NumPy in float64, in the fused step, and in runs."""

import mxnet as mx
import numpy as onp
import pytest
from helpers import epochs_of, train_run
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import gluon, np
from scipy import sparse

from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.kernels.fused_step import RPROP_RATES, FusedStep, Layers
from d2l_autorec.models.deep_autorec import DeepAutoRec
from d2l_autorec.models.registry import make_config
from d2l_autorec.models.sparse_autorec import predict
from d2l_autorec.training.fused import RProp
from d2l_autorec.training.losses import MaskedL2Loss

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


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "identity"])
def test_fused_steps_equal_the_composed_ones(activation):
    rows, columns, units, wd = 16, 60, 9, 0.01
    net = DeepAutoRec((units,), columns, 0.0, activation)
    net.initialize(init=mx.init.Normal(0.3))
    layers = net.encoder.weight, net.encoder.bias, net.decoder.weight, net.decoder.bias

    copies = Layers(*(layer.data().asnumpy().copy() for layer in layers))
    sizes, signs = (Layers(*(onp.full_like(copy, k) for copy in copies)) for k in (0.02, 0))
    decay = Layers(wd, wd, wd, wd)
    step = FusedStep(copies, (sizes, signs), activation, rule="rprop", wd=decay)
    trainer = gluon.Trainer(net.collect_params(), "rprop", {"learning_rate": 0.02, "wd": wd})

    rng = onp.random.default_rng(5)
    x = rng.integers(1, 6, (rows, columns)) * (rng.uniform(size=(rows, columns)) < 0.4)
    batch = CSRBatch.of(sparse.csr_matrix(x))

    for _ in range(15):
        step(batch, onp.arange(rows), onp.uint64(0), RPROP_RATES, batch.data)
        with mx.autograd.record():
            loss = MaskedL2Loss()(predict(net, batch), batch)
        loss.backward()
        trainer.step(rows)

    for name, copy, layer in zip(Layers._fields, copies, layers):
        differs = abs(copy - layer.data().asnumpy()) > 1e-4
        assert differs.mean() < 0.01, name  # where a gradient is all but 0, rounding has a sign


@pytest.mark.parametrize(
    "options", [{}, {"kernel": "dense"}, {"cpus": 2}, {"hidden": (6, 4, 6)}, {"center": True}]
)
def test_all_kernels_and_devices_train_alike(options, tmp_path):
    found = train_run(make_config({**FULL, **options, "out": str(tmp_path / "run")}))
    one_hidden = train_run(make_config({**FULL, "out": str(tmp_path / "one")}))
    losses = [float(row["train_loss"]) for row in epochs_of(tmp_path / "run")]
    assert losses == sorted(losses, reverse=True)
    if not {"hidden", "center"} & options.keys():
        assert found["test_rmse"] == pytest.approx(one_hidden["test_rmse"], rel=1e-3)

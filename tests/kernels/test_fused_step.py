"""The fused step against NumPy in float64 and against the composed path; its dropout masks."""

import os
import subprocess
import sys

import mxnet as mx
import numpy as onp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, gluon, np
from scipy import sparse as sp

from d2l_autorec import kernels
from d2l_autorec.kernels import fused_step
from d2l_autorec.kernels.csr import CSRBatch, numpy_view
from d2l_autorec.kernels.dropout import dropout_key, dropout_mask
from d2l_autorec.kernels.functions import masked_decode
from d2l_autorec.kernels.fused_step import (
    AdamOptions,
    FusedStep,
    Layers,
    OneHidden,
    RPropOptions,
    threads_for,
    work_of,
)
from d2l_autorec.models.deep_autorec import DeepAutoRec
from d2l_autorec.training.losses import MaskedL2Loss

WORD = 2**64 - 1
LR, STEPS = 0.01, 20
SHAPES = {"some rows": (9, 40, 17), "one row": (1, 40, 17), "one unit": (5, 3, 1)}
DECAYS = {
    "none": Layers(0.0, 0.0, 0.0, 0.0),
    "all": Layers(0.01, 0.01, 0.01, 0.01),
    "weights": Layers(0.01, 0.0, 0.01, 0.0),
}


@pytest.fixture
def every_share(monkeypatch):
    """As many threads as are configured, however little the work."""
    monkeypatch.setattr(fused_step, "WORTH_A_THREAD", 1)


@pytest.fixture
def threads(monkeypatch):
    """Sets the number of threads of one test."""
    kernels.load()
    return lambda count: monkeypatch.setattr(kernels, "_threads", count)


def batch_of(dense):
    matrix = sp.csr_matrix(dense)
    return CSRBatch(matrix.indptr, matrix.indices, matrix.data, dense.shape[1])


def ratings(rng, rows, columns):
    """Dense ratings, 0 where there is none; the second row and the third column are empty."""
    dense = rng.integers(1, 6, (rows, columns)) * (rng.uniform(size=(rows, columns)) < 0.4)
    dense[1:2] = 0
    dense[:, 2] = 0
    return dense.astype("float32")


def initial(rng, columns, units):
    """Small enough that no unit is saturated: there, Adam would enlarge what float32 rounds."""
    shapes = (columns, units), (units,), (columns, units), (columns,)
    return Layers(*(rng.normal(0, 0.1, shape).astype("float32") for shape in shapes))


def step_of(parameters, network, options=None, states=None):
    """A step with the states before the first one, by default Adam's."""
    options = options or AdamOptions()
    zeros = [Layers(*map(onp.zeros_like, parameters)) for _ in range(2)]
    if isinstance(options, RPropOptions):
        zeros[0] = Layers(*(onp.full_like(array, 0.001) for array in parameters))
    return FusedStep(parameters, network, options, states or zeros)


def float64_of(layers):
    return Layers(*(array.astype("float64") for array in layers))


# (function, its slope) of hidden units, by the input
REFERENCE = {
    "identity": (lambda z: z, onp.ones_like),
    "sigmoid": (
        lambda z: 1 / (1 + onp.exp(-z)),
        lambda z: onp.exp(-z) / (1 + onp.exp(-z)) ** 2,
    ),
    "tanh": (onp.tanh, lambda z: 1 / onp.cosh(z) ** 2),
    "relu": (lambda z: onp.maximum(z, 0), lambda z: (z > 0).astype("float64")),
}


def reference_step(parameters, moments, x, mask, activation, wd, t):
    """One dense step in float64, after the formulas; (loss, squared error, count)."""
    function, slope = REFERENCE[activation]
    v, mu, w, b = parameters
    rows, columns = x.shape
    pre = x @ v + mu
    hidden = function(pre) * mask
    errors = onp.where(x > 0, hidden @ w.T + b - x, 0)

    upstream = errors / columns / rows
    to_pre = upstream @ w * mask * slope(pre)
    gradients = x.T @ to_pre, to_pre.sum(0), upstream.T @ hidden, upstream.sum(0)

    for parameter, gradient, mean, variance, decay in zip(parameters, gradients, *moments, wd):
        g = gradient + decay * parameter
        mean[...] = 0.9 * mean + 0.1 * g
        variance[...] = 0.999 * variance + 0.001 * g**2
        lr = LR * onp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        parameter -= lr * mean / (onp.sqrt(variance) + 1e-8)

    squared = (errors**2).sum()
    return 0.5 / columns * squared, squared, (x > 0).sum()


@pytest.mark.parametrize("wd", DECAYS.values(), ids=DECAYS)
@pytest.mark.parametrize("activation", REFERENCE)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_twenty_steps_equal_those_of_float64(shape, activation, wd):
    rows, columns, units = shape
    rng = onp.random.default_rng(3)
    parameters = initial(rng, columns, units)
    expected = float64_of(parameters)
    moments = [Layers(*map(onp.zeros_like, expected)) for _ in range(2)]
    step = step_of(parameters, OneHidden(activation, 0.2), AdamOptions(wd))

    for t in range(1, STEPS + 1):
        x = ratings(rng, rows, columns)
        key = dropout_key(7, 1, t)
        sums = step(batch_of(x), key, LR, t)

        mask = dropout_mask(key, rows, units, 0.2)
        onp.testing.assert_allclose(
            sums, reference_step(expected, moments, x, mask, activation, wd, t), rtol=1e-4
        )

    for name, array, wanted in zip(Layers._fields, parameters, expected):
        onp.testing.assert_allclose(array, wanted, rtol=2e-4, atol=2e-4, err_msg=name)
    for mean, wanted in zip(step.states[0], moments[0]):
        onp.testing.assert_allclose(mean, wanted, rtol=2e-3, atol=2e-5)
    for variance, wanted in zip(step.states[1], moments[1]):
        onp.testing.assert_allclose(variance, wanted, rtol=2e-3, atol=2e-6)


def network(columns, units, activation):
    """An AutoRec whose parameters begin with numbers that are large enough to matter."""
    mx.npx.set_np()
    net = DeepAutoRec((units,), columns, 0.0, activation)
    net.initialize(init=mx.init.Normal(0.3))
    return net


def layers_of(net):
    encoder, decoder = net.encoder, net.decoder
    trained = encoder.weight, encoder.bias, decoder.weight, decoder.bias
    return Layers(*(numpy_view(parameter.data(), write=True) for parameter in trained))


@pytest.mark.parametrize("activation", REFERENCE)
def test_twenty_steps_equal_the_composed_ones(activation):
    rows, columns, units, rate, wd = 16, 60, 33, 0.3, 0.01
    net = network(columns, units, activation)
    for parameter in (net.encoder.bias, net.decoder.bias):
        parameter.wd_mult = 0.0

    parameters = Layers(*(array.copy() for array in layers_of(net)))
    step = step_of(parameters, OneHidden(activation, rate), AdamOptions(Layers(wd, 0.0, wd, 0.0)))
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": LR, "wd": wd})
    rng = onp.random.default_rng(5)

    for t in range(1, STEPS + 1):
        batch, key = batch_of(ratings(rng, rows, columns)), dropout_key(0, 2, t)
        loss, squared, count = step(batch, key, LR, t)

        mask = np.array(dropout_mask(key, rows, units, rate))
        with autograd.record():
            hidden = net.encoder(batch) * mask
            output = masked_decode(batch, hidden, net.decoder.weight, net.decoder.bias)
            expected = MaskedL2Loss()(output, batch)
        expected.backward()
        trainer.step(rows)

        errors = output.asnumpy() - batch.data
        assert loss == pytest.approx(float(expected), rel=1e-4)
        assert squared == pytest.approx(errors @ errors, rel=1e-4)
        assert count == len(errors)

    for array, wanted in zip(parameters, layers_of(net)):
        onp.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-4)


ADAM = AdamOptions()
RULES = [ADAM, RPropOptions()]


def trained(seed=0, steps=3, rate=0.1, options=ADAM):
    """What a few steps make of the parameters, their moments and the sums."""
    rng = onp.random.default_rng(seed)
    step = step_of(initial(rng, 300, 19), OneHidden("sigmoid", rate), options)
    sums = [
        step(batch_of(ratings(rng, 40, 300)), dropout_key(seed, 1, t), LR, t)
        for t in range(1, steps + 1)
    ]
    return step, sums


@pytest.mark.parametrize("options", RULES)
@pytest.mark.parametrize("count", [2, 3, 64])
def test_no_bit_depends_on_the_threads(threads, every_share, count, options):
    threads(1)
    alone, alone_sums = trained(options=options)
    threads(count)
    assert threads_for(work_of(40, 300, 19, 1)) == count
    shared, shared_sums = trained(options=options)

    assert shared_sums == alone_sums
    for one, other in zip(all_of(alone), all_of(shared)):
        onp.testing.assert_array_equal(one, other)


def all_of(step):
    """Everything that a step changes."""
    return [*step.parameters, *step.states[0], *step.states[1]]


PROGRAM = """
import hashlib
import numpy as np
from d2l_autorec import kernels
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.kernels.dropout import dropout_key
from d2l_autorec.kernels.fused_step import AdamOptions, FusedStep, Layers, OneHidden

kernels.set_threads(1)
rng = np.random.default_rng(0)
shapes = (90, 70), (70,), (90, 70), (90,)
parameters = Layers(*(rng.normal(0, 0.1, shape).astype("float32") for shape in shapes))
indices = np.tile(np.arange(90, dtype="int32"), 20)
batch = CSRBatch(np.arange(0, 1801, 90, dtype="int32"), indices, np.ones(1800, "float32"), 90)
states = [Layers(*map(np.zeros_like, parameters)) for _ in range(2)]
step = FusedStep(parameters, OneHidden("sigmoid", 0.1), AdamOptions(), states)
for t in (1, 2, 3):
    step(batch, dropout_key(0, 1, t), 0.01, t)
print([hashlib.sha256(array).hexdigest() for array in parameters])
"""


def test_a_step_from_the_cache_is_the_one_that_was_compiled(tmp_path):
    """To the bit, or a run that is stopped and resumed would be another."""
    command = [sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    digests = [
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        for _ in ("compiles", "loads")
    ]

    assert list(tmp_path.rglob("numba_fused.fused_step*.nbc"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("options", RULES)
def test_a_step_goes_on_from_captured_arrays(options):
    whole, sums = trained(steps=4, options=options)

    rng = onp.random.default_rng(0)
    parameters = initial(rng, 300, 19)
    batches = [batch_of(ratings(rng, 40, 300)) for _ in range(4)]
    network, states = OneHidden("sigmoid", 0.1), None
    for t, batch in enumerate(batches, start=1):  # a new object for each step
        step = step_of(parameters, network, options, states)
        assert step(batch, dropout_key(0, 1, t), LR, t) == sums[t - 1]
        parameters, *states = (
            Layers(*(array.copy() for array in layers))
            for layers in (step.parameters, *step.states)
        )

    for one, other in zip(all_of(whole), all_of(step)):
        onp.testing.assert_array_equal(one, other)


def test_batches_of_any_length_follow_each_other():
    """The last is a short one, and none has what a longer one left."""
    rng = onp.random.default_rng(1)
    parameters = initial(rng, 20, 5)
    expected = float64_of(parameters)
    moments = [Layers(*map(onp.zeros_like, expected)) for _ in range(2)]
    step = step_of(parameters, OneHidden())

    for t, rows in enumerate((8, 3, 12, 1), start=1):
        x = ratings(rng, rows, 20)
        sums = step(batch_of(x), dropout_key(0, 1, t), LR, t)
        wanted = reference_step(expected, moments, x, 1, "sigmoid", DECAYS["none"], t)
        onp.testing.assert_allclose(sums, wanted, rtol=1e-4)


def test_a_batch_without_ratings_is_decayed_only():
    parameters = initial(onp.random.default_rng(0), 6, 4)
    before = [array.copy() for array in parameters]
    step = step_of(parameters, OneHidden(), AdamOptions(DECAYS["weights"]))
    sums = step(batch_of(onp.zeros((3, 6), "float32")), dropout_key(0, 1, 1), LR, 1)

    assert sums == (0, 0, 0)
    for array, old, moves in zip(parameters, before, (True, False, True, False)):
        onp.testing.assert_allclose(array, old - moves * LR * onp.sign(old), atol=1e-4)


@pytest.mark.parametrize("activation", REFERENCE)
def test_a_diverged_network_shows(activation):
    parameters = initial(onp.random.default_rng(0), 6, 4)
    parameters.encoder_weight[:] = onp.nan
    step = step_of(parameters, OneHidden(activation))
    loss, squared, _ = step(batch_of(onp.ones((3, 6), "float32")), dropout_key(0, 1, 1), LR, 1)

    assert onp.isnan([loss, squared]).all()


def test_activations_of_large_and_small_numbers():
    from d2l_autorec.kernels import numba_fused

    z = onp.concatenate([onp.linspace(-100, 100, 100_001), [0, 1e30, -1e30, onp.inf, -onp.inf]])
    for number, name in enumerate(fused_step.ACTIVATIONS):
        out = z.astype("float32")
        numba_fused._activate(out, number)
        with onp.errstate(over="ignore"):
            expected = REFERENCE[name][0](z.astype("float32").astype("float64"))
        onp.testing.assert_allclose(out, expected, rtol=0, atol=3e-7, err_msg=name)


def test_threads_by_work(threads):
    threads(2)
    assert threads_for(work_of(256, 943, 500, 13_700)) == 2  # of ML-100K
    assert threads_for(work_of(32, 610, 500, 300)) == 1  # of ml-latest-small
    threads(64)
    worth = fused_step.WORTH_A_THREAD
    assert [threads_for(work) for work in (0, worth, 7 * worth, 10**12)] == [1, 1, 7, 64]


# Masks


def splitmix64(state, number):
    """Vigna's splitmix64.c, its state advanced `number` times before; on Python's integers."""
    z = (state + (number + 1) * 0x9E3779B97F4A7C15) & WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
    return z ^ (z >> 31)


def test_draws_are_those_of_splitmix64():
    # the published outputs of splitmix64.c with seed 1234567
    published = 6457827717110365317, 3203168211198807973, 9817491932198370423
    assert tuple(splitmix64(1234567, number) for number in range(3)) == published


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.integers(0, 2**31 - 1)] * 3),
    st.integers(0, 5),
    st.integers(1, 9),
    st.floats(0, 0.95),
    st.integers(0, 10**6),
)
def test_a_mask_equals_the_one_of_integers(path, rows, units, rate, first_row):
    seed, epoch, step = path
    key = splitmix64(splitmix64(seed, epoch), step)
    expected = onp.zeros((rows, units), dtype="float32")
    for row in range(rows):
        row_key = splitmix64(key, first_row + row)
        for unit in range(units):
            if splitmix64(row_key, unit) >= int(rate * 2**64):
                expected[row, unit] = onp.float32(1 / (1 - rate))

    assert int(dropout_key(seed, epoch, step)) == key
    mask = dropout_mask(dropout_key(seed, epoch, step), rows, units, rate, first_row)
    assert mask.dtype == onp.float32
    onp.testing.assert_array_equal(mask, expected)


def test_the_step_drops_what_the_mask_does(threads, every_share):
    """With identity and no weights, the hidden units are the bias times the mask."""
    rows, columns, units = 50, 4, 70
    parameters = Layers(
        onp.zeros((columns, units), "float32"),
        onp.ones(units, "float32"),
        onp.zeros((columns, units), "float32"),
        onp.zeros(columns, "float32"),
    )
    key, x = dropout_key(3, 1, 4), batch_of(onp.ones((rows, columns), "float32"))
    expected = dropout_mask(key, rows, units, 0.4)
    for count in (1, 2, 3):
        threads(count)
        step = step_of(parameters, OneHidden("identity", 0.4))
        step(x, key, 0.0, 1)
        onp.testing.assert_array_equal(step._workspace[0], expected)


def test_parts_of_a_batch_have_parts_of_its_mask():
    key = dropout_key(1, 2, 3)
    whole = dropout_mask(key, 20, 30, 0.3)
    parts = [dropout_mask(key, 10, 30, 0.3, first_row) for first_row in (0, 10)]

    onp.testing.assert_array_equal(onp.concatenate(parts), whole)
    onp.testing.assert_array_equal(dropout_mask(key, 20, 7, 0.3), whole[:, :7])

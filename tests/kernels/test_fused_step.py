"""The fused step against NumPy in float64; its dropout masks."""

import numpy as onp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse as sp

from d2l_autorec import kernels
from d2l_autorec.kernels import fused_step
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.kernels.dropout import dropout_key, dropout_mask
from d2l_autorec.kernels.fused_step import (
    RPROP_RATES,
    FusedStep,
    Layers,
    adam_rates,
    threads_for,
    work_of,
)

WORD = 2**64 - 1
LR, STEPS = 0.01, 20
# rows of the steps in turn, columns, units
SHAPES = {"some rows": ((8, 3, 12, 1), 40, 17), "one row": ((1,), 40, 17), "one unit": ((5,), 3, 1)}
DECAYS = {
    "none": Layers(0.0, 0.0, 0.0, 0.0),
    "all": Layers(0.01, 0.01, 0.01, 0.01),
    "weights": Layers(0.01, 0.0, 0.01, 0.0),
}


@pytest.fixture
def every_share(monkeypatch):
    """As many threads as are configured, however little the work, and however few CPUs idle."""
    monkeypatch.setattr(kernels, "idle_threads", kernels.threads)
    monkeypatch.setattr(fused_step, "WORTH_A_THREAD", 1)


@pytest.fixture
def threads(monkeypatch):
    """Sets the number of threads of one test."""
    kernels.load()
    return lambda count: monkeypatch.setattr(kernels, "_threads", count)


def batch_of(dense):
    return CSRBatch.of(sp.csr_matrix(dense))


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


def step_of(parameters, states=None, **options):
    """A step with the states before the first one."""
    zeros = [Layers(*map(onp.zeros_like, parameters)) for _ in range(2)]
    if options.get("rule") == "rprop":
        zeros[0] = Layers(*(onp.full_like(array, 0.001) for array in parameters))
    return FusedStep(parameters, states or zeros, **options)


def take(step, batch, key, rates):
    """A step on all rows, whose data are to be predicted."""
    return step(batch, onp.arange(len(batch)), key, rates, batch.data)


def float64_of(layers):
    return Layers(*(array.astype("float64") for array in layers))


# (function, its slope) of hidden units, by the input
REFERENCE = {
    "identity": (lambda z: z, onp.ones_like),
    "sigmoid": (lambda z: 1 / (1 + onp.exp(-z)), lambda z: onp.exp(-z) / (1 + onp.exp(-z)) ** 2),
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
    """No batch has what a longer one left; of one without ratings all weights decay."""
    lengths, columns, units = shape
    rng = onp.random.default_rng(3)
    parameters = initial(rng, columns, units)
    expected = float64_of(parameters)
    moments = [Layers(*map(onp.zeros_like, expected)) for _ in range(2)]
    step = step_of(parameters, activation=activation, dropout=0.2, wd=wd)

    for t in range(1, STEPS + 1):
        rows = lengths[t % len(lengths)]
        x = ratings(rng, rows, columns) * (t != 5)
        key = dropout_key(7, 1, t)
        sums = take(step, batch_of(x), key, adam_rates(LR, t))

        mask = dropout_mask(key, rows, units, 0.2)
        assert_allclose(
            sums, reference_step(expected, moments, x, mask, activation, wd, t), rtol=1e-4
        )

    for name, array, wanted in zip(Layers._fields, parameters, expected):
        assert_allclose(array, wanted, rtol=2e-4, atol=2e-4, err_msg=name)
    for mean, wanted in zip(step.states[0], moments[0]):
        assert_allclose(mean, wanted, rtol=2e-3, atol=2e-5)
    for variance, wanted in zip(step.states[1], moments[1]):
        assert_allclose(variance, wanted, rtol=2e-3, atol=2e-6)


def rates(rule, t):
    return RPROP_RATES if rule == "rprop" else adam_rates(LR, t)


def trained(rule, steps=3):
    """What a few steps make of the parameters, their moments and the sums."""
    rng = onp.random.default_rng(0)
    step = step_of(initial(rng, 300, 19), dropout=0.1, rule=rule)
    sums = [
        take(step, batch_of(ratings(rng, 40, 300)), dropout_key(0, 1, t), rates(rule, t))
        for t in range(1, steps + 1)
    ]
    return step, sums


@pytest.mark.parametrize("rule", kernels.RULES)
@pytest.mark.parametrize("count", [2, 3, 64])
def test_no_bit_depends_on_the_threads(threads, every_share, count, rule):
    threads(1)
    alone, alone_sums = trained(rule)
    threads(count)
    assert threads_for(work_of(40, 300, 19, 1), count) == count
    shared, shared_sums = trained(rule)

    assert shared_sums == alone_sums
    for one, other in zip(all_of(alone), all_of(shared)):
        assert_array_equal(one, other)


def all_of(step):
    """Everything that a step changes."""
    return [*step.parameters, *step.states[0], *step.states[1]]


@pytest.mark.parametrize("activation", REFERENCE)
def test_a_diverged_network_shows(activation):
    parameters = initial(onp.random.default_rng(0), 6, 4)
    parameters.encoder_weight[:] = onp.nan
    step = step_of(parameters, activation=activation)
    ones = batch_of(onp.ones((3, 6), "float32"))
    loss, squared, _ = take(step, ones, dropout_key(0, 1, 1), adam_rates(LR, 1))

    assert onp.isnan([loss, squared]).all()


def test_activations_of_large_and_small_numbers():
    from d2l_autorec.kernels import numba_fused

    z = onp.concatenate([onp.linspace(-100, 100, 100_001), [0, 1e30, -1e30, onp.inf, -onp.inf]])
    for number, name in enumerate(kernels.ACTIVATIONS):
        out = z.astype("float32")
        numba_fused._activate(out, number)
        with onp.errstate(over="ignore"):
            expected = REFERENCE[name][0](z.astype("float32").astype("float64"))
        assert_allclose(out, expected, rtol=0, atol=3e-7, err_msg=name)


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


@settings(max_examples=30)
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
    assert_array_equal(mask, expected)

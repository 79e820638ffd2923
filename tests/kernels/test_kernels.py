"""The sparse kernels against NumPy, and the sparse network against the dense one."""

import mxnet as mx
import numpy as onp
import pytest
from helpers import python, succeeded
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import gluon
from mxnet.gluon import nn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse as sp

from d2l_autorec import AutoRec, kernels
from d2l_autorec.data.sources import synthetic_ratings
from d2l_autorec.kernels import ACTIVATIONS as FUSED_ACTIVATIONS
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.models.base import Model, as_csr
from d2l_autorec.models.catalog.autorec import ACTIVATIONS
from d2l_autorec.models.deep_autorec import DeepAutoRec
from d2l_autorec.models.mf import MF
from d2l_autorec.models.sparse_autorec import SparseAutoRec
from d2l_autorec.runs.experiment import choose_kernel
from d2l_autorec.support.errors import ConfigError, DataWarning
from d2l_autorec.training import losses
from d2l_autorec.training.callbacks import Callback, StepSeed
from d2l_autorec.training.fused import AutoRecSteps, FactorSteps
from d2l_autorec.training.loaders import BATCHES, PairRows, Pairs, train_loader
from d2l_autorec.training.loop import Training, fit


@st.composite
def problems(draw):
    """A sparse batch, empty rows and columns included, with weights."""
    rows, columns, hidden = (draw(st.integers(1, n)) for n in (7, 99, 6))
    rng = onp.random.default_rng(draw(st.integers(0, 10**6)))
    dense = rng.integers(1, 6, (rows, columns)) * (
        rng.uniform(size=(rows, columns)) < draw(st.floats(0, 1))
    )

    def normal(*shape):
        return rng.normal(size=shape).astype("float32")

    return (
        sp.csr_matrix(dense.astype("float32")),
        normal(columns, hidden),
        normal(hidden),
        normal(columns),
        normal(rows, hidden),
    )


close = dict(rtol=2e-5, atol=2e-5)


@settings(max_examples=60)
@given(problems())
def test_kernels_equal_numpy(problem):
    matrix, weight, bias, column_bias, hidden = problem
    batch, x = CSRBatch.of(matrix), matrix.toarray()
    rows, columns = matrix.nonzero()
    out = onp.empty_like(hidden)
    kernels.weighted_columns(*batch.groups, matrix.data, weight, bias, out)
    assert_allclose(out, x @ weight + bias, **close)
    products = onp.empty(matrix.nnz, dtype="float32")
    kernels.masked_products(*batch.groups, hidden, weight, column_bias, products)
    assert_allclose(products, (hidden @ weight.T + column_bias)[rows, columns], **close)
    gradient = onp.empty_like(weight)
    kernels.weight_gradient(*batch.groups, matrix.data, hidden, gradient)
    assert_allclose(gradient, x.T @ hidden, **close)


@settings(max_examples=30)
@given(problems(), st.data())
def test_rows_that_are_chosen_of_a_matrix(problem, data):
    matrix = problem[0]
    numbers = onp.array(data.draw(st.lists(st.integers(0, matrix.shape[0] - 1), min_size=1)))
    rows = BATCHES["sparse"](matrix)(numbers)
    assert rows.indptr.dtype == rows.indices.dtype == "int32"
    assert_array_equal(as_csr(rows).toarray(), matrix[numbers].toarray())


class Losses(Callback):
    """The loss of every step."""

    def __init__(self):
        self.values = []

    def on_step_end(self, training):
        self.values.append(float(training.steps[-1][0]))


def trained(kernel, matrix, optimizer="adam", dropout=0.05, lr=0.001, **network):
    """Parameters, losses and history of five epochs."""
    mx.random.seed(11)
    net = DeepAutoRec(network.pop("hidden", (20,)), matrix.shape[1], dropout, **network)
    net.initialize(init=mx.init.Normal(0.05))
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": lr, "wd": 1e-5})

    loader = train_loader(matrix, 32, 0, BATCHES["dense" if kernel == "dense" else "sparse"])
    training = Training(net, loader, losses.MaskedL2Loss(), trainer, [mx.cpu()])
    if kernel == "fused":
        training.step = AutoRecSteps(SparseAutoRec(net).one_hidden())

    recorded = Losses()
    history = fit(training, 5, [StepSeed(5), recorded])
    return [p.data().asnumpy() for p in net.collect_params().values()], recorded.values, history


@pytest.mark.parametrize("based", ["item", "user"])
@pytest.mark.parametrize(
    "others, options",
    [
        (["sparse", "fused"], dict(lr=0.01)),
        (["sparse"], dict(lr=0.01, optimizer="sgd")),
        (["sparse"], dict(lr=0.01, optimizer="rmsprop")),
        (["sparse"], dict(hidden=(20, 10, 20))),
        (["sparse"], dict(hidden=(12, 5, 12), tied=True)),
        *((["fused"], dict(encoder_activation=name)) for name in FUSED_ACTIVATIONS),
        *(
            (["sparse"], dict(encoder_activation=name, decoder_activation=other, dropout=0.0))
            for name, other in zip(ACTIVATIONS, (*ACTIVATIONS[2:], *ACTIVATIONS[:2]))
        ),
    ],
    ids=str,
)
def test_every_kernel_trains_the_same_network(based, others, options):
    """Dropout on, the same masks: losses of every step, parameters after five epochs."""
    matrix = synthetic_ratings(70, 110, 1800).to_csr(based)
    dense = trained("dense", matrix, **options)
    tolerance = 1e-4
    for kernel in others:
        found = trained(kernel, matrix, **options)
        assert_allclose(found[1], dense[1], rtol=tolerance)
        for ours, theirs in zip(found[0], dense[0]):
            assert onp.abs(ours - theirs).max() <= tolerance * onp.abs(theirs).max()
        for ours, theirs in zip(found[2], dense[2]):
            assert ours.train_rmse == pytest.approx(theirs.train_rmse, rel=tolerance)
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=tolerance)
            assert ours.ratings == theirs.ratings


def factorized(compiled, optimizer, wd, penalty, centred):
    """Parameters and losses of three epochs of a factorization."""
    mx.random.seed(11)
    ratings = synthetic_ratings(70, 110, 1800)
    net = MF(7, 70, 110, ratings.means() if centred else None, penalty)
    net.initialize(init=mx.init.Normal(0.1))
    trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": 0.01, "wd": wd})

    loader = train_loader(Pairs.of(ratings), 256, 0, PairRows)
    training = Training(net, loader, losses.PenalizedL2Loss(), trainer, [mx.cpu()])
    if compiled:
        training.step = FactorSteps(net)
    recorded = Losses()
    fit(training, 3, [recorded])
    return [p.data().asnumpy() for p in net.collect_params().values()], recorded.values


@pytest.mark.parametrize("optimizer, wd", [("adam", 0.0), ("adam", 1e-2), ("rprop", 1e-2)])
@pytest.mark.parametrize("penalty, centred", [(0.0, False), (0.3, True)])
def test_the_compiled_factorization_is_that_of_autograd(
    optimizer, wd, penalty, centred, monkeypatch
):
    options = optimizer, wd, penalty, centred
    expected, of_autograd = factorized(False, *options)
    found, compiled = factorized(True, *options)
    assert_allclose(compiled, of_autograd, rtol=1e-4)
    for ours, theirs in zip(found, expected):
        assert onp.abs(ours - theirs).max() <= 1e-4 * onp.abs(theirs).max()

    monkeypatch.setattr("d2l_autorec.kernels.fused_step.WORTH_A_THREAD", 1)
    for threads in (1, 2):
        monkeypatch.setattr(kernels, "_threads", threads)
        for ours, others in zip(factorized(True, *options)[0], found):
            assert (ours == others).all()  # to the bit


FORKED = """
import multiprocessing
import d2l_autorec as d2l
parts = d2l.random_split(d2l.load_ratings("synthetic:60x80x900"))

def train(kernel):
    config = d2l.AutoRecConfig(epochs=1, hidden=8, quiet=True, threads=2, kernel=kernel)
    return d2l.train_model(config, *parts).metrics["test_rmse"]

for kernel in ("dense", "sparse"):
    rmse = train(kernel)
    with multiprocessing.Pool(2) as pool:
        try:
            assert pool.map_async(train, [kernel] * 2).get(60) == [rmse] * 2
        except d2l.ConfigError as error:
            print(kernel, error)
"""


def test_a_pool_after_a_training_computes_or_says_why_it_cannot():
    """Where a process is forked, numba ends it, and the pool would wait for ever."""
    done = succeeded(python("-c", FORKED))
    assert done.stdout.startswith("sparse ") and "get_context('spawn')" in done.stdout
    assert "Terminating" not in done.stderr


def test_choice_of_kernel():
    class Plain(nn.Block, Model):
        pass

    assert choose_kernel("auto", AutoRec(2, 3), [mx.cpu()])[0] == "sparse"
    assert choose_kernel("dense", AutoRec(2, 3), [mx.cpu()])[0] == "dense"
    kernel, why = choose_kernel("auto", AutoRec(2, 3), [mx.gpu(0)])
    assert kernel == "dense" and why == "the sparse kernels run on CPUs only"
    with pytest.raises(ConfigError, match="`kernel=sparse` runs on CPUs only"):
        choose_kernel("sparse", AutoRec(2, 3), [mx.gpu(0)])
    with pytest.warns(DataWarning, match="do not cover Plain: it trains dense"):
        assert choose_kernel("auto", Plain(), [mx.cpu()])[0] == "dense"

"""The sparse kernels against NumPy, and the sparse network against the dense one."""

import subprocess
import sys

import mxnet as mx
import numpy as onp
import pytest
from helpers import train_run
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, gluon, np
from mxnet.gluon import nn
from scipy import sparse as sp

from d2l_autorec import AutoRec, kernels
from d2l_autorec.data.sources import synthetic_ratings
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.kernels.fused_step import ACTIVATIONS as FUSED_ACTIVATIONS
from d2l_autorec.models.base import Model
from d2l_autorec.models.catalog.autorec import ACTIVATIONS, AutoRecConfig
from d2l_autorec.models.deep_autorec import DeepAutoRec
from d2l_autorec.models.sparse_autorec import SparseAutoRec, predict
from d2l_autorec.runs.experiment import choose_kernel
from d2l_autorec.support.errors import ConfigError, DataWarning
from d2l_autorec.training import loaders
from d2l_autorec.training.callbacks import Callback, StepSeed
from d2l_autorec.training.fused import FusedSteps
from d2l_autorec.training.loaders import BATCHES, train_loader
from d2l_autorec.training.loop import Training, fit
from d2l_autorec.training.losses import MaskedL2Loss, MaskedRootLoss, MultinomialLoss


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


def batch_of(matrix, ctx=None):
    return CSRBatch(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1], ctx)


close = dict(rtol=2e-5, atol=2e-5)


@settings(deadline=None, max_examples=60)
@given(problems())
def test_kernels_equal_numpy(problem):
    matrix, weight, bias, column_bias, hidden = problem
    batch, x = batch_of(matrix), matrix.toarray()
    rows, columns = matrix.nonzero()
    out = onp.empty_like(hidden)
    kernels.weighted_columns(*batch.groups, matrix.data, weight, bias, out)
    onp.testing.assert_allclose(out, x @ weight + bias, **close)
    products = onp.empty(matrix.nnz, dtype="float32")
    kernels.masked_products(*batch.groups, hidden, weight, column_bias, products)
    onp.testing.assert_allclose(products, (hidden @ weight.T + column_bias)[rows, columns], **close)
    gradient = onp.empty_like(weight)
    kernels.weight_gradient(*batch.groups, matrix.data, hidden, gradient)
    onp.testing.assert_allclose(gradient, x.T @ hidden, **close)


@settings(deadline=None, max_examples=30)
@given(problems(), st.sampled_from([0.1, 1, 300]))
def test_multinomial_likelihood_equals_that_of_dense_rows(problem, spread):
    matrix, weight, _, _, hidden = problem
    dense, losses, gradients = np.array(matrix.toarray()), [], []
    for label in (dense, batch_of(matrix)):
        logits = np.array(hidden @ weight.T * spread)
        logits.attach_grad()
        with autograd.record():
            loss = MultinomialLoss()(logits, label) * np.arange(1, len(hidden) + 1)
        loss.backward()
        losses.append(loss.asnumpy())
        gradients.append(logits.grad.asnumpy())
    onp.testing.assert_allclose(*losses, rtol=1e-4, atol=1e-3)
    onp.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(problems(), st.data())
def test_taking_rows(problem, data):
    matrix = problem[0]
    rows = onp.array(data.draw(st.lists(st.integers(0, matrix.shape[0] - 1), min_size=1)))
    taken = kernels.take_rows(matrix.indptr, matrix.indices, matrix.data, rows)
    onp.testing.assert_array_equal(
        sp.csr_matrix((taken[2], taken[1], taken[0]), (len(rows), matrix.shape[1])).toarray(),
        matrix[rows].toarray(),
    )


@settings(deadline=None, max_examples=20)
@given(problems())
def test_gradients_equal_the_dense_ones(problem):
    """Of a scalar function of both layers, by autograd through ordinary operators between."""
    matrix, *_, hidden = problem
    net = AutoRec(hidden.shape[1], matrix.shape[1], dropout=0)
    net.initialize(init=mx.init.Normal(0.5))
    gradients = []
    for x in (np.array(matrix.toarray()), batch_of(matrix)):
        with autograd.record():
            loss = MaskedL2Loss()(predict(net, x), x).sum()
        loss.backward()
        gradients.append([p.grad().asnumpy() for p in net.collect_params().values()])
    for dense, sparse in zip(*gradients):
        onp.testing.assert_allclose(sparse, dense, **close)


@pytest.mark.parametrize("used", [1, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_several_forwards_in_one_step(used, tied):
    """Gradients add up over batches, and a forward that the loss does not use changes none."""
    matrix, found = synthetic_ratings(12, 9, 50).to_csr(), []
    for kind in ("sparse", "dense"):
        mx.random.seed(7)
        net = DeepAutoRec((5,), matrix.shape[1], 0.0, tied=tied)
        net.initialize(init=mx.init.Normal(0.3))
        batches = [BATCHES[kind](matrix)(list(range(k, 9))) for k in range(4)]
        with autograd.record():
            losses = [
                MaskedL2Loss()(predict(net, x), x).sum() * (k + 1) for k, x in enumerate(batches)
            ]
            total = sum(losses[1:used], losses[0])
        total.backward()
        found.append([p.grad().asnumpy() for p in net.collect_params().values()])
    for sparse, dense in zip(*found):
        onp.testing.assert_allclose(sparse, dense, rtol=1e-4, atol=1e-5)


class Losses(Callback):
    """The loss of every step."""

    def __init__(self):
        self.values = []

    def on_step_end(self, training):
        self.values.append(float(training.steps[-1][0]))


def trained(  # noqa: PLR0913
    kernel,
    matrix,
    devices=1,
    dropout=0.05,
    epochs=5,
    optimizer="adam",
    loss=None,
    num_hidden=(20,),
    lr=0.01,
    batch_size=32,
    **network,
):
    contexts = [mx.cpu(i) for i in range(devices)]
    mx.random.seed(11)
    net = DeepAutoRec(num_hidden, matrix.shape[1], dropout, **network)
    net.initialize(init=mx.init.Normal(0.05), ctx=contexts)
    net.hybridize()
    options = {"learning_rate": lr, "wd": 1e-5}
    trainer = gluon.Trainer(net.collect_params(), optimizer, options)

    batchify = BATCHES["sparse"]
    if kernel == "dense":
        batchify = BATCHES["dense"]
    loader = train_loader(matrix, batch_size, 0, batchify)
    training = Training(net, loader, loss or MaskedL2Loss(), trainer, contexts)
    if kernel == "fused":
        training.step = FusedSteps(SparseAutoRec(net).one_hidden(), "root" if loss else "l2")

    recorded = Losses()
    history = fit(training, epochs, [StepSeed(5), recorded])
    parameters = [p.data(contexts[0]).asnumpy() for p in net.collect_params().values()]
    return parameters, recorded.values, history


def assert_same(ours, theirs, tolerance=1e-4):
    onp.testing.assert_allclose(ours[1], theirs[1], rtol=tolerance)
    for a, b in zip(ours[0], theirs[0]):
        assert onp.abs(a - b).max() <= tolerance * onp.abs(b).max()
    for a, b in zip(ours[2], theirs[2]):
        assert a.train_rmse == pytest.approx(b.train_rmse, rel=tolerance)
        assert a.train_loss == pytest.approx(b.train_loss, rel=tolerance)
        assert a.ratings == b.ratings


@pytest.mark.parametrize("based", ["item", "user"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_parity_with_the_dense_network(based, optimizer):
    """Dropout on, the same masks: losses of every step, parameters after five epochs."""
    matrix = synthetic_ratings(70, 110, 1800).to_csr(based)
    dense = trained("dense", matrix, optimizer=optimizer)

    assert_same(trained("sparse", matrix, optimizer=optimizer), dense)
    if optimizer == "adam":
        assert_same(trained("fused", matrix), dense)


@pytest.mark.parametrize("activation", FUSED_ACTIVATIONS)
def test_parity_of_the_fused_step(activation):
    matrix = synthetic_ratings(70, 110, 1800).to_csr()
    options = dict(lr=0.001, encoder_activation=activation)
    assert_same(trained("fused", matrix, **options), trained("dense", matrix, **options))


def test_parity_with_the_root_loss():
    matrix = synthetic_ratings(70, 110, 1800).to_csr()
    dense = trained("dense", matrix, loss=MaskedRootLoss(), dropout=0)

    assert_same(trained("sparse", matrix, loss=MaskedRootLoss(), dropout=0), dense, 5e-4)
    assert_same(trained("fused", matrix, loss=MaskedRootLoss(), dropout=0), dense, 5e-4)


@pytest.mark.parametrize(
    "network",
    [
        dict(num_hidden=(20, 10, 20)),
        dict(tied=True),
        dict(num_hidden=(12, 5, 12), tied=True),
        *(
            dict(encoder_activation=name, decoder_activation=other)
            for name, other in zip(ACTIVATIONS, (*ACTIVATIONS[2:], *ACTIVATIONS[:2]))
        ),
    ],
    ids=str,
)
def test_parity_of_deep_tied_and_other_networks(network):
    """First and last layer are the kernels', whatever is between and behind them."""
    matrix = synthetic_ratings(70, 110, 1800).to_csr()
    options = dict(lr=0.001, dropout=0, epochs=3, **network)
    assert_same(trained("sparse", matrix, **options), trained("dense", matrix, **options))


def test_deep_run_uses_the_kernels_for_first_and_last_layer(monkeypatch, tmp_path):
    """Both functions run; no dense batch is made."""
    calls = []

    def counted(name, kernel):
        def call(*args):
            calls.append((name, len(args)))
            return kernel(*args)

        return call

    for name in ("weighted_columns", "masked_products", "weight_gradient"):
        monkeypatch.setattr(kernels, name, counted(name, getattr(kernels, name)))
    monkeypatch.setattr(loaders, "DenseRows", None)
    train_run(
        AutoRecConfig(
            dataset="synthetic:60x80x900",
            hidden=(10, 5, 10),
            epochs=2,
            batch_size=40,
            out=str(tmp_path / "run"),
            quiet=True,
        )
    )
    names = [name for name, _ in calls]
    steps = 4  # 80 rows in batches of 40, two epochs; an evaluation an epoch, and the result's
    assert names.count("weight_gradient") == 2 * steps  # encoder and decoder
    assert names.count("masked_products") == steps + 3
    assert names.count("weighted_columns") == 2 * steps + 3


@pytest.mark.parametrize("devices", [2, 3, 5])
def test_parity_on_several_devices(devices):
    matrix = synthetic_ratings(40, 33, 400).to_csr()  # 33 rows of 32: one row is left, and waits
    assert_same(
        trained("sparse", matrix, devices, dropout=0, epochs=2),
        trained("dense", matrix, 1, dropout=0, epochs=2),
    )


def test_a_failed_backward_pass_is_an_error_and_no_hang():
    """In a process of its own: MXNet's engine raises the error again wherever it is next used."""
    code = """
from d2l_autorec import AutoRec, kernels
import mxnet as mx
mx.npx.set_np()
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.models.sparse_autorec import predict
import numpy, scipy.sparse
kernels.weight_gradient = lambda *_: 1 / 0
net = AutoRec(2, 3)
net.initialize()
trainer = mx.gluon.Trainer(net.collect_params(), 'adam')
m = scipy.sparse.csr_matrix(numpy.ones((4, 3), "float32"))
with mx.autograd.record():
    loss = predict(net, CSRBatch(m.indptr, m.indices, m.data, 3)).sum()
mx.autograd.backward([loss])
trainer.step(4)
net.decoder.bias.data().asnumpy()
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert process.returncode != 0
    assert "ZeroDivisionError" in process.stdout  # where MXNet prints what a callback raised


FORKED = """
import multiprocessing
import d2l_autorec as d2l
parts = d2l.random_split(d2l.load_ratings("synthetic:60x80x900"))
config = d2l.AutoRecConfig(epochs=1, hidden=8, quiet=True, threads=2, kernel="KERNEL")
model = d2l.train_model(config, *parts)

def train(_):
    return d2l.train_model(config, *parts).metrics["test_rmse"]

with multiprocessing.Pool(2) as pool:
    try:
        assert pool.map_async(train, range(2)).get(60) == [model.metrics["test_rmse"]] * 2
    except d2l.ConfigError as error:
        print(error)
"""


@pytest.mark.parametrize("kernel, said", [("sparse", "get_context('spawn')"), ("dense", "")])
def test_a_pool_after_a_training_computes_or_says_why_it_cannot(kernel, said):
    """Where a process is forked, numba ends it, and the pool would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED.replace("KERNEL", kernel)],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout and bool(said) == bool(done.stdout)
    assert "Terminating" not in done.stderr


def test_choice_of_kernel():
    class Plain(nn.Block, Model):
        pass

    assert choose_kernel("auto", AutoRec(2, 3), [mx.cpu()])[0] == "sparse"
    assert choose_kernel("dense", AutoRec(2, 3), [mx.cpu()])[0] == "dense"
    assert choose_kernel("auto", AutoRec(2, 3), [mx.gpu(0)]) == (
        "dense",
        "the sparse kernels run on CPUs only",
    )
    with pytest.raises(ConfigError, match="`kernel=sparse` runs on CPUs only"):
        choose_kernel("sparse", AutoRec(2, 3), [mx.gpu(0)])
    with pytest.warns(DataWarning, match="do not cover Plain: it trains dense"):
        assert choose_kernel("auto", Plain(), [mx.cpu()])[0] == "dense"


def test_compiled_kernels_are_cached_on_disk():
    """A second process loads them: no compilation, no warning."""
    code = """
import warnings
from numba.core.errors import NumbaWarning
warnings.simplefilter("error", NumbaWarning)
import numpy as np
from d2l_autorec import kernels
groups = (*kernels.group_by_column(np.array([0, 1], "int32"), np.array([0], "int32"), 1), 2)
one, row = np.ones((1, 1), "float32"), np.ones(1, "float32")
kernels.weighted_columns(*groups, row, one, row, one)
kernels.masked_products(*groups, one, one, row, row)
kernels.weight_gradient(*groups, row, one, one)
used = (kernels.weighted_columns, kernels.masked_products, kernels.weight_gradient)
print(sum(len(kernel.stats.cache_misses) for kernel in used))
"""
    for _ in range(2):
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
        )
    assert process.stdout.strip() == "0"

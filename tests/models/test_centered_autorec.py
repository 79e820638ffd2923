"""AutoRec of what means leave: against plain NumPy, on every path, on any scale."""

from dataclasses import replace

import numpy as onp
import pytest
from mxnet import np
from scipy import sparse

import d2l_autorec as d2l
from d2l_autorec.data.means import Means, Prior, fit_means
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.kernels.dropout import dropout_at, dropout_key, dropout_mask
from d2l_autorec.models.catalog.autorec import AutoRecConfig
from d2l_autorec.models.centered_autorec import CenteredAutoRec
from d2l_autorec.models.sparse_autorec import SparseAutoRec, predict

X = onp.array([[5, 0, 3, 0], [0, 4, 1, 2], [0, 0, 0, 0]], dtype=onp.float32)
NETWORK = dict(center=True, input_dropout=0.5, dropout=(0.3,), hidden=(6,))
TRAINING = dict(batch_size=16, epochs=5, regularization=70.0, decay="weights", quiet=True, cpus=1)
CENTERED = {**NETWORK, **TRAINING}


def split():
    return d2l.random_split(d2l.load_ratings("synthetic:60x80x900"), test_ratio=0.1, seed=0)


def batch_of(dense):
    return CSRBatch.of(sparse.csr_matrix(dense))


@pytest.fixture
def network():
    means = Means(
        3.0, onp.zeros(3), onp.array([1, 0.5, -1, -0.5]), Prior(5.0, 0.4), Prior(2.0), 0.8
    )
    net = CenteredAutoRec((3,), 4, means=means)
    net.initialize(init="normal")
    for parameter in (net.encoder.weight, net.decoder.weight):
        parameter.set_data(np.random.normal(size=parameter.shape))
    return net


def by_hand(net, x):
    """The class's docstring, in NumPy and row by row."""
    columns, unit = net.centering.columns.data().asnumpy(), 0.8
    encoder, decoder = net.encoder.weight.data().asnumpy(), net.decoder.weight.data().asnumpy()
    rows = []

    for row in x:
        rated = row > 0
        count = rated.sum()
        line = 0.4 * onp.log(max(count, 1))  # five ratings of the row are on it
        bias = ((row - columns)[rated].sum() + 5 * line) / (count + 5)
        left = onp.where(rated, (row - columns - bias) / unit, 0)
        inputs = (left + rated) * 20 / max(count, 1) ** 0.5
        hidden = 1 / (1 + onp.exp(-(inputs @ encoder)))
        rows.append(columns + bias + unit * (decoder @ hidden))

    return onp.array(rows)


def test_batches_are_predicted_as_by_hand(network):
    """A dense one, a sparse one, and by vectors of rows and columns."""
    everywhere = batch_of(onp.ones_like(X))
    at_entries = predict(network, batch_of(X), everywhere).asnumpy().reshape(X.shape)

    sparse_form = SparseAutoRec(network)
    rows, columns = sparse_form.row_vectors(batch_of(X)), sparse_form.column_vectors()
    by_vectors = rows.weights @ columns.weights.T + rows.biases[:, None] + columns.biases
    for found in (network(np.array(X)).asnumpy(), at_entries, by_vectors):
        onp.testing.assert_allclose(found, by_hand(network, X), rtol=1e-5)


@pytest.mark.parametrize("rating", [5, 3.3, 1e-3, 7e4])
def test_equal_ratings_leave_nothing_and_the_unit_is_one(rating):
    matrix = sparse.csr_matrix(onp.full((3, 4), rating, dtype=onp.float32))
    means = fit_means(matrix)
    assert means.unit == 1.0
    assert means.at(1, 2) == pytest.approx(rating)


def test_the_mask_of_entries_is_that_of_the_cells():
    matrix = sparse.random(7, 9, 0.5, "csr", random_state=0)
    key = dropout_key(1, 2, 3)
    whole = dropout_mask(key, 7, 9, 0.4, first_row=5)
    cells = matrix.tocoo()
    entries = dropout_at(key, matrix.indptr, matrix.indices, 0.4, first_row=5)
    onp.testing.assert_array_equal(entries, whole[cells.row, cells.col])


@pytest.mark.parametrize("based", ["item", "user"])
@pytest.mark.parametrize(
    "other", [dict(kernel="dense"), dict(cpus=3), dict(optimizer="adam", hybridize=False)]
)
def test_every_path_trains_the_same_network(based, other):
    """Fused, dense, several devices: with both dropouts, after five epochs."""
    train, test = split()
    fused = d2l.train_model(AutoRecConfig(**CENTERED, based=based), train, test)
    found = d2l.train_model(AutoRecConfig(**{**CENTERED, **other}, based=based), train, test)
    for name in ("train_loss", "train_rmse", "test_rmse"):
        assert found.metrics[name] == pytest.approx(fused.metrics[name], rel=1e-5), name


def test_a_training_means_the_same_on_another_scale():
    """Ratings times 20 have 20 times the error: lambda and rate need no other values."""
    train, test = split()
    usual = d2l.train_model(AutoRecConfig(**CENTERED), train, test)
    train, test = (
        replace(part, values=part.values * 20, scale=(20.0, 100.0)) for part in (train, test)
    )
    scaled = d2l.train_model(AutoRecConfig(**CENTERED), train, test)
    assert scaled.metrics["test_rmse"] == pytest.approx(20 * usual.metrics["test_rmse"], rel=1e-3)


@pytest.mark.parametrize("based", ["item", "user"])
def test_it_begins_with_the_means(based):
    """A rate of next to nothing."""
    train, test = split()
    config = AutoRecConfig(**{**CENTERED, "epochs": 1}, based=based, lr=1e-30)
    found = d2l.train_model(config, train, test).metrics["test_rmse"]
    means = d2l.train_model(d2l.BiasConfig(quiet=True), train, test).metrics["test_rmse"]
    assert found == pytest.approx(means, rel=1e-4)  # biases settle to a thousandth

"""Item-kNN against similarities by hand, and dense ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse as sp

from d2l_autorec.models.catalog import item_knn
from d2l_autorec.models.catalog.item_knn import ItemKNNConfig, weighted

CLICKS = sp.random(60, 30, 0.2, "csr", "float32", random_state=1).sign()
TINY = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype="float32"))
pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")


def test_cosines_by_hand():
    found = ItemKNNConfig(neighbors=2, weighting="cosine").fit(TINY).weights.toarray()
    a, b, c = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3), 1 / np.sqrt(2)  # of items 0 and 1, 0 and 2, ...
    assert_allclose(found, [[0, a, b], [a, 0, c], [b, c, 0]], rtol=1e-6)


def test_bm25_by_hand():
    """The weight of a click is that of its user times that of its item."""
    found = weighted(CLICKS, "bm25").toarray()
    dense = CLICKS.toarray()
    users, items = dense.sum(axis=1), dense.sum(axis=0)
    idf = np.log(30) - np.log(1 + users)
    length = 1 - 0.2 + 0.2 * items / items.mean()
    assert_allclose(found, dense * idf[:, None] * 2.2 / (1.2 * length + 1), rtol=1e-5)


@pytest.mark.parametrize("weighting", item_knn.WEIGHTINGS)
@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("cells", [1, 300, 1 << 24])
def test_weights_equal_those_of_a_dense_matrix(monkeypatch, weighting, size, cells):
    monkeypatch.setattr(item_knn, "CELLS", cells)
    rows = weighted(CLICKS, weighting).toarray()
    similarities = rows.T @ rows
    np.fill_diagonal(similarities, 0)
    ranks = np.argsort(-similarities.astype("float32"), axis=0, kind="stable").argsort(axis=0)

    found = ItemKNNConfig(neighbors=size, weighting=weighting).fit(CLICKS)
    expected = np.where(ranks < size, similarities, 0)
    assert_allclose(found.weights.toarray(), expected, atol=1e-6)
    assert_allclose(found.scores(CLICKS), CLICKS @ expected, rtol=1e-5, atol=1e-6)

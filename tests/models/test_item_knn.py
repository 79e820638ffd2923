"""Item-kNN against similarities by hand, dense ones, and itself in an export."""

import json

import numpy as np
import pytest
from helpers import train_run
from scipy import sparse as sp

from d2l_autorec.models.catalog import item_knn
from d2l_autorec.models.catalog.item_knn import ItemKNNConfig, weighted
from d2l_autorec.models.registry import make_config
from d2l_autorec.serving.export import export_run
from d2l_autorec.serving.tables import load_served
from d2l_autorec.trained_model import load_run

CLICKS = sp.random(60, 30, 0.2, "csr", "float32", random_state=1).sign()
TINY = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype="float32"))
pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")


def test_cosines_by_hand():
    found = ItemKNNConfig(neighbors=2, weighting="cosine").fit(TINY).weights.toarray()
    a, b, c = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3), 1 / np.sqrt(2)  # of items 0 and 1, 0 and 2, ...
    np.testing.assert_allclose(found, [[0, a, b], [a, 0, c], [b, c, 0]], rtol=1e-6)


def test_the_nearest_of_each_item_by_hand():
    found = ItemKNNConfig(neighbors=1, weighting="cosine").fit(TINY).weights.toarray()
    assert (found > 0).tolist() == [[False, True, False], [True, False, True], [False] * 3]


def test_bm25_by_hand():
    """The weight of a click is that of its user times that of its item."""
    found = weighted(CLICKS, "bm25").toarray()
    dense = CLICKS.toarray()
    users, items = dense.sum(axis=1), dense.sum(axis=0)
    idf = np.log(30) - np.log(1 + users)
    length = 1 - 0.2 + 0.2 * items / items.mean()
    np.testing.assert_allclose(found, dense * idf[:, None] * 2.2 / (1.2 * length + 1), rtol=1e-5)


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
    np.testing.assert_allclose(found.weights.toarray(), expected, atol=1e-6)
    np.testing.assert_allclose(found.scores(CLICKS), CLICKS @ expected, rtol=1e-5, atol=1e-6)


def test_what_is_not_given_is_chosen():
    """By the score of each, and the highest wins."""

    def score(linear):
        return -abs(linear.weights.nnz - 30 * 20)

    chosen = ItemKNNConfig(weighting="cosine").choose(CLICKS, score)
    assert (chosen.neighbors, chosen.weighting) == (20, "cosine")
    given = ItemKNNConfig(weighting="bm25", neighbors=3)
    assert given.choose(CLICKS, score) is given


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("knn") / "run"
    options = dict(dataset="synthetic:200x80x5000", heldout_users=30, quiet=True, cpus=1)
    train_run(make_config({"model": "item-knn", "out": str(out), **options}))
    return out


def test_a_run_says_what_was_chosen(run):
    chosen = json.loads((run / "result.json").read_text())["chosen"]
    model = load_run(run)
    assert chosen["neighbors"] == model.config.neighbors in item_knn.NEIGHBORS
    assert chosen["weighting"] == model.config.weighting in item_knn.WEIGHTINGS


def test_exported_tables_answer_as_the_library(run):
    model = load_run(run)
    export_run(model, run / "export")
    served, _ = load_served(run)
    known = model.ratings.to_csr("user")

    for user in range(0, 160, 20):
        name = model.ratings.user_ids[user]
        found = served.recommend(name, 5)
        assert found == model.recommend(name, 5) and len(found) == 5
        positions = model.ratings.item_ids.tolist()
        clicked = {positions[item] for item in known[user].indices}
        assert not clicked & {each.item for each in found}

    some = model.ratings.item_ids[:4].tolist()
    assert served.similar_items(some[0], 5) == model.similar_items(some[0], 5)
    weights = model.net.scorer().weights.toarray()
    nearest = np.argsort(-weights[0], kind="stable")[:5]
    found = [each.item for each in model.similar_items(some[0], 5)]
    assert found == model.ratings.item_ids[nearest].tolist()
    new = model.recommend_new_user(some, 5)
    assert not set(some) & {each.item for each in new} and len(new) == 5

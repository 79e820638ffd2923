"""iALS against dense solutions, and against itself: threads, seeds, an export."""

import json

import numpy as np
import pytest
from helpers import train_run
from scipy import sparse as sp

from d2l_autorec import kernels
from d2l_autorec.models.catalog import ials
from d2l_autorec.models.catalog.ials import IALSConfig
from d2l_autorec.models.registry import make_config
from d2l_autorec.models.vectors import FoldIn
from d2l_autorec.serving.export import export_run
from d2l_autorec.serving.tables import load_served
from d2l_autorec.trained_model import load_run

CLICKS = sp.random(60, 30, 0.2, "csr", "float32", random_state=1).sign()
SMALL = dict(factors=6, regularization=0.02, unobserved=0.3, sweeps=3)
pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")


def dense_solutions(clicks, factors, penalty, weight):
    """Each row by the normal equations, as they are written in the paper."""
    found = []
    for row in clicks:
        ridge = penalty * (row.sum() + weight * len(factors))
        left = factors.T @ np.diag(row + weight) @ factors + ridge * np.eye(factors.shape[1])
        found.append(np.linalg.solve(left, factors.T @ row))
    return np.array(found)


def loss(clicks, users, items, penalty, weight):
    """What iALS minimises; Rendle et al., equation 2 with nu = 1."""
    scores = users @ items.T
    fit = (clicks * (1 - scores) ** 2).sum() + weight * (scores**2).sum()
    of_users = clicks.sum(axis=1) + weight * len(items)
    of_items = clicks.sum(axis=0) + weight * len(users)
    squares = of_users @ (users**2).sum(axis=1) + of_items @ (items**2).sum(axis=1)
    return fit + penalty * squares


@pytest.mark.parametrize("size", [1, 6, 64])
def test_a_half_sweep_equals_dense_solutions(size):
    factors = np.random.default_rng(0).normal(0, 0.5, (30, size)).astype("float32")
    expected = dense_solutions(CLICKS.toarray(), factors.astype(float), 0.02, 0.3)
    np.testing.assert_allclose(ials.solved(CLICKS, factors, 0.02, 0.3), expected, atol=2e-5)
    np.testing.assert_allclose(FoldIn(factors, 0.02, 0.3).vectors(CLICKS), expected, atol=2e-6)


def test_sweeps_equal_dense_ones_and_lower_the_loss():
    clicks, reached = CLICKS.toarray(), []
    items = IALSConfig(**{**SMALL, "sweeps": 1}).fit(CLICKS).items.astype(float)
    for sweeps in (2, 3, 4):
        users = dense_solutions(clicks, items, 0.02, 0.3)
        reached.append(loss(clicks, users, items, 0.02, 0.3))
        items = dense_solutions(clicks.T, users, 0.02, 0.3)
        found = IALSConfig(**{**SMALL, "sweeps": sweeps}).fit(CLICKS)
        np.testing.assert_allclose(found.items, items, atol=1e-4)
        np.testing.assert_allclose(
            found.scores(CLICKS), dense_solutions(clicks, items, 0.02, 0.3) @ items.T, atol=1e-4
        )
    assert reached == sorted(reached, reverse=True)


def test_no_bit_depends_on_threads_and_all_on_the_seed():
    found = []
    before = kernels.threads()
    for threads, seed in ((1, 0), (2, 0), (5, 0), (1, 1)):
        kernels.set_threads(threads)
        found.append(IALSConfig(**SMALL, seed=seed).fit(CLICKS).items)
    kernels.set_threads(before)

    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
    assert not (found[0] == found[3]).any()


def test_a_row_without_clicks_has_no_scores():
    found = IALSConfig(**SMALL).fit(CLICKS)
    assert not found.scores(sp.csr_matrix((2, 30), dtype="float32")).any()


def test_what_is_not_given_is_chosen(monkeypatch):
    """The neighbour of the middle that scores best; what is given stays."""
    tried = []

    def score(scorer):
        tried.append((scorer.penalty, scorer.unobserved, scorer.items.shape[1]))
        return -scorer.penalty

    chosen = IALSConfig(factors=40, unobserved=0.5).choose(CLICKS, score)
    assert (chosen.regularization, chosen.unobserved) == (ials.PENALTIES[0], 0.5)
    assert {weight for _, weight, _ in tried} == {0.5} and chosen.factors == 40
    assert {size for *_, size in tried} == {ials.TRIED_FACTORS} and chosen.sweeps == 16
    given = IALSConfig(**SMALL)
    assert given.choose(CLICKS, score) is given


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("ials") / "run"
    options = dict(dataset="synthetic:200x80x5000", heldout_users=30, quiet=True, cpus=1)
    train_run(make_config({"model": "ials", "factors": 8, "out": str(out), **options}))
    return out


def test_a_run_says_what_was_chosen(run):
    chosen = json.loads((run / "result.json").read_text())["chosen"]
    assert chosen["regularization"] in ials.PENALTIES and chosen["unobserved"] in ials.WEIGHTS
    assert load_run(run).config.regularization == chosen["regularization"]


def test_exported_tables_answer_as_the_library(run):
    model = load_run(run)
    export_run(model, run / "export")
    served, _ = load_served(run)
    known = model.ratings.to_csr("user")

    for user in range(0, 160, 20):
        name = model.ratings.user_ids[user]
        found = served.recommend(name, 5)
        assert found == model.recommend(name, 5) and len(found) == 5
        clicked = set(model.ratings.item_ids[known[user].indices].tolist())
        assert not clicked & {each.item for each in found}

    some = model.ratings.item_ids[:4].tolist()
    assert served.similar_items(some[0], 5) == model.similar_items(some[0], 5)
    new = model.recommend_new_user(some, 5)
    assert not set(some) & {each.item for each in new} and len(new) == 5
    row = sp.csr_matrix((np.ones(4, "float32"), ([0] * 4, range(4))), shape=known[0].shape)
    scores = model.net.scorer().scores(row)[0]
    scores[:4] = -np.inf
    best = np.argsort(-scores, kind="stable")[:5]
    assert [each.item for each in new] == model.ratings.item_ids[best].tolist()

"""iALS against dense solutions, and against itself: threads and seeds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse as sp

from d2l_autorec import kernels
from d2l_autorec.models.catalog import ials
from d2l_autorec.models.catalog.ials import IALSConfig
from d2l_autorec.models.vectors import FoldIn

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
    assert_allclose(ials.solved(CLICKS, factors, 0.02, 0.3), expected, atol=2e-5)
    assert_allclose(FoldIn(factors, 0.02, 0.3).vectors(CLICKS), expected, atol=2e-6)


def test_sweeps_equal_dense_ones_and_lower_the_loss():
    clicks, reached = CLICKS.toarray(), []
    items = IALSConfig(**{**SMALL, "sweeps": 1}).fit(CLICKS).items.astype(float)
    for sweeps in (2, 3, 4):
        users = dense_solutions(clicks, items, 0.02, 0.3)
        reached.append(loss(clicks, users, items, 0.02, 0.3))
        items = dense_solutions(clicks.T, users, 0.02, 0.3)
        found = IALSConfig(**{**SMALL, "sweeps": sweeps}).fit(CLICKS)
        assert_allclose(found.items, items, atol=1e-4)
        assert_allclose(
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

"""Popularity and EASE against the measured reference and the plain formula."""

from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from scipy import sparse as sp

from d2l_autorec.data.clicks import prepare_clicks
from d2l_autorec.data.sources import load_ratings
from d2l_autorec.evaluation.ranking import RankingEvaluation
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.models.base import Fitted
from d2l_autorec.models.catalog import ease
from d2l_autorec.models.catalog.ease import EASEConfig
from d2l_autorec.models.catalog.popularity import PopularityConfig
from d2l_autorec.support.errors import ConfigError

CLICKS = sp.random(60, 30, 0.2, "csr", "float32", random_state=1).sign()


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
def test_popularity_on_ml100k(data_dir):
    clicks = prepare_clicks(load_ratings("ml-100k", data_dir), threshold=4, heldout_users=100)
    scorer = Fitted(PopularityConfig()).fit(clicks.train)
    found = [
        RankingEvaluation(part.fold_in, part.held_out, [mx.cpu()])(scorer)
        for part in (clicks.validation, clicks.test)
    ]
    assert round(found[0]["ndcg@100"], 4) == 0.3066
    assert {name: round(value, 4) for name, value in found[1].items()} == {
        "ndcg@100": 0.2588,
        "recall@20": 0.1856,
        "recall@50": 0.3122,
    }


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
def test_ease_on_ml100k_ranks_far_better_than_popularity(data_dir):
    clicks = prepare_clicks(load_ratings("ml-100k", data_dir), threshold=4, heldout_users=100)
    evaluation = RankingEvaluation(clicks.test.fold_in, clicks.test.held_out, [mx.cpu()])
    assert evaluation(Fitted(EASEConfig(penalty=200.0)).fit(clicks.train))[
        "ndcg@100"
    ] == pytest.approx(0.481, abs=0.001)


@pytest.mark.parametrize("block", [1, 7, 30, 1024])
def test_ease_equals_the_formula(monkeypatch, block):
    monkeypatch.setattr(ease, "BLOCK", block)
    dense = CLICKS.toarray().astype(float)
    inverse = np.linalg.inv(dense.T @ dense + 3 * np.eye(30))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    model, rows = Fitted(EASEConfig(penalty=3.0)).fit(CLICKS), CLICKS[:5]
    batches = (
        mx.np.array(rows.toarray()),
        rows,
        CSRBatch(rows.indptr, rows.indices, rows.data, 30),
    )
    for batch in batches:
        np.testing.assert_allclose(model(batch), dense[:5] @ weights, atol=1e-10)


def test_weights_solve_the_problem_they_are_said_to():
    """Column j regresses item j on all others: the gradient of that ridge problem vanishes."""
    dense, model = CLICKS.toarray().astype(float), Fitted(EASEConfig(penalty=3.0)).fit(CLICKS)
    weights = model(np.eye(30))
    residual = dense.T @ (dense - dense @ weights) - 3 * weights
    np.fill_diagonal(residual, 0)
    np.testing.assert_allclose(residual, 0, atol=1e-9)


def test_too_many_items_are_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(ease, "available_memory", lambda: 8 * 2**30)
    clicks = SimpleNamespace(num_items=10**6, validation_users=1)
    with pytest.raises(ConfigError, match="EASE of 1000000 items needs 74.*: drop rare items"):
        EASEConfig().check_data(clicks, 1)

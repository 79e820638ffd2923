"""Popularity and EASE against the measured reference and the plain formula."""

from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from helpers import train_run
from scipy import sparse as sp

from d2l_autorec.data.clicks import prepare_clicks
from d2l_autorec.data.sources import load_ratings
from d2l_autorec.evaluation.ranking import RankingEvaluation
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.models.base import Fitted
from d2l_autorec.models.catalog import ease
from d2l_autorec.models.catalog.ease import EASEConfig, gram_matrix, solve
from d2l_autorec.models.catalog.popularity import PopularityConfig
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.runs.result import final_command
from d2l_autorec.support.errors import ConfigError
from d2l_autorec.trained_model import load_run

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
    assert evaluation(Fitted(EASEConfig(penalty=200.0, dropout=0.0)).fit(clicks.train))[
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


@pytest.mark.parametrize("dropout", [0.33, 0.5])
def test_edlae_adds_clicks_to_the_penalty(dropout):
    """p / (1 - p) times an item's clicks, beside lambda, on the diagonal."""
    dense = CLICKS.toarray().astype(float)
    penalty = np.diag(3 + dropout / (1 - dropout) * dense.sum(axis=0))
    inverse = np.linalg.inv(dense.T @ dense + penalty)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    linear = EASEConfig(penalty=3.0, dropout=dropout).fit(CLICKS)
    np.testing.assert_allclose(linear.weights, weights, atol=1e-10)


def test_lambda_and_dropout_are_chosen_by_the_score():
    """A score with one peak on the grid, told from the weights that it is given."""
    wanted = solve(gram_matrix(CLICKS), 50.0, 0.67).weights

    def score(linear):
        return -float(np.square(linear.weights - wanted).sum())

    chosen = EASEConfig().choose(CLICKS, score)
    assert (chosen.penalty, chosen.dropout) == (50.0, 0.67)
    assert EASEConfig(dropout=0.67).choose(CLICKS, score).penalty == 50.0
    given = EASEConfig(penalty=7.0)
    assert given.choose(CLICKS, None) is given


@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
def test_what_was_chosen_is_told_and_fitted_again(tmp_path):
    options = dict(
        model="ease", dataset="synthetic:200x80x6000", quiet=True, out=str(tmp_path / "run")
    )
    result = train_run(make_config(options))
    config = make_config({**options, "quiet": False})
    penalty, dropout = result["chosen"]["penalty"], result["chosen"]["dropout"]
    assert f"--penalty {penalty} --dropout {dropout:g}" in final_command(config, result)

    model = load_run(tmp_path / "run")
    _, _, clicks = RunFolder.read(tmp_path / "run").known()
    again = EASEConfig(penalty=penalty, dropout=dropout).fit(clicks.train)
    np.testing.assert_array_equal(model.net.scorer().weights, again.weights)
    found = [
        RankingEvaluation(clicks.validation.fold_in, clicks.validation.held_out, [mx.cpu()])(
            Fitted(EASEConfig(penalty=other, dropout=dropout)).fit(clicks.train)
        )["ndcg@100"]
        for other in (penalty, 10.0, 5000.0)
    ]
    assert found[0] >= max(found)


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

"""Popularity and EASE against a reference and the formula; runs of all closed-form models."""

from dataclasses import replace
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from helpers import items_in, train_into
from scipy import sparse as sp

from d2l_autorec.data.clicks import prepare_clicks
from d2l_autorec.data.sources import load_ratings
from d2l_autorec.evaluation.ranking import RankingEvaluation
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.models.base import Fitted
from d2l_autorec.models.catalog import ease, ials, item_knn
from d2l_autorec.models.catalog.ease import EASEConfig, gram_matrix, solve
from d2l_autorec.models.catalog.popularity import PopularityConfig
from d2l_autorec.models.options import shown
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.runs.result import final_command
from d2l_autorec.support.errors import ConfigError, DataWarning, NumericalError
from d2l_autorec.trained_model import load_run

CLICKS = sp.random(60, 30, 0.2, "csr", "float32", random_state=1).sign()
pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")


@pytest.mark.realdata
def test_on_ml100k_ease_ranks_far_better_than_popularity(data_dir):
    clicks = prepare_clicks(load_ratings("ml-100k", data_dir), threshold=4, heldout_users=100)
    scorer = Fitted(PopularityConfig()).fit(clicks.train)
    validation, test = (
        RankingEvaluation(part.fold_in, part.held_out, [mx.cpu()])
        for part in (clicks.validation, clicks.test)
    )
    found = [validation(scorer), test(scorer)]
    assert round(found[0]["ndcg@100"], 4) == 0.3066
    assert {name: round(value, 4) for name, value in found[1].items()} == {
        "ndcg@100": 0.2588,
        "recall@20": 0.1856,
        "recall@50": 0.3122,
    }
    scores = test(Fitted(EASEConfig(penalty=200.0, dropout=0.0)).fit(clicks.train))
    assert scores["ndcg@100"] == pytest.approx(0.481, abs=0.001)


@pytest.mark.parametrize("block", [1, 7, 30, 1024])
@pytest.mark.parametrize("dropout", [0, 0.33, 0.5])
def test_ease_and_edlae_equal_the_formula(monkeypatch, block, dropout):
    """Dropout adds p / (1 - p) times an item's clicks to lambda, on the diagonal."""
    monkeypatch.setattr(ease, "BLOCK", block)
    monkeypatch.setattr(ease, "IN_ONE", block)  # below 40 items, the inverse is made of parts
    dense = CLICKS.toarray().astype(float)
    penalty = np.diag(3 + dropout / (1 - dropout) * dense.sum(axis=0))
    inverse = np.linalg.inv(dense.T @ dense + penalty)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    model, rows = Fitted(EASEConfig(penalty=3.0, dropout=dropout)).fit(CLICKS), CLICKS[:5]
    for batch in (mx.np.array(rows.toarray()), rows, CSRBatch.of(rows)):
        np.testing.assert_allclose(model(batch), dense[:5] @ weights, atol=1e-10)


@pytest.mark.parametrize(
    "config, name",
    [
        (EASEConfig(penalty=1e-15), "penalty"),
        (EASEConfig(penalty=1e-14), "penalty"),
        (ials.IALSConfig(regularization=1e-6, unobserved=1e-8), "regularization"),
    ],
)
def test_a_penalty_that_is_lost_in_rounding_is_refused(config, name):
    """With more items than users no inverse exists without it; the scores were garbage, or NaN."""
    with pytest.raises(NumericalError, match=f"is lost in rounding .*: raise `{name}`$"):
        config.fit(CLICKS.T.tocsr())


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


CHOICES = {
    "ease": {"penalty": ease.PENALTIES, "dropout": ease.DROPOUTS},
    "ials": {"regularization": ials.PENALTIES, "unobserved": ials.WEIGHTS},
    "item-knn": {"neighbors": item_knn.NEIGHBORS, "weighting": item_knn.WEIGHTINGS},
}


@pytest.fixture(scope="module", params=CHOICES)
def run(request, tmp_path_factory):
    """A run whose options were chosen, opened again."""
    out = tmp_path_factory.mktemp(request.param) / "run"
    options = dict(dataset="synthetic:200x80x5000", heldout_users=30, quiet=True, cpus=1)
    train_into(out, model=request.param, **options)
    return load_run(out)


def test_what_was_chosen_is_told_and_best(run):
    """On the validation users, against the ends of the grid."""
    chosen, choices = run.metrics["chosen"], CHOICES[run.config.model]
    assert chosen.keys() == choices.keys()
    for name, values in choices.items():
        assert chosen[name] == getattr(run.config, name) and chosen[name] in values
    command = final_command(replace(run.config, quiet=False), run.metrics)
    assert all(f"--{name} {shown(value)}" in command for name, value in chosen.items())

    _, _, clicks = RunFolder.read(run.path).known()
    part = clicks.validation
    evaluation = RankingEvaluation(part.fold_in, part.held_out, [mx.cpu()])
    found = [
        evaluation(Fitted(replace(run.config, **options)).fit(clicks.train))["ndcg@100"]
        for options in (chosen, {name: values[0] for name, values in choices.items()})
    ]
    assert found[0] == evaluation(run.net)["ndcg@100"] >= max(found)


def test_a_new_user_is_scored_by_their_clicks(run):
    some = run.ratings.item_ids[:4].tolist()
    row = sp.csr_matrix((np.ones(4, "float32"), ([0] * 4, range(4))), (1, run.ratings.num_items))
    scores = run.net.scorer().scores(row)[0]
    scores[:4] = -np.inf
    best = np.argsort(-scores, kind="stable")[:5]
    assert items_in(run.recommend_new_user(some, 5)) == run.ratings.item_ids[best].tolist()


def test_too_many_items_are_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(ease, "available_memory", lambda: 8 * 2**30)
    clicks = SimpleNamespace(num_items=10**6, validation_users=1)
    with pytest.raises(ConfigError, match="EASE of 1000000 items needs 13061.*: drop rare items"):
        EASEConfig().check_data(clicks)
    with pytest.warns(DataWarning, match="EASE of 21,000 items takes minutes: for so many, see"):
        EASEConfig().check_data(SimpleNamespace(num_items=21_000))

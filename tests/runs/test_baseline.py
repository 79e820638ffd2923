"""Beside every result stands that of a model which every other has to beat."""

import numpy as np
import pytest
from helpers import train_into, train_run

from d2l_autorec.data.means import fit_means
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.splits import random_split
from d2l_autorec.evaluation.metrics import rmse
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.rating import load_and_split
from d2l_autorec.runs.result import tell
from d2l_autorec.trained_model import train_model

SET = "synthetic:60x80x900"
SMALL = dict(dataset=SET, hidden=(4,), epochs=2, quiet=True, cpus=1)
BASELINES = ("popularity", "ease")
CLICKS = dict(dataset=SET, threshold=3.0, min_user_clicks=1, heldout_users=12, quiet=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"based": "user"},
        {"model": "mf"},
        {"kernel": "dense"},
        {"clip": True},
        {"val_ratio": 0.3, "refit": True},
        {"cpus": 2},
    ],
)
def test_user_and_item_means(options, tmp_path):
    given = {**SMALL, **options, "out": str(tmp_path / "run")}
    if options.get("model") == "mf":
        del given["hidden"]
    config = make_config(given)
    result = train_run(config)
    train, test = load_and_split(config)

    predicted = fit_means(train.to_csr("user")).at(test.users, test.items)
    if config.clip:
        predicted = predicted.clip(1, 5)

    assert result["baseline"] == "user and item means"
    assert result["baseline_test_rmse"] == pytest.approx(rmse(test.values, predicted), rel=1e-6)
    by_mean = rmse(test.values, np.full(len(test), train.values.mean()))
    assert result["global_mean_test_rmse"] == pytest.approx(by_mean, rel=1e-6)


@pytest.mark.parametrize("model", ["mean", "bias"])
def test_means_are_not_compared_with_themselves(model, tmp_path):
    assert "baseline" not in train_into(tmp_path / "run", dataset=SET, model=model)


@pytest.mark.parametrize("based", ["item", "user"])
def test_rows_that_training_never_saw_have_means_of_their_own(based, tmp_path):
    """Column means of training, and each row's mean deviation from them, shrunk alike."""
    options = {**SMALL, "split": "held-out-rows", "based": based, "out": str(tmp_path / "run")}
    config = make_config(options)
    result = train_run(config)
    train, test = load_and_split(config)

    columns, rows = test.users, test.items
    if based == "user":
        columns, rows = test.items, test.users

    means = fit_means(train.to_csr(based))
    known = means.mean + means.columns[columns]
    predicted = np.empty(len(test))
    for row in np.unique(rows):
        own = rows == row
        left = test.values[own] - known[own]
        damping, slope = means.row_prior
        added = damping * slope * np.log(len(left))
        predicted[own] = known[own] + (left.sum() + added) / (len(left) + damping)

    assert result["baseline_test_rmse"] == pytest.approx(rmse(test.values, predicted), rel=1e-3)


@pytest.mark.parametrize("model", ["autorec", "mf"])
def test_noise_is_predicted_by_means(model, recwarn):
    """Ratings drawn at random hold nothing beyond the global mean; chance may cost 0.5 %."""
    rng = np.random.default_rng(0)
    cells = np.unravel_index(rng.choice(300 * 200, 3000, replace=False), (300, 200))
    values = rng.choice([1.0, 2, 3, 4, 5], 3000)
    ratings = Ratings(*cells, values, np.arange(300), np.arange(200), scale=(1.0, 5.0))
    train, test = random_split(ratings, 0.1, np.random.default_rng(1))

    config = make_config(dict(model=model, preset="best", updates=300, quiet=True, cpus=1))
    metrics = train_model(config, train, test).metrics
    assert metrics["test_rmse"] < 1.005 * metrics["baseline_test_rmse"]
    assert metrics["baseline_test_rmse"] < 1.01 * metrics["global_mean_test_rmse"]

    said = any("means: they are what is served" in str(w.message) for w in recwarn)
    assert said == metrics.get("serves_means", False) == (metrics["best_epoch"] == 1)


@pytest.mark.filterwarnings("ignore")
def test_popularity(tmp_path):
    popularity, ease = (train_into(tmp_path / name, **CLICKS, model=name) for name in BASELINES)
    assert "baseline" not in popularity
    assert ease["baseline"] == "popularity"
    assert ease["baseline_test_ndcg@100"] == pytest.approx(popularity["test_ndcg@100"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The options and the result of three epochs."""
    out = str(tmp_path_factory.mktemp("runs") / "run")
    config = make_config({**SMALL, "val_ratio": 0.2, "epochs": 3, "out": out})
    return config, train_run(config)


@pytest.mark.parametrize("preset, advice", [("chapter", "--preset best"), ("best", "than means")])
def test_a_model_that_is_no_better_says_so(run, preset, advice, capsys):
    config, result = run
    tell(config, {**result, "preset": preset, "baseline_test_rmse": 0.01})
    said = capsys.readouterr().err
    assert "no better than the user and item means, whose test RMSE is 0.0100" in said
    assert advice in said


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model, advice", [("ease", "--penalty"), ("mult-dae", "--model ease")])
def test_a_ranking_that_is_no_better_is_not_sent_to_itself(model, advice, tmp_path, capsys):
    given = {**CLICKS, "model": model, "out": str(tmp_path / "run")}
    if model == "mult-dae":
        given.update(epochs=1, hidden=(4,))
    config = make_config(given)
    tell(config, {**train_run(config), "baseline_test_ndcg@100": 1.0})
    said = capsys.readouterr().err
    assert "no better than popularity, whose test NDCG@100 is 1.0000" in said
    assert advice in said
    assert "still improving" not in said  # one epoch has nothing to compare with


@pytest.mark.parametrize("best, said", [(3, True), (2, False)])
def test_a_best_epoch_that_is_the_last_is_said(run, best, said, capsys):
    config, result = run
    tell(config, {**result, "best_epoch": best})
    found = "was still improving at epoch 3, the last: raise --epochs" in capsys.readouterr().err
    assert found == said


def test_equal_ratings_are_told_to_be_clicks(tmp_path, capsys):
    path = tmp_path / "ones.csv"
    path.write_text("".join(f"{n % 9},{n % 10},1\n" for n in range(90)))
    config = make_config({"ratings": str(path), "epochs": 1, "out": str(tmp_path / "run")})
    tell(config, train_run(config))
    said = capsys.readouterr()
    assert "all ratings are equal: if each row is a click, rank items with --model ease" in said.err
    assert "test RMSE   0.0000, beside user and item means (0.0000)" in said.out

"""Beside every result stands that of a model which every other has to beat."""

import numpy as np
import pytest
from helpers import train_run

from d2l_autorec.evaluation.metrics import rmse
from d2l_autorec.evaluation.rating import MeanFallback
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.rating import load_and_split
from d2l_autorec.runs.result import tell

SET = "synthetic:60x80x900"
SMALL = dict(dataset=SET, hidden=(4,), epochs=2, quiet=True, cpus=1)
CLICKS = dict(dataset=SET, threshold=3.0, min_user_clicks=1, heldout_users=12, quiet=True)


def means_by_hand(train, test):
    """Koren (2010), equations 3 and 4, rating by rating."""
    mean = train.values.mean(dtype=np.float64)
    items, users = np.zeros(train.num_items), np.zeros(train.num_users)

    for item in range(train.num_items):
        own = train.values[train.items == item] - mean
        items[item] = own.sum() / (len(own) + 5)
    for user in range(train.num_users):
        chosen = train.users == user
        own = train.values[chosen] - mean - items[train.items[chosen]]
        users[user] = own.sum() / (len(own) + 5)

    return mean + users[test.users] + items[test.items]


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

    predicted = means_by_hand(train, test)
    if config.clip:
        predicted = predicted.clip(1, 5)
    cold, fallback = MeanFallback(train.to_csr("user")).at(test.users, test.items)
    predicted = np.where(cold, fallback, predicted)

    assert result["baseline"] == "user and item means"
    assert result["baseline_test_rmse"] == pytest.approx(rmse(test.values, predicted), rel=1e-6)


@pytest.mark.parametrize("model", ["mean", "bias"])
def test_means_are_not_compared_with_themselves(model, tmp_path):
    result = train_run(make_config(dict(dataset=SET, model=model, out=str(tmp_path / "run"))))
    assert "baseline" not in result


@pytest.mark.parametrize("based", ["item", "user"])
def test_rows_that_training_never_saw_have_means_of_their_own(based, tmp_path):
    """Column means of training, and each row's mean deviation from them, shrunk by 5."""
    options = {**SMALL, "split": "held-out-rows", "based": based, "out": str(tmp_path / "run")}
    config = make_config(options)
    result = train_run(config)
    train, test = load_and_split(config)

    columns, of_test, rows = train.users, test.users, test.items
    if based == "user":
        columns, of_test, rows = train.items, test.items, test.users

    mean = train.values.mean(dtype=np.float64)
    predicted = np.empty(len(test))
    for row in np.unique(rows):
        own = np.flatnonzero(rows == row)
        known = []
        for cell in own:
            of_column = train.values[columns == of_test[cell]] - mean
            known.append(mean + of_column.sum() / (len(of_column) + 5))
        left = test.values[own] - known
        predicted[own] = known + left.sum() / (len(left) + 5)

    assert result["baseline_test_rmse"] == pytest.approx(rmse(test.values, predicted), rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_popularity(tmp_path):
    names = ("popularity", "ease")
    popularity, ease = (
        train_run(make_config({**CLICKS, "model": name, "out": str(tmp_path / name)}))
        for name in names
    )
    assert "baseline" not in popularity
    assert ease["baseline"] == "popularity"
    assert ease["baseline_test_ndcg@100"] == pytest.approx(popularity["test_ndcg@100"])


@pytest.mark.parametrize("preset, advice", [("chapter", "--preset best"), ("best", "than means")])
def test_a_model_that_is_no_better_says_so(preset, advice, tmp_path, capsys):
    config = make_config({**SMALL, "preset": preset, "out": str(tmp_path / "run")})
    result = {**train_run(config), "baseline_test_rmse": 0.01}
    tell(config, result)
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
def test_a_best_epoch_that_is_the_last_is_said(best, said, tmp_path, capsys):
    config = make_config({**SMALL, "val_ratio": 0.2, "epochs": 3, "out": str(tmp_path / "run")})
    result = {**train_run(config), "best_epoch": best}
    tell(config, result)
    found = "was still improving at epoch 3, the last: raise --epochs" in capsys.readouterr().err
    assert found == said

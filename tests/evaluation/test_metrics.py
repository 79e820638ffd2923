"""Errors by user and by how many ratings users and items have."""

import mxnet as mx
import numpy as np
import pytest

from d2l_autorec.data.sources import load_ratings
from d2l_autorec.data.splits import random_split
from d2l_autorec.evaluation.metrics import errors_by_count
from d2l_autorec.evaluation.rating import RatingEvaluation


def test_errors_by_how_many_ratings_there_are():
    """Groups 0, 1 to 9, 10 to 99 and so on; those without a test rating are left out."""
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    prediction = np.array([2.0, 2.0, 1.0, 4.0, 4.0])
    groups = errors_by_count(truth, prediction, np.array([0, 9, 9, 100, 999]))
    assert [(group["from"], group["to"], group["test_ratings"]) for group in groups] == [
        (0, 0, 1),
        (1, 9, 2),
        (100, 999, 2),
    ]
    assert [group["rmse"] for group in groups] == pytest.approx([1, np.sqrt(2), np.sqrt(0.5)])
    assert [group["mae"] for group in groups] == pytest.approx([1, 1, 0.5])
    assert errors_by_count(truth[:0], truth[:0], np.array([], dtype=int)) == []


@pytest.mark.parametrize("based", ["item", "user"])
def test_a_report_tells_users_and_items_apart(based):
    """Counts are those of training, whichever way the matrix stands."""
    ratings = load_ratings("synthetic:20x300x900")
    train, test = random_split(ratings, 0.2, 0)
    evaluation = RatingEvaluation(train, test, [mx.cpu()], based)
    rng = np.random.default_rng(0)
    raw = rng.uniform(1, 5, len(test)).astype(np.float32)
    evaluation.measured = lambda network: raw
    report = evaluation.report(None)

    users, items = evaluation.users_and_items()
    shown = evaluation._with_means(raw)
    squares = np.square(shown - evaluation.truth.astype(float))
    chosen = [squares[users == user] for user in np.unique(users)]
    by_user = [np.sqrt(each.mean()) for each in chosen]
    assert report["test_user_mean_rmse"] == pytest.approx(np.mean(by_user))
    assert evaluation.by_user["rmse"] == pytest.approx(by_user)
    assert evaluation.by_user["mae"] == pytest.approx([np.sqrt(each).mean() for each in chosen])

    for key, index, known in (
        ("test_by_user_ratings", users, train.users),
        ("test_by_item_ratings", items, train.items),
    ):
        counts = np.array([(known == one).sum() for one in index])
        for group in report[key]:
            chosen = (counts >= group["from"]) & (counts <= group["to"])
            assert group["test_ratings"] == chosen.sum() > 0
            assert group["rmse"] == pytest.approx(np.sqrt(squares[chosen].mean()))
        assert sum(group["test_ratings"] for group in report[key]) == len(test)

"""The fold-in of a new user: either of its two systems gives the ridge regression's solution."""

import numpy as np
import pytest
from helpers import finish

from d2l_autorec.serving.new_user import positions_and_values, ridge_solution
from d2l_autorec.serving.predictor import predictor_of
from d2l_autorec.support.errors import DataError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("new_user") / "run")


@pytest.mark.parametrize("count", [1, 5, 29, 30, 31, 100])
def test_both_systems_solve_the_normal_equations(count):
    rng = np.random.default_rng(count)
    rows, targets = rng.normal(size=(count, 30)), rng.normal(size=count)
    normal = rows.T @ rows + 0.7 * np.eye(30)
    expected = np.linalg.solve(normal, rows.T @ targets)
    np.testing.assert_allclose(ridge_solution(rows, targets, 0.7), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "ratings, message",
    [
        ({1: 5, "1": 4}, "ratings: item '1' is given more than once: keep one of them"),
        ({1: float("nan")}, "ratings: nan for item '1' is outside the scale 1..5"),
        ({1: "5"}, "ratings: '5' for item '1' is not a number"),
        ({1: True}, "ratings: True for item '1' is not a number"),
        ({1: None}, "ratings: None for item '1' is not a number"),
        ({}, "ratings is empty: give at least one item"),
    ],
)
def test_ratings_that_are_none(run, ratings, message):
    with pytest.raises(DataError) as refused:
        positions_and_values(predictor_of(run), ratings)
    assert str(refused.value) == message


def test_numbers_of_numpy_are_ratings(run):
    items, values = positions_and_values(
        predictor_of(run), {np.int64(1): np.float32(4.5), 2: np.int8(3)}
    )
    assert values.tolist() == [4.5, 3]
    assert run.ratings.item_ids[items].tolist() == [1, 2]

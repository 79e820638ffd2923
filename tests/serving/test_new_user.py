"""The fold-in of a new user: either of its two systems gives the ridge regression's solution."""

import numpy as np
import pandas as pd
import pytest
from helpers import assert_user_error, finish, succeeded

import d2l_autorec as d2l
from d2l_autorec.evaluation.metrics import rmse
from d2l_autorec.serving.new_user import predict_new_user, rated_by, ridge_solution
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
        (
            pd.Series([5, 4], index=[1, 1]),
            "ratings: item '1' is given more than once: keep one of them",
        ),
    ],
)
def test_ratings_that_are_none(run, ratings, message):
    with pytest.raises(DataError) as refused:
        rated_by(predictor_of(run), ratings)
    assert str(refused.value) == message


@pytest.mark.parametrize("decoder", ["sigmoid", "tanh"])
def test_one_rating_and_a_bounded_decoder(tmp_path, in_process, decoder):
    """Its inverse at a scale without length is NaN."""
    rows = [f"u{k % 12},i{k * 7 % 15},3" for k in range(60)]
    (tmp_path / "const.csv").write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    given = ["--ratings", "const.csv", "--decoder-activation", decoder, "--epochs", "1", "--quiet"]
    process = in_process("run", *given, "--preset", "chapter")
    assert_user_error(process, f"--decoder-activation {decoder} is scaled to", "all ratings are 3")

    succeeded(in_process("run", *given, "--preset", "chapter", "--scale", "1,5", "--out", "run"))
    run = d2l.load_run(tmp_path / "run")
    found = run.recommend_new_user({"i1": 3, "i2": 3}, 5)
    assert len(found) == 5 and all(1 <= scored.score <= 5 for scored in found)


def test_numbers_of_numpy_are_ratings(run):
    items, values = rated_by(predictor_of(run), {np.int64(1): np.float32(4.5), 2: np.int8(3)})
    assert values.tolist() == [4.5, 3]
    assert run.ratings.item_ids[items].tolist() == [1, 2]


GIVEN = (1, 2, 4, 8, 16, 32)  # ratings of a new user
TANH = dict(encoder_activation="tanh", hidden=(100, 50))
BEST = dict(preset="best", val_ratio=0.0, updates=300)
MODELS = {
    "chapter": d2l.AutoRecConfig(quiet=True),
    "best": d2l.AutoRecConfig(**BEST, hidden=(100,), quiet=True),
    "paper": d2l.AutoRecConfig(preset="paper", hidden=(100,), lr=2e-3, epochs=40, quiet=True),
    "tanh": d2l.AutoRecConfig(**BEST, **TANH, quiet=True),
    "scaled": d2l.AutoRecConfig(**BEST, hidden=(100,), input_scale=10.0, quiet=True),
    "tanh by users": d2l.AutoRecConfig(**BEST, **TANH, based="user", quiet=True),
    "mf": d2l.MFConfig(preset="best", val_ratio=0.0, updates=2000, quiet=True),
}


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("name", MODELS)
def test_new_users_of_ml100k_are_known_better_by_each_rating(data_dir, name):
    """150 users kept out of training: 32 ratings of each tell more than user and item means."""
    ratings = d2l.load_ratings("ml-100k", data_dir)
    new = np.random.default_rng(1).permutation(ratings.num_users)[:150]
    model = d2l.train_model(MODELS[name], ratings.part(~np.isin(ratings.users, new)))
    predictor, means = predictor_of(model), model.inputs.means()

    errors = {count: [] for count in GIVEN}
    of_means = []
    rng = np.random.default_rng(5)
    for user in new:
        mine = np.flatnonzero((ratings.users == user) & ~predictor.cold_items[ratings.items])
        if len(mine) < 52:
            continue
        mine = rng.permutation(mine)
        asked = mine[32:]
        for count in GIVEN:
            items, values = ratings.items[mine[:count]], ratings.values[mine[:count]]
            found = np.clip(predict_new_user(predictor, (items, values)), 1, 5)
            errors[count].append(ratings.values[asked] - found[ratings.items[asked]])
        left = values - means.mean - means.columns[items]
        bias = means.row_prior.biases(np.array([len(items)]), np.array([left.sum()]))
        expected = np.clip(means.mean + means.columns + bias, 1, 5)
        of_means.append(ratings.values[asked] - expected[ratings.items[asked]])

    of_counts = [rmse(np.concatenate(errors[count]), 0) for count in GIVEN]
    assert sorted(of_counts, reverse=True) == of_counts
    assert of_counts[-1] < rmse(np.concatenate(of_means), 0)

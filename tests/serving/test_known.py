"""What a user has rated anywhere in the data is known, and is no input by that."""

import pytest
from helpers import SMALL, assert_user_error

import d2l_autorec as d2l
from d2l_autorec.models.registry import make_config

SET = "synthetic:60x80x900"
TRAINED = {name: value for name, value in SMALL.items() if name != "hidden"}
MODELS = {
    "items": {"dataset": SET, **SMALL},
    "users": {"dataset": SET, **SMALL, "based": "user"},
    "validated": {"dataset": SET, **SMALL, "val_ratio": 0.2},
    "refitted": {"dataset": SET, **SMALL, "val_ratio": 0.2, "refit": True},
    "mf": {"dataset": SET, **TRAINED, "model": "mf"},
    "bias": {"dataset": SET, "quiet": True, "cpus": 1, "model": "bias"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_test_ratings_are_known_and_no_input(name):
    config = make_config(MODELS[name])
    train, test = d2l.random_split(d2l.load_ratings(SET), seed=config.seed)
    run = d2l.train_model(config)
    assert len(run.ratings) == len(train) + len(test)
    assert run.metrics["train_ratings"] == len(train) and run.metrics["test_ratings"] == len(test)

    inputs = set(zip(run.inputs.users.tolist(), run.inputs.items.tolist()))
    assert inputs <= set(zip(train.users.tolist(), train.items.tolist()))
    without = len(train) if config.refit else len(train) - run.metrics["validation_ratings"]
    assert len(run.inputs) == without
    assert run.evaluate(test)["test_rmse"] == pytest.approx(run.metrics["test_rmse"], abs=1e-6)


@pytest.mark.parametrize("decoder", ["sigmoid", "tanh"])
def test_one_rating_and_a_bounded_decoder(tmp_path, in_process, decoder):
    """Its inverse at a scale without length is NaN."""
    rows = [f"u{k % 12},i{k * 7 % 15},3" for k in range(60)]
    (tmp_path / "const.csv").write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    given = ["--ratings", "const.csv", "--decoder-activation", decoder, "--epochs", "1", "--quiet"]
    process = in_process("run", *given, "--preset", "chapter")
    assert_user_error(process, f"--decoder-activation {decoder} is scaled to", "all ratings are 3")

    process = in_process("run", *given, "--preset", "chapter", "--scale", "1,5", "--out", "run")
    assert process.returncode == 0, process.stderr
    run = d2l.load_run(tmp_path / "run")
    found = run.recommend_new_user({"i1": 3, "i2": 3}, 5)
    assert len(found) == 5 and all(1 <= scored.score <= 5 for scored in found)

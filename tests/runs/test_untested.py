"""Runs on all data, without a test part: what they state, how one comes to them, who reads them."""

import shlex

import numpy as np
import pytest
from helpers import SMALL, assert_user_error, own_file, succeeded

import d2l_autorec as d2l
from d2l_autorec.support.errors import ConfigError, DataError
from d2l_autorec.support.files import read_json

SET = "synthetic:60x80x900"
SIZES = {"test_ratings", "test_tr_clicks", "test_te_clicks"}


def figures_of_a_test(result) -> set[str]:
    return {name for name in result if name.startswith(("test_", "baseline"))} - SIZES


@pytest.fixture
def ratings():
    return d2l.load_ratings(SET)


@pytest.mark.parametrize("options", [{}, {"val_ratio": 0.2}, {"val_ratio": 0.2, "refit": True}])
def test_all_ratings_are_trained_on(ratings, options, tmp_path):
    model = d2l.train_model(d2l.AutoRecConfig(**SMALL, **options), ratings)
    assert not figures_of_a_test(model.metrics) and model.metrics["test_ratings"] == 0
    assert not [name for name in model.history if name.startswith("test")]
    assert model.metrics["train_ratings"] == len(model.ratings) == len(ratings)

    validated = model.metrics["validation_ratings"]
    assert (validated > 0) == ("val_ratio" in options)
    refitted = options.get("refit", False)
    assert len(model.inputs) == len(ratings) - (0 if refitted else validated)

    model.save(tmp_path / "run")
    again = d2l.load_run(tmp_path / "run")
    assert again.recommend(3, 5) == model.recommend(3, 5)
    assert again.evaluate(ratings)["test_rmse"] == pytest.approx(
        model.evaluate(ratings)["test_rmse"], abs=1e-6
    )


def test_the_refit_is_that_of_training_with_a_test(ratings):
    """A test part is measured and decides nothing: without one the parameters are the same."""
    train, test = d2l.random_split(ratings)
    config = d2l.AutoRecConfig(**SMALL, val_ratio=0.2, refit=True)
    tested, untested = d2l.train_model(config, train, test), d2l.train_model(config, train)
    for one, other in zip(
        tested.net.collect_params().values(), untested.net.collect_params().values()
    ):
        np.testing.assert_array_equal(one.data().asnumpy(), other.data().asnumpy())


@pytest.mark.parametrize(
    "options",
    [
        {"model": "mult-vae", "hidden": 8, "epochs": 2},
        {"model": "ease", "penalty": 20.0},
        {"model": "popularity"},
    ],
)
@pytest.mark.parametrize("validation", [0, 6])
@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
def test_all_users_are_trained_on(ratings, options, validation, tmp_path):
    clicks = d2l.prepare_clicks(ratings, 4, 1, heldout_users=0, validation_users=validation)
    config = d2l.make_config({**options, "quiet": True, "cpus": 1})
    model = d2l.train_model(config, clicks, out=tmp_path / "run")
    assert not figures_of_a_test(model.metrics)
    assert model.metrics["train_users"] == len(clicks.user_ids) - validation
    assert (model.metrics["validation_ndcg@100"] is not None) == (validation > 0)

    stored = d2l.Clicks.load(tmp_path / "run" / "clicks.npz")
    assert stored.fingerprint == clicks.fingerprint
    assert (stored.heldout_users, stored.validation_users) == (0, validation)


@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
def test_what_needs_validation_users(ratings):
    clicks = d2l.prepare_clicks(ratings, 4, 1, heldout_users=0)
    for name, value in (("search_beta", True), ("lr_schedule", "plateau")):
        config = d2l.MultVAEConfig(hidden=8, quiet=True, cpus=1, **{name: value})
        with pytest.raises(ConfigError, match=f"`{name}` needs validation users.*validation_users"):
            d2l.train_model(config, clicks)
    with pytest.raises(ConfigError, match="a search needs validation users: add `validation_use"):
        d2l.tune({"model": "ease"}, clicks, trials=1)


def test_parts_that_share_ratings_are_refused(ratings):
    config = d2l.AutoRecConfig(**SMALL)
    train, rest = d2l.random_split(ratings, 0.3)
    validation, test = d2l.random_split(rest, 0.5)
    for parts, text in (
        ((ratings, ratings), "900 (user, item) pairs are in both: a test rating must not"),
        ((train, test, test), f"in validation; {len(test)} (user, item) pairs are in both"),
        ((train, test, train), f"in train; {len(train)} (user, item) pairs are in both: a valid"),
    ):
        with pytest.raises(DataError) as refused:
            d2l.train_model(config, *parts)
        assert text in str(refused.value)
    assert d2l.train_model(config, train, test, validation) is not None


def test_command_and_its_readers(tmp_path, in_process, curves):
    file = own_file(tmp_path)
    options = ["--ratings", str(file), "--epochs", "2", "--hidden", "8", "--val-ratio", "0.2"]
    tested = succeeded(in_process("run", *options, "--no-center", "--out", "tested"))
    [line] = [line for line in tested.stdout.splitlines() if line.startswith("final run")]
    words = shlex.split(line)
    assert words[2:5] == ["python", "-m", "d2l_autorec.run"] and "--no-center" in words

    final = succeeded(in_process("run", *words[5:], "--out", "final"))
    result = read_json(tmp_path / "final" / "result.json")
    assert not figures_of_a_test(result) and "none to test" in final.stdout
    assert "RMSE" not in final.stdout.replace("validation RMSE", "")
    assert "final run" not in final.stdout
    assert (tmp_path / "final" / "curve.png").is_file()

    compared = in_process("compare", "tested", "final", "--figure", "figure.png")
    assert "final was trained without a test part" in compared.stderr
    assert compared.returncode == 0 and (tmp_path / "figure.png").is_file(), compared.stderr
    assert [line.split()[0] for line in compared.stdout.splitlines()[1:]] == ["tested", "final"]


def test_ten_rows_blame_what_helps(tmp_path, in_process):
    """The validation split speaks of itself."""
    rows = [f"u{k % 4},i{k % 3 + k // 4},{k % 5 + 1}" for k in range(10)]
    (tmp_path / "ten.csv").write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    given = ["--ratings", "ten.csv", "--test-ratio", "0.3", "--val-ratio", "0.01", "--quiet"]
    process = in_process("run", *given)
    assert_user_error(process, "--val-ratio 0.01 of the", "without validation, by --val-ratio 0")
    assert "test" not in process.stderr

"""A training that diverges ends as one, and leaves parameters that are of use."""

import json
import math

import pytest
from helpers import assert_alike, train_into, train_run
from hypothesis import assume, given
from hypothesis import strategies as st

from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.sources import load_ratings
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs import checkpoints
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.support.arrays import load_arrays
from d2l_autorec.support.errors import NumericalError
from d2l_autorec.trained_model import train_model
from d2l_autorec.training.history import StepSums
from d2l_autorec.training.loop import Training
from d2l_autorec.training.losses import MaskedL2Loss

BASE = dict(dataset="synthetic:50x60x700", hidden=(6,), batch_size=16, quiet=True, cpus=1)
MF = dict(model="mf", dataset="synthetic:50x60x700", batch_size=100, quiet=True, cpus=1)
CLICKS = dict(dataset="synthetic:60x40x900", heldout_users=8, batch_size=16, quiet=True, cpus=1)


@pytest.mark.parametrize(
    "options",
    [
        {**BASE, "lr": 1e5},
        {**BASE, "lr": 1e5, "kernel": "dense"},
        {**BASE, "lr": 1e5, "preset": "best", "lr_warmup": 0.0, "updates": 30},
        {**BASE, "hidden": (6, 4, 6), "lr": 1e5, "encoder_activation": "relu"},
        {**MF, "lr": 1e5},
        {**CLICKS, "model": "mult-dae", "lr": 1e4, "hidden": (6, 3)},
        {**CLICKS, "model": "mult-vae", "lr": 1e4, "hidden": (6, 3)},
    ],
    ids=str,
)
def test_a_loss_that_explodes_ends_the_run(options, tmp_path):
    """A test RMSE of 84511947326628924960 was a result, and its exit code 0."""
    with pytest.raises(NumericalError, match="^the .* (has exploded .the error is .*|not finite)"):
        train_into(tmp_path / "run", **options)
    assert not (tmp_path / "run" / "result.json").exists()


def test_the_command_says_so(in_process):
    words = ("--dataset", BASE["dataset"], "--hidden", "6", "--batch-size", "16", "--cpus", "1")
    process = in_process("run", *words, "--lr", "1e5", "--quiet", "--out", "run")
    assert process.returncode == 3 and process.stdout == ""
    assert "the loss has exploded (the error is" in process.stderr
    assert "above 5e+03) in epoch 1 at batch 2" in process.stderr  # 1000 times five stars
    assert "try --lr ten times lower" in process.stderr


@pytest.mark.parametrize("options", [BASE, MF], ids=str)
def test_tiny_ratings_are_not_blamed_on_the_learning_rate(options):
    ratings = load_ratings(options["dataset"]).to_frame()
    frame = ratings.assign(rating=ratings["rating"] * 1e-6)
    with pytest.raises(NumericalError, match="epoch 1 at batch 1: the ratings are too small"):
        train_model(make_config(options, preset="chapter"), Ratings.from_frame(frame))


def test_an_explosion_in_the_only_step_is_told_by_the_test_error(tmp_path):
    """No further step would tell."""
    options = {**BASE, "batch_size": "all", "epochs": 1, "lr": 1e5}
    with pytest.raises(NumericalError, match="^the test RMSE is .*e.* after epoch 1: try `lr`"):
        train_into(tmp_path / "run", **options)


@pytest.mark.parametrize("clip", [False, True])
def test_infinite_parameters_are_no_result(clip, tmp_path):
    """Clipped, what they predict is finite."""
    options = {**BASE, "batch_size": "all", "epochs": 1, "optimizer": "sgd", "lr": 1e30}
    options.update(init_sigma=1e10, clip=clip)
    with pytest.raises(NumericalError, match="not finite|has exploded| is .*e.* after epoch 1"):
        train_into(tmp_path / "run", **options)
    assert not (tmp_path / "run" / "model.params").exists()


@given(st.floats(1e-6, 1e6), st.floats(0, 1e12), st.integers(1, 1000))
def test_the_rule_by_hand(limit, error, ratings):
    assume(not math.isclose(error, limit, rel_tol=1e-9))
    for predicts_ratings, step in (
        (True, StepSums(1.0, error * error * ratings, ratings)),
        (False, StepSums(error * ratings, 0.0, ratings)),
    ):
        given = dict(predicts_ratings=predicts_ratings, limit=limit)
        assert Training(None, [], None, None, [], **given).has_diverged(step) == (error > limit)


DENSE = {**BASE, "kernel": "dense", "epochs": 3}


class Broken(MaskedL2Loss):
    """NaN from a call on; with 60 rows in batches of 16 the 4th is of the second epoch."""

    calls = 0
    since = 0

    def __call__(self, prediction, label):
        Broken.calls += 1
        value = super().__call__(prediction, label)
        return value * math.nan if Broken.calls >= Broken.since else value


def break_run(out, since, message, **options):
    """Train until the loss is NaN."""
    Broken.calls, Broken.since = 0, since
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("d2l_autorec.training.losses.MaskedL2Loss", Broken)
        with pytest.raises(NumericalError, match=message):
            train_into(out, **options)


def test_the_best_parameters_in_memory_are_kept(tmp_path):
    options = {**DENSE, "val_ratio": 0.1, "lr": 1e-4}
    kept = "the parameters of the best epoch, 2, are kept in"
    break_run(tmp_path / "broken", 9, kept, **options)
    train_into(tmp_path / "two", **{**options, "epochs": 2})
    assert_alike(tmp_path / "broken", tmp_path / "two")


def test_without_a_checkpoint_nothing_is_kept(tmp_path):
    break_run(tmp_path / "run", 9, "no checkpoint was due, so no parameters are kept", **DENSE)
    assert not (tmp_path / "run" / "model.params").exists()


@pytest.mark.parametrize("every, since, epochs", [("0.000001s", 6, 1), (1, 5, 1), (1, 9, 2)])
def test_the_last_checkpoint_is_kept(every, since, epochs, tmp_path, monkeypatch):
    """The run that is resumed, when what broke it is gone, ends as if nothing had been."""
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    path = tmp_path / "run"
    told = "the last checkpoint is kept: .*checkpoint.bin"
    break_run(path, since, told, **DENSE, checkpoint_every=every)
    about = json.loads(load_arrays(path / "checkpoint.bin")["about"].tobytes())
    assert len(about["history"]) == epochs and bool(about["under_way"]["steps"]) == (every != 1)

    train_run(RunFolder.read(path).config, resume=path)
    train_into(tmp_path / "whole", **DENSE)
    assert_alike(path, tmp_path / "whole")

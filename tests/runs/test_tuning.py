"""The search: what it varies, what decides, what a kill or a second process does to it."""

import fcntl
import itertools
import signal
import sys
import time
from dataclasses import replace

import mxnet as mx
import numpy as np
import pandas as pd
import pytest
from helpers import started, succeeded

from d2l_autorec.data import splits
from d2l_autorec.data.clicks import prepare_clicks
from d2l_autorec.data.sources import load_ratings
from d2l_autorec.evaluation.ranking import RankingEvaluation
from d2l_autorec.models.base import Fitted
from d2l_autorec.models.catalog.autorec import AutoRecConfig
from d2l_autorec.models.catalog.popularity import PopularityConfig
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs import rating, tuning
from d2l_autorec.runs.experiment import Experiment
from d2l_autorec.runs.search_space import candidates_of
from d2l_autorec.runs.tuning import tune
from d2l_autorec.support.errors import ConfigError, DataError
from d2l_autorec.trained_model import train_model

SET = "synthetic:60x80x900"
# of models that train in a moment
SMALL = {"model": "autorec", "hidden": (8,), "updates": 20, "cpus": 1}


@pytest.fixture(scope="module")
def train():
    ratings = load_ratings(SET)
    return splits.random_split(ratings, seed=0)[0]


MF = {"model": "mf,bias", "epochs": 2, "batch_size": 2048, "cpus": 1}


@pytest.fixture(scope="module")
def undisturbed(train):
    """A search of 14 trials that nothing stopped."""
    return tune(MF, train, trials=14)


def own(trials):
    """What a search found, without its times."""
    return trials.drop(columns="seconds").to_dict("records")


# What is varied.


def test_what_is_given_is_fixed():
    [candidate] = candidates_of({"model": "autorec", "hidden": (300,), "lr": 0.001})
    assert candidate.fixed["hidden"] == (300,) and candidate.fixed["lr"] == 0.001
    assert not {"hidden", "lr"} & candidate.spaces.keys()
    assert {"regularization", "dropout", "input_dropout", "based"} <= candidate.spaces.keys()
    assert candidate.base.preset == "best"


def test_one_penalty_in_two_units_is_searched_in_neither():
    [candidate] = candidates_of({"model": "autorec", "wd": 1e-5})
    assert "regularization" not in candidate.spaces and candidate.base.regularization is None


def test_an_option_without_effect_is_not_searched():
    """The chapter's network hides no input, and has no lambda."""
    [candidate] = candidates_of({"model": "autorec", "preset": "chapter"})
    assert not {"input_dropout", "regularization"} & candidate.spaces.keys()
    assert candidate.presets() == ["chapter"]


def test_options_go_to_the_models_that_have_them():
    autorec, mf, bias = candidates_of({"based": "user", "patience": 5})
    assert autorec.fixed["based"] == "user" and "based" not in mf.fixed
    assert mf.fixed["patience"] == 5 and "patience" not in bias.fixed
    assert autorec.fixed["val_ratio"] == bias.fixed["val_ratio"] == 0.1


@pytest.mark.parametrize(
    "given, message",
    [
        ({"model": "autorc"}, "`model` is autorc: it must be one of .*did you mean autorec"),
        ({"model": "autorec,ease"}, "models of ratings and models of clicks"),
        ({"model": "mf", "based": "user"}, "`based` is an option of `model=autorec`"),
        ({"damping": -1.0}, "`damping` is -1.0: it must be 0 or more"),
        ({"val_ratio": 0.0}, "`val_ratio=0` leaves no validation ratings"),
        ({"from_": "run", "ratings": "r.csv"}, "`from_` and a search exclude each other"),
        ({"model": "bias", "preset": "best"}, "`preset=best` is not for `model=bias`"),
        ({"hiden": 8}, "hiden: .* has no such parameter; did you mean hidden"),
    ],
)
def test_what_cannot_be_searched(given, message):
    with pytest.raises(ConfigError, match=message):
        candidates_of(given)


# What decides.


def test_three_trials(train):
    """The presets come first, what is computed at once before all; the best validation wins."""
    tuned = tune({"cpus": 1, "updates": 20}, train, trials=6)
    assert list(tuned.trials.preset)[:3] == ["chapter", "best", "best"]
    assert list(tuned.trials.model)[:3] == ["bias", "autorec", "mf"]

    complete = tuned.trials[tuned.trials.state == "complete"]
    assert tuned.validation == complete.validation.min()
    winner = complete.loc[complete.validation.idxmin()]
    assert tuned.options == winner.options and tuned.config == make_config(winner.options)


def test_a_trial_is_the_first_phase_of_its_run(train):
    """The validation score is, to the last digit, what a run of these options finds."""
    tuned = tune(SMALL, train, trials=3)
    _, test = splits.random_split(load_ratings(SET), seed=0)
    model = train_model(tuned.config, train, test)
    assert model.metrics["validation_rmse"] == tuned.validation
    assert model.metrics["preset"] == "best"


def test_the_test_part_decides_nothing(monkeypatch):
    """Other test ratings, the same search."""
    found = []
    for value in (None, 5.0):
        usual = rating.load_and_split

        def load(config, usual=usual, value=value):
            train, test = usual(config)
            if value is not None:
                test = replace(test, values=np.full(len(test), value, dtype=np.float32))
            return train, test

        monkeypatch.setattr(tuning, "load_and_split", load)
        found.append(own(tune({**SMALL, "dataset": SET}, trials=4).trials))
    assert found[0] == found[1]


def test_a_configuration_fixes_what_differs_from_its_preset(train):
    tuned = tune(AutoRecConfig(hidden=8, updates=20, cpus=1), train, trials=2)
    assert tuned.config.hidden == (8,) and tuned.config.updates == 20
    assert tuned.config.preset == "best"  # it differs in nothing else


def test_own_validation_ratings(train):
    fitting, validation = splits.random_split(train, test_ratio=0.3, seed=5)
    tuned = tune(SMALL, fitting, validation, trials=1)
    model = train_model(tuned.config, fitting, validation=validation)
    assert model.metrics["validation_rmse"] == tuned.validation


def test_rankings():
    """What is computed at once comes first; what has no options to vary is tried once."""
    clicks = prepare_clicks(load_ratings(SET), threshold=3, heldout_users=12)
    given = {"epochs": 1, "regularization": 0.01, "unobserved": 0.1, "sweeps": 1}
    tuned = tune({"model": "mult-dae,ease,ials,popularity", **given}, clicks, trials=8)
    assert list(tuned.trials.model)[:4] == ["ease", "ials", "popularity", "mult-dae"]
    assert set(tuned.trials.model[4:]) == {"ials", "mult-dae"}
    complete = tuned.trials[tuned.trials.state == "complete"]
    assert tuned.validation == complete.validation.max()
    assert len(tune({"model": "ease,popularity"}, clicks, trials=8).trials) == 2


def test_few_validation_users_are_folds():
    """Each validates with others and trains on the rest; the test users are in none."""
    clicks = prepare_clicks(load_ratings("synthetic:300x80x9000"), 3, heldout_users=45)
    folds = tuning.folds_of(clicks)
    validating = [set(fold.validation.user_ids) for fold in folds]
    users = clicks.num_train_users + 45
    assert [len(one) for one in validating] == [users // 5] * 5
    assert len(set.union(*validating)) == 5 * (users // 5)
    assert {len(fold.user_ids) for fold in folds} == {users}
    assert not set.union(*validating) & set(clicks.test.user_ids)

    scores = []
    for fold in folds:
        assert set(fold.user_ids[: fold.num_train_users]).isdisjoint(fold.validation.user_ids)
        part = fold.validation
        assert part.fold_in.nnz > part.held_out.nnz > 0 == part.fold_in.multiply(part.held_out).nnz
        measure = RankingEvaluation(part.fold_in, part.held_out, [mx.cpu()])
        scores.append(measure(Fitted(PopularityConfig()).fit(fold.train))["ndcg@100"])
    found = tune({"model": "popularity"}, clicks, trials=1).validation
    assert found == pytest.approx(np.mean(scores), abs=1e-9)


@pytest.mark.parametrize(
    "name, options",
    [
        (SET, {"split": splits.leave_last_out}),
        ("synthetic:700x80x20000", {"heldout_users": 200}),  # many enough
    ],
)
def test_clicks_that_are_no_folds(name, options):
    clicks = prepare_clicks(load_ratings(name), 3, **options)
    assert tuning.folds_of(clicks) == [clicks]


@pytest.mark.parametrize("limit", [{"trials": 2}, {"minutes": 0.001}])
def test_no_trial_could_be_trained(limit, train):
    given = {**SMALL, "lr": 1e30, "lr_schedule": "constant"}
    with pytest.raises(DataError, match="none of the [0-9]+ trials could be trained: .*exploded"):
        tune(given, train, **limit)


def test_optuna_is_an_extra(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"a search needs Optuna .* pip install '.*\[tune"):
        tune(SMALL, train, trials=1)


def test_clicks_where_ratings_are_needed(train):
    with pytest.raises(ConfigError, match="train is a Ratings: `model=ease` needs Clicks"):
        tune({"model": "ease"}, train, trials=1)


# A folder: more trials, other options, kills, several processes.


def test_another_search_in_the_folder(train, tmp_path):
    tune(SMALL, train, trials=1, out=tmp_path / "t")
    before = (tmp_path / "t" / "study.log").read_bytes()
    with pytest.raises(ConfigError, match="another search, with other options: .*name another"):
        tune({**SMALL, "hidden": (9,)}, train, trials=2, out=tmp_path / "t")
    with pytest.raises(ConfigError, match="holds another search, with other data: "):
        tune(SMALL, train.part(train.users < 50), trials=2, out=tmp_path / "t")
    assert (tmp_path / "t" / "study.log").read_bytes() == before


def test_a_folder_of_something_else(train, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files already"):
        tune(SMALL, train, trials=1, out=tmp_path)
    with pytest.raises(FileExistsError):
        tune(SMALL, train, trials=1, out=tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["notes.txt"]


class Killed(BaseException):
    """What ends a process in the middle of a trial."""


def cut_off(monkeypatch, cuts):
    """Have the trainings of these numbers, from 1, end as a kill ends them."""
    usual, calls = Experiment.validate, itertools.count(1)

    def validate(*arguments):
        if next(calls) in cuts:
            raise Killed
        return usual(*arguments)

    monkeypatch.setattr(Experiment, "validate", validate)


@pytest.mark.parametrize("cuts", [{1}, {2, 3}, {11, 14}, {5, 12, 13}])
def test_lost_trials_change_nothing(cuts, train, undisturbed, tmp_path, monkeypatch):
    """A search proposes what it would have, however often it was killed, and where.

    Once a kill cut off a line of the study, too.
    """
    cut_off(monkeypatch, cuts)
    for _ in cuts:
        with pytest.raises(Killed):
            tune(MF, train, trials=14, out=tmp_path / "t")
    with open(tmp_path / "t" / "study.log", "ab") as file:
        file.write(b'{"op_code": 4, "work')
    found = tune(MF, train, trials=14, out=tmp_path / "t")

    frames = [one.trials.drop(columns=["trial", "seconds"]) for one in (found, undisturbed)]
    pd.testing.assert_frame_equal(*frames)
    assert found.options == undisturbed.options
    left = {path.name for path in (tmp_path / "t").iterdir()}
    assert left == {".at-work", ".lock", "study.log", "tune.json"}


def test_who_has_nothing_to_do_waits_for_the_first_result(train, tmp_path, monkeypatch):
    """And takes over where the other one dies at it."""
    with monkeypatch.context() as patched:
        cut_off(patched, {1})
        with pytest.raises(Killed):
            tune(SMALL, train, trials=1, out=tmp_path / "t")

    other = open(tmp_path / "t" / ".at-work", "ab")  # the other process, as this one sees it
    fcntl.flock(other, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda seconds: other.close())
    tuned = tune(SMALL, train, trials=1, out=tmp_path / "t")
    assert other.closed and len(tuned.trials) == 1


@pytest.mark.parametrize("right, wrong", [(b"op_code", b"op_cods"), (b'{"', b"no study")])
def test_a_damaged_study_is_told(right, wrong, train, tmp_path):
    tune(SMALL, train, trials=2, out=tmp_path / "t")
    path = tmp_path / "t" / "study.log"
    path.write_bytes(path.read_bytes().replace(right, wrong, 1))
    with pytest.raises(DataError, match="study.log is missing or damaged .*begin a new search"):
        tune(SMALL, train, trials=3, out=tmp_path / "t")


WORDS = f"--model autorec --dataset {SET} --hidden 8 --updates 50 --cpus 1 --out t".split()


def test_two_processes_share_a_search(tmp_path):
    pair = [started(tmp_path, "tune", *WORDS, "--trials", "8") for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ended

    told = [
        {line.split(":")[0] for line in err.splitlines() if line.startswith("trial ")}
        for _, err in ended
    ]
    assert not told[0] & told[1] and len(told[0] | told[1]) == 8
    assert len(pd.read_csv(tmp_path / "t" / "trials.csv")) == 8
    winners = [*(tmp_path / "t").glob("winner-*")]
    assert len(winners) == 1 and (winners[0] / "result.json").is_file()
    assert sum("test RMSE" in out for out, _ in ended) == 1


def test_ctrl_c_and_again(tmp_path, in_process):
    process = started(tmp_path, "tune", *WORDS, "--trials", "50")
    while not process.stderr.readline().startswith("trial 2"):
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert "--out t goes on" in err, err
    assert in_process("tune", *WORDS, "--trials", "3").stdout.count("test RMSE") == 1


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("minutes", [1, 2])
def test_minutes_are_kept(minutes, data_dir, command):
    begin = time.monotonic()
    words = ("--dataset", "ml-latest-small", "--minutes", str(minutes), "--out", "t")
    succeeded(command("tune", *words))
    assert time.monotonic() - begin == pytest.approx(60 * minutes, rel=0.2)

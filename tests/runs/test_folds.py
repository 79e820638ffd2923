"""Every fold or seed in turn: each is that run alone, and the figures are their means."""

import json
import shlex
import signal
import statistics

import numpy as np
import pytest
from helpers import assert_user_error, started, succeeded, train_into

from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.tuning import tune
from d2l_autorec.support.errors import ConfigError
from d2l_autorec.trained_model import train_model

SET = "synthetic:60x80x900"
SMALL = ("--dataset", SET, "--hidden", "8", "--epochs", "2", "--cpus", "1", "--quiet")
FOLDS = (*SMALL, "--split", "k-fold", "--folds", "3", "--fold", "all")
LOUD = tuple(word for word in FOLDS if word != "--quiet")


@pytest.mark.parametrize(
    "words, option, values",
    [(FOLDS, "fold", (1, 2, 3)), ((*SMALL, "--seed", "4", "--seeds", "2"), "seed", (4, 5))],
)
def test_the_mean_of_the_runs(words, option, values, in_process, tmp_path):
    process = succeeded(in_process("run", *words, "--json", "--out", "several"))
    summary = json.loads(process.stdout)
    options = dict(dataset=SET, hidden=(8,), epochs=2, cpus=1, quiet=True)
    if option == "fold":
        options.update(split="k-fold", folds=3)
    alone = [
        train_into(tmp_path / f"alone-{value}", **options, **{option: value}) for value in values
    ]
    several = summary[f"{option}s"]
    assert [run["test_rmse"] for run in several] == [run["test_rmse"] for run in alone]
    for name in ("test_rmse", "test_mae", "baseline_test_rmse"):
        found = [run[name] for run in alone]
        assert summary[name] == pytest.approx(np.mean(found))
        assert summary[f"{name}_sd"] == pytest.approx(np.std(found, ddof=1))
    tested = sum(run["test_ratings"] for run in several)
    assert (tested == 900) == (option == "fold")  # each rating once
    assert (tmp_path / "several" / f"{option}-{values[1]}" / "result.json").is_file()


def test_what_is_printed(in_process, tmp_path):
    process = in_process("run", *LOUD, "--out", "folds")
    table, closing = (part.splitlines() for part in process.stdout.split("\n\n"))
    assert table[0].split() == ["fold", "test", "RMSE", "user", "and", "item", "means"]
    values = [float(line.split()[1]) for line in table[1:]]
    assert len(values) == 3
    [last] = [line for line in closing if line.startswith("test RMSE ")]
    assert float(last.split()[2]) == pytest.approx(statistics.fmean(values), abs=1e-4)
    assert "over 3 folds" in last and "user and item means" in last
    assert "no better than the user and item means" in process.stderr  # after two epochs
    left = {path.name for path in (tmp_path / "folds").iterdir()}
    assert left == {".lock", "fold-1", "fold-2", "fold-3", "runs.json"}

    _, *words = shlex.split(closing[-1])
    assert words[:4] == ["python", "-m", "d2l_autorec.recommend", "folds/fold-1"]
    succeeded(in_process("recommend", *words[3:]))


def test_several_without_a_test(in_process):
    """It ended in a KeyError."""
    words = ("--model", "mean", "--dataset", SET, "--seeds", "2", "--test-ratio", "0")
    process = succeeded(in_process("run", *words, "--out", "seeds"))
    labels = [line.split("  ")[0] for line in process.stdout.splitlines()]
    assert labels == ["data set", "run folders", "next"]


def test_stopped_and_gone_on_with(in_process, tmp_path):
    """Ctrl-C in the second fold; --resume of the folder ends as if never stopped."""
    words = (*LOUD, "--epochs", "60")
    whole = succeeded(in_process("run", *words, "--out", "whole"))

    process = started(tmp_path, "run", *words, "--out", "cut")
    for awaited in ("fold 2, run 2 of 3", "epoch 5"):
        while awaited not in process.stderr.readline():
            pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and not out
    assert "run --resume cut" in err and "fold-2" not in err.splitlines()[-1]

    again = succeeded(in_process("run", "--resume", "cut"))
    assert again.stdout.replace("cut", "whole") == whole.stdout
    assert_user_error(in_process("run", "--resume", "cut", "--hidden", "9"), "--hidden 9 (was 8)")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"split": "k-fold", "fold": "all"}, "`fold=all` is a training for each fold"),
        ({"seeds": 2}, "`seeds=2` is a training for each seed"),
    ],
)
def test_several_runs_are_no_model(given, message):
    given = {"dataset": SET, **given}
    with pytest.raises(ConfigError, match=message):
        train_model(make_config(given))
    with pytest.raises(ConfigError, match=message):
        tune(make_config(given), trials=1)


@pytest.mark.parametrize("words", ["--kvstore dist_sync", "--seeds 2"])
def test_what_excludes_folds(words, in_process):
    process = in_process("run", *FOLDS, *words.split(), "--out", "folds")
    assert_user_error(process, f"--fold all and {words} exclude each other")

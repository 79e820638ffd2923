"""Every fold in turn: each is the run of that fold, and the figures are their means."""

import json
import signal
import statistics
import subprocess
import sys

import numpy as np
import pytest
from helpers import assert_user_error, train_run

from d2l_autorec.models.registry import make_config
from d2l_autorec.support.errors import ConfigError

SET = "synthetic:60x80x900"
SMALL = ("--dataset", SET, "--hidden", "8", "--epochs", "2", "--cpus", "1", "--quiet")
FOLDS = (*SMALL, "--split", "k-fold", "--folds", "3", "--fold", "all")


def test_the_mean_of_the_runs(in_process, tmp_path):
    process = in_process("run", *FOLDS, "--json", "--out", "folds")
    assert process.returncode == 0, process.stderr
    summary = json.loads(process.stdout)
    options = dict(dataset=SET, hidden=(8,), epochs=2, cpus=1, quiet=True, split="k-fold", folds=3)
    alone = [
        train_run(make_config({**options, "fold": k, "out": str(tmp_path / f"alone-{k}")}))
        for k in (1, 2, 3)
    ]
    assert [fold["test_rmse"] for fold in summary["folds"]] == [run["test_rmse"] for run in alone]
    for name in ("test_rmse", "test_mae", "baseline_test_rmse"):
        values = [run[name] for run in alone]
        assert summary[name] == pytest.approx(np.mean(values))
        assert summary[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1))
    tested = sum(fold["test_ratings"] for fold in summary["folds"])
    assert tested == 900  # each rating once


def test_what_is_printed(in_process, tmp_path):
    process = in_process("run", *FOLDS, "--out", "folds")
    table, closing = (part.splitlines() for part in process.stdout.split("\n\n"))
    assert table[0].split() == ["fold", "test", "RMSE", "user", "and", "item", "means"]
    values = [float(line.split()[1]) for line in table[1:]]
    assert len(values) == 3
    [last] = [line for line in closing if line.startswith("test RMSE ")]
    assert float(last.split()[2]) == pytest.approx(statistics.fmean(values), abs=1e-4)
    assert "over 3 folds" in last and "user and item means" in last
    assert "no better than the user and item means" in process.stderr  # after two epochs
    assert sorted(path.name for path in (tmp_path / "folds").iterdir()) == [
        ".lock",
        "fold-1",
        "fold-2",
        "fold-3",
        "folds.json",
    ]


def test_stopped_and_gone_on_with(in_process, tmp_path):
    """Ctrl-C in the second fold; --resume of the folder ends as if never stopped."""
    words = [sys.executable, "-m", "d2l_autorec.run", *FOLDS[:-1], "all", "--epochs", "60"]
    words = [word for word in words if word != "--quiet"]
    del words[words.index("--epochs") : words.index("--epochs") + 2]
    whole = subprocess.run([*words, "--out", "whole"], cwd=tmp_path, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr

    process = subprocess.Popen(
        [*words, "--out", "cut"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    while b"fold 2 of 3" not in process.stderr.readline():
        pass
    while b"epoch 5" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and not out
    assert b"run --resume cut" in err and b"fold-2" not in err.splitlines()[-1]

    again = in_process("run", "--resume", "cut")
    assert again.returncode == 0, again.stderr
    assert again.stdout.replace("cut", "whole") == whole.stdout
    assert_user_error(in_process("run", "--resume", "cut", "--hidden", "9"), "--hidden 9 (was 8)")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"fold": "all"}, "`fold` has no effect: `split=random` has no use for it"),
        ({"split": "k-fold", "fold": "each"}, "`fold` is each: it must be from 1 to 1000, or all"),
        ({"split": "k-fold", "fold": 6}, "`fold` is 6: it must be from 1 to `folds=5`"),
        ({"split": "k-fold", "fold": 0}, "`fold` is 0: it must be from 1"),
        ({"model": "ease", "split": "k-fold", "folds": 2}, "`folds` is 2: it must be from 3"),
        (
            {"model": "ease", "split": "k-fold", "heldout_users": 5.0},
            "`heldout_users` has no effect: `split=k-fold` has no use for it",
        ),
    ],
)
def test_folds_that_are_none(given, message):
    with pytest.raises(ConfigError, match=message):
        make_config(given)


def test_all_folds_are_several_runs():
    import d2l_autorec as d2l

    config = make_config({"dataset": SET, "split": "k-fold", "fold": "all"})
    with pytest.raises(ConfigError, match="`fold=all` is a training for each fold"):
        d2l.train_model(config)


def test_workers_train_one_fold(in_process):
    process = in_process("run", *FOLDS, "--kvstore", "dist_sync", "--out", "folds")
    assert_user_error(process, "--fold all and --kvstore dist_sync exclude each other")

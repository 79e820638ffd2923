"""`python -m d2l_autorec.tune` and `run --options`, as a person uses them."""

import json
import signal

import pandas as pd
import pytest
from helpers import assert_user_error, own_file, succeeded

from d2l_autorec.runs import runner
from d2l_autorec.runs.options import as_texts
from d2l_autorec.support.errors import Interrupted
from d2l_autorec.support.files import read_json
from d2l_autorec.support.texts import as_words

SET = "synthetic:60x80x900"
SMALL = ("--dataset", SET, "--model", "autorec,bias", "--hidden", "8", "--updates", "20")


def test_three_trials(in_process, tmp_path):
    """The table, the files, a run of best.json that finds the same test RMSE; one more trial."""
    process = succeeded(in_process("tune", *SMALL, "--trials", "3", "--out", "t"))
    head, *rows = process.stdout.split("\nbest: ")[0].splitlines()
    assert head.split()[:4] == ["model", "preset", "trial", "validation"]
    assert len(rows) == 3
    told = [line for line in process.stderr.splitlines() if line.startswith("trial ")]
    assert [line.split(":")[0] for line in told] == ["trial 1", "trial 2", "trial 3"]

    folder = tmp_path / "t"
    trials = pd.read_csv(folder / "trials.csv")
    assert len(trials) == 3 and (folder / "history.png").stat().st_size > 5000
    [winner] = folder.glob("winner-trial-*")
    number = int(winner.name.rsplit("-", 1)[1])
    assert trials.validation[number - 1] == trials.validation.min()

    result = read_json(winner / "result.json")
    assert f"test RMSE   {result['test_rmse']:.4f}" in process.stdout
    assert (
        f"\nnext        python -m d2l_autorec.recommend t/{winner.name} --user " in process.stdout
    )
    assert "run --options t/best.json" in process.stderr

    again = in_process("run", "--options", "t/best.json", "--out", "again", "--json")
    assert json.loads(again.stdout)["test_rmse"] == result["test_rmse"]

    more = in_process("tune", *SMALL, "--trials", "4", "--out", "t", "--json")
    found = json.loads(more.stdout)
    assert more.stderr == "" and found["trials"] == 4
    assert found["options"] == read_json(folder / "best.json")
    winner = tmp_path / found["result"]["run"] / "result.json"
    assert found["result"]["test_rmse"] == json.loads(winner.read_text())["test_rmse"]
    assert list(pd.read_csv(folder / "trials.csv").validation)[:3] == list(trials.validation)


def test_the_best_options_can_be_pasted(tmp_path):
    """Also what is switched off, and names with blanks."""
    options = {"center": False, "clip": True, "ratings": "my $file.csv", "lr": None, "hidden": (8,)}
    words = " ".join(as_words(as_texts(options)))
    assert words == "--no-center --clip --ratings 'my $file.csv' --hidden 8"


def test_a_winner_that_is_stopped_names_the_search(in_process, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise Interrupted(signal.SIGINT, "go on with `train_model(resume=winner)`")

    monkeypatch.setattr(runner, "run_training", stopped)
    process = in_process("tune", *SMALL, "--trials", "1", "--out", "t")
    assert process.returncode == 130
    assert process.stderr.endswith("stopped: SIGINT; the same command with --out t goes on\n")


@pytest.mark.filterwarnings("ignore")
def test_an_own_file_of_clicks(in_process, tmp_path):
    own_file(tmp_path)
    words = ("--model", "ease,popularity", "--threshold", "1", "--min-user-clicks", "1")
    process = succeeded(
        in_process("tune", "--ratings", "mine.csv", *words, "--trials", "4", "--out", "t")
    )
    assert "test NDCG@100" in process.stdout


def test_no_folder_is_two_things(in_process, tmp_path):
    """A search, a run and folds keep out of each other's folders."""
    run = ("run", "--dataset", SET, "--model", "bias", "--quiet")
    folds = (*run, "--split", "k-fold", "--folds", "2", "--fold", "all")
    search = ("tune", "--dataset", SET, "--model", "bias", "--trials", "1")
    made = {"one": run, "two": folds, "three": search}
    for out, words in made.items():
        succeeded(in_process(*words, "--out", out))

    for words in made.values():
        for folder in made:
            if words[0] == "run" or folder != "three":  # a search goes on in its own
                refused = in_process(*words, "--out", folder)
                assert_user_error(refused, f"{folder} holds a run already", "--out")


REFUSED = {
    "--task ranking --model ease": ["--task has no effect: --model says what"],
    "--trials 0": ["--trials is 0", "at least 1"],
    "--minutes -1": ["--minutes is -1.0", "above 0"],
    "--trials 3 --minutes 1": ["--trials and --minutes exclude each other"],
    "--kvstore dist_sync": ["--kvstore dist_sync and a search exclude each other"],
}


@pytest.mark.parametrize("words", REFUSED)
def test_one_line_errors(words, in_process, tmp_path):
    assert_user_error(in_process("tune", *words.split()), *REFUSED[words])
    assert [*tmp_path.iterdir()] == []


NO_OPTIONS = {
    "[1]": ["it holds no JSON object"],
    '{"hiden": 8}': ["hiden", "did you mean hidden"],
    '{"hidden": "many"}': ["--hidden is 'many': it must be a whole number"],
    '{"model": "mf", "based": "user"}': ["--based is an option of --model autorec"],
}


@pytest.mark.parametrize("content", NO_OPTIONS)
def test_files_that_are_no_options(content, in_process, tmp_path):
    (tmp_path / "best.json").write_text(content)
    assert_user_error(in_process("run", "--options", "best.json"), *NO_OPTIONS[content])
    assert [path.name for path in tmp_path.iterdir()] == ["best.json"]


def test_other_ratings_replace_those_of_the_file(in_process, tmp_path):
    own_file(tmp_path)
    options = {"dataset": SET, "model": "bias", "damping": 2.0}
    (tmp_path / "best.json").write_text(json.dumps(options))
    words = ("--options", "best.json", "--ratings", "mine.csv", "--damping", "3", "--quiet")
    succeeded(in_process("run", *words, "--out", "r"))
    began = read_json(tmp_path / "r" / "config.json")["options"]
    given = {"dataset": "auto", "ratings": "mine.csv", "model": "bias", "damping": 3.0}
    assert {name: began[name] for name in given} == given

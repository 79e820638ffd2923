"""The README: its commands and its Python as they stand there, one after the other."""

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d[\d,.]*")
MOST_LINES = 180
# What a person waits for and a test need not: it replaces words of a command, each of which the
# README must have.
LIGHTER = {
    "load_ratings('ml-100k').to_frame": "load_ratings('synthetic:80x60x1500').to_frame",
    "--seeds 5": "--seeds 2 --epochs 2",
    "--minutes 10": "--trials 2 --model bias",
    "--folds 5 --out runs/which": "--folds 2 --out runs/which",
    "--epochs 200 --patience 10": "--epochs 4 --patience 2",
    "--table chapter,paper": "--table u1 --quick",
    "--kvstore dist_sync": "--kvstore dist_sync --epochs 1",
    "serve runs/mine": "serve runs/mine --port 0",
}


def blocks(language):
    """The texts of all blocks of a language."""
    return [text for kind, text in BLOCK.findall(README) if kind == language]


def shell_lines():
    """Each command of the README, without comments."""
    for block in blocks("sh"):
        for line in block.splitlines():
            command = line.partition(" #")[0].strip()
            if command and not command.startswith("#"):
                yield command


OF_A_READER = ("python -m d2l_autorec", "python -c", "cut ", "printf ")
COMMANDS = list(shell_lines())
PROGRAMS = [line for line in COMMANDS if line.startswith(OF_A_READER)]
OTHERS = [line for line in COMMANDS if line not in PROGRAMS]


def lighter(command):
    """The command with less to train."""
    for words, fewer in LIGHTER.items():
        command = command.replace(words, fewer)
    return command


@pytest.fixture
def folder(data_dir, tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D2L_AUTOREC_DATA", str(data_dir))
    return tmp_path


def in_shell(command):
    """Run a command in a shell as its reader's."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, timeout=300
    )


def ask_server(command):
    """Start a server, ask it once and stop it."""
    words = [sys.executable, *shlex.split(command)[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{url}/recommend?user=196&n=4", timeout=60) as answer:
            assert len(json.load(answer)["recommendations"]) == 4
        server.terminate()


@pytest.mark.realdata
def test_each_command_runs_after_those_before_it(folder, in_process):
    """Most without a process of its own, whose start would be most of their time."""
    printed = ""
    for command in map(lighter, PROGRAMS):
        verb = re.match(r"python -m d2l_autorec\.(?!launch)(\w+) ", command)
        if verb and verb[1] == "serve":
            ask_server(command)
            continue

        words = shlex.split(command)[3:]
        done = in_process(verb[1], *words) if verb else in_shell(command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed += done.stdout

    assert (folder / "compare.png").is_file()
    assert len((folder / "everyone.csv").read_text().splitlines()) > 9000
    assert_shown(blocks("text")[0], printed)


def assert_shown(text, printed):
    """Each line of the README's output is printed so; last digits hang on the machine."""
    found = printed.splitlines()
    for line in text.splitlines():
        alike = [other for other in found if shape_of(other) == shape_of(line)]
        assert alike, line

        if not line.startswith("trained"):  # how fast, on this machine
            close = pytest.approx(numbers_of(line), rel=0.02)
            assert any(numbers_of(other) == close for other in alike), line


def shape_of(line):
    """A line without its numbers and blanks."""
    return " ".join(NUMBER.sub("0", line).split())


def numbers_of(line):
    """The numbers of a line."""
    return [float(number.replace(",", "").rstrip(".")) for number in NUMBER.findall(line)]


def test_what_is_lighter_stands_there():
    for words in LIGHTER:
        assert any(words in command for command in PROGRAMS), words


def test_every_other_command_is_one_that_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])

    for line in OTHERS:
        for part in line.split(" && "):
            words = shlex.split(part)
            if words[:2] == ["pip", "install"]:
                assert set(re.findall(r"\w+", words[-1])) <= extras, part
            elif ".venv" not in part:
                assert part in ci, part


# how a row of the README begins: the table of measured figures, and the model in it
MEASURED = {
    "ML-100K: user and item means": ("chapter", "user and item means"),
    "ML-100K: matrix factorization": ("chapter", "matrix factorization, tuned"),
    "ML-100K: AutoRec, `--preset chapter`": ("chapter", "AutoRec, chapter"),
    "ML-100K: AutoRec, `--preset best`": ("chapter", "AutoRec, best"),
    "ML-1M: AutoRec by items, `--preset paper`": ("paper", "I-AutoRec"),
    "ML-1M: AutoRec by items, `--preset best`": ("paper", "I-AutoRec, best"),
    "ML-1M: Mult-VAE": ("ranking-1m", "Mult-VAE 200"),
}


@pytest.mark.parametrize("row", MEASURED)
def test_the_table_has_the_measured_figures(row):
    table, model = MEASURED[row]
    (line,) = (line for line in README.splitlines() if line.startswith(f"| {row}"))
    shown = re.findall(r"(0\.\d{4}) ± (0\.\d{4})", line)[0]

    measured = pd.read_csv(ROOT / "notebooks" / "measured" / f"{table}.csv").set_index("model")
    metric = next(name for name in measured if name.startswith("test_"))
    expected = (measured.loc[model, metric], measured.loc[model, f"{metric}_sd"])
    assert shown == tuple(f"{value:.4f}" for value in expected)


@pytest.mark.realdata
def test_its_python_runs(folder):
    (text,) = blocks("python")
    names = {}
    exec(compile(text, "README.md", "exec"), names)

    assert names["model"].metrics["test_rmse"] == pytest.approx(0.90, abs=0.02)
    assert len(names["model"].history) == 25
    assert {path.name for path in folder.iterdir()} == {"runs", "out"}


def test_the_frame_that_a_comment_shows():
    import d2l_autorec as d2l

    (call,) = re.findall(r"^# (d2l\.Ratings\.from_frame\(.*\))$", README, re.MULTILINE)
    df = pd.DataFrame({"who": ["ann", "ann", "bob"], "what": [1, 2, 1], "stars": [5, 3, 4]})
    ratings = eval(call, {"d2l": d2l, "df": df})
    assert np.array_equal(ratings.values, [5, 3, 4])


def test_it_is_short():
    assert len(README.splitlines()) <= MOST_LINES


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).is_file(), target

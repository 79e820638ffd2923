"""`--help`, `--help-all`, `--version`, and what is said of a mistyped word, of every command."""

import dataclasses
import re

import pytest
from helpers import PACKAGE, assert_user_error, python, succeeded

import d2l_autorec
from d2l_autorec.__main__ import COMMANDS, main, start
from d2l_autorec.models.registry import models
from d2l_autorec.support.texts import flag

FIELDS = {spec.name for config in models().values() for spec in dataclasses.fields(config)}
OF_TRAINING = {"--lr", "--epochs", "--batch-size", "--optimizer", "--lr-schedule", "--patience"}


def listed(text):
    """The options that a help describes."""
    return set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[\w-]+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    "verb, option",
    [*((verb, "--help") for verb in COMMANDS), ("run", "--help-all"), ("tune", "--help-all")],
)
def test_every_help_fits_into_a_terminal(in_process, monkeypatch, verb, option):
    monkeypatch.setenv("COLUMNS", "80")
    process = succeeded(in_process(verb, option))
    usage, blank, *_ = process.stdout.splitlines()
    assert usage.startswith(f"usage: python -m d2l_autorec.{verb} ") and blank == ""
    assert max(map(len, process.stdout.splitlines())) <= 80
    assert not [line for line in process.stdout.splitlines() if line.endswith("-")]


def test_the_first_screen_of_run(in_process, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = in_process("run", "--help").stdout
    assert len(text.splitlines()) <= 46
    assert {"--dataset", "--ratings", "--model", "--epochs", "--out", "--resume"} <= listed(text)
    assert "--help-all" in text and "--model NAME --help" in text
    assert "--lr-warmup" not in text and "--anneal" not in text


@pytest.mark.parametrize("verb", ["run", "tune"])
def test_help_all_has_every_option(in_process, verb):
    assert {flag(name) for name in FIELDS} <= listed(in_process(verb, "--help-all").stdout)


@pytest.mark.parametrize("model", models())
def test_the_help_of_a_model(in_process, model):
    """Its own options with its own defaults, in any order of the words, and no others."""
    text = in_process("run", "--model", model, "--help").stdout
    assert text == in_process("run", "--help", f"--model={model}").stdout

    own = {flag(spec.name) for spec in dataclasses.fields(models()[model])} - {"--model"}
    foreign = {flag(name) for name in FIELDS} - own
    assert not foreign & listed(text)
    if model in [name for name, config in models().items() if config.at_once]:
        assert not OF_TRAINING & listed(text)
    else:
        assert OF_TRAINING <= listed(text)
        assert f"[{models()[model].epochs}]" in text
    assert f"{model}:" not in text


def test_the_help_of_models_that_are_searched(in_process):
    text = in_process("tune", "--model", "mf,bias", "--help").stdout
    assert "--epochs" in text and "--hidden" not in text
    text = in_process("tune", "--model", "mf", "--help").stdout
    assert "--factors" in text and "--trials" in text and "--hidden" not in text


@pytest.mark.parametrize("verb", COMMANDS)
def test_version(in_process, verb):
    process = succeeded(in_process(verb, "--version"))
    assert process.stdout == f"d2l_autorec {d2l_autorec.__version__}\n"


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("run --epoch=3", "--epochs"),
        ("run --optimizer adm", "adam"),
        ("run -hidden 3", "--hidden"),
        ("recommend runs/mine --user 3 --item 3", "--items"),
        ("export runs/mine --uot mine", "--out"),
        ("report --tables chapter", "--table"),
        ("report --dataset ml100k", "ml-100k"),
        ("launch -n 2 --server 1 -- true", "--servers"),
    ],
)
def test_what_was_meant(in_process, typed, meant):
    assert_user_error(in_process(*typed.split()), f"did you mean {meant}?")


def test_an_id_that_begins_with_a_dash(in_process):
    process = in_process("recommend", "runs/mine", "--similar-items", "-B3")
    assert_user_error(process, "expected one argument; write --similar-items=-B3 if this is its")
    process = in_process("recommend", "runs/mine", "--user", "--json")
    assert_user_error(process, "expected one argument (see --help)")


def test_the_commands_are_listed():
    process = python("-m", "d2l_autorec")
    assert process.returncode == 0 and process.stderr == ""
    for name, text in COMMANDS.items():
        assert re.search(rf"^  {name} +{text}$", process.stdout, re.MULTILINE)
    assert max(map(len, process.stdout.splitlines())) <= 80
    assert process.stdout == python("-m", "d2l_autorec", "--help").stdout

    files = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if "leave(run_command(" in path.read_text(encoding="utf-8")
    }
    assert set(COMMANDS) == files


def test_the_list_loads_no_mxnet():
    program = (
        "import sys; from d2l_autorec.__main__ import start; start([]);"
        "sys.exit('mxnet' in sys.modules or 'numpy' in sys.modules)"
    )
    assert python("-c", program).returncode == 0


def test_a_command_as_a_word(capsys):
    assert start(["run", "--epoch", "3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("d2l_autorec.run: error: ") and "did you mean --epochs?" in error

    assert start(["recommend", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m d2l_autorec.recommend RUN_DIR")

    assert start(["--version"]) == 0
    assert capsys.readouterr().out == f"d2l_autorec {d2l_autorec.__version__}\n"


def test_a_mistyped_command(capsys):
    assert_user_error(
        python("-m", "d2l_autorec", "recomend", "runs/mine"), "did you mean recommend?"
    )
    with pytest.raises(d2l_autorec.ConfigError, match="must be one of run, recommend"):
        main(["xyz"])

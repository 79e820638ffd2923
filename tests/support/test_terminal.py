"""What is said to a person: broken between words, once, warnings in colour."""

import io
import warnings

import pytest

from d2l_autorec.support.cli import run_command
from d2l_autorec.support.errors import DataWarning
from d2l_autorec.support.terminal import remark_once, show_steps, step, wrapped


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        """Yes."""
        return True


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 20 columns."""
    monkeypatch.setenv("COLUMNS", "20")
    return Screen()


def test_lines_of_a_terminal_end_between_words(screen):
    text = "encoder_activation sigmoid, --lr 0.1 and /a/path/of/more/than/20"
    lines = wrapped(text, screen, indent=2).split("\n")
    assert lines == [
        "encoder_activation",
        "  sigmoid, --lr 0.1",
        "  and",
        "  /a/path/of/more/than/20",
    ]
    assert wrapped("python -m x --ratings mine.csv", screen, 4, " \\").split("\n") == [
        "python -m x \\",
        "    --ratings \\",
        "    mine.csv",
    ]
    assert wrapped(text, io.StringIO()) == text


def test_a_step_and_a_remark_are_told_once_in_a_command(screen, monkeypatch):
    monkeypatch.setattr("sys.stderr", screen)
    for _ in range(2):
        show_steps(True)
        for _ in range(2):
            step("reading")
            remark_once("mine.csv")
    show_steps(False)
    assert screen.getvalue().count("reading ...\n") == 2
    assert screen.getvalue().count("mine.csv\n") == 2


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_warning_is_yellow_unless_colours_are_not_wanted(screen, monkeypatch, no_color):
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("NO_COLOR", no_color)
    run_command("x", lambda _: warnings.warn("all ratings are equal", DataWarning, stacklevel=1))
    label = "warning:" if no_color else "\x1b[33mwarning:\x1b[0m"
    assert screen.getvalue() == f"{label} all ratings\nare equal\n"

"""The first moments of a command: what is shown, and what is loaded."""

import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import termios
import time

import pytest
from helpers import PACKAGE, assert_alike, finish, python

from d2l_autorec.__main__ import COMMANDS

QUICK = ("--dataset", "synthetic:60x80x900", "--epochs", "1", "--hidden", "8")
AT_ONCE = 0.5  # seconds, on a machine where the interpreter starts in USUAL_START
USUAL_START = 0.03


def record(folder, seconds, *words, **environment):
    """What a terminal of 80 columns shows of a command in so many seconds; then it is ended.

    Returns
    -------
    first : float
        Seconds until the first text.
    text : str
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
    )
    os.close(theirs)

    first, text = None, b""
    while (left := begun + seconds - time.perf_counter()) > 0:
        if not select.select([ours], [], [], left)[0]:
            break
        try:
            text += os.read(ours, 4096)
        except OSError:  # the command has ended
            break
        first = first or time.perf_counter() - begun

    process.terminate()
    os.close(ours)  # or it might wait for somebody to read on
    process.wait()
    return first, text.decode()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the folder of a finished run, 'mine'."""
    folder = tmp_path_factory.mktemp("start")
    run = finish(folder / "mine")
    return folder, str(run.ratings.user_ids[0])


SEARCHED = ("--dataset", "synthetic:60x80x900", "--model", "bias", "--trials", "1")
FIRST = {
    "run": (QUICK, "loading MXNet ..."),
    "tune": (SEARCHED, "loading MXNet ..."),
    "recommend": (("mine", "--user", "USER"), "loading MXNet ..."),
    "export": (("mine",), "loading MXNet ..."),
    "compare": (("mine",), "reading the runs ..."),
    "report": (("--quick", "--table", "chapter"), "loading MXNet ..."),
    "serve": (("mine", "--port", "0"), "loading mine ..."),
    "launch": (("-n", "1", "-s", "1", "--", "true"), "starting 3 processes: scheduler 0"),
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_first_second_of_every_command(finished, verb):
    """In a terminal, within half a second, a person reads what is being done."""
    folder, user = finished
    words, expected = FIRST[verb]
    slow = slowness()

    known = [user if word == "USER" else word for word in words]
    first, text = record(folder, 1.0 * slow, f"d2l_autorec.{verb}", *known)
    assert text.startswith("\r\x1b[K" + expected)
    assert first < AT_ONCE * slow


def test_the_phases_of_a_recommendation_are_named(finished):
    folder, user = finished
    words = ("d2l_autorec.recommend", "mine", "--user", user)
    _, text = record(folder, 120, *words)
    lines = text.replace("\x1b[K", "").replace("\r", "").splitlines()
    assert lines[:2] == ["loading MXNet ...", "opening mine ..."]
    assert lines[2].split() == ["item", "predicted", "rating", "ratings"]

    for option in ("--quiet", "--json"):
        _, text = record(folder, 120, *words, option)
        assert "..." not in text and len(text) > 10


@pytest.mark.parametrize(
    "words, phases",
    [
        (("export", "mine"), ["opening mine", "writing the files, and"]),
        (("compare", "mine", "--figure", "c.png"), ["reading the runs", "drawing the figure"]),
        (
            ("run", "--dataset", "synthetic:60x80x900", "--model", "bias"),
            ["reading the data", "preparing the training", "fitting in closed form", "measuring"],
        ),
        (
            ("tune", *SEARCHED),
            ["reading the data", "searching: a line for each trial", "drawing the trials"],
        ),
        (("report", "--quick", "--table", "u1"), [", AutoRec, best, seed 0: training ..."]),
    ],
)
def test_the_phases_of_other_commands_are_named(finished, words, phases):
    verb, *arguments = words
    _, text = record(finished[0], 300, f"d2l_autorec.{verb}", *arguments)
    places = [text.find(phase) for phase in phases]
    assert -1 not in places and places == sorted(places), text


def slowness():
    """How many times longer than usual the interpreter takes to start now; at least 1."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        seconds.append(time.perf_counter() - start)
    return max(1.0, statistics.median(seconds) / USUAL_START)


def test_kernels_are_compiled_once_and_that_is_said(tmp_path):
    """The first run after an installation and those that follow train alike, to the bit."""
    options = ("--model", "mult-vae", "--heldout-users", "5", "--min-user-clicks", "1")
    words = ("--dataset", "synthetic:60x333x3000", "--epochs", "3", "--hidden", "8", *options)
    cache, texts, kept = tmp_path / "cache", [], []
    for out in ("first", "second"):
        command = ("d2l_autorec.run", *words, "--out", out)
        texts.append(record(tmp_path, 300, *command, NUMBA_CACHE_DIR=str(cache))[1])
        kept.append({path: path.stat().st_mtime_ns for path in cache.rglob("*.nbc")})

    said = "compiling kernels, once, which takes about half a minute ..."
    assert texts[0].count(said) == 1
    assert "compiling" not in texts[1] and "loading MXNet ..." in texts[1]
    assert kept[0] and kept[0] == kept[1]
    assert_alike(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_quiet_and_json_show_no_steps(tmp_path, option):
    _, text = record(tmp_path, 300, "d2l_autorec.run", *QUICK, option)
    assert "..." not in text and "test" in text


def test_what_a_run_does_not_load(tmp_path):
    """Neither what MXNet imports for other purposes, nor a display's part of matplotlib."""
    program = """
import sys
from d2l_autorec import run
run.main(sys.argv[1:])
unused = ("requests", "pooch", "scipy.stats", "setuptools", "IPython", "d2l", "asyncio", "onnx",
          "matplotlib.pyplot")
print([name for name in unused if name in sys.modules])
"""
    done = python("-c", program, *QUICK, "--quiet", folder=tmp_path, PYTHONPATH=PACKAGE.parent)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["--help"], ["--no-such-option"], ["--epochs", "x"]])
def test_help_and_mistyped_options_load_no_library(words):
    """They are answered in the time that the interpreter takes, nearly."""
    program = f"""
import sys
from d2l_autorec.support.cli import run_command
for verb in {list(COMMANDS)}:
    module = __import__(f"d2l_autorec.{{verb}}", fromlist=["main"])
    run_command(verb, module.main, {words})
slow = ("numpy", "scipy", "pandas", "mxnet", "numba", "matplotlib", "optuna", "tqdm")
print([name for name in slow if name in sys.modules])
"""
    done = python("-c", program)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr

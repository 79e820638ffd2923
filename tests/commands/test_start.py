"""The first moments of a command: what is shown, and what is loaded."""

import os
import pty
import statistics
import subprocess
import sys
import time

import pytest
from helpers import PACKAGE

QUICK = ("--dataset", "synthetic:60x80x900", "--epochs", "1", "--hidden", "8")
AT_ONCE = 0.5  # seconds, on a machine where the interpreter starts in USUAL_START
USUAL_START = 0.03


def begin(tmp_path, *arguments, **environment):
    """`python -m d2l_autorec.run` with a terminal as its stderr: the process and the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "d2l_autorec.run", *QUICK, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
    )
    os.close(theirs)
    return process, ours


def shown(terminal):
    """All that is written to a terminal until its last writer ends."""
    text = b""
    while True:
        try:
            text += os.read(terminal, 4096)
        except OSError:  # nobody has it open
            os.close(terminal)
            return text.decode()


def slowness():
    """How many times longer than usual the interpreter takes to start now; at least 1."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        seconds.append(time.perf_counter() - start)
    return max(1.0, statistics.median(seconds) / USUAL_START)


def test_something_is_shown_at_once(tmp_path):
    limit = AT_ONCE * slowness()

    start = time.perf_counter()
    process, terminal = begin(tmp_path)
    first = os.read(terminal, 4096)
    seconds = time.perf_counter() - start

    assert b"loading MXNet ..." in first
    assert b"reading the data ..." in shown(terminal).encode()
    process.communicate()
    assert process.returncode == 0
    assert seconds < limit


def test_kernels_are_compiled_once_and_that_is_said(tmp_path):
    texts = []
    for out in ("a", "b"):
        process, terminal = begin(tmp_path, "--out", out, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        texts.append(shown(terminal))
        process.communicate()

    assert texts[0].count("compiling kernels, once ...\r\n") == 1
    assert "compiling" not in texts[1]
    assert "loading MXNet ..." in texts[1]


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_quiet_and_json_show_no_steps(tmp_path, option):
    process, terminal = begin(tmp_path, option)
    assert "..." not in shown(terminal)
    stdout, _ = process.communicate()
    assert stdout


def test_no_steps_where_no_person_reads(command):
    process = command("run", *QUICK)
    assert process.returncode == 0
    assert "..." not in process.stderr + process.stdout


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
    done = subprocess.run(
        [sys.executable, "-c", program, *QUICK, "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert done.stdout.splitlines()[-1] == "[]"

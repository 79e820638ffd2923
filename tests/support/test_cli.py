"""The boundary of the commands: errors, output streams and signals."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import pytest
from helpers import started

import d2l_autorec
from d2l_autorec.models.mf import ClosedForm
from d2l_autorec.support.cli import explain, run_command
from d2l_autorec.support.errors import ConfigError, Interrupted, NumericalError
from d2l_autorec.support.files import PART
from d2l_autorec.support.terminal import SignalWatch

QUICK = "--dataset synthetic:60x80x900 --hidden 8 --out out"


def fail_with(error):
    def command(argv):
        raise error

    return command


@pytest.mark.parametrize(
    "error, code, line",
    [
        (ConfigError("--lr is 0"), 2, "error: --lr is 0"),
        (NumericalError("the loss\nis nan"), 3, "error: the loss is nan"),
        (Interrupted(signal.SIGTERM, "go on"), 143, "stopped: SIGTERM; go on"),
        (KeyboardInterrupt(), 130, "stopped: SIGINT"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "f"), 2, "error: f: Input/output error"),
        (OSError("without a number"), 2, "error: without a number"),
        (MemoryError("Unable to allocate 7 TiB"), 2, "out of memory (Unable to allocate 7 TiB)"),
        (
            ImportError("libgomp.so.1: cannot open", name="numba.x"),
            2,
            "a library cannot be loaded (libgomp.so.1: cannot open)",
        ),
        (mx.MXNetError("Check failed: cudaMalloc: out of memory"), 2, "take a smaller --batch"),
    ],
)
def test_what_users_and_machines_do_is_one_line(capsys, error, code, line):
    assert run_command("name", fail_with(error)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("name: ") and line in captured.err


@pytest.mark.parametrize(
    "error",
    [
        TypeError("x"),
        KeyError("x"),
        mx.MXNetError("Check failed: shape"),
        ImportError("cannot import name", name="d2l_autorec.training.loop"),
    ],
)
def test_bugs_keep_their_traceback(error):
    assert explain(error)[0] is None
    with pytest.raises(type(error)):
        run_command("name", fail_with(error))


def test_warnings_are_one_line_whatever_the_environment_says(capsys, monkeypatch):
    import warnings

    def command(argv):
        warnings.warn("one\ntwo", UserWarning, stacklevel=2)
        warnings.warn("for programmers", DeprecationWarning, stacklevel=2)

    for filters in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(filters)
            assert run_command("name", command) == 0
        assert capsys.readouterr().err == "warning: one two\n"


def shell(tmp_path, line):
    return subprocess.run(
        ["bash", "-c", line.replace("PY", f"{sys.executable} -m d2l_autorec")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_help_into_a_closed_stream_and_without_a_reader(tmp_path):
    for line, codes in (
        # argparse keeps a broken pipe to itself in newer releases of Python, and not in 3.11.2
        ("PY.run --help | true; exit ${PIPESTATUS[0]}", (0, 141)),
        ("PY.run --help 2>&- < /dev/null", (0,)),
    ):
        process = shell(tmp_path, line)
        assert process.returncode in codes and process.stderr == "", line


@pytest.mark.parametrize("where, code", [("> /dev/full", 2), (">&- 2>&- <&-", 0)])
def test_stdout_that_goes_nowhere_never_ends_a_training(tmp_path, where, code):
    process = shell(tmp_path, f"PY.run {QUICK} --epochs 2 {where}")
    assert process.returncode == code
    assert "Traceback" not in process.stderr and "ignored" not in process.stderr
    assert (tmp_path / "out" / "result.json").exists()
    assert (tmp_path / "out" / "model.params").read_bytes()[:4] == b"\x12\x01\x00\x00"


def catches_signals(process, folder):
    """SIGHUP is the last one that a command gets a handler for."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[1], 16)
    return caught >> (signal.SIGHUP - 1) & 1


def loads_mxnet(process, folder):
    return "libmxnet" in Path(f"/proc/{process.pid}/maps").read_text()


def has_trained(process, folder):
    return (folder / "out" / "checkpoint.bin").exists()


MOMENTS = {catches_signals: signal.SIGTERM, loads_mxnet: signal.SIGINT, has_trained: signal.SIGTERM}


@pytest.mark.parametrize("moment, number", MOMENTS.items())
def test_a_signal_at_any_moment_is_one_line(tmp_path, moment, number):
    options = (*QUICK.split(), "--epochs", "100000", "--checkpoint-every", "1", "--quiet")
    process = started(tmp_path, "run", *options)
    while not moment(process, tmp_path):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    errors = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert len(errors) == 1 and "stopped: " + signal.Signals(number).name in errors[0]
    assert list(tmp_path.rglob(f"{PART}*")) == []


def test_a_signal_that_a_library_swallows_ends_the_command_all_the_same(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "swallows.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0.1)\n"
        "except:\n    pass\n"
    )
    monkeypatch.delitem(sys.modules, "swallows", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    def command(argv):
        import swallows  # noqa: F401

    assert run_command("name", command) == 143
    assert capsys.readouterr().err == "name: stopped: SIGTERM\n"


def stop_in(monkeypatch, model, number):
    """A signal comes while the model is fitted, in closed form."""
    fit = model.fit

    def stopped(self, *arguments):
        os.kill(os.getpid(), number)
        fit(self, *arguments)

    monkeypatch.setattr(model, "fit", stopped)


@pytest.mark.parametrize("fold", [(), ("--split", "k-fold", "--fold", "all")])
def test_a_signal_in_a_closed_form_ends_the_command(in_process, monkeypatch, fold):
    stop_in(monkeypatch, ClosedForm, signal.SIGTERM)
    words = ("--model", "bias", "--dataset", "synthetic:60x80x900", "--out", "out", *fold)
    process = in_process("run", *words)
    assert process.returncode == 143 and process.stdout == ""
    advice = "go on with python -m d2l_autorec.run --resume out"
    last = process.stderr.splitlines()[-1]
    assert last == f"d2l_autorec.run: stopped: SIGTERM; {advice}"


def test_a_notebook_catches_a_signal_as_a_keyboard_interrupt(monkeypatch):
    stop_in(monkeypatch, ClosedForm, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="SIGINT; nothing was kept"):
        ratings = d2l_autorec.load_ratings("synthetic:60x80x900")
        d2l_autorec.train_model(d2l_autorec.MeanConfig(quiet=True), ratings)


def test_a_second_signal_does_not_wait_for_the_step_under_way():
    with pytest.raises(Interrupted, match="SIGTERM; go on"), SignalWatch("go on") as watch:
        with watch.deferring():
            os.kill(os.getpid(), signal.SIGINT)
            assert watch.received == signal.SIGINT
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal did not come")

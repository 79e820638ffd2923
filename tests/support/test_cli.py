"""The boundary of the commands: errors, output streams and signals."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import mxnet as mx
import pytest
from helpers import assert_user_error

import d2l_autorec
from d2l_autorec.models.mf import ClosedForm
from d2l_autorec.support.cli import explain, run_command
from d2l_autorec.support.errors import ConfigError, Interrupted, NumericalError
from d2l_autorec.support.files import PART
from d2l_autorec.support.signals import SIGNALS, SignalWatch
from d2l_autorec.support.terminal import Output

COMMANDS = ("run", "recommend", "export", "serve", "compare", "report", "tune", "launch")
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
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/b"),
            2,
            "error: a/b: No space left on device: make room",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", b"x"),
            2,
            "Permission denied: see to it",
        ),
        (
            OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
            2,
            "error: Too many open files: allow more",
        ),
        (OSError(errno.EIO, os.strerror(errno.EIO), "f"), 2, "f: Input/output error: see to it"),
        (OSError("without a number"), 2, "error: without a number: "),
        (MemoryError("Unable to allocate 7 TiB"), 2, "out of memory (Unable to allocate 7 TiB)"),
        (zlib.error("invalid"), 2, "a compressed file is damaged (invalid)"),
        (zipfile.BadZipFile("no zip"), 2, "a compressed file is damaged (no zip)"),
        (
            ImportError("libgomp.so.1: cannot open", name="numba.x"),
            2,
            "a library cannot be loaded (libgomp.so.1: cannot open)",
        ),
        (
            mx.MXNetError("Check failed: cudaMalloc failed: out of memory"),
            2,
            "take a smaller --batch",
        ),
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
        AssertionError("x"),
        AttributeError("x"),
        IndexError("x"),
        ZeroDivisionError("x"),
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


class Broken:
    """A stream whose disk is full."""

    encoding = "utf-8"

    def __init__(self, path):
        self._file = open(path, "w")

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self):
        return self._file.fileno()


def test_output_remembers_what_failed_and_goes_on(tmp_path):
    output = Output(Broken(tmp_path / "a"))
    assert output.write("text") == 4
    assert output.failure.errno == errno.ENOSPC
    print("more", file=output, flush=True)
    nowhere = Output(None)
    print("text", file=nowhere, flush=True)
    assert nowhere.failure is None and not nowhere.isatty()


def test_output_writes_what_its_encoding_lacks(tmp_path):
    with open(tmp_path / "a", "w", encoding="ascii") as file:
        print("Am\u00e9lie \udcff", file=Output(file), flush=True)
    assert (tmp_path / "a").read_text() == "Am\\xe9lie \\udcff\n"


def shell(tmp_path, line):
    return subprocess.run(
        ["bash", "-c", line.replace("PY", f"{sys.executable} -m d2l_autorec")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_into_a_full_disk_a_closed_stream_and_no_reader(tmp_path, verb):
    full = shell(tmp_path, f"PY.{verb} --help > /dev/full")
    assert_user_error(full, "stdout cannot be written (No space left on device)")
    for line in (
        f"PY.{verb} --help | true; exit ${{PIPESTATUS[0]}}",
        f"PY.{verb} --help >&-",
        f"PY.{verb} --help 2>&- < /dev/null",
    ):
        process = shell(tmp_path, line)
        assert process.returncode == 0 and process.stderr == "", line
    wrong = shell(tmp_path, f"PY.{verb} --no-such-option 2>&-")
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, "", "")


@pytest.mark.parametrize(
    "where, code",
    [
        ("> /dev/full", 2),
        ("2>&1 | true; exit ${PIPESTATUS[0]}", 0),
        (">&- 2>&- <&-", 0),
        ("2> /dev/full", 0),
    ],
)
def test_output_that_goes_nowhere_never_ends_a_training(tmp_path, where, code):
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


def has_begun(process, folder):
    return (folder / "out" / "config.json").exists()


def has_trained(process, folder):
    return (folder / "out" / "checkpoint.bin").exists()


@pytest.mark.parametrize(
    "moment, number",
    [
        (catches_signals, signal.SIGINT),
        (catches_signals, signal.SIGTERM),
        (loads_mxnet, signal.SIGINT),
        (has_begun, signal.SIGTERM),
        (has_trained, signal.SIGINT),
    ],
)
def test_a_signal_at_any_moment_is_one_line(tmp_path, moment, number):
    options = (*QUICK.split(), "--epochs", "100000", "--checkpoint-every", "1", "--quiet")
    process = subprocess.Popen(
        [sys.executable, "-m", "d2l_autorec.run", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not moment(process, tmp_path):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    errors = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert len(errors) == 1 and "stopped: " + signal.Signals(number).name in errors[0]
    assert list(tmp_path.rglob(f"{PART}*")) == []


@pytest.mark.parametrize("last", ["pass", "raise ImportError('half a library')"])
def test_a_signal_that_a_library_swallows_ends_the_command_all_the_same(
    tmp_path, monkeypatch, capsys, last
):
    (tmp_path / "swallows.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0.1)\n"
        f"except:\n    {last}\n"
    )
    monkeypatch.delitem(sys.modules, "swallows", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    def command(argv):
        import swallows  # noqa: F401

    assert run_command("name", command) == 143
    assert capsys.readouterr().err == "name: stopped: SIGTERM\n"


def test_a_signal_while_an_error_is_told_raises_nothing(monkeypatch, capsys):
    """Its handler is the usual one again: at the command line it ends the process at once."""
    arrived = []
    usual = signal.signal(signal.SIGTERM, lambda number, frame: arrived.append(number))

    class Slow(ConfigError):
        def __str__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            return "what is wrong"

    def command(argv):
        raise Slow()

    try:
        assert run_command("name", command) == 2
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert arrived and capsys.readouterr().err == "name: error: what is wrong\n"


def stop_in(monkeypatch, model, number):
    """A signal comes while the model is fitted, in closed form."""
    fit = model.fit

    def stopped(self, *arguments):
        os.kill(os.getpid(), number)
        fit(self, *arguments)

    monkeypatch.setattr(model, "fit", stopped)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("fold", [(), ("--split", "k-fold", "--fold", "all")])
def test_a_signal_in_a_closed_form_ends_the_command(in_process, monkeypatch, number, fold):
    stop_in(monkeypatch, ClosedForm, number)
    words = ("--model", "bias", "--dataset", "synthetic:60x80x900", "--out", "out", *fold)
    process = in_process("run", *words)
    assert process.returncode == 128 + number and process.stdout == ""
    advice = "go on with python -m d2l_autorec.run --resume out"
    last = process.stderr.splitlines()[-1]
    assert last == f"d2l_autorec.run: stopped: {signal.Signals(number).name}; {advice}"


def test_a_notebook_catches_a_signal_as_a_keyboard_interrupt(monkeypatch):
    stop_in(monkeypatch, ClosedForm, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="SIGINT; nothing was kept"):
        d2l_autorec.train_model(
            d2l_autorec.MeanConfig(quiet=True),
            *d2l_autorec.random_split(d2l_autorec.load_ratings("synthetic:60x80x900")),
        )


def test_a_second_signal_does_not_wait_for_the_step_under_way():
    with pytest.raises(Interrupted, match="SIGTERM; go on"), SignalWatch("go on") as watch:
        with watch.deferring():
            os.kill(os.getpid(), signal.SIGINT)
            assert watch.received == signal.SIGINT
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal did not come")


def test_ignored_signals_stay_ignored_by_whoever_handles_them():
    former = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        with SignalWatch() as watch:
            os.kill(os.getpid(), signal.SIGHUP)
            assert watch.received is None
            assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_IGN}
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

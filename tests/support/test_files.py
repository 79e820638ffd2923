"""Writes that are whole or not there, and what they leave alone."""

import errno
import gc
import os
import resource
import signal
import stat
import time
from contextlib import contextmanager

import numpy as np
import pytest
from helpers import assert_user_error, finish

from d2l_autorec import recommend
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.runs import experiment
from d2l_autorec.serving.tables import read_tables
from d2l_autorec.support import files
from d2l_autorec.support.cli import run_command
from d2l_autorec.support.errors import ConfigError, DataError
from d2l_autorec.support.files import locked, read_json, replacing, write_atomically

QUICK = ("--dataset", "synthetic:30x40x300", "--hidden", "4", "--epochs", "2")
QUICK += ("--batch-size", "16", "--quiet", "--cpus", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("runs") / "run")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Where a write goes.


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink() and target.read_text() == "new" and names(target.parent) == ["file"]
    target.unlink()
    write_atomically(link, b"again")  # a dangling link is followed too
    assert link.is_symlink() and target.read_text() == "again"


def test_the_mode_of_a_file_stays_and_a_new_one_has_what_umask_leaves(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch(0o755)
    before = os.umask(0o027)
    try:
        write_atomically(old, b"new")
        write_atomically(new, b"new")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o755, 0o640]


def test_what_is_no_file_is_not_replaced(run, in_process, tmp_path):
    (tmp_path / "null.csv").symlink_to("/dev/full")
    (tmp_path / "folder.csv").mkdir()
    for name in ("null.csv", "folder.csv"):
        assert_user_error(in_process("recommend", run.path, "--all", name), "is no file")


def test_names_that_are_too_long(run, in_process):
    name = "a" * 256
    process = in_process("recommend", run.path, "--all", f"{name}.csv")
    assert_user_error(process, "File name too long")
    assert_user_error(in_process("run", *QUICK, "--out", name), "File name too long", "--out")


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    """Shared mounts, as of some clusters, answer EINVAL; the file is in place nevertheless."""
    fsync = os.fsync

    def refuse_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and names(tmp_path) == ["file"]


def test_a_file_that_must_not_be_read_is_no_damage(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv cannot be read \(Permission denied\): change its"):
        with files.telling_damage(tmp_path / "a.csv"):
            raise PermissionError(errno.EACCES, "Permission denied")


def test_too_little_memory_is_no_damage(run, monkeypatch):
    def load(*_, **__):
        raise MemoryError("3 GB")

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(MemoryError, match="3 GB"):
        Ratings.load(run.path / "ratings.npz")
    with pytest.raises(MemoryError, match="3 GB"):
        read_tables(run.path / "tables.npz")


# Room.


@contextmanager
def room(limit):
    """A real limit of the operating system's, under which writes fail in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100, 3000])
@pytest.mark.parametrize("kind", ["bytes", "arrays"])
def test_a_file_that_the_system_cuts_is_not_kept(run, tmp_path, capfd, limit, kind):
    """Nothing that Python ignores is told when the file is forgotten."""
    path = tmp_path / "r.npz"
    path.write_bytes(b"old")
    with room(limit), pytest.raises(ConfigError, match="r.npz cannot be written .File too large"):
        with replacing(path) as unfinished:
            unfinished.write_bytes(bytes(5000)) if kind == "bytes" else run.ratings.save(unfinished)
    gc.collect()
    assert path.read_bytes() == b"old" and names(tmp_path) == ["r.npz"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("limit, hidden", [(10, 5), (1000, 5), (20_000, 500)])
def test_no_room_for_the_parameters(in_process, tmp_path, monkeypatch, limit, hidden):
    """MXNet itself cannot write: one line, no result, and the run ends well once there is room."""
    write = experiment.write_parameters
    with monkeypatch.context() as patched:
        patched.setattr(experiment, "write_parameters", room(limit)(write))
        words = (*QUICK, "--hidden", str(hidden), "--checkpoint-every", "1")
        process = in_process("run", *words, "--out", "run")
    assert_user_error(process, "model.params cannot be written")
    assert not {"model.params", "result.json"} & set(names(tmp_path / "run"))
    again = in_process("run", "--resume", "run")
    assert again.returncode == 0 and "model.params" in names(tmp_path / "run")


# Whose files they are.


def test_a_run_takes_no_folder_with_files_of_the_users(in_process, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert_user_error(
        in_process("run", *QUICK, "--out", "out"),
        "holds files already (notes.txt)",
        "name a new or an empty folder with --out",
    )
    assert names(tmp_path / "out") == ["notes.txt"]


def test_an_empty_folder_and_a_link_to_one_are_taken(in_process, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert in_process("run", *QUICK, "--out", "link").returncode == 0
    assert read_json(tmp_path / "empty" / "result.json")["epochs"] == 2


def test_a_run_that_was_killed_before_it_began_is_begun_again(in_process, tmp_path):
    out = tmp_path / "out"
    with locked(out, new=True):
        (out / "ratings.npz").write_text("half")
        (out / f"{files.PART}abcd1234.npz").write_text("half")
    assert in_process("run", *QUICK, "--out", out).returncode == 0
    assert not [name for name in names(out) if name.startswith(files.PART)]


def test_a_resumed_run_removes_what_a_killed_one_left(in_process, tmp_path):
    out = tmp_path / "out"
    assert in_process("run", *QUICK, "--out", out).returncode == 0
    (out / "result.json").unlink()
    for name in (".part-x", f"{files.PART}abcd1234.npz"):
        (out / name).write_text("mine")
    assert in_process("run", "--resume", out).returncode == 0
    assert ".part-x" in names(out) and f"{files.PART}abcd1234.npz" not in names(out)


# Signals.


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_no_temporary_file(run, tmp_path, monkeypatch, capsys, number, code):
    path = tmp_path / "all.csv"
    path.write_text("old")

    def stopped(run):
        assert len(names(tmp_path)) == 2
        os.kill(os.getpid(), number)
        time.sleep(60)
        raise AssertionError("the signal did not come")

    monkeypatch.setattr(recommend, "score_name", stopped)
    arguments = [str(run.path), "--all", str(path), "--quiet"]
    assert run_command("d2l_autorec.recommend", recommend.main, arguments) == code
    name = signal.Signals(number).name
    assert capsys.readouterr().err == f"d2l_autorec.recommend: stopped: {name}\n"
    assert names(tmp_path) == ["all.csv"] and path.read_text() == "old"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# What comes after the training.


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No room"), RuntimeError("")])
def test_a_figure_that_fails_is_one_warning(in_process, curves, tmp_path, monkeypatch, error):
    from matplotlib.figure import Figure

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Figure, "savefig", fail)
    out = tmp_path / "run"
    process = in_process("run", *QUICK, "--out", out)
    assert process.returncode == 0 and process.stdout.startswith("data set")
    assert process.stderr.count("warning:") == 1 and "Traceback" not in process.stderr
    assert f"warning: the figure {out / 'curve.png'} was not drawn (" in process.stderr
    assert "curve.png" not in names(out) and "result.json" in names(out)

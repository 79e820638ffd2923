"""Writes that are whole or not there, and what they leave alone."""

import errno
import gc
import os
import resource
import shutil
import signal
import socket
import stat
import time

import numpy as np
import pytest
from helpers import SMALL, assert_user_error, finish, train_run

from d2l_autorec import recommend
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.models.catalog.autorec import AutoRecConfig
from d2l_autorec.runs import experiment
from d2l_autorec.serving.tables import read_tables
from d2l_autorec.support import files
from d2l_autorec.support.cli import run_command
from d2l_autorec.support.errors import ConfigError
from d2l_autorec.support.files import locked, read_json, replacing, write_atomically
from d2l_autorec.training.checkpoint import Checkpoint

QUICK = (
    "--dataset",
    "synthetic:30x40x300",
    "--hidden",
    "4",
    "--epochs",
    "2",
    "--batch-size",
    "16",
    "--quiet",
    "--cpus",
    "1",
)


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


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_the_mode_of_a_file_stays(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_mode_that_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.fixture(params=["folder", "fifo", "socket", "device", "link to a device"])
def no_file(request, tmp_path):
    """Something at `path` that must stay what it is."""
    path = tmp_path / "x"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "socket":
        os.chdir(tmp_path)  # the name of a socket is short
        socket.socket(socket.AF_UNIX).bind("x")
    else:
        path.symlink_to("/dev/full")
    return path


@pytest.mark.parametrize("verb", ["recommend", "compare", "export", "report"])
def test_no_command_replaces_what_is_no_file(run, in_process, no_file, verb):
    before = os.lstat(no_file)
    folder = str(run.path)
    if verb == "recommend":
        process = in_process(verb, folder, "--all", str(no_file))
    elif verb == "compare":
        figure = no_file.rename(no_file.with_name("x.png"))
        no_file, before = figure, os.lstat(figure)
        process = in_process(verb, folder, "--figure", str(figure))
    elif verb == "export":
        process = in_process(verb, folder, "--out", str(no_file / "e"))
        if no_file.is_dir():
            return
    else:
        process = in_process(verb, "--quick", "--table", "chapter", "--out", str(no_file / "r"))
        if no_file.is_dir():
            return
    assert_user_error(process, str(no_file))
    after = os.lstat(no_file)
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)


def test_stdout_is_no_file(run, in_process, tmp_path):
    for name, fragment in (
        ("-", "this cannot be written to stdout: name a file"),
        ("/dev/null", "is no file"),
        ("/dev/full", "is no file"),
        (str(tmp_path), "is a folder"),
    ):
        assert_user_error(in_process("recommend", str(run.path), "--all", name), fragment)


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


def test_too_little_memory_is_no_damage(run, monkeypatch):
    def load(*_, **__):
        raise MemoryError("3 GB")

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(MemoryError, match="3 GB"):
        Ratings.load(run.path / "ratings.npz")
    with pytest.raises(MemoryError, match="3 GB"):
        read_tables(run.path / "tables.npz")


@pytest.mark.parametrize("limit", [100, 3000])
def test_arrays_without_room_are_one_line(run, tmp_path, capfd, limit):
    """Nothing that Python ignores is told when the file is forgotten."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(ConfigError, match="r.npz cannot be written .File too large"):
            with replacing(tmp_path / "r.npz") as unfinished:
                run.ratings.save(unfinished)
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == [] and capfd.readouterr().err == ""


def test_a_file_that_cannot_be_synced_is_one(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="file cannot be written .No space left on device"):
        write_atomically(tmp_path / "file", b"new")
    assert names(tmp_path) == []


# Room.


@pytest.mark.parametrize("limit", [0, 100, 3000])
def test_a_file_that_the_system_cuts_is_not_kept(tmp_path, limit):
    """A real limit of the operating system's, under which writes fail in the middle."""
    path, (soft, hard) = tmp_path / "file", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_bytes(b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(ConfigError, match="file cannot be written .File too large"):
            write_atomically(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


@pytest.mark.parametrize("limit", [10, 1000])
def test_no_room_for_the_parameters(in_process, tmp_path, monkeypatch, limit):
    """MXNet itself cannot write: one line, no result, and the run ends well once there is room."""
    write, (soft, hard) = experiment.write_parameters, resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(folder, net):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            write(folder, net)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as patched:
        patched.setattr(experiment, "write_parameters", limited)
        process = in_process("run", *QUICK, "--checkpoint-every", "1", "--out", "run")
    assert_user_error(process, "model.params cannot be written")
    assert names(tmp_path / "run") == [
        ".lock",
        "checkpoint-former.bin",
        "checkpoint.bin",
        "config.json",
        "metrics.csv",
        "ratings.npz",
    ]
    again = in_process("run", "--resume", str(tmp_path / "run"))
    assert again.returncode == 0 and "model.params" in names(tmp_path / "run")


def test_a_folder_that_is_removed_during_the_run(in_process, tmp_path, monkeypatch):
    save = Checkpoint.save

    def removed(self, path, arrays):
        shutil.rmtree(path.parent)
        save(self, path, arrays)

    monkeypatch.setattr(Checkpoint, "save", removed)
    assert_user_error(
        in_process("run", *QUICK, "--checkpoint-every", "1", "--out", str(tmp_path / "run")),
        "checkpoint.bin cannot be written (No such file or directory)",
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a" * 256, "a/" * 2500 + "b"])
def test_names_that_are_too_long(run, in_process, name):
    assert_user_error(in_process("recommend", str(run.path), "--all", name), "File name too long")
    assert_user_error(in_process("run", *QUICK, "--out", name), "File name too long", "--out")
    assert_user_error(in_process("run", "--resume", name), "is not a run folder")
    assert_user_error(in_process("compare", name), "is not a run folder")
    assert_user_error(
        in_process("run", "--dataset", "ml-100k", "--data-dir", name), "could not be downloaded ("
    )


def test_the_longest_name_is_written(tmp_path):
    write_atomically(tmp_path / ("a" * 255), b"new")
    assert (tmp_path / ("a" * 255)).read_bytes() == b"new"


# Whose files they are.


@pytest.mark.parametrize(
    "name",
    [
        "result.json",
        "metrics.csv",
        "model.params",
        "notes.txt",
        "checkpoint.bin",
        ".part-x",
        "curve.png",
    ],
)
def test_a_run_takes_no_folder_with_files_of_the_users(in_process, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    assert_user_error(
        in_process("run", *QUICK, "--out", str(tmp_path / "out")),
        f"holds files already ({name})",
        "name a new or an empty folder with --out",
    )
    assert (tmp_path / "out" / name).read_text() == "mine" and names(tmp_path / "out") == [name]


def test_an_empty_folder_and_a_link_to_one_are_taken(in_process, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert in_process("run", *QUICK, "--out", str(tmp_path / "link")).returncode == 0
    assert read_json(tmp_path / "empty" / "result.json")["epochs"] == 2


def test_a_run_that_was_killed_before_it_began_is_begun_again(in_process, tmp_path):
    out = tmp_path / "out"
    with locked(out, new=True):
        (out / "ratings.npz").write_text("half")
        (out / f"{files.PART}abcd1234.npz").write_text("half")
    assert in_process("run", *QUICK, "--out", str(out)).returncode == 0
    assert not [name for name in names(out) if name.startswith(files.PART)]


def test_a_resumed_run_removes_its_own_temporary_files_only(in_process, tmp_path):
    out = tmp_path / "out"
    assert in_process("run", *QUICK, "--out", str(out)).returncode == 0
    (out / "result.json").unlink()
    mine = [".part-x", f"{files.PART}notes and more", "x" + files.PART + "abcd1234.npz"]
    for name in [*mine, f"{files.PART}abcd1234.npz"]:
        (out / name).write_text("mine")
    assert in_process("run", "--resume", str(out)).returncode == 0
    assert set(mine) < set(names(out)) and f"{files.PART}abcd1234.npz" not in names(out)


def test_a_report_replaces_only_a_report(in_process, tmp_path):
    (tmp_path / "report.md").write_text("my thesis")
    assert_user_error(
        in_process("report", "--quick", "--table", "chapter", "--out", str(tmp_path)),
        "holds report.md, which no report has written",
    )
    assert names(tmp_path) == ["report.md"]


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


def test_a_signal_that_is_ignored_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command("x", lambda argv: os.kill(os.getpid(), signal.SIGHUP)) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# What comes after the training.


def test_a_dollar_sign_in_the_name_of_the_data(in_process, tmp_path):
    path = tmp_path / "b$x$^{.csv"
    path.write_text("".join(f"{u},{i},{1 + (u * i) % 5}\n" for u in range(9) for i in range(9)))
    out = tmp_path / "run$y$_{"
    process = in_process(
        "run",
        "--ratings",
        str(path),
        "--out",
        str(out),
        "--epochs",
        "1",
        "--batch-size",
        "9",
        "--hidden",
        "3",
        "--preset",
        "chapter",
        "--quiet",
    )
    assert process.returncode == 0, process.stderr
    said = [line for line in process.stderr.splitlines() if not line.startswith("no better than")]
    assert said == []
    assert "data set    b$x$^{.csv: " in process.stdout
    assert f"run folder  {out}\n" in process.stdout
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    figure = in_process("compare", str(out), "--figure", str(tmp_path / "c.png"))
    assert figure.returncode == 0 and figure.stderr == f"figure: {tmp_path / 'c.png'}\n"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such backend"),
        OSError(errno.ENOSPC, "No room"),
        ImportError("no module"),
        RuntimeError(""),
    ],
)
def test_a_figure_that_fails_is_one_warning(in_process, tmp_path, monkeypatch, error):
    from matplotlib.figure import Figure

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Figure, "savefig", fail)
    out = tmp_path / "run"
    process = in_process("run", *QUICK, "--out", str(out))
    assert process.returncode == 0 and process.stdout.startswith("data set")
    assert process.stderr.count("warning:") == 1 and "Traceback" not in process.stderr
    assert f"warning: the figure {out / 'curve.png'} was not drawn (" in process.stderr
    assert names(out) == [
        ".lock",
        "config.json",
        "metrics.csv",
        "model.params",
        "ratings.npz",
        "result.json",
    ]
    assert in_process("run", "--resume", str(out)).stdout == process.stdout
    if not isinstance(error, OSError):
        compared = in_process("compare", str(out), "--figure", str(tmp_path / "c.png"))
        assert compared.returncode == 0 and compared.stdout.startswith("run ")
        assert "warning: the figure" in compared.stderr and names(tmp_path) == ["run"]


def test_a_backend_that_does_not_exist(command, tmp_path):
    process = command("run", *QUICK, "--out", "run", MPLBACKEND="foo")
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "run" / "result.json").exists() and "Traceback" not in process.stderr


@pytest.mark.parametrize("choice", ["ignore", "error"])
def test_that_ratings_are_generated_is_always_said(command, choice):
    process = command(
        "run", *QUICK[2:], "--data-dir", "empty", "--out", "run", PYTHONWARNINGS=choice
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("GENERATED ratings of the same shape are used instead") == 1
    assert process.stdout.startswith("data set    GENERATED ratings (synthetic): ")


def test_every_figure_of_a_result_is_of_the_epoch_that_is_kept(tmp_path):
    """Early stopping ends after the best epoch, whose parameters are kept."""
    import csv

    result = train_run(
        AutoRecConfig(
            **{**SMALL, "epochs": 40},
            dataset="synthetic:90x300x3000",
            lr=0.05,
            val_ratio=0.2,
            patience=3,
            out=str(tmp_path / "a"),
        )
    )
    with open(tmp_path / "a" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    best = rows[result["best_epoch"] - 1]
    assert result["best_epoch"] < result["epochs"] == len(rows)
    for name in ("train_loss", "train_rmse", "validation_rmse", "test_rmse"):
        assert result[name] == pytest.approx(float(best[name]), rel=1e-12), name


def test_an_error_in_the_block_keeps_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        with replacing(path) as unfinished:
            unfinished.write_text("half")
            raise ZeroDivisionError
    assert names(tmp_path) == ["file"] and path.read_text() == "old"

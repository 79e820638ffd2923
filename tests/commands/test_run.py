"""`python -m d2l_autorec.run` as a user calls it."""

import json

import mxnet as mx
import pytest
from helpers import (
    WITHOUT_MXNET,
    assert_alike,
    assert_user_error,
    epochs_of,
    python,
    succeeded,
    train_into,
)

from d2l_autorec import AutoRec
from d2l_autorec.support.files import read_json

QUICK = ("--dataset", "synthetic:60x80x900", "--epochs", "2", "--hidden", "10", "--out", "out")


@pytest.mark.smoke
def test_run_folder(command, tmp_path):
    process = succeeded(command("run", *QUICK))
    assert "train RMSE" in process.stderr and "test RMSE" in process.stderr  # the bar
    out = tmp_path / "out"
    files = "config.json curve.png metrics.csv model.params ratings.npz result.json users.csv"
    assert {path.name for path in out.glob("[!.]*")} == {*files.split()}
    latest = max(out.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert latest.name == "result.json"  # a server takes the run up when it is there
    config = read_json(out / "config.json")
    assert config["options"]["hidden"] == [10] and config["options"]["lr"] == 0.002
    assert config["data"]["name"] == "synthetic" and len(config["data"]["test_sha256"]) == 64
    assert config["versions"]["mxnet"] == mx.__version__
    rows = epochs_of(out)
    result = read_json(out / "result.json")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["test_rmse"]) == result["test_rmse"]
    assert result["dataset"] == "synthetic"
    assert f"test RMSE   {result['test_rmse']:.4f}" in process.stdout
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    net = AutoRec(10, 60)
    net.load_parameters(str(out / "model.params"))


def test_repeatable_to_the_bit(in_process, tmp_path):
    """The same options, whether they are given anew or by the first run's config.json."""
    given = (*QUICK[:-2], "--cpus", "2")
    for name, words in {"a": given, "b": given, "c": ("--options", "a/config.json")}.items():
        succeeded(in_process("run", *words, "--quiet", "--out", name))
    assert_alike(tmp_path / "a", tmp_path / "b")
    assert_alike(tmp_path / "a", tmp_path / "c")


def test_quiet_and_json_print_only_the_result(in_process):
    process = in_process("run", *QUICK, "--quiet", "--no-hybridize")
    labels = [line.split("  ")[0] for line in process.stdout.splitlines()]
    assert labels == ["data set", "ratings", "test RMSE", "trained", "run folder"]
    assert "epoch" not in process.stderr

    process = in_process("run", *QUICK[:-1], "other", "--json")
    assert json.loads(process.stdout)["run"] == "other"
    assert process.stderr.splitlines()[-1] == "run folder: other"


def test_offline_without_data_says_so_loudly(in_process, tmp_path):
    process = succeeded(in_process("run", *QUICK[2:], "--data-dir", "empty"))
    for fragment in (
        "warning: ml-100k is not in empty and could not be downloaded",
        "GENERATED ratings of the same shape are used instead",
        "the test figures are NOT comparable with published ones",
        "--data-dir or D2L_AUTOREC_DATA",
    ):
        assert fragment in process.stderr
    assert read_json(tmp_path / "out" / "result.json")["dataset"] == "synthetic"


REFUSED = {
    "--lr nan": "--lr is nan: it must be a finite number",
    "--epochs 0": "--epochs is 0: it must be from 1 to 1000000",
    "--epochs 2.5": "argument --epochs: '2.5' is not a whole number",
    "--dropout 1": "--dropout is 1.0: it must be one number, at least 0 and below 1",
    "--split odd": "--split is odd: it must be one of random, seq-aware",
    "--gpus 0 --cpus 2": "--gpus 0 and --cpus 2 exclude each other",
    "--cpus 2 --kvstore none": "--kvstore none is for one device, and there are 2",
    "--model svd": "--model is svd: it must be one of autorec, mf, bias, mean",
    "--factors 3": "--factors is an option of --model mf and ials: --model autorec",
    "--model mf --preset paper": (
        "--preset paper is not for --model mf: choose one of chapter, best"
    ),
    "--hidden 5,x": "argument --hidden: 'x' is not a whole number",
}


@pytest.mark.parametrize("words", REFUSED)
def test_user_errors(in_process, tmp_path, words):
    process = in_process("run", "--dataset", "synthetic", *words.split())
    assert_user_error(process, REFUSED[words])
    assert list(tmp_path.iterdir()) == []


def test_help_groups_options_and_shows_defaults(in_process):
    text = in_process("run", "--help-all").stdout
    for heading in ("data", "model", "training", "devices", "output", "for example"):
        assert f"\n{heading}:" in text
    assert "[500; mult-dae, mult-vae, recvae: 600,200]" in " ".join(text.split())
    assert text.count("  python -m d2l_autorec.run") == 3


def test_without_mxnet_one_line_names_the_extras():
    """What needs MXNet says so; the package itself, its data and its errors do not need it."""
    hide, _, _ = WITHOUT_MXNET.partition("runpy.run_module")
    library = "import d2l_autorec as d2l; print(d2l.read_ratings.__name__); d2l.load_run"
    process = python("-c", hide + library)
    assert process.stderr.splitlines()[-1].startswith("ImportError: d2l_autorec needs MXNet")
    assert process.stdout == "read_ratings\n"
    assert "pip install 'd2l_autorec[cpu]'" in process.stderr

    as_module = hide + "runpy.run_module('d2l_autorec.run', run_name='__main__', alter_sys=True)"
    assert_user_error(python("-c", as_module), "d2l_autorec needs MXNet")


@pytest.mark.parametrize(
    "options, expected",
    [
        (dict(preset="paper"), 100 / (60 * 80)),
        (dict(preset="paper", wd=0.25), 0.25),
        (dict(preset="best", center=False, regularization=48.0), 48 / (60 * 80)),
        (dict(preset="chapter"), 1e-5),
    ],
)
def test_weight_decay_goes_by_the_ratings_at_hand(options, expected, tmp_path):
    """The preset's lambda on a set of its own size, not on the book's 943 x 1682."""
    small = dict(dataset="synthetic:60x80x900", quiet=True, cpus=1, epochs=1, hidden=(4,))
    result = train_into(tmp_path / "out", **small, **options)
    assert result["weight_decay"] == pytest.approx(expected)


def test_runs_of_the_same_second_have_folders_of_their_own(in_process, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *_: "now")
    for _ in range(3):
        succeeded(in_process("run", *QUICK[:-2], "--quiet"))
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == [f"autorec-synthetic-now{end}" for end in ("", "-2", "-3")]

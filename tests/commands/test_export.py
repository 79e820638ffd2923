"""`python -m d2l_autorec.export`: the files give the network's predictions without this package."""

import errno
import importlib.util
import json
import os
import subprocess
import sys

import numpy as onp
import pytest
from helpers import TESTS, assert_user_error, finish, own_file
from mxnet import MXNetError, gluon, np

import d2l_autorec as d2l
from d2l_autorec.serving import export

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="onnx or onnxruntime is not installed: pip install 'd2l_autorec[onnx]'",
)
MXNET = ["model-symbol.json", "model-0000.params"]


@pytest.fixture(scope="module", params=["item", "user"])
def run(request, tmp_path_factory):
    """String ids, a scale with 0, clipped."""
    folder = tmp_path_factory.mktemp("own")
    return finish(
        folder / "run",
        dataset="auto",
        preset="chapter",
        ratings=str(own_file(folder, zero=True)),
        based=request.param,
        clip=True,
        scale="0,4",
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.smoke
def test_symbol_block_predicts_as_the_network(run, in_process, tmp_path):
    process = in_process("export", str(run.path), "--out", str(tmp_path / "e"), "--format", "mxnet")
    assert process.returncode == 0 and process.stderr == "", process.stderr
    written = [tmp_path / "e" / name for name in [*MXNET, "metadata.json"]]
    assert process.stdout.splitlines() == [str(path) for path in written]
    assert names(tmp_path / "e") == sorted(path.name for path in written)
    rows = run.ratings.to_csr(run.config.based).toarray()
    block = gluon.SymbolBlock.imports(str(written[0]), ["data"], str(written[1]))
    onp.testing.assert_allclose(
        block(np.array(rows)).asnumpy(), run.net(np.array(rows)).asnumpy(), atol=1e-5
    )


@needs_onnx
@pytest.mark.smoke
def test_onnx_predicts_as_the_network_for_any_batch(run, in_process, tmp_path):
    import onnxruntime

    process = in_process("export", str(run.path), "--out", str(tmp_path), "--format", "onnx")
    assert process.returncode == 0, process.stderr
    assert names(tmp_path) == ["metadata.json", "model.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    rows = run.ratings.to_csr(run.config.based).toarray()
    assert [value.name for value in session.get_inputs()] == ["data"]
    for size in (1, 3, len(rows)):
        onp.testing.assert_allclose(
            session.run(None, {"data": rows[:size]})[0],
            run.net(np.array(rows[:size])).asnumpy(),
            atol=1e-4,
        )


@needs_onnx
def test_default_folder_and_metadata(run, in_process):
    process = in_process("export", str(run.path))
    assert process.returncode == 0, process.stderr
    folder = run.path / "export"
    assert names(folder) == sorted([*MXNET, "metadata.json", "model.onnx", "tables.npz"])
    meta = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert meta["user_ids"] == run.ratings.user_ids.tolist()
    assert meta["item_ids"] == run.ratings.item_ids.tolist()
    assert (meta["based"], meta["scale"], meta["offset"], meta["clip"]) == (
        run.config.based,
        [0, 4],
        1,
        True,
    )
    assert "0 = unobserved; add 1 to each rating" in meta["preprocessing"]
    assert "; subtract 1; clip to 0..4" in meta["postprocessing"]


@needs_onnx
def test_serving_example(run, in_process, tmp_path):
    in_process("export", str(run.path), "--out", str(tmp_path))
    ratings, item_based = run.inputs, run.config.based == "item"
    rows, columns = (ratings.items, ratings.users) if item_based else (ratings.users, ratings.items)
    column_ids = ratings.user_ids if item_based else ratings.item_ids
    mine = rows == 0
    given = {
        column_ids[column]: float(value)
        for column, value in zip(columns[mine], ratings.values[mine])
    }
    script = TESTS / "serve_example.py"
    process = subprocess.run(
        [sys.executable, str(script), str(tmp_path), json.dumps(given)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr
    served = json.loads(process.stdout)
    warm = column_ids[onp.unique(columns)].tolist()  # for others, predict has a mean
    pairs = (
        (warm, [ratings.item_ids[0]] * len(warm))
        if item_based
        else ([ratings.user_ids[0]] * len(warm), warm)
    )
    onp.testing.assert_allclose([served[name] for name in warm], run.predict(*pairs), atol=1e-4)


@needs_onnx
def test_a_file_that_predicts_something_else_is_not_kept(run, in_process, tmp_path, monkeypatch):
    (tmp_path / "metadata.json").write_text(json.dumps(export.describe(run)))
    (tmp_path / "model.onnx").write_text("old")

    def another(path):
        files = [path.with_name(name) for name in MXNET]
        return lambda rows: export._run_mxnet(files, np.array(rows)) + 0.25

    monkeypatch.setattr(export, "open_session", another)
    process = in_process("export", str(run.path), "--out", str(tmp_path))
    assert_user_error(
        process,
        "model.onnx was not kept: its predictions differ from the network's by up to 0.25",
        "0.0001 is allowed",
    )
    assert names(tmp_path) == ["metadata.json", "model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "old"


def test_files_of_the_users_are_not_replaced(run, in_process, tmp_path):
    (tmp_path / "metadata.json").write_text('{"mine": 1}')
    process = in_process("export", str(run.path), "--format", "mxnet", "--out", str(tmp_path))
    assert_user_error(process, f"{tmp_path} holds metadata.json, which no export has written")
    assert names(tmp_path) == ["metadata.json"]


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (MXNetError("[17:01] Check failed"), "MXNet's files are not whole, as on a full disk"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "MXNet's files are not whole"),
    ],
)
def test_a_full_disk_keeps_the_earlier_export(run, tmp_path, monkeypatch, error, reason):
    """What MXNet then says cannot always be decoded, and helps nobody."""
    run.export(tmp_path, ["mxnet"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise error

    monkeypatch.setattr(export, "_run_mxnet", full)
    with pytest.raises(d2l.ConfigError, match=f"{tmp_path} cannot be written .{reason}"):
        run.export(tmp_path, ["mxnet"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_the_extra(run, in_process, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    process = in_process("export", str(run.path), "--out", str(tmp_path / "e"))
    assert_user_error(
        process,
        "--format onnx needs onnx and onnxruntime",
        "pip install 'd2l_autorec[onnx]', or choose --format mxnet",
    )
    assert not (tmp_path / "e").exists()


def test_user_errors(run, in_process, tmp_path):
    assert_user_error(
        in_process("export", str(run.path), "--format", "mxnet,tf"),
        "--format tf is none of mxnet, onnx",
    )
    with pytest.raises(d2l.ConfigError, match=r"^`format=onx` is none of .* mean onnx\?$"):
        run.export(tmp_path / "e", formats=["onx"])
    assert not (tmp_path / "e").exists()
    (tmp_path / "file").write_text("")
    assert_user_error(
        in_process("export", str(run.path), "--format", "mxnet", "--out", str(tmp_path / "file")),
        "cannot be written",
        "--out",
    )
    assert_user_error(in_process("export", str(tmp_path)), "is not a run folder")

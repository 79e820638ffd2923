"""`python -m d2l_autorec.export`: the files give the network's predictions without this package."""

import errno
import json
import os
import shutil
import sys

import numpy as onp
import pytest
from helpers import TESTS, assert_user_error, ids_of, python, succeeded
from mxnet import np
from numpy.testing import assert_allclose

import d2l_autorec as d2l
from d2l_autorec.serving import tables
from d2l_autorec.support.files import read_json

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(own_run):
    return own_run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.smoke
def test_onnx_predicts_as_the_network_for_any_batch(run, in_process, tmp_path):
    process = succeeded(in_process("export", run.path, "--out", tmp_path / "e"))
    item_based = run.config.based == "item"
    assert process.stderr.startswith("model.onnx reads an item's ratings") == item_based
    assert bool(process.stderr) == item_based
    written = [tmp_path / "e" / name for name in ("model.onnx", "tables.npz", "metadata.json")]
    assert process.stdout.splitlines() == [str(path) for path in written]
    assert names(tmp_path / "e") == sorted(path.name for path in written)
    session = onnxruntime.InferenceSession(str(written[0]))
    rows = run.ratings.to_csr(run.config.based).toarray()
    assert [value.name for value in session.get_inputs()] == ["data"]
    for size in (1, 3, len(rows)):
        [found] = session.run(None, {"data": rows[:size]})
        expected = run.net(np.array(rows[:size])).asnumpy()
        assert_allclose(found, expected, atol=1e-4)


def test_default_folder_and_metadata(run, in_process):
    succeeded(in_process("export", run.path))
    folder = run.path / "export"
    assert names(folder) == ["metadata.json", "model.onnx", "tables.npz"]
    meta = read_json(folder / "metadata.json")
    assert meta["user_ids"] == run.ratings.user_ids.tolist()
    assert meta["item_ids"] == run.ratings.item_ids.tolist()
    expected = {"based": run.config.based, "scale": [0, 4], "offset": 1, "clip": True}
    assert {name: meta[name] for name in expected} == expected
    assert "0 = unobserved; add 1 to each rating" in meta["preprocessing"]
    assert "; subtract 1; clip to 0..4" in meta["postprocessing"]

    arrays = onp.load(folder / "tables.npz")
    assert {"names", *meta["tables"]} == set(arrays.files)
    if run.config.based == "item":  # a known user's predictions, by what metadata.json says
        predicted = arrays["users_weights"] @ arrays["items_weights"].T
        predicted += arrays["users_biases"][:, None] + arrays["items_biases"]
        assert "users_weights[u] @ items_weights[i]" in meta["tables"]["users_biases"]
        users, items = onp.indices(predicted.shape).reshape(2, -1)
        found = run.predict(run.ratings.user_ids[users], run.ratings.item_ids[items])
        expected = onp.clip(predicted[users, items] - meta["offset"], *meta["scale"])
        assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("config", [d2l.MFConfig, d2l.BiasConfig, d2l.MeanConfig])
@pytest.mark.parametrize("clip", [False, True])
def test_tables_of_pairs_and_what_metadata_says_give_predictions(run, config, clip, tmp_path):
    """They lacked the steps: a reader forgot to subtract 1."""
    model = d2l.train_model(config(preset="chapter", clip=clip), run.inputs)
    model.export(tmp_path)
    meta = read_json(tmp_path / "metadata.json")
    after = "subtract 1; " + ("clip to 0..4" if clip else "do not clip")
    assert meta["postprocessing"].startswith(f"Take the prediction of the tables; {after}. Use")

    arrays = onp.load(tmp_path / "tables.npz")
    predicted = arrays["users_weights"] @ arrays["items_weights"].T - 1
    predicted += arrays["users_biases"][:, None] + arrays["items_biases"]
    expected = onp.clip(predicted, 0, 4) if clip else predicted
    found = model.predict(*ids_of(run.inputs))
    assert_allclose(found, expected[run.inputs.users, run.inputs.items], atol=1e-4)


def test_serving_example(run, in_process, tmp_path):
    in_process("export", run.path, "--out", tmp_path)
    ratings, item_based = run.inputs, run.config.based == "item"
    rows, columns = (ratings.items, ratings.users) if item_based else (ratings.users, ratings.items)
    column_ids = ratings.user_ids if item_based else ratings.item_ids
    mine = rows == 0
    given = dict(zip(column_ids[columns[mine]].tolist(), ratings.values[mine].tolist()))
    words = (TESTS / "serve_example.py", tmp_path, json.dumps(given))
    served = json.loads(succeeded(python(*words, folder=tmp_path)).stdout)
    warm = column_ids[onp.unique(columns)].tolist()  # for others, predict has a mean
    pairs = [warm, [(ratings.item_ids if item_based else ratings.user_ids)[0]] * len(warm)]
    expected = run.predict(*(pairs if item_based else pairs[::-1]))
    assert_allclose([served[name] for name in warm], expected, atol=1e-4)


def test_an_earlier_export_is_kept(run, tmp_path, monkeypatch):
    """Where a file predicts something else, or the disk is full."""
    run.export(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for scorer, message in (
        (lambda *_: lambda rows: rows.toarray() + 9, "model.onnx was not kept: its predictions"),
        (full, "cannot be written .No space left on device"),
    ):
        monkeypatch.setattr(tables, "NetworkScorer", scorer)
        with pytest.raises(d2l.UserError, match=message):
            run.export(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_network_of_an_earlier_export_goes(run, tmp_path):
    run.export(tmp_path)
    bias = d2l.train_model(d2l.BiasConfig(), run.ratings)
    assert tmp_path / "model.onnx" not in bias.export(tmp_path)
    assert names(tmp_path) == ["metadata.json", "tables.npz"]


def test_user_errors(run, in_process, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    process = in_process("export", run.path, "--out", "file")
    assert_user_error(process, "cannot be written", "--out")
    assert_user_error(in_process("export", tmp_path), "is not a run folder", "name another")
    shutil.copytree(run.path, tmp_path / "runs" / "mine")
    inside = f"such as {tmp_path / 'runs' / 'mine'}"
    assert_user_error(in_process("export", tmp_path / "runs"), "is not a run folder", inside)

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    process = in_process("export", run.path, "--out", "e")
    assert_user_error(process, "needs onnxruntime", "pip install 'd2l_autorec[onnx]'")

"""Run folders of the former version load, and answer as it did; see former/record.py."""

import json
import shutil
from pathlib import Path

import numpy as onp
import pytest
from helpers import TESTS, assert_user_error
from mxnet import gluon, np

import d2l_autorec as d2l
from d2l_autorec.data.clicks import Clicks

FORMER = TESTS / "serving" / "former"
ANSWERS = json.loads((FORMER / "answers.json").read_text())
CLICK_MODELS = ("mult-vae", "ease")
PRINTED = 2e-6  # recommend prints six decimals, and the last may be rounded the other way
QUESTIONS = {
    "recommend": ["--user", "7"],
    "predict": ["--user", "7", "--items", "1,2,3"],
    "similar": ["--similar-items", "3"],
    "new_user": ["--new-user", "new.csv"],
}

pytestmark = pytest.mark.parametrize("name", ANSWERS)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    """A copy of a former run: what is committed stays as it is."""
    return Path(shutil.copytree(FORMER / name, tmp_path / name))


@pytest.mark.parametrize("question", QUESTIONS)
def test_recommends(name, question, folder, in_process, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("new.csv").write_text("item,rating\n1,5\n2,1\n4,4\n")
    if name in CLICK_MODELS:
        Path("new.csv").write_text("item\n1\n2\n4\n")

    process = in_process("recommend", str(folder), *QUESTIONS[question], "--json")
    if question not in ANSWERS[name]:
        assert_user_error(process, "needs item vectors", "--model ease")
        return
    assert process.returncode == 0, process.stderr
    found, expected = json.loads(process.stdout), ANSWERS[name][question]
    assert [row["item"] for row in found] == [row["item"] for row in expected]
    for row, former in zip(found, expected):
        assert row == pytest.approx(former, abs=PRINTED)


def test_result_and_history(name, folder):
    model = d2l.load_run(folder)
    assert model.metrics == json.loads((FORMER / name / "result.json").read_text())
    assert len(model.history) == model.metrics["epochs"]


def test_evaluates(name, folder):
    model = d2l.load_run(folder)
    if name in CLICK_MODELS:
        test = Clicks.load(folder / "clicks.npz")
    else:
        test = d2l.read_ratings(FORMER / "test.csv")

    found = model.evaluate(test)
    assert "test_rmse" in found or "test_ndcg@100" in found
    for metric in found.keys() & model.metrics.keys():
        assert found[metric] == pytest.approx(model.metrics[metric], abs=1e-6), metric


def test_exports(name, folder, tmp_path):
    model = d2l.load_run(folder)
    if "exported" not in ANSWERS[name]:
        with pytest.raises(d2l.ConfigError, match=f"a run of `model={name}`, which has no network"):
            model.export(tmp_path / "out")
        return

    symbol, parameters, _ = model.export(tmp_path / "out", formats=["mxnet"])
    expected = onp.array(ANSWERS[name]["exported"])
    rows = np.eye(len(expected), expected.shape[1])
    block = gluon.SymbolBlock.imports(str(symbol), ["data"], str(parameters))
    onp.testing.assert_allclose(block(rows).asnumpy(), expected, atol=1e-6)


def test_saved_anew_is_equal(name, folder, tmp_path):
    """A copy holds every file, though a former run does not list them with digests."""
    d2l.load_run(folder).save(tmp_path / "copy")
    again, former = d2l.load_run(tmp_path / "copy"), d2l.load_run(folder)
    assert again.metrics == former.metrics
    assert again.recommend(7) == former.recommend(7)
    assert again.history.equals(former.history)

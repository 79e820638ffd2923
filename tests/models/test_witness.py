"""Models of someone else's, in one file: every command works with them, and no file knows them."""

import json
import os
import re
import shutil
import sys
import textwrap
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from helpers import PACKAGE, Server, items_in, python, succeeded
from numpy.testing import assert_allclose, assert_array_equal

import d2l_autorec as d2l
from d2l_autorec.models import registry
from d2l_autorec.runs import tables
from d2l_autorec.support.files import read_json

FILE = Path(__file__).with_name("own_models.py")
DATA = ("--dataset", "synthetic:80x60x1500", "--threshold", "3", "--heldout-users", "8")
OPTIONS = {"own-knn": (), "deep-norm": ("--hidden", "16,8", "--epochs", "4", "--cpus", "1")}
METRIC = "test_ndcg@100"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the file as an installed package, which offers it by an entry point."""
    folder = tmp_path_factory.mktemp("site")
    (folder / FILE.name).write_bytes(FILE.read_bytes())
    about = folder / "own_models-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-models\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[d2l_autorec.models]\nown = own_models\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def environment(installed):
    """Processes and this one find the package; what it registers is gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_registered", dict(registry.models()))
        patch.setenv("PYTHONPATH", f"{PACKAGE.parent}{os.pathsep}{installed}")
        patch.syspath_prepend(installed)
        __import__("own_models")
        yield
    del sys.modules["own_models"]


def call(verb, *words, folder):
    return succeeded(python("-m", f"d2l_autorec.{verb}", *words, folder=folder)).stdout


@pytest.fixture(scope="module", params=OPTIONS)
def trained(request, tmp_path_factory):
    """The name of a model, its run folder, and what the run printed."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    words = ("--model", request.param, *DATA, *OPTIONS[request.param])
    printed = call("run", *words, "--json", "--out", folder, folder=folder.parent)
    return request.param, folder, json.loads(printed)


@pytest.fixture
def said(in_process):
    """What a command prints, which ends well."""

    return lambda verb, *words: succeeded(in_process(verb, *words)).stdout


def test_help(tmp_path, said):
    alone = said("run", "--model", "own-knn", "--help")
    for text in (call("run", "--help-all", folder=tmp_path), alone):
        assert "--neighbours N" in text and "items that each item is like" in " ".join(text.split())
    for verb in ("run", "tune"):
        words = " ".join(said(verb, "--help-all").split())
        assert "own-knn: item-based k-nearest neighbours" in words


def test_run(trained):
    model, folder, result = trained
    assert result["model"] == model
    assert result[METRIC] > 0 and "baseline_test_ndcg@100" in result
    assert read_json(folder / "config.json")["options"]["model"] == model


def test_recommend(trained, said, tmp_path):
    _, folder, result = trained
    run, three = d2l.load_run(folder), ("-n", "3", "--json")
    user = str(result["example_user"])
    shown = json.loads(said("recommend", folder, "--user", user, *three))
    assert items_in(shown) == items_in(run.recommend(user, 3))

    known = run.ratings.item_ids[:4].tolist()
    (tmp_path / "me.csv").write_text("item\n" + "\n".join(map(str, known)) + "\n")
    for words, absent in (
        (("--new-user", "me.csv"), known),
        (("--similar-items", str(known[0])), known[:1]),
    ):
        found = items_in(json.loads(said("recommend", folder, *words, *three)))
        assert len(found) == 3 and not set(found) & set(absent)


def test_export_and_serve(trained, said):
    model, folder, result = trained
    said("export", folder)

    run = d2l.load_run(folder)
    user = str(result["example_user"])
    with Server(folder) as server:
        url = f"{server.url}/recommend?user={user}&n=3"
        with urllib.request.urlopen(url, timeout=60) as answer:
            rows = json.load(answer)["recommendations"]
    expected = run.recommend(user, 3)
    assert items_in(rows) == items_in(expected)
    assert_allclose([row["score"] for row in rows], [row.score for row in expected], atol=1e-4)


def test_tune_and_compare(trained, said, tmp_path):
    model, folder, _ = trained
    words = ("--model", model, *DATA, "--trials", "2", "--out", tmp_path / "search", "--json")
    found = json.loads(said("tune", *words, *OPTIONS[model][2:]))
    assert found["trials"] == 2 and found["options"]["model"] == model

    [winner] = tmp_path.glob("search/winner-trial-*")
    assert model in said("compare", folder, winner)


def test_report(tmp_path, monkeypatch, said):
    """A report compares every model of clicks, theirs among them."""
    rows = registry.compared_rows("ranking")
    assert list(rows)[0] == "popularity" and {"own-knn", "deep-norm", "EASE"} <= set(rows)

    short = {label: rows[label] for label in ("popularity", "deep-norm", "own-knn")}
    monkeypatch.setattr(tables, "compared_rows", lambda task: short)
    words = ("--dataset", "synthetic:60x40x900", "--task", "ranking", "--threshold", "3")
    table = said("report", *words, "--folds", "3", "--out", tmp_path / "which")
    labels = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert labels[-3:] == list(short)


def test_an_own_network_is_opened_with_it(tmp_path):
    """It is given to `train_model` without a registration."""
    from mxnet.gluon import nn

    train, test = d2l.random_split(d2l.load_ratings("synthetic:60x40x900"), 0.1)
    net = nn.HybridSequential()
    net.add(
        nn.Dense(8, in_units=40, activation="tanh"),
        nn.LayerNorm(in_channels=8),
        nn.Dense(40, in_units=8),
    )
    config = d2l.AutoRecConfig(based="user", epochs=5, lr=0.02, cpus=1, quiet=True)
    with pytest.warns(d2l.DataWarning):  # it trains dense, and five epochs are few
        model = d2l.train_model(config, train, test, net=net, out=tmp_path / "own")

    user = train.user_ids[0]
    again = d2l.load_run(tmp_path / "own", net)
    assert again.recommend(user, 3) == model.recommend(user, 3)
    with pytest.raises(d2l.ConfigError, match="has a network of your own, which commands cannot"):
        d2l.load_run(again.path)
    assert model.similar_items(train.item_ids[0], 3)
    assert len(model.export(tmp_path / "out")) == 3


def test_training_begins_with_the_values_of_an_own_network():
    from mxnet import npx
    from mxnet.gluon import nn

    npx.set_np()
    train, test = d2l.random_split(d2l.load_ratings("synthetic:60x40x900"), 0.1)
    net = nn.HybridSequential()
    net.add(nn.Dense(8, in_units=40), nn.Dense(40, in_units=8))
    net.initialize()
    config = d2l.AutoRecConfig(based="user", preset="chapter", epochs=1, lr=1e-30, cpus=2)
    with pytest.warns(d2l.DataWarning):
        model = d2l.train_model(config, train, test, net=net)
    for layer, own in zip(net, model.net.net):
        assert_array_equal(own.weight.data().asnumpy(), layer.weight.data().asnumpy())


def test_what_cannot_be_had_is_said():
    from mxnet import gluon
    from mxnet.gluon import nn

    ratings = d2l.load_ratings("synthetic:60x40x900")
    by_items, by_users = (d2l.AutoRecConfig(based=by, epochs=1, cpus=1) for by in ("item", "user"))
    by_pairs = d2l.MFConfig()
    penalized = "has a penalty beside the prediction"
    l2 = {"loss": gluon.loss.L2Loss()}
    for config, given, message in (
        (by_pairs, {"net": nn.Dense(40)}, "^net maps rows to rows, and `model=mf` reads none"),
        (by_users, {"net": nn.Dense(40)}, "is not known: give its layer `in_units`"),
        (d2l.MFConfig(preset="best"), l2, penalized),
        (d2l.MultVAEConfig(), l2, penalized),
        (d2l.RecVAEConfig(), l2, penalized),
        (None, {"loss": "l2"}, "^loss is 'l2': it must be a function of"),
        (by_pairs, dict(out="1", resume="2"), "`out` and `resume` exclude each other"),
    ):
        with pytest.raises(d2l.ConfigError, match=message):
            d2l.train_model(config, ratings, **given)
    for loss, shown in (
        (lambda *_: 1.5, "1.5"),
        (lambda *_: None, "None"),
        (lambda prediction, label: prediction - label, r"shape \(40, 60\)"),
        (lambda prediction, label: (prediction - label).mean(), r"shape \(\)"),
    ):
        with pytest.raises(d2l.ConfigError, match=f"^the loss returned {shown}: it must be an"):
            d2l.train_model(by_items, ratings, loss=loss)
    with pytest.raises(d2l.ConfigError, match="^`model` is own-kn: .*; did you mean own-knn"):
        d2l.make_config(model="own-kn")


def test_the_examples_of_the_documentation(monkeypatch):
    """Both models are fitted, or trained, as they stand there."""
    monkeypatch.setattr(registry, "_registered", dict(registry.models()))
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", registry.__doc__, re.MULTILINE)
    code = [textwrap.dedent(block) for block in blocks if "import" in block or "@" in block]
    exec("\n".join(code), {})
    clicks = d2l.prepare_clicks(d2l.load_ratings("synthetic:80x60x1500"), 3.0, heldout_users=8)
    for options in ({"model": "together", "least": 3}, {"model": "deep", "epochs": 2}):
        model = d2l.train_model({**options, "quiet": True}, clicks)
        assert 0 < model.metrics["test_ndcg@100"] < 1
    shared = (clicks.train.T @ clicks.train).toarray()
    weights = registry.model_class("together")(least=3).fit(clicks.train).weights
    assert_allclose(weights, np.where(shared < 3, 0, shared) * (1 - np.eye(len(shared))))


def test_models_that_cannot_be_loaded_leave_the_others(installed, tmp_path):
    site = shutil.copytree(installed, tmp_path / "site")
    (site / FILE.name).write_text("register")
    paths = f"{PACKAGE.parent}{os.pathsep}{site}"
    process = python("-m", "d2l_autorec.run", "--model", "mf", "--help", PYTHONPATH=paths)
    assert process.returncode == 0 and "--factors" in process.stdout
    told = "warning: the models of own_models cannot be loaded (NameError: name 'register' is not "
    assert process.stderr.startswith(told)

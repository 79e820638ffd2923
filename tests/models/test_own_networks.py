"""Networks of a user's own, which are given to `train_model` or registered."""

import re
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import ids_of
from mxnet import gluon
from mxnet import np as mxnp
from mxnet.gluon import nn

import d2l_autorec as d2l
from d2l_autorec.models import registry
from d2l_autorec.models.kinds import RatingModel
from d2l_autorec.serving.predictor import Predictor
from d2l_autorec.serving.tables import load_served

OPTIONS = dict(preset="chapter", epochs=3, lr=0.02, quiet=True, cpus=1)
pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.DataWarning")


class Block(gluon.Block):
    """Two layers that are no sequence."""

    def __init__(self, size):
        super().__init__()
        self.inner = nn.Dense(9, in_units=size, activation="tanh")
        self.outer = nn.Dense(size, in_units=9)

    def forward(self, x):
        return self.outer(self.inner(x))


class Shifted(nn.HybridSequential):
    """A sequence with a `forward` of its own."""

    def forward(self, x):
        return super().forward(x) + 3


def sequence(size, last=None, kind=nn.HybridSequential, **given):
    net = kind()
    net.add(nn.Dense(9, in_units=size, activation="tanh", **given))
    net.add(nn.Dense(size, in_units=9, activation=last, **given))
    return net


class Relu(RatingModel):
    """A registered model by items, whose last layer is not linear."""

    based = "item"

    def network(self, data):
        return sequence(data.num_users, "relu")


def absolute(prediction, label):
    return (mxnp.abs(prediction - label) * mxnp.sign(label)).mean(axis=1)


NETWORKS = {
    "block": Block,
    "relu": lambda size: sequence(size, "relu"),
    "without biases": lambda size: sequence(size, use_bias=False),
    "shifted": lambda size: sequence(size, kind=Shifted),
}


def parts_of(users, items):
    """Ratings from 0, which have an offset, with ids that are texts."""
    rng = np.random.default_rng(3)
    cells = rng.choice(users * items, users * items // 2, replace=False)
    frame = {
        "user": [f"u{cell // items}" for cell in cells],
        "item": [f"i{cell % items}" for cell in cells],
        "rating": rng.integers(0, 5, len(cells)) * 1.0,
    }
    ratings = d2l.Ratings.from_frame(pd.DataFrame(frame), scale=(0, 4))
    return d2l.random_split(ratings, 0.2, seed=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("based", ["item", "user"])
@pytest.mark.parametrize("users, items", [(60, 40), (50, 50)])
def test_predictions_are_those_that_were_measured(name, based, users, items, tmp_path):
    """By items a network was fed the rows of users."""
    train, test = parts_of(users, items)
    net = NETWORKS[name](users if based == "item" else items)
    model = d2l.train_model(d2l.AutoRecConfig(**OPTIONS, based=based), train, test, net=net)
    errors = model.predict(*ids_of(test)) - test.values
    assert np.sqrt((errors**2).mean()) == pytest.approx(model.metrics["test_rmse"], rel=1e-5)

    [best] = model.recommend("u1", 1)
    assert best.score == pytest.approx(model.predict(["u1"], [best.item])[0])
    is_sequence = name in ("relu", "without biases")
    with nullcontext() if is_sequence else pytest.raises(d2l.ConfigError, match="be exported"):
        model.export(tmp_path)

    if model.parts().scores is None:
        assert model.recommend_new_user({"i1": 3.0})
        return
    for call in (lambda: model.recommend_new_user({"i1": 3.0}), lambda: model.user_vectors):
        with pytest.raises(d2l.ConfigError, match="no vectors"):
            call()


def test_an_export_has_the_scores_of_known_users(tmp_path, monkeypatch):
    """Of a registered model by items; its tables were empty, and it has no `preset=best`."""
    monkeypatch.setattr(registry, "_registered", dict(registry.models()))
    config = registry.register("relu")(Relu)(**OPTIONS)
    with pytest.warns(d2l.DataWarning, match="no better than .*: these ratings may hold no more"):
        model = d2l.train_model(config, *parts_of(60, 40), out=tmp_path / "run")
    model.export(tmp_path / "run" / "export")

    served, _ = load_served(tmp_path / "run")
    asked = ["u1", "u2"], ["i3", "i4"]
    assert isinstance(served, Predictor)
    np.testing.assert_array_equal(served.predict(*asked), model.predict(*asked))


@pytest.mark.parametrize("name", ["net", "loss", "train"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_resumed_run_needs_what_it_began_with(name, finished, tmp_path, in_process):
    """A forgotten loss was replaced by the chapter's, without a word."""
    train, test = parts_of(60, 40)
    own = {"net": Block(60)} if name == "net" else {"loss": absolute} if name == "loss" else {}
    given = dict(config=d2l.AutoRecConfig(**OPTIONS, kernel="dense"), train=train, test=test)
    d2l.train_model(**given, **own, out=tmp_path / "run")
    if not finished:
        (tmp_path / "run" / "result.json").unlink()

    needed = rf"was trained in Python .* give them again, as in train_model\(resume=.*{name}=\.\.\."
    if own:
        with pytest.raises(d2l.ConfigError, match=needed):
            d2l.train_model(**given, resume=tmp_path / "run")
    process = in_process("run", "--resume", "run")
    assert process.returncode == 2 and re.search(needed, process.stderr)
    assert d2l.train_model(**given, **own, resume=tmp_path / "run").metrics["epochs"] == 3


class Returning(Block):
    """A network whose output is `make` of the one that it should be."""

    def __init__(self, make):
        super().__init__(60)
        self._make = make

    def forward(self, x):
        return self._make(super().forward(x))


BLOCK = "it must be a Gluon block with parameters"
REFUSED = {
    f"net is a str: {BLOCK}": "mlp",
    f"net is a type: {BLOCK}": nn.Dense,
    f"net is a function: {BLOCK}": lambda x: x,
    f"net is a HybridSequential: {BLOCK}": nn.HybridSequential(),
    r"net maps an array of shape \(1, 60\) to \(1, 59\): ": Returning(lambda y: y[:, 1:]),
    r"net maps an array of shape \(1, 60\) to a tuple: ": Returning(lambda y: (y, y)),
    r"net maps an array of shape \(1, 60\) to a ndarray: ": Returning(lambda y: y.asnumpy()),
    "net cannot read rows of 60 numbers: ": Block(59),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_network_of_rows_is_refused_in_one_line(message):
    with pytest.raises(d2l.ConfigError, match=f"^{message}.*$"):
        d2l.train_model(d2l.AutoRecConfig(**OPTIONS), *parts_of(60, 40), net=REFUSED[message])


def test_options_of_the_models_network_are_refused_beside_a_net():
    ratings = d2l.load_ratings("synthetic:40x30x600")
    config = d2l.AutoRecConfig(tied=True, **OPTIONS)
    with pytest.raises(d2l.ConfigError, match="`tied` has no effect: net is a network of your own"):
        d2l.train_model(config, ratings, net=sequence(40))


def test_a_net_is_not_centred_by_the_preset():
    """It begins with no means, so that its first epoch is not said to serve them."""
    train, test = d2l.random_split(d2l.load_ratings("synthetic:40x30x600"))
    config = d2l.AutoRecConfig(preset="best", updates=10, quiet=True, cpus=1)
    model = d2l.train_model(config, train, test, net=sequence(40))
    assert not model.config.center and "serves_means" not in model.metrics


class Frozen(RatingModel):
    """A registered model whose network is the chapter's, with an encoder that stays as it is."""

    def network(self, data):
        net = d2l.AutoRec(5, data.num_items)
        net.encoder.weight.grad_req = "null"
        return net


def test_compiled_steps_are_for_models_that_ask_for_them(monkeypatch):
    monkeypatch.setitem(registry._registered, "frozen", None)
    registry.register("frozen")(Frozen)
    ratings = d2l.load_ratings("synthetic:40x30x600")
    first, last = (
        d2l.train_model({"model": "frozen", "epochs": epochs, "quiet": True, "cpus": 1}, ratings)
        for epochs in (1, 3)
    )
    weights = [model.net.encoder.weight.data().asnumpy() for model in (first, last)]
    np.testing.assert_array_equal(*weights)


def test_a_configuration_that_was_copied_is_no_other_beside_a_net():
    ratings = d2l.load_ratings("synthetic:40x30x600")
    config = replace(d2l.AutoRecConfig(init_sigma=0.1, **OPTIONS), lr=0.01)
    assert d2l.train_model(config, ratings, net=sequence(40)).config.lr == 0.01

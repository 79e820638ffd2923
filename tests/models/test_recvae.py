"""RecVAE: its parts against NumPy, encoder and decoder in turn, resumed runs, exports."""

import copy
import math
import os
import signal

import mxnet as mx
import numpy as onp
import pytest
from helpers import items_in, outcome, succeeded, values_of
from mxnet import autograd, gluon, np
from scipy import sparse as sp

import d2l_autorec as d2l
from d2l_autorec.models.recvae import RecVAE, clicks_of, log_prior
from d2l_autorec.models.registry import make_config
from d2l_autorec.serving import tables
from d2l_autorec.support.errors import Interrupted
from d2l_autorec.training.callbacks import Callback
from d2l_autorec.training.checkpoint import parameters_of
from d2l_autorec.training.loaders import BATCHES
from d2l_autorec.training.losses import MultinomialLoss

ROWS = onp.array([[1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]], dtype="float32")
NOISE = onp.array([[1, -1], [0.5, 2], [0, 0.3]], dtype="float32")
KERNELS = ["dense", "sparse"]
DATA = dict(dataset="synthetic:60x80x900", threshold=3.0, heldout_users=12, quiet=True, cpus=1)
TRAINED = dict(hidden=(8, 4), batch_size=16, epochs=9, encoder_epochs=2, eval_every=1, lr=0.01)
SMALL = {"model": "recvae", **DATA, **TRAINED}
pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")


def batch_of(kernel):
    return BATCHES[kernel](sp.csr_matrix(ROWS))(list(range(len(ROWS))))


@pytest.fixture(params=[True, False], ids=["hybridized", "imperative"])
def net(request, monkeypatch):
    """A small network without dropout, whose noise is known."""
    found = RecVAE((5, 2), 6, dropout=0.0)
    mx.random.seed(3)
    found.initialize(mx.init.Normal(0.5))
    for name, parameter in found._collect_params_with_prefix().items():
        if name.endswith(("gamma", "beta", "bias")):
            parameter.set_data(parameter.data() + np.random.normal(size=parameter.shape) / 2)
    found.hybridize(request.param)
    monkeypatch.setattr(np.random, "normal", lambda size, ctx: np.array(NOISE, ctx=ctx))
    return found


# the reference


def values(net):
    return {name: value.astype(float) for name, value in values_of(net).items()}


def encoded(of, rows, part="encoder"):
    """Mean and log variance, as the paper and its authors' code describe the encoder."""
    of = {name.removeprefix(part + "."): value for name, value in of.items() if part in name}
    lengths = onp.sqrt((rows**2).sum(axis=1, keepdims=True))
    a = rows / onp.maximum(lengths, 1e-12) @ of["first.first.weight"] + of["first.first.bias"]
    hidden = []
    for k in range(5):
        if k:
            a = hidden[-1] @ of[f"tower.layers.{k - 1}.weight"].T + of[f"tower.layers.{k - 1}.bias"]
            a = a + sum(hidden)
        swish = a / (1 + onp.exp(-a))
        centred = swish - swish.mean(axis=1, keepdims=True)
        normed = centred / onp.sqrt((centred**2).mean(axis=1, keepdims=True) + 0.1)
        hidden.append(normed * of[f"tower.norms.{k}.gamma"] + of[f"tower.norms.{k}.beta"])
    return onp.split(hidden[-1] @ of["tower.code.weight"].T + of["tower.code.bias"], 2, axis=1)


def density(z, mean, variance):
    return onp.exp(-((z - mean) ** 2) / (2 * variance)) / onp.sqrt(2 * math.pi * variance)


def prior(z, mean, log_variance):
    return onp.log(
        0.15 * density(z, 0, 1)
        + 0.75 * density(z, mean, onp.exp(log_variance))
        + 0.1 * density(z, 0, math.exp(10))
    )


def decoded(of, z):
    return z @ of["decoder.weight"].T + of["decoder.bias"]


def likelihood(logits):
    return (ROWS * (logits - onp.log(onp.exp(logits).sum(axis=1, keepdims=True)))).sum(axis=1)


def encoder_loss(of, gamma):
    mean, log_variance = encoded(of, ROWS)
    z = mean + NOISE * onp.exp(log_variance / 2)
    posterior = onp.log(density(z, mean, onp.exp(log_variance)))
    divergence = (posterior - prior(z, *encoded(of, ROWS, "former"))).sum(axis=1)
    return gamma * ROWS.sum(axis=1) * divergence - likelihood(decoded(of, z))


def close(found, expected):
    onp.testing.assert_allclose(found.asnumpy(), expected, rtol=2e-5, atol=2e-5)


# the parts


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_encoder_and_the_prediction(net, kernel):
    expected = encoded(values(net), ROWS)
    for found, right in zip(net.encoder(batch_of(kernel)), expected):
        close(found, right)
    close(net(batch_of(kernel)), decoded(values(net), expected[0]))


def test_the_prior_is_a_density_with_three_components():
    z = onp.array([[-1.5, 0.2, 40.0], [3.0, 0.0, -700.0]])
    mean, log_variance = onp.array([[1, -2, 0.5]]), onp.array([[0.3, -1, 0.1]])
    found = log_prior(*(np.array(value, dtype="float32") for value in (z, mean, log_variance)))
    close(found, prior(z, mean, log_variance))

    axis = onp.linspace(-1500, 1500, 600_001)
    total = onp.exp(prior(axis, 1, 0.3)).sum() * (axis[1] - axis[0])
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_loss_of_an_encoder_step_and_its_gradient(net, kernel):
    """A weight of gamma for each click of the user; gradients against finite differences."""
    net.begin_epoch(1)
    x, loss = batch_of(kernel), MultinomialLoss(lambda: 0.3)
    close(clicks_of(x), [3, 2, 0])
    with autograd.record():
        rows = loss(net(x), x)
    rows.backward()
    close(rows, encoder_loss(values(net), 0.3))

    for name in ("encoder.first.first.weight", "encoder.tower.code.weight"):
        gradient = net._collect_params_with_prefix()[name].grad().asnumpy()
        for place in ((0, 1), (1, 3)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = copy.deepcopy(values(net))
                moved[name][place] += step
                ends.append(encoder_loss(moved, 0.3).sum())
            slope = (ends[0] - ends[1]) / 2e-5
            assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_loss_of_a_decoder_step(net, kernel):
    """The likelihood alone, of a code that is drawn."""
    net.begin_epoch(4)
    x = batch_of(kernel)
    mean, log_variance = encoded(values(net), ROWS)
    z = mean + NOISE * onp.exp(log_variance / 2)
    with autograd.record():
        rows = MultinomialLoss(lambda: 0.3)(net(x), x)
    rows.backward()
    close(rows, -likelihood(decoded(values(net), z)))

    odds = onp.exp(decoded(values(net), z))
    errors = ROWS.sum(axis=1, keepdims=True) * odds / odds.sum(axis=1, keepdims=True) - ROWS
    close(net.decoder.weight.grad(), errors.T @ z)


@pytest.mark.parametrize("kernel", KERNELS)
def test_clicks_are_dropped_in_encoder_steps_alone(monkeypatch, kernel):
    net = RecVAE((5, 2), 6, dropout=0.5)
    net.initialize(mx.init.Normal(0.5))
    monkeypatch.setattr(np.random, "normal", lambda size, ctx: np.zeros(size, ctx=ctx))
    for epoch, outputs in ((1, 8), (4, 1)):  # three clicks: kept or not, each
        net.begin_epoch(epoch)
        with autograd.train_mode():
            found = [net(batch_of(kernel)) for _ in range(80)]
        logits = [one[0] if epoch == 1 else one for one in found]
        assert len({one.asnumpy()[0].tobytes() for one in logits}) == outputs


@pytest.mark.parametrize("kernel", KERNELS)
def test_encoder_and_decoder_are_trained_in_turn(kernel):
    """Of three epochs and one, the others' parameters stay; the prior follows after the third."""
    net = RecVAE((5, 2), 6)
    net.initialize(mx.init.Normal(0.5))
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    x, before = batch_of(kernel), parameters_of(net)
    for epoch in range(1, 9):
        net.begin_epoch(epoch)
        with autograd.record():
            rows = MultinomialLoss(lambda: 0.3)(net(x), x)
        rows.backward()
        trainer.step(len(ROWS))

        after = parameters_of(net)
        changed = {name.split("/")[1] for name in after if (after[name] != before[name]).any()}
        parts = {name.split(".")[0] for name in changed}
        decoders = epoch in (4, 8)
        assert parts == ({"decoder", "former"} if decoders else {"encoder"})
        if decoders:
            pairs = zip(*(values(part).values() for part in (net.encoder, net.former)))
            assert all((one == other).all() for one, other in pairs)
        before = after


# the commands


class Stop(Callback):
    """A signal in a step of an epoch."""

    def __init__(self, *at):
        self.at = at

    def on_step_begin(self, training, rows):
        if (len(training.history) + 1, len(training.steps) + 1) == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recvae") / "run"
    return d2l.train_model(make_config(SMALL), out=folder)


@pytest.mark.parametrize("at", [(2, 2), (3, 1)], ids=["encoder", "first of decoder"])
def test_a_stopped_run_goes_on_to_the_bit(run, tmp_path, at):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        d2l.train_model(make_config(SMALL), out=out, callbacks=[Stop(*at)])
    d2l.train_model(make_config(SMALL), resume=out)
    assert outcome(out) == outcome(run.path)


def test_two_devices_train_alike_and_dense_kernels_run(tmp_path):
    for options in ({"cpus": 2}, {"kernel": "dense"}):
        found = d2l.train_model(make_config({**SMALL, **options, "epochs": 3}))
        assert onp.isfinite(found.metrics["test_ndcg@100"])


def test_export(run, in_process, tmp_path):
    """The file gives the network's logits for rows of length 1."""
    pytest.importorskip("onnxruntime")
    succeeded(in_process("export", run.path, "--out", tmp_path))
    rows = run.ratings.to_csr("user")
    found = tables.NetworkScorer((tmp_path / tables.NETWORK).read_bytes(), unit_rows=True)(rows)
    onp.testing.assert_allclose(found, run.net(np.array(rows.toarray())).asnumpy(), atol=1e-5)


def test_recommendations(run):
    """Of a known user, of a new one with the same clicks, and similar items."""
    assert list(run.history.beta) == [run.metrics["best_beta"]] * 9 == [0.005] * 9
    user = run.ratings.user_ids[0]
    items = run.ratings.item_ids[run.ratings.items[run.ratings.users == 0]]
    known, new = run.recommend(user, 5), run.recommend_new_user(items.tolist(), 5)
    assert items_in(new) == items_in(known)
    assert len(run.similar_items(items[0], 3)) == 3

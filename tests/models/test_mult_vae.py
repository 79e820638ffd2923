"""Mult-VAE and Mult-DAE: golden values, sampling, dropout, loss, annealing."""

from dataclasses import replace

import mxnet as mx
import numpy as onp
import pytest
from helpers import history_of
from mxnet import autograd, gluon, np
from mxnet.gluon import nn
from numpy.testing import assert_allclose
from scipy import sparse as sp

from d2l_autorec.models.catalog.mult_vae import MultVAEConfig
from d2l_autorec.models.layers import InputDense
from d2l_autorec.models.mult_vae import MultDAE, MultVAE
from d2l_autorec.training.loaders import BATCHES
from d2l_autorec.training.losses import MultinomialLoss

ROWS = onp.array([[1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 1]], dtype="float32")
MODELS, KERNELS = [MultVAE, MultDAE], ["dense", "sparse"]
ORDERS = [("train", "predict"), ("predict", "train")]
ALL = (0.5,) * 4  # dropout of every layer; once a tanh came with each


def batch_of(rows, kernel="dense"):
    return BATCHES[kernel](sp.csr_matrix(rows))(list(range(len(rows))))


def layers(net):
    return [
        net.encoder.first,
        *(one for one in (*net.encoder.rest, *net.decoder) if isinstance(one, nn.Dense)),
    ]


def golden(model, dropout=0.0):
    """The network of the golden values: W[o, i] = sin(1 + o in + i) / 2, b[o] = cos(o) / 10."""
    net = model((3, 2), 6, dropout)
    net.initialize()
    for layer in layers(net):
        units = layer.bias.shape[0]
        inputs = layer.weight.data().size // units
        weight = onp.sin(1 + onp.arange(units * inputs)).reshape(units, inputs) / 2
        layer.weight.set_data(np.array(weight.T if isinstance(layer, InputDense) else weight))
        layer.bias.set_data(np.array(onp.cos(onp.arange(units)) / 10))
    return net


def in_training(net, x):
    with autograd.train_mode():
        return net(x)


def close(found, expected, tolerance=1e-5):
    assert_allclose(found.asnumpy(), expected, atol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("hybridized", [True, False])
def test_golden_values_of_the_vae(monkeypatch, kernel, hybridized):
    net, x = golden(MultVAE), batch_of(ROWS, kernel)
    net.hybridize(hybridized)
    close(MultinomialLoss()(golden(MultVAE, ALL)(x), x), [5.321149, 3.654695])
    code = net.encoder(x)
    close(code[0], [0.273914, -0.130586, 0.150009, -0.293794])
    close(MultinomialLoss()(net(x), x), [5.321149, 3.654695])
    monkeypatch.setattr(np.random, "normal", lambda size, ctx: np.zeros(size, ctx=ctx))
    logits, divergence = in_training(net, x)
    close(divergence, [0.071571, 0.097706])
    close(MultinomialLoss(lambda: 0.2)((logits, divergence), x).mean(), 4.50485)
    noise = np.array([[1, -1], [0.5, 2]])
    monkeypatch.setattr(np.random, "normal", lambda size, ctx: noise)
    close(MultinomialLoss(lambda: 0.2)(in_training(net, x), x).mean(), 4.288911)


@pytest.mark.parametrize("model, loss", [(MultVAE, (5.321149 + 3.654695) / 2), (MultDAE, 4.487568)])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("hybridized", [True, False])
def test_layers_with_dropout_predict_as_those_without(model, loss, kernel, hybridized):
    """Once a tanh came with each Dropout, on the input and on z."""
    x = batch_of(ROWS, kernel)
    for dropout in (0.0, ALL):
        net = golden(model, dropout)
        net.hybridize(hybridized)
        close(MultinomialLoss()(net(x), x).mean(), loss)
        trained = in_training(net, x)
        close(MultinomialLoss()(net(x), x).mean(), loss)
        if model is MultDAE and not dropout:
            close(MultinomialLoss()(trained, x).mean(), loss)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("hybridized", [True, False])
@pytest.mark.parametrize("calls", ORDERS)
def test_sampling_in_training_and_only_in_training(hybridized, calls, kernel):
    """No noise at evaluation and noise in training, by whichever call came first."""
    net, x = golden(MultVAE), batch_of(ROWS, kernel)
    net.hybridize(hybridized)
    for call in calls:
        if call == "predict":
            close(MultinomialLoss()(net(x), x), [5.321149, 3.654695])
            with autograd.record(train_mode=False):
                assert net(x).asnumpy().tobytes() == net(x).asnumpy().tobytes()
        else:
            samples = [in_training(net, x)[0].asnumpy() for _ in range(200)]
            assert abs(samples[0] - samples[1]).max() > 1e-3
            spread = onp.std(samples, axis=0)
            close(np.array(spread[0]), expected_spread(net), 0.16)


def expected_spread(net):
    """Standard deviation of the first row's logits, of many draws with NumPy's generator."""
    mean, log_variance = onp.split(net.encoder(np.array(ROWS[:1])).asnumpy(), 2, axis=1)
    noise = onp.random.default_rng(0).normal(size=(4000, 2))
    z = np.array(mean + noise * onp.exp(log_variance / 2), dtype="float32")
    return net.decoder(z).asnumpy().std(axis=0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("hybridized", [True, False])
@pytest.mark.parametrize("calls", ORDERS)
def test_dropout_in_training_and_only_in_training(monkeypatch, model, hybridized, calls, kernel):
    monkeypatch.setattr(np.random, "normal", lambda size, ctx: np.zeros(size, ctx=ctx))
    net, x = golden(model, 0.5), batch_of(ROWS, kernel)
    net.hybridize(hybridized)
    plain = golden(model)(x).asnumpy()
    for call in calls:
        if call == "predict":
            assert_allclose(net(x).asnumpy(), plain, atol=1e-6)
        else:
            outputs = [in_training(net, x) for _ in range(40)]
            outputs = [out[0] if model is MultVAE else out for out in outputs]
            different = {out.asnumpy()[1].tobytes() for out in outputs}
            assert len(different) == 4  # the second row has two clicks: kept or not, each


@pytest.mark.parametrize("kernel", KERNELS)
def test_input_dropout_keeps_the_expected_input(kernel):
    """Half the entries zero and the others doubled, after normalisation."""
    rows = onp.ones((50, 40), dtype="float32")
    net = MultDAE((40,), 40, 0.5)
    net.initialize()
    net.encoder.first.weight.set_data(np.eye(40) * 1e-3)
    net.encoder.first.bias.set_data(np.zeros(40))
    with autograd.train_mode():
        seen = net.encoder(batch_of(rows, kernel)).asnumpy() * 1e3 * onp.sqrt(40)
    assert set(onp.round(seen, 3).ravel().tolist()) == {0, 2}
    assert 0.45 < (seen > 0).mean() < 0.55


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("hidden", [(2,), (6, 5, 4)])
def test_sparse_and_dense_agree(model, hidden, monkeypatch):
    monkeypatch.setattr(np.random, "normal", lambda size, ctx: np.ones(size, ctx=ctx))
    mx.random.seed(0)
    rng = onp.random.default_rng(0)
    rows = (rng.uniform(size=(7, 20)) < 0.2).astype("float32")
    rows[3] = 0  # nobody's row: no NaN
    net, gradients = model(hidden, 20, 0.0), []
    net.initialize(mx.init.Normal(0.5))
    for kernel in KERNELS:
        x = batch_of(rows, kernel)
        with autograd.record():
            loss = MultinomialLoss(lambda: 0.3)(net(x), x)
        loss.backward()
        assert loss.shape == (7,) and net(x).shape == (7, 20)
        slopes = [p.grad() for p in net.collect_params().values()]
        gradients.append([one.asnumpy() for one in (loss, net(x), *slopes)])
    for dense, sparse in zip(*gradients):
        assert_allclose(dense, sparse, rtol=1e-5, atol=5e-6)
        assert onp.isfinite(dense).all()


@pytest.mark.parametrize("dropout", [(0.5,), (0.5, 0.1, 0.1), (0.5,) * 5])
def test_sizes_that_do_not_match(dropout):
    """A list of dropouts that ends before the layers do would leave layers out."""
    with pytest.raises(ValueError, match="zip"):
        MultVAE((600, 200), 10, dropout)


def test_initial_values():
    net = MultVAE((60, 20), 500)
    net.initialize(mx.init.Zero(), ctx=[mx.cpu(0), mx.cpu(1)])  # each parameter has its own
    for layer in layers(net):
        weight, bias = layer.weight.data(mx.cpu(1)).asnumpy(), layer.bias.data(mx.cpu(1)).asnumpy()
        limit = onp.sqrt(6 / sum(weight.shape))
        assert 0.98 * limit < abs(weight).max() <= limit
        assert weight.std() == pytest.approx(limit / onp.sqrt(3), rel=0.1)
        assert 0 < abs(bias).max() <= 0.002


@pytest.mark.parametrize("model", MODELS)
def test_the_batch_is_averaged_once(model, monkeypatch):
    """An averaged loss and step(rows) together make weight decay rows times stronger."""
    monkeypatch.setattr(np.random, "normal", lambda size, ctx: np.ones(size, ctx=ctx))
    net, x, decay = golden(model), np.array(ROWS), 0.5
    before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    with autograd.record():
        mean = MultinomialLoss(lambda: 0.2)(net(x), x).mean()
    mean.backward()
    gradients = {name: p.grad().asnumpy() for name, p in net.collect_params().items()}
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1.0, "wd": decay})
    with autograd.record():
        rows = MultinomialLoss(lambda: 0.2)(net(x), x)
    rows.backward()
    trainer.step(len(x))
    for name, p in net.collect_params().items():
        expected = gradients[name] + (0 if name.endswith("bias") else decay * before[name])
        assert_allclose(before[name] - p.data().asnumpy(), expected, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_large_logits_give_a_finite_loss(kernel):
    logits = np.array([[1000.0, -1000.0, 0]])
    close(MultinomialLoss()(logits, batch_of([[1.0, 1, 0]], kernel)), [2000])


@pytest.mark.parametrize("anneal", ["original", "recotour"])
def test_the_second_pass_goes_to_the_best_beta_as_steeply_as_the_first(anneal):
    """With another slope the best beta came at another update than where it was best."""
    config = MultVAEConfig(search_beta=True, anneal=anneal, anneal_steps=300)
    first = config.beta_schedule(400, None)
    scores = (0.1, 0.3, 0.4, 0.4, 0.2)  # of equal scores the first counts
    epochs = [replace(one, beta=first(60 * one.epoch)) for one in history_of(scores, "ndcg@100")]
    second = config.beta_schedule(400, epochs)
    assert second.cap == first(180) < first(240)
    assert [second(n) for n in range(181)] == [first(n) for n in range(181)]
    assert {second(n) for n in range(180, 400)} == {second.cap}

"""The AutoRec block against hand-computed numbers, in every order of first call."""

import mxnet as mx
import numpy as onp
import pytest
from mxnet import autograd, np

from d2l_autorec import AutoRec

X = onp.array([[5, 0, 3], [0, 0, 0]], dtype="float32")
V = onp.array([[0.1, -0.2], [0.3, 0.4], [-0.5, 0.6]], dtype="float32")  # (users, hidden)
W = onp.array([[1, 2], [3, 4], [5, 6]], dtype="float32")  # (users, hidden)
MU, B = onp.array([0.1, 0.2], dtype="float32"), onp.array([0.5, 1, 1.5], dtype="float32")
HIDDEN = 1 / (1 + onp.exp(-(X @ V + MU)))
RECONSTRUCTION = HIDDEN @ W.T + B


def make_net(devices=None, dropout=0.0):
    net = AutoRec(2, 3, dropout)
    net.initialize(ctx=devices or [mx.cpu()])
    net.encoder.weight.set_data(np.array(V))
    net.encoder.bias.set_data(np.array(MU))
    net.decoder.weight.set_data(np.array(W))
    net.decoder.bias.set_data(np.array(B))
    return net


def forward(net, training, device=None):
    x = np.array(X, ctx=device or mx.cpu())
    if training:
        with autograd.record():
            return net(x).asnumpy()
    return net(x).asnumpy()


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("order", [(True, False, True), (False, True, False)])
@pytest.mark.parametrize("devices", [1, 3])
def test_mask_in_training_only(hybridize, order, devices):
    contexts = [mx.cpu(i) for i in range(devices)]
    net = make_net(contexts)
    net.hybridize(hybridize)
    for training in order:
        for device in contexts:
            expected = RECONSTRUCTION * onp.sign(X) if training else RECONSTRUCTION
            onp.testing.assert_allclose(forward(net, training, device), expected, rtol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_dropout_in_training_only(hybridize, first):
    net = make_net(dropout=0.5)
    net.hybridize(hybridize)
    forward(net, first)
    onp.testing.assert_allclose(forward(net, False), RECONSTRUCTION, rtol=1e-6)
    trained = {forward(net, True)[0, 0] for _ in range(20)}
    assert len(trained) > 1


def test_gradients_of_observed_entries_only():
    net = make_net()
    x = np.array(X)
    with autograd.record():
        loss = mx.gluon.loss.L2Loss()(net(x), x)
    loss.backward()
    error = (RECONSTRUCTION - X) * (X > 0) / 3  # d(0.5 mean over 3 users)
    onp.testing.assert_allclose(loss.asnumpy(), 1.5 * (error ** 2).sum(1), rtol=1e-5)
    onp.testing.assert_allclose(net.decoder.weight.grad().asnumpy(), error.T @ HIDDEN, rtol=1e-5)
    onp.testing.assert_allclose(net.decoder.bias.grad().asnumpy(), error.sum(0), rtol=1e-5)
    pre = error @ W * HIDDEN * (1 - HIDDEN)
    onp.testing.assert_allclose(net.encoder.weight.grad().asnumpy(), X.T @ pre, rtol=1e-5,
                                atol=1e-7)
    onp.testing.assert_allclose(net.encoder.bias.grad().asnumpy(), pre.sum(0), rtol=1e-5,
                                atol=1e-7)


def test_first_layer_is_a_dense_layer():
    from d2l_autorec.models.layers import InputDense
    layer = InputDense(2, 3)
    layer.initialize()
    layer.weight.set_data(np.array(V))
    onp.testing.assert_allclose(layer(np.array(X)).asnumpy(), X @ V, rtol=1e-6)

"""The AutoRec block against hand-computed numbers, in every order of first call."""

import mxnet as mx
import numpy as onp
import pytest
from helpers import cpus, values_of
from mxnet import autograd, np
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from d2l_autorec import AutoRec
from d2l_autorec.kernels.csr import CSRBatch
from d2l_autorec.models.deep_autorec import DeepAutoRec
from d2l_autorec.models.layers import Dropout, RatingActivation
from d2l_autorec.models.sparse_autorec import predict

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
    contexts = cpus(devices)
    net = make_net(contexts)
    net.hybridize(hybridize)
    for training in order:
        for device in contexts:
            expected = RECONSTRUCTION * onp.sign(X) if training else RECONSTRUCTION
            assert_allclose(forward(net, training, device), expected, rtol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_dropout_in_training_only(hybridize, first):
    net = make_net(dropout=0.5)
    net.hybridize(hybridize)
    forward(net, first)
    assert_allclose(forward(net, False), RECONSTRUCTION, rtol=1e-6)
    trained = {forward(net, True)[0, 0] for _ in range(20)}
    assert len(trained) > 1


FUNCTIONS = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + onp.exp(-z)),
    "tanh": onp.tanh,
    "relu": lambda z: onp.maximum(z, 0),
    "elu": lambda z: onp.where(z > 0, z, onp.expm1(z)),
    "selu": lambda z: 1.0507009873554805 * onp.where(z > 0, z, 1.6732632423543772 * onp.expm1(z)),
}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("encoder", FUNCTIONS)
@pytest.mark.parametrize("decoder", FUNCTIONS)
def test_deep_network_by_numpy(encoder, decoder, hybridize):
    """500-250-500 in small; bounded predictions are stretched to the scale 1..5."""
    net = DeepAutoRec((4, 3, 4), 3, 0.0, encoder, decoder)
    net.initialize(mx.init.Normal(0.5))
    net.hybridize(hybridize)
    w = values_of(net)
    g, h = FUNCTIONS[encoder], X @ w["encoder.weight"] + w["encoder.bias"]
    for layer in (0, 1):
        h = g(h) @ w[f"inner.{layer}.0.weight"].T + w[f"inner.{layer}.0.bias"]
    out = FUNCTIONS[decoder](g(h) @ w["decoder.weight"].T + w["decoder.bias"])
    out = {"sigmoid": 1 + 4 * out, "tanh": 3 + 2 * out}.get(decoder, out)
    assert_allclose(net(np.array(X)).asnumpy(), out, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("decoder", [name for name in FUNCTIONS if name != "identity"])
def test_rating_activation_in_numpy_is_that_of_the_layer_and_has_an_inverse(decoder):
    layer, z = RatingActivation(decoder, 1.0, 5.0), onp.linspace(-9, 9, 37, dtype="float32")
    layer_says = layer(np.array(z)).asnumpy()
    found = layer.function(z)
    assert found.dtype == onp.float32
    assert_allclose(found, layer_says, rtol=1e-6, atol=1e-6)
    ratings = onp.array([1.2, 3.0, 4.7], "float32")
    assert_allclose(layer.function(layer.function.inverse(ratings)), ratings, rtol=1e-5)


def test_tied_weights_are_one_parameter():
    net = DeepAutoRec((2,), 3, 0.0, tied=True)
    net.initialize()
    net.encoder.weight.set_data(np.array(V))
    expected = 1 / (1 + onp.exp(-(X @ V))) @ V.T
    assert_allclose(net(np.array(X)).asnumpy(), expected, rtol=1e-5)
    assert len(list(net.collect_params())) == 3


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_encoder_reads_scaled_ratings(scale):
    net = DeepAutoRec((4,), 3, 0.0)
    net.input_scale = scale
    net.initialize(mx.init.Normal(0.3))
    w = values_of(net)
    pre = scale * X @ w["encoder.weight"] + w["encoder.bias"]
    out = FUNCTIONS["sigmoid"](pre) @ w["decoder.weight"].T + w["decoder.bias"]

    assert_allclose(net(np.array(X)).asnumpy(), out, rtol=1e-5)
    batch = CSRBatch.of(sparse.csr_matrix(X))
    assert_allclose(predict(net, batch).asnumpy(), out[X > 0], rtol=1e-5)


def trained_on(layer, x):
    with autograd.record():
        return layer(x)


def test_without_a_key_mxnet_s_seed_governs_dropout():
    def masks(seed):
        mx.random.seed(seed)
        layer = Dropout(0.5)
        return [trained_on(layer, np.ones((4, 50))).asnumpy() for _ in range(2)]

    first, second = masks(1)
    assert (first != second).any()
    assert_array_equal([first, second], masks(1))
    assert (masks(2)[0] != first).any()

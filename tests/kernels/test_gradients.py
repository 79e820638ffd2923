"""Gradients of the sparse functions, whatever a Gluon user does with their parameters.

Every expectation is the dense network's, whose gradients are MXNet's own.
"""

import itertools

import mxnet as mx
import numpy as onp
import pytest
from mxnet import autograd, np

from d2l_autorec.data.synthetic import synthetic_ratings
from d2l_autorec.kernels.functions import multinomial_nll
from d2l_autorec.models.deep_autorec import DeepAutoRec
from d2l_autorec.models.sparse_autorec import predict
from d2l_autorec.training.loaders import DenseRows, SparseRows
from d2l_autorec.training.losses import MaskedL2Loss

MATRIX = synthetic_ratings(12, 9, 50).to_csr()
NAMES = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
REQUESTS = list(itertools.product(("write", "null", "add"), repeat=4))


def network(requests=("write",) * 4, tied=False):
    mx.random.seed(7)
    net = DeepAutoRec((5,), MATRIX.shape[1], 0.0, tied=tied)
    net.initialize(init=mx.init.Normal(0.3))
    for name, request in zip(NAMES, requests):
        parameter = net._collect_params_with_prefix().get(name)
        if parameter is not None:
            parameter.grad_req = request
    return net


def batch_of(kind, rows=range(9)):
    return (SparseRows if kind == "sparse" else DenseRows)(MATRIX)(list(rows))


def gradients(net):
    return {
        name: parameter.grad().asnumpy()
        for name, parameter in net._collect_params_with_prefix().items()
        if parameter.grad_req != "null"
    }


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        onp.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("requests", REQUESTS, ids="-".join)
def test_gradients_of_frozen_and_accumulating_parameters(requests):
    """Three backward passes: 'write' has the last one's gradient, 'add' the sum of all."""
    found = {}
    for kind in ("sparse", "dense"):
        net = network(requests)
        for rows in (range(9), range(4), range(2, 7)):
            batch = batch_of(kind, rows)
            with autograd.record():
                loss = MaskedL2Loss()(predict(net, batch), batch).sum()
            if set(requests) != {"null"}:
                loss.backward()
        found[kind] = gradients(net)
    assert_close(found["sparse"], found["dense"])


@pytest.mark.parametrize("times", [1, 2, 3, 12])
@pytest.mark.parametrize("request_", ["write", "add"])
@pytest.mark.parametrize("tied", [False, True])
def test_several_forwards_in_one_step(times, request_, tied):
    found = {}
    for kind in ("sparse", "dense"):
        net = network((request_,) * 4, tied)
        with autograd.record():
            losses = []
            for k in range(times):
                batch = batch_of(kind, range(k % 4, 9))
                losses.append(MaskedL2Loss()(predict(net, batch), batch).sum() * (k + 1))
            total = sum(losses[1:], losses[0])
        total.backward()
        found[kind] = gradients(net)
    assert_close(found["sparse"], found["dense"])


def test_a_forward_that_the_loss_does_not_use():
    found = {}
    for kind in ("sparse", "dense"):
        net = network()
        with autograd.record():
            predict(net, batch_of(kind, range(3)))
            batch = batch_of(kind)
            loss = MaskedL2Loss()(predict(net, batch), batch).sum()
        loss.backward()
        found[kind] = gradients(net)
    assert_close(found["sparse"], found["dense"])


def test_a_hidden_matrix_that_is_a_leaf_itself():
    """Someone trains it directly, and adds up its gradients."""
    from d2l_autorec.kernels.functions import masked_decode

    net, batch = network(), batch_of("sparse")
    hidden = np.random.normal(size=(9, 5))
    hidden.attach_grad("add")
    for _ in range(2):
        with autograd.record():
            out = masked_decode(batch, hidden, net.decoder.weight, net.decoder.bias)
            loss = (out * out).sum()
        loss.backward()
    weight, bias = (p.data().asnumpy() for p in (net.decoder.weight, net.decoder.bias))
    rows = onp.repeat(onp.arange(9), onp.diff(batch.indptr))
    values = (hidden.asnumpy()[rows] * weight[batch.indices]).sum(axis=1) + bias[batch.indices]
    expected = onp.zeros((9, 5))
    onp.add.at(expected, rows, 2 * 2 * values[:, None] * weight[batch.indices])
    onp.testing.assert_allclose(hidden.grad.asnumpy(), expected, rtol=1e-4)


def test_logits_that_are_a_leaf_themselves():
    batch = batch_of("sparse")
    logits = np.zeros(batch.shape)
    logits.attach_grad("add")
    for _ in range(2):
        with autograd.record():
            loss = multinomial_nll(batch, logits).sum()
        loss.backward()
    rows = onp.repeat(onp.arange(9), onp.diff(batch.indptr))
    dense = onp.zeros(batch.shape)
    dense[rows, batch.indices] = batch.data
    expected = dense.sum(axis=1, keepdims=True) / batch.shape[1] - dense
    onp.testing.assert_allclose(logits.grad.asnumpy(), 2 * expected, rtol=1e-4, atol=1e-5)

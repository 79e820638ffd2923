"""Dropout whose masks a key determines."""

import mxnet as mx
import numpy as onp
import pytest
from mxnet import autograd, np, npx

from d2l_autorec import AutoRec
from d2l_autorec.kernels.dropout import dropout_key, dropout_mask
from d2l_autorec.models.layers import Dropout

npx.set_np()
KEY = dropout_key(3, 1, 0)


def trained_on(layer, x):
    with autograd.record():
        return layer(x)


def test_a_key_gives_its_mask_to_the_parts_of_a_batch_in_order():
    layer = Dropout(0.4)
    layer.seed(KEY, first_row=2)
    parts = [trained_on(layer, np.ones((rows, 7))).asnumpy() for rows in (3, 1)]

    whole = dropout_mask(KEY, 6, 7, 0.4)
    onp.testing.assert_array_equal(onp.concatenate(parts), whole[2:])


def test_it_does_nothing_outside_training():
    layer = Dropout(0.4)
    layer.seed(KEY)
    x = np.ones((3, 7))
    assert layer(x) is x


def test_its_gradient_has_the_mask():
    layer = Dropout(0.4)
    layer.seed(KEY)
    x = np.ones((3, 7))
    x.attach_grad()
    with autograd.record():
        y = layer(x)
    y.backward()
    onp.testing.assert_array_equal(x.grad.asnumpy(), dropout_mask(KEY, 3, 7, 0.4))


def test_without_a_key_mxnet_s_seed_governs_it():
    def masks(seed):
        mx.random.seed(seed)
        layer = Dropout(0.5)
        return [trained_on(layer, np.ones((4, 50))).asnumpy() for _ in range(2)]

    first, second = masks(1)
    assert (first != second).any()
    onp.testing.assert_array_equal([first, second], masks(1))
    assert (masks(2)[0] != first).any()


@pytest.mark.parametrize("hybridize", [True, False])
def test_a_network_draws_anew_in_every_step(hybridize):
    net = AutoRec(50, 4, dropout=0.5)
    net.initialize(mx.init.Normal(0.1))
    net.hybridize(hybridize)
    x = np.ones((2, 4))

    def prediction(step):
        net.seed_step(dropout_key(0, 1, step), 0)
        return trained_on(net, x).asnumpy()

    first = prediction(0)
    assert (prediction(1) != first).any()
    onp.testing.assert_array_equal(prediction(0), first)


def test_a_network_that_is_part_of_a_traced_one_still_drops():
    net = mx.gluon.nn.HybridSequential()
    net.add(AutoRec(50, 4, dropout=0.5).encoder, Dropout(0.5))
    net.initialize(mx.init.Normal(0.1))
    net.hybridize()

    hidden = trained_on(net, np.ones((2, 4))).asnumpy()
    assert 10 < (hidden == 0).sum() < 90

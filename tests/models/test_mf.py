"""Matrix factorization and the baselines against hand-computed numbers and NumPy."""

import math

import mxnet as mx
import numpy as onp
import pytest
from mxnet import autograd, np
from numpy.testing import assert_allclose
from scipy import sparse

from d2l_autorec.data.means import Means, Prior, fit_means
from d2l_autorec.data.sources import synthetic_ratings
from d2l_autorec.models.catalog.mf import MFConfig
from d2l_autorec.models.mf import MF, ClosedForm
from d2l_autorec.runs.experiment import make_trainer

USERS, ITEMS = onp.array([0, 1, 1]), onp.array([2, 0, 2])
P, Q = onp.array([[1.0, 2], [3, 4]]), onp.array([[0.5, 1], [0, 0], [-1, 2]])
USER_BIAS, ITEM_BIAS = onp.array([0.1, 0.2]), onp.array([1.0, 2, 3])


def make_net(mean=0.0):
    means = Means(mean, onp.zeros(2), onp.zeros(3), Prior(1.0), Prior(1.0), 1.0)
    net = MF(2, 2, 3, means if mean else None)
    net.initialize()
    tables = net.P, net.Q, net.user_bias, net.item_bias
    for table, values in zip(tables, (P, Q, USER_BIAS[:, None], ITEM_BIAS[:, None])):
        table.weight.set_data(np.array(values))
    return net


@pytest.mark.parametrize("hybridize", [False, True])
def test_prediction_by_hand(hybridize):
    net = make_net(mean=10)
    net.hybridize(hybridize)
    found = net(np.array(USERS, dtype="int32"), np.array(ITEMS, dtype="int32")).asnumpy()
    # user 0, item 2: 1*-1 + 2*2 = 3; user 1, item 0: 1.5 + 4 = 5.5; user 1, item 2: -3 + 8 = 5
    assert_allclose(found, [3 + 3.1 + 10, 5.5 + 1.2 + 10, 5 + 3.2 + 10], rtol=1e-6)


def test_closed_form_holds_the_means():
    """Those of users and items; the global mean alone where they are damped without end."""
    matrix = sparse.csr_matrix([[5.0, 3, 0], [0, 4, 1], [0, 0, 0]], dtype="float32")
    users, items = onp.arange(3).repeat(3), onp.tile(onp.arange(3), 3)
    for damping, means in ((1.0, fit_means(matrix, 1.0).at(users, items)), (math.inf, 3.25)):
        net = ClosedForm(3, 3, damping)
        net.initialize()
        net.fit(matrix)
        found = net(np.array(users), np.array(items)).asnumpy()
        assert_allclose(found, onp.broadcast_to(means, 9), rtol=1e-6)


def test_factors_begin_with_the_means_and_pay_for_each_rating():
    """By hand: P_u . Q_i in units of what the means leave; penalty / 2 unit^2 (|P|^2 + |Q|^2)."""
    ratings = synthetic_ratings(40, 30, 500)
    means = ratings.means()
    net = MF(4, 40, 30, means, penalty=0.3)
    net.initialize(mx.init.Normal(0.1))
    users, items = np.array([0, 3, 3]), np.array([2, 2, 5])
    pairs = [0, 3, 3], [2, 2, 5]
    assert_allclose(net(users, items).asnumpy(), means.at(*pairs), rtol=1e-6)

    net.Q.weight.set_data(np.random.normal(size=(30, 4)))
    P, Q = (layer.weight.data().asnumpy()[at] for layer, at in zip((net.P, net.Q), pairs))
    with autograd.record():
        found, penalties = net(users, items)
    expected = means.at(*pairs) + means.unit * (P * Q).sum(axis=1)
    assert_allclose(found.asnumpy(), expected, rtol=1e-5)
    squares = (P**2).sum(axis=1) + (Q**2).sum(axis=1)
    assert_allclose(penalties.asnumpy(), 0.15 * means.unit**2 * squares, rtol=1e-5)


@pytest.mark.parametrize("decay", ["all", "weights"])
def test_decay_of_biases_is_a_choice(decay):
    net = make_net()
    make_trainer(net, MFConfig(decay=decay), [mx.cpu()])
    factors = {name: p.wd_mult for name, p in net._collect_params_with_prefix().items()}
    assert factors["P.weight"] == factors["Q.weight"] == 1
    assert factors["user_bias.weight"] == factors["item_bias.weight"] == (decay == "all")

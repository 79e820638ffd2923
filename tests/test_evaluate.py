"""The evaluator against the chapter's formula in NumPy, on every device list."""

import mxnet as mx
import numpy as onp
import pytest
from mxnet import np
from scipy import sparse

from d2l_autorec import evaluator
from d2l_autorec.evaluate import predict_at, rating_metrics

TRAIN = onp.arange(21, dtype="float32").reshape(7, 3)
TEST = onp.zeros((7, 3), dtype="float32")
TEST[0, 1], TEST[3, 2], TEST[6, 0] = 4, 2, 5


def double(x):
    return 2 * x


def batches(size):
    return [np.array(TRAIN[i:i + size]) for i in range(0, 7, size)]


ERRORS = onp.array([4 - 2 * 1, 2 - 2 * 11, 5 - 2 * 18])  # hand-computed


@pytest.mark.parametrize("devices", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix, onp.array])
def test_rmse(devices, batch_size, kind):
    contexts = [mx.cpu(i) for i in range(devices)]
    result = evaluator(double, batches(batch_size), kind(TEST), contexts)
    assert result == pytest.approx(onp.sqrt((ERRORS ** 2).mean()), rel=1e-6)


def test_mae_beside_rmse():
    metrics = rating_metrics(double, batches(2), sparse.csr_matrix(TEST), [mx.cpu()])
    assert metrics["mae"] == pytest.approx(onp.abs(ERRORS).mean(), rel=1e-6)
    assert metrics["rmse"] == pytest.approx(onp.sqrt((ERRORS ** 2).mean()), rel=1e-6)


@pytest.mark.parametrize("rows", [6, 8])
def test_other_number_of_rows_is_an_error(rows):
    wanted = sparse.csr_matrix((rows, 3), dtype="float32")
    with pytest.raises(ValueError, match=f"7 rows were predicted, but the test data has {rows}"):
        predict_at(double, batches(2), wanted, [mx.cpu()])

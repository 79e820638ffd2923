"""A trained network and test ratings to metrics."""

from typing import Any, Dict, Iterable, Sequence, Union

import mxnet as mx
import numpy as onp
from scipy import sparse

from .devices import split_and_load
from .metrics import mae, rmse


def evaluator(network: Any, inter_matrix: Iterable, test_data: Union[Any, sparse.csr_matrix],
              devices: Sequence[mx.Context]) -> float:
    """Test RMSE over the observed test ratings (the chapter's evaluator).

    Parameters
    ----------
    network : Block
        Maps a batch of training vectors to reconstructions of the same shape.
    inter_matrix : iterable of ndarray
        Batches of training vectors, in the row order of `test_data`.
    test_data : ndarray or csr_matrix, shape (rows, columns)
        Test ratings, 0 where there is none.
    devices : sequence of Context

    Returns
    -------
    float
        NaN if there is no test rating.

    Notes
    -----
    The chapter keeps every reconstruction and sums in float32; here a batch
    is compared and dropped, and sums are float64.
    """
    if not sparse.issparse(test_data):
        test_data = sparse.csr_matrix(onp.asarray(
            test_data.asnumpy() if hasattr(test_data, "asnumpy") else test_data))
    return rmse(test_data.data, predict_at(network, inter_matrix, test_data, devices))


def rating_metrics(network: Any, inter_matrix: Iterable, test: sparse.csr_matrix,
                   devices: Sequence[mx.Context]) -> Dict[str, float]:
    """RMSE and MAE over the observed test ratings; arguments as in `evaluator`."""
    predictions = predict_at(network, inter_matrix, test, devices)
    return {"rmse": rmse(test.data, predictions), "mae": mae(test.data, predictions)}


def predict_at(network: Any, inter_matrix: Iterable, wanted: sparse.csr_matrix,
               devices: Sequence[mx.Context]) -> onp.ndarray:
    """Predictions at the non-zeros of `wanted`, in the order of `wanted.data`.

    Parameters
    ----------
    network, inter_matrix, devices
        As in `evaluator`.
    wanted : csr_matrix, shape (rows, columns)

    Returns
    -------
    ndarray of float32, shape (wanted.nnz,)

    Raises
    ------
    ValueError
        If the batches have fewer or more rows than `wanted`.
    """
    predictions, row = [onp.empty(0, dtype=onp.float32)], 0
    for batch in inter_matrix:
        shards = split_and_load([batch], devices)
        outputs = [network(shard.arrays[0]) for shard in shards]  # every device starts, then wait
        for shard, output in zip(shards, outputs):
            if shard.weight:
                part = wanted[row:row + len(output)].tocoo()
                predictions.append(output.asnumpy()[part.row, part.col])
                row += len(output)
    if row != wanted.shape[0]:
        raise ValueError(f"{row} rows were predicted, but the test data has {wanted.shape[0]}")
    return onp.concatenate(predictions)

"""What a network answers by: item vectors (I, H), user vectors (U, H), biases."""

from typing import Any

import numpy as np
from mxnet import np as mxnp
from mxnet import npx
from scipy import sparse

from ..data.ratings import Ratings
from ..models.kinds import RunConfig
from ..models.sparse_autorec import row_model
from ..models.vectors import Vectors
from ..training.loaders import SparseRows
from .predictor import Parts, RowScorer

ENCODE_ROWS = 1024


def parts_of(net: Any, config: RunConfig, inputs: Ratings) -> Parts:
    """Return the tables of a network, and its rows' scores where MXNet makes them.

    Parameters
    ----------
    net : Model
    config : RunConfig
    inputs : Ratings
        What the network is given.
    """
    net = row_model(net)
    linear = net.linear()
    if linear is not None:
        return Parts(linear=linear)

    if net.reads_pairs:
        users, items = net.tables()
        return Parts(items, users)

    output = None
    if net.output is not None:
        output = net.output.function

    columns = net.column_vectors()
    if columns is None:
        return Parts(score_rows=_dense_scorer(net))
    if config.based == "item":
        return Parts(_encode_all(net, inputs.to_csr("item")), columns, output)
    return Parts(columns, None, output, score_rows=_row_scorer(net, columns))


def encode(net: Any, matrix: sparse.csr_matrix) -> Vectors:
    """Return hidden vectors of the rows of a matrix, shape (rows, H), and their biases."""
    npx.set_np()
    rows_at = SparseRows(matrix)
    batch = rows_at(list(range(matrix.shape[0])))
    return net.row_vectors(batch)


def _encode_all(net: Any, matrix: sparse.csr_matrix) -> Vectors:
    starts = range(0, matrix.shape[0], ENCODE_ROWS)
    blocks = [encode(net, matrix[start : start + ENCODE_ROWS]) for start in starts]
    return Vectors(*map(np.concatenate, zip(*blocks)))


def _dense_scorer(net: Any) -> RowScorer:
    def score_rows(matrix: sparse.csr_matrix) -> np.ndarray:
        return net(mxnp.array(matrix.toarray(), dtype="float32")).asnumpy()

    return score_rows


def _row_scorer(net: Any, columns: Vectors) -> RowScorer:
    def score_rows(matrix: sparse.csr_matrix) -> np.ndarray:
        users, user_biases = encode(net, matrix)
        products = users @ columns.weights.T + columns.biases + user_biases[:, None]
        if net.output is None:
            return products
        return net.output(mxnp.array(products, dtype="float32")).asnumpy()

    return score_rows

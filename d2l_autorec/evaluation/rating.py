"""The evaluation of ratings: from a trained network and test ratings to metrics."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass
from scipy import sparse

from ..data.ratings import Ratings
from ..kernels.csr import CSRBatch
from ..models.sparse_autorec import predict, row_model
from ..training.devices import parts_on
from ..training.loaders import DenseRows, PairRows, Pairs, SparseRows, eval_loader
from .metrics import errors_by_count, errors_by_user, mae, rmse


def evaluator(
    network: Any,
    inter_matrix: Iterable,
    test_data: Any | sparse.csr_matrix,
    devices: Sequence[mx.Context],
) -> float:
    """Return the RMSE over the observed test ratings: the chapter's evaluator.

    Parameters
    ----------
    network : Block
        A network that maps a batch of training vectors to reconstructions of the same shape.
    inter_matrix : iterable of ndarray
        Batches of training vectors, in the row order of `test_data`.
    test_data : ndarray or csr_matrix, shape (rows, columns)
        Test ratings, 0 where there is none.
    devices : sequence of Context
        The devices that compute.

    Returns
    -------
    float
        The RMSE; NaN if there is no test rating.

    Raises
    ------
    ValueError
        If the batches have fewer or more rows than `test_data`.

    Notes
    -----
    The chapter keeps all reconstructions and sums in float32; here each batch
    is compared and dropped, and sums are float64.
    """
    if isinstance(test_data, MXNetArray):
        test_data = test_data.asnumpy()
    if not sparse.issparse(test_data):
        test_data = sparse.csr_matrix(onp.asarray(test_data))

    predictions = predict_at(network, inter_matrix, test_data, devices)
    return rmse(test_data.data, predictions)


def predict_at(
    network: Any, inter_matrix: Iterable, wanted: sparse.csr_matrix, devices: Sequence[mx.Context]
) -> onp.ndarray:
    """Return predictions at the non-zeros of `wanted`, in the order of `wanted.data`.

    Parameters
    ----------
    network, inter_matrix, devices
        As for `evaluator`.
    wanted : csr_matrix, shape (rows, columns)
        The entries to predict.

    Returns
    -------
    ndarray of float32, shape (wanted.nnz,)

    Raises
    ------
    ValueError
        If the batches have fewer or more rows than `wanted`.
    """
    predictions = [onp.empty(0, dtype=onp.float32)]
    row = 0

    for batch in inter_matrix:
        outputs = []  # every device starts before the first is waited for

        for (values,) in parts_on([batch], devices):
            part = wanted[row : row + len(values)]
            row += len(values)

            if isinstance(values, CSRBatch):
                at = CSRBatch(part.indptr, part.indices, part.data, part.shape[1], values.ctx)
                outputs.append((part, predict(network, values, at)))
            else:
                outputs.append((part, network(values)))

        predictions.extend(_at(part, output.asnumpy()) for part, output in outputs)

    if row != wanted.shape[0]:
        raise ValueError(f"{row} rows were predicted, but the test data has {wanted.shape[0]}")

    return onp.concatenate(predictions)


def predict_pairs(network: Any, pairs: Iterable, devices: Sequence[mx.Context]) -> onp.ndarray:
    """Return predictions for batches of (users, items, values), in order.

    Returns
    -------
    ndarray of float32, shape (pairs,)
    """
    predictions = [onp.empty(0, dtype=onp.float32)]

    for batch in pairs:
        outputs = [network(*arrays[:2]) for arrays in parts_on(batch, devices)]
        predictions.extend(output.asnumpy() for output in outputs)

    return onp.concatenate(predictions)


def _at(part: sparse.csr_matrix, output: onp.ndarray) -> onp.ndarray:
    """Return predictions at the non-zeros of `part`; a sparse network's output has only these."""
    cells = part.tocoo()
    return output if output.ndim == 1 else output[cells.row, cells.col]


@dataclass(eq=False)
class RatingEvaluation:
    """A function of a network to the metrics of its predictions of test ratings.

    train ratings -> network -> predictions at test ratings -> fallback -> metrics

    A test rating is cold if its item, or its user, has no training rating.
    It is then predicted by the means of the training ratings (`Ratings.means`).

    Parameters
    ----------
    train, test : Ratings
        The two parts, over the same index maps.
    devices : sequence of Context
        The devices that compute.
    based : {'item', 'user'}
        Whose ratings are a row of the network's input.
    clip : bool
        Whether predictions are clipped to the rating scale.
    batchify : callable
        `DenseRows` or `SparseRows`; `PairRows` for a network whose input is
        pairs of user and item, and then `based` is 'user'.
    predicts_cold : bool
        Whether the network itself predicts cold ratings.
    beside_means : bool
        Whether the metrics have a 'margin': see `best_epoch`.
    matrix : csr_matrix, optional
        The result of `train.to_csr(based)`, if it was computed already.

    Attributes
    ----------
    places : ndarray of int64, shape (n,)
        The places of the test ratings in the flattened matrix, in the order of `truth`.
    by_user : dict
        After a report, the columns of users.csv: see `errors_by_user`.
    """

    train: Ratings
    test: Ratings
    devices: Sequence[mx.Context]
    based: str = "item"
    clip: bool = False
    batchify: Callable = DenseRows
    predicts_cold: bool = False
    beside_means: bool = False
    matrix: sparse.csr_matrix | None = None
    by_user: dict[str, onp.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._wanted = self.test.to_csr(self.based)
        cells = self._wanted.tocoo()
        self._cells = cells.row, cells.col
        self.places = onp.ravel_multi_index(self._cells, self._wanted.shape)  # ascending
        self.truth = cells.data - self.train.offset

        self._source: Pairs | sparse.csr_matrix
        if self.batchify is PairRows:
            self._source = Pairs(*self._cells, cells.data)
        else:
            self._source = self.train.to_csr(self.based) if self.matrix is None else self.matrix
        self._loader = eval_loader(self._source, batchify=self.batchify)
        self._read: tuple[Any, ...] = (None,)  # a network, and the rows as it reads them

        users, items = self.users_and_items()
        of_users, of_items = self.train.counts()
        self._cold = (of_users[users] == 0) | (of_items[items] == 0)

    def _with_means(self, raw: onp.ndarray) -> onp.ndarray:
        return raw if self.predicts_cold else onp.where(self._cold, self._of_means, raw)

    def measured(self, network: Any) -> onp.ndarray:
        """Return the network's predictions of all test ratings, cold or not, shape (n,)."""
        if self.batchify is PairRows:
            return predict_pairs(network, self._loader, self.devices) - self.train.offset

        layer = row_model(network).one_hidden() if self.batchify is SparseRows else None
        if layer is None:
            predictions = predict_at(network, self._loader, self._wanted, self.devices)
            return predictions - self.train.offset

        if network is not self._read[0]:  # none of this changes between epochs
            rows, wanted = map(CSRBatch.of, (self._source, self._wanted))
            self._read = network, layer.read(rows), wanted
        return layer.predict(*self._read[1:]) - self.train.offset

    def of_means(self) -> dict[str, float]:
        """Return the metrics of user and item means, which every model has to beat."""
        return self._metrics(self._of_means, self.clip)

    def of_global_mean(self) -> dict[str, float]:
        """Return the metrics of the training ratings' mean alone."""
        return self._metrics(onp.full_like(self.truth, self.train.values.mean()), False)

    @cached_property
    def _of_means(self) -> onp.ndarray:
        """The predictions by user and item means, in the order of `truth`."""
        means = self.train.means(self.based)
        return (means.at(*self._cells) - self.train.offset).astype(onp.float32)

    def users_and_items(self) -> tuple[onp.ndarray, onp.ndarray]:
        """Return the users and the items of the test ratings, in the order of `truth`."""
        rows, columns = self._cells
        return (columns, rows) if self.based == "item" else (rows, columns)

    def __call__(self, network: Any) -> dict[str, float]:
        """Return the metrics of a network's predictions: see `metrics`."""
        return self.metrics(self.measured(network))

    def metrics(self, raw: onp.ndarray) -> dict[str, float]:
        """Return RMSE and MAE over all test ratings and, if `beside_means`, the margin."""
        predictions = self._with_means(raw)
        metrics = self._metrics(predictions, self.clip)
        return metrics | ({"margin": self._margin(predictions)} if self.beside_means else {})

    def _margin(self, predictions: onp.ndarray) -> float:
        """Return the standard error of the RMSE's difference to that of the means."""
        squares = self._squared_errors(predictions)
        apart = squares - self._squares_of_means
        spread = apart.std() / len(self.truth) ** 0.5
        return float(spread / max(2 * squares.mean() ** 0.5, 1e-12))

    @cached_property
    def _squares_of_means(self) -> onp.ndarray:
        """The squared errors of user and item means, which are the same after each epoch."""
        return self._squared_errors(self._of_means)

    def _squared_errors(self, predictions: onp.ndarray) -> onp.ndarray:
        return (self._shown(predictions, self.clip) - self.truth).astype(float) ** 2

    def _metrics(
        self, predictions: onp.ndarray, clip: bool, chosen: Any = slice(None)
    ) -> dict[str, float]:
        truth = self.truth[chosen]
        shown = self._shown(predictions, clip)[chosen]
        return {"rmse": rmse(truth, shown), "mae": mae(truth, shown)}

    def _shown(self, predictions: onp.ndarray, clip: bool) -> onp.ndarray:
        return onp.clip(predictions, *self.train.bounds) if clip else predictions

    def report(self, network: Any) -> dict[str, Any]:
        """Return the test metrics for result.json: clipped or not, with cold ratings or without.

        `chapter_rmse` is what `evaluator` returns: without means, and not clipped. The errors of
        each user are afterwards in `by_user`.
        """
        raw = self.measured(network)
        warm = ~self._cold
        predictions = self._with_means(raw)
        variants = {
            "test": self._metrics(predictions, self.clip),
            "test_unclipped": self._metrics(predictions, False),
            "test_clipped": self._metrics(predictions, True),
            "test_without_cold": self._metrics(predictions, self.clip, warm),
        }

        flat: dict[str, Any] = {}
        for variant, values in variants.items():
            flat |= {f"{variant}_{name}": _or_none(value) for name, value in values.items()}
        flat |= self._by_user_and_item(predictions)
        return flat | {
            "cold_test_ratings": int(self._cold.sum()),
            "chapter_rmse": rmse(self.truth, raw),
        }

    def _by_user_and_item(self, predictions: onp.ndarray) -> dict[str, Any]:
        """Return means over users, and errors by the training ratings of user and item."""
        shown = self._shown(predictions, self.clip)
        users, items = self.users_and_items()
        of_users, of_items = self.train.counts()
        self.by_user = errors_by_user(self.truth, shown, users)
        return {
            "test_user_mean_rmse": _or_none(float(self.by_user["rmse"].mean())),
            "test_user_mean_mae": _or_none(float(self.by_user["mae"].mean())),
            "test_by_user_ratings": errors_by_count(self.truth, shown, of_users[users]),
            "test_by_item_ratings": errors_by_count(self.truth, shown, of_items[items]),
        }


def _or_none(value: float) -> float | None:
    """Return a number, or None for NaN, which JSON lacks."""
    return None if math.isnan(value) else value

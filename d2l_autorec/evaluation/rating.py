"""A trained network and test ratings to metrics."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass
from scipy import sparse

from ..data.ratings import Ratings
from ..kernels.csr import CSRBatch
from ..models.sparse_autorec import predict
from ..training.devices import parts_on
from ..training.loaders import DenseRows, PairRows, Pairs, eval_loader
from .metrics import errors_by_count, mae, mean_over_users, rmse


def evaluator(
    network: Any,
    inter_matrix: Iterable,
    test_data: Any | sparse.csr_matrix,
    devices: Sequence[mx.Context],
) -> float:
    """Return the test RMSE over the observed test ratings (the chapter's evaluator).

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


def _cells(matrix: sparse.csr_matrix) -> tuple[onp.ndarray, onp.ndarray, onp.ndarray]:
    """Return rows, columns and values of the non-zeros, in the order of `matrix.data`."""
    cells = matrix.tocoo()
    return cells.row, cells.col, cells.data


def _at(part: sparse.csr_matrix, output: onp.ndarray) -> onp.ndarray:
    """Return predictions at the non-zeros of `part`: a sparse forward gives just these."""
    cells = part.tocoo()
    return output if output.ndim == 1 else output[cells.row, cells.col]


class RatingEvaluation:
    """Test metrics of a network, with a fallback where training saw nothing.

    train ratings -> network -> predictions at test ratings -> fallback -> metrics

    A test rating is cold if its item, or its user, has no training rating.
    It is then predicted by the means of the training ratings (`Ratings.means`).

    Parameters
    ----------
    train, test : Ratings
        Over the same index maps.
    devices : sequence of Context
    based : {'item', 'user'}
        What a row of the network's input is.
    clip : bool
        Whether predictions are clipped to the rating scale.
    batchify : callable
        `DenseRows` or `SparseRows`; `PairRows` for a network whose input is
        pairs of user and item, and then `based` is 'user'.
    reconstruct : bool
        Feed the test rows themselves, for rows held out as a whole: then
        nothing is cold, and the metrics are of reconstruction.
    beside_means : bool
        Whether metrics have a 'margin': see `best_epoch`.
    """

    def __init__(  # noqa: PLR0913  # what a measurement depends on
        self,
        train: Ratings,
        test: Ratings,
        devices: Sequence[mx.Context],
        based: str = "item",
        clip: bool = False,
        batchify: Callable = DenseRows,
        reconstruct: bool = False,
        beside_means: bool = False,
    ) -> None:
        matrix = train.to_csr(based)
        self._train = train
        self._based = based
        self._reconstruct = reconstruct
        self._beside_means = beside_means
        self._wanted = test.to_csr(based)
        self._pairs = batchify is PairRows

        source: Pairs | sparse.csr_matrix = matrix
        if self._pairs:
            source = Pairs(*_cells(self._wanted))
        elif reconstruct:
            source = self._wanted

        self._loader = eval_loader(source, batchify=batchify)
        self._devices = devices
        self._clip = clip
        self._scale = train.bounds
        self._offset = train.offset
        self.truth = self._wanted.data - train.offset

        rows, columns, _ = _cells(self._wanted)
        no_row, no_column = (counts == 0 for counts in self._by_row_and_column(*train.counts()))
        self._cold = (no_row[rows] | no_column[columns]) & (not reconstruct)

    def predict(self, network: Any) -> onp.ndarray:
        """Return predictions on the user's scale, unclipped, in the order of `truth`."""
        return self._with_means(self.measured(network))

    def _with_means(self, raw: onp.ndarray) -> onp.ndarray:
        return onp.where(self._cold, self._of_means, raw)

    def measured(self, network: Any) -> onp.ndarray:
        """Return what the network predicts, cold or not: all that metrics are of."""
        if self._pairs:
            return predict_pairs(network, self._loader, self._devices) - self._offset
        return predict_at(network, self._loader, self._wanted, self._devices) - self._offset

    def of_means(self) -> dict[str, float]:
        """Return the metrics of user and item means, which every model has to beat.

        A row that is held out as a whole has no mean in training. It has that of the ratings that
        it is reconstructed from, which a network is given, too.
        """
        return self.metrics_of(self._of_means)

    def of_global_mean(self) -> dict[str, float]:
        """Return the metrics of the training ratings' mean alone."""
        return self._metrics(onp.full_like(self.truth, self._train.values.mean()), False)

    @cached_property
    def _of_means(self) -> onp.ndarray:
        """Predictions by user and item means, in the order of `truth`."""
        means = self._train.means(self._based)
        rows, columns, _ = _cells(self._wanted)
        if self._reconstruct:
            means = means._replace(rows=means.of_rows(self._wanted))
        return (means.at(rows, columns) - self._offset).astype(onp.float32)

    def users_and_items(self) -> tuple[onp.ndarray, onp.ndarray]:
        """Whose and what each rating is, in the order of `truth`."""
        rows, columns, _ = _cells(self._wanted)
        return self._by_row_and_column(rows, columns)

    def _by_row_and_column(self, one: Any, other: Any) -> tuple[Any, Any]:
        """Return what is of users and of items as of rows and columns, or the other way round."""
        return (other, one) if self._based == "item" else (one, other)

    def __call__(self, network: Any) -> dict[str, float]:
        """Return RMSE and MAE over all test ratings, and the margin where it is asked for."""
        raw = self.measured(network)
        margin = {"margin": self._margin(raw)} if self._beside_means else {}
        return self.metrics_of(raw) | margin

    def _margin(self, raw: onp.ndarray) -> float:
        """Return the standard error of the difference of RMSE to that of the means."""
        squares = self._squared_errors(self._with_means(raw))
        spread = (squares - self._squares_of_means).std() / len(self.truth) ** 0.5
        return float(spread / max(2 * squares.mean() ** 0.5, 1e-12))

    @cached_property
    def _squares_of_means(self) -> onp.ndarray:
        """Squared errors of user and item means, the same after each epoch."""
        return self._squared_errors(self._of_means)

    def _squared_errors(self, predictions: onp.ndarray) -> onp.ndarray:
        return (self._shown(predictions, self._clip) - self.truth).astype(float) ** 2

    def metrics_of(self, raw: onp.ndarray) -> dict[str, float]:
        """Return the metrics of what was measured."""
        return self._metrics(self._with_means(raw), self._clip)

    def _metrics(
        self, predictions: onp.ndarray, clip: bool, chosen: Any = slice(None)
    ) -> dict[str, float]:
        truth = self.truth[chosen]
        shown = self._shown(predictions, clip)[chosen]
        return {"rmse": rmse(truth, shown), "mae": mae(truth, shown)}

    def _shown(self, predictions: onp.ndarray, clip: bool) -> onp.ndarray:
        return onp.clip(predictions, *self._scale) if clip else predictions

    def report(self, network: Any) -> dict[str, Any]:
        """Return what result.json says of the test: clipped or not, with cold ratings or not.

        `chapter_rmse` is what `evaluator` returns: no means, nothing clipped.
        """
        raw = self.measured(network)
        warm = ~self._cold
        predictions = self._with_means(raw)
        variants = {
            "test": self._metrics(predictions, self._clip),
            "test_unclipped": self._metrics(predictions, False),
            "test_clipped": self._metrics(predictions, True),
            "test_without_cold": self._metrics(predictions, self._clip, warm),
        }

        flat: dict[str, Any] = {
            f"{variant}_{name}": _or_none(value)
            for variant, values in variants.items()
            for name, value in values.items()
        }
        flat |= self._by_user_and_item(predictions)
        return flat | {
            "cold_test_ratings": int(self._cold.sum()),
            "chapter_rmse": rmse(self.truth, raw),
        }

    def _by_user_and_item(self, predictions: onp.ndarray) -> dict[str, Any]:
        """Return means over users, and errors by how many training ratings user and item have."""
        shown = self._shown(predictions, self._clip)
        users, items = self.users_and_items()
        of_users, of_items = self._train.counts()
        user_rmse, user_mae = mean_over_users(self.truth, shown, users)
        return {
            "test_user_mean_rmse": _or_none(user_rmse),
            "test_user_mean_mae": _or_none(user_mae),
            "test_by_user_ratings": errors_by_count(self.truth, shown, of_users[users]),
            "test_by_item_ratings": errors_by_count(self.truth, shown, of_items[items]),
        }


def _or_none(value: float) -> float | None:
    """Return a number as JSON has it: None for NaN."""
    return None if math.isnan(value) else value

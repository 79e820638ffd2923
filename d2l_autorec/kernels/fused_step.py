"""Whole training steps, each in one compiled function: `FusedStep` and `FactorStep`.

`FusedStep` is for an AutoRec with one hidden layer:

    step = FusedStep(parameters, states, "sigmoid", dropout=0.05, wd=Layers(...))
    key = dropout_key(seed, epoch, number)
    loss, squared_error, count = step(batch, rows, key, adam_rates(lr, t), batch.data)

It computes what `record`, `backward` and `trainer.step(rows)` do with `MaskedL2Loss`, and MXNet's
Adam or our RProp. `FactorStep` does the same for a matrix factorization with `PenalizedL2Loss`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..support.machine import idle_cpus
from . import ACTIVATIONS, RULES
from .csr import CSRBatch
from .dropout import dropout_scale, dropout_threshold, input_key

RPROP_RATES = 1.2, 0.5, 1e-6, 0.1  # growth and cut of a step's size; the smallest and the largest
WORTH_A_THREAD = 4_000_000  # multiplications and additions, in about 250 us: see threads_for
UPDATE_COST, ACTIVATION_COST = 8, 5  # multiplications that a weight or a hidden unit counts as


class Layers(NamedTuple):
    """A value for each of the four parameters, for C columns and H hidden units.

    Attributes
    ----------
    encoder_weight : shape (C, H)
    encoder_bias : shape (H,)
    decoder_weight : shape (C, H)
    decoder_bias : shape (C,)
    """

    encoder_weight: Any
    encoder_bias: Any
    decoder_weight: Any
    decoder_bias: Any


def adam_rates(
    lr: float, t: int, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> tuple[float, float, float, float]:
    """Return the rates of `mx.optimizer.Adam` in step `t`, from 1; `lr` has the bias correction.

    They are lr, beta1, beta2 and epsilon.
    """
    return lr * math.sqrt(1 - beta2**t) / (1 - beta1**t), beta1, beta2, epsilon


@dataclass
class FusedStep:
    """A function that takes training steps of an AutoRec with one hidden layer, in place.

    Parameters
    ----------
    parameters : Layers of ndarray of float32
        Contiguous arrays; they may be views of MXNet's memory. They are read and written without
        MXNet's engine, so that no operation may be pending on them when a step begins.
    states : (Layers, Layers) of ndarray of float32
        Adam's means and variances, or RProp's sizes of steps and signs of gradients, in the
        parameters' shapes; they may be views of a Trainer's. A step changes nothing else than
        these and the parameters.
    activation : str
        Activation of the hidden units: 'identity', 'sigmoid', 'tanh' or 'relu'.
    dropout, input_dropout : float
        Share of the hidden units that are dropped, in [0, 1), and of the entries that the
        encoder does not see.
    rule : str
        The rule of updates, one of `RULES`.
    wd : Layers of float
        Weight decay of each parameter, its multiplier included.
    """

    parameters: Layers
    states: tuple[Layers, Layers]
    activation: str = "sigmoid"
    dropout: float = 0.0
    input_dropout: float = 0.0
    rule: str = "adam"
    wd: Layers = Layers(0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        self._compiled = kernels.load("numba_fused").fused_step
        network = (ACTIVATIONS.index(self.activation), *_dropout(self.dropout))
        self._inputs = _dropout(self.input_dropout)
        trained = tuple(zip(self.parameters, *self.states))
        self._layers = trained[0] + trained[1], trained[2] + trained[3], network
        self._workspace = np.empty((2, 0, 0), dtype=np.float32)
        self._most_threads = idle_threads()

    def __call__(
        self,
        batch: CSRBatch,
        numbers: np.ndarray,
        key: np.uint64,
        rates: Sequence[float],
        targets: np.ndarray,
        unit: float = 1.0,
    ) -> tuple[float, float, int]:
        """Train on some rows of a table.

        Parameters
        ----------
        batch : CSRBatch
            The table that the encoder reads.
        numbers : ndarray of int64, shape (B,)
            The numbers of the rows that are trained on.
        key : uint64
            Key of the dropout mask, by `dropout_key`.
        rates : sequence of float
            The result of `adam_rates`, or `RPROP_RATES`.
        targets : ndarray of float32, shape (entries of the table,)
            The numbers to predict at the table's entries.
        unit : float
            How many rating units a 1 in the targets stands for; loss and gradients are those of
            errors times this.

        Returns
        -------
        loss : float
            Sum of the loss over the rows.
        squared_error : float
            Sum over the observed entries of the rows.
        count : int
            Number of these entries.
        """
        rows, columns = len(numbers), batch.shape[1]
        units = len(self.parameters.encoder_bias)
        entries = int(np.sum(batch.indptr[numbers + 1] - batch.indptr[numbers]))
        work = work_of(rows, columns, units, entries)
        shares = threads_for(work, self._most_threads)
        if rows > self._workspace.shape[1]:  # memory is kept, as new pages would cost more
            self._workspace = np.empty((2, rows, units), dtype=np.float32)
        hidden, delta = self._workspace[:, :rows]

        # the L2 loss is a mean over columns, and `trainer.step` divides its gradient by the rows;
        # errors and slopes are both in units, which makes its square
        loss_factor = np.float32(unit * unit / (columns * max(rows, 1)))

        table = *batch.arrays, targets
        chosen = numbers, input_key(key), *self._inputs
        updates = RULES.index(self.rule), float32(rates), float32(self.wd)
        given = *self._layers, key, loss_factor, *updates, hidden, delta, shares
        with kernels.limited_to(shares):
            squared_error = self._compiled(table, chosen, *given)

        squared_error *= unit * unit
        return 0.5 / columns * squared_error, squared_error, entries


class FactorStep:
    """A function that takes training steps of a matrix factorization, in place.

    It computes what `record`, `backward` and `trainer.step(rows)` do with `PenalizedL2Loss`.

    Parameters
    ----------
    users, items : tuple of ndarray of float32
        For each side the vectors (n, K) and their two states, and the biases (n, 1) and their two
        states; see `FusedStep`.
    constants : (float, float, float)
        Mean, unit and penalty: see `MF`.
    rule : str
        The rule of updates, one of `RULES`.
    wd : (float, float, float, float)
        Weight decay of the users' vectors, of their biases, of the items' vectors and biases.
    """

    def __init__(
        self, users: Any, items: Any, constants: Sequence[float], rule: str, wd: Sequence[float]
    ) -> None:
        self._compiled = kernels.load("numba_factors").factor_step
        self._tables = [(*side[:3], *(a.ravel() for a in side[3:])) for side in (users, items)]
        self._fixed = float32(constants), RULES.index(rule), float32(wd)
        work = 2 * UPDATE_COST * (users[0].size + items[0].size)
        self._shares = threads_for(work, idle_threads())

    def __call__(
        self, pairs: Sequence[np.ndarray], rates: Sequence[float]
    ) -> tuple[float, float, int]:
        """Train on a batch.

        Parameters
        ----------
        pairs : (ndarray of int32, ndarray of int32, ndarray of float32), each of shape (B,)
            Users, items and ratings.
        rates : sequence of float
            The result of `adam_rates`, or `RPROP_RATES`.

        Returns
        -------
        loss, squared_error : float
            Sums over the batch.
        count : int
            Number of ratings.
        """
        given = tuple(pairs), *self._tables, *self._fixed, float32(rates), self._shares
        with kernels.limited_to(self._shares):
            loss, squared_error = self._compiled(*given)
        return loss, squared_error, len(pairs[0])


def predict_entries(
    rows: CSRBatch, wanted: CSRBatch, parameters: Layers, activation: str
) -> np.ndarray:
    """Return the predictions at some entries by a network with one hidden layer, without dropout.

    Parameters
    ----------
    rows : CSRBatch, (B, C)
        The rows that the encoder reads.
    wanted : CSRBatch, (B, C)
        The entries to predict; its data are not read.
    parameters, activation
        As for `FusedStep`.

    Returns
    -------
    ndarray of float32, shape (wanted entries,)
    """
    predict_cells = kernels.load("numba_fused").predict_cells
    out = np.empty(len(wanted.indices), dtype=np.float32)
    units, entries = len(parameters.encoder_bias), len(rows.indices) + len(out)
    work = units * (entries + ACTIVATION_COST * len(rows))
    shares = threads_for(work, idle_threads())

    with kernels.limited_to(shares):
        predict_cells(
            rows.arrays,
            (wanted.indptr, wanted.indices),
            parameters[:2],
            parameters[2:],
            ACTIVATIONS.index(activation),
            out,
            shares,
        )
    return out


def idle_threads() -> int:
    """Return how many threads should compute now: one for each idle CPU, at least 1.

    A thread that waits for a CPU makes all others wait.
    """
    count, idle = kernels.threads(), idle_cpus()
    return count if idle is None else max(1, min(count, idle))


def load_step() -> None:
    """Compile `FusedStep`, or load it from the cache, before an epoch is timed."""
    shapes = Layers((1, 1), (1,), (1, 1), (1,))
    zeros = [Layers(*(np.zeros(shape, np.float32) for shape in shapes)) for _ in range(3)]
    row, one = np.array([0, 1], np.int32), np.ones(1, np.float32)
    batch = CSRBatch(row, np.zeros(1, np.int32), one, 1)

    step = FusedStep(zeros[0], (zeros[1], zeros[2]))
    step(batch, np.zeros(1, np.int64), np.uint64(0), adam_rates(0.1, 1), one)


def load_factor_step() -> None:
    """Compile `FactorStep`, or load it from the cache, before an epoch is timed."""
    side = 6 * [np.zeros((1, 1), np.float32)]
    index, rating = np.zeros(1, np.int32), np.zeros(1, np.float32)
    step = FactorStep(side, side, (0.0, 1.0, 0.0), "adam", 4 * [0.0])
    step((index, index, rating), adam_rates(0.1, 1))


def work_of(rows: int, columns: int, units: int, entries: int) -> int:
    """Return how many multiplications and additions a step takes."""
    return 5 * units * entries + ACTIVATION_COST * rows * units + 2 * UPDATE_COST * columns * units


def threads_for(work: int, most_threads: int) -> int:
    """Return how many threads so many multiplications and additions are worth, up to a limit."""
    return max(1, min(most_threads, work // WORTH_A_THREAD))


def _dropout(rate: float) -> tuple[np.uint64, np.float32]:
    return dropout_threshold(rate), dropout_scale(rate)


def float32(numbers: Iterable[float]) -> tuple[np.float32, ...]:
    """Return numbers as a tuple of float32, as the kernels take them."""
    return tuple(map(np.float32, numbers))

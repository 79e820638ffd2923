"""A whole training step of a network with one hidden layer, in one compiled function.

    step = FusedStep(parameters, OneHidden("sigmoid", dropout=0.05), AdamOptions(wd=...), states)
    loss, squared_error, count = step(batch, dropout_key(seed, epoch, number), lr, t)

It computes what `record`, `backward` and `trainer.step(rows)` do with `MaskedL2Loss` or
`MaskedRootLoss`, and MXNet's Adam or our RProp.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from .csr import CSRBatch
from .dropout import dropout_scale, dropout_threshold

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu")  # numba_fused knows them by number
RULES = ("adam", "rprop")  # of updates, by number, too
ROOT_TINY = 1e-12  # of the root's gradient, where nothing is wrong
WORTH_A_THREAD = 4_000_000  # multiplications and additions, in about 250 us: see threads_for
UPDATE_COST, ACTIVATION_COST = 8, 5  # of a weight and of a hidden unit, in the same unit


class Layers(NamedTuple):
    """Something for each of the four parameters: C columns, H hidden units.

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


@dataclass(frozen=True)
class OneHidden:
    """What a network with one hidden layer and predictions without activation computes.

    Parameters
    ----------
    activation : str
        Of the hidden units: 'identity', 'sigmoid', 'tanh' or 'relu'.
    dropout : float
        Share of the hidden units that are dropped, in [0, 1).
    loss : str
        'l2', as `MaskedL2Loss`, or 'root', as `MaskedRootLoss`.
    """

    activation: str = "sigmoid"
    dropout: float = 0.0
    loss: str = "l2"


@dataclass(frozen=True)
class AdamOptions:
    """As `mx.optimizer.Adam`; `wd` is each parameter's, its multiplier included."""

    wd: Layers = Layers(0.0, 0.0, 0.0, 0.0)
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    rule = RULES.index("adam")

    def rates(self, lr: float, t: int) -> tuple[np.float32, ...]:
        """Return (lr, beta1, beta2, epsilon), with MXNet's bias correction of `lr`."""
        corrected = lr * math.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        return _float32(corrected, self.beta1, self.beta2, self.epsilon)


@dataclass(frozen=True)
class RPropOptions:
    """As `training.rprop.RProp`, which names the sources; `wd` as `AdamOptions` has it."""

    wd: Layers = Layers(0.0, 0.0, 0.0, 0.0)
    growth: float = 1.2
    cut: float = 0.5
    smallest: float = 1e-6
    largest: float = 0.1

    rule = RULES.index("rprop")

    def rates(self, lr: float, t: int) -> tuple[np.float32, ...]:
        """Return (growth, cut, smallest, largest): each weight has a rate of its own."""
        return _float32(self.growth, self.cut, self.smallest, self.largest)


class FusedStep:
    """Training steps on sparse batches, in place on the arrays given.

    Parameters
    ----------
    parameters : Layers of ndarray of float32
        Contiguous; views of MXNet's memory are welcome. They are read and written without
        MXNet's engine: nothing may be pending on them when a step begins.
    network : OneHidden
    options : AdamOptions or RPropOptions
    states : (Layers, Layers) of ndarray of float32
        Adam's means and variances, or RProp's sizes of steps and signs of gradients, of the
        parameters' shapes: those of a checkpoint, or views of a Trainer's.

    Attributes
    ----------
    parameters, states
        All that a step changes; with the count of steps, all that the next one depends on.
    most_threads : int
        Where a step is to leave CPUs to others. No result depends on it.
    """

    def __init__(
        self,
        parameters: Layers,
        network: OneHidden,
        options: AdamOptions | RPropOptions,
        states: tuple[Layers, Layers],
    ) -> None:
        kernels.load()
        from . import numba_fused

        self.parameters = parameters
        self.states = states
        self._compiled = numba_fused.fused_step
        self._network = (
            ACTIVATIONS.index(network.activation),
            dropout_threshold(network.dropout),
            dropout_scale(network.dropout),
        )
        self._is_root = network.loss == "root"
        self.most_threads = kernels.threads()
        self._options = options
        self._wd = tuple(map(np.float32, options.wd))

        trained = tuple(zip(parameters, *self.states))
        self._encoder = trained[0] + trained[1]
        self._decoder = trained[2] + trained[3]
        self._workspace = np.empty((2, 0, 0), dtype=np.float32)

    def __call__(
        self,
        batch: CSRBatch,
        key: np.uint64,
        lr: float,
        t: int,
        targets: np.ndarray | None = None,
        unit: float = 1.0,
    ) -> tuple[float, float, int]:
        """Train on a batch.

        Parameters
        ----------
        batch : CSRBatch, (B, C)
        key : uint64
            Of `dropout_key`: of the batch's dropout mask.
        lr : float
            Adam's learning rate, uncorrected.
        t : int
            Number of this step, from 1 on.
        targets : ndarray of float32, shape (observed entries,), optional
            What is to be predicted at the batch's entries; by default its data.
        unit : float
            What 1 stands for in the targets: loss and gradients are of errors times this.

        Returns
        -------
        loss : float
            Sum over the rows of the network's loss.
        squared_error : float
            Sum over the observed entries.
        count : int
            Observed entries.
        """
        rows, columns = batch.shape
        units, entries = len(self.parameters.encoder_bias), len(batch.data)
        shares = min(self.most_threads, threads_for(work_of(rows, columns, units, entries)))
        if rows > self._workspace.shape[1]:  # memory for two matrices is kept: new pages cost more
            self._workspace = np.empty((2, rows, units), dtype=np.float32)
        hidden, delta = self._workspace[:, :rows]

        # the L2 loss is a mean over columns, and `trainer.step` makes one over rows of it; errors
        # and the slope of what is predicted are each in units
        loss_factor = np.float32(unit * unit / (columns * max(rows, 1)))
        if targets is None:
            targets = batch.data

        with kernels.limited_to(shares):
            squared_error = self._compiled(
                (batch.indptr, batch.indices, batch.data, targets),
                self._encoder,
                self._decoder,
                self._network,
                key,
                (self._is_root, loss_factor),
                self._options.rule,
                self._options.rates(lr, t),
                self._wd,
                hidden,
                delta,
                shares,
            )

        squared_error *= unit * unit
        loss = 0.5 / columns * squared_error
        if self._is_root:
            loss = rows * math.sqrt(squared_error + ROOT_TINY)
        return loss, squared_error, entries


def load_step() -> None:
    """Compile the step, or load it from the cache, before an epoch is timed."""
    shapes = Layers((1, 1), (1,), (1, 1), (1,))
    zeros = [Layers(*(np.zeros(shape, np.float32) for shape in shapes)) for _ in range(3)]
    row = np.array([0, 1], np.int32), np.zeros(1, np.int32), np.ones(1, np.float32)

    step = FusedStep(zeros[0], OneHidden(), AdamOptions(), (zeros[1], zeros[2]))
    step(CSRBatch(*row, 1), np.uint64(0), 0.1, 1)


def work_of(rows: int, columns: int, units: int, entries: int) -> int:
    """Return how many multiplications and additions a step takes."""
    return 5 * units * entries + ACTIVATION_COST * rows * units + 2 * UPDATE_COST * columns * units


def threads_for(work: int) -> int:
    """Return how many threads a piece of work is dealt to: at most `kernels.threads()`.

    Parameters
    ----------
    work : int
        Multiplications and additions.
    """
    return max(1, min(kernels.threads(), work // WORTH_A_THREAD))


def _float32(*numbers: float) -> tuple[np.float32, ...]:
    return tuple(map(np.float32, numbers))

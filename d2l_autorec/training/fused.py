"""RProp, and compiled steps for networks with one hidden layer and for matrix factorization."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import nd

from ..kernels.csr import ChosenRows, CSRBatch, numpy_view
from ..kernels.fused_step import (
    RPROP_RATES,
    FactorStep,
    FusedStep,
    Layers,
    adam_rates,
    load_factor_step,
    load_step,
)
from ..models.mf import MF
from ..models.sparse_autorec import SparseAutoRec
from .history import StepSums
from .loop import Training


@mx.optimizer.register
class RProp(mx.optimizer.Optimizer):
    """RProp, the optimizer of the AutoRec paper, which goes by the sign of each gradient alone.

    A weight whose gradient keeps its sign takes a step 1.2 times as large as the last, up to 0.1;
    one whose gradient changes sign stays where it is, and its next step is half as large. This is
    iRprop- (Igel and Huesken, Improving the Rprop learning algorithm, 2000, algorithm 4), without
    the step back of the original (Riedmiller and Braun, ICNN 1993).

    It needs the gradient over all rows: its signs over a few rows depend on which rows these are.

    Parameters
    ----------
    learning_rate : float
        The first size of a step.
    **kwargs
        Arguments of every MXNet optimizer; `wd` is added to the gradient.
    """

    def __init__(self, learning_rate: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)

    def create_state(self, index: int, weight: Any) -> tuple[Any, Any]:
        """Return the sizes of the next steps, and the signs of the last gradients, at first 0."""
        shape, ctx = weight.shape, weight.context
        return nd.full(shape, self.lr, ctx), nd.zeros(shape, ctx)

    def update(self, index: int, weight: Any, grad: Any, state: tuple[Any, Any]) -> None:
        """Change a weight and its state in place."""
        self._update_count(index)
        size, last = state

        sign = nd.sign(grad * self.rescale_grad + self._get_wd(index) * weight)
        turn = sign * last

        growth, cut, smallest, largest = RPROP_RATES
        grown = nd.minimum(size * growth, largest)
        shrunk = nd.maximum(size * cut, smallest)
        size[:] = nd.where(turn > 0, grown, nd.where(turn < 0, shrunk, size))
        last[:] = sign * (turn >= 0)

        weight[:] -= last * size


class FusedSteps(ABC):
    """The base of compiled steps, which take the place of `loop.train_step`.

    They compute what the network, its loss and Adam or RProp compute, on the same parameters and
    optimizer's state. Nothing is recorded, and no gradient is written: the parameters need none
    (grad_req 'null').

    Parameters
    ----------
    parameters : sequence of gluon.Parameter
        All parameters that are trained.

    Attributes
    ----------
    load : callable
        Compiles the step, or loads it from the cache, before an epoch is timed.
    """

    load: Callable[[], None]

    def __init__(self, parameters: Sequence[Any]) -> None:
        self._parameters = parameters
        self._compiled: Any = None

    def __call__(self, training: Training, batch: Sequence[Any]) -> StepSums:
        """Take a step on a batch; parameters, states and numbers of updates change in place."""
        trainer = training.trainer
        if self._compiled is None or not training.steps:  # an epoch may begin with other memory
            self._indices = [trainer._params.index(parameter) for parameter in self._parameters]
            rule = "rprop" if isinstance(trainer.optimizer, RProp) else "adam"
            wd = [trainer.optimizer._get_wd(index) for index in self._indices]
            weights, *states = zip(*(self._memory(trainer, index) for index in self._indices))
            self._compiled = self._bound(weights, states, rule, wd)

        return StepSums(*self._step(batch, self._rates(trainer.optimizer)))

    @abstractmethod
    def _bound(self, weights: Any, states: Any, rule: str, wd: Sequence[float]) -> Callable:
        """Return the step on the memory of the parameters and of two states of each."""

    def _step(self, batch: Sequence[Any], rates: Sequence[float]) -> tuple[float, float, int]:
        """Take the step; return the loss, the squared error and the number of ratings."""
        return self._compiled(batch, rates)

    def _memory(self, trainer: Any, index: int) -> list[np.ndarray]:
        """Return the memory of a parameter and of its states, which are made if there are none."""
        updater, weight = trainer._updaters[0], trainer._params[index].data()
        if index not in updater.states:
            updater.states[index] = updater.optimizer.create_state_multi_precision(index, weight)
            updater.states_synced[index] = True
        return [numpy_view(array, write=True) for array in (weight, *updater.states[index])]

    def _rates(self, optimizer: Any) -> Sequence[float]:
        """Count an update of each parameter, and return the optimizer's rates for it."""
        for index in self._indices:
            optimizer._update_count(index)
        if isinstance(optimizer, RProp):
            return RPROP_RATES

        t = optimizer._index_update_count[self._indices[0]]
        betas = optimizer.beta1, optimizer.beta2
        return adam_rates(optimizer.learning_rate, t, *betas, optimizer.epsilon)


class AutoRecSteps(FusedSteps):
    """Compiled steps of an AutoRec with one hidden layer.

    Parameters
    ----------
    layer : SparseAutoRec
        The network, which has one hidden layer: see `SparseAutoRec.one_hidden`.
    """

    load = staticmethod(load_step)

    def __init__(self, layer: SparseAutoRec) -> None:
        super().__init__(layer.layers)
        self._layer = layer
        self._whole: CSRBatch | None = None

    def _bound(self, weights: Any, states: Any, rule: str, wd: Sequence[float]) -> Callable:
        layer = self._layer
        return FusedStep(
            Layers(*weights),
            (Layers(*states[0]), Layers(*states[1])),
            layer.activation,
            dropout=layer.dropout.rate,
            input_dropout=layer.input_dropout.rate if layer.input_dropout else 0.0,
            rule=rule,
            wd=Layers(*wd),
        )

    def _step(self, batch: Sequence[ChosenRows], rates: Sequence[float]) -> Any:
        rows = batch[-1]
        if rows.whole is not self._whole:
            self._whole, self._reading = rows.whole, self._layer.read(rows.whole)

        key, _ = self._layer.dropout.take(len(rows))
        reading = self._reading
        return self._compiled(
            reading.inputs, rows.numbers, key, rates, reading.targets, reading.unit
        )


class FactorSteps(FusedSteps):
    """Compiled steps of a matrix factorization, whose batches are users, items and ratings.

    Parameters
    ----------
    net : MF
        The network, with at least one factor.
    """

    load = staticmethod(load_factor_step)

    def __init__(self, net: MF) -> None:
        super().__init__([layer.weight for layer in (net.P, net.user_bias, net.Q, net.item_bias)])
        self._net = net

    def _bound(self, weights: Any, states: Any, rule: str, wd: Sequence[float]) -> Callable:
        users, user_biases, items, item_biases = zip(weights, *states)
        sides = (*users, *user_biases), (*items, *item_biases)
        return FactorStep(*sides, self._net.constants(), rule, wd)

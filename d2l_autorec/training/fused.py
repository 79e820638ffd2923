"""RProp, and steps of a network with one hidden layer, each in one compiled function."""

from collections.abc import Sequence
from typing import Any

import mxnet as mx
from mxnet import autograd, nd

from ..kernels.csr import CSRBatch, numpy_view
from ..kernels.fused_step import AdamOptions, FusedStep, Layers, OneHidden, RPropOptions
from ..models.sparse_autorec import OneHiddenLayer
from ..support.machine import idle_cpus
from .history import StepSums
from .loop import Training

RULE = RPropOptions()  # its numbers are Riedmiller and Braun's, but for the sizes of steps


@mx.optimizer.register
class RProp(mx.optimizer.Optimizer):
    """RProp, the optimizer of the AutoRec paper: steps by the sign of each gradient alone.

    A weight whose gradient keeps its sign takes a step 1.2 times as large as the last, up to 0.1;
    one whose gradient changes sign stays where it is, and its next step is half as large. This is
    iRprop- (Igel and Huesken, Improving the Rprop learning algorithm, 2000, algorithm 4), without
    the step back of the original (Riedmiller and Braun, ICNN 1993).

    The signs are those of all rows' gradient: that of a few rows changes with them.

    Parameters
    ----------
    learning_rate : float
        The first size of a step.
    **kwargs
        As of every MXNet optimizer; `wd` is part of the gradient.
    """

    def __init__(self, learning_rate: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)

    def create_state(self, index: int, weight: Any) -> tuple[Any, Any]:
        """Return sizes of next steps, and signs of last gradients, 0 where a sign changed."""
        shape, ctx = weight.shape, weight.context
        return nd.full(shape, self.lr, ctx), nd.zeros(shape, ctx)

    def update(self, index: int, weight: Any, grad: Any, state: tuple[Any, Any]) -> None:
        """Change a weight and its state in place."""
        self._update_count(index)
        size, last = state

        sign = nd.sign(grad * self.rescale_grad + self._get_wd(index) * weight)
        turn = sign * last

        grown = nd.minimum(size * RULE.growth, RULE.largest)
        cut = nd.maximum(size * RULE.cut, RULE.smallest)
        size[:] = nd.where(turn > 0, grown, nd.where(turn < 0, cut, size))
        last[:] = sign * (turn >= 0)

        weight[:] -= last * size


class FusedSteps:
    """Compiled steps in place of `loop.train_step`, on the same parameters and optimizer's state.

    What it computes is what the network, its loss and Adam or RProp compute; nothing is
    recorded, and no gradient is written: the parameters need none (grad_req 'null').

    Parameters
    ----------
    layer : OneHiddenLayer
        Of the network that is trained.
    loss : str
        'l2' or 'root'.
    """

    def __init__(self, layer: OneHiddenLayer, loss: str = "l2") -> None:
        self._layer = layer
        self._loss = loss
        self._step: FusedStep | None = None

    def __call__(self, training: Training, batch: Sequence[CSRBatch]) -> StepSums:
        """Make a step; parameters, states and the count of updates change in place."""
        if self._step is None or not training.steps:
            self._step = self._bound(training.trainer)

        rows = batch[-1]
        with autograd.train_mode():  # which the dropout of inputs asks for
            reading = self._layer.read(rows)
        key, _ = self._layer.dropout.take(len(rows))
        updates = self._count_update(training.trainer)

        rate = training.trainer.learning_rate
        sums = self._step(reading.inputs, key, rate, updates, reading.targets, reading.unit)
        return StepSums(*sums)

    def _bound(self, trainer: Any) -> FusedStep:
        """Return the step on the memory of parameters and state: an epoch may begin with other."""
        parameters, indices = self._layer.parameters, self._indices(trainer)

        states = [_state_of(trainer, index) for index in indices]
        first, second = (
            Layers(*(numpy_view(pair[k], write=True) for pair in states)) for k in (0, 1)
        )

        step = FusedStep(
            Layers(*(numpy_view(parameter.data(), write=True) for parameter in parameters)),
            OneHidden(self._layer.activation, self._layer.dropout.rate, self._loss),
            _options_of(trainer._optimizer, indices),
            (first, second),
        )

        idle = idle_cpus()
        if idle is not None:  # threads that wait for a CPU make all others wait
            step.most_threads = max(1, min(step.most_threads, idle))
        return step

    def _indices(self, trainer: Any) -> list[int]:
        """Return the trainer's numbers of the parameters."""
        return [trainer._params.index(parameter) for parameter in self._layer.parameters]

    def _count_update(self, trainer: Any) -> int:
        """Count an update of each parameter; return how many there were."""
        optimizer = trainer._optimizer
        indices = self._indices(trainer)

        for index in indices:
            optimizer._update_count(index)
        return optimizer._index_update_count[indices[0]]


def _options_of(optimizer: Any, indices: Sequence[int]) -> AdamOptions | RPropOptions:
    """Return what the compiled step is told of an optimizer, and of its weight decay."""
    wd = Layers(*map(optimizer._get_wd, indices))

    if isinstance(optimizer, RProp):
        return RPropOptions(wd)
    return AdamOptions(wd, optimizer.beta1, optimizer.beta2, optimizer.epsilon)


def _state_of(trainer: Any, index: int) -> tuple[Any, Any]:
    """Return the two states of a parameter, made where there are none yet."""
    updater = trainer._updaters[0]

    if index not in updater.states:
        weight = trainer._params[index].data()
        updater.states[index] = updater.optimizer.create_state_multi_precision(index, weight)
        updater.states_synced[index] = True

    return updater.states[index]

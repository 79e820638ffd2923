"""Steps of a network with one hidden layer on one CPU context, each in one compiled function."""

from collections.abc import Sequence
from typing import Any

from mxnet import autograd

from ..kernels.csr import CSRBatch, numpy_view
from ..kernels.fused_step import AdamOptions, FusedStep, Layers, OneHidden, RPropOptions
from ..models.sparse_autorec import OneHiddenLayer
from ..support.machine import idle_cpus
from .history import StepSums
from .loop import Training
from .rprop import RProp


class FusedSteps:
    """Stands in for `loop.train_step`, on the same parameters and the same optimizer's state.

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
        """One step; parameters, states and the count of updates change in place."""
        if self._step is None or not training.steps:
            self._step = self._bound(training.trainer)

        rows = batch[-1]
        with autograd.train_mode():  # which the dropout of inputs asks for
            reading = self._layer.read(rows)
        key, _ = self._layer.dropout.take(len(rows))
        updates = self._count_update(training.trainer)

        sums = self._step(
            reading.inputs,
            key,
            training.trainer.learning_rate,
            updates,
            reading.targets,
            reading.unit,
        )
        return StepSums(*sums)

    def _bound(self, trainer: Any) -> FusedStep:
        """On the memory of parameters and state as it is now: an epoch may begin with other."""
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
        """The trainer's numbers of the parameters."""
        return [trainer._params.index(parameter) for parameter in self._layer.parameters]

    def _count_update(self, trainer: Any) -> int:
        """Count an update of each parameter; how many there were."""
        optimizer = trainer._optimizer
        indices = self._indices(trainer)

        for index in indices:
            optimizer._update_count(index)
        return optimizer._index_update_count[indices[0]]


def _options_of(optimizer: Any, indices: Sequence[int]) -> AdamOptions | RPropOptions:
    """What the compiled step is told of an optimizer, and of its parameters' weight decay."""
    wd = Layers(*map(optimizer._get_wd, indices))

    if isinstance(optimizer, RProp):
        return RPropOptions(wd)
    return AdamOptions(wd, optimizer.beta1, optimizer.beta2, optimizer.epsilon)


def _state_of(trainer: Any, index: int) -> tuple[Any, Any]:
    """The two states of a parameter, made where there are none yet."""
    updater = trainer._updaters[0]

    if index not in updater.states:
        weight = trainer._params[index].data()
        updater.states[index] = updater.optimizer.create_state_multi_precision(index, weight)
        updater.states_synced[index] = True

    return updater.states[index]

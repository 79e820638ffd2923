"""Atomic checkpoints and exact resume.

A checkpoint is one file of arrays: `about`, which is JSON (the run, what its epochs measured), and
parameters, optimizer and loader. Nothing in it is ever unpickled.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as onp
from mxnet import nd

from ..kernels.csr import numpy_view
from ..support.arrays import load_arrays, save_arrays
from ..support.errors import DataError
from ..support.files import replacing, telling_damage
from .history import EpochRecord, StepSums
from .loaders import restore_loader

WAY_OUT = "it is not used; restore it from a copy, or delete it to begin the run anew with `resume`"
Arrays = dict[str, onp.ndarray]
NamedArrays = Iterable[tuple[str, onp.ndarray]]


@dataclass
class EpochUnderWay:
    """The steps that are done of an epoch that is not over.

    Parameters
    ----------
    steps : list of StepSums
        Of each step.
    rows : int
        That were trained on.
    seconds : float
        That they took.
    """

    steps: list[StepSums] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0


@dataclass
class Checkpoint:
    """A run after an epoch, or between two steps of one.

    Parameters
    ----------
    run : str
        Identifies the run, so that another run's checkpoint is refused.
    phase : str
        As 'search' (with validation or without) or 'refit'.
    history : list of EpochRecord
        Of this phase.
    under_way : EpochUnderWay
        Of the epoch after those.
    arrays : dict
        What was read of parameters, optimizer and loader: see `live_arrays`.
    best : dict
        Parameters of the best epoch so far; empty without validation.
    start : dict
        Parameters that earlier phases leave this one to begin with.
    done : dict
        Name to the epochs of each phase before this one.
    """

    run: str
    phase: str = "search"
    history: list[EpochRecord] = field(default_factory=list)
    under_way: EpochUnderWay = field(default_factory=EpochUnderWay)
    arrays: Arrays = field(default_factory=dict)
    best: Arrays = field(default_factory=dict)
    start: Arrays = field(default_factory=dict)
    done: dict[str, list[EpochRecord]] = field(default_factory=dict)

    @property
    def phases(self) -> dict[str, list[EpochRecord]]:
        """Name to the epochs of each phase so far, with this one."""
        return {**self.done, self.phase: self.history}

    def next(self, phase: str, start: Arrays) -> "Checkpoint":
        """Return the beginning of the phase that follows this one."""
        return Checkpoint(self.run, phase, start=start, done=self.phases)

    def save(self, path: Path, arrays: NamedArrays = ()) -> None:
        """Write atomically, with these arrays for its own; see `replacing` for errors."""
        about = dataclasses.asdict(dataclasses.replace(self, arrays={}, best={}, start={}))
        text = onp.frombuffer(json.dumps(about).encode(), dtype=onp.uint8)

        parts = ("arrays", arrays), ("best", self.best.items()), ("start", self.start.items())
        named = ((f"{part}/{name}", array) for part, own in parts for name, array in own)
        with replacing(path) as unfinished:
            save_arrays(unfinished, chain([("about", text)], named))

    @classmethod
    def read(cls, file: BinaryIO, path: Path, run: str) -> "Checkpoint":
        """Read the checkpoint of the run `run` that `file` holds, which is that of `path`.

        Raises
        ------
        DataError
            If it is truncated, altered, or of another run.
        """
        with telling_damage(path, WAY_OUT):
            arrays = load_arrays(file)
            about = json.loads(arrays.pop("about").tobytes())
            about["history"] = _records(about["history"])
            about["done"] = {phase: _records(rows) for phase, rows in about["done"].items()}
            about["under_way"] = EpochUnderWay(**about["under_way"])
            about["under_way"].steps = [StepSums(*step) for step in about["under_way"].steps]

            for name, array in arrays.items():
                part, _, rest = name.partition("/")
                about[part][rest] = array
            found = cls(**about)

        if found.run != run:
            raise DataError(
                f"{path} is the checkpoint of another run: it is not used; restore "
                "this run's own, or delete it to begin anew with `resume`"
            )
        return found


def _records(rows: list[dict[str, Any]]) -> list[EpochRecord]:
    return [EpochRecord(**row) for row in rows]


def parameters_of(net: Any) -> Arrays:
    """Return copies of a network's parameters by their structural names."""
    return {
        f"parameter/{name}": parameter.list_data()[0].asnumpy()
        for name, parameter in net._collect_params_with_prefix().items()
    }


def set_parameters(net: Any, arrays: Arrays) -> None:
    """Give a network the parameters of `parameters_of`, on every device."""
    for name, parameter in net._collect_params_with_prefix().items():
        value = nd.array(arrays[f"parameter/{name}"]).as_np_ndarray()

        for data in parameter.list_data():  # set_data refuses where servers update
            data[:] = value.as_in_ctx(data.ctx)


def forget_state(trainer: Any) -> None:
    """Free what a trainer's optimizer remembers, which lives as long as the network's parameters.

    They know their trainer.
    """
    for updater in trainer._updaters:
        updater.states.clear()


def live_arrays(net: Any, trainer: Any, loader: Arrays) -> Iterator[tuple[str, onp.ndarray]]:
    """Yield all that the next step depends on, by name: of CPUs the memory itself, no copy.

    Parameters
    ----------
    net : Block
    trainer : gluon.Trainer
    loader : dict
        `loader_state` at the beginning of the epoch.
    """
    for name, parameter in net._collect_params_with_prefix().items():
        yield f"parameter/{name}", on_host(parameter.list_data()[0])

    for index, state in trainer._updaters[0].states.items():
        for k, leaf in enumerate(_leaves(state)):
            yield f"state/{index}/{k}", on_host(leaf)

    optimizer = trainer._optimizer
    counts = sorted(optimizer._index_update_count.items())
    yield "update_counts", onp.array(counts, dtype=onp.int64).reshape(-1, 2)
    yield "num_update", onp.array(optimizer.num_update)
    yield from loader.items()


def are_finite(net: Any) -> bool:
    """Return whether every parameter is a number."""
    return all(
        onp.isfinite(on_host(parameter.list_data()[0]).sum(dtype=onp.float64))  # without a copy
        for parameter in net.collect_params().values()
    )


def on_host(array: Any) -> onp.ndarray:
    """Return an MXNet array as NumPy's: on a CPU its own memory, which it must not outlive."""
    if array.context.device_type == "cpu" and array.dtype == onp.float32:
        return numpy_view(array)
    return array.asnumpy()


def restore(net: Any, trainer: Any, loader: Any, arrays: Arrays, done: int = 0) -> None:
    """Set what `live_arrays` yielded, on every device; `done` steps of the next epoch are done."""
    set_parameters(net, arrays)
    restore_loader(loader, arrays, done)

    optimizer = trainer._optimizer
    devices = range(len(trainer._updaters))
    counts = dict(arrays["update_counts"].tolist())
    optimizer._all_index_update_counts = {device: dict(counts) for device in devices}
    optimizer._index_update_count = optimizer._all_index_update_counts[0]
    optimizer.num_update = int(arrays["num_update"])

    for device, updater in enumerate(trainer._updaters):
        for index in counts:
            weight = trainer._params[index].list_data()[device]
            state = optimizer.create_state_multi_precision(index, weight)

            for k, leaf in enumerate(_leaves(state)):
                leaf[:] = nd.array(arrays[f"state/{index}/{k}"], ctx=leaf.context)

            updater.states[index] = state
            updater.states_synced[index] = True


def _leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, (list, tuple)):
        for part in state:
            yield from _leaves(part)
    elif state is not None:
        yield state

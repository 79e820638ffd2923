"""Checkpoints, which are written atomically, and from which a run is resumed exactly.

A checkpoint is one file of arrays: `about`, which is JSON (the run and its epochs' metrics), and
the state of parameters, optimizer and loader. Nothing in it is ever unpickled.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as onp
from mxnet import nd, np

from ..kernels.csr import numpy_view
from ..support.arrays import load_arrays, save_arrays
from ..support.errors import DataError
from ..support.files import replacing, telling_damage
from .history import EpochRecord, StepSums
from .loaders import restore_loader

WAY_OUT = "it is not used; restore it from a copy, or delete it to begin the run anew with `resume`"
Arrays = dict[str, onp.ndarray]
NOTHING_DONE: dict[str, Any] = {"steps": [], "rows": 0, "seconds": 0.0}
NamedArrays = Iterable[tuple[str, onp.ndarray]]


@dataclass
class Checkpoint:
    """The state of a run after an epoch, or between two steps of one.

    Parameters
    ----------
    run : str
        Digest that identifies the run, so that another run's checkpoint is refused.
    phase : str
        Name of the phase, as 'search' (with validation or without) or 'refit'.
    history : list of EpochRecord
        The epochs of this phase that are over.
    under_way : dict
        What is done of the epoch after those: the `steps`, `rows` and `seconds` of `Training`.
    arrays : dict
        The state of parameters, optimizer and loader: see `live_arrays`.
    best : dict
        Parameters of the best epoch so far; empty without validation.
    averages : dict
        Parameters averaged over the epochs so far; empty if they are not averaged.
    start : dict
        Parameters from earlier phases that this one begins with.
    done : dict
        Name of each phase before this one to its epochs.
    """

    run: str
    phase: str = "search"
    history: list[EpochRecord] = field(default_factory=list)
    under_way: dict[str, Any] = field(default_factory=NOTHING_DONE.copy)
    arrays: Arrays = field(default_factory=dict)
    best: Arrays = field(default_factory=dict)
    averages: Arrays = field(default_factory=dict)
    start: Arrays = field(default_factory=dict)
    done: dict[str, list[EpochRecord]] = field(default_factory=dict)

    @property
    def phases(self) -> dict[str, list[EpochRecord]]:
        """A dict of the name of each phase so far, this one included, to its epochs."""
        return {**self.done, self.phase: self.history}

    def next(self, phase: str, start: Arrays) -> "Checkpoint":
        """Return the checkpoint at the beginning of the next phase."""
        return Checkpoint(self.run, phase, start=start, done=self.phases)

    def save(self, path: Path, arrays: NamedArrays = ()) -> None:
        """Write the checkpoint atomically, with `arrays` as its own; see `replacing` for errors."""
        kept = {part: getattr(self, part) for part in ("best", "averages", "start")}
        empty = dataclasses.replace(self, arrays={}, best={}, averages={}, start={})
        about = dataclasses.asdict(empty)
        text = onp.frombuffer(json.dumps(about).encode(), dtype=onp.uint8)

        parts = ("arrays", arrays), *((part, own.items()) for part, own in kept.items())
        named = ((f"{part}/{name}", array) for part, own in parts for name, array in own)
        with replacing(path) as unfinished:
            save_arrays(unfinished, chain([("about", text)], named))

    @classmethod
    def read(cls, file: BinaryIO, path: Path, run: str) -> "Checkpoint":
        """Read a checkpoint of the run `run` from `file`, which was opened at `path`.

        Raises
        ------
        DataError
            If the file is truncated or altered, or belongs to another run.
        """
        with telling_damage(path, WAY_OUT):
            arrays = load_arrays(file)
            about = json.loads(arrays.pop("about").tobytes())
            about["history"] = _records(about["history"])
            about["done"] = {phase: _records(rows) for phase, rows in about["done"].items()}
            steps = [StepSums(*step) for step in about["under_way"]["steps"]]
            about["under_way"] |= {"steps": steps}

            for name, array in arrays.items():
                part, _, rest = name.partition("/")
                about[part][rest] = array
            found = cls(**about)

        if found.run != run:
            raise DataError(f"{path} is the checkpoint of another run: {WAY_OUT}")
        return found


def _records(rows: list[dict[str, Any]]) -> list[EpochRecord]:
    return [EpochRecord(**row) for row in rows]


def live_parameters(net: Any) -> Arrays:
    """Return a network's parameters by their structural names, as `on_host` returns arrays."""
    return {
        f"parameter/{name}": on_host(parameter.list_data()[0])
        for name, parameter in net._collect_params_with_prefix().items()
    }


def parameters_of(net: Any) -> Arrays:
    """Return copies of a network's parameters by their structural names."""
    return {name: value.copy() for name, value in live_parameters(net).items()}


def set_parameters(net: Any, arrays: Arrays) -> None:
    """Give a network the parameters that `parameters_of` returned, on every device."""
    for name, parameter in net._collect_params_with_prefix().items():
        value = arrays[f"parameter/{name}"]
        for data in parameter.list_data():
            data[:] = np.array(value, ctx=data.ctx)


@contextmanager
def lent_parameters(net: Any, arrays: Arrays) -> Iterator[None]:
    """Give a network other parameters in the block, without a copy on a CPU."""
    parameters = net._collect_params_with_prefix()
    own = {name: parameter._data for name, parameter in parameters.items()}

    for name, value in arrays.items():
        parameter, lent = parameters[name.removeprefix("parameter/")], nd.from_numpy(value)
        parameter._data = [lent.as_np_ndarray().as_in_ctx(ctx) for ctx in parameter.list_ctx()]
    try:
        yield
    finally:
        for name, data in own.items():
            parameters[name]._data = data


def extended(arrays: Arrays, known: Arrays) -> Arrays:
    """Write the arrays of `known` into the first rows and columns of `arrays`, and return these."""
    for name, values in known.items():
        arrays[name][tuple(map(slice, values.shape))] = values
    return arrays


def forget_state(trainer: Any) -> None:
    """Free the state of a trainer's optimizer.

    It would live as long as the network's parameters, as these refer to their trainer.
    """
    for updater in trainer._updaters:
        updater.states.clear()


def live_arrays(net: Any, trainer: Any, loader: Arrays) -> Iterator[tuple[str, onp.ndarray]]:
    """Yield the names and arrays of all that the next step depends on.

    On CPUs the arrays are MXNet's own memory, without a copy.

    Parameters
    ----------
    net : Block
        The network.
    trainer : gluon.Trainer
        The trainer, with the optimizer's state.
    loader : dict
        What `loader_state` returned at the beginning of the epoch.
    """
    yield from live_parameters(net).items()
    for index, state in trainer._updaters[0].states.items():
        for k, leaf in enumerate(_leaves(state)):
            yield f"state/{index}/{k}", on_host(leaf)

    optimizer = trainer._optimizer
    counts = sorted(optimizer._index_update_count.items())
    yield "update_counts", onp.array(counts, dtype=onp.int64).reshape(-1, 2)
    yield "num_update", onp.array(optimizer.num_update)
    yield from loader.items()


def are_finite(net: Any) -> bool:
    """Return whether every parameter is finite."""
    sums = [value.sum() for value in live_parameters(net).values()]  # a sum needs no copy
    return bool(onp.isfinite(sums).all())


def on_host(array: Any) -> onp.ndarray:
    """Return an MXNet array as NumPy's; one on a CPU shares its memory, and must not outlive it."""
    if array.context.device_type == "cpu" and array.dtype == onp.float32:
        return numpy_view(array)
    return array.asnumpy()


def restore(net: Any, trainer: Any, loader: Any, arrays: Arrays, done: int = 0) -> None:
    """Set the state that `live_arrays` yielded, on every device.

    The next pass of the loader leaves out its first `done` batches.
    """
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


def _leaves(state: Any) -> Sequence[Any]:
    """Return the arrays of an optimizer's state: a tuple of them, a single one, or None."""
    if state is None:
        return ()
    return state if isinstance(state, tuple) else (state,)

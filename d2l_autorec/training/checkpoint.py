"""Atomic checkpoints and exact resume.

A checkpoint is one file:

    a line that names the format
    a line of JSON: which run, what its epochs measured
    a line with a name and then, as in an .npy file, an array: parameters, optimizer, loader
    ...
    an empty line, and the SHA-256 of all before it

It is written and read array by array. Nothing in it is ever unpickled.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as onp
from mxnet import nd

from ..kernels.csr import numpy_view
from ..support.errors import DataError
from ..support.files import replacing
from .history import EpochRecord, StepSums
from .loaders import restore_loader

MAGIC = b"d2l_autorec checkpoint 3\n"
FORMER = b"d2l_autorec checkpoint 1\n", b"d2l_autorec checkpoint 2\n"
DIGEST_SIZE = hashlib.sha256().digest_size
BLOCK = 1 << 20  # bytes
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
        """The beginning of the phase that follows this one."""
        return Checkpoint(self.run, phase, start=start, done=self.phases)

    def save(self, path: Path, arrays: NamedArrays = ()) -> None:
        """Write atomically, with these arrays for its own; see `replacing` for errors."""
        about = {
            "run": self.run,
            "phase": self.phase,
            "history": [dataclasses.asdict(record) for record in self.history],
            "under_way": dataclasses.asdict(self.under_way),
            "done": {
                phase: [dataclasses.asdict(record) for record in history]
                for phase, history in self.done.items()
            },
        }

        with replacing(path) as unfinished, open(unfinished, "wb") as file:
            hashing = _Hashing(file)
            hashing.write(MAGIC + json.dumps(about).encode() + b"\n")

            parts = ("now", arrays), ("best", self.best.items()), ("start", self.start.items())
            for part, named in parts:
                for name, array in named:
                    hashing.write(f"{part}/{name}\n".encode())
                    onp.lib.format.write_array(hashing, array, allow_pickle=False)

            hashing.write(b"\n")
            file.write(hashing.digest())

    @classmethod
    def read(cls, file: BinaryIO, path: Path, run: str) -> "Checkpoint":
        """The checkpoint of the run `run` that `file` holds, which is that of `path`.

        Raises
        ------
        DataError
            If it is truncated, altered, of an earlier version, or of another run.
        """
        _check_digest(file, path)
        file.seek(len(MAGIC))

        about = json.loads(file.readline())
        if about["run"] != run:
            raise DataError(
                f"{path} is the checkpoint of another run: it is not used; restore "
                "this run's own, or delete it to begin anew with `resume`"
            )

        under_way = about["under_way"]
        parts = _read_arrays(file, path)
        return cls(
            run,
            about["phase"],
            [EpochRecord(**record) for record in about["history"]],
            EpochUnderWay(
                [StepSums(*step) for step in under_way["steps"]],
                under_way["rows"],
                under_way["seconds"],
            ),
            parts["now"],
            parts["best"],
            parts["start"],
            {
                phase: [EpochRecord(**record) for record in history]
                for phase, history in about["done"].items()
            },
        )


class _Hashing:
    """A file that is written, with the digest of what was."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._sha256.update(content)

    def digest(self) -> bytes:
        return self._sha256.digest()


def _check_digest(file: BinaryIO, path: Path) -> None:
    """Raise DataError unless the file is what was written."""
    first = file.readline(len(MAGIC))
    if first in FORMER:
        raise DataError(
            f"{path} is of an earlier version of d2l_autorec, and cannot be gone on with: "
            "finish the run with that version, or delete it to begin anew with `resume`"
        )

    left = file.seek(0, os.SEEK_END) - DIGEST_SIZE
    file.seek(0)
    sha256 = hashlib.sha256()

    while left > 0:
        block = file.read(min(left, BLOCK))
        sha256.update(block)
        left -= len(block)

    if first != MAGIC or file.read() != sha256.digest():
        raise DataError(
            f"{path} is truncated or was altered: it is not used; restore it from "
            "a copy, or delete it to begin the run anew with `resume`"
        )


def _read_arrays(file: BinaryIO, path: Path) -> dict[str, Arrays]:
    parts: dict[str, Arrays] = {"now": {}, "best": {}, "start": {}}

    while name := file.readline().decode().rstrip("\n"):
        part, _, rest = name.partition("/")
        try:
            parts[part][rest] = onp.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise DataError(f"{path} cannot be read ({error})") from error

    return parts


def parameters_of(net: Any) -> Arrays:
    """Copies of a network's parameters by their structural names."""
    return {
        f"parameter/{name}": parameter.list_data()[0].asnumpy()
        for name, parameter in net._collect_params_with_prefix().items()
    }


def set_parameters(net: Any, arrays: Arrays) -> None:
    """The reverse of `parameters_of`, on every device."""
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
    """Everything that the next step depends on, by name: of CPUs the memory itself, no copy.

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
    """Whether every parameter is a number."""
    for parameter in net.collect_params().values():
        total = on_host(parameter.list_data()[0]).sum(dtype=onp.float64)  # no copy, no overflow
        if not onp.isfinite(total):
            return False
    return True


def on_host(array: Any) -> onp.ndarray:
    """An MXNet array as NumPy's: on a CPU its own memory, which it must not outlive."""
    if array.context.device_type == "cpu" and array.dtype == onp.float32:
        return numpy_view(array)
    return array.asnumpy()


def restore(net: Any, trainer: Any, loader: Any, arrays: Arrays, done: int = 0) -> None:
    """The reverse of `live_arrays`, on every device; `done` steps of the next epoch are done."""
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

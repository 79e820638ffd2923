"""Atomic checkpoints and exact resume.

A checkpoint is one file: a line that names the format, the SHA-256 of the
rest, and an .npz archive. Nothing in it is ever unpickled.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as onp
from mxnet import nd

from ..support.errors import DataError
from ..support.files import write_atomically
from .history import EpochRecord
from .loaders import loader_state, restore_loader

MAGIC = b"d2l_autorec checkpoint 1\n"
Arrays = dict[str, onp.ndarray]


@dataclass
class Checkpoint:
    """A run after an epoch.

    Parameters
    ----------
    run : str
        Identifies the run, so that another run's checkpoint is refused.
    phase : str
        'search' (with validation or without) or 'refit'.
    history : list of EpochRecord
        Of this phase.
    arrays : dict
        Parameters, optimizer state and loader state: see `capture`.
    best : dict
        Parameters of the best epoch so far; empty without validation.
    search : list of EpochRecord
        History of the search, once the refit has begun.
    """

    run: str
    phase: str = "search"
    history: list[EpochRecord] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)
    best: Arrays = field(default_factory=dict)
    search: list[EpochRecord] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write atomically; see `write_atomically` for errors."""
        about = {
            "run": self.run,
            "phase": self.phase,
            "history": [dataclasses.asdict(record) for record in self.history],
            "search": [dataclasses.asdict(record) for record in self.search],
        }
        now = {f"now/{name}": array for name, array in self.arrays.items()}
        best = {f"best/{name}": array for name, array in self.best.items()}

        buffer = io.BytesIO()
        onp.savez(buffer, about=onp.array(json.dumps(about)), **now, **best)
        payload = buffer.getvalue()

        digest = hashlib.sha256(payload).digest()
        write_atomically(path, MAGIC + digest + payload)

    @classmethod
    def parse(cls, content: bytes, path: Path, run: str) -> "Checkpoint":
        """The checkpoint of the run `run` that the file `path` holds.

        Raises
        ------
        DataError
            If the content is truncated, altered, or of another run.
        """
        payload = _payload_of(content, path)
        try:
            with onp.load(io.BytesIO(payload), allow_pickle=False) as stored:
                arrays = dict(stored)
        except (ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} cannot be read ({error})") from error

        about = json.loads(str(arrays.pop("about")))
        if about["run"] != run:
            raise DataError(
                f"{path} is the checkpoint of another run: it is not used; restore "
                "this run's own, or delete it to begin anew with `resume`"
            )

        parts: dict[str, Arrays] = {"now": {}, "best": {}}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = array

        return cls(
            run,
            phase=about["phase"],
            history=[EpochRecord(**record) for record in about["history"]],
            arrays=parts["now"],
            best=parts["best"],
            search=[EpochRecord(**record) for record in about["search"]],
        )


def _payload_of(content: bytes, path: Path) -> bytes:
    """The archive of a checkpoint; DataError unless it is the one that was written."""
    start = len(MAGIC) + hashlib.sha256().digest_size
    digest, payload = content[len(MAGIC) : start], content[start:]

    if not content.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise DataError(
            f"{path} is truncated or was altered: it is not used; restore it from "
            "a copy, or delete it to begin the run anew with `resume`"
        )
    return payload


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


def capture(net: Any, trainer: Any, loader: Any) -> Arrays:
    """Everything that the next epoch depends on, as arrays."""
    optimizer = trainer._optimizer
    arrays = {**parameters_of(net), **loader_state(loader)}

    for index, state in trainer._updaters[0].states.items():
        for k, leaf in enumerate(_leaves(state)):
            arrays[f"state/{index}/{k}"] = leaf.asnumpy()

    counts = sorted(optimizer._index_update_count.items())
    arrays["update_counts"] = onp.array(counts, dtype=onp.int64).reshape(-1, 2)
    arrays["num_update"] = onp.array(optimizer.num_update)
    return arrays


def restore(net: Any, trainer: Any, loader: Any, arrays: Arrays) -> None:
    """The reverse of `capture`, on every device."""
    set_parameters(net, arrays)
    restore_loader(loader, arrays)

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

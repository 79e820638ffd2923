"""Devices: which MXNet contexts are used, and how a batch is spread over them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import mxnet as mx

from ..support.errors import ConfigError


def try_all_gpus() -> list[mx.Context]:
    """Return every visible GPU, or `[cpu()]` if there is none.

    The docstring of d2l 1.0.3's function promises the same, but it
    returns `[]` without a GPU, and the chapter's listing then divides by zero.
    """
    return [mx.gpu(i) for i in range(mx.context.num_gpus())] or [mx.cpu()]


def resolve_devices(gpus: str | None = None, cpus: int | None = None) -> list[mx.Context]:
    """Return the contexts that `gpus` and `cpus` ask for.

    Parameters
    ----------
    gpus : str, optional
        Comma-separated GPU numbers, 'all' or 'none'. By default every visible
        GPU, or the CPU if there is none.
    cpus : int, optional
        Number of CPU contexts; several behave as several devices.

    Raises
    ------
    ConfigError
        If a GPU is not visible, or the driver does not answer.
    """
    if cpus is not None or gpus == "none":
        return [mx.cpu(i) for i in range(cpus or 1)]
    try:
        visible = try_all_gpus()
    except mx.MXNetError as error:  # a CUDA build, and the driver is too old or not running
        reason = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(
            f"CUDA cannot be used ({reason}): see whether nvidia-smi works, or train on the CPU "
            "with `gpus=none`"
        ) from error

    if gpus is None:
        return visible
    chosen = visible if gpus == "all" else [mx.gpu(number) for number in _gpu_numbers(gpus)]
    if mx.cpu() in visible or not set(chosen) <= set(visible):
        raise ConfigError(
            f"`gpus={gpus}`: {mx.context.num_gpus()} GPUs are visible to this MXNet build; leave "
            "`gpus` out, see nvidia-smi, or have exactly one MXNet, with CUDA: pip uninstall "
            "mxnet, then e.g. pip install 'd2l_autorec[cu117]'"
        )
    return chosen


def _gpu_numbers(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if not all(map(str.isdecimal, numbers)) or len(set(numbers)) < len(numbers):
        raise ConfigError(
            f"`gpus` is {text!r}: it must be GPU numbers separated by commas, each once, as in 0,1"
        )
    return [int(number) for number in numbers]


def choose_kvstore(asked: str, devices: Sequence[mx.Context]) -> str | None:
    """Return who adds up a process's gradients: None, 'local' (the CPU) or 'device' (the GPUs).

    Raises
    ------
    ConfigError
        If `asked` is 'none', and there are several devices.
    """
    if len(devices) == 1:
        return None
    if asked == "none":
        raise ConfigError(
            f"`kvstore=none` is for one device, and there are {len(devices)}: choose "
            "local or device, or `cpus=1`"
        )
    if asked != "auto":
        return asked
    return "local" if devices[0].device_type == "cpu" else "device"


class Shard(NamedTuple):
    """A device's part of a batch: features and, last, the label, and their weight."""

    arrays: list[Any]
    weight: float  # 1; 0 if it is a stand-in row


def split_and_load(
    arrays: Sequence[Any], devices: Sequence[mx.Context], weight: float = 1.0
) -> list[Shard]:
    """Spread a batch over the devices; every device gets at least one row.

    Rows are divided as evenly as possible. `gluon.utils.split_and_load` raises an error
    if their number is no multiple (its default), or if there are fewer rows than devices.

    A device that is left without a row gets row 0 with weight 0: its gradient
    is then a true zero. Without it, the gradient of its last step would stand
    (`grad_req='write'`) and be summed a second time.

    Parameters
    ----------
    arrays : sequence of ndarray
        Features and, last, the label, of MXNet or NumPy, with the same number of rows.
    devices : sequence of Context
        The devices.
    weight : float
        Weight of the batch: 0 if it is a stand-in itself.

    Returns
    -------
    list of Shard
        One for each device, in order.
    """
    rows = len(arrays[0])
    shards = []
    for k, device in enumerate(devices):
        part, has_rows = rows_of(k, len(devices), rows)
        own = [array[part].as_in_ctx(device) for array in arrays]
        shards.append(Shard(own, weight * has_rows))
    return shards


def parts_on(arrays: Sequence[Any], devices: Sequence[mx.Context]) -> list[list[Any]]:
    """Spread a batch over the devices without stand-in rows, as evaluation does."""
    return [shard.arrays for shard in split_and_load(arrays, devices) if shard.weight]


def rows_of(place: int, places: int, rows: int) -> tuple[slice, bool]:
    """Return the rows for one of several places, and True; row 0 and False if none is left for it.

    Places without a row come last, so that their row takes no random numbers from others.
    """
    if place >= rows:
        return slice(0, 1), False

    places = min(places, rows)
    return slice(place * rows // places, (place + 1) * rows // places), True

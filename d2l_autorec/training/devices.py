"""Devices: which MXNet contexts to use, and how a batch is spread over them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import mxnet as mx

from ..support.errors import ConfigError


def try_all_gpus() -> list[mx.Context]:
    """Every visible GPU, or `[cpu()]` where there is none.

    d2l 1.0.3's function of this name promises the same in its docstring but
    returns `[]` without a GPU; the chapter's listing then divides by zero.
    """
    return [mx.gpu(i) for i in range(mx.context.num_gpus())] or [mx.cpu()]


def resolve_devices(gpus: str | None = None, cpus: int | None = None) -> list[mx.Context]:
    """The contexts that `gpus` and `cpus` ask for.

    Parameters
    ----------
    gpus : str, optional
        Comma-separated GPU numbers, 'all' or 'none'. By default every visible
        GPU, and the CPU where there is none.
    cpus : int, optional
        Number of CPU contexts. Several behave as several devices.

    Raises
    ------
    ConfigError
        If a GPU is not visible; says how many are, and whether this build of
        MXNet can use any.
    """
    if cpus is not None or gpus == "none":
        return [mx.cpu(i) for i in range(cpus or 1)]

    visible = _visible_gpus()
    if gpus is None:
        return [mx.gpu(i) for i in range(visible)] or [mx.cpu()]

    if gpus == "all":
        numbers = list(range(visible))
    else:
        numbers = _gpu_numbers(gpus)
    if not numbers or max(numbers) >= visible:
        raise ConfigError(_not_visible(gpus, visible))

    return [mx.gpu(i) for i in numbers]


def _not_visible(gpus: str, visible: int) -> str:
    """What is wrong where `gpus` asks for more than the `visible` GPUs, and the way out."""
    cuda = _built_with_cuda()

    if visible:
        way_out = f"name GPUs from 0 to {visible - 1}"
    elif cuda:
        way_out = "see nvidia-smi and $CUDA_VISIBLE_DEVICES"
    else:
        way_out = (
            "have exactly one MXNet, with CUDA: pip uninstall mxnet, then e.g. "
            "pip install 'd2l_autorec[cu117]'"
        )

    has = "has"
    if not cuda:
        has = "has no"
    return (
        f"`gpus={gpus}`: {visible} GPUs are visible and this MXNet build {has} "
        f"CUDA; leave `gpus` out, or {way_out}"
    )


def _built_with_cuda() -> bool:
    return mx.runtime.Features().is_enabled("CUDA")


def _visible_gpus() -> int:
    try:
        return mx.context.num_gpus()
    except mx.MXNetError as error:  # a CUDA build, and the driver is too old or not running
        raise ConfigError(
            f"CUDA cannot be used ({_first_line(error)}): see whether nvidia-smi "
            "works, or train on the CPU with `gpus=none`"
        ) from error


def _first_line(error: Exception) -> str:
    """What is wrong, of an MXNet error: its last line is the message of the check that failed."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()


def choose_kvstore(asked: str, devices: Sequence[mx.Context]) -> str | None:
    """Who adds up the gradients of one process: None, 'local' (the CPU) or 'device' (the GPUs).

    Raises
    ------
    ConfigError
        If it should be nobody, and there are several devices.
    """
    if asked == "none" and len(devices) > 1:
        raise ConfigError(
            f"`kvstore=none` is for one device, and there are {len(devices)}: choose "
            "local or device, or `cpus=1`"
        )

    if asked == "none" or len(devices) == 1:
        return None
    if asked != "auto":
        return asked
    if devices[0].device_type == "cpu":
        return "local"
    return "device"


def free_memory(device: mx.Context) -> int | None:
    """Free bytes of a GPU; None of a CPU, whose memory the data are in already."""
    if device.device_type != "gpu":
        return None

    free, _ = mx.context.gpu_memory_info(device.device_id)
    return free


def _gpu_numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(
            f"`gpus` is {text!r}: it must be GPU numbers separated by commas, as in 0,1"
        )

    numbers = [int(part) for part in parts]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"`gpus` is {text!r}: each GPU can be named once")
    return numbers


class Shard(NamedTuple):
    """One device's part of a batch."""

    arrays: list[Any]
    weight: float  # 1, or 0 for a stand-in row


def split_and_load(
    arrays: Sequence[Any], devices: Sequence[mx.Context], weight: float = 1.0
) -> list[Shard]:
    """Spread a batch over the devices; every device gets at least one row.

    Rows go out as evenly as they divide. `gluon.utils.split_and_load` raises
    when they do not (its default), or when there are fewer rows than devices.

    A device that is left without a row gets row 0 with weight 0: its gradient
    is then a true zero. Without it, the gradient of its last step would stand
    (`grad_req='write'`) and be summed a second time.

    Parameters
    ----------
    arrays : sequence of ndarray
        Features and, last, the label; same number of rows.
    devices : sequence of Context
    weight : float
        Of the batch: 0 where it is a stand-in itself.

    Returns
    -------
    list of Shard
        One per device, in order.
    """
    rows = len(arrays[0])
    shards = []

    for k, device in enumerate(devices):
        part, has_rows = rows_of(k, len(devices), rows)
        own = [array[part].as_in_ctx(device) for array in arrays]
        shards.append(Shard(own, weight * has_rows))

    return shards


def parts_on(arrays: Sequence[Any], devices: Sequence[mx.Context]) -> list[list[Any]]:
    """A batch spread over the devices, without stand-in rows: what evaluation computes with."""
    return [shard.arrays for shard in split_and_load(arrays, devices) if shard.weight]


def rows_of(place: int, places: int, rows: int) -> tuple[slice, bool]:
    """Return the rows of one of several places, and whether it has any; else row 0 stands in.

    Places without a row come last: a stand-in row then takes no random numbers of another.
    """
    if place >= rows:
        return slice(0, 1), False

    places = min(places, rows)
    return slice(place * rows // places, (place + 1) * rows // places), True

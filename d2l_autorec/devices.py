"""Devices: which MXNet contexts to use, and how a batch is spread over them."""

from typing import Any, List, NamedTuple, Optional, Sequence

import mxnet as mx

from .errors import ConfigError


def try_all_gpus() -> List[mx.Context]:
    """Every visible GPU, or `[cpu()]` where there is none.

    d2l 1.0.3's function of this name promises the same in its docstring but
    returns `[]` without a GPU; the chapter's listing then divides by zero.
    """
    return [mx.gpu(i) for i in range(mx.context.num_gpus())] or [mx.cpu()]


def resolve_devices(gpus: Optional[str] = None, cpus: Optional[int] = None) -> List[mx.Context]:
    """The contexts that `--gpus` and `--cpus` ask for.

    Parameters
    ----------
    gpus : str, optional
        Comma-separated GPU numbers.
    cpus : int, optional
        Number of CPU contexts. Several behave as several devices.

    Raises
    ------
    ConfigError
        If a GPU is not visible; says how many are, and whether this build of
        MXNet can use any.
    """
    if cpus is not None:
        return [mx.cpu(i) for i in range(cpus)]
    if gpus is None:
        return try_all_gpus()
    numbers = _gpu_numbers(gpus)
    visible = mx.context.num_gpus()
    if max(numbers) >= visible:
        cuda = "has" if mx.runtime.Features().is_enabled("CUDA") else "has no"
        raise ConfigError(f"--gpus {gpus}: {visible} GPUs are visible and this MXNet build {cuda} "
                          "CUDA; leave --gpus out, or install a CUDA flavour, e.g. "
                          "pip install 'd2l_autorec[cu117]'")
    return [mx.gpu(i) for i in numbers]


def _gpu_numbers(text: str) -> List[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--gpus is {text!r}: it must be GPU numbers separated by commas, "
                          "as in 0,1")
    numbers = [int(part) for part in parts]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"--gpus is {text!r}: each GPU can be named once")
    return numbers


class Shard(NamedTuple):
    """One device's part of a batch."""

    arrays: List[Any]
    weight: float  # 1, or 0 for a stand-in row


def split_and_load(arrays: Sequence[Any], devices: Sequence[mx.Context]) -> List[Shard]:
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

    Returns
    -------
    list of Shard
        One per device, in order.
    """
    rows, count = len(arrays[0]), len(devices)
    shards = []
    for k, device in enumerate(devices):
        begin, end = k * rows // count, (k + 1) * rows // count
        idle = begin == end
        part = slice(0, 1) if idle else slice(begin, end)
        shards.append(Shard([array[part].as_in_ctx(device) for array in arrays], float(not idle)))
    return shards

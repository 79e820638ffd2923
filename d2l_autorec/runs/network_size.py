"""Whether a network and its batches fit into memory, and into what MXNet can count."""

from collections.abc import Sequence
from math import prod
from typing import Any

import mxnet as mx

from ..support.errors import ConfigError
from ..support.memory import available_memory, check_fits
from ..training.devices import free_memory

LARGEST = 2**31 - 1  # MXNet's index of an element
ON_A_DEVICE = 4  # of each parameter: weight, gradient, two moments of the optimizer
KEPT = 1  # the weights of the best epoch
OF_A_BATCH = 4  # input and output, and their gradients
FLOAT32 = 4  # bytes


def check_network(
    network: Any, batch_shape: tuple[int, int], devices: Sequence[mx.Context], option: str
) -> None:
    """Refuse a network that cannot be trained here.

    Parameters
    ----------
    network : HybridBlock
        Not initialised: only the shapes of its parameters are read.
    batch_shape : (int, int)
        Rows of a step, over all devices, and how many numbers are computed for each.
    devices : sequence of Context
    option : str
        What says how large the network is.

    Raises
    ------
    ConfigError
        If a matrix has more elements than MXNet can index, or more memory is
        needed than there is; names both.
    """
    sizes = [prod(parameter.shape) for parameter in network.collect_params().values()]
    for needed, available in _needs(sum(sizes), batch_shape, devices):
        check_fits(
            needed,
            available,
            "the network with its optimizer and batches",
            f": choose a smaller `{option}` or `batch_size`",
        )

    if max(sizes) > LARGEST:
        raise ConfigError(
            f"the network has a matrix of {max(sizes)} numbers, and MXNet can index "
            f"{LARGEST}: choose a smaller `{option}`"
        )

    rows, columns = batch_shape
    if rows * columns > LARGEST:
        raise ConfigError(
            f"a batch has {rows} x {columns} numbers, and MXNet can index {LARGEST}: "
            "choose a smaller `batch_size`"
        )


def _needs(
    parameters: int, batch_shape: tuple[int, int], devices: Sequence[mx.Context]
) -> list[tuple[int, int | None]]:
    """(needed, available) bytes of the host, and of each GPU."""
    rows, columns = batch_shape
    rows_on_each = -(-rows // len(devices))
    part = rows_on_each * columns
    on_each = FLOAT32 * (ON_A_DEVICE * parameters + OF_A_BATCH * part)

    gpus = [device for device in devices if device.device_type == "gpu"]
    cpus = len(devices) - len(gpus)
    host = cpus * on_each + FLOAT32 * KEPT * parameters

    needs = [(host, available_memory())]
    needs += [(on_each, free_memory(gpu)) for gpu in gpus]
    return needs

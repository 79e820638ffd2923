"""Checks that a network and its batches fit into memory, and that MXNet can index them."""

from collections.abc import Sequence
from math import prod
from typing import Any

import mxnet as mx

from ..support.errors import ConfigError
from ..support.machine import available_memory, check_fits

LARGEST = 2**31 - 1  # the largest index of an element in MXNet
FLOAT32 = 4  # bytes of a number
WEIGHT_AND_MOMENTS = 3  # arrays for each parameter, on a device: Adam has two moments
OF_A_BATCH = 4  # arrays of a batch: input and output, and their gradients
BESIDE = 100_000_000  # bytes of everything else, as compiled kernels and a figure
OF_A_RATING = 20  # bytes of a rating in a CSR matrix, and while the matrix is made


def check_network(
    network: Any,
    devices: Sequence[mx.Context],
    option: str,
    batch_shape: tuple[int, int] = (1, 1),
    ratings: int = 0,
    gradients: bool = True,
    copies: int = 1,
) -> None:
    """Raise ConfigError for a network that cannot be trained here.

    Parameters
    ----------
    network : HybridBlock
        The network, which need not be initialised: only the shapes of its parameters are read.
    devices : sequence of Context
        The devices to train on.
    option : str
        The option that sets how large the network is.
    batch_shape : (int, int)
        Rows of a step, over all devices, and how many numbers are computed for each row.
    ratings : int
        Number of ratings in the matrices.
    gradients : bool
        Whether the gradient of each parameter is written out.
    copies : int
        Number of further copies of the parameters, such as those of the best epoch.

    Raises
    ------
    ConfigError
        If a matrix has more elements than MXNet can index, or more memory is
        needed than there is. The message has both numbers.
    """
    sizes = [prod(parameter.shape) for parameter in network.collect_params().values()]
    parameters, (rows, columns) = sum(sizes), batch_shape
    numbers = (WEIGHT_AND_MOMENTS + gradients) * parameters
    on_each = FLOAT32 * (numbers + OF_A_BATCH * -(-rows // len(devices)) * columns)

    gpus = [device for device in devices if device.device_type == "gpu"]
    host = BESIDE + (len(devices) - len(gpus)) * on_each + OF_A_RATING * ratings
    host += FLOAT32 * parameters * copies
    what = "the network with its optimizer and batches"
    way_out = f": choose a smaller `{option}` or `batch_size`"
    check_fits(host, available_memory(), what, way_out)
    for gpu in gpus:
        free, _ = mx.context.gpu_memory_info(gpu.device_id)
        check_fits(on_each, free, what, way_out)

    largest = max(*sizes, rows * columns)
    if largest > LARGEST:
        why = f"there is a matrix of {largest} numbers, and MXNet can index {LARGEST}"
        raise ConfigError(why + way_out)

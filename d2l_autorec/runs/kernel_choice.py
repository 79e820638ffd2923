"""Dense or sparse arithmetic."""

import warnings
from collections.abc import Sequence
from typing import Any

import mxnet as mx

from ..support.errors import ConfigError, DataWarning


def choose_kernel(asked: str, network: Any, devices: Sequence[mx.Context]) -> tuple[str, str]:
    """Dense or sparse arithmetic, and why.

    Parameters
    ----------
    asked : {'auto', 'dense', 'sparse'}
    network : Block
        One that takes sparse batches has a method `sparse_weights`; one whose
        input is pairs of user and item says `reads_pairs`.
    devices : sequence of Context

    Returns
    -------
    chosen : {'dense', 'sparse'}
    why : str

    Raises
    ------
    ConfigError
        If sparse was asked for on a GPU.
    """
    if asked == "dense":
        return "dense", "`kernel=dense`"

    if any(device.device_type != "cpu" for device in devices):
        if asked == "sparse":
            raise ConfigError("`kernel=sparse` runs on CPUs only: choose `kernel=dense` or `cpus`")
        return "dense", "the sparse kernels run on CPUs only"

    if getattr(network, "reads_pairs", False) or not hasattr(network, "collect_params"):
        return "dense", "it has no layer over whole rows: there is nothing to skip"

    if not hasattr(network, "sparse_weights"):
        name = type(network).__name__
        warnings.warn(
            f"the sparse kernels do not cover {name}: it trains dense", DataWarning, stacklevel=2
        )
        return "dense", f"the sparse kernels do not cover {name}"

    return "sparse", "CPU contexts, and the kernels cover the network"

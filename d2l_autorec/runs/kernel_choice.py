"""Dense or sparse arithmetic."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import mxnet as mx

from ..kernels.fused_step import RULES
from ..models.base import Model
from ..models.sparse_autorec import row_model
from ..support.errors import ConfigError, DataWarning
from ..training.fused import FusedSteps

if TYPE_CHECKING:
    from .experiment import Experiment


def choose_kernel(asked: str, network: Model, devices: Sequence[mx.Context]) -> tuple[str, str]:
    """Dense or sparse arithmetic, and why.

    Parameters
    ----------
    asked : {'auto', 'dense', 'sparse'}
    network : Model
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

    if network.reads_pairs or network.is_closed_form:
        return "dense", "it has no layer over whole rows: there is nothing to skip"

    if not row_model(network).reads_sparse:
        name = type(network).__name__
        warnings.warn(
            f"the sparse kernels do not cover {name}: it trains dense", DataWarning, stacklevel=2
        )
        return "dense", f"the sparse kernels do not cover {name}"

    return "sparse", "CPU contexts, and the kernels cover the network"


def fused_steps(experiment: "Experiment", network: Model) -> FusedSteps | None:
    """What makes whole steps in one compiled function; None where it does not cover them."""
    config = experiment.config
    loss = config.fused_loss()
    if loss is None:
        return None

    layer = row_model(network).one_hidden()
    alone = len(experiment.devices) == 1 and not experiment.workers.store
    known = config.optimizer in RULES
    if layer is None or not alone or not known or experiment.kernel != "sparse":
        return None

    return FusedSteps(layer, loss)

"""A configuration with its data, devices and kernel: what a run is about to compute."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import mxnet as mx

from .. import kernels
from ..kernels.fused_step import load_step
from ..models.base import Model
from ..support.errors import ConfigError, DataError, DataWarning
from ..support.terminal import step
from ..training.devices import choose_kvstore, choose_preload, resolve_devices
from ..training.loaders import BATCHES, Resident
from ..training.parameter_server import Workers
from .config import RankingConfig, RatingConfig, RunConfig, models
from .kernel_choice import choose_kernel, fused_steps
from .network_size import Demand, check_network
from .options import check_same_options, computing_options
from .ranking_task import RankingTask
from .rating_task import RatingTask
from .run_record import RunRecord
from .task import Task

TASKS: dict[str, type[RankingTask] | type[RatingTask]] = {
    name: RankingTask if issubclass(config, RankingConfig) else RatingTask
    for name, config in models().items()
}
# configuration and devices to the task
TaskMaker: TypeAlias = Callable[[Any, Sequence[mx.Context]], Task]


@dataclass(frozen=True)
class Experiment:
    """A configuration with its task and devices.

    Parameters
    ----------
    config : RunConfig
    devices : list of Context
    task : Task
        The data and what is to be learned from them.
    kernel, why : str
        Dense or sparse, and the reason.
    preload : str
        Whether the data are copied to the devices once, and the reason.
    workers : Workers
        The processes of the run. Worker 0 evaluates, and has the folder.
    """

    config: RunConfig
    devices: list[mx.Context]
    task: Task
    kernel: str
    why: str
    preload: str = "no"
    workers: Workers = field(default_factory=Workers)

    def device_names(self) -> list[str]:
        """The devices of all workers, each of which has as many as this one."""
        names = [str(device) for device in self.devices]
        size = self.workers.size
        if size == 1:
            return names
        return [f"worker {rank} {name}" for rank in range(size) for name in names]

    def data(self) -> dict[str, Any]:
        """What the data are; how their file was written does not matter."""
        return without_origin(self.task.about_data())

    def identity(self) -> str:
        """A digest of what the run computes; ties a checkpoint to its run."""
        options = computing_options(self.config)
        text = json.dumps([options, self.data()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def prepare(
    config: RunConfig,
    workers: Workers,
    make_task: TaskMaker | None = None,
    devices: Sequence[mx.Context] | None = None,
) -> Experiment:
    """Devices, data and kernel of a configuration; see `run_training` for parameters and errors.

    Raises DataError where a worker has other options or data than worker 0.
    """
    if make_task is None:
        make_task = task_of
    if devices is None:
        devices = resolve_devices(config.gpus, config.cpus)
    devices = list(devices)
    choose_kvstore(config.kvstore, devices)  # raises before any data are read

    step("reading the data")
    task = make_task(config, devices)
    network = task.network("search")
    kernel, why = choose_kernel(config.kernel, network, devices)
    if kernel == "sparse":
        kernels.load()  # says what is wrong with it before anything is written

    preload = _preload(config, task, kernel, devices)
    experiment = Experiment(config, devices, task, kernel, why, preload, workers)
    if config.sized_by:
        check_network(network, demand_of(experiment, network), devices, config.sized_by)
    if fused_steps(experiment, network) is not None:
        load_step()

    if workers.agree(experiment.identity()) != experiment.identity():
        raise DataError(
            f"worker {workers.rank} has other options or ratings than worker 0: give "
            "all the same, and the same files"
        )
    return experiment


def demand_of(experiment: Experiment, network: Model) -> Demand:
    """What the training of a network needs memory for, beside the data that are read already."""
    config, task = experiment.config, experiment.task

    return Demand(
        task.batch_shape(experiment.kernel),
        task.num_ratings(),
        gradients=fused_steps(experiment, network) is None,
        keeps_best=config.validated,
    )


def task_of(config: RunConfig, devices: Sequence[mx.Context]) -> Task:
    """The task of a configuration, on the data that its options name."""
    if isinstance(config, RankingConfig):
        return RankingTask(config, devices)
    if isinstance(config, RatingConfig):
        return RatingTask(config, devices)
    raise TypeError(f"{type(config).__name__} is neither of ratings nor of rankings")


def _preload(config: RunConfig, task: Task, kernel: str, devices: Sequence[mx.Context]) -> str:
    """Copy the data to the devices where that is asked for, or helps; whether, and why."""
    needed = 0
    if kernel == "dense":
        needed = task.dense_bytes()

    preload, reason = choose_preload(config.preload, needed, devices)
    if preload:
        task.batches = {**BATCHES, "dense": Resident(devices)}
        return f"yes: {reason}"

    if config.preload == "yes":
        warnings.warn(f"`preload=yes`: {reason}", DataWarning, stacklevel=3)
    return f"no: {reason}"


def check_unchanged(experiment: Experiment, record: RunRecord) -> None:
    """Raise UserError unless options, data, devices and kernel are the recorded run's."""
    path = record.path
    began = record.about
    check_same_options(asdict(record.config), computing_options(experiment.config), path)

    if without_origin(began["data"]) != experiment.data():
        raise DataError(
            f"the ratings are not those that the run in {path} began with: bring "
            "them back, or begin a new run"
        )

    now = {"devices": experiment.device_names(), "kernel": experiment.kernel}
    before = {"devices": began["devices"], "kernel": began["kernel"]["chosen"]}
    if now != before:
        raise ConfigError(
            f"the run in {path} began with {before}, and here there are {now}: "
            "resume it on a machine like the first, or begin a new run"
        )


def without_origin(data: dict[str, Any]) -> dict[str, Any]:
    """What config.json says of the data, but for how they were understood."""
    return {key: value for key, value in data.items() if key != "origin"}

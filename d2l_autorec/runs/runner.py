"""One run from its options to its folder: data, network, phases of training, result."""

import hashlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
from mxnet import gluon
from scipy import sparse

from .. import kernels
from ..kernels.fused_adam import FusedAdam
from ..support.errors import ConfigError, DataError, DataWarning, Interrupted, NumericalError
from ..support.files import FolderLock, remove_parts
from ..support.interrupt import SignalWatch
from ..support.streams import Purpose, mxnet_seed
from ..training.checkpoint import Checkpoint, capture, parameters_of, restore, set_parameters
from ..training.control import best_epoch, learning_rate, should_stop
from ..training.devices import (
    choose_kvstore,
    choose_preload,
    out_of_memory_in_one_line,
    resolve_devices,
)
from ..training.engine import start_mxnet
from ..training.history import EpochRecord
from ..training.loaders import BATCHES, Resident
from ..training.loop import fit
from ..training.parameter_server import Workers, connect
from ..training.progress import Bar, label_of
from .config import CONFIGS, RankingConfig, RunConfig
from .kernel_choice import choose_kernel
from .network_size import check_network
from .options import flag
from .ranking_task import RankingTask
from .rating_task import RatingTask
from .run_folder import RunFolder
from .run_record import RunRecord, read_record

TASKS = {
    name: RankingTask if issubclass(config, RankingConfig) else RatingTask
    for name, config in CONFIGS.items()
}
CHECKPOINT = "checkpoint.bin"
TaskMaker = Callable[[Any, Sequence[mx.Context]], Any]  # configuration and devices to the task


@dataclass(frozen=True)
class Experiment:
    """A configuration with its task and devices.

    Parameters
    ----------
    config : RunConfig
    devices : list of Context
    task : RatingTask or RankingTask
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
    task: Any
    kernel: str
    why: str
    preload: str = "no"
    workers: Workers = field(default_factory=Workers)

    def device_names(self) -> list[str]:
        """The devices of all workers, each of which has as many as this one."""
        names, size = [str(device) for device in self.devices], self.workers.size
        if size == 1:
            return names
        return [f"worker {rank} {name}" for rank in range(size) for name in names]

    def data(self) -> dict[str, Any]:
        """What the data are; how their file was written does not matter."""
        return without_origin(self.task.about_data())

    def identity(self) -> str:
        """A digest of what the run computes; ties a checkpoint to its run."""
        options = {
            name: value
            for name, value in vars(self.config).items()
            if name
            not in ("out", "quiet", "json", "data_dir", "ratings", "train", "test", "preload")
        }
        text = json.dumps([options, self.data()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Outcome(NamedTuple):
    """A training that has come to its end.

    Parameters
    ----------
    experiment : Experiment
    net : Block
        Trained, on the devices of the experiment.
    phases : dict
        Name to the epochs of each phase.
    result : dict
        What result.json holds.
    """

    experiment: Experiment
    net: Any
    phases: dict[str, list[EpochRecord]]
    result: dict[str, Any]


def train_model(config: RunConfig, resume: Path | None = None) -> dict[str, Any] | None:
    """Read the data that `config` names, train, and write the run folder: what the commands call.

    Switches MXNet to NumPy semantics (`npx.set_np()`), and gives it and the
    sparse kernels `config.threads` CPU threads, or those that the run began with.

    Parameters
    ----------
    config : RunConfig
    resume : Path, optional
        The folder of a run with this configuration, to go on with.

    Returns
    -------
    dict
        What result.json holds, and 'run', the folder. None in every worker
        but the first, where there are several.

    Raises
    ------
    UserError
        If data, devices or folder cannot be used; nothing is written then.
    NumericalError
        If the loss is not finite; the last good parameters are kept.
    Interrupted
        If SIGINT or SIGTERM asked to stop.
    """
    trained = run_training(config, default_folder, resume=resume)
    if trained is None:
        return None

    path, result = trained.path, trained.result
    return {**result, "run": str(path)}


class Trained(NamedTuple):
    """The result of a training, its folder, and its outcome unless it was finished before."""

    path: Path | None
    result: dict[str, Any]
    outcome: Outcome | None


def run_training(
    config: RunConfig,
    folder_of: Callable[[Experiment], Path | None],
    make_task: TaskMaker | None = None,
    devices: Sequence[mx.Context] | None = None,
    resume: Path | None = None,
) -> Trained | None:
    """Train, into a folder or without one; see `train_model` for errors.

    Parameters
    ----------
    config : RunConfig
    folder_of : callable
        Where a run that begins is written; None writes nothing.
    make_task : callable, optional
        Configuration and devices to the task. By default it reads the data that
        the options name.
    devices : sequence of Context, optional
        By default those that the options name.
    resume : Path, optional
        The folder of a run to go on with.

    Returns
    -------
    Trained
        None in every worker but the first.
    """
    mx.npx.set_np()
    threads = config.threads
    if resume:
        threads = read_record(resume).threads
    start_mxnet(threads, cpus=len(devices or ()) or config.cpus or 1)

    with out_of_memory_in_one_line(), connect(config.kvstore) as workers:
        is_done = resume is not None and (resume / "result.json").exists()
        if workers.agree(is_done):
            if resume is None or workers.rank:
                return None
            return Trained(resume, finished(resume), None)

        experiment = prepare(config, workers, make_task, devices)
        if workers.rank:
            train_phases(experiment, None)
            return None

        path = resume or folder_of(experiment)
        if path is None:
            outcome = train_phases(experiment, None)
        else:
            outcome = run_in_folder(experiment, path, bool(resume))
    return Trained(path, outcome.result, outcome)


def default_folder(experiment: Experiment) -> Path:
    """The folder that the options name, else one with model, data set and time in its name."""
    config = experiment.config
    if config.out:
        return Path(config.out)

    name = f"{config.model}-{experiment.task.train.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path("runs", name)
    number = 1

    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # of a run that began in the same second
            number += 1
            path = Path("runs", f"{name}-{number}")
        except OSError:
            return path  # FolderLock says what is wrong
        else:
            return path


def finished(path: Path) -> dict[str, Any]:
    """The result of a run that needs no resuming."""
    record = read_record(path)
    result = record.finished()
    task = TASKS[record.config.model]
    try:
        task.summary(result), task.remarks(result)
    except (KeyError, TypeError, ValueError) as error:  # of an earlier version, without a seal
        raise DataError(
            f"{path / 'result.json'} is damaged or was edited ({error!r}): restore it "
            "from a copy, or delete it and go on with --resume"
        ) from error
    print(f"{path} is finished already", file=sys.stderr)
    remove_checkpoint(path)  # a kill may have left it
    return result


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint of a finished run; one that cannot be removed is no harm."""
    with suppress(OSError):
        (path / CHECKPOINT).unlink(missing_ok=True)


def run_in_folder(experiment: Experiment, path: Path, resumed: bool) -> Outcome:
    """Train in a new folder, or in the one to go on with."""
    with FolderLock(path, new=not resumed):
        remove_parts(path)  # of a process that was killed
        if resumed:
            record = read_record(path)
            check_unchanged(experiment, record)
            folder = RunFolder(path, record.digests)
        else:
            folder = begin_folder(experiment, path)
            if not experiment.config.quiet:
                print(experiment.task.train.origin, file=sys.stderr)
        outcome = train_phases(experiment, folder)
        finish_folder(outcome, folder)
    return outcome


def begin_folder(experiment: Experiment, path: Path) -> RunFolder:
    """Write what a run begins with: data and configuration. Hold the folder's lock meanwhile."""
    task = experiment.task
    kernel = {
        "chosen": experiment.kernel,
        "why": experiment.why,
        "preload": experiment.preload,
    }
    folder = RunFolder(path)
    folder.begin(experiment.config, task.about_data(), task.save, kernel, experiment.device_names())
    return folder


def finish_folder(outcome: Outcome, folder: RunFolder) -> None:
    """Write parameters, metrics, result and curve."""
    config, phases, result = outcome.experiment.config, outcome.phases, outcome.result
    last = list(phases.values())[-1]

    folder.finish(outcome.net, phases, result)
    folder.draw_curve(last, result, config.score.metric)
    remove_checkpoint(folder.path)


def write_run(outcome: Outcome, path: Path) -> None:
    """Write the run folder of a training that was done without one.

    Raises
    ------
    ConfigError
        If the folder holds files already, or cannot be written.
    """
    with FolderLock(path, new=True):
        folder = begin_folder(outcome.experiment, path)
        finish_folder(outcome, folder)


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
        make_task = TASKS[config.model]
    if devices is None:
        devices = resolve_devices(config.gpus, config.cpus)
    devices = list(devices)
    choose_kvstore(config.kvstore, devices)  # raises before any data are read
    task = make_task(config, devices)
    network = task.network("search")
    kernel, why = choose_kernel(config.kernel, network, devices)
    if config.sized_by:
        check_network(network, task.batch_shape(kernel), devices, flag(config.sized_by))
    if kernel == "sparse":
        kernels.load()  # says what is wrong with it before anything is written
    needed = task.dense_bytes() if kernel == "dense" else 0
    preload, reason = choose_preload(config.preload, needed, devices)
    if preload:
        task.batches = {**BATCHES, "dense": Resident(devices)}
    elif config.preload == "yes":
        warnings.warn(f"--preload yes: {reason}", DataWarning, stacklevel=2)
    experiment = Experiment(
        config, devices, task, kernel, why, f"{'yes' if preload else 'no'}: {reason}", workers
    )
    if workers.agree(experiment.identity()) != experiment.identity():
        raise DataError(
            f"worker {workers.rank} has other options or ratings than worker 0: give "
            "all the same, and the same files"
        )
    return experiment


def check_unchanged(experiment: Experiment, record: RunRecord) -> None:
    """Raise UserError unless data, devices and kernel are what the recorded run began with."""
    path, began = record.path, record.about
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


def train_phases(experiment: Experiment, folder: RunFolder | None) -> Outcome:
    """Search, then perhaps refit, from the last checkpoint if there is one.

    Workers but the first train along; their outcome has no result.
    """
    config, checkpoint = experiment.config, last_checkpoint(experiment, folder)
    phases = {}
    with SignalWatch(advice(experiment, folder)) as watch:
        if checkpoint.phase == "search":
            net, evaluation = run_phase(experiment, folder, checkpoint, config.epochs, watch)
            phases["search"] = checkpoint.history
            if config.second_phase:
                checkpoint = Checkpoint(
                    checkpoint.run, config.second_phase, search=checkpoint.history
                )
                if folder:
                    checkpoint.save(folder.path / CHECKPOINT)
        if checkpoint.phase != "search":
            phases["search"] = checkpoint.search
            epochs = (
                best_epoch(checkpoint.search, config.score)
                if checkpoint.phase == "refit"
                else config.epochs
            )
            net, evaluation = run_phase(experiment, folder, checkpoint, epochs, watch)
            phases[checkpoint.phase] = checkpoint.history
    result: dict[str, Any] = {}
    if experiment.workers.rank == 0:
        result = describe(experiment, phases, evaluation.report(net))
    return Outcome(experiment, net, phases, result)


def last_checkpoint(experiment: Experiment, folder: RunFolder | None) -> Checkpoint:
    """What to go on from; worker 0 reads the file for all."""
    path = folder.path / CHECKPOINT if folder else Path(CHECKPOINT)
    identity, workers = experiment.identity(), experiment.workers
    if not workers.agree(folder is not None and path.exists()):
        return Checkpoint(identity)
    content = workers.broadcast(path.read_bytes() if folder else b"")
    return Checkpoint.parse(content, path, identity)


def advice(experiment: Experiment, folder: RunFolder | None) -> str:
    """How to go on after a signal."""
    if experiment.workers.rank:
        return "worker 0 says how to go on"
    if folder is None:
        return "nothing was kept: give `out` a folder, and a training can be resumed"
    started = ", started by d2l_autorec.launch as before" if experiment.workers.store else ""
    return f"go on with python -m d2l_autorec.run --resume {folder.path}{started}"


def run_phase(
    experiment: Experiment,
    folder: RunFolder | None,
    checkpoint: Checkpoint,
    epochs: int,
    watch: SignalWatch,
) -> tuple[Any, Any]:
    """Train one phase to its end; `checkpoint` then holds its history.

    Returns
    -------
    net : HybridBlock
        With the parameters of the best epoch where there is validation.
    evaluation : callable
        Of the test part.
    """
    config, task, workers = experiment.config, experiment.task, experiment.workers
    evaluations = task.evaluations(checkpoint.phase, experiment.kernel)
    net = make_network(experiment, checkpoint.phase)
    if hasattr(net, "fit"):
        checkpoint.history = [fit_at_once(net, task.matrix(checkpoint.phase), evaluations)]
        return net, evaluations["test"]
    trainer = make_trainer(
        net, config, experiment.devices, experiment.kernel, workers, task.weight_decay()
    )
    state = net, trainer, task.loader(checkpoint.phase, experiment.kernel)
    if checkpoint.arrays:
        restore(*state, checkpoint.arrays)
        if workers.asynchronous and workers.rank == 0:
            warnings.warn(
                "resumed with parameters only: the optimizer's moments were the "
                "servers', and start anew",
                DataWarning,
                stacklevel=2,
            )
    workers.begin(trainer)
    if should_stop(checkpoint.history, config.patience, config.score):
        epochs = len(checkpoint.history)
    label = checkpoint.phase if config.second_phase else ""
    with Bar(
        epochs,
        config.quiet or config.json or workers.rank > 0,
        len(checkpoint.history),
        label,
        config.score.metric,
    ) as bar:
        recorder = Recorder(config, folder, checkpoint, state, bar, leads=workers.rank == 0)
        train_epochs(experiment, recorder, evaluations, epochs, watch)
    if checkpoint.best:
        set_parameters(net, checkpoint.best)
    return net, evaluations["test"]


def train_epochs(
    experiment: Experiment,
    recorder: "Recorder",
    evaluations: dict[str, Any],
    epochs: int,
    watch: SignalWatch,
) -> None:
    """`fit`, with what was reached kept whenever it ends early."""
    net, trainer, loader = recorder.state
    config, checkpoint = experiment.config, recorder.checkpoint
    loss = experiment.task.loss(checkpoint.phase, trainer, checkpoint.search)
    try:
        fit(
            net,
            loader,
            loss,
            trainer,
            epochs,
            experiment.devices,
            Measurement(recorder, evaluations, loss, epochs, experiment.workers),
            recorder,
            config.seed,
            checkpoint.history,
            recorder.learning_rate,
            watch.check,
            experiment.workers,
        )
    except NumericalError as error:
        raise recorder.keep_last_good(error) from error
    except Interrupted:
        recorder.save()
        raise


class Measurement:
    """What is measured after an epoch: beta, and every `--eval-every` epochs the metrics.

    Worker 0 measures, and the others hear of it, so that all decide alike.
    """

    def __init__(
        self,
        recorder: "Recorder",
        evaluations: dict[str, Any],
        loss: Any,
        epochs: int,
        workers: Workers,
    ) -> None:
        self._recorder, self._evaluations, self._loss = recorder, evaluations, loss
        self._epochs, self._workers = epochs, workers

    def __call__(self) -> dict[str, Any]:
        net, epoch = self._recorder.state[0], len(self._recorder.checkpoint.history) + 1
        beta = {"beta": self._loss.beta()} if getattr(self._loss, "beta", None) else {}
        if epoch % self._recorder.config.eval_every and epoch < self._epochs:
            return beta
        found = (
            {}
            if self._workers.rank
            else {name: metrics(net) for name, metrics in self._evaluations.items()}
        )
        return {**beta, **self._workers.agree(found)}


def make_network(experiment: Experiment, phase: str) -> Any:
    """The network of a phase on all devices, its initial values seeded."""
    config, task = experiment.config, experiment.task
    mx.random.seed(mxnet_seed(config.seed, Purpose.INITIAL_VALUES))
    net = task.network(phase)
    if hasattr(net, "initialize"):
        net.initialize(init=task.initializer(), ctx=experiment.devices)
        net.hybridize(config.hybridize)
    return net


def fit_at_once(net: Any, train: sparse.csr_matrix, evaluations: dict[str, Any]) -> EpochRecord:
    """The one epoch of a model that is computed in closed form."""
    start = time.perf_counter()
    net.fit(train)
    seconds = time.perf_counter() - start

    return EpochRecord(
        1,
        None,
        None,
        train.nnz,
        seconds,
        **{name: metrics(net) for name, metrics in evaluations.items()},
    )


class Recorder:
    """What happens after each epoch: best parameters, checkpoint, metrics.csv, progress.

    Without a folder nothing is written. A worker that does not lead (all but the
    first) keeps nothing: the history alone decides when it stops.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder | None,
        checkpoint: Checkpoint,
        state: tuple[Any, Any, Any],
        bar: Bar,
        leads: bool = True,
    ) -> None:
        self.config, self._folder, self._bar, self._leads = config, folder, bar, leads
        self.checkpoint, self.state = checkpoint, state

    def __call__(self, history: list[EpochRecord]) -> bool:
        """Record the last epoch; True where training should stop.

        Raises
        ------
        NumericalError
            If a metric is not finite: what was recorded before stays.
        """
        check_finite(history[-1])
        checkpoint, done = self.checkpoint, len(history)
        checkpoint.history = history
        stop = should_stop(history, self.config.patience, self.config.score)
        if not self._leads:
            return stop

        if best_epoch(history, self.config.score) == done:
            checkpoint.best = parameters_of(self.state[0])
        if self._folder is not None:
            checkpoint.arrays = capture(*self.state)
        if stop or done % self.config.checkpoint_every == 0:
            self.save()
        self._bar.update(history)
        return stop

    def save(self) -> None:
        """Write the state after the last epoch to the folder."""
        if self._folder is None:
            return
        checkpoint = self.checkpoint
        checkpoint.save(self._folder.path / CHECKPOINT)
        phases = {"search": checkpoint.search} if checkpoint.search else {}
        self._folder.write_metrics({**phases, checkpoint.phase: checkpoint.history})

    def learning_rate(self, history: list[EpochRecord]) -> float:
        """The next epoch's; a refit goes through the rates of the search again."""
        if self.checkpoint.phase == "refit":
            return self.checkpoint.search[len(history)].lr
        return learning_rate(self.config, history)

    def keep_last_good(self, error: NumericalError) -> NumericalError:
        """Write model.params from the last checkpoint; the error with that added."""
        arrays, net = self.checkpoint.arrays, self.state[0]
        if self._folder is None:
            return error
        if not arrays:
            return NumericalError(f"{error}; no epoch was finished, so no parameters are kept")
        set_parameters(net, arrays)
        self._folder.write_parameters(net)
        return NumericalError(
            f"{error}; the parameters of the last checkpoint are kept in "
            f"{self._folder.path / 'model.params'}"
        )


def check_finite(record: EpochRecord) -> None:
    """Raise NumericalError if the last step of an epoch has spoilt the network."""
    for part, metrics in (("validation", record.validation), ("test", record.test)):
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NumericalError(
                    f"the {part} {label_of(name)} is not finite after epoch "
                    f"{record.epoch}: try --lr ten times lower"
                )


def describe(
    experiment: Experiment, phases: dict[str, list[EpochRecord]], report: dict[str, Any]
) -> dict[str, Any]:
    """What result.json holds."""
    config, search, history = experiment.config, phases["search"], list(phases.values())[-1]
    deciding = history if history[-1].validation else search
    best, metric = best_epoch(deciding, config.score), config.score.metric
    seconds = sum(record.seconds for h in phases.values() for record in h)
    ratings = sum(record.ratings for h in phases.values() for record in h)
    served = history[(best_epoch(history, config.score) or len(history)) - 1]
    train_rmse = {} if served.train_rmse is None else {"train_rmse": served.train_rmse}
    return {
        "model": config.model,
        "preset": config.preset,
        "dataset": experiment.task.train.name,
        **experiment.task.describe(),
        "kernel": experiment.kernel,
        "devices": experiment.device_names(),
        "epochs": len(history),
        "best_epoch": best,
        f"validation_{metric}": deciding[best - 1].validation[metric] if best else None,
        **(
            {}
            if deciding[-1].beta is None
            else {"best_beta": search[best_epoch(search, config.score) - 1].beta}
        ),
        "train_loss": served.train_loss,
        **train_rmse,
        **report,
        "train_seconds": seconds,
        "ratings_per_second": ratings / max(seconds, 1e-9),
    }


def tell(config: RunConfig, result: dict[str, Any]) -> None:
    """Print the result of `train_model`, in words or as JSON; what else is to be said on stderr."""
    task, metric = TASKS[config.model], config.score.metric
    print(json.dumps(result) if config.json else task.summary(result))
    if result["best_epoch"] and result["train_loss"] is not None:
        print(
            f"best epoch {result['best_epoch']}, validation {label_of(metric)} "
            f"{result[f'validation_{metric}']:.4f}; parameters "
            + (
                "refitted on all training ratings"
                if config.second_phase == "refit"
                else "of that epoch"
            ),
            file=sys.stderr,
        )
    for remark in task.remarks(result):
        print(remark, file=sys.stderr)
    print(f"run folder: {result['run']}", file=sys.stderr)


def make_trainer(
    net: Any,
    config: RunConfig,
    devices: list[mx.Context],
    kernel: str,
    workers: Workers | None = None,
    weight_decay: float | None = None,
) -> gluon.Trainer:
    """A gluon.Trainer with the optimizer that `config` names; `weight_decay` for `config.wd`.

    Adam is fused with the sparse gradients on a single device; several sum
    their gradients first, and so need them written out.
    """
    store = workers.store if workers else None
    updates_there = bool(workers and workers.asynchronous)
    options = {
        "learning_rate": config.lr,
        "wd": config.wd if weight_decay is None else weight_decay,
    }
    if config.decay == "weights":
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.wd_mult = 0.0 if "bias" in name else 1.0
    sparse = net.sparse_weights() if kernel == "sparse" else []
    fused = (
        config.optimizer == "adam"
        and len(devices) == 1
        and not store
        and len(set(sparse)) == len(sparse)
    )
    if sparse and fused:  # tied weights get the sum of two gradients, so they need it written out
        return gluon.Trainer(net.collect_params(), FusedAdam(sparse, **options))
    trainer = gluon.Trainer(
        net.collect_params(),
        config.optimizer,
        options,
        store or choose_kvstore(config.kvstore, devices),
        update_on_kvstore=updates_there,
    )  # else a checkpoint has its state
    if updates_there:  # the servers' copy of the optimizer has no parameters to ask
        trainer.optimizer.wd_mult = {k: p.wd_mult for k, p in enumerate(trainer._params)}
    return trainer

"""One run from its options to its folder: data, network, phases of training, result."""

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import mxnet as mx
from mxnet import gluon

from .checkpoint import Checkpoint, capture, parameters_of, restore, set_parameters
from .config import CONFIGS, RankingConfig, RunConfig
from .control import best_epoch, learning_rate, should_stop
from .devices import resolve_devices
from .errors import ConfigError, DataError, Interrupted, NumericalError
from .files import FolderLock, read_json
from .interrupt import SignalWatch
from .progress import Bar, label_of
from .ranking_task import RankingTask
from .rating_task import RatingTask
from .run_folder import RunFolder
from .sparse import FusedAdam, choose_kernel
from .train import EpochRecord, fit

TASKS = {name: RankingTask if issubclass(config, RankingConfig) else RatingTask
         for name, config in CONFIGS.items()}
CHECKPOINT = "checkpoint.bin"


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
    """

    config: RunConfig
    devices: List[mx.Context]
    task: Any
    kernel: str
    why: str

    def identity(self) -> str:
        """A digest of what the run computes; ties a checkpoint to its run."""
        options = {name: value for name, value in vars(self.config).items()
                   if name not in ("out", "quiet", "json", "data_dir", "ratings", "train", "test")}
        text = json.dumps([options, self.task.about_data()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def train_model(config: RunConfig, resume: Optional[Path] = None) -> Dict[str, Any]:
    """Train as `config` says and write the run folder.

    Switches MXNet to NumPy semantics (`npx.set_np()`). CPU threads are the
    command's to set, before MXNet is imported.

    Parameters
    ----------
    config : RunConfig
    resume : Path, optional
        The folder of a run with this configuration, to go on with.

    Returns
    -------
    dict
        What result.json holds, and 'run', the folder.

    Raises
    ------
    UserError
        If data, devices or folder cannot be used; nothing is written then.
    NumericalError
        If the loss is not finite; the last good parameters are kept.
    Interrupted
        If SIGINT or SIGTERM asked to stop.
    """
    mx.npx.set_np()
    if resume and (resume / "result.json").exists():
        result = read_json(resume / "result.json")
        print(f"{resume} is finished already", file=sys.stderr)
        (resume / CHECKPOINT).unlink(missing_ok=True)  # a kill may have left it
        return {**result, "run": str(resume)}
    experiment = prepare(config)
    path = resume or Path(config.out or f"runs/{config.model}-{experiment.task.train.name}-"
                          f"{time.strftime('%Y%m%d-%H%M%S')}")
    with FolderLock(path):
        folder = RunFolder(path)
        for unfinished in path.glob(".part-*"):  # of a process that was killed
            unfinished.unlink()
        if resume:
            check_unchanged(experiment, path)
        else:
            folder.begin(config, experiment.task.about_data(), experiment.task.train,
                         {"chosen": experiment.kernel, "why": experiment.why}, experiment.devices)
        result = train_phases(experiment, folder)
    return {**result, "run": str(path)}


def prepare(config: RunConfig) -> Experiment:
    """Devices, data and kernel of a configuration; see `train_model` for errors."""
    devices = resolve_devices(config.gpus, config.cpus)
    task = TASKS[config.model](config, devices)
    kernel, why = choose_kernel(config.kernel, task.network("search"), devices)
    return Experiment(config, devices, task, kernel, why)


def check_unchanged(experiment: Experiment, path: Path) -> None:
    """Raise UserError unless data, devices and kernel are what the run in `path` began with."""
    began = read_json(path / "config.json")
    if began["data"] != experiment.task.about_data():
        raise DataError(f"the ratings are not those that the run in {path} began with: bring "
                        "them back, or begin a new run")
    now = {"devices": [str(device) for device in experiment.devices],
           "kernel": experiment.kernel}
    before = {"devices": began["devices"], "kernel": began["kernel"]["chosen"]}
    if now != before:
        raise ConfigError(f"the run in {path} began with {before}, and here there are {now}: "
                          "resume it on a machine like the first, or begin a new run")


def train_phases(experiment: Experiment, folder: RunFolder) -> Dict[str, Any]:
    """Search, then perhaps refit, from the last checkpoint if there is one; write the result."""
    path, config = folder.path / CHECKPOINT, experiment.config
    identity = experiment.identity()
    checkpoint = Checkpoint.load(path, identity) if path.exists() else Checkpoint(identity)
    phases = {}
    with SignalWatch(f"go on with python -m d2l_autorec.run --resume {folder.path}") as watch:
        if checkpoint.phase == "search":
            net, evaluation = run_phase(experiment, folder, checkpoint, config.epochs, watch)
            phases["search"] = checkpoint.history
            if config.second_phase:
                checkpoint = Checkpoint(identity, config.second_phase, search=checkpoint.history)
                checkpoint.save(path)
        if checkpoint.phase != "search":
            phases["search"] = checkpoint.search
            epochs = (best_epoch(checkpoint.search, config.score)
                      if checkpoint.phase == "refit" else config.epochs)
            net, evaluation = run_phase(experiment, folder, checkpoint, epochs, watch)
            phases[checkpoint.phase] = checkpoint.history
    result = describe(experiment, phases, evaluation.report(net))
    folder.finish(net, phases, result, config.score.metric)
    path.unlink(missing_ok=True)
    return result


def run_phase(experiment: Experiment, folder: RunFolder, checkpoint: Checkpoint, epochs: int,
              watch: SignalWatch) -> Tuple[Any, Any]:
    """Train one phase to its end; `checkpoint` then holds its history.

    Returns
    -------
    net : HybridBlock
        With the parameters of the best epoch where there is validation.
    evaluation : callable
        Of the test part.
    """
    config, task = experiment.config, experiment.task
    evaluations = task.evaluations(checkpoint.phase, experiment.kernel)
    net = make_network(experiment, checkpoint.phase)
    if hasattr(net, "fit"):
        checkpoint.history = [fit_at_once(net, task.part(checkpoint.phase), evaluations)]
        return net, evaluations["test"]
    trainer = make_trainer(net, config, experiment.devices, experiment.kernel)
    state = net, trainer, task.loader(checkpoint.phase, experiment.kernel)
    if checkpoint.arrays:
        restore(*state, checkpoint.arrays)
    if should_stop(checkpoint.history, config.patience, config.score):
        epochs = len(checkpoint.history)
    label = checkpoint.phase if config.second_phase else ""
    with Bar(epochs, config.quiet or config.json, len(checkpoint.history), label,
             config.score.metric) as bar:
        train_epochs(experiment, Recorder(config, folder, checkpoint, state, bar), evaluations,
                     epochs, watch)
    if checkpoint.best:
        set_parameters(net, checkpoint.best)
    return net, evaluations["test"]


def train_epochs(experiment: Experiment, recorder: "Recorder", evaluations: Dict[str, Any],
                 epochs: int, watch: SignalWatch) -> None:
    """`fit`, with what was reached kept whenever it ends early."""
    net, trainer, loader = recorder.state
    config, checkpoint = experiment.config, recorder.checkpoint
    loss = experiment.task.loss(checkpoint.phase, trainer, checkpoint.search)
    try:
        fit(net, loader, loss, trainer, epochs, experiment.devices,
            Measurement(recorder, evaluations, loss, epochs), recorder, config.seed,
            checkpoint.history, recorder.learning_rate, watch.check)
    except NumericalError as error:
        raise recorder.keep_last_good(error) from error
    except Interrupted:
        recorder.save()
        raise


class Measurement:
    """What is measured after an epoch: beta, and every `--eval-every` epochs the metrics."""

    def __init__(self, recorder: "Recorder", evaluations: Dict[str, Any], loss: Any, epochs: int
                 ) -> None:
        self._recorder, self._evaluations, self._loss = recorder, evaluations, loss
        self._epochs = epochs

    def __call__(self) -> Dict[str, Any]:
        net, epoch = self._recorder.state[0], len(self._recorder.checkpoint.history) + 1
        beta = {"beta": self._loss.beta()} if getattr(self._loss, "beta", None) else {}
        if epoch % self._recorder.config.eval_every and epoch < self._epochs:
            return beta
        return {**beta, **{name: metrics(net) for name, metrics in self._evaluations.items()}}


def make_network(experiment: Experiment, phase: str) -> Any:
    """The network of a phase on all devices, its initial values seeded."""
    config, task = experiment.config, experiment.task
    mx.random.seed(config.seed)
    net = task.network(phase)
    if hasattr(net, "initialize"):
        net.initialize(init=task.initializer(), ctx=experiment.devices)
        net.hybridize(config.hybridize)
    return net


def fit_at_once(net: Any, part: Any, evaluations: Dict[str, Any]) -> EpochRecord:
    """The one epoch of a model that is computed in closed form."""
    start = time.perf_counter()
    net.fit(part)
    seconds = time.perf_counter() - start
    size = part.nnz if hasattr(part, "nnz") else len(part)
    return EpochRecord(1, None, None, size, seconds,
                       **{name: metrics(net) for name, metrics in evaluations.items()})


class Recorder:
    """What happens after each epoch: best parameters, checkpoint, metrics.csv, progress."""

    def __init__(self, config: RunConfig, folder: RunFolder, checkpoint: Checkpoint,
                 state: Tuple[Any, Any, Any], bar: Bar) -> None:
        self.config, self._folder, self._bar = config, folder, bar
        self.checkpoint, self.state = checkpoint, state

    def __call__(self, history: List[EpochRecord]) -> bool:
        """Record the last epoch; True where training should stop."""
        checkpoint, done = self.checkpoint, len(history)
        checkpoint.history = history
        if best_epoch(history, self.config.score) == done:
            checkpoint.best = parameters_of(self.state[0])
        checkpoint.arrays = capture(*self.state)
        stop = should_stop(history, self.config.patience, self.config.score)
        if stop or done % self.config.checkpoint_every == 0:
            self.save()
        self._bar.update(history)
        return stop

    def save(self) -> None:
        """Write the state after the last epoch to the folder."""
        checkpoint = self.checkpoint
        checkpoint.save(self._folder.path / CHECKPOINT)
        phases = {"search": checkpoint.search} if checkpoint.search else {}
        self._folder.write_metrics({**phases, checkpoint.phase: checkpoint.history})

    def learning_rate(self, history: List[EpochRecord]) -> float:
        """The next epoch's; a refit goes through the rates of the search again."""
        if self.checkpoint.phase == "refit":
            return self.checkpoint.search[len(history)].lr
        return learning_rate(self.config, history)

    def keep_last_good(self, error: NumericalError) -> NumericalError:
        """Write model.params from the last checkpoint; the error with that added."""
        arrays, net = self.checkpoint.arrays, self.state[0]
        if not arrays:
            return NumericalError(f"{error}; no epoch was finished, so no parameters are kept")
        set_parameters(net, arrays)
        self._folder.write_with("model.params", net.save_parameters)
        return NumericalError(f"{error}; the parameters of the last checkpoint are kept in "
                              f"{self._folder.path / 'model.params'}")


def describe(experiment: Experiment, phases: Dict[str, List[EpochRecord]],
             report: Dict[str, Any]) -> Dict[str, Any]:
    """What result.json holds."""
    config, search, history = experiment.config, phases["search"], list(phases.values())[-1]
    deciding = history if history[-1].validation else search
    best, metric = best_epoch(deciding, config.score), config.score.metric
    seconds = sum(record.seconds for h in phases.values() for record in h)
    ratings = sum(record.ratings for h in phases.values() for record in h)
    train_rmse = {} if history[-1].train_rmse is None else {"train_rmse": history[-1].train_rmse}
    return {"model": config.model, "preset": config.preset,
            "dataset": experiment.task.train.name, **experiment.task.describe(),
            "kernel": experiment.kernel,
            "devices": [str(device) for device in experiment.devices],
            "epochs": len(history), "best_epoch": best,
            f"validation_{metric}": deciding[best - 1].validation[metric] if best else None,
            **({} if deciding[-1].beta is None else
               {"best_beta": search[best_epoch(search, config.score) - 1].beta}),
            "train_loss": history[-1].train_loss, **train_rmse, **report,
            "train_seconds": seconds, "ratings_per_second": ratings / max(seconds, 1e-9)}


def tell(config: RunConfig, result: Dict[str, Any]) -> None:
    """Print the result of `train_model`, in the task's words or as JSON; what else is to be said on stderr."""
    task, metric = TASKS[config.model], config.score.metric
    print(json.dumps(result) if config.json else task.summary(result))
    if result["best_epoch"] and result["train_loss"] is not None:
        print(f"best epoch {result['best_epoch']}, validation {label_of(metric)} "
              f"{result[f'validation_{metric}']:.4f}; parameters "
              + ("refitted on all training ratings" if config.second_phase == "refit"
                 else "of that epoch"),
              file=sys.stderr)
    for remark in task.remarks(result):
        print(remark, file=sys.stderr)
    print(f"run folder: {result['run']}", file=sys.stderr)


def make_trainer(net: Any, config: RunConfig, devices: List[mx.Context], kernel: str
                 ) -> gluon.Trainer:
    """A gluon.Trainer with the optimizer that `config` names.

    Adam is fused with the sparse gradients on a single device; several sum
    their gradients first, and so need them written out.
    """
    options = {"learning_rate": config.lr, "wd": config.wd}
    if config.decay == "weights":
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.wd_mult = 0.0 if "bias" in name else 1.0
    sparse = net.sparse_weights() if kernel == "sparse" else []
    fused = config.optimizer == "adam" and len(devices) == 1 and len(set(sparse)) == len(sparse)
    if sparse and fused:  # tied weights get the sum of two gradients, so they need it written out
        return gluon.Trainer(net.collect_params(), FusedAdam(sparse, **options))
    return gluon.Trainer(net.collect_params(), config.optimizer, options,
                         update_on_kvstore=False)  # a checkpoint reads its state

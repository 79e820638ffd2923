"""A training from its first phase to its outcome: search, and perhaps a second phase.

    experiment -> network, trainer, loader -> fit, with callbacks -> history and network

What was reached is kept whenever a phase ends early.
"""

import io
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
from mxnet import gluon
from scipy import sparse

from ..models.base import Model
from ..support.errors import DataWarning, NumericalError
from ..support.seeds import Purpose, mxnet_seed
from ..support.signals import SignalWatch
from ..support.terminal import step
from ..training.callbacks import (
    Callback,
    EarlyStopping,
    Evaluation,
    FiniteMetrics,
    LearningRate,
    Progress,
    Signals,
    StepSeed,
)
from ..training.checkpoint import (
    Arrays,
    Checkpoint,
    forget_state,
    parameters_of,
    restore,
    set_parameters,
)
from ..training.devices import choose_kvstore
from ..training.history import EpochRecord, best_epoch, should_stop
from ..training.loop import ALONE, Training, fit
from ..training.parameter_server import Workers
from ..training.progress import Bar
from ..training.rprop import RProp  # noqa: F401  # registers it by its name
from ..training.schedules import learning_rate
from .config import REFITTED, RunConfig, stage_of
from .experiment import Experiment
from .keeper import CHECKPOINT, Keeper
from .kernel_choice import fused_steps
from .result import describe
from .run_folder import RunFolder


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


def train_phases(experiment: Experiment, folder: RunFolder | None) -> Outcome:
    """Search, then perhaps refit, from the last checkpoint if there is one.

    Workers but the first train along; their outcome has no result.
    """
    checkpoint = last_checkpoint(experiment, folder)
    phases = experiment.config.phases

    with SignalWatch(advice(experiment, folder)) as watch:
        net, test = run_phase(experiment, folder, checkpoint, watch)

        for phase in phases[phases.index(checkpoint.phase) + 1 :]:
            checkpoint = checkpoint.next(phase, _left_to(net, checkpoint))
            if folder:
                checkpoint.save(folder.path / CHECKPOINT)
            net, test = run_phase(experiment, folder, checkpoint, watch)

    result: dict[str, Any] = {}
    if experiment.workers.rank == 0:
        step("measuring and writing the result")
        report = {}
        if test is not None:
            report = {**test.report(net), **experiment.task.baseline(test)}
        result = describe(experiment, checkpoint.phases, report)
    return Outcome(experiment, net, checkpoint.phases, result)


def _left_to(net: Model, before: Checkpoint) -> Arrays:
    """The parameters with which the next phase begins; none where it begins anew."""
    if not stage_of(before.phase):
        return {}
    return {**before.start, **parameters_of(net)}


def _begun(experiment: Experiment, checkpoint: Checkpoint) -> Model:
    """The network of a phase, with what the phases before it leave to it."""
    net = make_network(experiment, checkpoint.phase)
    if checkpoint.start:
        set_parameters(net, {**parameters_of(net), **checkpoint.start})
    return net


def _epochs_of(checkpoint: Checkpoint, experiment: Experiment) -> int:
    """How long a phase trains: a refit as long as the search took to its best epoch."""
    first = _repeated(checkpoint)
    if first is None:
        return experiment.task.epochs_of(checkpoint.phase)
    return best_epoch(first, experiment.config.score) or len(first)


def _repeated(checkpoint: Checkpoint) -> list[EpochRecord] | None:
    """The epochs of the phase that a phase of a refit repeats; None of another."""
    phase = checkpoint.phase
    if phase == "refit":
        return checkpoint.done["search"]
    if phase.startswith(REFITTED):
        return checkpoint.done[phase.removeprefix(REFITTED)]
    return None


def last_checkpoint(experiment: Experiment, folder: RunFolder | None) -> Checkpoint:
    """What to go on from; worker 0 reads the file for all."""
    identity = experiment.identity()
    workers = experiment.workers

    path = Path(CHECKPOINT)
    if folder:
        path = folder.path / CHECKPOINT
    if not workers.agree(folder is not None and path.exists()):
        return Checkpoint(identity, experiment.config.phases[0])

    if workers.size == 1:
        with open(path, "rb") as file:
            return Checkpoint.read(file, path, identity)

    content = b""
    if folder:
        content = path.read_bytes()
    return Checkpoint.read(io.BytesIO(workers.broadcast(content)), path, identity)


def advice(experiment: Experiment, folder: RunFolder | None) -> str:
    """How to go on after a signal."""
    if experiment.workers.rank:
        return "worker 0 says how to go on"
    if folder is None:
        return "nothing was kept: give `out` a folder, and a training can be resumed"

    text = f"go on with `train_model(resume={folder.path})`"
    if experiment.workers.store:
        text += ", started by d2l_autorec.launch as before"
    return text


def run_phase(
    experiment: Experiment,
    folder: RunFolder | None,
    checkpoint: Checkpoint,
    watch: SignalWatch,
) -> tuple[Model, Any]:
    """Train one phase to its end; `checkpoint` then holds its history.

    Returns
    -------
    net : Model
        With the parameters of the best epoch where there is validation.
    test : RatingEvaluation, RankingEvaluation or None
        Of the phase, where there is a test part.
    """
    task, phase = experiment.task, checkpoint.phase
    measures = dict(task.evaluations(phase, experiment.kernel))
    net = _begun(experiment, checkpoint)

    if net.is_closed_form:
        checkpoint.history = [fit_at_once(net, task.matrix(phase), measures)]
    else:
        _train_to_end(experiment, folder, checkpoint, net, measures, watch)
    return net, measures.get("test")


def _train_to_end(
    experiment: Experiment,
    folder: RunFolder | None,
    checkpoint: Checkpoint,
    net: Any,
    measures: dict[str, Any],
    watch: SignalWatch,
) -> None:
    """Train the network of a phase, and give it the parameters that are kept."""
    training = make_training(experiment, checkpoint, net)
    if stage_of(checkpoint.phase) > 1:  # it predicts no ratings
        measures = {}

    epochs = _epochs_of(checkpoint, experiment)
    if should_stop(training.history, experiment.config.patience, experiment.config.score):
        epochs = len(training.history)

    _train_epochs(experiment, folder, checkpoint, training, measures, epochs, watch)
    forget_state(training.trainer)
    if checkpoint.best:
        set_parameters(net, checkpoint.best)


def make_training(experiment: Experiment, checkpoint: Checkpoint, net: Any) -> Training:
    """The training of a phase, as it was at its checkpoint."""
    config, task, workers = experiment.config, experiment.task, experiment.workers
    phase, kernel = checkpoint.phase, experiment.kernel

    trained, loader = task.trained(phase, net, kernel)
    decay = task.weight_decay(phase)
    trainer = make_trainer(trained, config, experiment.devices, workers, decay)
    training = Training(
        trained,
        loader,
        task.loss(phase, trainer, checkpoint.done.get("search", ())),
        trainer,
        experiment.devices,
        workers,
        task.predicts_ratings,
        task.largest_error(phase),
        list(checkpoint.history),
    )
    fused = fused_steps(experiment, net)
    if fused is not None:
        training.step = fused

    if checkpoint.arrays:
        under_way = checkpoint.under_way
        restore(trained, trainer, training.loader, checkpoint.arrays, len(under_way.steps))
        checkpoint.arrays = {}

        training.steps = list(under_way.steps)
        training.rows = under_way.rows
        training.seconds = under_way.seconds
        if workers.asynchronous and workers.rank == 0:
            warnings.warn(
                "resumed with parameters only: the optimizer's moments were the "
                "servers', and start anew",
                DataWarning,
                stacklevel=2,
            )

    workers.begin(trainer)
    return training


def _train_epochs(
    experiment: Experiment,
    folder: RunFolder | None,
    checkpoint: Checkpoint,
    training: Training,
    measures: dict[str, Any],
    epochs: int,
    watch: SignalWatch,
) -> None:
    """`fit`, with what was reached kept whenever it ends early."""
    config, workers = experiment.config, experiment.workers
    keeper = Keeper(checkpoint, folder, config.score, config.checkpoint_every)
    leads = workers.rank == 0

    label = ""
    if len(config.phases) > 1:
        label = checkpoint.phase
    hidden = config.quiet or config.json or not leads

    with Bar(epochs, hidden, len(training.history), label, config.score.metric) as bar:
        callbacks = _callbacks(
            experiment, checkpoint, training, measures, epochs, Signals(watch, keeper.save_in_epoch)
        )
        if leads:  # the history alone decides when the others stop
            callbacks += [keeper, Progress(bar)]

        try:
            with watch.deferring():
                fit(training, epochs, callbacks)
        except NumericalError as error:
            if not leads:
                raise
            raise keeper.keep_last_good(training, error) from error

    checkpoint.history = training.history


def _callbacks(
    experiment: Experiment,
    checkpoint: Checkpoint,
    training: Training,
    measures: dict[str, Any],
    epochs: int,
    signals: Signals,
) -> list[Callback]:
    """What every phase is accompanied by, whether it is kept or not."""
    config, task = experiment.config, experiment.task
    return [
        StepSeed(config.seed),
        LearningRate(_rates(experiment, checkpoint)),
        signals,
        Evaluation(measures, config.eval_every, epochs, task.beta(training.loss)),
        FiniteMetrics(),
        EarlyStopping(config.patience, config.score),
        *config.own.callbacks,
    ]


def validate(
    experiment: Experiment, watch: SignalWatch, callbacks: Sequence[Callback] = ()
) -> list[EpochRecord]:
    """Train up to the search for its validation scores: nothing is tested, nothing is kept.

    Parameters
    ----------
    experiment : Experiment
    watch : SignalWatch
    callbacks : sequence of Callback
        Called last in the search; one may raise, and so end the training.
    """
    task, phases = experiment.task, experiment.config.phases
    evaluations = task.evaluations("search", experiment.kernel)
    measures = {"validation": evaluations["validation"]}

    checkpoint = Checkpoint(experiment.identity(), phases[0])
    net = _begun(experiment, checkpoint)
    for phase in phases[1 : phases.index("search") + 1]:  # after those of pretraining
        _train_to_end(experiment, None, checkpoint, net, measures, watch)
        checkpoint = checkpoint.next(phase, _left_to(net, checkpoint))
        net = _begun(experiment, checkpoint)

    if net.is_closed_form:
        return [fit_at_once(net, task.matrix("search"), measures)]

    training = make_training(experiment, checkpoint, net)
    signals = Signals(watch, _keep_nothing)
    own = _callbacks(experiment, checkpoint, training, measures, task.epochs, signals)
    with watch.deferring():
        return fit(training, task.epochs, [*own, *callbacks])


def _keep_nothing(training: Training) -> None:
    """What a signal leaves of a training that is not kept."""


def _rates(
    experiment: Experiment, checkpoint: Checkpoint
) -> Callable[[Sequence[EpochRecord]], float]:
    """The rate of each epoch; a refit goes through the rates of what it repeats again."""
    first = _repeated(checkpoint)
    epochs = experiment.task.epochs_of(checkpoint.phase)
    config = experiment.config.of_phase(checkpoint.phase)

    def rate(history: Sequence[EpochRecord]) -> float:
        if first is not None:
            return first[len(history)].lr
        return learning_rate(config, history, epochs)

    return rate


def make_network(experiment: Experiment, phase: str) -> Any:
    """The network of a phase on all devices, its initial values seeded."""
    config, task = experiment.config, experiment.task
    mx.random.seed(mxnet_seed(config.seed, Purpose.INITIAL_VALUES))
    net: Any = task.network(phase)

    if fused_steps(experiment, net) is not None:
        net.collect_params().setattr("grad_req", "null")  # before memory is taken for gradients
    if net.has_parameters:
        net.initialize(init=task.initializer(), ctx=experiment.devices)
        net.hybridize(config.hybridize)
    return net


def fit_at_once(
    net: Any, train: sparse.csr_matrix, measures: Mapping[str, Callable[[Any], dict[str, float]]]
) -> EpochRecord:
    """The one epoch of a model that is computed in closed form."""
    step("fitting in closed form")
    start = time.perf_counter()
    net.fit(train)
    seconds = time.perf_counter() - start

    metrics = {name: measure(net) for name, measure in measures.items()}
    test, validation = metrics.get("test", {}), metrics.get("validation", {})
    return EpochRecord(1, None, None, train.nnz, seconds, test, validation)


def make_trainer(
    net: Any,
    config: RunConfig,
    devices: list[mx.Context],
    workers: Workers = ALONE,
    weight_decay: float | None = None,
) -> gluon.Trainer:
    """A gluon.Trainer with the optimizer that `config` names; `weight_decay` for `config.wd`."""
    if weight_decay is None:
        weight_decay = config.wd
    options = {"learning_rate": config.lr, "wd": weight_decay}

    if config.decay == "weights":
        for name, parameter in net._collect_params_with_prefix().items():
            if "bias" in name:
                parameter.wd_mult = 0.0

    trainer = gluon.Trainer(
        net.collect_params(),
        config.optimizer,
        options,
        workers.store or choose_kvstore(config.kvstore, devices),
        update_on_kvstore=workers.asynchronous,  # else a checkpoint has the optimizer's state
    )
    if workers.asynchronous:  # the servers' copy of the optimizer has no parameters to ask
        trainer.optimizer.wd_mult = {k: p.wd_mult for k, p in enumerate(trainer._params)}
    return trainer

"""A run: a configuration with its data and devices, trained phase by phase.

    data -> network, kernel -> for each phase: fit, with callbacks -> result -> folder

What was reached is kept whenever a phase ends early.
"""

import hashlib
import io
import json
import platform
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import mxnet as mx
from mxnet import gluon
from scipy import sparse

from .. import kernels
from ..data.ratings import Ratings
from ..kernels.fused_step import RULES, load_step
from ..models.base import Model
from ..models.catalog.autorec import stage_of
from ..models.kinds import REFITTED, RunConfig
from ..models.options import computing_options
from ..models.sparse_autorec import row_model
from ..support.errors import ConfigError, DataError, DataWarning, NumericalError
from ..support.files import locked, remove_parts
from ..support.seeds import Purpose, mxnet_seed
from ..support.terminal import SignalWatch, remark, step
from ..training.callbacks import (
    Callback,
    EarlyStopping,
    Evaluation,
    FiniteMetrics,
    LearningRate,
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
from ..training.devices import choose_kvstore, resolve_devices
from ..training.fused import FusedSteps
from ..training.history import EpochRecord, best_epoch, learning_rate, should_stop
from ..training.loaders import BATCHES, PairRows
from ..training.loop import ALONE, Training, fit
from ..training.parameter_server import Workers
from ..training.progress import Bar
from .checkpoints import CHECKPOINT, FORMER_CHECKPOINT, Checkpointing, write_parameters
from .figures import save_curve, warning_of_figure
from .folder import RunFolder
from .network_size import Demand, check_network
from .options import check_same_options

EXPLODED = 1000.0  # times the error of a network that knows nothing
PACKAGES = ("d2l", "numpy", "scipy", "numba", "pandas", "matplotlib")


class Experiment(ABC):
    """A run of a model on its data: what `python -m d2l_autorec.run` does.

    Parameters
    ----------
    config : RunConfig
    data : RatingParts or Clicks, optional
        Data that are split. By default the data that the options name are read and split.
    devices : sequence of Context, optional
        By default those that the options name.
    workers : Workers
        The processes of the run. Worker 0 evaluates, and has the folder.

    Attributes
    ----------
    train_data : Ratings or Clicks
        What is trained on, with the validation part.
    num_ratings : int
        Of training and evaluation.
    matrix_shape : (int, int)
        Rows and columns of what a network reads.
    initializer : mxnet.init.Initializer
        Of parameters that have none of their own.
    kernel, why : str
        Dense or sparse arithmetic, and the reason.
    batchify : callable
        What makes batches of a matrix, or of pairs.
    folder : RunFolder or None
        The folder of a run that has one.
    net : Model
        The network of the phase; after training that of the last, with the parameters kept.
    result : dict
        What result.json holds.

    Raises
    ------
    UserError
        If data or devices cannot be used, or do not fit the options; a worker has other options
        or data than worker 0; or the network does not fit into memory.
    """

    config: Any  # of the task
    train_data: Any
    num_ratings: int
    matrix_shape: tuple[int, int]
    initializer = mx.init.Xavier()
    net: Any
    _watch: SignalWatch
    _measured: tuple[str, ...] = ("test", "validation")  # parts
    _of_search: Sequence[Callback] = ()  # callbacks

    def __init__(
        self,
        config: RunConfig,
        data: Any = None,
        devices: Sequence[mx.Context] | None = None,
        workers: Workers = ALONE,
    ) -> None:
        self.config = config
        self.devices = list(devices or resolve_devices(config.gpus, config.cpus))
        self.workers = workers
        self.folder: RunFolder | None = None
        self.result: dict[str, Any] = {}
        choose_kvstore(config.kvstore, self.devices)  # raises before any data are read

        step("reading the data")
        self._take(data)
        config.check_data(self.train_data, len(self.devices))

        network = self.network("search")
        self.kernel, self.why = choose_kernel(config.kernel, network, self.devices)
        self.batchify = PairRows if config.reads == "pairs" else BATCHES[self.kernel]
        self._check_network(network)

        self.checkpoint = Checkpoint(self.identity(), config.phases[0])
        if workers.agree(self.checkpoint.run) != self.checkpoint.run:
            raise DataError(
                f"worker {workers.rank} has other options or ratings than worker 0: give "
                "all the same, and the same files"
            )

    # what the data are

    @abstractmethod
    def _take(self, data: Any) -> None:
        """Set `train_data` and the other parts, read and split if there are no data."""

    @abstractmethod
    def about_data(self) -> dict[str, Any]:
        """Return what config.json says of the data, except how they were understood."""

    @abstractmethod
    def save_data(self, path: Path) -> None:
        """Write the data that are known once training is over."""

    @abstractmethod
    def served(self) -> tuple[Ratings, Ratings]:
        """Return the known interactions, and those of them that the trained network is given."""

    def part(self, phase: str) -> Any:
        """Return the data that a phase trains on."""
        return self.train_data

    @abstractmethod
    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Return the users x items matrix that a closed-form model is fitted to."""

    # how they are learned

    @abstractmethod
    def loss(self, phase: str, trainer: gluon.Trainer) -> Callable:
        """Return the loss function: (prediction, label) to one loss a row."""

    @abstractmethod
    def largest_error(self, phase: str) -> float:
        """Return the error of a rating, or loss of a click, above which training has diverged.

        It is `EXPLODED` times that of a network that knows nothing: 0 in place of the highest
        rating; one of so many items. What predicts worse says nothing of the data.
        """

    @abstractmethod
    def trained(self, phase: str, net: Any) -> tuple[Any, gluon.data.DataLoader]:
        """Return the part of the network that a phase trains, and its shuffled batches."""

    # how well

    @abstractmethod
    def evaluations(self, phase: str) -> Mapping[str, Any]:
        """Return the evaluations of a phase by part: 'test' and perhaps 'validation'."""

    @abstractmethod
    def baseline(self, test: Any) -> dict[str, Any]:
        """Return what result.json says of the baseline."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what result.json says of the data."""

    # the network

    def network(self, phase: str) -> Model:
        """Return the uninitialised network of a phase."""
        return self.config.of_phase(phase).build(self.part(phase))

    def fused_steps(self, network: Model) -> FusedSteps | None:
        """Return the compiled training step; None if it does not cover the network."""
        loss = self.config.fused_loss()
        alone = len(self.devices) == 1 and not self.workers.store
        known = self.config.optimizer in RULES
        if loss is None or not alone or not known or self.kernel != "sparse":
            return None

        layer = row_model(network).one_hidden()
        return None if layer is None else FusedSteps(layer, loss)

    def _check_network(self, network: Model) -> None:
        """Raise UserError, before anything is written, if the network cannot be trained here."""
        config = self.config
        fused = self.fused_steps(network) is not None
        if self.kernel == "sparse":
            kernels.load()  # says what is wrong with it
        if config.sized_by:
            rows, columns = self.matrix_shape
            size = getattr(config, config.sized_by)  # numbers of a row, beside its predictions
            numbers = sum(size) if isinstance(size, tuple) else size
            if self.kernel == "dense" and config.reads == "rows":
                numbers += columns
            shape = config.rows_of_a_step(rows), numbers
            demand = Demand(shape, self.num_ratings, not fused, config.validated)
            check_network(network, demand, self.devices, config.sized_by)
        if fused:
            load_step()

    # what tells it from others

    def device_names(self) -> list[str]:
        """Return the devices of all workers; each has as many as this one."""
        names, size = [str(device) for device in self.devices], self.workers.size
        if size == 1:
            return names
        return [f"worker {rank} {name}" for rank in range(size) for name in names]

    def identity(self) -> str:
        """Return a digest of what the run computes; it ties a checkpoint to its run."""
        text = json.dumps([computing_options(self.config), self.about_data()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _same_run(self, path: Path) -> RunFolder:
        """Return a run's folder; raise UserError unless options, data and devices are the same."""
        folder = RunFolder.read(path)
        began = folder.about
        check_same_options(asdict(folder.config), computing_options(self.config), path)

        if began["data"] != {**self.about_data(), "origin": began["data"].get("origin")}:
            raise DataError(
                f"the ratings are not those that the run in {path} began with: bring "
                "them back, or begin a new run"
            )

        now = {"devices": self.device_names(), "kernel": self.kernel}
        before = {"devices": began["devices"], "kernel": began["kernel"].get("chosen")}
        if now != before:
            raise ConfigError(
                f"the run in {path} began with {before}, and here there are {now}: "
                "resume it on a machine like the first, or begin a new run"
            )
        return folder

    # a run from its beginning to its end

    def train(self, path: Path | None = None, resumed: bool = False) -> None:
        """Train through all phases; of a run that has finished, take the result.

        Parameters
        ----------
        path : Path, optional
            A new folder, or that of a run to go on with. By default nothing is written.
        resumed : bool
            Whether it is that of a run.

        Raises
        ------
        UserError
            If the folder cannot be used, or holds another run.
        NumericalError
            If the training diverges; the last good parameters are kept.
        Interrupted
            If SIGINT or SIGTERM asked to stop.
        """
        finished = bool(path and resumed and (path / "result.json").exists())
        if self.workers.agree(finished):
            if path and not self.workers.rank:
                self.folder = self._same_run(path)
                self.result = self.folder.finished()
                print(f"{path} is finished already", file=sys.stderr)
            return
        if path is None or self.workers.rank:
            self._train_phases()
            return

        with locked(path, new=not resumed):
            step("preparing the training")
            remove_parts(path)  # of a process that was killed
            self.folder = self._same_run(path) if resumed else self._begin_folder(path)
            if not resumed and not self.config.quiet:
                remark(self.train_data.origin)

            self._train_phases()
            self._finish_folder(self.folder)

    def write(self, path: Path) -> None:
        """Write the folder of a training that was done without one; see `train` for errors."""
        with locked(path, new=True, given="folder"):
            self._finish_folder(self._begin_folder(path))

    @property
    def told(self) -> dict[str, Any]:
        """What result.json holds, and 'run', the folder."""
        return {**self.result, "run": str(self.folder and self.folder.path)}

    def _begin_folder(self, path: Path) -> RunFolder:
        about = {
            "data": {**self.about_data(), "origin": self.train_data.origin},
            "devices": self.device_names(),
            "kernel": {"chosen": self.kernel, "why": self.why},
            "threads": kernels.threads(),
            "versions": versions(),
        }
        return RunFolder.begin(path, self.config, about, self.save_data)

    def _finish_folder(self, folder: RunFolder) -> None:
        """Write parameters, metrics, result and curve; a curve that fails is only a warning."""
        if self.net.has_parameters:  # else it is computed again, from the data
            write_parameters(folder, self.net)
        folder.finish(self.checkpoint.phases, self.result)

        curve = folder.path / "curve.png"
        with warning_of_figure(curve, fatal=()):
            save_curve(self.checkpoint.history, self.result, curve, self.config.score.metric)
        for name in (CHECKPOINT, FORMER_CHECKPOINT):
            (folder.path / name).unlink(missing_ok=True)

    def _train_phases(self) -> None:
        """Train the remaining phases; only worker 0 makes a result."""
        self._restore_checkpoint()
        with SignalWatch(self._advice()) as self._watch:
            test = self._train_until(self.config.phases[-1])

        if self.workers.rank == 0:
            step("measuring and writing the result")
            report = {} if test is None else {**test.report(self.net), **self.baseline(test)}
            self.result = self._describe(report)

    def validate(self, watch: SignalWatch, callbacks: Sequence[Callback] = ()) -> list[EpochRecord]:
        """Train up to the search for its validation scores, without a test or a folder.

        Parameters
        ----------
        watch : SignalWatch
        callbacks : sequence of Callback
            Called last in the search; one may raise, and so end the training.
        """
        self._watch, self._of_search, self._measured = watch, callbacks, ("validation",)
        self._train_until("search")
        return self.checkpoint.history

    def _train_until(self, last: str) -> Any:
        """Train from the checkpoint's phase to `last`; return the evaluation of the test part."""
        phases = self.config.phases
        test = self._train_phase()
        for phase in phases[phases.index(self.checkpoint.phase) + 1 : phases.index(last) + 1]:
            self._go_on_to(phase)
            test = self._train_phase()
        return test

    def _restore_checkpoint(self) -> None:
        """Read the checkpoint to resume from, if any; worker 0 reads it for all."""
        path = Path(CHECKPOINT) if self.folder is None else self.folder.path / CHECKPOINT
        if self.workers.agree(self.folder is not None and path.exists()):
            content = self.workers.broadcast(path.read_bytes() if self.folder else b"")
            self.checkpoint = Checkpoint.read(io.BytesIO(content), path, self.checkpoint.run)

    def _advice(self) -> str:
        """Return how to resume after a signal."""
        if self.workers.rank:
            return "worker 0 says how to go on"
        if self.folder is None:
            return "nothing was kept: give `out` a folder, and a training can be resumed"

        launched = ", started by d2l_autorec.launch as before" if self.workers.store else ""
        return f"go on with `train_model(resume={self.folder.path})`{launched}"

    def _go_on_to(self, phase: str) -> None:
        """Begin the next phase; after pretraining it inherits the parameters."""
        start: Arrays = {}
        if stage_of(self.checkpoint.phase):
            start = {**self.checkpoint.start, **parameters_of(self.net)}
        self.checkpoint = self.checkpoint.next(phase, start)
        if self.folder:
            self.checkpoint.save(self.folder.path / CHECKPOINT)

    # one phase

    def _train_phase(self) -> Any:
        """Train a phase; return the evaluation of the test part, if there is one."""
        phase = self.checkpoint.phase
        found = {} if stage_of(phase) > 1 else self.evaluations(phase)  # it predicts no ratings
        measures = {name: found[name] for name in self._measured if name in found}

        self._begin_phase()
        if self.net.is_closed_form:
            self._fit_at_once(measures)
        else:
            self._fit(measures)
        return measures.get("test")

    def _begin_phase(self) -> None:
        """Build the network on all devices, its initial values seeded, and load inherited ones."""
        phase = self.checkpoint.phase
        mx.random.seed(mxnet_seed(self.config.seed, Purpose.INITIAL_VALUES))
        net: Any = self.network(phase)

        if self.fused_steps(net) is not None:
            net.collect_params().setattr("grad_req", "null")  # before gradients take memory
        if net.has_parameters:
            net.initialize(init=self.initializer, ctx=self.devices)
            net.hybridize(self.config.hybridize)

        if self.checkpoint.start:
            set_parameters(net, {**parameters_of(net), **self.checkpoint.start})
        self.net = net

    def _fit_at_once(self, measures: Mapping[str, Any]) -> None:
        """Compute a model in closed form: a phase of one epoch."""
        step("fitting in closed form")
        train = self.matrix(self.checkpoint.phase)
        start = time.perf_counter()
        self.net.fit(train, self._validation_score(measures.get("validation")))
        seconds = time.perf_counter() - start

        metrics = {name: measure(self.net) for name, measure in measures.items()}
        test, validation = metrics.get("test", {}), metrics.get("validation", {})
        record = EpochRecord(1, None, None, train.nnz, seconds, test, validation)
        self.checkpoint.history = [record]

    def _validation_score(self, measure: Any) -> Callable[[Any], float] | None:
        """Return what measures a network on the validation part, higher is better."""
        if measure is None:
            return None
        metric, higher_is_better = self.config.score
        return lambda net: measure(net)[metric] * (1 if higher_is_better else -1)

    def _fit(self, measures: Mapping[str, Any]) -> None:
        """Train the network; keep what was reached if training ends early."""
        config, phase, leads = self.config, self.checkpoint.phase, self.workers.rank == 0
        training, epochs = self._training(), self._num_epochs()
        if should_stop(training.history, config.patience, config.score):
            epochs = len(training.history)

        keeper = Checkpointing(self.checkpoint, self.folder, config.score, config.checkpoint_every)
        label = phase if len(config.phases) > 1 else ""
        hidden = config.quiet or config.json or not leads
        with Bar(epochs, hidden, len(training.history), label, config.score.metric) as bar:
            callbacks: list[Callback] = [
                StepSeed(config.seed),
                LearningRate(self._rates()),
                Signals(self._watch, keeper.save_in_epoch),
                Evaluation(
                    measures, config.eval_every, epochs, getattr(training.loss, "beta", None)
                ),
                FiniteMetrics(),
                EarlyStopping(config.patience, config.score),
                *config.own.callbacks,
                *(self._of_search if phase == "search" else ()),
            ]
            if leads:  # the history alone decides when the others stop
                callbacks += [keeper, bar]

            try:
                with self._watch.deferring():
                    fit(training, epochs, callbacks)
            except NumericalError as error:
                if not leads:
                    raise
                raise keeper.keep_last_good(training, error) from error

        self.checkpoint.history = training.history
        forget_state(training.trainer)
        if self.checkpoint.best:
            set_parameters(self.net, self.checkpoint.best)

    def _training(self) -> Training:
        """Return the training of a phase, restored from its checkpoint."""
        config, workers, checkpoint = self.config, self.workers, self.checkpoint
        phase = checkpoint.phase
        trained, loader = self.trained(phase, self.net)
        decay = config.weight_decay(self.train_data, phase)
        trainer = make_trainer(trained, config, self.devices, workers, decay)

        training = Training(
            trained,
            loader,
            self.loss(phase, trainer),
            trainer,
            self.devices,
            workers,
            config.task == "rating",
            self.largest_error(phase),
            list(checkpoint.history),
        )
        training.step = self.fused_steps(self.net) or training.step

        if checkpoint.arrays:
            under_way = checkpoint.under_way
            restore(trained, trainer, loader, checkpoint.arrays, len(under_way.steps))
            checkpoint.arrays = {}

            training.steps = list(under_way.steps)
            training.rows = under_way.rows
            training.seconds = under_way.seconds

        workers.begin(trainer)
        return training

    def most_epochs(self, phase: str = "search") -> int:
        """Return the largest number of epochs of a phase for these data."""
        return self.config.of_phase(phase).epochs_for(self.matrix_shape[0])

    def _repeated(self) -> list[EpochRecord] | None:
        """Return the epochs that a phase of a refit repeats; None for other phases."""
        phase, done = self.checkpoint.phase, self.checkpoint.done
        if phase.startswith(REFITTED):
            return done[phase.removeprefix(REFITTED)]
        return done["search"] if phase == "refit" else None

    def _num_epochs(self) -> int:
        """Return how many epochs to train; a refit trains as many as were best in the search."""
        first = self._repeated()
        if first is None:
            return self.most_epochs(self.checkpoint.phase)
        return best_epoch(first, self.config.score) or len(first)

    def _rates(self) -> Callable[[Sequence[EpochRecord]], float]:
        """Return the learning rate as a function of the epochs so far; a refit repeats it."""
        phase, first = self.checkpoint.phase, self._repeated()
        if first is not None:
            return lambda history: first[len(history)].lr
        config, epochs = self.config.of_phase(phase), self.most_epochs(phase)
        return lambda history: learning_rate(config, history, epochs)

    # the result

    def _describe(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return what result.json holds; `report` are the test metrics."""
        config, phases = self.config, self.checkpoint.phases
        metric = config.score.metric
        epochs = [record for history in phases.values() for record in history]
        seconds = sum(record.seconds for record in epochs)

        search, history = phases["search"], self.checkpoint.history
        deciding = history if history[-1].validation else search  # a refit has no validation
        best = best_epoch(deciding, config.score)
        served = history[(best_epoch(history, config.score) or len(history)) - 1]
        chosen = best_epoch(search, config.score)
        result = {
            "model": config.model,
            "preset": config.preset,
            "dataset": self.train_data.name,
            **self.describe(),
            "kernel": self.kernel,
            "devices": self.device_names(),
            "epochs": len(history),
            "best_epoch": best,
            "most_epochs": self.most_epochs(),
            f"validation_{metric}": deciding[best - 1].validation[metric] if best else None,
            "train_loss": served.train_loss,
        }
        if deciding[-1].beta is not None and chosen:
            result["best_beta"] = search[chosen - 1].beta
        if served.train_rmse is not None:
            result["train_rmse"] = served.train_rmse
        if best == 1 and config.begins_with_means:
            result["serves_means"] = True
        if self.net.chosen:
            result["chosen"] = dict(self.net.chosen)
        rate = sum(record.ratings for record in epochs) / max(seconds, 1e-9)
        return {**result, **report, "train_seconds": seconds, "ratings_per_second": rate}


def choose_kernel(asked: str, network: Model, devices: Sequence[mx.Context]) -> tuple[str, str]:
    """Return 'dense' or 'sparse' arithmetic, and why.

    Parameters
    ----------
    asked : {'auto', 'dense', 'sparse'}
    network : Model
    devices : sequence of Context

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
        why = f"the sparse kernels do not cover {type(network).__name__}"
        warnings.warn(f"{why}: it trains dense", DataWarning, stacklevel=2)
        return "dense", why

    return "sparse", "CPU contexts, and the kernels cover the network"


def make_trainer(
    net: Any,
    config: RunConfig,
    devices: list[mx.Context],
    workers: Workers = ALONE,
    weight_decay: float | None = None,
) -> gluon.Trainer:
    """Return a trainer with the optimizer that `config` names; `weight_decay` for `config.wd`."""
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


def versions() -> dict[str, str]:
    """Return the versions of Python, MXNet, this package and what it computes with."""
    from .. import __version__

    own = {"d2l_autorec": __version__, "python": platform.python_version()}
    return own | {"mxnet": mx.__version__} | {name: metadata.version(name) for name in PACKAGES}

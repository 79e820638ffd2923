"""A run: a configuration with its data and devices, trained phase by phase.

    data -> network, kernel -> for each phase: fit, with callbacks -> result -> folder

If a phase ends early, what was reached is kept.
"""

import hashlib
import io
import json
import math
import platform
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import gluon
from scipy import sparse

from .. import kernels
from ..data.ratings import Ratings
from ..kernels import RULES
from ..models.base import Model, OwnNetwork
from ..models.catalog.autorec import stage_of
from ..models.kinds import REFITTED, RatingModel, RunConfig
from ..models.mf import MF
from ..models.options import computing_options
from ..models.sparse_autorec import row_model
from ..support.errors import ConfigError, DataError, NumericalError, warn
from ..support.files import locked, remove_parts
from ..support.seeds import Purpose, mxnet_seed
from ..support.terminal import SignalWatch, remark_once, step
from ..support.texts import csv_text
from ..training import callbacks, checkpoint
from ..training.checkpoint import Arrays, Checkpoint
from ..training.devices import choose_kvstore, resolve_devices
from ..training.fused import AutoRecSteps, FactorSteps, FusedSteps
from ..training.history import EpochRecord, best_epoch, learning_rate, should_stop
from ..training.loaders import BATCHES, Loader, PairRows
from ..training.loop import ALONE, Training, fit
from ..training.parameter_server import Workers
from ..training.progress import Bar
from .checkpoints import CHECKPOINT, Checkpointing, write_parameters
from .figures import save_curve, warning_of_figure
from .folder import RunFolder
from .network_size import check_network
from .options import check_same_options

EXPLODED = 1000.0  # a loss is too large at this many times that of a network that knows nothing
PACKAGES = ("d2l", "numpy", "scipy", "numba", "pandas", "matplotlib")


class Experiment(ABC):
    """A run of a model on its data, as `python -m d2l_autorec.run` does it.

    Parameters
    ----------
    config : RunConfig
        The options.
    data : RatingParts or Clicks, optional
        Data that are split already. By default the data that the options name are read and split.
    devices : sequence of Context, optional
        The devices; by default those that the options name.
    workers : Workers
        The processes of the run. Worker 0 evaluates, and has the folder.

    Attributes
    ----------
    train_data : Ratings or Clicks
        The training data, including the validation part.
    num_ratings : int
        Number of ratings, or clicks, in training and evaluation.
    matrix_shape : (int, int)
        Rows and columns of the matrix that a network reads.
    tested_ids : ndarray
        Ids of the users that an evaluation numbers from 0.
    ignorance : float
        The error of a rating, or loss of a click, for a network that knows nothing: it predicts 0
        for the highest rating, or each item alike. A training has diverged if it is `EXPLODED`
        times worse; the pretraining of hidden units has no such limit.
    initializer : mxnet.init.Initializer
        The initializer of parameters that have none of their own.
    kernel, why : str
        'dense' or 'sparse' arithmetic, and the reason for it.
    batchify : callable
        (a matrix, or pairs) to the function that makes batches, for a `Loader`.
    start : TrainedModel or None
        The model that the run goes on from.
    inherited : dict
        The parameters of `start` that are taken over.
    given : list of str
        What the run was given beside options: see `given_in_python`.
    folder : RunFolder or None
        The run's folder, if it has one.
    net : Model
        The network of the phase; after training that of the last one, with the parameters kept.
    result : dict
        The content of result.json.
    by_user : dict
        The columns of users.csv, a row for each test user; empty without a test.

    Raises
    ------
    UserError
        If data or devices cannot be used, or do not fit the options; if a worker has other options
        or data than worker 0; or if the network does not fit into memory.
    """

    config: Any  # of the task
    train_data: Any
    num_ratings: int
    matrix_shape: tuple[int, int]
    tested_ids: np.ndarray
    ignorance: float
    initializer = mx.init.Xavier()
    net: Any
    _watch: SignalWatch
    _measured: tuple[str, ...] = ("test", "validation")  # parts
    _parts: Mapping[str, Any]  # their evaluations in the phase
    _of_search: Sequence[callbacks.Callback] = ()
    _limit: float = math.inf  # of epochs

    def __init__(
        self,
        config: RunConfig,
        data: Any = None,
        devices: Sequence[mx.Context] | None = None,
        workers: Workers = ALONE,
    ) -> None:
        self.config = config
        self.given = given_in_python(config, data)
        self.devices = list(devices or resolve_devices(config.gpus, config.cpus))
        for device in self.devices:
            if device.device_type == "gpu":
                resolve_devices(str(device.device_id))  # raises if there is no such GPU
        self.workers = workers
        self.folder: RunFolder | None = None
        self.result: dict[str, Any] = {}
        self.by_user: dict[str, np.ndarray] = {}
        self.start = config.own.start
        choose_kvstore(config.kvstore, self.devices)  # raises before any data are read

        step("reading the data")
        self._take(data)
        config.check_data(self.train_data)

        network = self.network("search")
        self.kernel, self.why = choose_kernel(config.kernel, network, self.devices)
        if self.kernel == "sparse" and config.reads == "pairs" and not self.fused_steps(network):
            self.kernel = "dense"  # pairs have no sparse arithmetic but the compiled step's
            self.why = "pairs are compiled for adam and rprop on one CPU device"
        self.batchify = PairRows if config.reads == "pairs" else BATCHES[self.kernel]
        self._check_network(network)

        self.inherited: Arrays = {}
        if self.start and not network.is_closed_form and not config.anew:
            self.inherited = checkpoint.parameters_of(self.start.net)
            self._check_inherited(network)
        self.checkpoint = Checkpoint(self.identity(), config.phases[0], start=self.inherited)
        if workers.agree(self.checkpoint.run) != self.checkpoint.run:
            raise DataError(
                f"worker {workers.rank} has other options or ratings than worker 0: give "
                "all the same, and the same files"
            )

    # what the data are

    @abstractmethod
    def _take(self, data: Any) -> None:
        """Set `train_data` and the other parts; read and split the data if none are given."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return the sizes of the data."""

    @abstractmethod
    def about_data(self) -> dict[str, Any]:
        """Return what config.json says of the data beside name, sizes and training digest."""

    @abstractmethod
    def save_data(self, path: Path) -> None:
        """Write the run's data, as they are known when training is over."""

    @abstractmethod
    def served(self) -> tuple[Ratings, Ratings]:
        """Return the known interactions, and those of them that the trained network reads."""

    def part(self, phase: str) -> Any:
        """Return the data that a phase trains on."""
        return self.train_data

    @abstractmethod
    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Return the users x items matrix that a closed-form model is fitted to."""

    # how they are learned

    @abstractmethod
    def loss(self, phase: str, trainer: gluon.Trainer) -> Callable:
        """Return the loss function: (prediction, label) to one number for each row."""

    @abstractmethod
    def trained(self, phase: str, net: Any) -> tuple[Any, Loader]:
        """Return the part of the network that a phase trains, and its shuffled batches."""

    # how well

    @abstractmethod
    def evaluations(self, phase: str) -> Mapping[str, Any]:
        """Return the evaluations of a phase by part: 'test' and perhaps 'validation'."""

    def metrics_of(self, net: Any) -> dict[str, Any]:
        """Return a network's metrics on each part, by the evaluations of the phase."""
        return {name: evaluation(net) for name, evaluation in self._parts.items()}

    @abstractmethod
    def baseline(self, test: Any) -> dict[str, Any]:
        """Return the baseline's entries for result.json."""

    def of_start(self, net: Any, test: Any) -> dict[str, float]:
        """Return the test metrics of the model that the run goes on from; `net` is its network."""
        return test(net)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the data's entries for result.json, beside the sizes."""

    # the network

    @property
    def begins_with_means(self) -> bool:
        """Whether the network predicts user and item means before its first step."""
        return self.config.center and not self.inherited

    def network(self, phase: str) -> Model:
        """Return the uninitialised network of a phase."""
        return self.config.of_phase(phase).build(self.part(phase))

    def _check_inherited(self, network: Any) -> None:
        """Raise ConfigError unless the network differs from its start only by users and items."""
        before, now = self.start.ratings, self.served()[0]
        grown = {(before.num_users, now.num_users), (before.num_items, now.num_items)}
        old = {name.removeprefix("parameter/"): a.shape for name, a in self.inherited.items()}
        new = {name: p.shape for name, p in network._collect_params_with_prefix().items()}

        for name in {**old, **new}:
            was, is_now = old.get(name, ()), new.get(name, ())
            changed = {(m, n) for m, n in zip_longest(was, is_now) if m != n}
            if not changed <= grown:
                raise ConfigError(
                    f"the run to go on from has another network ({name} had the shape {was}, and "
                    f"now {is_now}): leave out what changes it, or add `anew`"
                )

    def fused_steps(self, network: Model) -> FusedSteps | None:
        """Return the compiled steps for a network; None if there are none for it."""
        config = type(self.config)
        known = config.fused and config.make_loss is RatingModel.make_loss
        alone = len(self.devices) == 1 and not self.workers.store
        if not (known and alone and self.config.optimizer in RULES and self.kernel == "sparse"):
            return None

        if type(network) is MF:
            return FactorSteps(network)
        layer = row_model(network).one_hidden()
        return layer and AutoRecSteps(layer)

    def _check_network(self, network: Model) -> None:
        """Raise UserError, before anything is written, if the network cannot be trained here."""
        config = self.config
        fused = self.fused_steps(network)
        if self.kernel == "sparse":
            kernels.load()  # says what is wrong with it
        if config.sized_by:
            rows, columns = self.matrix_shape
            size = int(np.sum(getattr(config, config.sized_by)))  # of one layer, or several
            if self.kernel == "dense" and config.reads == "rows":
                size += columns  # its predictions
            check_network(
                network,
                self.devices,
                config.sized_by,
                batch_shape=(config.rows_of_a_step(rows), size),
                ratings=self.num_ratings,
                gradients=fused is None,
                copies=config.validated + 2 * config.average,  # the average, and what it replaces
            )
        if fused:
            fused.load()
        if isinstance(network, OwnNetwork):
            network.check_columns(self.matrix_shape[1], self.devices[0])

    # what tells it from others

    def device_names(self) -> list[str]:
        """Return the names of the devices of all workers; each has as many as this one."""
        names = [str(device) for device in self.devices]
        if self.workers.size == 1:
            return names
        return [f"worker {rank} {name}" for rank in range(self.workers.size) for name in names]

    def about(self) -> dict[str, Any]:
        """Return the description, for config.json, of the data and the model gone on from."""
        about = {"name": self.train_data.name, "train_sha256": self.train_data.fingerprint}
        if self.inherited:
            content = b"".join(array.tobytes() for array in self.inherited.values())
            about["start_sha256"] = hashlib.sha256(content).hexdigest()
        return {**about, **self.counts(), **self.about_data()}

    def identity(self) -> str:
        """Return a digest of what the run computes; it ties a checkpoint to its run."""
        text = json.dumps([computing_options(self.config), self.about()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _same_run(self, path: Path) -> RunFolder:
        """Return a run's folder; raise UserError unless options, data and devices are the same."""
        folder = RunFolder.read(path)
        began = folder.about
        check_same_options(asdict(folder.config), computing_options(self.config), path)

        if began["data"] != {**self.about(), "origin": began["data"].get("origin")}:
            raise DataError(
                f"the ratings, or what it went on from, are not those that the run in {path} "
                "began with: bring them back, or begin a new run"
            )

        now = self.device_names(), self.kernel
        before = began["devices"], began["kernel"].get("chosen")
        if now != before:
            raise ConfigError(
                f"the run in {path} began with devices and kernel {before}, and here are {now}: "
                "resume it on a machine like the first, or begin a new run"
            )
        return folder

    # a run from its beginning to its end

    def train(self, path: Path | None = None, resumed: bool = False) -> None:
        """Train through all phases; if the run has finished already, take its result.

        Parameters
        ----------
        path : Path, optional
            A new folder, or that of a run to go on with. By default nothing is written.
        resumed : bool
            Whether the folder is that of a run to go on with.

        Raises
        ------
        UserError
            If the folder cannot be used, or holds another run.
        NumericalError
            If the training diverges; the best parameters, or the last checkpoint, are kept.
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
                remark_once(self.train_data.origin)

            self._train_phases()
            self._finish_folder(self.folder)

    def write(self, path: Path) -> None:
        """Write the folder of a training that was done without one; see `train` for errors."""
        with locked(path, new=True, given="folder"):
            self._finish_folder(self._begin_folder(path))

    @property
    def told(self) -> dict[str, Any]:
        """The content of result.json, and the folder as 'run'."""
        return {**self.result, "run": str(self.folder and self.folder.path)}

    def _begin_folder(self, path: Path) -> RunFolder:
        about = {
            "data": {**self.about(), "origin": self.train_data.origin},
            "devices": self.device_names(),
            "kernel": {"chosen": self.kernel, "why": self.why},
            "threads": kernels.threads(),
            "versions": versions(),
            "given": self.given,
        }
        return RunFolder.begin(path, self.config, about, self.save_data)

    def _finish_folder(self, folder: RunFolder) -> None:
        """Write parameters, curve, metrics and result; if the curve fails, only warn."""
        if self.net.has_parameters:  # else it is computed again, from the data
            write_parameters(folder, self.net)
        if self.by_user:
            columns = [column.tolist() for column in self.by_user.values()]
            rows = [dict(zip(self.by_user, row)) for row in zip(*columns)]
            folder.write("users.csv", lambda path: path.write_text(csv_text(rows)))

        curve = folder.path / "curve.png"
        with warning_of_figure(curve, fatal=()):
            save_curve(self.checkpoint.history, self.result, curve, self.config.score.metric)
        folder.finish(self.checkpoint.phases, self.result)
        (folder.path / CHECKPOINT).unlink(missing_ok=True)

    def _train_phases(self) -> None:
        """Train the remaining phases; only worker 0 makes a result."""
        self._restore_checkpoint()
        with SignalWatch(self._advice()) as self._watch:
            test = self._train_until(self.config.phases[-1])

        if self.workers.rank == 0:
            step("measuring and writing the result")
            report = {} if test is None else {**test.report(self.net), **self.baseline(test)}
            if test is not None:
                self.by_user = {**test.by_user, "user": self.tested_ids[test.by_user["user"]]}
            self.result = self._describe({**report, **self._beside_start(test)})

    def validate(
        self, watch: SignalWatch, of_search: Sequence[callbacks.Callback] = ()
    ) -> list[EpochRecord]:
        """Train up to the end of the search phase, for its validation scores only.

        There is no test, and nothing is written.

        Parameters
        ----------
        watch : SignalWatch
            The watch that notes signals.
        of_search : sequence of Callback
            Callbacks that are called last in the search; one may raise to end the training.
        """
        self._watch, self._of_search, self._measured = watch, of_search, ("validation",)
        self._train_until("search")
        return self.checkpoint.history

    def _train_until(self, last: str) -> Any:
        """Train from the checkpoint's phase to `last`; return the evaluation of the test part."""
        test = self._train_phase()
        while self.checkpoint.phase != last:
            phases = self.config.phases
            self._go_on_to(phases[phases.index(self.checkpoint.phase) + 1])
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
        start = self.inherited
        if stage_of(self.checkpoint.phase):
            start = {**self.checkpoint.start, **checkpoint.parameters_of(self.net)}
        self.checkpoint = self.checkpoint.next(phase, start)
        if self.folder:
            self.checkpoint.save(self.folder.path / CHECKPOINT)

    # one phase

    def _train_phase(self) -> Any:
        """Train a phase; return the evaluation of the test part, if there is one."""
        phase = self.checkpoint.phase
        self._parts = {} if stage_of(phase) > 1 else self.evaluations(phase)  # inner layers: none

        self.net = self._begun(phase, self.checkpoint.start)
        if self.net.is_closed_form:
            self._fit_at_once()
        else:
            self._fit()
        return self._parts.get("test")

    def _begun(self, phase: str, start: Arrays) -> Any:
        """Build the network on all devices, its initial values seeded, and load inherited ones."""
        mx.random.seed(mxnet_seed(self.config.seed, Purpose.INITIAL_VALUES))
        net: Any = self.network(phase)

        if self.fused_steps(net) is not None:
            net.collect_params().setattr("grad_req", "null")  # before gradients take memory
        if net.has_parameters:
            net.initialize(init=self.initializer, ctx=self.devices)
            net.hybridize(self.config.hybridize)

        if start:
            grown = checkpoint.extended(checkpoint.parameters_of(net), start)
            checkpoint.set_parameters(net, grown)
        return net

    def _fit_at_once(self) -> None:
        """Compute a model in closed form, as a phase of one epoch."""
        step("fitting in closed form")
        train, (metric, higher_is_better) = self.matrix(self.checkpoint.phase), self.config.score
        sign = 1 if higher_is_better else -1

        def score(net: Any) -> float:
            return sign * self._parts["validation"](net)[metric]

        start = time.perf_counter()
        self.net.fit(train, score if "validation" in self._parts else None)
        seconds = time.perf_counter() - start

        metrics = self.metrics_of(self.net)
        self.checkpoint.history = [EpochRecord(1, None, None, train.nnz, seconds, **metrics)]

    def _fit(self) -> None:
        """Train the network; keep what was reached if training ends early."""
        config, phase = self.config, self.checkpoint.phase
        training, (epochs, rate) = self._training(), self._schedule()
        patience = config.patience * (epochs if config.patience < 1 else 1)
        if should_stop(training.history, patience, config.score):
            epochs = len(training.history)

        keeper = Checkpointing(self.checkpoint, self.folder, config.score, config.checkpoint_every)
        averages, beta = self.checkpoint.averages, getattr(training.loss, "beta", None)
        label = phase if len(config.phases) > 1 else ""
        hidden = config.quiet or config.json or self.workers.rank > 0
        with Bar(epochs, hidden, len(training.history), label, config.score.metric) as bar:
            told: list[callbacks.Callback] = [
                callbacks.StepSeed(config.seed),
                callbacks.LearningRate(rate),
                callbacks.Signals(self._watch, keeper.save_in_epoch),
                *([callbacks.Averaging(averages)] if config.of_phase(phase).average else ()),
                callbacks.Evaluation(self.metrics_of, config.eval_every, epochs, beta, averages),
                callbacks.FiniteMetrics(),
                callbacks.EarlyStopping(patience, config.score),
                *config.own.callbacks,
                *(self._of_search if phase == "search" else ()),
            ]
            if not self.workers.rank:  # the history alone decides when the others stop
                told += [keeper, bar]

            try:
                with self._watch.deferring():
                    fit(training, epochs, told)
            except NumericalError as error:
                raise keeper.keep_last_good(training, error) from error

        self.checkpoint.history = training.history
        checkpoint.forget_state(training.trainer)
        kept = self.checkpoint.best or averages
        if kept:
            checkpoint.set_parameters(self.net, kept)

    def _training(self) -> Training:
        """Return the training of a phase, restored from its checkpoint."""
        config, workers, phase = self.config, self.workers, self.checkpoint.phase
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
            math.inf if stage_of(phase) > 1 else EXPLODED * self.ignorance,
            list(self.checkpoint.history),
        )
        training.step = self.fused_steps(self.net) or training.step

        if arrays := self.checkpoint.arrays:
            done = self.checkpoint.under_way
            checkpoint.restore(trained, trainer, loader, arrays, len(done["steps"]))
            self.checkpoint.arrays = {}
            training = replace(training, **done)

        workers.begin(trainer)
        return training

    def most_epochs(self, phase: str = "search") -> int:
        """Return the largest number of epochs of a phase for these data."""
        return min(self._limit, self.config.of_phase(phase).epochs_for(self.matrix_shape[0]))

    def _schedule(self) -> tuple[int, Callable[[Sequence[EpochRecord]], float]]:
        """Return how many epochs to train, and the learning rate as a function of those so far.

        A refit repeats the search, or a phase before it, up to the best epoch.
        """
        phase = self.checkpoint.phase
        if phase.startswith("refit"):
            repeated = "search" if phase == "refit" else phase.removeprefix(REFITTED)
            first = self.checkpoint.done[repeated]
            return best_epoch(first, self.config.score) or len(first), lambda h: first[len(h)].lr

        config, epochs = self.config.of_phase(phase), self.most_epochs(phase)
        return epochs, lambda history: learning_rate(config, history, epochs)

    # the result

    def _beside_start(self, test: Any) -> dict[str, Any]:
        """Return the entries for result.json on the run that this one goes on from."""
        if not self.inherited:
            return {}

        path, seconds = self.start.path, self.start.metrics["train_seconds"]
        told = {"start": path and str(path), "start_train_seconds": seconds}
        if test is not None:
            metric, start = self.config.score.metric, self._begun("search", self.inherited)
            told[f"start_test_{metric}"] = self.of_start(start, test)[metric]
        return told

    def _describe(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return the content of result.json; `report` are the test metrics."""
        config, phases = self.config, self.checkpoint.phases
        metric = config.score.metric
        epochs = [record for history in phases.values() for record in history]
        seconds = sum(record.seconds for record in epochs)

        search, history = phases["search"], self.checkpoint.history
        deciding = history if history[-1].validation else search  # a refit has no validation
        best = best_epoch(deciding, config.score)
        served = history[(best_epoch(history, config.score) or len(history)) - 1]
        result = {
            "model": config.model,
            "preset": config.preset,
            "dataset": self.train_data.name,
            **self.counts(),
            **self.describe(),
            "kernel": self.kernel,
            "devices": self.device_names(),
            "epochs": len(history),
            "best_epoch": best,
            "most_epochs": self.most_epochs(),
            f"validation_{metric}": deciding[best - 1].validation[metric] if best else None,
            "train_loss": served.train_loss,
        }
        chosen = best_epoch(search, config.score)
        if chosen and search[chosen - 1].beta is not None:
            result["best_beta"] = search[chosen - 1].beta
        if served.train_rmse is not None:
            result["train_rmse"] = served.train_rmse
        if best == 1 and self.begins_with_means and not search[0].lr:
            result["serves_means"] = True
        if self.net.chosen:
            result["chosen"] = dict(self.net.chosen)
        rate = sum(record.ratings for record in epochs) / max(seconds, 1e-9)
        return {**result, **report, "train_seconds": seconds, "ratings_per_second": rate}


def given_in_python(config: RunConfig, data: Any) -> list[str]:
    """Return which of train, net and loss were given, which only Python can give."""
    given = {"train": data, "net": config.own.net, "loss": config.own.loss}
    return [name for name, value in given.items() if value is not None]


def choose_kernel(asked: str, network: Model, devices: Sequence[mx.Context]) -> tuple[str, str]:
    """Return the arithmetic of a run, 'dense' or 'sparse', and the reason for it.

    It is sparse if a network is trained on CPUs and the kernels cover it, unless 'dense' is asked.

    Parameters
    ----------
    asked : {'auto', 'dense', 'sparse'}
        The option `kernel`.
    network : Model
        The network to be trained.
    devices : sequence of Context
        The devices to train on.

    Raises
    ------
    ConfigError
        If 'sparse' is asked for on a GPU.

    Warns
    -----
    DataWarning
        If the kernels do not cover the network.
    """
    if asked == "dense":
        return "dense", "`kernel=dense`"

    if any(device.device_type != "cpu" for device in devices):
        if asked == "sparse":
            raise ConfigError("`kernel=sparse` runs on CPUs only: choose `kernel=dense` or `cpus`")
        return "dense", "the sparse kernels run on CPUs only"

    if network.is_closed_form:
        return "dense", "it is computed at once"

    if not row_model(network).reads_sparse:
        why = f"the sparse kernels do not cover {type(network).__name__}"
        warn(f"{why}: it trains dense", level=3)
        return "dense", why

    return "sparse", "CPU contexts, and the kernels cover the network"


def make_trainer(
    net: Any,
    config: RunConfig,
    devices: list[mx.Context],
    workers: Workers = ALONE,
    weight_decay: float | None = None,
) -> gluon.Trainer:
    """Return a trainer with the optimizer that `config` names; `weight_decay` replaces its `wd`."""
    wd = config.wd if weight_decay is None else weight_decay

    if config.decay == "weights":
        for name, parameter in net._collect_params_with_prefix().items():
            if "bias" in name:
                parameter.wd_mult = 0.0

    return gluon.Trainer(
        net.collect_params(),
        config.optimizer,
        {"learning_rate": config.lr, "wd": wd},
        workers.store or choose_kvstore(config.kvstore, devices),
        update_on_kvstore=False,  # a checkpoint has the optimizer's state
    )


def versions() -> dict[str, str]:
    """Return the versions of Python, MXNet, this package and the libraries it computes with."""
    from .. import __version__

    return {
        "d2l_autorec": __version__,
        "python": platform.python_version(),
        "mxnet": mx.__version__,
        **{name: metadata.version(name) for name in PACKAGES},
    }

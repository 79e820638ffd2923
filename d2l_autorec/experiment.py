"""One run from its options to its folder: data, network, phases of training, result."""

import hashlib
import json
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon

from . import splits
from .checkpoint import Checkpoint, capture, parameters_of, restore, set_parameters
from .config import AutoRecConfig, RunConfig
from .control import best_epoch, learning_rate, should_stop
from .datasets import load_official_fold, load_ratings
from .devices import resolve_devices
from .errors import ConfigError, DataError, DataWarning, Interrupted, NumericalError
from .evaluate import RatingEvaluation
from .files import FolderLock, read_json
from .interrupt import SignalWatch
from .loaders import BATCHES, train_loader
from .losses import MaskedL2Loss, MaskedRootLoss
from .models import build
from .models.autorec import AutoRec
from .progress import Bar
from .ratings import Ratings
from .readers import read_ratings, read_train_and_test
from .run_folder import RunFolder
from .sparse import FusedAdam, choose_kernel
from .train import EpochRecord, fit, summary

CHECKPOINT = "checkpoint.bin"


@dataclass(frozen=True)
class Experiment:
    """A configuration with its data and devices.

    Parameters
    ----------
    config : AutoRecConfig
    devices : list of Context
    kernel, why : str
        Dense or sparse, and the reason.
    train, test : Ratings
    fitting, validation : Ratings or None
        The parts of `train` that early stopping needs; without it all and None.
    """

    config: AutoRecConfig
    devices: List[mx.Context]
    kernel: str
    why: str
    train: Ratings
    test: Ratings
    fitting: Ratings
    validation: Optional[Ratings]

    def about_data(self) -> Dict[str, Any]:
        """What config.json says of the data."""
        return {"name": self.train.name, "users": self.train.num_users,
                "items": self.train.num_items, "scale": list(self.train.scale),
                "offset": self.train.offset,
                "train_ratings": len(self.train), "train_sha256": self.train.fingerprint,
                "test_ratings": len(self.test), "test_sha256": self.test.fingerprint}

    def identity(self) -> str:
        """A digest of what the run computes; ties a checkpoint to its run."""
        options = {name: value for name, value in vars(self.config).items()
                   if name not in ("out", "quiet", "json", "data_dir", "ratings", "train", "test")}
        text = json.dumps([options, self.about_data()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def evaluations(self, part: Ratings, phase: str) -> Dict[str, RatingEvaluation]:
        """Metrics after each epoch of training on `part`."""
        wanted = {"test": self.test}
        if phase == "search" and self.validation is not None:
            wanted["validation"] = self.validation
        config = self.config
        return {name: RatingEvaluation(part, ratings, self.devices, config.based, config.clip,
                                       BATCHES[self.kernel], config.split == "held-out-rows")
                for name, ratings in wanted.items()}


def train_model(config: AutoRecConfig, resume: Optional[Path] = None) -> Dict[str, Any]:
    """Train as `config` says, print the result and write the run folder.

    Switches MXNet to NumPy semantics (`npx.set_np()`). CPU threads are the
    command's to set, before MXNet is imported.

    Parameters
    ----------
    config : AutoRecConfig
    resume : Path, optional
        The folder of a run with this configuration, to go on with.

    Returns
    -------
    dict
        What result.json holds.

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
        tell(config, result, resume)
        return result
    experiment = prepare(config)
    path = resume or Path(config.out or f"runs/autorec-{experiment.train.name}-"
                          f"{time.strftime('%Y%m%d-%H%M%S')}")
    with FolderLock(path):
        folder = RunFolder(path)
        for unfinished in path.glob(".part-*"):  # of a process that was killed
            unfinished.unlink()
        if resume:
            check_unchanged(experiment, path)
        else:
            folder.begin(config, experiment.about_data(), experiment.train,
                         {"chosen": experiment.kernel, "why": experiment.why}, experiment.devices)
        result = train_phases(experiment, folder)
    tell(config, result, path)
    return result


def prepare(config: AutoRecConfig) -> Experiment:
    """Devices, kernel and data of a configuration; see `train_model` for errors."""
    devices = resolve_devices(config.gpus, config.cpus)
    if config.loss == "root" and len(devices) > 1:
        raise ConfigError(f"--loss root is one number for a whole batch, but there are "
                          f"{len(devices)} devices: choose one with --cpus 1 or --gpus 0")
    kernel, why = choose_kernel(config.kernel, AutoRec, devices)
    train, test = load_and_split(config)
    check_size(config, train)
    fitting, validation = train, None
    if config.val_ratio:
        rng = np.random.default_rng([config.seed, 1])
        fitting, validation = splits.random_split(train, config.val_ratio, rng)
    return Experiment(config, devices, kernel, why, train, test, fitting, validation)


def check_size(config: AutoRecConfig, train: Ratings) -> None:
    """Raise ConfigError for a network that MXNet cannot index; say where batches shrink."""
    rows, columns = ((train.num_items, train.num_users) if config.based == "item"
                     else (train.num_users, train.num_items))
    if config.num_hidden * columns >= 2 ** 31:
        raise ConfigError(f"--num-hidden is {config.num_hidden}: with rows of {columns} ratings it "
                          f"must be below {2 ** 31 // columns}")
    if rows < config.batch_size:
        warnings.warn(f"--batch-size {config.batch_size} is more than the {rows} rows: every step "
                      f"takes all {rows}", DataWarning, stacklevel=2)


def check_unchanged(experiment: Experiment, path: Path) -> None:
    """Raise UserError unless data, devices and kernel are what the run in `path` began with."""
    began = read_json(path / "config.json")
    if began["data"] != experiment.about_data():
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
            if config.refit:
                checkpoint = Checkpoint(identity, "refit", search=checkpoint.history)
                checkpoint.save(path)
        if checkpoint.phase == "refit":
            phases["search"] = checkpoint.search
            net, evaluation = run_phase(experiment, folder, checkpoint,
                                        best_epoch(checkpoint.search), watch)
            phases["refit"] = checkpoint.history
    result = describe(experiment, phases, evaluation.report(net))
    folder.finish(net, phases, result)
    path.unlink(missing_ok=True)
    return result


def run_phase(experiment: Experiment, folder: RunFolder, checkpoint: Checkpoint, epochs: int,
              watch: SignalWatch) -> Tuple[Any, RatingEvaluation]:
    """Train one phase to its end; `checkpoint` then holds its history.

    Returns
    -------
    net : HybridBlock
        With the parameters of the best epoch where there is validation.
    evaluation : RatingEvaluation
        Of the test ratings.
    """
    config = experiment.config
    part = experiment.fitting if checkpoint.phase == "search" else experiment.train
    net, trainer, loader = make(experiment, part)
    if checkpoint.arrays:
        restore(net, trainer, loader, checkpoint.arrays)
    evaluations = experiment.evaluations(part, checkpoint.phase)
    if should_stop(checkpoint.history, config.patience):
        epochs = len(checkpoint.history)
    loss = MaskedRootLoss() if config.loss == "root" else MaskedL2Loss()
    label = checkpoint.phase if config.refit else ""
    with Bar(epochs, config.quiet or config.json, len(checkpoint.history), label) as bar:
        recorder = Recorder(config, folder, checkpoint, (net, trainer, loader), bar)
        try:
            fit(net, loader, loss, trainer, epochs, experiment.devices,
                lambda: {name: metrics(net) for name, metrics in evaluations.items()}, recorder,
                config.seed, checkpoint.history, recorder.learning_rate, watch.check)
        except NumericalError as error:
            raise recorder.keep_last_good(error) from error
        except Interrupted:
            recorder.save()
            raise
    if checkpoint.best:
        set_parameters(net, checkpoint.best)
    return net, evaluations["test"]


def make(experiment: Experiment, part: Ratings) -> Tuple[Any, gluon.Trainer,
                                                         gluon.data.DataLoader]:
    """The network, its trainer and the batches of `part`, seeded."""
    config, devices = experiment.config, experiment.devices
    matrix = part.to_csr(config.based)
    mx.random.seed(config.seed)
    net = build(config, matrix.shape[1])
    net.initialize(init=mx.init.Normal(config.init_sigma), ctx=devices)
    net.hybridize(config.hybridize)
    trainer = make_trainer(net, config, devices, experiment.kernel)
    rows = min(config.batch_size, matrix.shape[0])  # else whole epochs would only roll rows over
    return net, trainer, train_loader(matrix, rows, config.seed, BATCHES[experiment.kernel])


class Recorder:
    """What happens after each epoch: best parameters, checkpoint, metrics.csv, progress."""

    def __init__(self, config: AutoRecConfig, folder: RunFolder, checkpoint: Checkpoint,
                 state: Tuple[Any, Any, Any], bar: Bar) -> None:
        self._config, self._folder, self._checkpoint = config, folder, checkpoint
        self._state, self._bar = state, bar

    def __call__(self, history: List[EpochRecord]) -> bool:
        """Record the last epoch; True where training should stop."""
        checkpoint, done = self._checkpoint, len(history)
        checkpoint.history = history
        if best_epoch(history) == done:
            checkpoint.best = parameters_of(self._state[0])
        checkpoint.arrays = capture(*self._state)
        stop = should_stop(history, self._config.patience)
        if stop or done % self._config.checkpoint_every == 0:
            self.save()
        self._bar.update(history)
        return stop

    def save(self) -> None:
        """Write the state after the last epoch to the folder."""
        checkpoint = self._checkpoint
        checkpoint.save(self._folder.path / CHECKPOINT)
        phases = {"search": checkpoint.search} if checkpoint.search else {}
        self._folder.write_metrics({**phases, checkpoint.phase: checkpoint.history})

    def learning_rate(self, history: List[EpochRecord]) -> float:
        """The next epoch's; a refit goes through the rates of the search again."""
        if self._checkpoint.phase == "refit":
            return self._checkpoint.search[len(history)].lr
        return learning_rate(self._config, history)

    def keep_last_good(self, error: NumericalError) -> NumericalError:
        """Write model.params from the last checkpoint; the error with that added."""
        arrays, net = self._checkpoint.arrays, self._state[0]
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
    best = best_epoch(search)
    seconds = sum(record.seconds for h in phases.values() for record in h)
    ratings = sum(record.ratings for h in phases.values() for record in h)
    comparable = experiment.train.name == "ml-100k" and (
        config.ratings, config.train, config.split, config.test_ratio, config.based,
        config.clip) == (None, None, "random", 0.1, "item", False)
    return {"model": "autorec", "dataset": experiment.train.name, "based": config.based,
            "comparable_with_chapter": comparable, "kernel": experiment.kernel,
            "train_ratings": len(experiment.train), "test_ratings": len(experiment.test),
            "validation_ratings": len(experiment.validation or ()),
            "devices": [str(device) for device in experiment.devices],
            "epochs": len(history), "best_epoch": best,
            "validation_rmse": search[best - 1].validation["rmse"] if best else None,
            "train_loss": history[-1].train_loss, "train_rmse": history[-1].train_rmse, **report,
            "train_seconds": seconds, "ratings_per_second": ratings / max(seconds, 1e-9)}


def tell(config: AutoRecConfig, result: Dict[str, Any], path: Path) -> None:
    """Print the result: the chapter's two lines, or JSON; what else is to be said on stderr."""
    if config.json:
        print(json.dumps({**result, "run": str(path)}))
    else:
        print(summary(result["train_loss"], result["test_rmse"], result["ratings_per_second"],
                      result["devices"]))
    if result["best_epoch"]:
        print(f"best epoch {result['best_epoch']}, validation RMSE "
              f"{result['validation_rmse']:.4f}; parameters "
              f"{'refitted on all training ratings' if config.refit else 'of that epoch'}",
              file=sys.stderr)
    if result["cold_test_ratings"]:
        warm = result["test_without_cold_rmse"]
        print(f"{result['cold_test_ratings']} of {result['test_ratings']} test ratings are of a "
              "user or item without training ratings and were predicted by a mean"
              + ("" if warm is None else f"; test RMSE without them {warm:.3f}"), file=sys.stderr)
    print(f"run folder: {path}", file=sys.stderr)


def load_and_split(config: RunConfig) -> splits.Split:
    """The training and test `Ratings` that the options ask for."""
    layout = (config.columns, config.separator, config.duplicates, config.rating_scale())
    if config.train:
        return read_train_and_test(Path(config.train), Path(config.test), *layout)
    if config.split in splits.OFFICIAL_FOLDS:
        return load_official_fold(config.split, config.data_dir, not config.quiet)
    if config.ratings:
        return split_ratings(config, read_ratings(config.ratings, *layout))
    return split_ratings(config, load_ratings(config.dataset, config.data_dir, config.seed,
                                              not config.quiet))


def split_ratings(config: RunConfig, ratings: Ratings) -> splits.Split:
    """The training and test parts that `--split` asks for."""
    rng = np.random.default_rng(config.seed)
    if config.split == "seq-aware":
        return splits.seq_aware_split(ratings)
    if config.split == "time":
        return splits.time_split(ratings, config.test_ratio)
    if config.split == "k-fold":
        return splits.k_folds(ratings, config.folds, rng)[config.fold - 1]
    if config.split == "held-out-rows":
        return splits.held_out_rows_split(ratings, config.test_ratio, rng, config.based)
    return splits.random_split(ratings, config.test_ratio, rng)


def make_trainer(net: Any, config: RunConfig, devices: List[mx.Context], kernel: str
                 ) -> gluon.Trainer:
    """A gluon.Trainer with the optimizer that `config` names.

    Adam is fused with the sparse gradients on a single device; several sum
    their gradients first, and so need them written out.
    """
    options = {"learning_rate": config.lr, "wd": config.wd}
    if kernel == "sparse" and config.optimizer == "adam" and len(devices) == 1:
        return gluon.Trainer(net.collect_params(), FusedAdam(net.sparse_weights(), **options))
    return gluon.Trainer(net.collect_params(), config.optimizer, options,
                         update_on_kvstore=False)  # a checkpoint reads its state

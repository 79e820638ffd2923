"""A trained model: train one, open one, and ask it.

train, test -> train_model -> TrainedModel -> save -> run folder -> load_run
"""

import io
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pandas as pd
from mxnet import npx

from .data import splits
from .data.clicks import Clicks
from .data.ids import IdMap
from .data.ratings import Ratings
from .data.sources import DATASETS
from .evaluation.ranking import RankingEvaluation
from .evaluation.rating import RatingEvaluation
from .models.kinds import Own, RunConfig
from .models.registry import make_config
from .runs.checkpoints import load_parameters
from .runs.experiment import Experiment
from .runs.folder import RunFolder, metrics_text
from .runs.rating import RatingParts
from .runs.result import shortfall
from .runs.runner import run_training
from .serving import new_user
from .serving.export import export_run, parts_of
from .serving.predictor import Parts, Scored, predictor_of
from .support.errors import ConfigError, DataError, DataWarning
from .support.files import locked, replacing
from .training.callbacks import Callback
from .training.checkpoint import Arrays, parameters_of, set_parameters
from .training.loaders import BATCHES, PairRows


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """A model that has been trained, ready to answer.

    It can be copied and pickled: as configuration, ratings and arrays, without the run that only
    its training knows. A pickle runs code when it is opened: open those that you have made.

    Parameters
    ----------
    path : Path or None
        The run folder; None of a model that was not written.
    config : RunConfig
    ratings : Ratings
        What each user is known to have rated or clicked: never recommended.
        With the maps to the user's own ids and titles.
    inputs : Ratings
        The part of it that the network is given, which is what it was
        measured with. Left out are test ratings, validation ratings of a run without
        a refit, and the held-out clicks of validation and test users.
    net : Block
        With the trained parameters, on the CPU.
    metrics : dict
        What result.json holds: `metrics["test_rmse"]`, and so on.
    history : DataFrame
        What metrics.csv holds: a row for each epoch of each phase.
    """

    path: Path | None
    config: RunConfig
    ratings: Ratings
    inputs: Ratings
    net: Any
    metrics: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    _write: Callable[[Path], None] | None = None

    def __repr__(self) -> str:
        users, items = self.ratings.num_users, self.ratings.num_items
        return f"TrainedModel({self.config.model}, {users} users, {items} items, path={self.path})"

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self.net.has_parameters:
            state["net"] = parameters_of(self.net)
        if self.path is None:
            state["_write"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        npx.set_np()
        net = state["net"]
        if isinstance(net, dict):
            net = _network_of(net, state["config"], state["inputs"])
        vars(self).update(state, net=net)

    def parts(self) -> Parts:
        """Return what it answers by; made anew by each call."""
        return parts_of(self.net, self.config, self.inputs)

    def predict(self, users: Sequence[Any], items: Sequence[Any]) -> np.ndarray:
        """Predict the ratings of pairs; see `Predictor.predict`."""
        return predictor_of(self).predict(users, items)

    def recommend(self, user: Any, n: int = 10) -> list[Scored]:
        """Return the best items that a user has not rated; see `Predictor.recommend`."""
        return predictor_of(self).recommend(user, n)

    def similar_items(self, item: Any, n: int = 10) -> list[Scored]:
        """Return the items most like an item; see `Predictor.similar_items`."""
        return predictor_of(self).similar_items(item, n)

    def recommend_new_user(
        self, ratings: Mapping[Any, float] | Iterable[Any], n: int = 10
    ) -> list[Scored]:
        """Return the best items for someone whose ratings were not in training.

        Parameters
        ----------
        ratings : mapping, or iterable of id
            Item id to rating; of a model that ranks items by clicks the ids alone.
        n : int

        Raises
        ------
        DataError
            If an item is unknown, or a rating is outside the scale.
        """
        items, values = new_user.positions_and_values(predictor_of(self), ratings)
        return new_user.recommend_new_user(predictor_of(self), items, values, n)

    def evaluate(self, test: Ratings | Clicks) -> dict[str, Any]:
        """Return the test metrics, named as in `metrics`.

        Parameters
        ----------
        test : Ratings, or Clicks for a model that ranks
            Of users and items that the model knows.

        Raises
        ------
        DataError
            If a user or an item is unknown.
        """
        npx.set_np()
        _check_kind(self.config, {"test": test})
        ranks = self.config.task == "ranking"
        evaluation = self._of_clicks(test) if ranks else self._of_ratings(test)
        return evaluation.report(self.net)

    def _of_ratings(self, test: Any) -> RatingEvaluation:
        """Return what measures test ratings, over the index maps of the model."""
        users = IdMap(self.ratings.user_ids, "user")
        items = IdMap(self.ratings.item_ids, "item")
        known = replace(
            test,
            users=users.positions(test.user_ids[test.users]),
            items=items.positions(test.item_ids[test.items]),
            user_ids=self.ratings.user_ids,
            item_ids=self.ratings.item_ids,
            scale=self.ratings.scale,
        )
        config: Any = self.config
        batchify = PairRows if config.reads == "pairs" else self._batchify
        reconstruct = config.split == "held-out-rows"
        return RatingEvaluation(
            self.inputs, known, [mx.cpu()], config.based, config.clip, batchify, reconstruct
        )

    def _of_clicks(self, test: Any) -> RankingEvaluation:
        """Return what measures the test users of some clicks."""
        if not np.array_equal(test.item_ids, self.ratings.item_ids):
            raise DataError("test has other items than the model was trained on")

        return RankingEvaluation(
            test.test.fold_in,
            test.test.held_out,
            [mx.cpu()],
            self._batchify,
            with_loss="test_loss" in self.metrics,
            cut_offs=vars(self.config)["at"],
        )

    @property
    def _batchify(self) -> Any:
        """Batches for the kernel that the model was trained with."""
        return BATCHES[self.metrics.get("kernel", "dense")]

    def save(self, folder: str | Path) -> None:
        """Write a run folder, which `load_run` and the commands open.

        Raises
        ------
        ConfigError
            If the folder holds files already, or cannot be written.
        """
        if self._write is None:
            raise ConfigError(
                "this model is a copy, or was put together by hand: there is no run to save; save "
                "the one that `train_model` returned"
            )
        self._write(Path(folder))

    def export(self, folder: str | Path) -> list[Path]:
        """Write model files that load without this package; see `export.export_run`."""
        return export_run(self, Path(folder))


def train_model(  # noqa: PLR0913  # what a person may give, by name
    config: RunConfig | None = None,
    train: Ratings | Clicks | None = None,
    test: Ratings | None = None,
    validation: Ratings | None = None,
    devices: Sequence[mx.Context] | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    net: Any = None,
    loss: Callable | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainedModel | None:
    """Train a model. Nothing is written unless `out` or `config.out` says so.

    Switches MXNet to NumPy semantics (`npx.set_np()`), and gives it and the
    sparse kernels `config.threads` CPU threads. With ratings at hand, what
    `config` says of data files and of the split is not used, but for `val_ratio`.

    Parameters
    ----------
    config : RunConfig, optional
        `AutoRecConfig`, `MFConfig` and so on; by default AutoRec. Where it was not given a
        preset, ratings of a data set with a name are trained on with the chapter's, and your
        own with `best`, as the commands do.
    train : Ratings, or Clicks for a model that ranks; optional
        Clicks are split by users already: they are all the data there is. By
        default the data that `config` names are read, and split as it says.
    test : Ratings, optional
        Measured after each epoch; over the index maps of `train`, as the splits make it, and
        none of `train`. Without it all of `train` is trained on, and nothing is tested.
    validation : Ratings, optional
        For early stopping, and none of `train`. By default `config.val_ratio` of `train`.
    devices : sequence of Context, optional
        By default those that `config` names.
    out : path, optional
        A new folder for the run: checkpoints while it trains, then what `save` writes.
    resume : path, optional
        The folder of a run of this configuration on these ratings, to go on with.
    net : Block, optional
        A Gluon network of your own that maps rows to rows, in place of the model's. It is copied,
        and trained dense. `load_run(path, net=net)` opens its folder; commands open the runs of
        models that are registered: see `d2l_autorec.models.registry`.
    loss : callable, optional
        (prediction, label) to one loss a row, in place of the model's; a label of 0 is none.
    callbacks : sequence of Callback
        Called last in every phase, as those of `d2l_autorec.training.callbacks`.

    Returns
    -------
    TrainedModel
        None in every worker but the first, where there are several.

    Raises
    ------
    UserError
        If parameters do not fit each other, or a folder cannot be used.
    NumericalError
        If the training diverges: the loss is not finite, or explodes.
    Interrupted
        If SIGINT or SIGTERM asked to stop.

    Warns
    -----
    DataWarning
        If the model is no better than user and item means, or than popularity.
    """
    if config is None:
        config = make_config()

    data = None
    if train is not None:
        if train.name not in (*DATASETS, "synthetic"):
            config = config.for_own_ratings()
        data = _data_of(config, train, test, validation)
    elif test is not None or validation is not None:
        raise ConfigError("train is missing: give it beside test and validation")

    if out is not None:
        config = replace(config, out=str(out))
    config = config.with_own(Own(net, loss, callbacks))

    folder = None if resume is None else Path(resume)
    experiment = run_training(config, data, devices, folder, in_runs=False)
    if experiment.workers.rank:
        return None
    for text in shortfall(experiment.result):
        warnings.warn(text, DataWarning, stacklevel=2)

    if experiment.folder is not None:
        return load_run(experiment.folder.path, net)
    return _model_of(experiment)


def _check_kind(config: RunConfig, parts: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the parts are what a model learns from."""
    kind = Clicks if config.task == "ranking" else Ratings
    for name, part in parts.items():
        if not isinstance(part, kind):
            raise ConfigError(
                f"{name} is a {type(part).__name__}: of `model={config.model}` it must be "
                f"{kind.__name__}"
            )


def _data_of(
    config: RunConfig, train: Any, test: Ratings | None, validation: Ratings | None
) -> RatingParts | Clicks:
    """Return the data of these parts; raise UserError unless they fit each other."""
    others = {"test": test, "validation": validation}
    given = {name: part for name, part in others.items() if part is not None}
    _check_kind(config, {"train": train, **given})
    if config.task == "ranking":
        if given:
            raise ConfigError(f"Clicks hold users for {' and '.join(given)} already: leave it out")
        return train

    for name, part in {"train": train, **given}.items():
        if not len(part):
            raise DataError(f"{name} has no ratings")

        same_users = np.array_equal(part.user_ids, train.user_ids)
        same_items = np.array_equal(part.item_ids, train.item_ids)
        if not (same_users and same_items and part.scale == train.scale):
            raise DataError(
                f"{name} has other user ids, item ids or another scale than train: "
                "split one Ratings, so that the parts have the same"
            )
    return RatingParts(*splits.all_to_train(train))._replace(**given)


def _model_of(experiment: Experiment) -> TrainedModel:
    """Return the model of a training without a folder, on the CPU, as `load_run` has it."""
    ratings, inputs = experiment.served()
    config, net = experiment.config, experiment.net
    if net.has_parameters:
        net = _network_of(parameters_of(net), config, inputs)
    return TrainedModel(
        None,
        config,
        ratings,
        inputs,
        net,
        experiment.result,
        _frame_of_epochs(metrics_text(experiment.checkpoint.phases)),
        experiment.write,
    )


def _network_of(arrays: Arrays, config: RunConfig, inputs: Ratings) -> Any:
    """Return the network with these parameters, on the CPU."""
    net: Any = config.build(inputs)
    net.initialize(ctx=mx.cpu())
    set_parameters(net, arrays)
    return net


def load_run(path: str | Path, net: Any = None) -> TrainedModel:
    """Open a run folder. Switches MXNet to NumPy semantics (`npx.set_np()`).

    Parameters
    ----------
    path : path
    net : Block, optional
        The network that `train_model` was given.

    Raises
    ------
    DataError
        If it is no finished run, or one of its files is damaged.
    """
    folder = RunFolder.read(Path(path))
    result = folder.finished()
    config = replace(folder.config, **result.get("chosen", {}))
    if net is not None:
        config = config.with_own(Own(net))

    npx.set_np()
    ratings, inputs, clicks = folder.known()
    network: Any = config.build(clicks or inputs)
    if network.has_parameters:
        load_parameters(network, folder.path / "model.params")
    else:
        network.fit(inputs.to_csr("user") if clicks is None else clicks.train)

    return TrainedModel(
        folder.path,
        config,
        ratings,
        inputs,
        network,
        result,
        _frame_of_epochs((folder.path / "metrics.csv").read_text()),
        partial(_copy_run, folder.path, list(folder.digests)),
    )


def _frame_of_epochs(text: str) -> pd.DataFrame:
    """Return the content of metrics.csv as a frame, one row an epoch."""
    return pd.read_csv(io.StringIO(text), float_precision="round_trip")


def _copy_run(path: Path, names: Sequence[str], folder: Path) -> None:
    """Copy the files of a finished run into a new folder, result.json last."""
    curve = ["curve.png"] if (path / "curve.png").is_file() else []
    with locked(folder, new=True, given="folder"):
        for name in [*names, *curve, "result.json"]:
            with replacing(folder / name) as unfinished:
                shutil.copyfile(path / name, unfinished)

"""A trained model: how to train one, open one, and ask it for predictions.

train, test -> train_model -> TrainedModel -> save -> run folder -> load_run
"""

import io
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pandas as pd
from mxnet import npx

from .data import splits
from .data.clicks import Clicks, clicks_of_parts
from .data.ratings import Ratings
from .data.sources import DATASETS
from .evaluation.ranking import RankingEvaluation
from .evaluation.rating import RatingEvaluation
from .models.kinds import Own, RunConfig
from .models.registry import make_config, options_in
from .models.vectors import Vectors
from .runs.checkpoints import load_parameters
from .runs.experiment import Experiment
from .runs.folder import RunFolder, metrics_text
from .runs.options import going_on, own_options
from .runs.rating import RatingParts
from .runs.result import shortfall
from .runs.runner import run_training
from .serving import new_user
from .serving.export import export_run, parts_of, user_vectors
from .serving.filters import Selection
from .serving.predictor import Parts, Scored, predictor_of
from .support.errors import ConfigError, DataError, warn
from .support.files import locked, replacing
from .training.callbacks import Callback
from .training.checkpoint import Arrays, parameters_of, set_parameters
from .training.loaders import BATCHES, PairRows


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """A trained model, which predicts and recommends; `train_model` and `load_run` return one.

    It can be copied and pickled. A copy has the configuration, ratings and arrays, but cannot
    `save` a run that was not written. Opening a pickle runs code: open only those that you made.

    Parameters
    ----------
    path : Path or None
        The run folder; None for a model that was not written.
    config : RunConfig
        The options of the run.
    ratings : Ratings
        All that each user is known to have rated or clicked, which is not recommended to them,
        with the maps to your own ids and titles. Of a model that ranks, a click is a 1, and a
        rating below the threshold a 0.5.
    inputs : Ratings
        The part of `ratings` that the network reads, as it did when it was
        measured. Left out are test ratings, validation ratings of a run without
        a refit, and the held-out clicks of test users, and of validation users that are not
        trained on.
    net : Block
        The network with its trained parameters, on the CPU.
    metrics : dict
        The content of result.json: `metrics["test_rmse"]`, and so on.
    history : DataFrame
        The content of metrics.csv: a row for each epoch of each phase.
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
        """Return the arrays and functions by which the model answers; each call makes them anew."""
        return parts_of(self.net, self.config, self.inputs)

    @property
    def item_vectors(self) -> pd.DataFrame:
        """The items' vectors: a frame with a row for each item id; its last column is the bias.

        The product of a user's and an item's vector plus both biases is the score, or the rating
        plus `ratings.offset`. Where the model has an output activation (`parts().output`), it is
        what that activation is applied to.

        Raises
        ------
        ConfigError
            If the model has no vectors, as ease and popularity.
        """
        return self._frame("item_id", self.ratings.item_ids, predictor_of(self).parts.items)

    @property
    def user_vectors(self) -> pd.DataFrame:
        """The users' vectors: a frame with a row for each user id, as `item_vectors` for items.

        For an AutoRec by users they are its last hidden units.

        Raises
        ------
        ConfigError
            If the model has no vectors.
        """
        vectors = user_vectors(self.net, predictor_of(self).parts, self.inputs)
        return self._frame("user_id", self.ratings.user_ids, vectors)

    def _frame(self, name: str, ids: np.ndarray, vectors: Vectors | None) -> pd.DataFrame:
        if vectors is None:
            raise ConfigError(f"`model={self.config.model}` has no vectors: choose another `model`")
        frame = pd.DataFrame(vectors.weights, index=pd.Index(ids, name=name))
        return frame.assign(bias=vectors.biases)

    def predict(self, users: Sequence[Any], items: Sequence[Any]) -> np.ndarray:
        """Return the predicted ratings, or scores, of pairs of user and item.

        Parameters
        ----------
        users, items : sequence of id
            The users and the items of the pairs, of equal length.

        Returns
        -------
        ndarray, shape (pairs,)

        Raises
        ------
        DataError
            If a user or an item is unknown.
        """
        return predictor_of(self).predict(users, items)

    def recommend(
        self,
        user: Any,
        n: int = 10,
        exclude: Collection[Any] = (),
        only: Collection[Any] | None = None,
        filter_already_rated: bool = True,
        min_ratings: int = 0,
        fallback: str | None = None,
    ) -> list[Scored]:
        """Return the items with the highest predictions for a user, the best first.

        Parameters
        ----------
        user : id
        n : int
            How many items to return, at most.
        exclude, only : collection of id
            Items to leave out, and items to choose from (by default all). A warning names ids
            that are unknown.
        filter_already_rated : bool
            Whether to leave out what the user has rated.
        min_ratings : int
            Number of known ratings below which an item is left out.
        fallback : {'popularity'}, optional
            What an unknown user gets in place of an error: the items with most ratings.

        Raises
        ------
        ConfigError
            If `n` or `min_ratings` is too low.
        DataError
            If the user is unknown, and there is no fallback.
        """
        selection = Selection(n, exclude, only, filter_already_rated, min_ratings)
        return predictor_of(self).recommend(user, selection, fallback)

    def similar_items(self, item: Any, n: int = 10, **filters: Any) -> list[Scored]:
        """Return the items whose vectors are most like an item's, the most similar first.

        Parameters
        ----------
        item : id
        n : int
            How many items to return, at most.
        **filters
            exclude, only, min_ratings: as for `recommend`.

        Raises
        ------
        ConfigError
            If `n` is below 1, or the model has no vectors of items.
        DataError
            If the item is unknown.
        """
        return predictor_of(self).similar_items(item, Selection(n, **filters))

    def recommend_new_user(
        self, ratings: Mapping[Any, float] | Iterable[Any], n: int = 10, **filters: Any
    ) -> list[Scored]:
        """Return the best items for someone whose ratings were not in training.

        Parameters
        ----------
        ratings : mapping, or iterable of id
            Item id to rating; for a model that ranks items by clicks, the ids alone.
        n : int
            How many items to return, at most.
        **filters
            exclude, only, filter_already_rated, min_ratings: as for `recommend`.

        Raises
        ------
        DataError
            If an item is unknown, or a rating is outside the scale.
        """
        rated = new_user.rated_by(predictor_of(self), ratings)
        return new_user.recommend_new_user(predictor_of(self), rated, Selection(n, **filters))

    def evaluate(self, test: Ratings | Clicks) -> dict[str, Any]:
        """Return the test metrics, named as in `metrics`.

        Parameters
        ----------
        test : Ratings, or Clicks for a model that ranks
            Test ratings by users and on items that the model knows; or clicks on the same items,
            whose test part is measured.

        Raises
        ------
        ConfigError
            If `test` is of the wrong class.
        DataError
            If a user or an item is unknown, or clicks are on other items than the model's.
        """
        npx.set_np()
        ranks = self.config.task == "ranking"
        _check_kind(self.config, {"test": test}, Clicks if ranks else Ratings)
        evaluation = self._of_clicks(test) if ranks else self._of_ratings(test)
        return evaluation.report(self.net)

    def _of_ratings(self, test: Any) -> RatingEvaluation:
        """Return the evaluation of test ratings, over the index maps of the model."""
        known = test.over(self.ratings.user_ids, self.ratings.item_ids)
        known = replace(known, scale=self.ratings.scale)
        splits.check_apart({"test": known})
        config: Any = self.config
        batchify = PairRows if config.reads == "pairs" else self._batchify
        options = config.based, config.clip, batchify, config.predicts_cold
        return RatingEvaluation(self.inputs, known, [mx.cpu()], *options)

    def _of_clicks(self, test: Any) -> RankingEvaluation:
        """Return the evaluation of the test users in some clicks."""
        if not np.array_equal(test.item_ids, self.ratings.item_ids):
            raise DataError("test has other items than the model was trained on")

        return RankingEvaluation(
            test.test.fold_in,
            test.test.held_out,
            [mx.cpu()],
            self._batchify,
            with_loss="test_loss" in self.metrics,
            cut_offs=vars(self.config)["at"],
            train=test.train,
        )

    @property
    def _batchify(self) -> Any:
        """The class of batches for the kernel that the model was trained with."""
        return BATCHES[self.metrics.get("kernel", "dense")]

    def save(self, folder: str | Path) -> None:
        """Write a run folder, which `load_run` and the commands open.

        Raises
        ------
        ConfigError
            If the folder holds files already or cannot be written, or the model is a copy of one
            that was not written.
        """
        if self._write is None:
            raise ConfigError(
                "this model is a copy, without a run: save the one that `train_model` returned"
            )
        self._write(Path(folder))

    def export(self, folder: str | Path) -> list[Path]:
        """Write model files that load without this package, and return their paths.

        See `d2l_autorec.serving.export.export_run` for the files.
        """
        return export_run(self, Path(folder))


def train_model(  # noqa: PLR0913  # what a person may give, by name
    config: RunConfig | Mapping[str, Any] | None = None,
    train: Ratings | Clicks | None = None,
    test: Ratings | None = None,
    validation: Ratings | None = None,
    devices: Sequence[mx.Context] | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    net: Any = None,
    loss: Callable | None = None,
    callbacks: Sequence[Callback] = (),
    start: TrainedModel | None = None,
) -> TrainedModel | None:
    """Train a model and return it; nothing is written unless `out` or `config.out` says so.

    This switches MXNet to NumPy semantics (`npx.set_np()`), and gives it and the
    sparse kernels `config.threads` CPU threads. If `train` is given, the options of `config` on
    data files and the split have no effect, except `val_ratio`.

    Parameters
    ----------
    config : RunConfig or mapping, optional
        An `AutoRecConfig`, `MFConfig` and so on, or options as `make_config` takes them; by default
        AutoRec. If no preset was given to it, data sets with a name are trained on with 'chapter',
        and your own ratings with 'best', as the commands do.
    train : Ratings, or Clicks for a model that ranks; optional
        The data to train on. Clicks are split already, and hold the other parts, too. Ratings
        become clicks for a model that ranks, if `test` is given, too. By default the data that
        `config` names are read and split as it says.
    test : Ratings, optional
        Ratings that are measured after each epoch, over the index maps of `train`, as a split
        makes them. They must not be in `train`. Without them nothing is tested.
    validation : Ratings, optional
        Ratings for early stopping, which must not be in `train`. By default `config.val_ratio` of
        `train`; for a model that ranks, a tenth. An option that needs validation, as `patience`,
        asks for a `val_ratio` above 0, which has no other effect beside these.
    devices : sequence of Context, optional
        Where to train; by default on the devices that `config` names.
    out : path, optional
        A new folder for the run: it gets checkpoints during training, then what `save` writes.
    resume : path, optional
        The folder of a run of this configuration on these ratings, to go on with.
    net : Block, optional
        A Gluon network of your own that maps rows to rows, in place of the model's. It is copied,
        and trained on dense batches. `load_run(path, net=net)` opens its folder; commands open
        only runs of registered models: see `d2l_autorec.models.registry`.
    loss : callable, optional
        (prediction, label) to one number for each row, in place of the model's loss; a label of 0
        stands for no rating.
    callbacks : sequence of Callback
        Callbacks, as `Callback` describes them, that are called last in every phase.
    start : TrainedModel, optional
        A model to go on from with newer ratings, `train`. Its options are used except where
        `config` was given others, and so are its parameters and its ratings; a new rating
        replaces an old one. New ids follow the known ones. Training goes on, at a constant rate,
        until the error of a tenth of the newer ratings no longer falls. A model that is
        computed at once is fitted anew to all ratings.

    Returns
    -------
    TrainedModel or None
        The model; with several workers, None in every one but the first.

    Raises
    ------
    UserError
        If arguments do not fit each other, or a folder cannot be used.
    NumericalError
        If the training diverges: the loss is not finite, or explodes.
    Interrupted
        If SIGINT or SIGTERM asked to stop.

    Warns
    -----
    DataWarning
        If the model is no better than user and item means, or than popularity.
    """
    _check_each("callbacks", [callbacks], Sequence)
    _check_each("one of callbacks", callbacks, Callback)
    _check_each("start", filter(None, [start]), TrainedModel)
    if config is not None and not isinstance(config, RunConfig):
        of_start = {"model": start.config.model} if start else {}
        config = make_config({**of_start, **options_in(config)})
    if config is not None and config.from_ and start is None:
        start = load_run(config.from_)
    if out is not None and resume is not None:
        raise ConfigError("`out` and `resume` exclude each other: leave one out")
    config = _config_of(config, train, start, net)
    if out is not None:
        config = replace(config, out=str(out))
    config = config.with_own(Own(net, loss, callbacks, start))

    data = None
    is_named = config.own_files() or config.dataset != "auto"
    if train is not None:
        data = _data_of(config, train, test, validation)
    elif not test is validation is None or not (start is None or is_named):
        raise ConfigError("train is missing: give it beside start, test and validation")

    folder = None if resume is None else Path(resume)
    experiment = run_training(config, data, devices, folder, in_runs=False)
    if experiment.workers.rank:
        return None
    for text in shortfall(experiment.result):
        warn(text, level=3)

    if experiment.folder is not None:
        return load_run(experiment.folder.path, net)
    return _model_of(experiment)


def _config_of(
    config: RunConfig | None, train: Ratings | Clicks | None, start: TrainedModel | None, net: Any
) -> RunConfig:
    """Return the options of a training: those of its start, or those that suit the ratings.

    An option of the model's network has no effect beside a `net`, and is refused.
    """
    if start is not None:
        given = {} if config is None else config.given
        return going_on(start.config, given, (config or start.config).model)

    config = config or make_config()
    if net is not None:
        _check_options_beside_net(config)
    is_own = train is not None and getattr(train, "name", "") not in (*DATASETS, "synthetic")
    preset = config.best_preset(config.given)
    return type(config)(**{"preset": preset, **config.given}) if is_own else config


def _check_options_beside_net(config: RunConfig) -> None:
    """Raise ConfigError for an option of the model's network, which has no effect on another."""
    for name, value in own_options(config).items():
        spec = config.__dataclass_fields__[name]
        is_of_net = spec.metadata["group"] == "model" and name not in ("model", "based")
        if is_of_net and value != spec.default:
            raise ConfigError(f"`{name}` has no effect: net is a network of your own")


def _check_each(name: str, values: Iterable[Any], kind: type) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise ConfigError(f"{name} is a {type(value).__name__}: it must be a {kind.__name__}")


def _check_kind(config: RunConfig, parts: Mapping[str, Any], kind: type) -> None:
    """Raise ConfigError unless all parts are of the class that the model learns from."""
    for name, part in parts.items():
        if not isinstance(part, kind):
            advice = "as `Ratings.from_frame` makes them"
            if kind is Clicks:
                advice = "as `prepare_clicks` makes them, or Ratings beside a test of them"
            raise ConfigError(
                f"{name} is a {type(part).__name__}: of `model={config.model}` it must be "
                f"{kind.__name__}, {advice}"
            )


def _data_of(
    config: RunConfig, train: Any, test: Ratings | None, validation: Ratings | None
) -> RatingParts | Clicks:
    """Return the parts as the data of a run; raise UserError unless they fit each other."""
    others = {"test": test, "validation": validation}
    given = {name: part for name, part in others.items() if part is not None}
    ranks = config.task == "ranking"
    goes_on = config.own.start is not None
    if ranks and (test is None or goes_on or isinstance(train, Clicks)):
        _check_kind(config, {"train": train}, Ratings if goes_on else Clicks)
        if given:
            raise ConfigError(f"Clicks hold users for {' and '.join(given)} already: leave it out")
        return train

    _check_kind(config, {"train": train, **given}, Ratings)
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
    if ranks:
        threshold = vars(config)["threshold"]
        return clicks_of_parts(train, given["test"], validation, threshold, config.seed)
    return RatingParts(*splits.all_to_train(train))._replace(**given)


def _model_of(experiment: Experiment) -> TrainedModel:
    """Return the model of a training without a folder, on the CPU, as `load_run` would."""
    ratings, inputs = experiment.served()
    config, net = experiment.config, experiment.net
    if net.has_parameters:
        net = _network_of(parameters_of(net), config, inputs)
    history = _frame_of_epochs(metrics_text(experiment.checkpoint.phases))
    return TrainedModel(
        None, config, ratings, inputs, net, experiment.result, history, experiment.write
    )


def _network_of(arrays: Arrays, config: RunConfig, inputs: Ratings) -> Any:
    """Return the network with these parameters, on the CPU."""
    net: Any = config.build(inputs)
    net.initialize(ctx=mx.cpu())
    set_parameters(net, arrays)
    return net


def load_run(path: str | Path, net: Any = None) -> TrainedModel:
    """Open a run folder and return its model.

    This switches MXNet to NumPy semantics (`npx.set_np()`).

    Parameters
    ----------
    path : path
        The run folder.
    net : Block, optional
        The network that `train_model` was given, if it was given one.

    Raises
    ------
    DataError
        If the folder holds no finished run, or one of its files is damaged.
    ConfigError
        If the run has a network of the user's own, and `net` is not given.
    """
    folder = RunFolder.read(Path(path))
    result = folder.finished()
    config = replace(folder.config, **result.get("chosen", {}))
    if net is not None:
        config = config.with_own(Own(net))
    elif "net" in folder.about["given"]:
        raise ConfigError(
            f"{folder.path} has a network of your own, which commands cannot open: give it anew, "
            "as in load_run(path, net=...)"
        )

    npx.set_np()
    ratings, inputs, clicks = folder.known()
    network: Any = config.build(clicks or inputs)
    if network.has_parameters:
        load_parameters(network, folder.path / "model.params")
    else:
        network.fit(inputs.to_csr("user") if clicks is None else clicks.train)

    history = _frame_of_epochs((folder.path / "metrics.csv").read_text())
    copy = partial(_copy_run, folder.path, list(folder.digests))
    return TrainedModel(folder.path, config, ratings, inputs, network, result, history, copy)


def _frame_of_epochs(text: str) -> pd.DataFrame:
    """Return the content of metrics.csv as a frame, with a row for each epoch."""
    return pd.read_csv(io.StringIO(text), float_precision="round_trip")


def _copy_run(path: Path, names: Sequence[str], folder: Path) -> None:
    """Copy the files of a finished run into a new folder, result.json last."""
    curve = ["curve.png"] if (path / "curve.png").is_file() else []
    with locked(folder, new=True, given="folder"):
        for name in [*names, *curve, "result.json"]:
            with replacing(folder / name) as unfinished:
                shutil.copyfile(path / name, unfinished)

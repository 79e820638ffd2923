"""The two kinds of models, for ratings and for clicks: their options, and what a run asks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..support.errors import ConfigError, did_you_mean, scale_of
from ..support.machine import DISTRIBUTED
from ..training.history import CUT_OFFS, NDCG, RMSE, History
from .options import (
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    HELD_OUT,
    LARGEST,
    PATIENCE,
    PAUSE,
    PENALTY,
    POSITIVE,
    RATING,
    RATIO,
    TRAINED,
    Among,
    Check,
    Need,
    Options,
    Sizes,
    Span,
    brief,
    check_needs,
    data_option,
    device_option,
    exclude,
    one_of,
    option,
    or_all,
    output_option,
    redefault,
    settle_values,
    training_option,
    when,
    within,
)

if TYPE_CHECKING:  # a model reads data that it is given
    from .vectors import FoldIn, Linear

OPTIMIZERS = ("adam", "sgd", "nag", "rmsprop", "adagrad", "adadelta", "adamax", "ftrl", "rprop")
OFFICIAL_FOLDS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")  # ml-100k comes with them
BY_TIME = ("seq-aware", "leave-last-out", "time")
SPLITS = ("random", *BY_TIME, "k-fold", *OFFICIAL_FOLDS)
SPLITS_BY_SHARE = ("random", "time")
PRESETS = ("chapter", "paper", "best")
DUPLICATES = ("error", "last", "mean")
SCHEDULES = ("constant", "step", "cosine", "plateau")
KERNELS = ("auto", "dense", "sparse")
KVSTORES = ("auto", "none", "local", "device", *DISTRIBUTED)
ALL = "all"  # a value of `fold`, and of `batch_size`
REFITTED = "refit-"  # how the names of phases begin, such as refit-pretrain-1
FEWEST_EPOCHS = 10  # what `updates` gives at least, however many steps that is
BEST: Options = dict(  # for ratings, whatever the model
    center=True,
    clip=True,
    val_ratio=0.1,
    refit=True,
    patience=0.2,
    lr_schedule="cosine",
    lr_warmup=0.1,  # the first epoch still predicts about the means, for data with no more in it
)
CUT_OFF = Check(
    lambda v: 0 < len(v) <= 100 and all(1 <= k <= 10_000 for k in v),
    "whole numbers from 1 to 10000, 100 of them at most",
)

VALIDATED = Need(lambda c: c.validated, "there is no validation", "add `{0.validation_option}=0.1`")
CUTS, COSINE = when("lr_schedule", "step", "plateau"), when("lr_schedule", "cosine")
OWN_FILE = Need(
    lambda c: c.own_files(),
    "it would describe your own file",
    "name one with `ratings`, or `train` and `test`",
)
SPLIT_HERE = Need(lambda c: not c.train, "`train` and `test` are the split")
BY_FOLD, BY_USERS = when("split", "k-fold"), when("split", "users")
NEW_USERS = Need(lambda c: not c.from_, "with `from_` the same users are held out")
BY_SHARE = when("split", *SPLITS_BY_SHARE)


class Own(NamedTuple):
    """A user's own network, loss, callbacks and start model for a training.

    Parameters
    ----------
    net : Block, optional
        A network in place of the model's.
    loss : callable, optional
        (prediction, label) to one loss a row, in place of the model's.
    callbacks : sequence of Callback
        Callbacks that are called last, in every phase.
    start : TrainedModel, optional
        A model that the training goes on from.
    """

    net: Any = None
    loss: Callable | None = None
    callbacks: Sequence[Any] = ()
    start: Any = None


@dataclass(frozen=True)
class RunConfig:
    """The options that every model has: data, training, devices and output.

    Options that are not given have the values of the preset, else their defaults.

    Attributes
    ----------
    given : dict
        The options that were given, which no preset overrides.

    Raises
    ------
    ConfigError
        If there is no such option, a value is out of its range, or two exclude each other. The
        message is one line with the option, the value and the remedy.
    """

    model: str = option("autorec", "")  # the help text is the registry's list of models
    preset: str = option(
        "chapter",
        "a set of defaults (for your own files: best)",
        one_of(PRESETS),
        computes=False,
        common=True,
    )
    dataset: str = data_option(
        "auto",
        "ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-latest-small, synthetic:USERSxITEMSxRATINGS",
        common=True,
        metavar="NAME",
    )
    data_dir: str | None = data_option(
        None,
        "where MovieLens sets are, and downloads go (default: $D2L_AUTOREC_DATA, else a cache)",
        metavar="DIR",
        computes=False,
    )
    ratings: str | None = data_option(
        None, "your own csv, tsv, JSON lines, Parquet or Feather file", common=True, metavar="FILE"
    )
    from_: str | None = data_option(
        None,
        "go on from this run with newer ratings: its options, ratings and parameters",
        metavar="RUN_DIR",
    )
    anew: bool = data_option(False, "train from scratch, to compare", None, when("from_"))
    columns: str | None = data_option(
        None, "by name or number: user=0,item=1,rating=2 (default: recognised)", None, OWN_FILE
    )
    separator: str | None = data_option(
        None, "as ;, ::, tab or space (default: recognised)", None, OWN_FILE, blank=True
    )
    quotes: bool = data_option(
        True, "whether a '\"' may enclose a field, or is part of the text", None, OWN_FILE
    )
    duplicates: str | None = data_option(
        None,
        "several ratings of an item by one user (default: an error; merged if they are clicks)",
        one_of(DUPLICATES),
        OWN_FILE,
    )
    scale: str | None = data_option(
        None, "lowest and highest rating, as in 1,5 (default: those that occur)", None, OWN_FILE
    )
    titles: str | None = data_option(
        None, "a file of the items' titles: columns id and title", None, OWN_FILE, metavar="FILE"
    )
    split: str = data_option("random", "which part is the test part", one_of(SPLITS))
    folds: int = data_option(5, "number of folds of --split k-fold", within(2, 1000), BY_FOLD)
    fold: int | str = data_option(
        1, "tested fold; all: each in turn", or_all(within(1, 1000)), BY_FOLD
    )
    lr: float = training_option(
        0.002, "learning rate", POSITIVE, common=True, space=Span(2e-4, 1e-2, log=True)
    )
    wd: float = training_option(1e-5, "weight decay", PENALTY)
    decay: str = training_option(
        "all", "which parameters --wd applies to", one_of(("all", "weights")), when("wd")
    )
    epochs: int = training_option(25, "passes over rows", within(1, 1_000_000), common=True)
    batch_size: int | str = training_option(
        256, "rows per step; all: one step per epoch", or_all(AT_LEAST_1)
    )
    patience: float = training_option(
        10, "stop after N epochs without a better score, or this share of all", PATIENCE, VALIDATED
    )
    eval_every: int = training_option(1, "evaluate every N-th epoch, and the last", AT_LEAST_1)
    lr_schedule: str = training_option(
        "constant", "learning rate over epochs: see --lr-step", one_of(SCHEDULES)
    )
    lr_step: int = training_option(
        10, "epochs between cuts of the rate; plateau: without a better score", AT_LEAST_1, CUTS
    )
    lr_factor: float = training_option(0.4, "a cut multiplies the rate by this", RATIO, CUTS)
    lr_warmup: float = training_option(
        0.0, "share of the epochs in which the rate grows from 0", FRACTION, COSINE
    )
    average: bool = training_option(
        False, "measure and keep parameters averaged over the last epochs"
    )
    optimizer: str = training_option(
        "adam",
        "Gluon's, or the paper's rprop, which needs --batch-size all",
        one_of(OPTIMIZERS),
    )
    seed: int = option(
        0, "of all random numbers", within(0, LARGEST), common=True, group="training"
    )
    seeds: int = option(
        1, "number of runs, with the seeds from --seed on", within(1, 1000), group="training"
    )
    gpus: str | None = device_option(
        None, "as in 0,1 (default: every GPU, else the CPU)", common=True, metavar="all|none|LIST"
    )
    cpus: int | None = device_option(None, "CPU contexts, which behave as devices", within(1, 64))
    kvstore: str = device_option(
        "auto",
        "where gradients are summed; dist_sync: see launch",
        one_of(KVSTORES),
        TRAINED,
    )
    threads: int | None = device_option(
        None, "CPU threads (default: $OMP_NUM_THREADS, else every CPU)", within(1, 512)
    )
    kernel: str = device_option(
        "auto", "compute all entries, or observed ones alone, on CPUs", one_of(KERNELS), TRAINED
    )
    hybridize: bool = device_option(True, "run the network as a compiled graph", None, TRAINED)
    out: str | None = output_option(
        None, "folder to write (default: a new one in runs/)", common=True, metavar="DIR"
    )
    checkpoint_every: int | str = output_option(
        "60s",
        "epochs or seconds from one checkpoint to the next",
        PAUSE,
        TRAINED,
    )
    quiet: bool = output_option(False, "no progress bar, only the result", common=True)
    json: bool = output_option(False, "print the result as JSON, and nothing else", common=True)

    def __init_subclass__(cls) -> None:
        """Keep the help and checks of an option that a subclass declares anew."""
        for spec in fields(cls):  # those of the base class
            if spec.name in vars(cls).get("__annotations__", ()):
                anew = vars(cls)[spec.name]
                own = anew if isinstance(anew, Field) else field(default=anew)
                metadata = {**spec.metadata, **own.metadata}
                setattr(cls, spec.name, field(default=own.default, metadata=metadata))

    def __new__(cls, **given: Any) -> "RunConfig":
        """Note which options are given; raise ConfigError for a name that is no option."""
        known = cls.__dataclass_fields__
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"{name}: {cls.__name__} has no such parameter{hint}")

        config = super().__new__(cls)
        object.__setattr__(config, "given", given)
        return config

    # Each instance has these two, but they are no options.
    given: ClassVar[Mapping[str, Any]]

    own: ClassVar[Own] = Own()  # set by `with_own`

    # What a model says of itself, beside its options.
    task: ClassVar[str]  # 'rating' or 'ranking'
    about: ClassVar[str] = ""  # what the help adds to a name that does not explain itself
    reads: ClassVar[str] = "rows"  # 'rows' of the interaction matrix, or 'pairs' of user and item
    at_once: ClassVar[bool] = False  # whether it is computed in closed form, without epochs
    clip = False  # whether predictions are clipped to the rating scale
    center = False  # whether a network predicts user and item means before its first step
    based = "user"  # whose ratings are a row of the matrix: 'user' or 'item'
    score: ClassVar[Any] = RMSE  # the validation score that decides on the best epoch
    has_penalty: ClassVar[Any] = False  # whether the network returns one beside the prediction
    fused: ClassVar[bool] = False  # whether the compiled steps may train the network
    logits: ClassVar[bool] = False  # whether the softmax of the scores is a likelihood
    unit_rows: ClassVar[bool] = False  # whether the network reads rows of Euclidean length 1
    sized_by: ClassVar[str] = ""  # the option that sets how large the network is
    presets: ClassVar[Mapping[str, Options]] = {}  # the presets other than 'chapter'
    not_best: ClassVar[Mapping[str, tuple[Any, ...]]] = {}  # values that `best` excludes
    in_other_units: ClassVar[Mapping[str, str]] = {}  # an option to the preset's one it replaces
    warm: ClassVar[Options] = {"lr_schedule": "constant", "patience": 3}  # defaults with `from_`
    compared: ClassVar[Mapping[str, Options] | None] = None  # rows of a report: label to options
    is_baseline: ClassVar[bool] = False  # whether it is the first row of a report
    validation_option: ClassVar[str] = "val_ratio"  # the option that makes a validation part

    def __post_init__(self) -> None:
        own = type(self).model
        object.__setattr__(self, "model", self.given.get("model", own))
        settle_values(self)
        if self.model != own:
            raise ConfigError(f"`model` is {brief(self.model)}: {type(self).__name__} is {own}")

        for name, value in self._preset().items():
            if name not in self.given:
                object.__setattr__(self, name, value)
        self._check_combinations()

    def _preset(self) -> Options:
        """Return the options that the preset sets; raise ConfigError if the model lacks it."""
        name = self.given.get("preset", self.default_preset(self.given))
        if name not in self.preset_names():
            raise ConfigError(
                f"`preset={brief(name)}` is not for `model={self.model}`: choose one of "
                f"{', '.join(self.preset_names())}"
            )

        chosen = self.options_of_preset(name, self.given)
        for given, other in self.in_other_units.items():
            if given in self.given:
                chosen.pop(other, None)
        if self.given.get("val_ratio") == 0:  # without validation there is no best epoch to refit
            chosen.pop("refit", None)
        return {"preset": name, **chosen}

    @classmethod
    def preset_names(cls) -> list[str]:
        """Return the names of the presets that the model has."""
        return ["chapter", *cls.presets]

    @classmethod
    def options_of_preset(cls, name: str, given: Mapping[str, Any]) -> Options:
        """Return the options of a preset, which may depend on those that are given."""
        return dict(cls.presets.get(name, {}))

    @classmethod
    def default_preset(cls, given: Mapping[str, Any]) -> str:
        """Return the preset where none is given: 'chapter', or `best_preset` for your own files."""
        if given.get("ratings") or given.get("train"):
            return cls.best_preset(given)
        return "chapter"

    @classmethod
    def best_preset(cls, given: Mapping[str, Any]) -> str:
        """Return 'best' if the model has it and the given options allow it, else 'chapter'."""
        fits = all(value not in cls.not_best.get(name, ()) for name, value in given.items())
        return "best" if fits and "best" in cls.presets else "chapter"

    def _check_combinations(self) -> None:
        own = self.own_files()
        if own and self.dataset != "auto":
            exclude(self, "dataset", own[0], "the ratings come from one of them")

        if self.from_ and not own and self.dataset == "auto":
            raise ConfigError("`from_` goes on with newer ratings: name them, as in `ratings=FILE`")

        layout = ("columns", "separator", "scale", "titles")
        check_needs(self, filter(vars(self).get, layout))  # defaults are None and need no check
        self.rating_scale()

        if self.split == "k-fold" and isinstance(self.fold, int) and self.fold > self.folds:
            raise ConfigError(f"`fold` is {self.fold}: it must be from 1 to `folds={self.folds}`")
        if self.fold == ALL and self.seeds > 1:
            exclude(self, "fold", "seeds", "the folds are several runs already")
        if self.gpus not in (None, "none") and self.cpus is not None:
            exclude(self, "gpus", "cpus", "drop one of them")

        if self.optimizer == "rprop" and self.batch_size != ALL:
            why = "it goes by the signs of a gradient of all rows; add `batch_size=all`"
            exclude(self, "optimizer", "batch_size", why)
        if self.optimizer == "rprop" and self.lr_schedule != "constant":
            why = "each weight has a step size of its own, and `lr` is the first"
            exclude(self, "optimizer", "lr_schedule", why)
        if self.kvstore in DISTRIBUTED and self.at_once:
            exclude(self, "kvstore", "model", "it is computed at once, by one process")

    @property
    def repeats(self) -> tuple[str, list[int]]:
        """The option in which several runs differ, 'fold' or 'seed', and its values.

        A single run has one value.
        """
        if self.fold == ALL:
            return "fold", [*range(1, self.folds + 1)]
        return "seed", [*range(self.seed, self.seed + self.seeds)]

    def check_single(self) -> None:
        """Raise ConfigError if the options ask for several runs, which only the command makes."""
        name, values = self.repeats
        if len(values) > 1:
            given = "fold=all" if name == "fold" else f"seeds={self.seeds}"
            raise ConfigError(
                f"`{given}` is a training for each {name}: python -m d2l_autorec.run does "
                "them in turn"
            )

    def rows_of_a_step(self, num_rows: int) -> int:
        """Return the batch size, capped at the number of rows."""
        return num_rows if isinstance(self.batch_size, str) else min(self.batch_size, num_rows)

    def with_own(self, own: Own) -> "RunConfig":
        """Return the options with a network, loss, callbacks or start of a user's own.

        Raises
        ------
        ConfigError
            If the model cannot use them.
        """
        if own.net is not None and not self.maps_rows:
            raise ConfigError(f"net maps rows to rows, and `model={self.model}` reads none")
        if own.net is not None and len(self.phases) > 2:
            raise ConfigError("net is trained as a whole: leave out `pretrain`")
        for name, given in (("loss", own.loss), ("callbacks", own.callbacks)):
            if given and self.at_once:
                raise ConfigError(f"{name} has no effect: `model={self.model}` is computed at once")

        if not (own.loss is None or callable(own.loss)):
            raise ConfigError(
                f"loss is {own.loss!r:.40}: it must be a function of prediction and label"
            )

        if own.loss is not None and own.net is None and self.has_penalty:
            raise ConfigError(
                f"loss cannot take the place of the loss of `model={self.model}`, which has a "
                "penalty beside the prediction: choose a model or preset without one"
            )

        changed: dict[str, Any] = {}
        if own.net is not None or own.loss is not None:  # neither knows sparse batches
            changed["kernel"] = "dense"
        if own.net is not None and self.center:
            changed["center"] = False
        config = replace(self, **changed)
        object.__setattr__(config, "own", own)
        return config

    @property
    def maps_rows(self) -> bool:
        """Whether a network maps rows of the interaction matrix to rows."""
        return self.reads == "rows" and not self.at_once

    @property
    def predicts_cold(self) -> bool:
        """Whether the model itself predicts for users and items without ratings, as means do."""
        return self.reads == "pairs" and self.at_once

    def network(self, data: Any) -> Any:
        """Return the uninitialised network, sized for `Ratings` or `Clicks`; see `base.Model`."""
        from .base import Fitted

        return Fitted(self)

    def build(self, data: Any) -> Any:
        """Return the network of a run: the user's own if one was given, else `network`'s."""
        from .base import Model, OwnNetwork

        net = self.network(data) if self.own.net is None else self.own.net
        return net if isinstance(net, Model) else OwnNetwork(net)

    def choose(self, matrix: Any, score: Callable[[Any], float]) -> "RunConfig":
        """Return the options, with those filled in that have the highest `score`."""
        return self

    def fit(self, matrix: Any) -> "Linear | FoldIn":
        """Return the scoring function of a model that is computed at once from `matrix`.

        Parameters
        ----------
        matrix : csr_matrix, shape (users, items)
            The training clicks.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither `network` nor `fit`")

    def make_loss(self, beta: Callable[[], float] | None = None) -> Callable:
        """Return the loss: (prediction, label) to one number for each row.

        `beta` returns the weight of a KL divergence.
        """
        raise NotImplementedError

    def epochs_for(self, num_rows: int) -> int:
        """Return how many epochs to train on a matrix with this many rows."""
        return self.epochs

    def weight_decay(self, data: Any, phase: str) -> float:
        """Return the optimizer's weight decay in a phase, for these data."""
        return self.wd

    def check_data(self, data: Any) -> None:
        """Raise ConfigError if the model cannot be trained on these data."""

    @property
    def phases(self) -> list[str]:
        """The names of a run's phases, in order; the last one's network is served."""
        return ["search"]

    def of_phase(self, phase: str) -> "RunConfig":
        """Return the options with which a phase is trained."""
        return self

    def own_files(self) -> list[str]:
        """Return the names of the options that were given files of the user's own."""
        return [name for name in ("ratings", "train", "test") if vars(self).get(name)]

    def source_name(self) -> str:
        """Return the name of the file or data set, as a part of a folder's name."""
        own = self.own_files()
        if own:
            return Path(getattr(self, own[0])).name.split(".")[0]
        return self.dataset.replace(":", "-")

    def rating_scale(self) -> tuple[float, float] | None:
        """Return `scale` as two numbers, None if it is not given; raise ConfigError for others."""
        return scale_of(self.scale)


@dataclass(frozen=True)
class RatingModel(RunConfig):
    """The base of models that predict ratings, with the options of their split and training."""

    train: str | None = data_option(None, "your own training ratings, with --test", metavar="FILE")
    test: str | None = data_option(None, "your own test ratings, with --train", metavar="FILE")
    split: str = redefault(
        "random",
        help="random: --test-ratio of all; seq-aware: each user's latest; leave-last-out: each "
        "user's latest, unless it is the only one; time: the latest of all; k-fold: fold --fold "
        "of --folds; u1..ub: ml-100k's own folds",
        needs=(SPLIT_HERE,),
        metavar="NAME",
    )
    test_ratio: float = data_option(
        0.1, "share of test ratings; 0 tests nothing", FRACTION, SPLIT_HERE, BY_SHARE
    )
    clip: bool = data_option(False, "clip predictions to the rating scale, as the paper does")
    val_ratio: float = data_option(0.0, "share of ratings for validation", FRACTION, common=True)
    refit: bool = option(
        False, "then train anew on all ratings for the best number of epochs", group="training"
    )
    updates: int | None = training_option(
        None,
        f"instead of --epochs: about N steps in all; at least {FEWEST_EPOCHS} epochs, with larger "
        "batches where these have more steps",
        AT_LEAST_1,
    )
    init_sigma: float = training_option(0.01, "standard deviation of the initial weights", POSITIVE)

    task = "rating"
    warm = {**RunConfig.warm, "val_ratio": 0.1, "refit": False}
    in_other_units: ClassVar[Mapping[str, str]] = {"epochs": "updates", "updates": "epochs"}

    def make_loss(self, beta: Callable[[], float] | None = None) -> Callable:
        """Return the squared-error loss: of pairs, or of the observed ratings in each row."""
        from ..training.losses import MaskedL2Loss, PenalizedL2Loss

        return PenalizedL2Loss() if self.reads == "pairs" else MaskedL2Loss()

    def rows_of_a_step(self, num_rows: int) -> int:
        """Return the rows, or pairs, per step: more than the batch size if `updates` needs it."""
        size = super().rows_of_a_step(num_rows)
        if self.updates is None:
            return size
        return min(max(size, FEWEST_EPOCHS * num_rows // self.updates), num_rows)

    def epochs_for(self, num_rows: int) -> int:
        """Return how many epochs to train on a matrix with this many rows, or pairs."""
        if self.updates is None:
            return self.epochs

        steps = num_rows / self.rows_of_a_step(num_rows)
        return max(FEWEST_EPOCHS, math.ceil(self.updates / steps))

    @property
    def validated(self) -> bool:
        """Whether part of the data is for validation."""
        return self.val_ratio > 0

    @property
    def phases(self) -> list[str]:
        """The names of a run's phases, in order; the last one's network is served."""
        return ["search", "refit"] if self.refit else ["search"]

    def _check_combinations(self) -> None:
        super()._check_combinations()
        self._check_files()

        if self.updates is not None and self.epochs != type(self).epochs:
            exclude(self, "epochs", "updates", "both set the length of training; give one")

        plateau = self.lr_schedule == "plateau"
        if (self.refit or plateau) and not self.val_ratio:
            name = "lr_schedule=plateau" if plateau else "refit"
            raise ConfigError(f"`{name}` needs validation ratings: add `val_ratio=0.1`")

    def _check_files(self) -> None:
        own = self.own_files()
        if own not in ([], ["ratings"], ["train", "test"]):
            raise ConfigError(
                f"`{own[0]}`: give either `ratings=FILE`, which is then split, or `train=FILE` and "
                "`test=FILE`"
            )
        if self.train and self.split != "random":
            exclude(self, "split", "train", "the two files are the split")

        if self.split in OFFICIAL_FOLDS and (own or self.dataset not in ("auto", "ml-100k")):
            exclude(self, "split", own[0] if own else "dataset", "it is a fold of ml-100k")


@dataclass(frozen=True)
class ClickModel(RunConfig):
    """The base of models that rank items, with the options of how clicks are made and split."""

    threshold: float | None = data_option(
        None, "lowest rating that is a click (default: 4 of ratings to 5, 1 of 0 and 1)", RATING
    )
    min_user_clicks: int = data_option(5, "users with fewer clicks are dropped", AT_LEAST_0)
    min_item_clicks: int = data_option(0, "items with fewer clicks are dropped", AT_LEAST_0)
    split: str = redefault(
        "users",
        help="users: --heldout-users; k-fold: fold --fold of --folds, the next one validates; "
        "leave-last-out: each user's latest click, the one before validates; time: the latest "
        "--test-ratio of all clicks, that share of the rest validates",
        check=one_of(("users", "k-fold", "leave-last-out", "time")),
    )
    folds: int = redefault(5, check=within(3, 1000))
    heldout_users: float = data_option(
        0.1, "users held out to test, and as many to validate", HELD_OUT, BY_USERS, NEW_USERS
    )
    validation_users: float | None = data_option(
        None, "users held out to validate, if not as many", HELD_OUT, BY_USERS, NEW_USERS
    )
    test_ratio: float = data_option(
        0.1, "share of clicks to test, the latest of all", RATIO, when("split", "time")
    )
    at: Sizes = output_option(CUT_OFFS, "cut-offs at which the test ranking is measured", CUT_OFF)
    batch_size: int | str = redefault(500, space=Among((100, 200, 500)))

    task = "ranking"
    score: ClassVar[Any] = NDCG
    validation_option = "validation_users"

    def make_loss(self, beta: Callable[[], float] | None = None) -> Callable:
        """Return the loss: the negative log likelihood of each row's clicks."""
        from ..training.losses import MultinomialLoss

        return MultinomialLoss(beta)

    def check_data(self, data: Any) -> None:
        """Raise ConfigError if an option needs validation users and there are none."""
        if self.lr_schedule == "plateau":
            self.check_validated("lr_schedule", data)

    @staticmethod
    def check_validated(name: str, data: Any) -> None:
        """Raise ConfigError unless there are validation users, which the option `name` needs."""
        if not data.validation_users:
            raise ConfigError(
                f"`{name}` needs validation users, and there are none: add `validation_users=0.1`"
            )

    def beta_schedule(self, updates: int, search: History | None) -> Callable[[int], float] | None:
        """Return the function from an update's number to the KL divergence's weight, or None.

        `search` is the record of an earlier phase, where there is one.
        """
        return None

    @property
    def validated(self) -> bool:
        """Whether part of the data is for validation."""
        if not BY_USERS.met(self):
            return True
        users = self.heldout_users if self.validation_users is None else self.validation_users
        return users > 0

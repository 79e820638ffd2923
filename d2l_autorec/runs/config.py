"""One frozen dataclass per model; every default stands here once, with its source."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..support.environment import DISTRIBUTED
from ..support.errors import ConfigError, DataError, did_you_mean
from ..support.files import read_json
from ..training.history import CUT_OFFS, NDCG, RMSE, Score
from ..training.schedules import ORIGINAL_STEPS, SCHEDULES
from .options import (
    AT_LEAST_0,
    AT_LEAST_1,
    DEVICES,
    DROPOUT,
    FRACTION,
    HELD_OUT,
    PAUSE,
    PENALTY,
    POSITIVE,
    RATING,
    RATIO,
    SEED,
    SHARES,
    SIZES,
    THREADS,
    Among,
    Check,
    Need,
    Shares,
    Sizes,
    Span,
    check_needs,
    check_values,
    one_of,
    option,
    redefault,
    shown,
    to_plain_values,
    within,
)
from .presets import best_preset, preset

# Not nadam: MXNet's advances one momentum schedule once for each parameter and device.
OPTIMIZERS = ("adam", "sgd", "nag", "rmsprop", "adagrad", "adadelta", "adamax", "ftrl", "rprop")
OFFICIAL_FOLDS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")  # of ml-100k
SPLITS = ("random", "seq-aware", "time", "k-fold", "held-out-rows", *OFFICIAL_FOLDS)
ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "elu", "selu")
MODELS = ("autorec", "mf", "bias", "mean", "mult-vae", "mult-dae", "popularity", "ease")
CLOSED_FORM = ("bias", "mean", "popularity", "ease")
PRESETS = ("chapter", "paper", "best")
ALL = "all"  # folds, or the rows of a step
AUTOENCODERS = ("autorec", "mult-vae", "mult-dae")
KVSTORES = ("auto", "none", "local", "device", *DISTRIBUTED)
PRETRAIN, REFITTED = "pretrain-", "refit-"  # as in refit-pretrain-1: names of phases
LENGTHS = Check(
    lambda v: len(v) == 2 and all(1 <= n <= 1_000_000 for n in v),
    "two whole numbers from 1 to 1000000",
)
EPOCHS = within(1, 1_000_000)  # each is a line of metrics.csv, which is written anew after each
FEWEST_EPOCHS = 10  # however many steps they are
FOLDS = within(2, 1000)  # each is a training of its own
FOLD = Check(
    lambda v: v == ALL if isinstance(v, str) else 1 <= v <= 1000, "from 1 to 1000, or all", (ALL,)
)
ROWS_OF_A_STEP = Check(
    lambda v: v == ALL if isinstance(v, str) else AT_LEAST_1.accepts(v),
    f"{AT_LEAST_1.allowed}, or all",
    (ALL,),
)
CUT_OFF = Check(
    lambda v: 0 < len(v) <= 100 and all(1 <= k <= 10_000 for k in v),
    "whole numbers from 1 to 10000, 100 of them at most",
)

TRAINED = Need(
    lambda c: c.model not in CLOSED_FORM,
    "`model={0.model}` is computed at once, without epochs",
    "choose another `model`",
    of_model=True,
)
WHOLE_ROWS = Need(
    lambda c: c.model in AUTOENCODERS,
    "`model={0.model}` reads no rows of a matrix",
    "choose another `model`",
    of_model=True,
)
VALIDATED = Need(lambda c: c.validated, "there is no validation", "add `{0.validation_option}=0.1`")
CUTS = Need(
    lambda c: c.lr_schedule in ("step", "plateau"),
    "`lr_schedule={0.lr_schedule}` makes no cuts",
    "add `lr_schedule=step`",
)
COSINE = Need(
    lambda c: c.lr_schedule == "cosine",
    "`lr_schedule={0.lr_schedule}` has no warm-up",
    "add `lr_schedule=cosine`",
)
DECAYS = Need(lambda c: c.wd > 0, "`wd` is 0", "add `wd=1e-5`")
OWN_FILE = Need(
    lambda c: c.own_files(),
    "it would describe your own file",
    "name one with `ratings`, or `train` and `test`",
)
MOVIELENS = Need(
    lambda c: not c.own_files() and not c.dataset.startswith("synthetic"),
    "it is where MovieLens sets are, and the ratings are not of one",
    "choose a MovieLens set with `dataset`",
)
SPLIT_HERE = Need(lambda c: not c.train, "`train` and `test` are the split")
SPLITS_BY_SHARE = ("random", "time", "held-out-rows")
BY_SHARE = Need(
    lambda c: c.split in SPLITS_BY_SHARE,
    "`split={0.split}` says which ratings are the test part",
    "choose another `split`",
)
BY_FOLD = Need(
    lambda c: c.split == "k-fold", "`split={0.split}` has no such folds", "add `split=k-fold`"
)
NO_FOLDS = Need(
    lambda c: c.split == "users", "the folds of `split=k-fold` are the test users", "drop `split`"
)
CENTERED = Need(lambda c: c.center, "the chapter's network reads every rating", "add `center`")
PRETRAINED = Need(lambda c: c.pretrain, "all layers are trained at once", "add `pretrain`")
DEEP = Need(lambda c: len(c.hidden) > 1, "there is one hidden layer", "add another to `hidden`")
BY_LAMBDA = Need(
    lambda c: bool(c.regularization), "`wd` is that of all weights", "add `regularization`"
)
CAPPED = Need(
    lambda c: not c.search_beta, "`search_beta` anneals up to 1, and then to what it found"
)
BY_STEPS = Need(
    lambda c: c.anneal == "original",
    "`anneal={0.anneal}` does not count steps",
    "add `anneal=original`",
)


def numbered(fold: int | str) -> int:
    """The number of a fold; raises ConfigError for all of them, which are several runs."""
    if isinstance(fold, int):
        return fold
    raise ConfigError(
        f"`fold={fold}` is a training for each fold: python -m d2l_autorec.run does them in turn"
    )


class Refusal(NamedTuple):
    """An option that cannot be had together with others, and why."""

    option: str
    why: str


@dataclass(frozen=True)
class RunConfig:
    """Where interactions come from, training, devices and output: what every model has.

    Options that are not given have the values of the preset, else their defaults.

    Attributes
    ----------
    given : dict
        The options that were given, and no preset may override.

    Raises
    ------
    ConfigError
        If a value is out of its range; one line with option, value and range.
    """

    model: str = option(
        "autorec",
        "model",
        "autorec; mf: biased matrix factorization; bias: user "
        "and item means; mean: the global mean. Of clicks: mult-vae, mult-dae; "
        "popularity; ease: a linear autoencoder in closed form",
        one_of(MODELS),
        common="autorec, mf, bias, mean: of ratings; the others: of clicks",
    )
    preset: str = option(
        "chapter",
        "model",
        "a set of defaults, which options override. chapter: "
        "the book's; paper: those of the model's paper, on ML-1M; best: the lowest "
        "validation error found, of autorec on four data sets, of mf on ML-100K; "
        "with --ratings or --train the default is best where the model has it",
        one_of(PRESETS),
        computes=False,  # it is the values that it sets
        common="a set of defaults, which options override",
    )
    dataset: str = option(
        "auto",
        "data",
        "which ratings: ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, "
        "ml-latest-small; synthetic or synthetic:USERSxITEMSxRATINGS, which "
        "are generated; auto is ml-100k if it is at hand or can be downloaded, "
        "else generated ratings, with a warning",
        common="ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-latest-small, or synthetic",
        metavar="NAME",
    )
    data_dir: str | None = option(
        None,
        "data",
        "folder with ml-100k/u.data or ml-100k.zip, and "
        "where downloads go (default: $D2L_AUTOREC_DATA, else a "
        "cache folder of yours)",
        metavar="DIR",
        needs=(MOVIELENS,),
        computes=False,
    )
    ratings: str | None = option(
        None,
        "data",
        "your own csv, tsv, dat, JSON lines or Parquet file, instead of --dataset",
        common="your own csv, tsv or dat file instead, gzipped or not",
        metavar="FILE",
    )
    columns: str | None = option(
        None,
        "data",
        "columns of your file by name or number from 0: "
        "user=userId,item=movieId,rating=rating, perhaps timestamp=time "
        "(default: recognised)",
        metavar="MAP",
        needs=(OWN_FILE,),
    )
    separator: str | None = option(
        None,
        "data",
        "separator of your file: a character, ::, ||, tab or space (default: recognised)",
        metavar="SEP",
        blank=True,
        needs=(OWN_FILE,),
    )
    quotes: bool = option(
        True,
        "data",
        "whether a '\"' of your file may enclose a field, or is part of the text",
        needs=(OWN_FILE,),
    )
    duplicates: str = option(
        "error",
        "data",
        "what becomes of several ratings of an item by one user",
        one_of(("error", "last", "mean")),
        needs=(OWN_FILE,),
    )
    scale: str | None = option(
        None,
        "data",
        "lowest and highest rating of your file, as in 1,5 (default: those that occur)",
        metavar="LOW,HIGH",
        needs=(OWN_FILE,),
    )
    split: str = option("random", "data", "which part is the test part", one_of(SPLITS))
    folds: int = option(5, "data", "number of folds of --split k-fold", FOLDS, needs=(BY_FOLD,))
    fold: int | str = option(
        1,
        "data",
        "which fold is the test part, from 1; all: one training after the other, and their mean",
        FOLD,
        needs=(BY_FOLD,),
        metavar="N|all",
    )
    lr: float = option(
        0.002,
        "training",
        "learning rate (the chapter's)",
        POSITIVE,
        needs=(TRAINED,),
        common="learning rate",
        space=Span(2e-4, 1e-2, log=True),
    )
    wd: float = option(1e-5, "training", "weight decay (the chapter's)", PENALTY, needs=(TRAINED,))
    decay: str = option(
        "all",
        "training",
        "what decays. all: weights and biases (the chapter's); weights: weights only (the paper's)",
        one_of(("all", "weights")),
        needs=(TRAINED, DECAYS),
    )
    epochs: int = option(
        25,
        "training",
        "passes over the rows (the chapter's)",
        EPOCHS,
        needs=(TRAINED,),
        common="how many",
    )
    batch_size: int | str = option(
        256,
        "training",
        "rows a step, over all devices (the chapter's); all: a step an epoch",
        ROWS_OF_A_STEP,
        needs=(TRAINED,),
        metavar="N|all",
    )
    patience: int = option(
        10,
        "training",
        "with validation, stop after N epochs without a better validation score",
        AT_LEAST_1,
        needs=(TRAINED, VALIDATED),
    )
    eval_every: int = option(
        1,
        "training",
        "evaluate after every N-th epoch, and after the last",
        AT_LEAST_1,
        metavar="N",
        needs=(TRAINED,),
    )
    lr_schedule: str = option(
        "constant",
        "training",
        "learning rate over epochs: see --lr-step",
        one_of(("constant", "step", "cosine", "plateau")),
        needs=(TRAINED,),
    )
    lr_step: int = option(
        10,
        "training",
        "step: epochs from one cut to the next; plateau: epochs "
        "without a better validation score before a cut",
        AT_LEAST_1,
        needs=(TRAINED, CUTS),
    )
    lr_factor: float = option(
        0.4,
        "training",
        "a cut of the learning rate multiplies it by this",
        RATIO,
        needs=(TRAINED, CUTS),
    )
    lr_warmup: float = option(
        0.0,
        "training",
        "cosine: share of the epochs in which the learning rate first grows from 0; the first "
        "epoch then leaves the network as it begins",
        FRACTION,
        needs=(TRAINED, COSINE),
    )
    optimizer: str = option(
        "adam",
        "training",
        "a Gluon optimizer (the chapter's: adam), or rprop (the paper's), for --batch-size all: "
        "signs of gradients, steps of growing or shrinking size, the first of --lr",
        one_of(OPTIMIZERS),
        needs=(TRAINED,),
    )
    seed: int = option(
        0,
        "training",
        "seeds split, initialisation, order of rows and dropout",
        SEED,
        common="of everything that is drawn at random",
    )
    gpus: str | None = option(
        None,
        "devices",
        "GPU numbers, as in 0,1; all; or none (default: every visible GPU, else the CPU)",
        common="as in 0,1 (default: every visible GPU, else the CPU)",
        metavar="all|none|LIST",
    )
    cpus: int | None = option(
        None, "devices", "train on N CPU contexts, which behave as N devices", DEVICES, metavar="N"
    )
    kvstore: str = option(
        "auto",
        "devices",
        "who adds up gradients. local, device: the CPU, the "
        "GPUs; none: nobody, on one device; auto: none, else device or local; "
        "dist_sync, dist_async: a parameter server and workers, see python -m "
        "d2l_autorec.launch",
        one_of(KVSTORES),
        needs=(TRAINED,),
    )
    preload: str = option(
        "auto",
        "devices",
        "whether dense rows are copied to the GPUs once "
        "instead of batch by batch; auto: where they fit",
        one_of(("auto", "yes", "no")),
        needs=(WHOLE_ROWS,),
        computes=False,
    )
    threads: int | None = option(
        None,
        "devices",
        "CPU threads (default: $OMP_NUM_THREADS, else every CPU)",
        THREADS,
        metavar="N",
    )
    kernel: str = option(
        "auto",
        "devices",
        "dense: the chapter's arithmetic; sparse: the same "
        "over observed ratings only, on CPUs; auto: sparse where it can",
        one_of(("auto", "dense", "sparse")),
        needs=(WHOLE_ROWS,),
    )
    hybridize: bool = option(
        True,
        "devices",
        "run the network as a compiled graph instead of layer by layer",
        needs=(TRAINED,),
    )
    out: str | None = option(
        None,
        "output",
        "run folder (default: runs/MODEL-DATASET-TIME)",
        common="run folder (default: runs/MODEL-DATASET-TIME)",
        metavar="DIR",
        computes=False,
    )
    checkpoint_every: int | str = option(
        "60s",
        "output",
        "from one checkpoint to the next: epochs, as in 5, or seconds, as in 60s, and then more "
        "where checkpoints would take above 5 % of the time",
        PAUSE,
        metavar="N|60s",
        needs=(TRAINED,),
        computes=False,
    )
    quiet: bool = option(
        False,
        "output",
        "no progress bar, only the result",
        computes=False,
        common="no progress bar, only the result",
    )
    json: bool = option(
        False,
        "output",
        "print the result as JSON, and nothing else on stdout",
        computes=False,
        common="print the result as JSON",
    )

    def __new__(cls, **given: Any) -> "RunConfig":
        """Note what is given; refuse a name that is no option, with the one that may be meant."""
        known = cls.__dataclass_fields__
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"{name}: {cls.__name__} has no such parameter{did_you_mean(name, known)}"
                )

        config = super().__new__(cls)
        object.__setattr__(config, "given", given)
        return config

    given: ClassVar[Mapping[str, Any]]  # of an instance, but no option

    def __post_init__(self) -> None:
        to_plain_values(self)
        check_values(self)

        for name, value in preset({**self.given, "model": type(self).model}).items():
            if name not in self.given:
                object.__setattr__(self, name, value)
        self._check_combinations()

    def for_own_ratings(self) -> "RunConfig":
        """Return the configuration with the preset for own ratings, unless one was given."""
        if "preset" in self.given:
            return self
        return type(self)(**self.given, preset=best_preset({**self.given, "model": self.model}))

    def _check_combinations(self) -> None:
        own = self.own_files()
        if own and self.dataset != "auto":
            raise ConfigError(
                f"`dataset={self.dataset}` and `{own[0]}` exclude each other: the "
                "ratings come from one of them"
            )

        layout = {"columns": self.columns, "separator": self.separator, "scale": self.scale}
        given = [name for name, value in layout.items() if value is not None]
        check_needs(self, given)  # their default says nothing
        self.rating_scale()

        if self.split == "k-fold" and isinstance(self.fold, int) and self.fold > self.folds:
            raise ConfigError(f"`fold` is {self.fold}: it must be from 1 to `folds={self.folds}`")

        if self.gpus not in (None, "none") and self.cpus is not None:
            raise ConfigError(
                f"`gpus={self.gpus}` and `cpus={self.cpus}` exclude each other: drop one of them"
            )

        if self.optimizer == "rprop":
            self._check_rprop()
        if self.kvstore in DISTRIBUTED:
            self._check_distributed()

    def _check_rprop(self) -> None:
        if self.batch_size != ALL:
            raise ConfigError(
                f"`optimizer=rprop` and `batch_size={self.batch_size}` exclude each other: it goes "
                "by the signs of a gradient of all rows; add `batch_size=all`"
            )
        if self.lr_schedule != "constant":
            raise ConfigError(
                f"`optimizer=rprop` and `lr_schedule={self.lr_schedule}` exclude each other: each "
                "weight has a step size of its own, and `lr` is the first"
            )

    def _check_distributed(self) -> None:
        """Raise ConfigError for what several workers cannot do together."""
        refused = self._refused_by_workers()
        if self.kvstore == "dist_async":
            refused += self._refused_by_servers()

        for name, why in refused:
            value = getattr(self, name)
            chosen = name
            if value is not True:
                chosen += f"={value}"

            raise ConfigError(f"`kvstore={self.kvstore}` and `{chosen}` exclude each other: {why}")

    def _refused_by_workers(self) -> list[Refusal]:
        """The options of this run that several workers cannot have, and why."""
        if self.model in CLOSED_FORM:
            return [Refusal("model", "it is computed at once, by one process")]
        return []

    def _refused_by_servers(self) -> list[Refusal]:
        """The options that need an optimizer here: asynchronous servers keep theirs."""
        refused = []
        if self.lr_schedule != "constant":
            why = "the servers' learning rate is set once, at the start"
            refused.append(Refusal("lr_schedule", why))
        if "refit" in self.phases:
            refused.append(Refusal("refit", "the servers cannot begin anew"))
        if self.optimizer == "rprop":
            why = "it goes by gradients of all rows, and each worker sends those of its own"
            refused.append(Refusal("optimizer", why))

        return refused

    def rows_of_a_step(self, num_rows: int) -> int:
        """Of so many: with more the epochs would only roll rows over."""
        if isinstance(self.batch_size, str):
            return num_rows
        return min(self.batch_size, num_rows)

    sized_by = ""  # the option that says how large the network is, where there is one
    validation_option = "val_ratio"

    @property
    def score(self) -> Score:
        """The validation metric that decides on the best epoch."""
        return RMSE

    @property
    def validated(self) -> bool:
        """Whether part of the data is for validation."""
        return True

    @property
    def phases(self) -> list[str]:
        """What a run consists of, one after the other; the last is served."""
        return ["search"]

    def of_phase(self, phase: str) -> "RunConfig":
        """The options by which a phase trains."""
        return self

    @property
    def all_folds(self) -> bool:
        """Whether each fold is to be trained in turn."""
        return self.fold == ALL

    def own_files(self) -> list[str]:
        """Which options name files of the user's own."""
        if self.ratings:
            return ["ratings"]
        return []

    def source_name(self) -> str:
        """What the ratings come from, as a part of a folder's name."""
        own = self.own_files()
        if own:
            return Path(getattr(self, own[0])).name.split(".")[0]
        return self.dataset.replace(":", "-")

    def rating_scale(self) -> tuple[float, float] | None:
        """`scale` as two numbers, None where it is left out."""
        if self.scale is None:
            return None

        try:
            low, high = map(float, self.scale.split(","))
        except ValueError:
            low, high = 1.0, 0.0  # refused below

        if not (low < high and RATING.accepts(low) and RATING.accepts(high)):
            raise ConfigError(
                f"`scale` is {self.scale}: it must be the lowest and the highest rating, as in 1,5"
            )

        return low, high


@dataclass(frozen=True)
class RatingConfig(RunConfig):
    """Models that predict held-out ratings: the split, and what is done to predictions."""

    train: str | None = option(
        None, "data", "your own training ratings, with --test", metavar="FILE"
    )
    test: str | None = option(None, "data", "your own test ratings, with --train", metavar="FILE")
    split: str = redefault(
        RunConfig,
        "split",
        "random",
        help="random: each rating is a test rating with probability "
        "--test-ratio (the chapter's); seq-aware: each user's latest rating is; "
        "time: the latest --test-ratio of all; k-fold: fold --fold of --folds; "
        "held-out-rows: --test-ratio of the items, reconstructed from their own "
        "ratings; u1..u5, ua, ub: ml-100k's official folds",
        needs=(SPLIT_HERE,),
    )
    test_ratio: float = option(
        0.1,
        "data",
        "share of test ratings (the chapter's 0.1); 0 trains on all, and tests nothing",
        FRACTION,
        needs=(SPLIT_HERE, BY_SHARE),
    )
    clip: bool = option(
        False,
        "data",
        "clip predictions to the rating scale, as the paper does; the chapter does not",
    )
    val_ratio: float = option(
        0.0,
        "data",
        "share of the training ratings held out for early "
        "stopping; the best epoch's parameters are kept",
        Check(lambda v: 0 <= v < 1, "at least 0 and below 1"),
        common="share of ratings to choose the best epoch by",
    )
    refit: bool = option(
        False,
        "training",
        "after early stopping, train anew on training and "
        "validation ratings for the best number of epochs",
    )
    init_sigma: float = option(
        0.01,
        "model",
        "standard deviation of the initial weights (the chapter's)",
        POSITIVE,
        needs=(TRAINED,),
    )

    def weight_decay(self, num_users: int, num_items: int) -> float:
        """The weight decay for an interaction matrix of this size."""
        return self.wd

    @property
    def validated(self) -> bool:
        return self.val_ratio > 0

    @property
    def phases(self) -> list[str]:
        if self.refit:
            return ["search", "refit"]
        return ["search"]

    def own_files(self) -> list[str]:
        files = {"ratings": self.ratings, "train": self.train, "test": self.test}
        return [name for name, file in files.items() if file]

    def _check_combinations(self) -> None:
        super()._check_combinations()
        self._check_files()

        if not self.val_ratio:
            self._check_without_validation()
        if self.split == "held-out-rows":
            self._check_held_out_rows()

    def _check_files(self) -> None:
        own = self.own_files()
        if own not in ([], ["ratings"], ["train", "test"]):
            named = " and ".join(f"`{name}`" for name in own)
            raise ConfigError(
                f"{named}: give either `ratings=FILE`, which is then split, or "
                "`train=FILE` and `test=FILE`"
            )

        if self.train and self.split != "random":
            raise ConfigError(
                f"`split={self.split}` and `train` exclude each other: the two files are the split"
            )

        others = own[:1]  # what the ratings come from, where it is not ml-100k
        if not own and self.dataset not in ("auto", "ml-100k"):
            others = [f"dataset={self.dataset}"]
        if self.split in OFFICIAL_FOLDS and others:
            raise ConfigError(
                f"`split={self.split}` is an official fold of ml-100k: leave out `{others[0]}`"
            )

    def _check_without_validation(self) -> None:
        needy = []
        if self.refit:
            needy.append("refit")
        if self.lr_schedule == "plateau":
            needy.append("lr_schedule=plateau")

        if needy:
            raise ConfigError(f"`{needy[0]}` needs validation ratings: add `val_ratio=0.1`")

    def _check_held_out_rows(self) -> None:
        if self.model != "autorec":
            raise ConfigError(
                f"`split=held-out-rows` and `model={self.model}` exclude each other: "
                "only an autoencoder can reconstruct a row that training never saw"
            )

        if self.val_ratio:
            raise ConfigError(
                "`val_ratio` and `split=held-out-rows` exclude each other: a row "
                "that is held out as a whole can only be reconstructed"
            )


@dataclass(frozen=True)
class AutoRecConfig(RatingConfig):
    """AutoRec with the settings of the d2l chapter."""

    based: str = option(
        "item",
        "model",
        "item: an item's ratings are a row (the chapter's); user: a user's are",
        one_of(("item", "user")),
        space=Among(("item", "user")),
    )
    hidden: Sizes = option(
        (500,),
        "model",
        "hidden units (the chapter's and the paper's 500); several layers as in 500,250,500",
        SIZES,
        common="hidden units",
        space=Among(((100,), (250,), (500,), (1000,))),
    )
    encoder_activation: str = option(
        "sigmoid",
        "model",
        "of every hidden layer (the chapter's: sigmoid)",
        one_of(ACTIVATIONS),
        space=Among(("sigmoid", "tanh", "relu", "identity")),
    )
    decoder_activation: str = option(
        "identity",
        "model",
        "of the predictions (the chapter's: "
        "identity); sigmoid and tanh, which are bounded, are scaled "
        "to the rating scale",
        one_of(ACTIVATIONS),
    )
    tied: bool = option(
        False,
        "model",
        "the decoder has the encoder's weights; first and last hidden layer must be of equal size",
    )
    dropout: Shares = option(
        (0.05,),
        "model",
        "dropout after the first hidden layer (the chapter's)",
        DROPOUT,
        space=Span(0.0, 0.7),
    )
    input_dropout: float = option(
        0.0,
        "model",
        "share of the ratings that the encoder does not see in training, and is to predict",
        FRACTION,
        needs=(CENTERED,),
        space=Span(0.0, 0.8),
    )
    input_scale: float = option(
        1.0,
        "model",
        "what the encoder's inputs are multiplied by: as larger initial weights, a higher rate and "
        "a smaller weight decay of the encoder",
        POSITIVE,
        space=Span(0.3, 30.0, log=True),
    )
    center: bool = option(
        False,
        "model",
        "the network reads and predicts what user and item means leave of the ratings",
    )
    loss: str = option(
        "l2",
        "model",
        "l2: half the mean squared error of a row (the chapter's); "
        "root: root of a batch's sum of squared errors, on one device",
        one_of(("l2", "root")),
    )
    regularization: float | None = option(
        None,
        "training",
        "instead of --wd: the chapter's "
        "lambda, which means the same on a matrix of any size; the weight decay is "
        "lambda / (users x items). With --center it means the same on any rating scale, too",
        PENALTY,
        metavar="LAMBDA",
        space=Span(2.0, 700.0, log=True),
    )
    inner_regularization: float | None = option(
        None,
        "training",
        "lambda of the weights between hidden layers, which predict hidden units and not ratings "
        "(default: as --regularization)",
        PENALTY,
        metavar="LAMBDA",
        needs=(DEEP, BY_LAMBDA),
    )
    batch_size: int | str = redefault(
        RunConfig, "batch_size", 256, space=Among((64, 128, 256, 512))
    )
    updates: int | None = option(
        None,
        "training",
        f"instead of --epochs: as many epochs as make about N steps, but at least {FEWEST_EPOCHS}",
        AT_LEAST_1,
        metavar="N",
    )

    pretrain: bool = option(
        False,
        "training",
        "train the hidden layers one after the other first, each with the decoding layer that "
        "mirrors it, as an autoencoder of what it reads; for several, as in 500,250,500",
    )
    pretrain_epochs: Sizes = option(
        (140, 400),
        "training",
        "epochs of the first layer, on ratings, and of each other, on the units before it",
        LENGTHS,
        needs=(PRETRAINED,),
    )

    pretrain_lr: float | None = option(
        None,
        "training",
        "learning rate of these phases (default: as --lr)",
        POSITIVE,
        metavar="X",
        needs=(PRETRAINED,),
    )

    @property
    def phases(self) -> list[str]:
        stages = []
        if self.pretrain:
            stages = [f"{PRETRAIN}{k + 1}" for k in range(len(self.hidden) // 2 + 1)]

        phases = [*stages, "search"]
        if self.refit:
            phases += [*(f"{REFITTED}{stage}" for stage in stages), "refit"]
        return phases

    def of_phase(self, phase: str) -> "AutoRecConfig":
        stage = stage_of(phase)
        if not stage:
            return self

        first = stage == 1
        hidden = self.hidden
        if first:
            hidden = hidden[:1]
        return replace(
            self,
            hidden=hidden,
            pretrain=False,
            epochs=self.pretrain_epochs[not first],
            updates=None,
            lr=self.pretrain_lr or self.lr,
        )

    @property
    def inner_share(self) -> float:
        """Weight decay between hidden layers, as a share of that of the others."""
        if self.inner_regularization is None or not self.regularization:
            return 1.0
        return self.inner_regularization / self.regularization

    def epochs_for(self, num_rows: int) -> int:
        """How many epochs to train on a matrix of so many rows."""
        if self.updates is None:
            return self.epochs

        steps = num_rows / self.rows_of_a_step(num_rows)
        return max(FEWEST_EPOCHS, math.ceil(self.updates / steps))

    def weight_decay(self, num_users: int, num_items: int, unit: float = 1.0) -> float:
        """The weight decay for an interaction matrix of this size.

        The chapter's objective is the sum of squared errors over observed ratings
        plus lambda |weights|^2; its loss is half that sum divided by users x items,
        and so its weight decay is lambda divided by them. (The paper's equation 3
        has lambda / 2: the same penalty is twice the lambda there.) Where 1 in the network stands
        for `unit` in ratings, errors are in that unit, and squares in its square.
        """
        if self.regularization is None:
            return self.wd
        return self.regularization * unit * unit / (num_users * num_items)

    sized_by = "hidden"

    def _refused_by_workers(self) -> list[Refusal]:
        refused = super()._refused_by_workers()
        if self.loss == "root":
            refused.append(Refusal("loss", "it is one number for a whole batch"))
        if self.pretrain:
            why = "the servers cannot begin anew with parameters of other shapes"
            refused.append(Refusal("pretrain", why))
        return refused

    def _check_combinations(self) -> None:
        super()._check_combinations()
        if self.regularization is not None and self.wd != RunConfig.wd:
            raise ConfigError(
                f"`wd={self.wd:g}` and `regularization={self.regularization:g}` "
                "exclude each other: they are one penalty in two units"
            )

        if self.updates is not None and self.epochs != RunConfig.epochs:
            raise ConfigError(
                f"`epochs={self.epochs}` and `updates={self.updates}` exclude each other: they "
                "are one length in two units"
            )

        bounded = self.decoder_activation != "identity"
        if self.center and (bounded or self.loss != "l2"):
            other = f"loss={self.loss}"
            if bounded:
                other = f"decoder_activation={self.decoder_activation}"
            raise ConfigError(
                f"`center` and `{other}` exclude each other: what the means leave is on no "
                "scale, and its error is squared"
            )

        if self.regularization is not None and self.loss != "l2":
            raise ConfigError(
                f"`regularization` and `loss={self.loss}` exclude each other: the "
                "chapter's lambda goes with the squared error; give `wd`"
            )

        mirrored = self.hidden == self.hidden[::-1] and len(self.hidden) % 2 == 1
        if self.pretrain and not (mirrored and len(self.hidden) > 1):
            raise ConfigError(
                "`pretrain` needs hidden layers that mirror each other around one in the middle, "
                f"as in 500,250,500, but `hidden` is {shown(self.hidden)}"
            )

        if self.tied and self.hidden[0] != self.hidden[-1]:
            raise ConfigError(
                "`tied` needs a first and last hidden layer of equal size, but "
                f"`hidden` is {shown(self.hidden)}"
            )


@dataclass(frozen=True)
class MFConfig(RatingConfig):
    """Biased matrix factorization with the settings of the d2l chapter on it."""

    model: str = redefault(RunConfig, "model", "mf")
    factors: int = option(
        30, "model", "latent factors (the chapter's)", AT_LEAST_1, space=Span(8, 256, log=True)
    )
    center: bool = option(
        False,
        "model",
        "add the training ratings' mean to every prediction; the chapter's biases have to learn it",
    )
    wd: float = redefault(RunConfig, "wd", RunConfig.wd, space=Span(1e-6, 1e-3, log=True))
    epochs: int = redefault(RunConfig, "epochs", 20)
    batch_size: int | str = redefault(
        RunConfig, "batch_size", 512, space=Among((256, 512, 1024, 2048))
    )

    sized_by = "factors"


@dataclass(frozen=True)
class BiasConfig(RatingConfig):
    """User and item means, shrunk towards 0: in closed form."""

    model: str = redefault(RunConfig, "model", "bias")
    damping: float = option(
        5.0,
        "model",
        "ratings of 0 deviation that each user and item is given beside its own",
        PENALTY,
        space=Span(0.5, 50.0, log=True),
    )


@dataclass(frozen=True)
class MeanConfig(RatingConfig):
    """The global mean."""

    model: str = redefault(RunConfig, "model", "mean")


@dataclass(frozen=True)
class RankingConfig(RunConfig):
    """Models that rank items by clicks: how ratings become clicks, and who is held out."""

    threshold: float | None = option(
        None,
        "data",
        "lowest rating that is a click (default: 4 of ratings to 5, 1 of 0 and 1, each row where "
        "there are no ratings or all are equal; of others it is to be given)",
        RATING,
    )
    min_user_clicks: int = option(
        5, "data", "users with fewer clicks are dropped (the original's)", AT_LEAST_0, metavar="N"
    )
    min_item_clicks: int = option(
        0, "data", "items with fewer clicks are dropped (the original's)", AT_LEAST_0, metavar="N"
    )
    split: str = redefault(
        RunConfig,
        "split",
        "users",
        help="users: --heldout-users of them are held out; k-fold: fold --fold of --folds of them "
        "is tested, and the next one validates",
        check=one_of(("users", "k-fold")),
    )
    folds: int = redefault(RunConfig, "folds", 5, check=within(3, 1000))
    heldout_users: float = option(
        0.1,
        "data",
        "users for the test, and as many again for validation: a number, or a fraction of all; "
        "0 trains on all users",
        HELD_OUT,
        metavar="N|FRACTION",
        needs=(NO_FOLDS,),
    )
    validation_users: float | None = option(
        None,
        "data",
        "users for validation, where there are not to be as many as for the test",
        HELD_OUT,
        metavar="N|FRACTION",
        needs=(NO_FOLDS,),
    )
    at: Sizes = option(
        CUT_OFFS,
        "output",
        "cut-offs at which the test ranking is measured",
        CUT_OFF,
        computes=False,  # they are measured of what was computed
    )
    batch_size: int | str = redefault(RunConfig, "batch_size", 500, space=Among((100, 200, 500)))

    based, clip = "user", False  # a row is a user's clicks, and scores have no scale
    validation_option = "validation_users"

    @property
    def validated(self) -> bool:
        if self.validation_users is None:
            return self.heldout_users > 0
        return self.validation_users > 0

    @property
    def score(self) -> Score:
        """NDCG@100 decides on the best epoch."""
        return NDCG


@dataclass(frozen=True)
class ClickAutoencoderConfig(RankingConfig):
    """What Mult-VAE and Mult-DAE share: Liang et al. 2018 and their notebook."""

    lr: float = redefault(RunConfig, "lr", 1e-3)
    wd: float = redefault(RunConfig, "wd", 0.0)
    decay: str = redefault(RunConfig, "decay", "weights")
    epochs: int = redefault(RunConfig, "epochs", 200)
    patience: int = redefault(RunConfig, "patience", 200)
    hidden: Sizes = option(
        (600, 200),
        "model",
        "hidden units up to the code (the original's 600,200); the decoder mirrors them",
        SIZES,
        space=Among(((100,), (200,), (600,), (300, 100), (600, 200))),
    )
    dropout: Shares = option(
        (0.5,),
        "model",
        "share of the input that is dropped; or one share "
        "for the input of each layer, as in 0.5,0,0,0",
        SHARES,
        space=Span(0.2, 0.8),
    )
    early_stopping: str = option(
        "ndcg@100",
        "training",
        "the validation score that decides. loss: negative log likelihood of held-out clicks",
        one_of(("ndcg@100", "loss")),
    )

    sized_by = "hidden"

    @property
    def score(self) -> Score:
        if self.early_stopping == "loss":
            return Score("loss", False)
        return NDCG

    def _check_combinations(self) -> None:
        super()._check_combinations()

        layers = 2 * len(self.hidden)
        if len(self.dropout) not in (1, layers):
            raise ConfigError(
                f"`dropout` has {len(self.dropout)} values, but "
                f"`hidden={shown(self.hidden)}` makes {layers} layers: give one value, for "
                f"the input, or {layers}"
            )


@dataclass(frozen=True)
class MultVAEConfig(ClickAutoencoderConfig):
    """Mult-VAE, and how beta, the weight of its KL divergence, grows."""

    model: str = redefault(RunConfig, "model", "mult-vae")
    anneal: str = option(
        "original",
        "training",
        "growth of beta. original: 1 / --anneal-steps an "
        "update, up to the cap; recotour: to the cap at 85 % of all updates; "
        "constant: the cap",
        one_of(SCHEDULES),
    )
    anneal_cap: float = option(
        0.2,
        "training",
        "highest beta (the original's)",
        PENALTY,
        needs=(CAPPED,),
        space=Span(0.0, 1.0),
    )
    anneal_steps: int = option(
        ORIGINAL_STEPS,
        "training",
        "updates in which an original beta would reach 1",
        AT_LEAST_1,
        metavar="N",
        needs=(BY_STEPS,),
    )
    search_beta: bool = option(
        False,
        "training",
        "anneal to 1, note the beta with the best "
        "validation score, then train anew up to that beta with the same "
        "slope",
    )

    @property
    def phases(self) -> list[str]:
        if self.search_beta:
            return ["search", "best-beta"]
        return ["search"]

    def _refused_by_servers(self) -> list[Refusal]:
        refused = super()._refused_by_servers()
        if self.anneal != "constant":
            refused.append(Refusal("anneal", "nobody counts the updates of all workers"))
        return refused

    def _check_combinations(self) -> None:
        super()._check_combinations()
        if self.search_beta and self.anneal == "constant":
            raise ConfigError(
                "`search_beta` needs a beta that grows: choose `anneal=original` or recotour"
            )


@dataclass(frozen=True)
class MultDAEConfig(ClickAutoencoderConfig):
    """Mult-DAE.

    The original adds 0.01 / 500 times the sum of squared weights to its loss;
    weight decay is the gradient of that, 2 x 2e-5 times a weight.
    """

    model: str = redefault(RunConfig, "model", "mult-dae")
    wd: float = redefault(RunConfig, "wd", 4e-5, space=Span(1e-6, 1e-3, log=True))


@dataclass(frozen=True)
class PopularityConfig(RankingConfig):
    """Items by number of clicks."""

    model: str = redefault(RunConfig, "model", "popularity")


@dataclass(frozen=True)
class EASEConfig(RankingConfig):
    """EASE, a linear autoencoder in closed form (Steck, 2019)."""

    model: str = redefault(RunConfig, "model", "ease")
    penalty: float = option(
        500.0,
        "model",
        "lambda, on the squares of its weights",
        POSITIVE,
        space=Span(5.0, 5000.0, log=True),
    )


CONFIGS: dict[str, type[RunConfig]] = {
    "autorec": AutoRecConfig,
    "mf": MFConfig,
    "bias": BiasConfig,
    "mean": MeanConfig,
    "mult-vae": MultVAEConfig,
    "mult-dae": MultDAEConfig,
    "popularity": PopularityConfig,
    "ease": EASEConfig,
}


def stage_of(phase: str) -> int:
    """The number of a phase of pretraining, from 1; 0 for any other."""
    found = re.search(rf"{PRETRAIN}(\d+)$", phase)
    if found is None:
        return 0
    return int(found[1])


def make_config(given: Mapping[str, Any] | None = None, /, **options: Any) -> RunConfig:
    """Return the configuration of a model, as `AutoRecConfig` and the others make it.

    Parameters
    ----------
    given : mapping, optional
        Options, with `model` among them where it is not AutoRec.
    **options
        More of them.

    Raises
    ------
    ConfigError
        If a value or a combination is not allowed, or an option is another
        model's or has no effect. What a preset sets may have none.
    """
    options = {**(given or {}), **options}
    config = build_config(options)
    check_needs(config, [name for name, value in options.items() if value is not None])
    return config


def build_config(given: Mapping[str, Any]) -> RunConfig:
    """As `make_config`, but an option may have no effect."""
    model = given.get("model", "autorec")
    if not isinstance(model, str) or model not in CONFIGS:
        raise ConfigError(
            f"`model` is {model}: it must be one of {', '.join(CONFIGS)}"
            f"{did_you_mean(str(model), CONFIGS)}"
        )

    for name in given:
        owners = [owner for owner, config in CONFIGS.items() if _has_option(config, name)]
        if owners and model not in owners:  # where nobody has it, the configuration says so
            others = " and ".join([f"`model={owners[0]}`", *owners[1:]])
            raise ConfigError(
                f"`{name}` is an option of {others}: "
                f"`model={model}` has no such thing; leave it out"
            )

    return CONFIGS[model](**given)


def _has_option(config: type[RunConfig], name: str) -> bool:
    return name in config.__dataclass_fields__


def read_config(folder: Path) -> RunConfig:
    """The options of the run in a folder.

    Raises
    ------
    DataError
        If there is none, or its config.json is damaged or was edited.
    """
    path = folder / "config.json"
    return config_of(read_begun(folder), path)


def read_begun(folder: Path) -> dict[str, Any]:
    """The config.json of a run folder; see `read_config` for errors."""
    path = folder / "config.json"
    if not os.path.isfile(path):
        raise DataError(
            f"{folder} is not a run folder: it has no config.json; name a folder that "
            "python -m d2l_autorec.run has written"
        )
    return read_json(path)


def config_of(about: dict[str, Any], path: Path) -> RunConfig:
    """The configuration that the content of a config.json, read from `path`, describes.

    Raises
    ------
    DataError
        If it describes none, as after an edit or by a later version.
    """
    options = about.get("options")
    if not isinstance(options, dict):
        options = {}

    model = options.get("model")
    if not isinstance(model, str) or model not in CONFIGS:
        raise DataError(
            f"{path} is missing or damaged (it names no model): restore it from a "
            "copy, or begin a new run"
        )

    known = {spec.name: spec.default for spec in fields(CONFIGS[model])}
    unknown = [f"`{name}`" for name in options if name not in known]
    if unknown:
        raise DataError(
            f"{path} has options that this version of d2l_autorec does not know "
            f"({', '.join(unknown)}): use the version that wrote it"
        )

    try:  # an option that the version of the run had not is what it was then: no preset's
        return CONFIGS[model](**{**known, **options})
    except ConfigError as error:
        raise DataError(
            f"{path} was edited ({error}): restore it from a copy, or begin a new run"
        ) from error

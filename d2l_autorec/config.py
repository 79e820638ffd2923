"""One frozen dataclass per model; every default stands here once, with its source.

The options of the command line are made from these fields, so a field is
declared once: its default, its range, its help text and its option group.
"""

import argparse
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Tuple

from .errors import ConfigError, DataError

# Not nadam: MXNet's advances one momentum schedule once for each parameter and device.
OPTIMIZERS = ("adam", "sgd", "nag", "rmsprop", "adagrad", "adadelta", "adamax", "ftrl")
GROUPS = ("data", "model", "training", "devices", "output")
SPLITS = ("random", "seq-aware", "time", "k-fold", "held-out-rows",
          "u1", "u2", "u3", "u4", "u5", "ua", "ub")


class Check(NamedTuple):
    """A test of a value, and what is allowed in words."""

    accepts: Callable[[Any], bool]
    allowed: str


AT_LEAST_1 = Check(lambda v: v >= 1, "at least 1")
DEVICES = Check(lambda v: 1 <= v <= 64, "from 1 to 64")
THREADS = Check(lambda v: 1 <= v <= 512, "from 1 to 512")
POSITIVE = Check(lambda v: 0 < v < float("inf"), "above 0 and finite")
PENALTY = Check(lambda v: 0 <= v < float("inf"), "0 or more and finite")
RATIO = Check(lambda v: 0 < v < 1, "between 0 and 1, both excluded")
DROPOUT = Check(lambda v: 0 <= v < 1, "at least 0 and below 1")
SEED = Check(lambda v: 0 <= v < 2**31, "from 0 to 2147483647")


def one_of(choices: tuple) -> Check:
    """The check that a value is one of `choices`."""
    return Check(lambda v: v in choices, "one of " + ", ".join(map(str, choices)))


def option(default: Any, group: str, help: str, check: Optional[Check] = None, **meta: Any) -> Any:
    """A dataclass field that is also a command-line option."""
    return field(default=default,
                 metadata=dict(group=group, help=help, check=check, **meta))


@dataclass(frozen=True)
class RunConfig:
    """Data, split, training and output: what every model has.

    Raises
    ------
    ConfigError
        If a value is out of its range; one line with option, value and range.
    """

    dataset: str = option("auto", "data", "which ratings: ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, "
                          "ml-latest-small; synthetic or synthetic:USERSxITEMSxRATINGS, which "
                          "are generated; auto is ml-100k if it is at hand or can be downloaded, "
                          "else generated ratings, with a warning", metavar="NAME")
    data_dir: Optional[str] = option(None, "data", "folder with ml-100k/u.data or ml-100k.zip, and "
                                     "where downloads go (default: $D2L_AUTOREC_DATA, else a "
                                     "cache folder of yours)", metavar="DIR")
    ratings: Optional[str] = option(None, "data", "your own csv, tsv or dat file, gzipped or not, "
                                    "instead of --dataset", metavar="FILE")
    train: Optional[str] = option(None, "data", "your own training ratings, with --test",
                                  metavar="FILE")
    test: Optional[str] = option(None, "data", "your own test ratings, with --train",
                                 metavar="FILE")
    columns: Optional[str] = option(None, "data", "columns of your file by name or number from 0: "
                                    "user=userId,item=movieId,rating=rating[,timestamp=time] "
                                    "(default: recognised)", metavar="MAP")
    separator: Optional[str] = option(None, "data", "separator of your file: a character, ::, tab "
                                      "or space (default: recognised)", metavar="SEP")
    duplicates: str = option("error", "data", "what becomes of several ratings of an item by one "
                             "user", one_of(("error", "last", "mean")))
    scale: Optional[str] = option(None, "data", "lowest and highest rating of your file, as in 1,5 "
                                  "(default: those that occur)", metavar="LOW,HIGH")
    split: str = option("random", "data", "random: each rating is a test rating with probability "
                        "--test-ratio (the chapter's); seq-aware: each user's latest rating is; "
                        "time: the latest --test-ratio of all; k-fold: fold --fold of --folds; "
                        "held-out-rows: --test-ratio of the items, reconstructed from their own "
                        "ratings; u1..u5, ua, ub: ml-100k's official folds", one_of(SPLITS))
    test_ratio: float = option(0.1, "data", "share of test ratings (the chapter's 0.1)", RATIO)
    folds: int = option(5, "data", "number of folds of --split k-fold",
                        Check(lambda v: v >= 2, "at least 2"))
    fold: int = option(1, "data", "which fold is the test part, from 1", AT_LEAST_1)
    clip: bool = option(False, "data", "clip predictions to the rating scale, as the paper does; "
                        "the chapter does not")
    val_ratio: float = option(0.0, "data", "share of the training ratings held out for early "
                              "stopping; the best epoch's parameters are kept",
                              Check(lambda v: 0 <= v < 1, "at least 0 and below 1"))
    lr: float = option(0.002, "training", "learning rate (the chapter's)", POSITIVE)
    wd: float = option(1e-5, "training", "weight decay (the chapter's)", PENALTY)
    epochs: int = option(25, "training", "passes over the rows (the chapter's)", AT_LEAST_1)
    batch_size: int = option(256, "training", "rows a step, over all devices (the chapter's)",
                             AT_LEAST_1)
    patience: int = option(10, "training", "with --val-ratio, stop after N epochs without a better "
                           "validation RMSE", AT_LEAST_1)
    refit: bool = option(False, "training", "after early stopping, train anew on training and "
                         "validation ratings for the best number of epochs")
    lr_schedule: str = option("constant", "training", "learning rate over epochs: see --lr-step",
                              one_of(("constant", "step", "cosine", "plateau")))
    lr_step: int = option(10, "training", "step: epochs from one cut to the next; plateau: epochs "
                          "without a better validation RMSE before a cut", AT_LEAST_1)
    lr_factor: float = option(0.4, "training", "a cut of the learning rate multiplies it by this",
                              RATIO)
    optimizer: str = option("adam", "training", "a Gluon optimizer (the chapter's: adam)",
                            one_of(OPTIMIZERS))
    seed: int = option(0, "training", "seeds split, initialisation, order of rows and dropout",
                       SEED)
    gpus: Optional[str] = option(None, "devices", "GPU numbers, as in 0,1 (default: every visible "
                                 "GPU, else the CPU)", metavar="LIST")
    cpus: Optional[int] = option(None, "devices", "train on N CPU contexts, which behave as N "
                                 "devices", DEVICES, metavar="N")
    threads: Optional[int] = option(None, "devices", "CPU threads (default: $OMP_NUM_THREADS, else "
                                    "every CPU)", THREADS, metavar="N")
    kernel: str = option("auto", "devices", "dense: the chapter's arithmetic; sparse: the same "
                         "over observed ratings only, on CPUs; auto: sparse where it can",
                         one_of(("auto", "dense", "sparse")))
    hybridize: bool = option(True, "devices", "run the network layer by layer instead of as a "
                             "compiled graph")
    out: Optional[str] = option(None, "output", "run folder (default: runs/MODEL-DATASET-TIME)",
                                metavar="DIR")
    checkpoint_every: int = option(1, "output", "epochs from one checkpoint to the next",
                                   AT_LEAST_1, metavar="N")
    quiet: bool = option(False, "output", "no progress bar, only the result")
    json: bool = option(False, "output", "print the result as JSON, and nothing else on stdout")

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            check, value = spec.metadata["check"], getattr(self, spec.name)
            if check is not None and value is not None and not check.accepts(value):
                raise ConfigError(f"--{spec.name.replace('_', '-')} is {value}: it must be "
                                  f"{check.allowed}")
        self._check_combinations()

    def _check_combinations(self) -> None:
        own = [f"--{name}" for name in ("ratings", "train", "test") if getattr(self, name)]
        if own and self.dataset != "auto":
            raise ConfigError(f"--dataset {self.dataset} and {own[0]} exclude each other: the "
                              "ratings come from one of them")
        if own not in ([], ["--ratings"], ["--train", "--test"]):
            raise ConfigError(f"{' and '.join(own)}: give either --ratings FILE, which is then "
                              "split, or --train FILE and --test FILE")
        if self.train and self.split != "random":
            raise ConfigError(f"--split {self.split} and --train exclude each other: the two "
                              "files are the split")
        if self.split in SPLITS[-7:] and (own or self.dataset not in ("auto", "ml-100k")):
            raise ConfigError(f"--split {self.split} is an official fold of ml-100k: leave out "
                              f"{own[0] if own else '--dataset ' + self.dataset}")
        if not self.val_ratio and (self.refit or self.lr_schedule == "plateau"):
            name = "--refit" if self.refit else "--lr-schedule plateau"
            raise ConfigError(f"{name} needs validation ratings: add --val-ratio 0.1")
        if self.val_ratio and self.split == "held-out-rows":
            raise ConfigError("--val-ratio and --split held-out-rows exclude each other: a row "
                              "that is held out as a whole can only be reconstructed")
        if self.split == "k-fold" and self.fold > self.folds:
            raise ConfigError(f"--fold is {self.fold}: it must be from 1 to --folds {self.folds}")
        if not own and (self.columns or self.separator or self.scale):
            raise ConfigError("--columns, --separator and --scale describe your own file: name it "
                              "with --ratings, or --train and --test")
        self.rating_scale()
        if self.gpus is not None and self.cpus is not None:
            raise ConfigError(f"--gpus {self.gpus} and --cpus {self.cpus} exclude each other: "
                              "drop one of them")

    def rating_scale(self) -> Optional[Tuple[float, float]]:
        """`--scale` as two numbers, None where it is left out."""
        if self.scale is None:
            return None
        try:
            low, high = map(float, self.scale.split(","))
        except ValueError:
            low, high = 1.0, 0.0
        if not float("-inf") < low < high < float("inf"):
            raise ConfigError(f"--scale is {self.scale}: it must be the lowest and the highest "
                              "rating, as in 1,5")
        return low, high


@dataclass(frozen=True)
class AutoRecConfig(RunConfig):
    """AutoRec with the settings of the d2l chapter."""

    based: str = option("item", "model", "item: an item's ratings are a row (the chapter's); "
                        "user: a user's are", one_of(("item", "user")))
    num_hidden: int = option(500, "model", "hidden units (the chapter's and the paper's)",
                             AT_LEAST_1)
    dropout: float = option(0.05, "model", "dropout after the encoder (the chapter's)", DROPOUT)
    loss: str = option("l2", "model", "l2: half the mean squared error of a row (the chapter's); "
                       "root: root of a batch's sum of squared errors, on one device",
                       one_of(("l2", "root")))
    init_sigma: float = option(0.01, "model", "standard deviation of the initial weights (the "
                               "chapter's)", POSITIVE)


def read_config(folder: Path) -> AutoRecConfig:
    """The options of the run in a folder.

    Raises
    ------
    DataError
        If there is none.
    """
    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
        return AutoRecConfig(**json.loads(text)["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is not a run folder: no readable config.json ({error}); name a "
                        "folder that python -m d2l_autorec.run has written") from error


def add_options(parser: argparse.ArgumentParser, config: type) -> None:
    """Give `parser` one option for each field of the dataclass `config`, in groups.

    An option that is not given leaves no attribute: the dataclass has the default.
    """
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for spec in dataclasses.fields(config):
        _add_option(groups[spec.metadata["group"]], spec)


def _add_option(group: Any, spec: dataclasses.Field) -> None:
    flag, help_text = "--" + spec.name.replace("_", "-"), spec.metadata["help"]
    if spec.type is bool or spec.type == "bool":
        action = "store_false" if spec.default else "store_true"
        flag = flag.replace("--", "--no-") if spec.default else flag
        group.add_argument(flag, dest=spec.name, action=action, default=argparse.SUPPRESS,
                           help=help_text)
        return
    check = spec.metadata["check"]
    if spec.default is not None:
        help_text += f" [{spec.default}]"
    elif check is not None:
        help_text += f"; {check.allowed}"
    metavar = spec.metadata.get("metavar", _metavar(spec))
    group.add_argument(flag, dest=spec.name, type=_parser_of(spec.type), metavar=metavar,
                       default=argparse.SUPPRESS, help=help_text)


def _metavar(spec: dataclasses.Field) -> str:
    check = spec.metadata["check"]
    if check is not None and check.allowed.startswith("one of "):
        return "{" + check.allowed[len("one of "):].replace(", ", ",") + "}"
    return {int: "N", float: "X"}.get(spec.type, "TEXT")


def _parser_of(annotation: Any) -> Callable[[str], Any]:
    if annotation in (int, Optional[int]):
        return _whole_number
    if annotation in (float, Optional[float]):
        return _number
    return str


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None

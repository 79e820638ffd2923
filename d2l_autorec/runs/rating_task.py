"""Predicting held-out ratings: data, networks, loss and metrics of AutoRec and its rivals."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet import gluon
from scipy import sparse

from ..data import splits
from ..data.movielens import data_shown, load_official_fold, load_ratings
from ..data.ratings import Ratings
from ..data.readers import read_ratings, read_train_and_test
from ..evaluation.rating import RatingEvaluation
from ..models.base import Model
from ..support.seeds import Purpose, generator
from ..training.history import EpochRecord
from ..training.loaders import PairRows, Pairs, train_loader
from .config import (
    SPLITS_BY_SHARE,
    RatingModel,
    numbered,
    stage_of,
)
from .pretraining import inner_stage
from .task import EXPLODED, Batchify, Block, Task, against_baseline

CHAPTERS_DATA = dict(ratings=None, train=None, split="random", test_ratio=0.1, clip=False)


class RatingParts(NamedTuple):
    """Ratings that are split already, over the same index maps; no rating is in two of them.

    `test` may be empty. Without `validation`, `val_ratio` of `train` are taken.
    """

    train: Ratings
    test: Ratings
    validation: Ratings | None = None


class RatingTask(Task[Ratings]):
    """Ratings that are split into training and test.

    Parameters
    ----------
    config : RatingModel
    devices : sequence of Context
    parts : RatingParts, optional
        By default the ratings that the options name are read and split.

    Attributes
    ----------
    train, test : Ratings
    fitting, validation : Ratings or None
        The parts of `train` that early stopping needs; without it all and None.

    Raises
    ------
    UserError
        If the data cannot be had, or do not fit the options.
    """

    def __init__(
        self,
        config: RatingModel,
        devices: Sequence[mx.Context],
        parts: RatingParts | None = None,
    ) -> None:
        super().__init__(config, devices)
        self.config = config
        self.pairs = config.reads == "pairs"  # or whole rows

        self.given = parts is not None  # how they were split is not known
        if parts is None:
            parts = RatingParts(*load_and_split(config))
        else:
            splits.check_apart(
                {"train": parts.train, "validation": parts.validation, "test": parts.test}
            )

        self.train = parts.train
        self.test = parts.test
        config.check_data(self.train, len(devices))
        self.fitting = self.train
        self.validation = parts.validation

        if self.validation is not None:
            self.train = self.fitting.joined(self.validation)
        elif config.val_ratio:
            rng = generator(config.seed, Purpose.VALIDATION)
            self.fitting, self.validation = splits.validation_split(
                self.train, config.val_ratio, rng
            )

    @property
    def _matrix_shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix that a network reads."""
        if self.config.based == "user":
            return self.train.num_users, self.train.num_items
        return self.train.num_items, self.train.num_users

    def about_data(self) -> dict[str, Any]:
        """What config.json says of the data."""
        if self.train.scale is None:
            raise TypeError(f"{self.train.name} has no rating scale: its rows are no ratings")

        return {
            "name": self.train.name,
            "origin": self.train.origin,
            "users": self.train.num_users,
            "items": self.train.num_items,
            "scale": list(self.train.scale),
            "offset": self.train.offset,
            "train_ratings": len(self.train),
            "train_sha256": self.train.fingerprint,
            "test_ratings": len(self.test),
            "test_sha256": self.test.fingerprint,
        }

    def dense_bytes(self) -> int:
        """Memory of all rows that one phase reads, dense; 0 where it reads pairs."""
        if self.pairs:
            return 0

        tables = 1
        if self.config.split == "held-out-rows":
            tables = 2  # those of the test are others
        return 4 * tables * self.train.num_items * self.train.num_users

    def num_ratings(self) -> int:
        """Of training and test."""
        return len(self.train) + len(self.test)

    def save(self, path: Path) -> None:
        """Write all ratings, and which of them are inputs."""
        known, is_input = self.known()
        known.save(path, is_input)

    def served(self) -> tuple[Ratings, Ratings]:
        """All ratings, and those of them that the trained network is given."""
        known, is_input = self.known()
        return known, known.part(is_input)

    def known(self) -> tuple[Ratings, np.ndarray]:
        """All ratings, and which of them are inputs of the network that is served.

        Test ratings, and validation ratings without a refit, were no inputs of
        what was measured, so they are none of what is served; but the user has
        rated those items.
        """
        known, inputs = self.train, len(self.train)
        if self.validation is not None and not self.config.refit:
            known, inputs = self.fitting.joined(self.validation), len(self.fitting)

        known = known.joined(self.test)
        if self.config.split == "held-out-rows":  # a row is reconstructed from its own ratings
            inputs = len(known)
        return known, np.arange(len(known)) < inputs

    def part(self, phase: str) -> Ratings:
        """What a phase trains on."""
        if phase.startswith("refit"):
            return self.train
        return self.fitting

    def matrix(self, phase: str) -> sparse.csr_matrix:
        """The interaction matrix, users x items, that a model in closed form is fitted to."""
        return self.part(phase).to_csr("user")

    def network(self, phase: str) -> Model:
        """The uninitialised network of a phase."""
        return self.config.of_phase(phase).build(self.part(phase))

    def trained(self, phase: str, net: Any, kernel: str) -> tuple[Any, gluon.data.DataLoader]:
        """What a phase trains of a network, and on what."""
        if stage_of(phase) < 2:
            return super().trained(phase, net, kernel)

        rows = self.part(phase).to_csr(self.config.based)
        return inner_stage(net, rows, self._batchify(kernel), phase, self.config)

    def epochs_of(self, phase: str) -> int:
        """How many a phase has at most."""
        if stage_of(phase):
            return self.config.of_phase(phase).epochs
        return self.epochs

    @property
    def epochs(self) -> int:
        """How many a phase has at most, for the ratings at hand."""
        rows, _ = self._matrix_shape
        return self.config.epochs_for(rows)

    def weight_decay(self, phase: str = "search") -> float:
        """What the optimizer of a phase is given, for the ratings at hand."""
        return self.config.weight_decay(self.train, phase)

    def initializer(self) -> mx.init.Initializer:
        """For parameters that have none of their own."""
        return mx.init.Normal(self.config.init_sigma)

    def loss(self, phase: str, trainer: Any, search: Sequence[EpochRecord]) -> Any:
        """(prediction, label) to one loss a row."""
        if stage_of(phase) > 1:
            return gluon.loss.L2Loss()
        return self.config.own.loss or self.config.make_loss()

    def largest_error(self, phase: str) -> float:
        """See `Task`; a phase of pretraining may predict hidden units, which have no scale."""
        if stage_of(phase) > 1:
            return math.inf
        return EXPLODED * max(map(abs, self.train.bounds))

    def loader(self, phase: str, kernel: str) -> gluon.data.DataLoader:
        """Batches of a phase, shuffled."""
        table: Pairs | sparse.csr_matrix
        if self.pairs:
            table = Pairs.of(self.part(phase))
        else:
            table = self.part(phase).to_csr(self.config.based)

        rows = self.config.rows_of_a_step(table.shape[0])
        return train_loader(table, rows, self.config.seed, self._batchify(kernel))

    def _batchify(self, kernel: str) -> Batchify:
        if self.pairs:
            return PairRows
        return self.batches[kernel]

    def batch_shape(self, kernel: str) -> tuple[int, int]:
        """Rows of a step, and how many numbers are computed for each."""
        config = self.config
        numbers = config.units()
        if self.pairs:
            return config.rows_of_a_step(len(self.fitting)), numbers

        rows, columns = self._matrix_shape
        if kernel == "dense":
            numbers += columns
        return config.rows_of_a_step(rows), numbers

    def evaluations(self, phase: str, kernel: str) -> dict[str, RatingEvaluation]:
        """Metrics after each epoch of a phase."""
        wanted = {}
        if len(self.test):
            wanted["test"] = self.test
        if self.validation is not None and not phase.startswith("refit"):
            wanted["validation"] = self.validation

        return {
            name: RatingEvaluation(
                self.part(phase),
                ratings,
                self.devices,
                self.config.based,
                self.config.clip,
                self._batchify(kernel),
                reconstruct=self.config.split == "held-out-rows",
            )
            for name, ratings in wanted.items()
        }

    def baseline(self, test: RatingEvaluation) -> dict[str, Any]:
        """The test RMSE of user and item means; empty for these themselves."""
        if self.pairs and self.config.at_once:  # these means themselves
            return {}
        means = test.of_means()
        return {"baseline": "user and item means", "baseline_test_rmse": means["rmse"]}

    def describe(self) -> dict[str, Any]:
        """What result.json says beside the metrics."""
        based = {} if self.pairs else {"based": self.config.based}
        [example_user] = self.train.user_ids[self.train.users[:1]].tolist()

        return {
            **based,
            "users": self.train.num_users,
            "items": self.train.num_items,
            "example_user": example_user,
            "split": self.config.split,
            "weight_decay": self.weight_decay(),
            "comparable_with_chapter": self._is_comparable(),
            "train_ratings": len(self.train),
            "test_ratings": len(self.test),
            "validation_ratings": len(self.validation or ()),
        }

    def _is_comparable(self) -> bool:
        """Whether the chapter's figures are of such data, and of item-based rows or of pairs."""
        if self.given or self.train.name != "ml-100k":
            return False
        if not self.pairs and self.config.based != "item":
            return False
        options = vars(self.config)
        return all(options[name] == value for name, value in CHAPTERS_DATA.items())

    @staticmethod
    def summary(result: dict[str, Any]) -> Block:
        """Data, their split, and the test RMSE beside that of user and item means."""
        source = data_shown(result["dataset"])
        source += f": {result['users']:,} users, {result['items']:,} items"

        parts = f"{result['train_ratings']:,} to train"
        if result.get("validation_ratings"):
            parts += f" ({result['validation_ratings']:,} of them to validate)"
        block = [("data set", source)]
        if not result["test_ratings"]:
            return [*block, ("ratings", f"{parts}, none to test")]

        parts += f", {result['test_ratings']:,} to test"
        score = f"{result['test_rmse']:.4f}{against_baseline(result, 'rmse')}"
        return [*block, ("ratings", parts), ("test RMSE", score)]

    @staticmethod
    def shortfall(result: dict[str, Any]) -> list[str]:
        """That the model is no better than user and item means, where that is so."""
        if "baseline" not in result or result["test_rmse"] < result["baseline_test_rmse"]:
            return []
        return [_no_better_than_means(result)]

    @classmethod
    def remarks(cls, result: dict[str, Any]) -> list[str]:
        """What else a person should know of the result."""
        remarks = cls.shortfall(result)
        if result.get("cold_test_ratings"):
            remarks.append(_of_cold_ratings(result))
        return remarks


def _no_better_than_means(result: dict[str, Any]) -> str:
    advice = "these ratings may hold no more than means"
    if result.get("split") == "held-out-rows":  # for which no preset was chosen
        advice = "try another `lr`, or more `epochs`"
    elif result["preset"] != "best":
        advice = "try `preset=best`"
    elif result["model"] != "mf":
        advice += ": see also `model=mf`"

    return (
        f"no better than the user and item means, whose test RMSE is "
        f"{result['baseline_test_rmse']:.4f}: {advice}"
    )


def _of_cold_ratings(result: dict[str, Any]) -> str:
    remark = (
        f"{result['cold_test_ratings']} of {result['test_ratings']} test ratings are of a "
        "user or item without training ratings and were predicted by a mean"
    )
    warm = result["test_without_cold_rmse"]
    if warm is not None:
        remark += f"; test RMSE without them {warm:.4f}"
    return remark


def load_and_split(config: RatingModel) -> splits.Split:
    """The training and test `Ratings` that the options ask for."""
    layout = (config.columns, config.separator, config.duplicates, config.rating_scale())
    quotes = config.quotes
    if config.train and config.test:  # one is not had without the other
        return read_train_and_test(Path(config.train), Path(config.test), *layout, quotes=quotes)
    if config.split in splits.OFFICIAL_FOLDS:
        return load_official_fold(config.split, config.data_dir, not config.quiet)
    if config.ratings:
        ratings = read_ratings(config.ratings, *layout, quotes=quotes)
    else:
        ratings = load_ratings(config.dataset, config.data_dir, config.seed, not config.quiet)
    return split_ratings(config, ratings)


def split_ratings(config: RatingModel, ratings: Ratings) -> splits.Split:
    """The training and test parts that `split` asks for; no test part with a `test_ratio` of 0."""
    rng = generator(config.seed, Purpose.SPLIT)

    if not config.test_ratio and config.split in SPLITS_BY_SHARE:
        return splits.all_to_train(ratings)
    if config.split == "seq-aware":
        return splits.seq_aware_split(ratings)
    if config.split == "time":
        return splits.time_split(ratings, config.test_ratio)
    if config.split == "k-fold":
        return splits.k_folds(ratings, config.folds, rng)[numbered(config.fold) - 1]
    if config.split == "held-out-rows":
        return splits.held_out_rows_split(ratings, config.test_ratio, rng, config.based)
    return splits.random_split(ratings, config.test_ratio, rng)

"""Ranking items by clicks: data, networks, loss and metrics of Mult-VAE, Mult-DAE and baselines."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mxnet as mx
from mxnet import gluon
from scipy import sparse

from ..data.clicks import INPUTS, PIECES, Clicks, Fold, prepare_clicks
from ..data.movielens import data_shown, load_ratings
from ..data.ratings import Ratings
from ..data.readers import read_ratings
from ..evaluation.ranking import RankingEvaluation
from ..models.base import Model
from ..models.fitted import Fitted
from ..support.text_table import aligned
from ..training.history import EpochRecord
from ..training.loaders import train_loader
from .config import ClickModel, PopularityConfig, numbered
from .task import EXPLODED, Block, Task, against_baseline

SHOWN = ("test_ndcg@100", "test_recall@20", "test_recall@50")
TITLES = {
    "ndcg": "NDCG",
    "recall": "recall",
    "plain_recall": "plain recall",
    "precision": "precision",
    "hit_rate": "hit rate",
    "mrr": "MRR",
    "map": "MAP",
    "coverage": "coverage",
}


class RankingTask(Task[Clicks]):
    """Clicks that are split by users.

    Parameters
    ----------
    config : ClickModel
    devices : sequence of Context
    clicks : Clicks, optional
        By default those that the options name are read and split.

    Attributes
    ----------
    train : Clicks
        Of all users; only the training users' are trained on.

    Raises
    ------
    UserError
        If the data cannot be had, or do not fit the options.
    """

    predicts_ratings = False
    counted = "clicks"

    def __init__(
        self,
        config: ClickModel,
        devices: Sequence[mx.Context],
        clicks: Clicks | None = None,
    ) -> None:
        super().__init__(config, devices)
        self.config = config

        if clicks is None:
            clicks = load_clicks(config)
        self.train = clicks
        config.check_data(self.train, len(devices))

    def about_data(self) -> dict[str, Any]:
        """What config.json says of the data."""
        return {
            "name": self.train.name,
            "origin": self.train.origin,
            **self.train.counts(),
            "dropped": self.train.dropped,
            "train_sha256": self.train.fingerprint,
            "test_sha256": self.train.fingerprint,
        }

    def dense_bytes(self) -> int:
        """Memory of the rows of all users, dense."""
        parts = (self.train.train, self.train.test.fold_in, self.train.validation.fold_in)
        return 4 * self.train.num_items * sum(part.shape[0] for part in parts)

    def num_ratings(self) -> int:
        """Clicks of all users."""
        return len(self.train.interactions())

    def save(self, path: Path) -> None:
        """Write the clicks of all users, by pieces."""
        self.train.save(path)

    def served(self) -> tuple[Ratings, Ratings]:
        """The known clicks, and those of them that the trained network is given."""
        return self.train.interactions(), self.train.interactions(INPUTS)

    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Clicks of the training users, users x items; of every phase."""
        return self.train.train

    def network(self, phase: str) -> Model:
        """The uninitialised network."""
        return self.config.build(self.train)

    def weight_decay(self, phase: str) -> float:
        """What Adam and its like are given."""
        return self.config.weight_decay(self.train, phase)

    def initializer(self) -> mx.init.Initializer:
        """For parameters that have none of their own: all have."""
        return mx.init.Xavier()

    def loss(self, phase: str, trainer: Any, search: Sequence[EpochRecord]) -> Callable:
        """The loss of a phase; beta grows with the trainer's updates."""
        schedule = self.schedule(phase, search)
        beta = None if schedule is None else partial(_beta_now, schedule, trainer)
        return self.config.own.loss or self.config.make_loss(beta)

    def largest_error(self, phase: str) -> float:
        """See `Task`."""
        return EXPLODED * math.log(self.train.num_items + 1)

    def beta(self, loss: Any) -> Callable[[], float] | None:
        """The beta of the last update."""
        return getattr(loss, "beta", None)

    def schedule(self, phase: str, search: Sequence[EpochRecord]) -> Callable[[int], float] | None:
        """Return how the weight of a KL divergence grows with the updates, if there is one."""
        batches = -(-self.train.num_train_users // self._rows())
        before = None if phase == "search" else search
        return self.config.beta_schedule(self.config.epochs * batches, before)

    def _rows(self) -> int:
        return self.config.rows_of_a_step(self.train.num_train_users)

    def batch_shape(self, kernel: str) -> tuple[int, int]:
        """Rows of a step, and how many numbers are computed for each."""
        numbers = self.config.units()
        if kernel == "dense":
            numbers += self.train.num_items
        return self._rows(), numbers

    def loader(self, phase: str, kernel: str) -> gluon.data.DataLoader:
        """Batches of training users, shuffled; a short last one is kept, as in the original."""
        return train_loader(
            self.train.train, self._rows(), self.config.seed, self.batches[kernel], "keep"
        )

    def evaluations(self, phase: str, kernel: str) -> dict[str, RankingEvaluation]:
        """Metrics of the test and validation users."""
        parts = {}
        if self.train.heldout_users:
            parts["test"] = self.train.test
        if self.train.validation_users:
            parts["validation"] = self.train.validation

        return {
            name: RankingEvaluation(
                part.fold_in,
                part.held_out,
                self.devices,
                self.batches[kernel],
                with_loss=self.config.logits,
                cut_offs=self.config.at,
            )
            for name, part in parts.items()
        }

    def baseline(self, test: RankingEvaluation) -> dict[str, Any]:
        """The test NDCG@100 of popularity; empty for this itself."""
        if self.config.is_baseline:
            return {}

        scores = test(Fitted(PopularityConfig()).fit(self.train.train))
        return {"baseline": "popularity", "baseline_test_ndcg@100": scores["ndcg@100"]}

    def describe(self) -> dict[str, Any]:
        """What result.json says beside the metrics."""
        [example_user] = self.train.user_ids[:1].tolist()
        return {**self.train.counts(), "example_user": example_user}

    @staticmethod
    def summary(result: dict[str, Any]) -> Block:
        """Data, who is held out, and test metrics with standard errors over users."""
        train, held_out = result["train_users"], result["heldout_users"]
        validation = result.get("validation_users", held_out)
        clicks = sum(result[f"{piece}_clicks"] for piece in PIECES)
        source = (
            f"{data_shown(result['dataset'])}: {train + validation + held_out:,} users, "
            f"{result['items']:,} items, {clicks:,} clicks"
        )
        parts = f"{train:,} to train, {validation:,} to validate, {held_out:,} to test"
        if not held_out:
            return [("data set", source), ("users", parts)]

        shown = {key: f"{result[key]:.4f} ± {result[f'{key}_se']:.4f}" for key in SHOWN}

        return [
            ("data set", source),
            ("users", parts),
            ("test NDCG@100", shown["test_ndcg@100"] + against_baseline(result, "ndcg@100")),
            ("test Recall@20", shown["test_recall@20"]),
            ("test Recall@50", shown["test_recall@50"]),
        ]

    @staticmethod
    def table(result: dict[str, Any]) -> str:
        """A line for each cut-off, below a head; nothing without a test."""
        if "cut_offs" not in result:
            return ""

        lines = [["at", *(TITLES.values())]]
        for k in result["cut_offs"]:
            lines.append([str(k), *(f"{result[f'test_{name}@{k}']:.4f}" for name in TITLES)])
        return aligned(lines, left=0)

    @staticmethod
    def shortfall(result: dict[str, Any]) -> list[str]:
        """That the model is no better than popularity, where that is so."""
        if "baseline" not in result or result["test_ndcg@100"] > result["baseline_test_ndcg@100"]:
            return []

        advice = "try `model=ease`, which needs no epochs, or more clicks"
        if result["model"] == "ease":
            advice = "try another `penalty`, or more clicks"
        return [
            "no better than popularity, whose test NDCG@100 is "
            f"{result['baseline_test_ndcg@100']:.4f}: {advice}"
        ]

    @classmethod
    def remarks(cls, result: dict[str, Any]) -> list[str]:
        """What else a person should know of the result."""
        remarks = cls.shortfall(result)
        count = result.get("test_users_without_held_out")
        if count:
            remarks.append(f"{count} test users have no held-out click and were left out")
        return remarks


def _beta_now(schedule: Callable[[int], float], trainer: Any) -> float:
    return schedule(trainer.optimizer.num_update)


def load_clicks(config: ClickModel) -> Clicks:
    """The clicks that the options ask for."""
    if config.ratings:
        ratings = read_ratings(
            Path(config.ratings),
            config.columns,
            config.separator,
            config.duplicates,
            config.rating_scale(),
            implicit=True,
            quotes=config.quotes,
        )
    else:
        ratings = load_ratings(config.dataset, config.data_dir, config.seed, not config.quiet)

    users: float | Fold = config.heldout_users
    if config.split == "k-fold":
        users = Fold(numbered(config.fold), config.folds)
    return prepare_clicks(
        ratings,
        config.threshold,
        config.min_user_clicks,
        config.min_item_clicks,
        users,
        config.validation_users,
    )

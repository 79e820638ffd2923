"""Runs of models that rank items by clicks: data, batches, evaluation and baseline."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mxnet import gluon
from scipy import sparse

from ..data.clicks import INPUTS, PIECES, Clicks, Fold, prepare_clicks
from ..data.movielens import data_shown
from ..data.ratings import Ratings
from ..evaluation.ranking import RankingEvaluation
from ..models.catalog.popularity import PopularityConfig
from ..models.fitted import Fitted
from ..models.kinds import ClickModel, numbered
from ..support.text_table import aligned
from ..training.loaders import train_loader
from .experiment import EXPLODED, Block, Experiment, against_baseline
from .rating import read_or_load

SHOWN = ("test_ndcg@100", "test_recall@20", "test_recall@50")
MEASURES = ("ndcg", "recall", "plain_recall", "precision", "hit_rate", "mrr", "map", "coverage")


class RankingExperiment(Experiment):
    """A run of a model that ranks items by clicks; `data` are `Clicks`, split by users.

    Only the clicks of the training users are trained on.
    """

    predicts_ratings = False
    counted = "clicks"

    def _take(self, data: Clicks | None) -> None:
        self.train_data: Clicks = load_clicks(self.config) if data is None else data

    def about_data(self) -> dict[str, Any]:
        """Return what config.json says of the data."""
        return {
            "name": self.train_data.name,
            **self.train_data.counts(),
            "dropped": self.train_data.dropped,
            "train_sha256": self.train_data.fingerprint,
            "test_sha256": self.train_data.fingerprint,
        }

    def num_ratings(self) -> int:
        """Return the number of clicks of all users."""
        return len(self.train_data.interactions())

    def save_data(self, path: Path) -> None:
        """Write the clicks of all users, by pieces."""
        self.train_data.save(path)

    def served(self) -> tuple[Ratings, Ratings]:
        """Return the known clicks, and those of them that the trained network is given."""
        return self.train_data.interactions(), self.train_data.interactions(INPUTS)

    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Return the clicks of the training users, users x items; of every phase."""
        return self.train_data.train

    def part(self, phase: str) -> Clicks:
        """Return the clicks, of every phase."""
        return self.train_data

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix that a network reads."""
        return self.train_data.num_train_users, self.train_data.num_items

    def loss(self, phase: str, trainer: gluon.Trainer) -> Callable:
        """Return the loss of a phase; the weight of a KL divergence grows with the updates."""
        config, users = self.config, self.train_data.num_train_users
        batches = -(-users // config.rows_of_a_step(users))
        before = None if phase == "search" else self.checkpoint.done.get("search", ())
        schedule = config.beta_schedule(config.epochs * batches, before)

        beta = None if schedule is None else partial(_beta_now, schedule, trainer)
        return config.own.loss or config.make_loss(beta)

    def largest_error(self, phase: str) -> float:
        """Return the loss of a click from which a training has diverged."""
        return EXPLODED * math.log(self.train_data.num_items + 1)

    def trained(self, phase: str, net: Any) -> tuple[Any, gluon.data.DataLoader]:
        """Return the network and its batches; a short last one is kept, as in the original."""
        rows = self.matrix(phase)
        size = self.config.rows_of_a_step(rows.shape[0])
        return net, train_loader(rows, size, self.config.seed, self.batchify, "keep")

    def evaluations(self, phase: str) -> dict[str, RankingEvaluation]:
        """Return what measures the test and the validation users."""
        parts = {}
        if self.train_data.heldout_users:
            parts["test"] = self.train_data.test
        if self.train_data.validation_users:
            parts["validation"] = self.train_data.validation

        return {
            name: RankingEvaluation(
                part.fold_in,
                part.held_out,
                self.devices,
                self.batchify,
                with_loss=self.config.logits,
                cut_offs=self.config.at,
            )
            for name, part in parts.items()
        }

    def baseline(self, test: RankingEvaluation) -> dict[str, Any]:
        """Return the test NDCG@100 of popularity; nothing for this itself."""
        if self.config.is_baseline:
            return {}

        scores = test(Fitted(PopularityConfig()).fit(self.train_data.train))
        return {"baseline": "popularity", "baseline_test_ndcg@100": scores["ndcg@100"]}

    def describe(self) -> dict[str, Any]:
        """Return what result.json says beside the metrics."""
        [example_user] = self.train_data.user_ids[:1].tolist()
        return {**self.train_data.counts(), "example_user": example_user}

    @staticmethod
    def summary(result: dict[str, Any]) -> Block:
        """Return data, who is held out, and test metrics with standard errors over users."""
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
        """Return a line for each cut-off, below a head; nothing without a test."""
        if "cut_offs" not in result:
            return ""

        capitals = ("ndcg", "mrr", "map")
        titles = [name.upper() if name in capitals else name.replace("_", " ") for name in MEASURES]
        lines = [["at", *titles]]
        for k in result["cut_offs"]:
            lines.append([str(k), *(f"{result[f'test_{name}@{k}']:.4f}" for name in MEASURES)])
        return aligned(lines, left=0)

    @staticmethod
    def shortfall(result: dict[str, Any]) -> list[str]:
        """Say that the model is no better than popularity, where that is so."""
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
        """Return what else a person should know of the result."""
        remarks = cls.shortfall(result)
        count = result.get("test_users_without_held_out")
        if count:
            remarks.append(f"{count} test users have no held-out click and were left out")
        return remarks


def _beta_now(schedule: Callable[[int], float], trainer: Any) -> float:
    return schedule(trainer.optimizer.num_update)


def load_clicks(config: ClickModel) -> Clicks:
    """Read the clicks that the options ask for."""
    ratings = read_or_load(config, implicit=True)
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

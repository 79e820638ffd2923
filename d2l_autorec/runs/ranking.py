"""Runs of models that rank items by clicks: data, batches, evaluation and baseline."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mxnet import gluon
from scipy import sparse

from ..data.clicks import INPUTS, Clicks, Fold, prepare_clicks
from ..data.ratings import Ratings
from ..evaluation.ranking import RankingEvaluation
from ..models.base import Fitted
from ..models.catalog.popularity import PopularityConfig
from ..models.kinds import ClickModel, numbered
from ..training.loaders import train_loader
from .experiment import EXPLODED, Experiment
from .rating import read_or_load


class RankingExperiment(Experiment):
    """A run of a model that ranks items by clicks; `data` are `Clicks`, split by users.

    Only the clicks of the training users are trained on.
    """

    def _take(self, data: Clicks | None) -> None:
        self.train_data: Clicks = load_clicks(self.config) if data is None else data
        self.matrix_shape = self.train_data.num_train_users, self.train_data.num_items
        self.num_ratings = sum(map(len, self.train_data.pairs.values()))

    def about_data(self) -> dict[str, Any]:
        """Return what config.json says of the data."""
        return {
            "name": self.train_data.name,
            **self.train_data.counts(),
            "dropped": self.train_data.dropped,
            "train_sha256": self.train_data.fingerprint,
            "test_sha256": self.train_data.fingerprint,
        }

    def save_data(self, path: Path) -> None:
        """Write the clicks of all users, by pieces."""
        self.train_data.save(path)

    def served(self) -> tuple[Ratings, Ratings]:
        """Return the known clicks, and those of them that the trained network is given."""
        return self.train_data.interactions(), self.train_data.interactions(INPUTS)

    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Return the clicks of the training users, users x items; of every phase."""
        return self.train_data.train

    def loss(self, phase: str, trainer: gluon.Trainer) -> Callable:
        """Return the loss of a phase; the weight of a KL divergence grows with the updates."""
        config, users = self.config, self.train_data.num_train_users
        batches = -(-users // config.rows_of_a_step(users))
        before = None if phase == "search" else self.checkpoint.done.get("search", ())
        schedule = config.beta_schedule(config.epochs * batches, before)

        beta = schedule and (lambda: schedule(trainer.optimizer.num_update))
        return config.own.loss or config.make_loss(beta)

    def largest_error(self, phase: str) -> float:
        """Return the loss of a click above which training has diverged."""
        return EXPLODED * math.log(self.train_data.num_items + 1)

    def trained(self, phase: str, net: Any) -> tuple[Any, gluon.data.DataLoader]:
        """Return the network and its batches; a short last one is kept, as in the original."""
        rows = self.matrix(phase)
        size = self.config.rows_of_a_step(rows.shape[0])
        return net, train_loader(rows, size, self.config.seed, self.batchify, "keep")

    def evaluations(self, phase: str) -> dict[str, RankingEvaluation]:
        """Return what measures the test and the validation users."""
        clicks, parts = self.train_data, {}
        if clicks.heldout_users:
            parts["test"] = clicks.test
        if clicks.validation_users:
            parts["validation"] = clicks.validation
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


def load_clicks(config: ClickModel) -> Clicks:
    """Read the clicks that the options ask for."""
    ratings = read_or_load(config, implicit=True)
    users: float | Fold = config.heldout_users
    if config.split == "k-fold":
        users = Fold(numbered(config.fold), config.folds)
    fewest = config.min_user_clicks, config.min_item_clicks
    return prepare_clicks(ratings, config.threshold, *fewest, users, config.validation_users)

"""Runs of models that rank items by clicks: data, batches, evaluation and baseline."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mxnet import gluon
from scipy import sparse

from ..data.clicks import NO_CLICK, REPEATS, Clicks, Fold, Known, prepare_clicks, usual_threshold
from ..data.ratings import Ratings
from ..data.splits import following, leave_last_out, time_split
from ..evaluation.ranking import RankingEvaluation
from ..models.base import Fitted
from ..models.catalog.popularity import PopularityConfig
from ..models.kinds import ClickModel
from ..support.errors import ConfigError, DataError, warn
from ..training.loaders import Loader, train_loader
from .experiment import Experiment
from .rating import read_or_load


class RankingExperiment(Experiment):
    """A run of a model that ranks items by clicks; `data` are `Clicks`, which are split.

    Only their training clicks are trained on. If the run goes on from another one, `data` are newer
    `Ratings`, and the same users are held out.
    """

    def _take(self, data: Any) -> None:
        if data is None or self.start:
            data = load_clicks(self.config, self.start, data)
        self.train_data: Clicks = data
        self.matrix_shape = self.train_data.num_train_users, self.train_data.num_items
        self.num_ratings = sum(map(len, self.train_data.pairs.values()))
        self.tested_ids = self.train_data.test.user_ids
        self.ignorance = math.log(self.train_data.num_items + 1)

    def counts(self) -> dict[str, int]:
        """Return the sizes of the data."""
        return self.train_data.counts()

    def about_data(self) -> dict[str, Any]:
        """Return what config.json says of the data beside name, sizes and training digest."""
        return {"dropped": self.train_data.dropped, "test_sha256": self.train_data.fingerprint}

    def save_data(self, path: Path) -> None:
        """Write the clicks of all users, by pieces."""
        self.train_data.save(path)

    def served(self) -> tuple[Ratings, Ratings]:
        """Return all that was rated, and the clicks that the trained network reads."""
        clicks = self.train_data
        return clicks.rated(), clicks.interactions(clicks.inputs)

    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Return the clicks of the training users, users x items, which every phase has."""
        return self.train_data.train

    def loss(self, phase: str, trainer: gluon.Trainer) -> Callable:
        """Return the loss of a phase; the weight of a KL divergence grows with the updates."""
        config, users = self.config, self.train_data.num_train_users
        batches = -(-users // config.rows_of_a_step(users))
        before = None if phase == "search" else self.checkpoint.done.get("search", ())
        schedule = config.beta_schedule(config.epochs * batches, before)

        beta = schedule and (lambda: schedule(trainer.optimizer.num_update))
        return config.own.loss or config.make_loss(beta)

    def trained(self, phase: str, net: Any) -> tuple[Any, Loader]:
        """Return the network and its batches; the last may be short, as in the original."""
        rows = self.matrix(phase)
        size = self.config.rows_of_a_step(rows.shape[0])
        return net, train_loader(rows, size, self.config.seed, self.batchify, "keep")

    def evaluations(self, phase: str) -> dict[str, RankingEvaluation]:
        """Return the evaluations of the test and the validation users."""
        clicks, config = self.train_data, self.config
        parts = {"test": clicks.test, "validation": clicks.validation}
        return {
            name: RankingEvaluation(
                part.fold_in,
                part.held_out,
                self.devices,
                self.batchify,
                with_loss=config.logits,
                cut_offs=config.at,
                train=clicks.train,
            )
            for name, part in parts.items()
            if len(part.user_ids) and name in self._measured
        }

    def baseline(self, test: RankingEvaluation) -> dict[str, Any]:
        """Return the test NDCG@100 of popularity, or {} if the run's model is popularity."""
        if self.config.is_baseline:
            return {}

        scores = test(Fitted(PopularityConfig()).fit(self.train_data.train))
        return {"baseline": "popularity", "baseline_test_ndcg@100": scores["ndcg@100"]}

    def describe(self) -> dict[str, Any]:
        """Return the data's entries for result.json, beside the sizes."""
        [example_user] = self.train_data.user_ids[:1].tolist()
        repeated = self.train_data.dropped.get(REPEATS, 0)
        return {
            "repeated_clicks": repeated,
            "threshold": self.train_data.threshold,
            "example_user": example_user,
        }


def load_clicks(config: ClickModel, start: Any = None, newer: Ratings | None = None) -> Clicks:
    """Return the clicks that the options ask for, or `newer` ones, after those of `start`."""
    ratings = read_or_load(config, implicit=True) if newer is None else newer
    threshold = config.threshold
    if start:
        threshold = start.metrics.get("threshold") if threshold is None else threshold
        threshold = usual_threshold(ratings) if threshold is None else threshold
        is_click = ratings.values >= threshold
        if config.threshold is None and threshold > 1 and (ratings.values == 1).all():
            warn(f"{ratings.name}: every value is 1, so each row is a click")
            is_click = ratings.values == 1
        if not is_click.any():
            raise DataError(
                f"{ratings.name}: none of the {len(ratings)} ratings reaches {threshold:g}, the "
                "lowest that is a click: say another `threshold`"
            )
        newer = replace(
            ratings, values=np.where(is_click, 1.0, NO_CLICK), scale=start.ratings.scale
        )
        [ratings] = following(start.ratings, [newer])
        known = Known(*(start.metrics[name] for name in Known._fields))
        if config.split != "users" or sum(known[:3]) != start.ratings.num_users:
            raise ConfigError(
                "a run whose clicks are not split by users cannot be gone on from: begin a new run "
                "with all clicks"
            )
        return replace(_prepared(config, ratings, 1.0, known), threshold=threshold)
    return _prepared(config, ratings, threshold)


def _prepared(
    config: ClickModel, ratings: Ratings, threshold: float | None, known: Known | None = None
) -> Clicks:
    """Return the clicks of ratings, held out as the options say; `known` users stay where they are.

    See `prepare_clicks`.
    """
    users: float | Fold = config.heldout_users
    if config.split == "k-fold":
        users = Fold(int(config.fold), config.folds)
    fewest = config.min_user_clicks, config.min_item_clicks
    by_time: dict[str, Callable] = {
        "leave-last-out": leave_last_out,
        "time": partial(time_split, test_ratio=config.test_ratio),
    }
    split, validation = by_time.get(config.split), config.validation_users
    return prepare_clicks(ratings, threshold, *fewest, users, validation, split, known)

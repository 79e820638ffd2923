"""Runs of models that predict held-out ratings: split, batches, evaluation and baseline."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet import gluon
from scipy import sparse

from ..data import splits
from ..data.ratings import Ratings
from ..data.readers import read_ratings, read_train_and_test
from ..data.sources import load_official_fold, load_ratings
from ..evaluation.rating import RatingEvaluation
from ..models.catalog.autorec import stage_of
from ..models.kinds import SPLITS_BY_SHARE, RatingModel, RunConfig, numbered
from ..models.sparse_autorec import CodeAutoencoder, codes
from ..support.seeds import Purpose, generator
from ..training.loaders import DenseRows, Pairs, eval_loader, train_loader
from .experiment import EXPLODED, Experiment


class RatingParts(NamedTuple):
    """Ratings that are split already, over the same index maps; no rating is in two of them.

    `test` may be empty. Without `validation`, `val_ratio` of `train` are taken.
    """

    train: Ratings
    test: Ratings
    validation: Ratings | None = None


class RatingExperiment(Experiment):
    """A run of a model that predicts held-out ratings; `data` are `RatingParts`.

    Attributes
    ----------
    train_data, test : Ratings
    fitting, validation : Ratings or None
        The parts of `train_data` that early stopping needs; without it all and None.
    """

    def _take(self, data: RatingParts | None) -> None:
        if data is None:
            data = RatingParts(*load_and_split(self.config))
        else:
            splits.check_apart(
                {"train": data.train, "validation": data.validation, "test": data.test}
            )

        self.train_data = self.fitting = data.train
        self.test, self.validation = data.test, data.validation
        if self.validation is not None:
            self.train_data = self.fitting.joined(self.validation)
        elif self.config.val_ratio:
            rng = generator(self.config.seed, Purpose.VALIDATION)
            self.fitting, self.validation = splits.validation_split(
                self.train_data, self.config.val_ratio, rng
            )
        self.num_ratings = len(self.train_data) + len(self.test)

        users, items = self.train_data.num_users, self.train_data.num_items
        self.matrix_shape = (users, items) if self.config.based == "user" else (items, users)
        if self._reads_pairs:
            self.matrix_shape = Pairs.of(self.fitting).shape
        self.initializer = mx.init.Normal(self.config.init_sigma)

    @property
    def _reads_pairs(self) -> bool:
        return self.config.reads == "pairs"

    def about_data(self) -> dict[str, Any]:
        """Return what config.json says of the data."""
        return {
            "name": self.train_data.name,
            **self.counts(),
            "scale": list(self.train_data.scale or ()),
            "offset": self.train_data.offset,
            "train_sha256": self.train_data.fingerprint,
            "test_sha256": self.test.fingerprint,
        }

    def counts(self) -> dict[str, int]:
        """Return the sizes of the data."""
        return {
            "users": self.train_data.num_users,
            "items": self.train_data.num_items,
            "train_ratings": len(self.train_data),
            "test_ratings": len(self.test),
        }

    def save_data(self, path: Path) -> None:
        """Write all ratings, and which of them are inputs."""
        known, is_input = self.known()
        known.save(path, is_input)

    def served(self) -> tuple[Ratings, Ratings]:
        """Return all ratings, and those of them that the trained network is given."""
        known, is_input = self.known()
        return known, known.part(is_input)

    def known(self) -> tuple[Ratings, np.ndarray]:
        """Return all ratings, and which of them are inputs of the network that is served.

        Test ratings, and validation ratings without a refit, were no inputs of
        what was measured, so they are none of what is served; but the user has
        rated those items.
        """
        known, inputs = self.train_data, len(self.train_data)
        if self.validation is not None and not self.config.refit:
            known, inputs = self.fitting.joined(self.validation), len(self.fitting)

        known = known.joined(self.test)
        if self.config.split == "held-out-rows":  # a row is reconstructed from its own ratings
            inputs = len(known)
        return known, np.arange(len(known)) < inputs

    def part(self, phase: str) -> Ratings:
        """Return the ratings that a phase trains on."""
        return self.train_data if phase.startswith("refit") else self.fitting

    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Return the users x items matrix that a closed-form model is fitted to."""
        return self.part(phase).to_csr("user")

    def loss(self, phase: str, trainer: gluon.Trainer) -> Callable:
        """Return the loss function: (prediction, label) to one loss a row."""
        if stage_of(phase) > 1:
            return gluon.loss.L2Loss()
        return self.config.own.loss or self.config.make_loss()

    def largest_error(self, phase: str) -> float:
        """Return the error above which training has diverged; infinite for hidden units."""
        highest = math.inf if stage_of(phase) > 1 else max(map(abs, self.train_data.bounds))
        return EXPLODED * highest

    def trained(self, phase: str, net: Any) -> tuple[Any, gluon.data.DataLoader]:
        """Return the part of the network that a phase trains, and its batches.

        Greedy layer-wise pretraining goes from the outside in:

        ratings -> AutoRec of the first layer                       'pretrain-1'
        its hidden units -> autoencoder of the next pair of layers  'pretrain-2', ...
        all layers together, begun with these                       'search', or 'refit'
        """
        train = self.part(phase)
        table: Any = Pairs.of(train) if self._reads_pairs else train.to_csr(self.config.based)
        batchify = self.batchify
        depth = stage_of(phase) - 1
        if depth > 0:
            batches = eval_loader(table, batchify=batchify)
            table = sparse.csr_matrix(np.concatenate([codes(net, b, depth) for b in batches]))
            net, batchify = CodeAutoencoder(net, depth), DenseRows

        size = self.config.rows_of_a_step(table.shape[0])
        return net, train_loader(table, size, self.config.seed, batchify)

    def evaluations(self, phase: str) -> dict[str, RatingEvaluation]:
        """Return what measures the test and the validation part after each epoch."""
        parts = {"test": self.test, "validation": self.validation}
        if phase.startswith("refit"):
            del parts["validation"]

        return {
            name: RatingEvaluation(
                self.part(phase),
                ratings,
                self.devices,
                self.config.based,
                self.config.clip,
                self.batchify,
                reconstruct=self.config.split == "held-out-rows",
                beside_means=name == "validation" and self.config.begins_with_means,
            )
            for name, ratings in parts.items()
            if ratings
        }

    def baseline(self, test: RatingEvaluation) -> dict[str, Any]:
        """Return the test RMSE of user and item means; nothing for these themselves."""
        if self._reads_pairs and self.config.at_once:  # these means themselves
            return {}
        return {
            "baseline": "user and item means",
            "baseline_test_rmse": test.of_means()["rmse"],
            "global_mean_test_rmse": test.of_global_mean()["rmse"],
        }

    def describe(self) -> dict[str, Any]:
        """Return what result.json says beside the metrics."""
        based = {} if self._reads_pairs else {"based": self.config.based}
        [example_user] = self.train_data.user_ids[self.train_data.users[:1]].tolist()

        return {
            **based,
            **self.counts(),
            "example_user": example_user,
            "split": self.config.split,
            "weight_decay": self.config.weight_decay(self.train_data, "search"),
            "validation_ratings": len(self.validation or ()),
        }


def load_and_split(config: RatingModel) -> splits.Split:
    """Read the training and test `Ratings` that the options ask for."""
    if config.train and config.test:  # one is not had without the other
        return read_train_and_test(Path(config.train), Path(config.test), **_layout(config))
    if config.split in splits.OFFICIAL_FOLDS:
        return load_official_fold(config.split, config.data_dir, not config.quiet)
    return split_ratings(config, read_or_load(config))


def read_or_load(config: RunConfig, implicit: bool = False) -> Ratings:
    """Return the ratings of the file or the data set that the options name."""
    if config.ratings:
        return read_ratings(config.ratings, implicit=implicit, **_layout(config))
    return load_ratings(config.dataset, config.data_dir, config.seed, not config.quiet)


def _layout(config: RunConfig) -> dict[str, Any]:
    """Return the options of a file of ratings, as the readers take them."""
    names = ("columns", "separator", "duplicates", "quotes")
    return {"scale": config.rating_scale(), **{name: getattr(config, name) for name in names}}


def split_ratings(config: RatingModel, ratings: Ratings) -> splits.Split:
    """Split as the options ask for; no test part with a `test_ratio` of 0."""
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

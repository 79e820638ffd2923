"""Runs of models that predict held-out ratings: split, batches, evaluation and baseline."""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet import gluon
from scipy import sparse

from ..data import splits
from ..data.ratings import Ratings
from ..data.sources import load_official_fold, load_ratings, read_ratings, read_train_and_test
from ..evaluation.rating import RatingEvaluation
from ..models.catalog.autorec import stage_of
from ..models.kinds import OFFICIAL_FOLDS, SPLITS_BY_SHARE, RatingModel, RunConfig
from ..models.sparse_autorec import CodeAutoencoder, codes
from ..support.errors import DataError, warn
from ..support.seeds import Purpose, generator
from ..support.terminal import remark_once
from ..training.loaders import DenseRows, Loader, Pairs, eval_loader, train_loader
from .experiment import Experiment

FEWEST_NEWER = 10  # least validation ratings of a run that goes on from another
BRIEF = 5  # epochs of such a run that has fewer


class RatingParts(NamedTuple):
    """Ratings that are split already, over the same index maps; no rating is in two of them.

    `test` may be empty. Without `validation`, a share `val_ratio` of `train` is taken for it.
    """

    train: Ratings
    test: Ratings
    validation: Ratings | None = None


class RatingExperiment(Experiment):
    """A run of a model that predicts held-out ratings; `data` are `RatingParts`.

    Attributes
    ----------
    train_data, test : Ratings
        The training data, including the validation part, and the test part.
    fitting, validation : Ratings or None
        The two parts of `train_data` for early stopping; without it, all ratings and None.
    """

    _rows: tuple[str, Any] = ("", None)  # a phase, and its matrix

    def _take(self, data: RatingParts | None) -> None:
        if data is None:
            data = RatingParts(*load_and_split(self.config))
        else:
            splits.check_apart(
                {"train": data.train, "validation": data.validation, "test": data.test}
            )

        known: Any = np.zeros(len(data.train), dtype=bool)  # those that do not validate
        if self.start:
            data, known = self._after_start(data)
        self.fitting, self.test, self.validation = data
        self.train_data = self.fitting
        if self.validation is not None:
            self.train_data = self.fitting.joined(self.validation)
        elif known.any() and self.config.val_ratio * np.sum(~known) < FEWEST_NEWER:
            self._train_briefly()
        elif share := self.config.val_ratio:
            rng = generator(self.config.seed, Purpose.VALIDATION)
            self.fitting, self.validation = splits.validation_split(data.train, share, rng, known)
        self.num_ratings = len(self.train_data) + len(self.test)
        self.tested_ids = self.test.user_ids
        self.ignorance = max(map(abs, self.train_data.bounds))

        users, items = self.train_data.num_users, self.train_data.num_items
        self.matrix_shape = (users, items) if self.config.based == "user" else (items, users)
        if self.config.reads == "pairs":
            self.matrix_shape = Pairs.of(self.fitting).shape
        self.initializer = mx.init.Normal(self.config.init_sigma)

    def _train_briefly(self) -> None:
        """Limit the epochs of a run that cannot validate: what its start knows would not tell."""
        if self.config.val_ratio and not self.config.at_once:
            remark_once(f"few newer ratings: at most {BRIEF} epochs, without validation")
            self._limit = BRIEF

    def _after_start(self, newer: RatingParts) -> tuple[RatingParts, np.ndarray]:
        """Return the newer parts after the start's ratings, and which training ratings it knows.

        What the start was trained on would not test it, or validate: it is moved to training.
        """
        given = [part for part in newer if part is not None]
        train, *held_out = splits.following(self.start.ratings, given)
        earlier = np.arange(len(train)) < len(train) - len(newer.train)
        over = {"user_ids": train.user_ids, "item_ids": train.item_ids}
        trained = splits.pair_keys(replace(self.start.inputs, **over))

        moved = [np.isin(splits.pair_keys(part), trained) for part in held_out]
        for name, mask in zip(("test", "validation"), moved):
            if len(mask) and mask.all():
                raise DataError(
                    f"no {name} rating is new to the start: give newer ratings, or no {name}"
                )
        if count := sum(map(np.sum, moved)):
            warn(
                f"{count:,} of {sum(map(len, moved)):,} ratings to test or validate with are of "
                "pairs that the start was trained on: they are used for training"
            )
            train = reduce(Ratings.joined, (p.part(m) for p, m in zip(held_out, moved)), train)
            held_out = [part.part(~mask) for part, mask in zip(held_out, moved)]

        known = np.isin(splits.pair_keys(train), trained)
        known[: len(earlier)] |= earlier
        return RatingParts(train, *held_out), known & (not self.config.anew)

    def about_data(self) -> dict[str, Any]:
        """Return what config.json says of the data beside name, sizes and training digest."""
        return {
            "scale": list(self.train_data.scale or ()),
            "offset": self.train_data.offset,
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
        """Write all ratings, and which of them the trained network reads."""
        known, is_input = self._known()
        known.save(path, is_input)

    def served(self) -> tuple[Ratings, Ratings]:
        """Return all ratings, and those of them that the trained network reads."""
        known, is_input = self._known()
        return known, known.part(is_input)

    def _known(self) -> tuple[Ratings, np.ndarray]:
        """Return all ratings, and a mask of those that the served network reads.

        It does not read test ratings, nor validation ratings without a refit, as the network
        that was measured did not. But the user has rated those items, and they are not
        recommended.
        """
        known, inputs = self.train_data, len(self.train_data)
        if self.validation is not None and not self.config.refit:
            known, inputs = self.fitting.joined(self.validation), len(self.fitting)

        known = known.joined(self.test)
        return known, np.arange(len(known)) < inputs

    def part(self, phase: str) -> Ratings:
        """Return the ratings that a phase trains on."""
        return self.train_data if phase.startswith("refit") else self.fitting

    def _table(self, phase: str) -> sparse.csr_matrix:
        """Return the matrix of a phase, which is made once for its steps and evaluations."""
        if self._rows[0] != phase:
            self._rows = phase, self.part(phase).to_csr(self.config.based)
        return self._rows[1]

    def matrix(self, phase: str) -> sparse.csr_matrix:
        """Return the users x items matrix that a closed-form model is fitted to."""
        return self.part(phase).to_csr("user")

    def loss(self, phase: str, trainer: gluon.Trainer) -> Callable:
        """Return the loss function: (prediction, label) to one number for each row."""
        if stage_of(phase) > 1:
            return gluon.loss.L2Loss()
        return self.config.own.loss or self.config.make_loss()

    def trained(self, phase: str, net: Any) -> tuple[Any, Loader]:
        """Return the part of the network that a phase trains, and its batches.

        Greedy layer-wise pretraining goes from the outside in:

        ratings -> AutoRec of the first layer                       'pretrain-1'
        its hidden units -> autoencoder of the next pair of layers  'pretrain-2', ...
        all layers together, beginning with these                   'search', or 'refit'
        """
        train = self.part(phase)
        table: Any = Pairs.of(train) if self.config.reads == "pairs" else self._table(phase)
        batchify = self.batchify
        depth = stage_of(phase) - 1
        if depth > 0:
            batches = eval_loader(table, batchify=batchify)
            table = sparse.csr_matrix(np.concatenate([codes(net, b, depth) for b in batches]))
            net, batchify = CodeAutoencoder(net, depth), DenseRows

        size = self.config.rows_of_a_step(table.shape[0])
        return net, train_loader(table, size, self.config.seed, batchify)

    def evaluations(self, phase: str) -> dict[str, RatingEvaluation]:
        """Return the evaluations of the test and the validation part, for each epoch."""
        inputs, matrix = self.part(phase), self._table(phase)
        found = {}
        if self.test and "test" in self._measured:
            found["test"] = self._evaluation(inputs, self.test, matrix=matrix)
        if self.validation and not phase.startswith("refit"):
            found["validation"] = self._evaluation(
                inputs, self.validation, beside_means=self.begins_with_means, matrix=matrix
            )
        if found:
            inputs.means()  # while there is no network: of 20 million ratings they take a gigabyte
            every = reduce(Ratings.joined, (part.test for part in found.values()))
            self._every = self._evaluation(inputs, every, matrix=matrix)
            self._places = {
                name: np.searchsorted(self._every.places, part.places)
                for name, part in found.items()
            }
        return found

    def metrics_of(self, net: Any) -> dict[str, Any]:
        """Return a network's metrics on each part; it predicts the ratings of all parts at once."""
        raw = self._every.measured(net) if self._parts else np.empty(0)
        return {name: part.metrics(raw[self._places[name]]) for name, part in self._parts.items()}

    def _evaluation(self, inputs: Ratings, test: Ratings, **more: Any) -> RatingEvaluation:
        config = self.config
        more["predicts_cold"] = config.predicts_cold
        return RatingEvaluation(
            inputs, test, self.devices, config.based, config.clip, self.batchify, **more
        )

    def of_start(self, net: Any, test: RatingEvaluation) -> dict[str, float]:
        """Return the test metrics of the model that the run goes on from; `net` is its network."""
        known = self.start.inputs.over(self.train_data.user_ids, self.train_data.item_ids)
        return self._evaluation(known, self.test)(net)

    def baseline(self, test: RatingEvaluation) -> dict[str, Any]:
        """Return the test RMSE of user and item means, or {} if the run's model is such means."""
        if self.config.reads == "pairs" and self.config.at_once:  # the model is these means
            return {}
        return {
            "baseline": "user and item means",
            "baseline_test_rmse": test.of_means()["rmse"],
            "global_mean_test_rmse": test.of_global_mean()["rmse"],
        }

    def describe(self) -> dict[str, Any]:
        """Return the data's entries for result.json, beside the sizes."""
        based = {} if self.config.reads == "pairs" else {"based": self.config.based}
        [example_user] = self.train_data.user_ids[self.train_data.users[:1]].tolist()

        return {
            **based,
            "example_user": example_user,
            "split": self.config.split,
            "weight_decay": self.config.weight_decay(self.train_data, "search"),
            "validation_ratings": len(self.validation or ()),
        }


def load_and_split(config: RatingModel) -> splits.Split:
    """Read the training and test `Ratings` that the options ask for."""
    if config.train and config.test:  # the options allow neither alone
        return read_train_and_test(Path(config.train), Path(config.test), **_layout(config))
    if config.split in OFFICIAL_FOLDS:
        return load_official_fold(config.split, config.data_dir, not config.quiet)
    return split_ratings(config, read_or_load(config))


def read_or_load(config: RunConfig, implicit: bool = False) -> Ratings:
    """Return the ratings of the file or the data set that the options name."""
    if config.ratings:
        return read_ratings(config.ratings, implicit=implicit, **_layout(config))
    return load_ratings(config.dataset, config.data_dir, config.seed, not config.quiet)


def _layout(config: RunConfig) -> dict[str, Any]:
    """Return the options on the layout of a ratings file, as the readers take them."""
    names = ("columns", "separator", "duplicates", "quotes", "titles")
    return {"scale": config.rating_scale(), **{name: getattr(config, name) for name in names}}


def split_ratings(config: RatingModel, ratings: Ratings) -> splits.Split:
    """Split ratings as the options ask for; with a `test_ratio` of 0, the test part is empty."""
    rng = generator(config.seed, Purpose.SPLIT)

    share = config.test_ratio
    if not share and config.split in SPLITS_BY_SHARE:
        return splits.all_to_train(ratings)
    ways: dict[str, Callable[[], splits.Split]] = {
        "random": lambda: splits.random_split(ratings, share, rng),
        "seq-aware": lambda: splits.seq_aware_split(ratings),
        "leave-last-out": lambda: splits.leave_last_out(ratings),
        "time": lambda: splits.time_split(ratings, share),
        "k-fold": lambda: splits.k_folds(ratings, config.folds, rng)[int(config.fold) - 1],
    }
    return ways[config.split]()

"""Splits of `Ratings` into a training and a test part over the same index maps."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from ..support.errors import ConfigError, DataError, check_whole
from ..support.seeds import Purpose, generator
from .ratings import Ratings

Split = tuple[Ratings, Ratings]
Seed = int | np.random.Generator  # a run's seed, from 0, or a generator of the caller's
OFFICIAL_FOLDS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")


def random_split(ratings: Ratings, test_ratio: float = 0.1, seed: Seed = 0) -> Split:
    """Draw test ratings, each with probability `test_ratio` (the chapter's random mode).

    A `seed` gives the split of a run with that seed.

    Raises
    ------
    ConfigError
        If `test_ratio` is not between 0 and 1; so do all splits here.
    DataError
        If either part would be empty; so do all splits here.
    """
    check_ratio(test_ratio)
    is_test = _generator_of(seed).uniform(size=len(ratings)) >= 1 - test_ratio
    return _split(ratings, is_test, f"a random split with test ratio {test_ratio:g}")


def seq_aware_split(ratings: Ratings) -> Split:
    """Test on each user's latest rating (the chapter's seq-aware mode).

    Of several ratings at a user's latest time, the first in the file is taken.

    Raises
    ------
    DataError
        If there are no usable timestamps.
    """
    times = require_timestamps(ratings, "a seq-aware split")
    return _split(ratings, latest_of_each(ratings.users, times), "a seq-aware split")


def time_split(ratings: Ratings, test_ratio: float = 0.1) -> Split:
    """Test on the latest `test_ratio` of all ratings; equal times stay together.

    The cut is at the time of the first rating of that share, so the test part
    is at least `test_ratio`.

    Raises
    ------
    DataError
        If there are no usable timestamps.
    """
    check_ratio(test_ratio)
    times = require_timestamps(ratings, "a split by time")

    first = min(int(len(ratings) * (1 - test_ratio)), len(ratings) - 1)
    cut = np.partition(times, first)[first]
    return _split(ratings, times >= cut, f"a split by time with test ratio {test_ratio:g}")


def k_folds(ratings: Ratings, folds: int = 5, seed: Seed = 0) -> list[Split]:
    """Make `folds` random splits; each rating is a test rating in exactly one of them.

    Raises
    ------
    DataError
        If there are fewer ratings than folds.
    """
    check_whole("folds", folds, at_least=2)
    if folds > len(ratings):
        raise DataError(
            f"{folds} folds of {len(ratings)} ratings: choose from 2 to {len(ratings)} with `folds`"
        )

    fold_of = _generator_of(seed).permutation(len(ratings)) % folds
    return [
        _split(ratings, fold_of == fold, f"fold {fold + 1} of {folds}") for fold in range(folds)
    ]


def held_out_rows_split(
    ratings: Ratings, test_ratio: float = 0.1, seed: Seed = 0, based: str = "item"
) -> Split:
    """Test on all ratings of `test_ratio` of the items; of the users, if user-based.

    Such a row has no training rating, so only its reconstruction from its own
    ratings can be measured, not a prediction.
    """
    check_ratio(test_ratio)
    by_item = based == "item"
    rows = ratings.items if by_item else ratings.users
    size = ratings.num_items if by_item else ratings.num_users

    chosen = _generator_of(seed).permutation(size)[: int(size * test_ratio)]
    return _split(ratings, np.isin(rows, chosen), f"holding out {test_ratio:g} of the {based}s")


def all_to_train(ratings: Ratings) -> Split:
    """Return all ratings to train on, and an empty test part."""
    return ratings, ratings.part(np.zeros(len(ratings), dtype=bool))


def validation_split(
    ratings: Ratings,
    val_ratio: float,
    rng: np.random.Generator,
    remedy: str = "raise it, or do without validation by `val_ratio=0`",
) -> Split:
    """Take validation ratings out of training ratings, each with probability `val_ratio`.

    Raises
    ------
    DataError
        If either part would be empty; `remedy` is the advice.
    """
    is_validation = rng.uniform(size=len(ratings)) >= 1 - val_ratio
    train, validation = ratings.part(~is_validation), ratings.part(is_validation)

    if not len(train) or not len(validation):
        raise DataError(
            f"`val_ratio={val_ratio:g}` of the {len(ratings)} training ratings of {ratings.name} "
            f"leaves {len(train)} to train on and {len(validation)} to validate with: {remedy}"
        )
    return train, validation


def check_apart(parts: Mapping[str, Ratings | None]) -> None:
    """Raise DataError if a (user, item) pair is in two of the named parts."""
    there = [(name, part) for name, part in parts.items() if part is not None]
    for (name, part), (other_name, other) in combinations(there, 2):
        shared = np.isin(_pair_keys(other), _pair_keys(part))
        if shared.any():
            row = int(shared.argmax())
            user, item = other.user_ids[other.users[row]], other.item_ids[other.items[row]]
            raise DataError(
                f"{other_name}: user {str(user)!r} rated item {str(item)!r}, and in {name}; "
                f"{shared.sum()} (user, item) pairs are in both: a {other_name} rating must not be "
                "trained on; take them out of one of the two"
            )


def _pair_keys(ratings: Ratings) -> np.ndarray:
    """Return one whole number for each different (user, item) pair, shape (n,)."""
    return ratings.users.astype(np.int64) * ratings.num_items + ratings.items


def check_ratio(test_ratio: float) -> None:
    """Raise ConfigError unless `test_ratio` is a share."""
    if not 0 < test_ratio < 1:
        raise ConfigError(f"test_ratio={test_ratio}: it must be between 0 and 1, both excluded")


def _generator_of(seed: Seed) -> np.random.Generator:
    return seed if isinstance(seed, np.random.Generator) else generator(seed, Purpose.SPLIT)


def latest_of_each(users: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Return the mask, shape (n,), of each user's latest row; of equal times, the first."""
    position = np.arange(len(users))
    order = np.lexsort((-position, timestamps, users))  # per user: oldest first, ties reversed
    is_last = np.diff(users[order], append=-1) != 0

    mask = np.zeros(len(users), dtype=bool)
    mask[order[is_last]] = True
    return mask


def require_timestamps(ratings: Ratings, split: str) -> np.ndarray:
    """Return the timestamps; raise DataError unless they are there and tell rows apart."""
    times = ratings.timestamps
    if times is not None and (not len(times) or (times != times[0]).any()):
        return times

    found = "no timestamps" if times is None else "no different timestamps"
    raise DataError(f"{ratings.name} has {found}, which {split} needs: choose `split=random`")


def _split(ratings: Ratings, is_test: np.ndarray, what: str) -> Split:
    train, test = ratings.part(~is_test), ratings.part(is_test)
    if not len(train) or not len(test):
        raise DataError(
            f"{what} of the {len(ratings)} ratings of {ratings.name} leaves "
            f"{len(train)} for training and {len(test)} for testing: "
            "both must be above 0; choose another share, or train on all, without a test"
        )
    return train, test

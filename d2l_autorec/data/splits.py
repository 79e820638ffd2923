"""Splits of `Ratings` into a training and a test part over the same index maps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from numbers import Real

import numpy as np

from ..support.errors import ConfigError, DataError, check_whole
from ..support.seeds import Purpose, generator
from .ids import extended
from .ratings import Ratings

Split = tuple[Ratings, Ratings]
Seed = int | np.random.Generator  # a run's seed, from 0, or the caller's own generator


def random_split(ratings: Ratings, test_ratio: float = 0.1, seed: Seed = 0) -> Split:
    """Split at random: each rating is a test rating with probability `test_ratio`.

    This is the chapter's random mode. An integer `seed` gives the split of a run with that seed.

    Returns
    -------
    train, test : Ratings
        The parts, over the index maps of `ratings`.

    Raises
    ------
    ConfigError
        If `test_ratio` is not between 0 and 1.
    DataError
        If either part would be empty.
    """
    check_ratio(test_ratio)
    is_test = _generator_of(seed).uniform(size=len(ratings)) >= 1 - test_ratio
    return _split(ratings, is_test, f"a random split with test ratio {test_ratio:g}")


def seq_aware_split(ratings: Ratings) -> Split:
    """Split off each user's latest rating as a test rating: the chapter's seq-aware mode.

    Of several ratings at a user's latest time, the first in the file is taken.

    Returns
    -------
    train, test : Ratings
        The parts, over the index maps of `ratings`.

    Raises
    ------
    DataError
        If there are no usable timestamps, or either part would be empty.
    """
    times = require_timestamps(ratings, "a seq-aware split")
    return _split(ratings, latest_of_each(ratings.users, times), "a seq-aware split")


def leave_last_out(ratings: Ratings) -> Split:
    """Split off each user's latest rating as a test rating, unless it is the user's only one.

    Of several ratings at a user's latest time, the first in the file is taken.

    Returns
    -------
    train, test : Ratings
        The parts, over the index maps of `ratings`.

    Raises
    ------
    DataError
        If there are no usable timestamps, or either part would be empty.
    """
    times = require_timestamps(ratings, "leaving the last out")
    has_others = ratings.counts()[0] > 1
    is_test = latest_of_each(ratings.users, times) & has_others[ratings.users]
    return _split(ratings, is_test, "leaving the last out")


def time_split(ratings: Ratings, test_ratio: float = 0.1) -> Split:
    """Split off the latest ratings as test ratings: a share of at least `test_ratio`.

    Ratings of equal time stay together, so that the share may be larger.

    Returns
    -------
    train, test : Ratings
        The parts, over the index maps of `ratings`.

    Raises
    ------
    ConfigError
        If `test_ratio` is not between 0 and 1.
    DataError
        If there are no usable timestamps, or either part would be empty.
    """
    check_ratio(test_ratio)
    times = require_timestamps(ratings, "a split by time")

    share = len(ratings) * test_ratio - 1e-9  # a product of floats may be just above the number
    first = len(ratings) - max(1, math.ceil(share))
    cut = np.partition(times, first)[first]
    return _split(ratings, times >= cut, f"a split by time with test ratio {test_ratio:g}")


def k_folds(ratings: Ratings, folds: int = 5, seed: Seed = 0) -> list[Split]:
    """Return `folds` random splits; each rating is a test rating in exactly one of them.

    An integer `seed` gives the folds of runs with that seed.

    Returns
    -------
    list of (train, test)
        The splits, over the index maps of `ratings`.

    Raises
    ------
    ConfigError
        If `folds` is not a whole number, or below 2.
    DataError
        If there are fewer ratings than folds.
    """
    check_whole("folds", folds, at_least=2)
    fold_of = _generator_of(seed).permutation(len(ratings)) % folds
    return [_split(ratings, fold_of == at, f"fold {at + 1} of {folds}") for at in range(folds)]


def following(earlier: Ratings, parts: Sequence[Ratings]) -> list[Ratings]:
    """Reindex newer parts to the ids of earlier ratings, and add the latter to the training part.

    New ids follow the known ones. If a pair was rated again, its earlier rating is left out.

    Parameters
    ----------
    earlier : Ratings
        The ratings of the run that is gone on from.
    parts : sequence of Ratings
        The newer parts, over the same index maps; the first is the training part.

    Raises
    ------
    DataError
        If the scale of `parts` goes beyond that of `earlier`.
    """
    first = parts[0]
    (low, high), (lowest, highest) = first.bounds, earlier.bounds
    if low < lowest or high > highest:
        raise DataError(
            f"{first.name} has ratings {low:g}..{high:g}, and the run that it is to go on from has "
            f"{lowest:g}..{highest:g}: bring them to that scale, or begin a new run with all"
        )

    ids = extended(earlier.user_ids, first.user_ids), extended(earlier.item_ids, first.item_ids)
    newer = [replace(part.over(*ids), scale=earlier.scale) for part in parts]
    titles = {**earlier.titles, **first.titles}
    if ids[1].dtype == object:  # whole numbers become texts beside others
        titles = {str(item): title for item, title in titles.items()}
    known = replace(
        earlier,
        user_ids=ids[0],
        item_ids=ids[1],
        titles=titles,
        name=first.name,
        origin=first.origin,
    )
    again = np.isin(pair_keys(known), np.concatenate([pair_keys(part) for part in newer]))
    return [known.part(~again).joined(newer[0]), *newer[1:]]


def all_to_train(ratings: Ratings) -> Split:
    """Return all ratings as the training part, and an empty test part."""
    return ratings, ratings.part(np.zeros(len(ratings), dtype=bool))


def validation_split(
    ratings: Ratings, val_ratio: float, rng: np.random.Generator, known: np.ndarray
) -> Split:
    """Split off validation ratings, each with probability `val_ratio`.

    The `known` ones, a mask of those that a network was trained on before, are never among them.

    Raises
    ------
    DataError
        If either part would be empty.
    """
    is_validation = rng.uniform(size=len(ratings)) >= 1 - val_ratio
    is_validation &= ~known
    advice = "raise it, add ratings, or let run train without validation, by `val_ratio=0`"
    return _split(ratings, is_validation, f"`val_ratio={val_ratio:g}`", "validate", advice)


def check_apart(parts: Mapping[str, Ratings | None]) -> None:
    """Raise DataError if a (user, item) pair is in two of the named parts, or twice in one."""
    there = [(name, part) for name, part in parts.items() if part is not None]
    for name, part in there:
        repeated = len(part) - len(np.unique(pair_keys(part)))
        if repeated:
            raise DataError(
                f"{name}: {repeated} (user, item) pairs are repeated, which only clicks may be: "
                "read the ratings with `duplicates=last` or mean"
            )

    for (name, part), (other_name, other) in combinations(there, 2):
        shared = np.isin(pair_keys(other), pair_keys(part))
        if shared.any():
            row = int(shared.argmax())
            user, item = other.user_ids[other.users[row]], other.item_ids[other.items[row]]
            raise DataError(
                f"{other_name}: user {str(user)!r} rated item {str(item)!r}, and in {name}; "
                f"{shared.sum()} (user, item) pairs are in both: a {other_name} rating must not be "
                "trained on; take them out of one of the two"
            )


def pair_keys(ratings: Ratings) -> np.ndarray:
    """Return one whole number for each different (user, item) pair, shape (n,)."""
    return ratings.users.astype(np.int64) * ratings.num_items + ratings.items


def check_ratio(test_ratio: float) -> None:
    """Raise ConfigError unless `test_ratio` is between 0 and 1."""
    if not isinstance(test_ratio, Real) or not 0 < test_ratio < 1:
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
    """Return the timestamps; raise DataError if there are none, or all are equal."""
    times = ratings.timestamps
    if times is not None and (not len(times) or (times != times[0]).any()):
        return times

    found = "no timestamps" if times is None else "no different timestamps"
    raise DataError(
        f"{ratings.name} has {found}, which {split} needs: leave out `split`, or name a "
        "column of times with `columns`"
    )


def _split(
    ratings: Ratings,
    is_test: np.ndarray,
    what: str,
    use: str = "test",
    advice: str = "choose another share, or train on all, without a test",
) -> Split:
    train, test = ratings.part(~is_test), ratings.part(is_test)
    if not len(train) or not len(test):
        raise DataError(
            f"{what} of the {len(ratings)} ratings of {ratings.name} leaves "
            f"{len(train)} to train on and {len(test)} to {use} with: {advice}"
        )
    return train, test

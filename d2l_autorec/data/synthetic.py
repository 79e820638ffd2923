"""Generated ratings with the shape of a real data set."""

import re
from collections.abc import Iterator

import numpy as np

from ..support.errors import DataError
from ..support.machine import available_memory, check_fits
from ..support.seeds import Purpose, generator
from .ratings import Ratings
from .rules import size_of

MOST_RATINGS = 2**31 - 1  # their numbers are int32
MOST_AT_ONCE = 25_000_000  # pairs that are drawn together

BYTES_A_RATING = 40  # with its value in float64, while that is made
BYTES_A_PAIR = 100  # of those drawn together, until enough of them differ


def synthetic_shape(dataset: str) -> tuple[int, int, int] | None:
    """Users, items and ratings that a data set's name asks for; None for the usual ones."""
    if dataset == "synthetic":
        return None

    shape = re.fullmatch("synthetic:([0-9]{1,18})x([0-9]{1,18})x([0-9]{1,18})", dataset)
    if shape is None:
        raise DataError(
            f"`dataset` is {dataset}: a generated set is synthetic or "
            "synthetic:USERSxITEMSxRATINGS, as in synthetic:943x1682x100000"
        )

    num_users, num_items, num_ratings = map(int, shape.groups())
    return num_users, num_items, num_ratings


def synthetic_ratings(
    num_users: int = 943, num_items: int = 1682, num_ratings: int = 100_000, seed: int = 0
) -> Ratings:
    """Generated ratings 1..5 with the shape of a real data set; ids are 1..n.

    A rating is mean + user bias + item bias + a low-rank product + noise,
    rounded and clipped. Users are active and items popular with long tails;
    every user and every item has at least one rating.

    Raises
    ------
    DataError
        If the number of ratings cannot cover every user and item, or leaves
        no unobserved entry.
    ConfigError
        If they do not fit into memory.
    """
    if min(num_users, num_items) < 2:
        raise DataError(
            f"generated ratings of {num_users} users and {num_items} items: there must be at "
            "least 2 of each"
        )

    low = max(num_users, num_items)
    high = min(num_users * num_items // 2, MOST_RATINGS)
    if not low <= num_ratings <= high:
        raise DataError(
            f"{num_ratings} generated ratings of {num_users} users and {num_items} "
            f"items: the number must be from {low} to {high}"
        )

    check_fits(
        max(BYTES_A_RATING * num_ratings, BYTES_A_PAIR * min(num_ratings, MOST_AT_ONCE)),
        available_memory(),
        f"a generated set of {num_ratings} ratings",
        ": generate fewer",
    )

    rng = generator(seed, Purpose.GENERATED_RATINGS)
    users, items = _long_tailed_pairs(num_users, num_items, num_ratings, rng)
    values = _low_rank_values(users, items, num_users, num_items, rng)
    timestamps = 880_000_000 + rng.integers(0, 20_000_000, size=num_ratings)

    user_ids = np.arange(1, num_users + 1)
    item_ids = np.arange(1, num_items + 1)
    scale = (1.0, 5.0)
    size = size_of(values, user_ids, item_ids, scale)

    return Ratings(
        users,
        items,
        values,
        user_ids,
        item_ids,
        timestamps,
        scale,
        name="synthetic",
        origin=f"synthetic: generated with seed {seed}; {size}",
    )


def _long_tailed_pairs(
    num_users: int, num_items: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` different (user, item) pairs in random order; of many, in blocks of users."""
    activity = rng.lognormal(sigma=1.0, size=num_users)
    popularity = rng.lognormal(sigma=1.5, size=num_items)

    cover = max(num_users, num_items)  # each user and each item once
    covering_users = np.arange(cover) % num_users
    covering_items = rng.permutation(cover) % num_items
    required = np.unique(covering_users * num_items + covering_items)

    users = np.empty(count, dtype=np.int32)
    items = np.empty(count, dtype=np.int32)
    begin = 0
    for first, last, wanted in _blocks(activity, num_items, required, count):
        inside = required[(required >= first * num_items) & (required < last * num_items)]
        keys = _keys(activity[first:last], popularity, first, inside, wanted, rng)

        block = slice(begin, begin + wanted)
        users[block] = keys // num_items
        items[block] = keys % num_items
        begin += wanted

    return users, items


def _blocks(
    activity: np.ndarray, num_items: int, required: np.ndarray, count: int
) -> Iterator[tuple[int, int, int]]:
    """(first user, last + 1, pairs to draw) of each block; as many users in each."""
    number = -(-count // MOST_AT_ONCE)
    share_up_to = np.cumsum(activity) / activity.sum()
    bounds = np.linspace(0, len(activity), number + 1, dtype=np.int64).tolist()

    drawn = 0
    for first, last in zip(bounds, bounds[1:]):
        begin, end = np.searchsorted(required, [first * num_items, last * num_items]).tolist()
        fewest = end - begin
        most = count - drawn - (len(required) - end)

        wanted = round(count * share_up_to[last - 1]) - drawn
        wanted = max(fewest, min(wanted, most))
        yield first, last, wanted
        drawn += wanted


def _keys(  # of one block
    activity: np.ndarray,
    popularity: np.ndarray,
    first_user: int,
    required: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """`count` different numbers user * items + item in random order, the required among them."""
    num_users, num_items = len(activity), len(popularity)
    user_cdf = np.cumsum(activity) / activity.sum()
    item_cdf = np.cumsum(popularity) / popularity.sum()

    keys = required
    while len(keys) < count:
        draws = 2 * (count - len(keys)) + 1000
        users = np.searchsorted(user_cdf, rng.uniform(size=draws), side="right")
        users = np.minimum(users, num_users - 1) + first_user
        items = np.searchsorted(item_cdf, rng.uniform(size=draws), side="right")
        items = np.minimum(items, num_items - 1)
        keys = np.union1d(keys, users * num_items + items)

    optional = np.setdiff1d(keys, required, assume_unique=True)
    optional = rng.permutation(optional)[: count - len(required)]
    return rng.permutation(np.concatenate([required, optional]))


def _low_rank_values(
    users: np.ndarray,
    items: np.ndarray,
    num_users: int,
    num_items: int,
    rng: np.random.Generator,
    rank: int = 2,
) -> np.ndarray:
    user_factors = rng.normal(size=(num_users, rank))
    item_factors = rng.normal(size=(num_items, rank)) / np.sqrt(rank)

    values = rng.normal(scale=0.65, size=len(users)) + 3.5
    values += rng.normal(scale=0.5, size=num_users)[users]
    values += rng.normal(scale=0.5, size=num_items)[items]
    for k in range(rank):  # one rank at a time: no (n, rank) array
        values += 0.7 * user_factors[users, k] * item_factors[items, k]

    return np.clip(np.rint(values), 1, 5).astype(np.float32)

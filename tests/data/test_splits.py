"""Splits as properties."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.splits import random_split, seq_aware_split


def ratings_of(users, times=None):
    n = len(users)
    return Ratings(users, np.arange(n), np.ones(n), np.arange(max(users) + 1), np.arange(n), times)


@given(st.integers(50, 300), st.floats(0.2, 0.8), st.integers(0, 2**31))
def test_random_split_parts_are_disjoint_and_complete(count, ratio, seed):
    ratings = ratings_of(list(range(count)))
    train, test = random_split(ratings, ratio, np.random.default_rng(seed))
    assert sorted(train.items.tolist() + test.items.tolist()) == list(range(count))
    again = random_split(ratings, ratio, np.random.default_rng(seed))
    assert again[0].fingerprint == train.fingerprint
    assert train.user_ids is not None and len(train.user_ids) == len(test.user_ids) == count


def test_random_split_has_the_ratio():
    train, test = random_split(ratings_of([0] * 100_000), 0.1, np.random.default_rng(0))
    assert abs(len(test) - 10_000) < 4 * np.sqrt(100_000 * 0.1 * 0.9)  # four sigma


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=12, max_size=60))
def test_seq_aware_takes_one_latest_rating_of_each_user(rows):
    users, times = [u for u, _ in rows], [t for _, t in rows]
    if len(set(times)) == 1 or len(set(users)) == len(users):
        return
    train, test = seq_aware_split(ratings_of(users, times))
    assert sorted(test.users.tolist()) == sorted(set(users))
    for user, item in zip(test.users, test.items):
        own = [(t, -k) for k, (u, t) in enumerate(rows) if u == user]
        assert max(own) == (times[item], -item)

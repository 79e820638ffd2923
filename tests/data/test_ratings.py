"""`Ratings` and index maps as properties."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.splits import k_folds, time_split
from d2l_autorec.support.errors import DataError


def from_frame(frame):
    return Ratings.from_frame(frame, timestamp="timestamp")


IDS = st.one_of(st.integers(-5, 40).map(str), st.text("abc019-", min_size=1, max_size=3))
PAIRS = st.tuples(IDS, IDS)
LEVELS = st.sampled_from([0.5, 1, 2.5, 4, 5])


@st.composite
def frames(draw, min_size=1):
    """Frames of different (user, item) pairs; times are distinct powers, so that no tie is full."""
    pairs = draw(st.lists(PAIRS, min_size=min_size, max_size=40, unique=True))
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    values = draw(st.lists(LEVELS, min_size=len(pairs), max_size=len(pairs)))
    times = 2 ** np.arange(len(pairs)) + draw(st.sampled_from([0, 0.25]))
    return frame.assign(rating=values, timestamp=times)


@given(frames())
def test_round_trip_of_ids(frame):
    ratings = from_frame(frame)
    assert [str(i) for i in ratings.user_ids[ratings.users]] == frame["user"].tolist()
    assert [str(i) for i in ratings.item_ids[ratings.items]] == frame["item"].tolist()
    assert len(set(ratings.user_ids)) == frame["user"].nunique()


@given(frames(), st.randoms(use_true_random=False))
def test_index_maps_depend_neither_on_row_order_nor_on_names_of_ids(frame, random):
    order = list(range(len(frame)))
    random.shuffle(order)
    moved = from_frame(frame.iloc[order])
    assert from_frame(frame).user_ids.tolist() == moved.user_ids.tolist()
    assert from_frame(frame).item_ids.tolist() == moved.item_ids.tolist()

    renamed = frame.copy()
    for role in ("user", "item"):
        names = frame[role].unique().tolist()
        others = [f"id {k}" for k in range(len(names))]
        random.shuffle(others)
        renamed[role] = frame[role].map(dict(zip(names, others)))
    first, second = from_frame(frame), from_frame(renamed)
    assert first.users.tolist() == second.users.tolist()
    assert first.items.tolist() == second.items.tolist()


@given(frames())
def test_csr_equals_the_triples(frame):
    ratings = from_frame(frame)
    dense = np.zeros((ratings.num_items, ratings.num_users), dtype="float32")
    for user, item, value in zip(ratings.users, ratings.items, ratings.values):
        dense[item, user] = value
    np.testing.assert_array_equal(ratings.to_csr("item").toarray(), dense)
    np.testing.assert_array_equal(ratings.to_csr("user").toarray(), dense.T)
    assert ratings.to_csr().dtype == np.float32


def rows_of(ratings):
    return sorted(zip(ratings.users.tolist(), ratings.items.tolist(), ratings.values.tolist()))


@given(frames(min_size=12), st.integers(2, 6), st.integers(0, 99))
def test_k_folds_partition_the_data(frame, folds, seed):
    ratings = from_frame(frame)
    splits = k_folds(ratings, folds, np.random.default_rng(seed))
    assert len(splits) == folds
    assert sorted(sum((rows_of(test) for _, test in splits), [])) == rows_of(ratings)
    for train, test in splits:
        assert sorted(rows_of(train) + rows_of(test)) == rows_of(ratings)
        assert abs(len(test) - len(ratings) / folds) < 1
        assert train.user_ids is not None and len(train.user_ids) == ratings.num_users


@given(frames(min_size=4), st.floats(0.1, 0.9))
def test_time_split_tests_on_the_latest(frame, ratio):
    kept = int(len(frame) * (1 - ratio) + 1e-9)
    if kept == 0:
        return  # nothing to train on: an error
    train, test = time_split(from_frame(frame), ratio)
    assert train.timestamps.max() < test.timestamps.min()
    assert len(test) == len(frame) - kept


def test_time_split_keeps_equal_times_together():
    ratings = Ratings(range(5), range(5), [1] * 5, range(5), range(5), [3, 1, 3, 2, 3])
    train, test = time_split(ratings, 0.2)
    assert sorted(train.items.tolist()) == [1, 3] and sorted(test.items.tolist()) == [0, 2, 4]
    ten = Ratings(range(10), range(10), [1] * 10, range(10), range(10), range(10))
    assert [len(part) for part in time_split(ten, 0.9)] == [1, 9]


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(users=[0, 2]), "a user index is outside 0..1"),
        (dict(items=[-1, 0]), "an? item index is outside 0..1"),
        (dict(values=[1, np.nan]), "a rating is outside the scale 1..5"),
        (dict(values=[1, 6]), "a rating is outside the scale 1..5"),
        (dict(values=[1]), r"columns of different lengths \[2, 2, 1, 2\]"),
    ],
)
def test_wrong_arrays_are_errors(change, message):
    cells = dict(users=[0, 1], items=[0, 1], values=[1, 5], timestamps=[1, 2])
    arrays = dict(cells, user_ids=[7, 8], item_ids=[3, 4], scale=(1, 5))
    with pytest.raises(DataError, match=message):
        Ratings(**{**arrays, **change})


def test_ratings_cannot_be_changed():
    ratings = Ratings([0], [0], [3.0], ["a"], ["b"])
    assert repr(ratings) == "Ratings(ratings: 1 ratings of 1 users x 1 items)"
    with pytest.raises(ValueError, match="read-only"):
        ratings.values[0] = 5
    with pytest.raises(AttributeError):
        ratings.values = None


@settings(max_examples=20)
@given(frames())
def test_its_frame_has_the_ratings_that_it_was_made_of(frame):
    made = from_frame(frame).to_frame().astype({"user": str, "item": str, "rating": float})
    found, wanted = (sorted(table.itertuples(index=False)) for table in (made, frame))
    assert list(map(tuple, found)) == list(map(tuple, wanted))

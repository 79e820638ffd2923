"""Ranking data: the published preparation number for number, filters, mistakes, files."""

import hashlib
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2l_autorec.data.clicks import PIECES, REPEATS, Clicks, Fold, prepare_clicks
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.sources import load_ratings, read_ratings, synthetic_ratings
from d2l_autorec.data.splits import leave_last_out, time_split
from d2l_autorec.support.errors import ConfigError, DataError, DataWarning

pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
COLUMNS = ["user", "item", "rating"]
SHA256 = {  # how they begin, and how many clicks there are
    "train": ("23693562f2fef13a", 43_606),
    "validation_tr": ("3f94bc457cfeb746", 4839),
    "validation_te": ("c06e969e5a2bc577", 1161),
    "test_tr": ("a78a399d8c6c5944", 4612),
    "test_te": ("024a5de7cd2c281b", 1105),
}


@pytest.mark.realdata
def test_files_on_ml100k_are_the_published_ones(data_dir):
    ml100k = prepare_clicks(load_ratings("ml-100k", data_dir), threshold=4, heldout_users=100)
    users = {"train_users": 738, "validation_users": 100, "heldout_users": 100, "users": 938}
    clicks = {f"{piece}_clicks": count for piece, (_, count) in SHA256.items()}
    assert ml100k.counts() == {**users, "items": 1415, **clicks}
    assert ml100k.user_ids[:3].tolist() == [849, 336, 232]
    assert ml100k.item_ids[:3].tolist() == [474, 465, 1014]
    assert ml100k.dropped["items of no training user"] + sum(clicks.values()) == 55_361
    for piece, (prefix, _) in SHA256.items():
        lines = ["user,item", *(f"{user},{item}" for user, item in ml100k.pairs[piece].tolist())]
        content = "\n".join(lines) + "\n"
        assert hashlib.sha256(content.encode()).hexdigest()[:16] == prefix, piece


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 3, 4]),
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from([1, 4, 0.2]),
)
def test_equals_a_plain_one(seed, threshold, min_user, min_item, heldout):
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, 30, 300), rng.integers(0, 20, 300), rng.integers(1, 6, 300)]
    frame = pd.DataFrame(dict(zip(COLUMNS, columns))).drop_duplicates(["user", "item"])
    rows = [row for row in frame.itertuples() if row.rating >= threshold]
    for column, fewest in (("item", min_item), ("user", min_user)):
        seen = [getattr(row, column) for row in rows]
        rows = [row for row in rows if seen.count(getattr(row, column)) >= fewest]
    users = sorted({row.user for row in rows})
    count = int(heldout if heldout >= 1 else heldout * len(users))
    ratings = Ratings.from_frame(frame.reset_index(drop=True))
    if not 1 <= count or len(users) <= 2 * count:
        with pytest.raises(DataError, match="no clicks are left|`heldout_users"):
            prepare_clicks(ratings, threshold, min_user, min_item, heldout)
        return
    clicks = prepare_clicks(ratings, threshold, min_user, min_item, heldout)
    assert sorted(clicks.user_ids.tolist()) == users
    training = set(clicks.user_ids[: clicks.num_train_users].tolist())
    vocabulary = list(dict.fromkeys(row.item for row in rows if row.user in training))
    assert clicks.item_ids.tolist() == vocabulary
    found = {
        (clicks.user_ids[u], clicks.item_ids[i])
        for piece in PIECES
        for u, i in clicks.pairs[piece].tolist()
    }
    assert found == {(row.user, row.item) for row in rows if row.item in vocabulary}
    for part in (clicks.validation, clicks.test):
        assert part.fold_in.multiply(part.held_out).nnz == 0
        total = (part.fold_in + part.held_out).sum(axis=1).A1
        np.testing.assert_array_equal(
            part.held_out.sum(axis=1).A1, [int(0.2 * n) if n >= 5 else 0 for n in total]
        )
        assert part.fold_in.shape == (count, len(vocabulary)) == part.held_out.shape


def by_names(size=40):
    """Users 'u9', 'u10', ... whose clicks need no filter."""
    rows = [(f"u{u}", f"i{(u + k) % 7}", 1.0) for u in range(size) for k in range(6)]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_string_ids_are_ordered_as_strings_and_numbers_as_numbers():
    names = prepare_clicks(Ratings.from_frame(by_names()), heldout_users=5)
    expected = np.array(sorted(f"u{u}" for u in range(40)), dtype=object)
    order = np.random.RandomState(98765).permutation(40)
    assert names.user_ids.tolist() == expected[order].tolist()
    frame = by_names()
    frame["user"] = frame["user"].str[1:].astype(int)
    numbers = prepare_clicks(Ratings.from_frame(frame), heldout_users=5)
    assert numbers.user_ids.tolist() == np.arange(40)[order].tolist()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"heldout_users": -3}, "`heldout_users` is -3: it must be a number of users or below 0.5"),
        ({"heldout_users": 0.9}, "`heldout_users` is 0.9: it must be a number of"),
        ({"heldout_users": float("nan")}, "`heldout_users` is nan: it must be a number of"),
        ({"heldout_users": 20}, "`heldout_users=20` .*of the 40 .*from 1 to 19"),
        ({"threshold": 9}, "no clicks are left of the 240 .*`threshold=9`"),
        ({"heldout_users": Fold(1, 2)}, "`folds` is 2: it must be a whole number, at least 3"),
    ],
)
def test_user_errors(options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        prepare_clicks(Ratings.from_frame(by_names()), **options)


@pytest.mark.parametrize(
    "users, held_out, advice",
    [(2, (1, 1), "at least 3 are needed: add some, or"), (2, (2, 0), "choose from 1 to 1, or")],
)
def test_too_few_users(users, held_out, advice):
    ratings = Ratings.from_frame(by_names(users))
    with pytest.raises(DataError, match=f"of the {users} users that have clicks enough: {advice}"):
        prepare_clicks(ratings, 1, 5, 0, *held_out)


def test_dropped_rows_are_counted_and_said():
    rare = pd.DataFrame([("poor", "i1", 1.0), ("u1", "rare", 1.0)], columns=COLUMNS)
    ratings = Ratings.from_frame(pd.concat([by_names(), rare], ignore_index=True))
    said = r"242 .*1 \(items with few clicks\), 1 \(users with few clicks\)"
    with pytest.warns(DataWarning, match=said):
        clicks = prepare_clicks(ratings, min_item_clicks=2, heldout_users=5)
    assert clicks.dropped["items with few clicks"] == 1


@pytest.mark.parametrize("frame", [by_names(), by_names().replace("u", "", regex=True)])
def test_save_and_load(tmp_path, frame):
    whole = Ratings.from_frame(frame)
    titles = {whole.item_ids[0]: "Amélie"}
    clicks = prepare_clicks(replace(whole, titles=titles, name="mine"), heldout_users=5)
    clicks.save(tmp_path / "c.npz")
    again = Clicks.load(tmp_path / "c.npz")
    assert again.fingerprint == clicks.fingerprint and again.name == "mine"
    assert again.titles == titles
    assert again.user_ids.dtype == clicks.user_ids.dtype
    assert (again.test.held_out != clicks.test.held_out).nnz == 0


def test_fingerprint_tells_clicks_apart():
    whole = Ratings.from_frame(by_names())
    prints = {prepare_clicks(whole, heldout_users=n).fingerprint for n in (4, 5, 6)}
    assert len(prints) == 3


def test_in_five_folds_each_user_is_tested_once():
    ratings = synthetic_ratings(60, 80, 900)
    folds = [prepare_clicks(ratings, 1, 1, 0, Fold(number, 5)) for number in range(1, 6)]
    assert all(not set(f.test.user_ids) & set(f.validation.user_ids) for f in folds)
    assert sorted(user for f in folds for user in f.test.user_ids) == sorted(ratings.user_ids)


# Clicks of three users by time; item "new" is clicked last of all, and user "z" comes late.
LOG = [("x", item, time) for time, item in enumerate("abcd", 1)]
LOG += [("y", item, time) for time, item in enumerate("bcda", 3)] + [("z", "a", 9)]
LOG += [("y", "new", 10), ("z", "b", 11)]


def log_of(rows=LOG):
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    return Ratings.from_frame(frame, rating=None, timestamp="time")


def by_ids(clicks, piece):
    return {f"{clicks.user_ids[u]}{clicks.item_ids[i]}" for u, i in clicks.pairs[piece].tolist()}


def test_leaving_the_last_out_by_hand():
    """y's last item has no training click; z's other click is the only one, and trained on."""
    clicks = prepare_clicks(log_of(), min_user_clicks=1, split=leave_last_out)
    assert by_ids(clicks, "train") == {"xa", "xb", "yb", "yc", "yd", "za"}
    assert by_ids(clicks, "validation_te") == {"xc", "ya"}
    assert by_ids(clicks, "test_te") == {"xd", "zb"}
    assert clicks.dropped["users or items without training clicks"] == 1


def test_a_split_by_time_by_hand(tmp_path):
    """Tested from time 6 on, where only a is known of y, and nothing of z; validated from 4 on."""
    split = partial(time_split, test_ratio=0.3)
    clicks = prepare_clicks(log_of(), min_user_clicks=1, split=split)
    clicks.save(tmp_path / "c.npz")
    again = Clicks.load(tmp_path / "c.npz")
    assert again.fingerprint == clicks.fingerprint
    for found in (clicks, again):
        assert by_ids(found, "train") == {"xa", "xb", "xc", "yb"}
        assert by_ids(found, "validation_te") == {"yc"} and by_ids(found, "test_te") == {"ya"}
        assert found.test.user_ids.tolist() == found.validation.user_ids.tolist() == ["y"]
        fold_in = {part: getattr(found, part).fold_in.indices for part in ("validation", "test")}
        assert found.item_ids[fold_in["validation"]].tolist() == ["b"]
        assert sorted(found.item_ids[fold_in["test"]]) == ["b", "c"]  # with the validation click
        known = found.interactions(found.inputs)
        assert len(known) == 5 and len(found.interactions()) == 6
    assert clicks.counts()["train_users"] == clicks.counts()["users"] == 2


def test_nothing_known_is_held_out():
    with pytest.raises(DataError, match="of 3 held-out clicks none is of a user and an item that"):
        prepare_clicks(log_of(), min_user_clicks=1, split=partial(time_split, test_ratio=0.2))


def test_repeats_of_files_frames_and_ratings_are_merged_alike(tmp_path):
    """The earliest of those that reach the threshold counts, wherever it stands."""
    rows = [(f"u{u}", f"i{(u + k) % 7}", 4, 10 + k) for u in range(9) for k in range(5)]
    once = pd.DataFrame(rows, columns=["user", "item", "rating", "time"])
    more = [("u1", "i1", 5, 30), ("u1", "i1", 4, 2), ("u2", "i2", 1, 1)]
    frame = pd.concat([once, pd.DataFrame(more, columns=once.columns)], ignore_index=True)
    frame.to_csv(tmp_path / "log.csv", index=False)
    columns = "user=user,item=item,rating=rating,timestamp=time"

    of_file = read_ratings(tmp_path / "log.csv", columns, implicit=True)
    of_frame = Ratings.from_frame(frame, timestamp="time", implicit=True)
    given = {name: getattr(of_frame, name) for name in ("users", "items", "values", "timestamps")}
    of_arrays = Ratings(**given, user_ids=of_frame.user_ids, item_ids=of_frame.item_ids)
    for ratings in (of_file, of_frame, of_arrays):
        with pytest.warns(DataWarning, match="of 48 ratings were dropped 2 .repeated clicks"):
            clicks = prepare_clicks(ratings, 4, split=leave_last_out)
        assert clicks.dropped[REPEATS] == 2
        assert len(clicks.interactions()) == 45 and clicks.train.max() == 1
        assert "u1i5" in by_ids(clicks, "test_te") and "u1i1" in by_ids(clicks, "train")

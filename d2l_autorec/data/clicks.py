"""Ranking data: ratings to clicks, and to users that are trained on, validated and tested with.

    Ratings -> clicks -> filters -> permuted users -> train | validation | test
                                                              fold-in + held out, each

The preparation is that of Liang et al. 2018 (Mult-VAE), number for number.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..support.errors import ConfigError, DataError, DataWarning, can_be_heldout, check_whole
from .ratings import Ratings, opened_archive, save_archive

SEED = 98765  # the original's: its published users come from it
HELD_OUT_SHARE = 0.2
FEWEST_TO_SPLIT = 5  # a user with fewer clicks holds none out
PIECES = ("train", "validation_tr", "validation_te", "test_tr", "test_te")
INPUTS = ("train", "validation_tr", "test_tr")  # what a network is given; the rest it is to find


class Fold(NamedTuple):
    """A fold of users: they are the test users, and those of the next fold validate.

    Parameters
    ----------
    number : int
        From 1.
    of : int
        How many folds there are, at least 3. Users that the division leaves over are trained on.
    """

    number: int
    of: int


class HeldOutUsers(NamedTuple):
    """Users that training never sees.

    Parameters
    ----------
    user_ids : ndarray
        In row order.
    fold_in : csr_matrix of float32, shape (users, items)
        The clicks that the network is given.
    held_out : csr_matrix of float32, shape (users, items)
        The clicks that it should rank first. A row may be empty.
    """

    user_ids: np.ndarray
    fold_in: sparse.csr_matrix
    held_out: sparse.csr_matrix


@dataclass(frozen=True, eq=False)
class Clicks:
    """Clicks of training users, and fold-in and held-out clicks of other users.

    Parameters
    ----------
    pairs : dict
        A name of `PIECES` to its (user, item) positions, ndarray of int32,
        shape (n, 2), in the order of the csv files.
    user_ids : ndarray
        The user's own ids: training users, then validation, then test users.
    item_ids : ndarray
        Those that training users clicked, in the order of their first click in the file.
    validation_users, heldout_users : int
        Users in the validation part, and in the test part.
    name : str
        The data set's name, or the file's.
    titles : dict
        Item id to title.
    dropped : dict
        Why to how many ratings; not saved.
    origin : str
        How the source was understood; see `Ratings`.

    Raises
    ------
    DataError
        If a position is out of range.
    """

    pairs: dict[str, np.ndarray]
    user_ids: np.ndarray
    item_ids: np.ndarray
    validation_users: int
    heldout_users: int
    name: str = "clicks"
    titles: dict[Any, str] = field(default_factory=dict, repr=False)
    dropped: dict[str, int] = field(default_factory=dict)
    origin: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        size = (len(self.user_ids), len(self.item_ids))
        for piece in PIECES:
            pairs = self.pairs[piece]
            if pairs.size and (pairs.min() < 0 or (pairs.max(axis=0) >= size).any()):
                raise DataError(f"{self.name}: a position in {piece} is outside {size}")
            pairs.flags.writeable = False

    @property
    def num_items(self) -> int:
        """Number of items, the length of a row."""
        return len(self.item_ids)

    @property
    def num_train_users(self) -> int:
        """Number of training users."""
        return len(self.user_ids) - self.validation_users - self.heldout_users

    @cached_property
    def train(self) -> sparse.csr_matrix:
        """Clicks of training users, users x items: 1 or nothing, float32."""
        return self._matrix("train", 0, self.num_train_users)

    @cached_property
    def validation(self) -> HeldOutUsers:
        """The users to choose parameters with."""
        return self._held_out("validation", self.num_train_users, self.validation_users)

    @cached_property
    def test(self) -> HeldOutUsers:
        """The users to report."""
        first = self.num_train_users + self.validation_users
        return self._held_out("test", first, self.heldout_users)

    def _held_out(self, part: str, first: int, rows: int) -> HeldOutUsers:
        return HeldOutUsers(
            self.user_ids[first : first + rows],
            self._matrix(f"{part}_tr", first, rows),
            self._matrix(f"{part}_te", first, rows),
        )

    def _matrix(self, piece: str, first: int, rows: int) -> sparse.csr_matrix:
        users, items = self.pairs[piece].T
        ones = np.ones(len(users), dtype=np.float32)
        cells = (users - first, items)

        return sparse.csr_matrix((ones, cells), shape=(rows, self.num_items))

    def interactions(self, pieces: Sequence[str] = PIECES) -> Ratings:
        """Return the clicks of these pieces, by default all, as ratings of 1."""
        users, items = np.concatenate([self.pairs[piece] for piece in pieces]).T

        columns = users, items, np.ones(len(users)), self.user_ids, self.item_ids
        return Ratings(*columns, None, (1.0, 1.0), self.titles, self.name, self.origin)

    def counts(self) -> dict[str, int]:
        """Return sizes for the result file: users, items, and clicks of each piece."""
        return {
            "train_users": self.num_train_users,
            "validation_users": self.validation_users,
            "heldout_users": self.heldout_users,
            "items": self.num_items,
            **{f"{piece}_clicks": len(self.pairs[piece]) for piece in PIECES},
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of pairs and ids: what the result file records."""
        differ = self.validation_users != self.heldout_users
        sizes = f"{self.heldout_users}" + f" {self.validation_users}" * differ
        digest = hashlib.sha256(sizes.encode())

        for piece, pairs in ((piece, self.pairs[piece]) for piece in PIECES):
            digest.update(f"{piece} {len(pairs)}".encode())
            digest.update(np.ascontiguousarray(pairs).data)
        for ids in (self.user_ids, self.item_ids):
            digest.update("\0".join(map(str, ids.tolist())).encode())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write everything to an .npz file; nothing in it is pickled."""
        pairs = {f"pairs/{piece}": self.pairs[piece] for piece in PIECES}
        save_archive(
            path,
            self,
            heldout_users=self.heldout_users,
            validation_users=self.validation_users,
            **pairs,
        )

    @classmethod
    def load(cls, path: Path) -> "Clicks":
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing or damaged.
        """
        with opened_archive(path) as (stored, about):
            return cls(
                {piece: stored[f"pairs/{piece}"] for piece in PIECES},
                heldout_users=int(stored["heldout_users"]),
                validation_users=int(stored["validation_users"]),
                **about,
            )


def prepare_clicks(
    ratings: Ratings,
    threshold: float | None = None,
    min_user_clicks: int = 5,
    min_item_clicks: int = 0,
    heldout_users: int | float | Fold = 0.1,
    validation_users: int | float | None = None,
) -> Clicks:
    """Turn ratings into clicks and split them by users.

    Parameters
    ----------
    ratings : Ratings
        In file order.
    threshold : float, optional
        Lowest rating that is a click; by default see `usual_threshold`.
    min_user_clicks : int
        Users with fewer clicks are dropped, after the items.
    min_item_clicks : int
        Items with fewer clicks are dropped; 0 keeps all.
    heldout_users : int, float or Fold
        How many users are held out for the test: a count, or a fraction of all users, below
        0.5. Or which fold of them is tested. With 0 there is no test.
    validation_users : int or float, optional
        How many for validation; by default as many as for the test.

    Returns
    -------
    Clicks
        A DataWarning tells what was dropped, beside what `threshold` asks for.

    Raises
    ------
    ConfigError
        If the scale does not say which ratings are clicks; if there are fewer than 3 folds.
    DataError
        If no click is left, or no user would be left to train on.

    Notes
    -----
    Source: Liang et al. 2018, section 4.1, and its published notebook. Users
    in ascending order of their ids are permuted; the last are the test users,
    those before them validation. A user's clicks of items that no training
    user clicked are dropped. With n >= 5 left, int(0.2 n) of them are held out.
    """
    check_whole("min_user_clicks", min_user_clicks, at_least=0)
    check_whole("min_item_clicks", min_item_clicks, at_least=0)
    if threshold is None:
        threshold = usual_threshold(ratings)
    kept, dropped = _filter(ratings, threshold, min_user_clicks, min_item_clicks)

    # Users that have clicks, in ascending order of their ids, and then permuted.
    ascending = np.argsort(ratings.user_ids, kind="stable")
    ascending = ascending[kept.counts()[0][ascending] > 0]
    permuted = ascending[np.random.RandomState(SEED).permutation(len(ascending))]
    test = heldout_users
    if isinstance(test, Fold):
        number, of = test
        if of < 3:
            raise ConfigError(f"`folds` is {of}: there must be at least 3, the third to train on")
        test = len(permuted) // of
        permuted = np.roll(permuted, test * (number - 1))
    validation = test if validation_users is None else validation_users
    counts = _count_heldout(test, validation, len(permuted))

    # Each click's user and item as they are numbered from now on; item -1 is in no vocabulary.
    users = _positions(permuted, ratings.num_users)[kept.users]
    training = users < len(permuted) - sum(counts)
    different, first = np.unique(kept.items[training], return_index=True)
    vocabulary = different[np.argsort(first)]  # in order of first appearance
    items = _positions(vocabulary, ratings.num_items)[kept.items]
    dropped["items of no training user"] = int((items < 0).sum())
    told = ", ".join(f"{n} ({why})" for why, n in [*dropped.items()][1:] if n)  # of the filters
    if told:
        text = f"{ratings.name}: of {len(ratings)} ratings were dropped {told}"
        warnings.warn(text, DataWarning, stacklevel=2)

    rank_of_user = _positions(ascending, ratings.num_users)[kept.users]
    by_user = np.argsort(rank_of_user, kind="stable")
    pairs = {"train": np.stack([users, items], axis=1)[training]}
    pairs.update(_split_heldout(users[by_user], items[by_user], len(permuted), counts))

    clicks = len(ratings) - dropped["below the threshold"]
    made = f"{len(ratings):,} rows made {clicks:,} clicks: ratings of {threshold:g} or more"
    origin = f"{ratings.origin}; {made}".removeprefix("; ")
    user_ids, item_ids = ratings.user_ids[permuted], ratings.item_ids[vocabulary]
    return Clicks(pairs, user_ids, item_ids, *counts, ratings.name, ratings.titles, dropped, origin)


def usual_threshold(ratings: Ratings) -> float:
    """Return the lowest rating that is a click, where the ratings say it.

    Of ratings from 1, or half a star, to 5 it is 4 (Liang et al. 2018); of 0 and 1 it is 1; and
    where all are alike, as of a file without ratings, each is a click.

    Raises
    ------
    ConfigError
        For any other scale.
    """
    values = np.unique(ratings.values)
    if np.array_equal(values, (0, 1)) or (len(values) == 1 and values[0] > 0):
        return float(values[-1])

    low, high = ratings.bounds
    if low in (0.5, 1) and high == 5:
        return 4.0
    raise ConfigError(
        f"{ratings.name}: which of the ratings {low:g}..{high:g} are clicks? Give the lowest "
        f"that is one, as in `threshold={high:g}`"
    )


def _filter(
    ratings: Ratings, threshold: float, min_user_clicks: int, min_item_clicks: int
) -> tuple[Ratings, dict[str, int]]:
    """Filter by threshold, then items, then users, once; count what each took."""
    above = ratings.part(ratings.values >= threshold)
    frequent = above.part(above.counts()[1][above.items] >= min_item_clicks)
    kept = frequent.part(frequent.counts()[0][frequent.users] >= min_user_clicks)
    if not len(kept):
        raise DataError(
            f"no clicks are left of the {len(ratings)} ratings of {ratings.name} "
            f"(`threshold={threshold}`, `min_item_clicks={min_item_clicks}`, "
            f"`min_user_clicks={min_user_clicks}`): lower one of them"
        )

    return kept, {
        "below the threshold": len(ratings) - len(above),
        "items with few clicks": len(above) - len(frequent),
        "users with few clicks": len(frequent) - len(kept),
    }


def _count_heldout(test: int | float, validation: int | float, users: int) -> tuple[int, int]:
    """Return how many users validate, and how many are tested."""
    for name, wanted in (("heldout_users", test), ("validation_users", validation)):
        if not can_be_heldout(wanted):
            raise ConfigError(f"`{name}` is {wanted}: it must be a number of users or below 0.5")

    validating, tested = (int(n if n >= 1 else n * users) for n in (validation, test))
    too_few = (validation and validating < 1) or (test and tested < 1)
    if too_few or users <= validating + tested:
        raise DataError(
            f"`heldout_users={test:g}` and `validation_users={validation:g}` hold out {tested} and "
            f"{validating} of the {users} users that have clicks enough: choose from 1 to "
            f"{max((users - 1) // 2, 1)}, or keep more with `min_user_clicks`; 0 holds out none"
        )
    return validating, tested


def _split_heldout(
    users: np.ndarray, items: np.ndarray, num_users: int, counts: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return pairs to fold in and to hold out, of clicks by user and then in file order."""
    pairs = {}
    begin = num_users - sum(counts)

    for part, count in zip(("validation", "test"), counts):
        mine = (users >= begin) & (users < begin + count) & (items >= 0)
        clicks = np.stack([users[mine], items[mine]], axis=1)
        begin += count

        held_out = _choose_held_out(clicks[:, 0])
        pairs[f"{part}_tr"] = clicks[~held_out]
        pairs[f"{part}_te"] = clicks[held_out]

    return pairs


def _positions(chosen: np.ndarray, size: int) -> np.ndarray:
    """Return the position of each old index in `chosen`, -1 where it is not, shape (size,)."""
    positions = np.full(size, -1, dtype=np.int32)
    positions[chosen] = np.arange(len(chosen), dtype=np.int32)
    return positions


def _choose_held_out(users: np.ndarray) -> np.ndarray:
    """Return the mask, shape (n,), of the held-out clicks; the clicks of a user stand together."""
    rng = np.random.RandomState(SEED)
    mask = np.zeros(len(users), dtype=bool)
    bounds = np.flatnonzero(np.diff(users, prepend=-1, append=-1)).tolist()

    for begin, end in zip(bounds, bounds[1:]):
        clicks = end - begin
        if clicks >= FEWEST_TO_SPLIT:
            held_out = int(HELD_OUT_SHARE * clicks)
            chosen = rng.choice(clicks, held_out, replace=False)
            mask[begin + chosen] = True

    return mask

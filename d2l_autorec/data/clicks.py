"""Data for rankings: ratings become clicks, and users are split into training and test.

    Ratings -> clicks -> filters -> permuted users -> train | validation | test
                                                              fold-in + held out, each

The preparation is that of Liang et al. 2018 (Mult-VAE), number for number: whole users are held
out, which is called strong generalization. Where clicks of training users are held out, by their
times, it is weak (B. Marlin, Collaborative Filtering: A Machine Learning Perspective, 2004).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..support.errors import ConfigError, DataError, can_be_heldout, check_whole, warn
from ..support.seeds import Purpose, generator
from .ratings import Ratings, opened_archive, save_archive
from .splits import Split, check_apart, pair_keys, random_split

REPEATS = "repeated clicks, which count once"
SEED = 98765  # the original's, which gives the users that it published
HELD_OUT_SHARE = 0.2
FEWEST_TO_SPLIT = 5  # none is held out of a user's clicks if there are fewer
PIECES = ("train", "validation_tr", "validation_te", "test_tr", "test_te")
SPLIT_BY = ("heldout_users", "validation_users", "weak")  # what is saved of the split
INPUTS = ("train", "validation_tr", "test_tr")
BELOW, NO_CLICK = "below", 0.5  # what was rated below the threshold; its value beside clicks of 1


class Fold(NamedTuple):
    """A fold of users, in place of their number.

    Parameters
    ----------
    number : int
        The fold's number, from 1.
    of : int
        How many folds there are, at least 3. Users that the division leaves over are trained on.
    """

    number: int
    of: int


class Known(NamedTuple):
    """The numbers of users of each part, and of items, that a model knows; they come first.

    The users are those that the model was trained on, then those of its validation and its test.
    """

    train_users: int
    validation_users: int
    heldout_users: int
    items: int


class HeldOutUsers(NamedTuple):
    """Users of the validation or the test part; training never sees their held-out clicks.

    Parameters
    ----------
    user_ids : ndarray
        The users' ids, in row order.
    fold_in : csr_matrix of float32, shape (users, items)
        The clicks that the network is given.
    held_out : csr_matrix of float32, shape (users, items)
        The clicks that the network should rank first. A row may be empty.
    """

    user_ids: np.ndarray
    fold_in: sparse.csr_matrix
    held_out: sparse.csr_matrix


@dataclass(frozen=True, eq=False, repr=False)
class Clicks:
    """Clicks split into training, validation and test; `prepare_clicks` makes them of ratings.

    The network is given the fold-in clicks of validation and test users, and should rank their
    held-out clicks first.

    Parameters
    ----------
    pairs : dict
        Name of a piece ('train', 'validation_tr', 'validation_te', 'test_tr', 'test_te') to
        (user, item) positions, ndarray of int32, shape (n, 2). A name that ends with _tr is
        fold-in, one with _te is held out. 'below' are ratings below the threshold, by which
        nothing is trained or measured; but a user does not want those items recommended.
    user_ids : ndarray
        Your own ids of the training users, then of the validation and of the test users.
    item_ids : ndarray
        The ids of the items that training users clicked, in the order of their first click.
    validation_users, heldout_users : int
        How many users are in the validation part, and in the test part.
    name : str
        The data set's name, or the file's.
    titles : dict
        Item id to title.
    dropped : dict
        Reason to the number of ratings that were dropped for it; not saved.
    origin : str
        How the source was understood; see `Ratings`.
    weak : bool
        Whether validation and test users are training users, too. Then the fold-in pieces are
        empty: training clicks are folded in, for test users the validation clicks, too.
    threshold : float, optional
        Lowest rating that is a click; not saved.
    """

    pairs: dict[str, np.ndarray]
    user_ids: np.ndarray
    item_ids: np.ndarray
    validation_users: int
    heldout_users: int
    name: str = "clicks"
    titles: dict[Any, str] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    origin: str = ""
    weak: bool = False
    threshold: float | None = None

    def __repr__(self) -> str:
        clicks = sum(len(self.pairs[piece]) for piece in PIECES)
        size = f"{len(self.user_ids):,} users x {len(self.item_ids):,} items"
        return f"Clicks({self.name}: {clicks:,} clicks of {size})"

    @property
    def num_items(self) -> int:
        """Number of items, the length of a row."""
        return len(self.item_ids)

    @property
    def num_train_users(self) -> int:
        """Number of training users."""
        return len(self.user_ids) - (self.validation_users + self.heldout_users) * (not self.weak)

    @cached_property
    def train(self) -> sparse.csr_matrix:
        """Clicks of training users, users x items: 1 or nothing, float32."""
        return self._matrix(["train"])[: self.num_train_users]

    @cached_property
    def validation(self) -> HeldOutUsers:
        """The users of the validation part, which decide on options and epochs."""
        return self._held_out("validation", self.num_train_users, self.validation_users)

    @cached_property
    def test(self) -> HeldOutUsers:
        """The users of the test part, whose metrics are reported."""
        first = self.num_train_users + self.validation_users
        return self._held_out("test", first, self.heldout_users)

    def _held_out(self, part: str, first: int, count: int) -> HeldOutUsers:
        rows, fold_in = np.arange(first, first + count), [f"{part}_tr"]
        if self.weak:
            rows = np.unique(self.pairs[f"{part}_te"][:, 0])
            fold_in = ["train"] if part == "validation" else self.inputs

        held_out = self._matrix([f"{part}_te"])
        return HeldOutUsers(self.user_ids[rows], self._matrix(fold_in)[rows], held_out[rows])

    def _matrix(self, pieces: Sequence[str]) -> sparse.csr_matrix:
        return self.interactions(pieces).to_csr("user")

    @property
    def inputs(self) -> list[str]:
        """The names of the pieces that a network is given, in the test and for recommendations."""
        return [*INPUTS, *["validation_te"] * self.weak]

    def interactions(self, pieces: Sequence[str] = PIECES) -> Ratings:
        """Return the clicks in these pieces, by default in all, as ratings of 1."""
        users, items = np.concatenate([self.pairs[piece] for piece in pieces]).T

        columns = users, items, np.ones(len(users)), self.user_ids, self.item_ids
        return Ratings(*columns, None, (1.0, 1.0), self.titles, self.name, self.origin)

    def rated(self) -> Ratings:
        """Return all clicks as ratings of 1, and what was rated below the threshold as 0.5."""
        clicks, scale = self.interactions(), (NO_CLICK, 1.0)
        below = self.interactions([BELOW])
        below = replace(below, values=np.full(len(below), NO_CLICK), scale=scale)
        return replace(clicks, scale=scale).joined(below)

    def counts(self) -> dict[str, int]:
        """Return numbers for the result file: of users, of items, and of clicks in each piece."""
        return {
            "train_users": self.num_train_users,
            "validation_users": self.validation_users,
            "heldout_users": self.heldout_users,
            "users": len(self.user_ids),
            "items": self.num_items,
            **{f"{piece}_clicks": len(self.pairs[piece]) for piece in PIECES},
        }

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of pairs and ids, which the result file records."""
        sizes = f"{self.heldout_users} {self.validation_users} {self.weak}"
        digest = hashlib.sha256(sizes.encode())

        for piece in PIECES:
            digest.update(f"{piece} {len(self.pairs[piece])}".encode())
            digest.update(np.ascontiguousarray(self.pairs[piece]).data)
        for ids in (self.user_ids, self.item_ids):
            digest.update("\0".join(map(str, ids.tolist())).encode())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write everything to an .npz file; nothing in it is pickled."""
        pairs = {f"pairs/{piece}": cells for piece, cells in self.pairs.items()}
        save_archive(path, self, **pairs, **{name: getattr(self, name) for name in SPLIT_BY})

    @classmethod
    def load(cls, path: Path) -> "Clicks":
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing or damaged.
        """
        with opened_archive(path) as (stored, about):
            pairs = {piece: stored[f"pairs/{piece}"] for piece in (*PIECES, BELOW)}
            split_by = {name: stored[name].item() for name in SPLIT_BY}
            return cls(pairs, **split_by, **about)


def prepare_clicks(  # noqa: PLR0913  # what a person may give, by name
    ratings: Ratings,
    threshold: float | None = None,
    min_user_clicks: int = 5,
    min_item_clicks: int = 0,
    heldout_users: int | float | Fold = 0.1,
    validation_users: int | float | Fold | None = None,
    split: Callable[[Ratings], Split] | None = None,
    known: Known | None = None,
) -> Clicks:
    """Turn ratings into clicks and split them, by default by users.

    Parameters
    ----------
    ratings : Ratings
        The ratings, in file order.
    threshold : float, optional
        Lowest rating that is a click. By default it is 4 on a scale to 5; 1 if ratings are 0 and
        1; and if all ratings are equal, each is a click. Of several clicks on an item by one user
        the earliest counts; without timestamps, the first.
    min_user_clicks : int
        Number of clicks below which a user is dropped, after items have been.
    min_item_clicks : int
        Number of clicks below which an item is dropped; 0 keeps all.
    heldout_users : int, float or Fold
        How many users are held out for the test: a count, or a fraction of all users, below
        0.5; or the fold of users that is tested. With 0 there is no test.
    validation_users : int, float or Fold, optional
        How many users are held out for validation; by default as many as for the test, those of
        the next fold. Without a test it may be the fold of users that validates.
    split : callable, optional
        A split such as `leave_last_out` or `time_split`, which holds out clicks in place of
        users: it is called for the test, and then on the training clicks, for validation.
    known : Known, optional
        Users and items that keep their places, whatever the filters and the numbers say; other
        users are trained on.

    Returns
    -------
    Clicks

    Raises
    ------
    ConfigError
        If the scale does not say which ratings are clicks, a number is out of its range, or there
        are fewer than 3 folds.
    DataError
        If no click is left, or no user would be left to train on; and what `split` raises.

    Warns
    -----
    DataWarning
        If ratings were dropped or merged for another reason than `threshold`.

    Notes
    -----
    Users in ascending order of their ids are permuted; the last are the test users,
    those before them the validation users. A user's clicks on items that no training
    user clicked are dropped. If n >= 5 clicks are left, int(0.2 n) of them are held out.

    Source: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, section
    4.1, and the notebook that the authors published.
    """
    check_whole("min_user_clicks", min_user_clicks, at_least=0)
    check_whole("min_item_clicks", min_item_clicks, at_least=0)
    if threshold is None:
        threshold = usual_threshold(ratings)
    of_users = np.full(ratings.num_users, min_user_clicks)
    of_items = np.full(ratings.num_items, min_item_clicks)
    if known:
        of_users[: sum(known[:3])] = of_items[: known.items] = 0
    kept, dropped = _filter(ratings, threshold, of_users, of_items)
    if split is not None:
        earlier, latest = split(kept)
        return _weak_clicks((*split(earlier), latest), [ratings], threshold, dropped)

    # the users that have clicks, in ascending order of their ids, and then permuted
    ascending = np.argsort(ratings.user_ids, kind="stable")
    is_kept = kept.counts()[0] > 0
    if known:
        is_kept[: sum(known[:3])] = True  # also those without a click that is left
    ascending = ascending[is_kept[ascending]]
    permuted = ascending[np.random.RandomState(SEED).permutation(len(ascending))]
    test: Any = heldout_users
    validation: Any = test if validation_users is None else validation_users
    fold = test or validation
    if isinstance(fold, Fold):
        check_whole("folds", fold.of, at_least=3)
        size = len(permuted) // fold.of
        permuted = np.roll(permuted, size * (fold.number - 1))
        test, validation = (size if wanted is fold else wanted for wanted in (test, validation))
    if known:
        part = np.searchsorted(np.cumsum(known[:3]), permuted, side="right") % 3
        permuted = permuted[np.argsort(part, kind="stable")]
        counts = known.validation_users, known.heldout_users
    else:
        counts = _count_heldout(test, validation, len(permuted))

    # each click's user and item as they are numbered from now on; -1 is an item of no training user
    users = _positions(permuted, ratings.num_users)[kept.users]
    training = users < len(permuted) - sum(counts)
    before = np.arange(known.items if known else 0)
    vocabulary = _in_order(np.concatenate([before, kept.items[training]]))
    items = _positions(vocabulary, ratings.num_items)[kept.items]
    dropped["items of no training user"] = int((items < 0).sum())

    rank_of_user = _positions(ascending, ratings.num_users)[kept.users]
    by_user = np.argsort(rank_of_user, kind="stable")
    cells = np.stack([users, items], axis=1)
    held_out = _split_heldout(cells[by_user], len(permuted) - sum(counts), counts)
    pairs = {"train": cells[training], **held_out}
    return _clicks([ratings], permuted, vocabulary, pairs, counts, threshold, dropped)


def clicks_of_parts(
    train: Ratings,
    test: Ratings,
    validation: Ratings | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> Clicks:
    """Turn ratings that are split already into clicks: all that reach the threshold.

    Parameters
    ----------
    train, test, validation : Ratings
        The parts, over the same index maps. Clicks of users or items that are not trained on are
        dropped. By default a random tenth of the training clicks is for validation.
    threshold : float, optional
        Lowest rating that is a click; see `prepare_clicks`.
    seed : int
        Seed for drawing that tenth.

    Raises
    ------
    DataError
        If a pair is in two parts, or a part has no clicks.
    """
    if threshold is None:
        threshold = usual_threshold(train)

    given = [train, test] if validation is None else [train, test, validation]
    parts, counts = zip(*(_filter(part, threshold, 0, 0) for part in given))
    dropped = {why: sum(count[why] for count in counts) for why in counts[0]}
    check_apart(dict(zip(("train", "test", "validation"), parts)))
    fitting, tested, *others = parts
    if validation is None:
        fitting, *others = random_split(fitting, seed=generator(seed, Purpose.VALIDATION))

    return _weak_clicks((fitting, *others, tested), given, threshold, dropped)


def _weak_clicks(
    parts: Sequence[Ratings], given: Sequence[Ratings], threshold: float, dropped: dict[str, int]
) -> Clicks:
    """Return the clicks of a training, validation and test part, all by training users.

    They were made of the `given` ratings.
    """
    train = parts[0]
    users, vocabulary = np.unique(train.users), _in_order(train.items)
    new_users = _positions(users, train.num_users)
    new_items = _positions(vocabulary, train.num_items)

    pairs = {piece: np.empty((0, 2), dtype=np.int32) for piece in PIECES}
    for piece, part in zip(("train", "validation_te", "test_te"), parts):
        cells = np.stack([new_users[part.users], new_items[part.items]], axis=1)
        pairs[piece] = cells[(cells >= 0).all(axis=1)]
        if not len(pairs[piece]):
            raise DataError(
                f"{train.name}: of {len(part)} held-out clicks none is of a user and an item that "
                "are trained on: hold out others by `split`, or users"
            )

    counts = [len(np.unique(pairs[piece][:, 0])) for piece in ("validation_te", "test_te")]
    lost = sum(map(len, parts)) - sum(map(len, pairs.values()))
    dropped = {**dropped, "users or items without training clicks": lost}
    clicks = _clicks(given, users, vocabulary, pairs, counts, threshold, dropped)
    return replace(clicks, weak=True)


def _clicks(
    given: Sequence[Ratings],
    users: np.ndarray,
    items: np.ndarray,
    pairs: dict[str, np.ndarray],
    counts: Sequence[int],
    threshold: float,
    dropped: dict[str, int],
) -> Clicks:
    """Return the clicks that were made of the `given` ratings; warn of those that were dropped.

    `users` and `items` are the places in the ratings of those that the `pairs` number from 0.
    """
    ratings, rows = given[0], sum(map(len, given))
    told = ", ".join(f"{n:,} ({why})" for why, n in [*dropped.items()][1:] if n)
    if told:
        warn(f"{ratings.name}: of {rows:,} ratings were dropped {told}")

    clicks = rows - dropped["below the threshold"] - dropped[REPEATS]
    made = f"{rows:,} rows made {clicks:,} clicks: ratings of {threshold:g} or more"
    origin = f"{ratings.origin}; {made}".removeprefix("; ")
    pairs[BELOW] = np.concatenate([_below(part, threshold, users, items) for part in given])

    user_ids, item_ids = ratings.user_ids[users], ratings.item_ids[items]
    about = ratings.name, ratings.titles, dropped, origin
    return Clicks(pairs, user_ids, item_ids, counts[0], counts[1], *about, threshold=threshold)


def usual_threshold(ratings: Ratings) -> float:
    """Return the lowest rating that is a click, for scales on which that is known.

    It is 4 on a scale from 0.5 or 1 to 5 (Liang et al. 2018), and 1 if the ratings are 0 and 1. If
    all are equal, as in a file without ratings, each is a click.

    Raises
    ------
    ConfigError
        If the scale is any other.
    """
    values = np.unique(ratings.values)
    if np.array_equal(values, (0, 1)) or (len(values) == 1 and values[0] > 0):
        return float(values[-1])

    low, high = ratings.bounds
    if low in (0.5, 1) and high == 5:
        return 4.0
    advised, why = np.median(ratings.values), "which half of them reach"
    if len(values) == 1:
        why = "with which each row is a click"
    elif advised == values[0]:  # it would make a click of each
        advised, why = values[1], "the second lowest"
    raise ConfigError(
        f"{ratings.name}: which of the ratings {low:g}..{high:g} are clicks? Give the lowest "
        f"that is one, as in `threshold={advised:g}`, {why}"
    )


def _filter(
    ratings: Ratings,
    threshold: float,
    min_user_clicks: int | np.ndarray,
    min_item_clicks: int | np.ndarray,
) -> tuple[Ratings, dict[str, int]]:
    """Drop ratings below the threshold, then repeats, rare items and users; count each."""
    above = ratings.part(ratings.values >= threshold)
    by_time = np.arange(len(above))
    if above.timestamps is not None:
        by_time = np.argsort(above.timestamps, kind="stable")
    _, first = np.unique(pair_keys(above)[by_time], return_index=True)
    single = above.part(np.sort(by_time[first]))
    frequent = single.part((single.counts()[1] >= min_item_clicks)[single.items])
    kept = frequent.part((frequent.counts()[0] >= min_user_clicks)[frequent.users])
    if not len(kept):
        raise DataError(
            f"no clicks are left of the {len(ratings)} ratings of {ratings.name} "
            f"(`threshold={threshold}`, `min_item_clicks={np.max(min_item_clicks)}`, "
            f"`min_user_clicks={np.max(min_user_clicks)}`): lower one of them"
        )

    return kept, {
        "below the threshold": len(ratings) - len(above),
        REPEATS: len(above) - len(single),
        "items with few clicks": len(single) - len(frequent),
        "users with few clicks": len(frequent) - len(kept),
    }


def _below(ratings: Ratings, threshold: float, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the pairs of some users and items that were rated below the threshold."""
    keys, is_below = pair_keys(ratings), ratings.values < threshold
    below = np.setdiff1d(keys[is_below], keys[~is_below])
    old_users, old_items = np.divmod(below, ratings.num_items)
    new_users = _positions(users, ratings.num_users)[old_users]
    new_items = _positions(items, ratings.num_items)[old_items]
    cells = np.stack([new_users, new_items], axis=1)
    return cells[(cells >= 0).all(axis=1)]


def _count_heldout(test: int | float, validation: int | float, users: int) -> tuple[int, int]:
    """Return how many users are for validation, and how many for the test.

    Raises
    ------
    ConfigError
        If a wanted number is neither a count nor a fraction below 0.5.
    DataError
        If a part would be empty, or no user is left to train on.
    """
    for name, wanted in (("heldout_users", test), ("validation_users", validation)):
        if not can_be_heldout(wanted):
            raise ConfigError(f"`{name}` is {wanted}: it must be a number of users or below 0.5")

    # a product of floats may be just below the number, as 0.29 * 100 is
    validating, tested = (int(n if n >= 1 else n * users + 1e-9) for n in (validation, test))
    too_few = (validation and validating < 1) or (test and tested < 1)
    if too_few or users <= validating + tested:
        parts = bool(validation) + bool(test)
        most = (users - 1) // parts
        advice = (
            f"choose from 1 to {most}" if most else f"at least {parts + 1} are needed: add some"
        )
        raise DataError(
            f"`heldout_users={test:g}` and `validation_users={validation:g}` hold out {tested} and "
            f"{validating} of the {users} users that have clicks enough: {advice}, or lower "
            "`min_user_clicks`"
        )
    return validating, tested


def _split_heldout(cells: np.ndarray, begin: int, counts: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the fold-in and held-out pairs of users from `begin` on, in the order of `cells`.

    `counts` are the numbers of validation users, which come first, and of test users.
    """
    pairs: dict[str, np.ndarray] = {}
    users, items = cells.T

    for part, count in zip(("validation", "test"), counts):
        clicks = cells[(users >= begin) & (users < begin + count) & (items >= 0)]
        held_out = _choose_held_out(clicks[:, 0])
        pairs |= {f"{part}_tr": clicks[~held_out], f"{part}_te": clicks[held_out]}
        begin += count

    return pairs


def _in_order(items: np.ndarray) -> np.ndarray:
    """Return the distinct items in order of first appearance."""
    different, first = np.unique(items, return_index=True)
    return different[np.argsort(first)]


def _positions(chosen: np.ndarray, size: int) -> np.ndarray:
    """Return the position of each index from 0 in `chosen`, or -1, shape (size,)."""
    positions = np.full(size, -1, dtype=np.int32)
    positions[chosen] = np.arange(len(chosen), dtype=np.int32)
    return positions


def _choose_held_out(users: np.ndarray) -> np.ndarray:
    """Return the mask of held-out clicks, shape (n,); each user's clicks are adjacent."""
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

"""`Ratings`: checked ratings, which every later stage takes; and how columns become some."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..support.arrays import load_arrays, save_arrays
from ..support.errors import ConfigError, DataError, scale_of, warn
from ..support.files import telling_damage
from .ids import IdMap
from .means import Means, fit_means
from .rules import (
    DUPLICATES,
    LARGEST,
    NO_ID,
    Scale,
    Table,
    canonical,
    ids_of,
    size_of,
    table_of_frame,
    times_of,
    values_of,
)

if TYPE_CHECKING:
    import pandas as pd

Titles = str | Path | Mapping[Any, str] | None
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # a terminal may obey them
DTYPES = {"users": np.int32, "items": np.int32, "values": np.float32, "timestamps": np.int64}


@dataclass(frozen=True, eq=False, repr=False)
class Ratings:
    """Ratings, which cannot be changed: users, items, values, perhaps times, and the ids' maps.

    Parameters
    ----------
    users, items : ndarray of int32, shape (n,)
        Positions in `user_ids` and `item_ids`.
    values : ndarray of float32, shape (n,)
        The ratings, on their own scale.
    user_ids, item_ids : ndarray
        The ids in the source, in index order: integers, or strings. A part of
        a data set (a training set, say) keeps the ids of the whole.
    timestamps : ndarray of int64, shape (n,), optional
        Seconds since 1970, or any number that grows with time; float64 where some have fractions.
    scale : (float, float), optional
        Lowest and highest possible rating; by default those that occur.
    titles : dict, optional
        Item id to title.
    name : str
        The data set's name, or the file's.
    origin : str
        A line on how the source was understood; it is neither saved nor part of
        the fingerprint.

    Raises
    ------
    DataError
        If arrays differ in length, an index is out of range, or a value is
        not finite or outside the scale.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    timestamps: np.ndarray | None = None
    scale: tuple[float, float] | None = None
    titles: dict[Any, str] = field(default_factory=dict)
    name: str = "ratings"
    origin: str = ""

    def __post_init__(self) -> None:
        for attribute in (*DTYPES, "user_ids", "item_ids"):
            column = getattr(self, attribute)
            if column is not None:
                kind = DTYPES.get(attribute)
                if attribute == "timestamps" and _has_fractions(np.asarray(column)):
                    kind = np.float64
                view = np.asarray(column, dtype=kind).view()
                view.flags.writeable = False
                object.__setattr__(self, attribute, view)

        self._check()

        if self.scale is None and len(self):
            scale = float(self.values.min()), float(self.values.max())
            object.__setattr__(self, "scale", scale)

    def _check(self) -> None:
        lengths = [len(column) for column in self._columns().values()]
        if len(set(lengths)) > 1:
            raise DataError(f"{self.name}: columns of different lengths {lengths}")
        if not len(self):
            return

        indices = {"user": (self.users, self.num_users), "item": (self.items, self.num_items)}
        for what, (index, size) in indices.items():
            if index.min() < 0 or index.max() >= size:
                raise DataError(f"{self.name}: a {what} index is outside 0..{size - 1}")

        low, high = self.scale or (-LARGEST, LARGEST)
        if not ((self.values >= low) & (self.values <= high)).all():  # NaN fails both
            raise DataError(f"{self.name}: a rating is outside the scale {low:g}..{high:g}")

    def _columns(self) -> dict[str, np.ndarray]:
        """Return the arrays that have an entry for each rating."""
        columns = {name: getattr(self, name) for name in DTYPES}
        return {name: column for name, column in columns.items() if column is not None}

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        size = f"{self.num_users:,} users x {self.num_items:,} items"
        return f"Ratings({self.name}: {len(self):,} ratings of {size})"

    @property
    def num_users(self) -> int:
        """Number of user ids, including those without a rating in this part."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Number of item ids, including those without a rating in this part."""
        return len(self.item_ids)

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how many ratings each user has, shape (users,), and each item, shape (items,)."""
        of_users = np.bincount(self.users, minlength=self.num_users)
        return of_users, np.bincount(self.items, minlength=self.num_items)

    def means(self, based: str = "user") -> Means:
        """Return the user and item means of `to_csr(based)`, which are fitted only once."""
        return self._means if based == "user" else self._means.transposed

    @cached_property
    def _means(self) -> Means:
        return fit_means(self.to_csr("user"))

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest possible rating: the `scale`, which must be known.

        Raises
        ------
        DataError
            If there are neither ratings nor a scale.
        """
        if self.scale is None:
            raise DataError(f"{self.name} has no ratings, so it has no scale: give one")
        return self.scale

    @property
    def offset(self) -> float:
        """The number that training adds to each rating, so that 0 can mean "unobserved".

        It is 0 for a scale above 0; else it puts the lowest rating at 1.
        """
        low, _ = self.bounds
        return 0.0 if low > 0 else 1.0 - low

    def to_csr(self, based: str = "item") -> sparse.csr_matrix:
        """Return the interaction matrix, with a row for each input vector of the network.

        Parameters
        ----------
        based : {'item', 'user'}
            Whose ratings are a row: 'item' gives items x users, 'user' users x items.

        Returns
        -------
        csr_matrix of float32
            The ratings plus `offset`; column indices ascend within a row.
        """
        cells, shape = (self.users, self.items), (self.num_users, self.num_items)
        if based == "item":
            cells, shape = cells[::-1], shape[::-1]

        shifted = self.values + np.float32(self.offset)
        return sparse.csr_matrix((shifted, cells), shape=shape)

    def part(self, chosen: np.ndarray) -> "Ratings":
        """Return the ratings that a mask or an index array chooses, over the same index maps."""
        columns = {name: column[chosen] for name, column in self._columns().items()}
        return replace(self, **columns)

    def joined(self, other: "Ratings") -> "Ratings":
        """Return these ratings, followed by those of another part of the same data set.

        Times are left out unless both parts have them.
        """
        others = other._columns()
        columns: dict[str, Any] = {
            name: np.concatenate([column, others[name]]) if name in others else None
            for name, column in self._columns().items()
        }
        return replace(self, **columns)

    def over(self, user_ids: np.ndarray, item_ids: np.ndarray) -> "Ratings":
        """Return the same ratings over other index maps.

        Raises
        ------
        DataError
            If a user or an item is not in them.
        """
        users = _moved(self.users, self.user_ids, IdMap(user_ids, "user"))
        items = _moved(self.items, self.item_ids, IdMap(item_ids, "item"))
        return replace(self, users=users, items=items, user_ids=user_ids, item_ids=item_ids)

    def save(self, path: Path, is_input: np.ndarray | None = None) -> None:
        """Write everything but `origin` to an .npz file; nothing in it is pickled.

        Parameters
        ----------
        path : Path
            The file.
        is_input : ndarray of bool, shape (n,), optional
            Which ratings a trained network is given; `load_known` returns it.

        Raises
        ------
        DataError
            If there are neither ratings nor a scale.
        """
        inputs = {} if is_input is None else {"is_input": is_input}
        save_archive(path, self, scale=self.bounds, **self._columns(), **inputs)

    @classmethod
    def from_frame(  # noqa: PLR0913  # what a person may give, by name
        cls,
        df: "pd.DataFrame",
        user: str = "user",
        item: str = "item",
        rating: str | None = "rating",
        timestamp: str | None = None,
        scale: tuple[float, float] | None = None,
        duplicates: str | None = None,
        implicit: bool = False,
        titles: Titles = None,
    ) -> "Ratings":
        """Check a frame that is in memory, and return its ratings.

        Parameters
        ----------
        df : DataFrame
            A frame of pandas, or of another package that gives its columns to Arrow, as polars
            does. Each row is one rating; the index does not matter.
        user, item, rating : str
            Names of the columns. See `read_ratings` for ids. With rating=None each row is a 1.
        timestamp : str, optional
            Name of a column of numbers, or of dates, which become seconds since 1970.
        scale : (float, float), optional
            Lowest and highest possible rating; by default those that occur.
        duplicates : {'error', 'last', 'mean'}, optional
            What becomes of several ratings of one item by one user; see `read_ratings`.
        implicit : bool
            Whether the ratings are for a model of clicks; with rating=None they are.
        titles : path or mapping, optional
            Titles of the items; see `with_titles`.

        Raises
        ------
        ConfigError
            If `duplicates` has another value, or `scale` is none.
        DataError
            If a column is missing, or holds something that cannot be an id, a rating or
            a time; the message names the column.
        """
        columns = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
        table = table_of_frame(df, columns)
        ratings = ratings_of(table, duplicates, scale, implicit or rating is None)[0]
        return ratings.with_titles(titles)

    def with_titles(self, titles: Titles) -> "Ratings":
        """Return the same ratings with titles of their items.

        Parameters
        ----------
        titles : path or mapping, optional
            A csv, tsv, JSON lines, Parquet or Feather file with the columns id and title, or a
            mapping of item id to title. Items without ratings may be among them. None changes
            nothing.

        Raises
        ------
        DataError
            If the file cannot be read, an item has two titles, or none of the items has any.
        """
        from .readers import read_titles

        if titles is None:
            return self
        source: str | Path = "titles"
        if isinstance(titles, (str, Path)):
            source = titles
            titles = read_titles(Path(titles))
        if hasattr(titles, "to_dict"):  # a series of pandas'
            titles = titles.to_dict()
        if not isinstance(titles, Mapping):
            raise DataError(
                f"titles is a {type(titles).__name__}: give a file, or a mapping of id to title"
            )

        ids = self.item_ids.tolist()
        found = IdMap(self.item_ids, "item").find(titles)
        shown = [CONTROL.sub(" ", str(title)) for title in titles.values()]
        named = {ids[at]: text for at, text in zip(found, shown) if at >= 0 and text not in NO_ID}
        if not named:
            raise DataError(
                f"{source}: none of its {len(titles)} ids is an item of {self.name}, whose ids are "
                f"like {ids[0]}: give the same ids"
            )
        told = f"{self.origin}; {len(named):,} of {self.num_items:,} items have a title"
        return replace(self, titles=named, origin=told.removeprefix("; "))

    def to_frame(self) -> "pd.DataFrame":
        """Return a frame with the columns user, item, rating and perhaps timestamp."""
        import pandas as pd

        users, items = self.user_ids[self.users], self.item_ids[self.items]
        frame = pd.DataFrame({"user": users, "item": items, "rating": self.values})
        return frame if self.timestamps is None else frame.assign(timestamp=self.timestamps)

    @classmethod
    def load(cls, path: Path) -> "Ratings":
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing or damaged.
        """
        return cls.load_known(path)[0]

    @classmethod
    def load_known(cls, path: Path) -> tuple["Ratings", np.ndarray | None]:
        """Read what `save` wrote: the ratings, and `is_input` or None.

        Raises
        ------
        DataError
            If the file is missing or damaged.
        """
        with opened_archive(path) as (columns, about):
            is_input = columns.pop("is_input", None)
            scale = tuple(columns.pop("scale").tolist())
            return cls(**columns, **about, scale=scale), is_input

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of ratings, timestamps and ids, which the result file records."""
        digest = hashlib.sha256()
        for array in (*self._columns().values(), self.user_ids, self.item_ids):
            is_text = array.dtype.kind in "OU"
            content = "\0".join(array).encode() if is_text else np.ascontiguousarray(array).data
            digest.update(content)

        return digest.hexdigest()


def _has_fractions(numbers: np.ndarray) -> bool:
    return numbers.dtype.kind == "f" and bool((numbers % 1).any())


def _moved(index: np.ndarray, ids: np.ndarray, to: IdMap) -> np.ndarray:
    """Return the positions in `to` of the ids that `index` stands for."""
    different, places = np.unique(index, return_inverse=True)
    return to.positions(ids[different].tolist())[places]


def save_archive(path: Path, part: Any, **arrays: Any) -> None:
    """Write arrays with the ids, titles and name of their data set; nothing is pickled."""
    about = {
        "user_ids": part.user_ids,
        "item_ids": part.item_ids,
        "title_ids": np.array(list(part.titles)),
        "title_texts": np.array(list(part.titles.values()), dtype=str),
        "name": np.array(part.name),
    }
    for name, array in about.items():
        about[name] = array.astype(str) if array.dtype == object else array
    save_arrays(path, {**about, **arrays}.items())


@contextmanager
def opened_archive(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield what `save_archive` wrote: the arrays, and a dict of ids, titles and name.

    Raises
    ------
    DataError
        If the file is missing or damaged, or the block fails on its content.
    """
    with telling_damage(path):
        arrays = load_arrays(path)
        titles = dict(zip(arrays.pop("title_ids").tolist(), arrays.pop("title_texts").tolist()))
        about: dict[str, Any] = {"titles": titles, "name": str(arrays.pop("name"))}
        for name in ("user_ids", "item_ids"):
            ids = arrays.pop(name)
            about[name] = ids.astype(object) if ids.dtype.kind == "U" else ids
        yield arrays, about


def ratings_of(
    table: Table, duplicates: str | None, scale: Scale, implicit: bool = False, train_rows: int = 0
) -> tuple[Ratings, np.ndarray]:
    """Check a table and return its ratings, and the row that each comes from.

    Index 0 is the user (item) with the most ratings; ties go by sum of ratings, sum of
    timestamps, then first row. So the index maps do not depend on the names of
    the ids and, except for such full ties, not on the order of the rows.

    Parameters
    ----------
    table : Table
        The columns, which are emptied.
    duplicates : {'error', 'last', 'mean'}, optional
        What becomes of repeated pairs: by default an error; if `implicit`, they stay.
    scale : (float, float), optional
        Lowest and highest possible rating.
    implicit : bool
        Whether the ratings are for a model of clicks: `prepare_clicks` merges those of a pair.
    train_rows : int
        The row where the test part of a given split begins, or 0. A pair may be in both parts.

    Raises
    ------
    ConfigError
        If `duplicates` has another value, or `scale` is none.
    DataError
        If an id, a number or a pair cannot be used.
    """
    import pyarrow as pa

    if duplicates not in (None, *DUPLICATES):
        raise ConfigError(f"duplicates={duplicates!r}: it must be one of {', '.join(DUPLICATES)}")

    scale = scale_of(scale)
    users, user_ids, *told = ids_of(table, "user")
    items, item_ids, more = ids_of(table, "item")
    values = values_of(table, scale, implicit)
    times = times_of(table)
    table.columns.clear()  # half a gigabyte for 20 million rows
    pa.default_memory_pool().release_unused()

    pairs = users.astype(np.int64) * len(item_ids) + items
    pairs[train_rows:] += len(user_ids) * len(item_ids)  # pairs of another part are others
    count = len(pairs) - len(np.unique(pairs))
    rows = np.arange(len(pairs))

    merges = count and not (implicit and duplicates is None)
    if merges:
        _, first, pair_of = np.unique(pairs, return_index=True, return_inverse=True)
        again = np.flatnonzero(first[pair_of] != rows)
        before = first[pair_of[again]]
        if duplicates in (None, "error"):
            row = again[0]
            other = (values[again] != values[before]).sum()
            user, item = str(user_ids[users[row]]), str(item_ids[items[row]])
            above = table.locate(before[0]).split(", ")[-1]
            raise DataError(
                f"{table.locate(row)}: user {user!r} rated item {item!r} {values[row]:g}, and "
                f"{values[before[0]]:g} in {above}; {count} ratings are repeated, {other} of them "
                "with another value: choose `duplicates=last` or mean, or delete them"
            )

        warn(
            f"{count} repeated ratings of an item by the same user were merged "
            f"(`duplicates={duplicates}`)"
        )
        last = np.empty(len(first), dtype=np.int64)
        by_time = rows if times is None else np.argsort(times, kind="stable")
        last[pair_of[by_time]] = by_time
        if duplicates == "mean":
            values[last] = np.bincount(pair_of, values) / np.bincount(pair_of)
        rows = np.sort(last)
        users, items, values = users[rows], items[rows], values[rows]
        times = None if times is None else times[rows]
    del pairs

    exact = np.rint(values * 1024.0).astype(np.float64)  # sums of whole numbers know no order
    whole = None if times is None else np.floor(times)
    users, user_ids = canonical(users, user_ids, exact, whole)
    items, item_ids = canonical(items, item_ids, exact, whole)
    merged = f" merged ({duplicates})" if merges else ""
    repeats = f"{count:,} repeated ratings{merged}" if count else "no duplicates"
    size = size_of(values, user_ids, item_ids, scale)
    origin = "; ".join(filter(None, [table.origin, f"{size}, {repeats}", *told, more]))
    columns = users, items, values, user_ids, item_ids, times, scale
    ratings = Ratings(*columns, name=table.name, origin=origin)

    if ratings.offset and not implicit:
        low, high = ratings.bounds
        warn(
            f"{table.name}: the rating scale {low:g}..{high:g} includes 0 or below, and 0 means "
            f"unobserved: trained on rating + {ratings.offset:g}, shifted back in every output"
        )
    return ratings, rows

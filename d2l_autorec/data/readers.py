"""From files and frames to checked `Ratings`."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..support.errors import DataError
from .layout import Request
from .ratings import Ratings
from .rules import Scale, ratings_of
from .tables import read_table


def read_ratings(
    path: str | Path,
    columns: str | None = None,
    separator: str | None = None,
    duplicates: str = "error",
    scale: Scale = None,
    implicit: bool = False,
    quotes: bool = True,
) -> Ratings:
    """Read a csv, tsv, dat, JSON lines or Parquet file of ratings.

    Text may be compressed by gzip, bzip2, xz or zstd. Each line is one rating: what cannot be
    understood so is an error, and `Ratings.origin` says how the file was understood.

    Parameters
    ----------
    path : path
    columns : str, optional
        'user=NAME,item=NAME,rating=NAME[,timestamp=NAME]', names of the
        header or field numbers from 0. By default usual names are
        recognised; a file without a header has user, item, rating and
        perhaps timestamp in its first fields. See `detect_format` for what
        is taken for a header. Keys of JSON lines are names too.
    separator : str, optional
        By default the one of `SEPARATORS` that gives three fields or more.
    duplicates : {'error', 'last', 'mean'}
        What becomes of several ratings of one item by one user.
    scale : (float, float), optional
        Lowest and highest possible rating; by default those that occur.
    implicit : bool
        The file may do without ratings: each row is then a 1.
    quotes : bool
        Whether a '"' may enclose a field; if not, it is a character like others.

    Returns
    -------
    Ratings
        Rows in file order. An id is its text in Unicode's NFC form, without the blanks around
        it; 12.0 is 12; an empty one, NULL, NA, nan and None are missing, and refused. Ids that
        are all whole numbers in their plain form become integers. See `ratings_of` for their
        order, and `check_ratings` for what can be a rating.

    Raises
    ------
    DataError
        One line with file, line or column, and the remedy.
    """
    request = Request(2 if implicit else 3, columns, separator, quotes=quotes)
    table = read_table(Path(path), request)
    return ratings_of(table, duplicates, scale, implicit)[0]


def read_train_and_test(
    train: Path,
    test: Path,
    columns: str | None = None,
    separator: str | None = None,
    duplicates: str = "error",
    scale: Scale = None,
    quotes: bool = True,
) -> tuple[Ratings, Ratings]:
    """Read a given split; both parts get the index maps of the two together.

    Raises
    ------
    DataError
        As `read_ratings`; also if a (user, item) pair is in both files.
    """
    import pyarrow as pa

    request = Request(3, columns, separator, quotes=quotes)
    first, second = (read_table(path, request) for path in (train, test))
    if set(first.columns) != set(second.columns):
        raise DataError(f"{train} and {test} differ: one has timestamps, and the other has none")

    cut = len(first)
    table = replace(
        first,
        name=f"{train.name}+{test.name}",
        columns={
            role: pa.chunked_array(
                [
                    *first.columns[role].cast(pa.string()).chunks,
                    *second.columns[role].cast(pa.string()).chunks,
                ],
                pa.string(),
            )
            for role in first.columns
        },
        locate=lambda row: first.locate(row) if row < cut else second.locate(row - cut),
        origin=f"{first.origin}; {second.origin}",
    )

    ratings, rows = ratings_of(table, duplicates, scale, train_rows=cut)
    is_test = (np.arange(len(ratings)) if rows is None else rows) >= cut
    origin = f"{ratings.origin}; {int(is_test.sum()):,} of them in {test.name}"
    ratings = replace(ratings, origin=origin)
    return ratings.part(~is_test), ratings.part(is_test)

"""Filters: which items may be recommended, as asked for in Python, by commands or over HTTP."""

import argparse
import csv
import io
import os
import re
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models.options import AT_LEAST_0
from ..runs.options import whole_number
from ..support.errors import DataError, warn

if TYPE_CHECKING:
    from ..data.ids import IdMap


class Selection(NamedTuple):
    """How many items are recommended, and which may be.

    Parameters
    ----------
    n : int
        How many items, at most.
    exclude : collection of id
        Items that are left out; an unknown id has no effect but a remark.
    only : collection of id, optional
        The items to choose from, by default all.
    filter_already_rated : bool
        Whether to leave out what the user has rated.
    min_ratings : int
        Number of known ratings below which an item is left out.
    remark : callable
        (sentence) to None; it is called where the answer says little, or an id is unknown.
    """

    n: int = 10
    exclude: Collection[Any] = ()
    only: Collection[Any] | None = None
    filter_already_rated: bool = True
    min_ratings: int = 0
    remark: Callable[[str], None] = warn


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that `selection_of` reads, and --fallback, to a command's parser."""
    of_ids: dict[str, Any] = {"action": "append", "metavar": "IDS"}
    text = "items to leave out: A,B,..., or a file with a column id; may be repeated"
    parser.add_argument("--exclude", default=[], help=text, **of_ids)
    parser.add_argument("--only", help="recommend these items alone (as for --exclude)", **of_ids)
    parser.add_argument(
        "--min-ratings",
        type=whole_number(AT_LEAST_0),
        default=0,
        metavar="N",
        help="leave out items with fewer ratings [0]",
    )
    parser.add_argument(
        "--fallback", choices=["popularity"], help="what to recommend to an unknown user"
    )


def selection_of(options: argparse.Namespace, items: "IdMap") -> Selection:
    """Return the selection that the options of a command ask for; `items` maps ids."""
    exclude = given_ids(options.exclude, items)
    only = options.only and given_ids(options.only, items)
    n, is_open = getattr(options, "n", 10), getattr(options, "include_rated", False)
    return Selection(n, exclude, only, not is_open, options.min_ratings)


def given_ids(given: Sequence[str], known: "IdMap") -> list[str]:
    """Return the ids in an option's values: each value is one id, else a file, else a list.

    A list 'a,b' has two ids, and '"a,b"' is one.
    """
    from ..data.readers import read_ids

    ids: list[str] = []
    for value in given:
        if known.find([value])[0] >= 0:
            ids.append(value)
        elif os.path.isfile(value):
            ids += read_ids(Path(value))
        elif re.search(r"\.(csv|tsv|txt|jsonl?|parquet|feather|gz)$", value):
            raise DataError(f"{value} cannot be read (no such file): check its name")
        else:
            ids += chain(*csv.reader(io.StringIO(value), skipinitialspace=True))
    return ids

"""A ratings file to checked `Ratings`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..support.errors import DataError
from .delimited import parse_table
from .frames import Source, check, indexed, pair_keys
from .json_lines import parse_json
from .layout import KNOWN_NAMES, Request, TableFormat, describe_columns, detect_format
from .plausible import Scale
from .ratings import Ratings
from .textfile import first_lines, line_number


def read_ratings(
    path: str | Path,
    columns: str | None = None,
    separator: str | None = None,
    duplicates: str = "error",
    scale: Scale = None,
    implicit: bool = False,
) -> Ratings:
    """Read a csv, tsv, dat or JSON lines file of ratings; also by gzip, bzip2 or xz.

    Each line is one rating: what cannot be understood so is an error, and
    `Ratings.origin` says how the file was understood.

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

    Returns
    -------
    Ratings
        Rows in file order. See `ratings_from_frame` for ids, and
        `check_ratings` for what can be a rating.

    Raises
    ------
    DataError
        One line with file, line or column, and the remedy.
    """
    fewest = 3
    if implicit:
        fewest = 2

    frame, source = read_frame(Path(path), Request(fewest, columns, separator))
    checked = check(frame, source, duplicates, scale)
    return indexed(checked, source, duplicates, scale)


def read_train_and_test(
    train: Path,
    test: Path,
    columns: str | None = None,
    separator: str | None = None,
    duplicates: str = "error",
    scale: Scale = None,
) -> tuple[Ratings, Ratings]:
    """Read a given split; both parts get the index maps of the two together.

    Raises
    ------
    DataError
        As `read_ratings`; also if a (user, item) pair is in both files.
    """
    request = Request(3, columns, separator)
    frames, sources = zip(*(read_frame(path, request) for path in (train, test)))
    checked = [check(frame, source, duplicates, scale) for frame, source in zip(frames, sources)]
    _check_leaks(frames, sources)

    both = pd.concat([_as_objects(part.frame) for part in checked], ignore_index=True)
    source = replace(
        sources[0],
        name=f"{train.name}+{test.name}",
        layout="; ".join(source.layout for source in sources),
    )
    # The two together may be a scale that neither is.
    merged = sum(part.merged for part in checked)
    whole = check(both, source, "error", scale)._replace(merged=merged)
    ratings = indexed(whole, source, duplicates, scale)

    is_test = np.arange(len(ratings)) >= len(checked[0].frame)
    origin = f"{ratings.origin}; {int(is_test.sum()):,} of them in {test.name}"
    ratings = replace(ratings, origin=origin)
    return ratings.part(~is_test), ratings.part(is_test)


def _as_objects(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"user": object, "item": object})


def _check_leaks(frames: tuple[pd.DataFrame, ...], sources: tuple[Source, ...]) -> None:
    """Raise DataError if a pair is in both of two files."""
    pairs = [_as_objects(frame[["user", "item"]]) for frame in frames]
    keys = pair_keys(pd.concat(pairs, ignore_index=True))
    train, test = np.split(keys, [len(frames[0])])

    leaking = pd.Series(test).isin(train).to_numpy()
    if not leaking.any():
        return

    row = int(leaking.argmax())
    other = int((train == test[row]).argmax())
    pair = frames[1].iloc[row]
    here = sources[1].locate(row)
    value = frames[0]["rating"].iloc[other]
    raise DataError(
        f"{here}: user {pair['user']!r} rated item {pair['item']!r} {pair['rating']:g},"
        f" and {value:g} in {sources[0].locate(other)}; {len(set(test[leaking]))} "
        "(user, item) pairs are in both files: a test rating must not be trained on; "
        "take them out of one of the files"
    )


def read_frame(path: Path, request: Request) -> tuple[pd.DataFrame, Source]:
    """A file's columns: ids (categories), and where there are, rating and timestamp (floats).

    Raises
    ------
    DataError
        As `read_ratings`, but for what `check` finds.
    """
    if first_lines(path)[0][1].lstrip().startswith("{"):
        if request.separator is not None:
            remedy = request.exactly or "leave `separator` out"
            raise DataError(f"{path} is JSON lines, which have no separator: {remedy}")

        frame, keys = parse_json(path, request)
        source = Source(
            path.name,
            lambda row: f"{path}, line {line_number(path, row)}",
            f"{path.name}: JSON lines; {describe_columns(keys)}",
            _swapped(keys),
        )
    else:
        layout = detect_format(path, request)
        frame = parse_table(path, layout)
        names = {role: str(column) for role, column in layout.columns.items()}
        if layout.header:
            names = {role: layout.names[column] for role, column in layout.columns.items()}

        source = Source(
            path.name,
            lambda row: f"{path}, line {line_number(path, row + layout.header)}",
            f"{path.name}: {layout.describe()}",
            _swapped(names),
        )
        _refuse_second_header(frame, layout, source)

    if not len(frame):
        needed = ", ".join(request.needed)
        raise DataError(f"{path} has no ratings: each line must hold {needed}")

    return frame, source


def _swapped(names: dict[str, str]) -> str:
    """The `columns` to paste if what was taken for ratings are times."""
    if "rating" not in names:
        return ""

    swapped = {**names, "timestamp": names["rating"]}
    swapped.pop("rating")
    if "timestamp" in names:
        swapped["rating"] = names["timestamp"]

    clicks = ""
    if "rating" not in swapped:
        clicks = ", for a model that ranks clicks"

    columns = ",".join(f"{role}={name}" for role, name in swapped.items())
    return f"if they are times, say `columns={columns}`{clicks}"


def _refuse_second_header(frame: pd.DataFrame, layout: TableFormat, source: Source) -> None:
    """Raise DataError if names of columns stand where ids should: files that were joined."""
    is_header = np.ones(len(frame), dtype=bool)
    ids = [role for role in ("user", "item") if role in layout.columns]

    for role in ids:
        names = set(KNOWN_NAMES[role])
        if layout.header:
            names.add(layout.names[layout.columns[role]].lower())
        ids_found = frame[role].cat.categories
        known = [str(id_).strip().lower() in names for id_ in ids_found] + [False]  # code -1
        is_header &= np.array(known)[frame[role].cat.codes]

    if len(ids) > 1 and is_header.any():
        row = int(is_header.argmax())
        raise DataError(
            f"{source.locate(row)}: a header among the ratings; "
            f"{int(is_header.sum())} lines are so: delete them"
        )

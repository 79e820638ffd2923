"""The rules by which columns become ids, values and times."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..support.errors import LONGEST, DataError, did_you_mean, shortened, warn
from .ids import plain_id
from .layout import MODEL_OF_CLICKS, NUMBER

if TYPE_CHECKING:
    import pyarrow as pa

DUPLICATES = ("error", "last", "mean")
LARGEST = 2.0**24  # beyond it, float32 merges whole numbers
Scale = tuple[float, float] | None
HUGE = 1000.0  # if no rating is smaller, the column is of years, days, times or ids
COUNTS = 20  # if the highest rating is this many times the median, they are counts,
MANY = 100  # and it is above this
NUMBERED = 100  # this many whole numbers, most of them different, are ids or times
MISSING_CODES = (-9999, -999, -99, -9, -1, 0, 99, 999, 9999)

WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"  # a number in its plain form
DATED = "(dictionary<values=)?((large_)?string|date|timestamp)"  # types of columns of dates
NO_ID = {"", "NULL", "null", "\\N", "NA", "<NA>", "nan", "NaN", "None"}
# An .npz file, a line of a csv file or a terminal does not give back control characters and line
# ends of Unicode. Nor may an id be longer than 500: a run's ids are stored in an array as wide as
# the longest.
UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]|.{501}")

ID_TYPES = r"(large_)?(string|binary)|u?int|decimal\d+\(\d+, 0\)|dictionary|null"
FLOATS = {"halffloat": 11, "float": 24, "double": 53}  # bits of whole numbers
AS_TEXT = "export it anew, as text or without exponents"


@dataclass(frozen=True)
class Table:
    """Columns of ids, ratings and times, as they were found, before any check.

    Parameters
    ----------
    name : str
        Name of the file, for messages and the result file.
    columns : dict
        Role to a ChunkedArray of any type.
    locate : callable
        (row number) to words for its place, as file and line.
    origin : str
        What was recognised, in words.
    way_out : callable
        (role) to advice if its column is the wrong one; the role is 'times' for ratings that are
        times.
    """

    name: str
    columns: dict[str, "pa.ChunkedArray"]
    locate: Callable[[int], str]
    origin: str
    way_out: Callable[[str], str]

    def __len__(self) -> int:
        return len(self.columns["item"])

    def refuse(self, bad: np.ndarray, role: str, what: str, way_out: str = "") -> None:
        """Raise DataError if rows are bad; the message has the first, their number and advice.

        If all rows are bad, the message says that the column or the format is wrong.

        Parameters
        ----------
        bad : ndarray of bool, shape (n,)
            Which rows are bad.
        role : str
            The role of the column.
        what : str
            Words for what is wrong, with {} for the first bad value.
        way_out : str
            The advice; by default to fix or remove the rows, or to name other columns.
        """
        count = int(bad.sum())
        if not count:
            return

        first = int(bad.argmax())
        value = self.columns[role][first].as_py()
        shown = shortened(str(value)) if len(str(value)) > LONGEST else value
        if isinstance(value, float) and role in ("rating", "timestamp"):
            shown = f"{value:.15g}"
        affected = f"{count:,} of {len(bad):,} rows are affected"
        if count == len(bad) > 1:
            affected = f"all {count:,} rows are affected, so the column or the format is wrong"
            way_out = "; else ".join(filter(None, (way_out, self.way_out(role))))
        raise DataError(
            f"{self.locate(first)}: the {role} {what.format(shown)}; {affected}: "
            f"{way_out or 'fix or remove them'}"
        )


def table_of_frame(df: Any, columns: Mapping[str, str | None]) -> Table:
    """Return the columns of a frame: pandas', or one that gives its columns to Arrow, as polars'.

    Raises
    ------
    DataError
        If `df` is no such frame, a role has no column, or there is no row.
    """
    import pandas as pd
    import pyarrow as pa

    if not isinstance(df, pd.DataFrame):
        try:
            df = pa.table(df).to_pandas()
        except (TypeError, ValueError) as error:
            raise DataError(
                f"df is a {type(df).__name__}: give a frame in memory, of pandas, polars or Arrow"
            ) from error
    names = list(df.columns)
    columns = {role: name for role, name in columns.items() if name is not None}
    for role, name in columns.items():
        if names.count(name) != 1:
            advice = "; give df.reset_index(), as it is in the index" * (name in df.index.names)
            clicks = "; rating=None if each row is a click" * (role == "rating")
            raise DataError(
                f"{role}={name!r}: the frame must have one column of this name, but has "
                f"{', '.join(map(str, names))}{did_you_mean(str(name), map(str, names))}"
                f"{advice}{clicks}"
            )

    if not len(df):
        raise DataError("the frame has no rows: each must be one rating")
    parts = {role: _column_of(df[name]) for role, name in columns.items()}
    wrong = {"times": "name the column of ratings", "timestamp": "leave `timestamp` out"}
    return Table(
        "frame",
        parts,
        "frame, row {}".format,
        "frame",
        lambda role: wrong.get(role, f"name the column that holds the {role}s"),
    )


def _column_of(column: Any) -> "pa.ChunkedArray":
    """Return a frame's column; objects of several types become text."""
    import pyarrow as pa

    try:
        return pa.table({"": column})[""]
    except (pa.ArrowException, TypeError, OverflowError):
        return pa.table({"": column.astype("string")})[""]


def as_numpy(column: "pa.Array | pa.ChunkedArray", missing: float) -> np.ndarray:
    """Return an Arrow array of numbers as NumPy's, with `missing` for those that are missing.

    Arrow's own to_numpy is not used, as it imports pandas, which takes half a second.
    """
    if column.null_count:
        column = column.fill_null(missing)
    return np.from_dlpack(column.combine_chunks() if hasattr(column, "chunks") else column)


def ids_of(table: Table, role: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return a code for each row, the ids by code, and a remark on how the ids were read, or ''.

    Raises
    ------
    DataError
        If an id is missing (`NO_ID`), neither a text nor a whole number, or `UNUSABLE`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.columns[role]
    told, shown = "", "{!r}" if role == "id" else "id {!r}"
    if not re.match(ID_TYPES, str(column.type)):
        values, kind = numbers_of(column), str(column.type)
        bits, is_bad = FLOATS.get(kind, 53), values % 1 != 0
        way_out = "" if kind in FLOATS else "convert them to text"
        table.refuse(is_bad, role, f"{shown} must be a text or a whole number", way_out)
        rounded = f"{shown} is beyond 2^{bits}, where {kind} numbers are rounded"
        beyond = np.abs(values) >= 2.0**bits
        table.refuse(beyond, role, rounded, "save them as whole numbers or as text")
        column, told = column.cast(pa.int64()), f"{role} ids are floats, read as whole numbers"
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    codes = as_numpy(encoded.indices, -1)
    try:
        names = encoded.dictionary.cast(pa.string())
    except pa.ArrowException as error:
        kind = shortened(str(encoded.dictionary.type))
        raise DataError(
            f"{table.name}: {role} ids of type {kind} are no text of UTF-8: convert them to text"
        ) from error
    if not told and codes.min() >= 0 and pc.all(pc.match_substring_regex(names, WHOLE)).as_py():
        return codes, as_numpy(names.cast(pa.int64()), 0), ""

    found = [*names.to_pylist(), None]  # the last is for the code -1
    texts = [plain_id(text or "") for text in found]
    checks: tuple[tuple[Callable, str, str], ...] = (
        (NO_ID.__contains__, "is missing", ""),
        (UNUSABLE.search, "has a control character, or more than 500 characters", ""),
        (_is_rounded, "may be rounded, as by a spreadsheet", AS_TEXT),
    )
    for is_bad, what, way_out in checks:
        bad = np.array([bool(is_bad(text)) for text in texts])
        table.refuse(bad[codes], role, f"{shown} {what}", way_out)

    changed = [pair for pair in zip(found[:-1], texts) if pair[0].strip(" \t") != pair[1]]
    if changed:
        first, plain = changed[0]
        told = f"{len(changed):,} {role} ids in another form, as {first!r}, read as {plain!r}"

    positions: dict[str, int] = {}
    merged = [positions.setdefault(text, len(positions)) for text in texts[:-1]]
    whole = all(re.search(WHOLE, text) for text in positions)
    ids = np.array(list(positions), dtype=np.int64 if whole else object)
    return np.array(merged, dtype=np.int32)[codes], ids, told


def _is_rounded(text: str) -> bool:
    """Return whether a number has an exponent as spreadsheets write it, and too few digits."""
    found = re.fullmatch(r"\d(?:\.(\d+))?[eE]\+(\d+)", text)
    return found is not None and len(found[1] or "") < int(found[2])


def numbers_of(column: "pa.ChunkedArray") -> np.ndarray:
    """Return a column as float64, with NaN where there is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if re.match("u?int|float|double|halffloat|decimal|null", str(kind)):
        return as_numpy(column.cast(kind).cast(pa.float64(), safe=False), np.nan)
    if not re.match("(large_)?string", str(kind)):
        return np.full(len(column), np.nan)

    texts = pc.ascii_trim_whitespace(column.cast(pa.string()))
    is_number = pc.match_substring_regex(texts, NUMBER)
    numbers = pc.if_else(is_number, pc.ascii_ltrim(texts, "+"), None)
    return as_numpy(numbers.cast(pa.float64()), np.nan)


def values_of(table: Table, scale: Scale, implicit: bool = False) -> np.ndarray:
    """Return the ratings of a table, which `check_ratings` checks; ones if it has no ratings."""
    if "rating" not in table.columns:
        return np.ones(len(table), dtype=np.float32)

    exact = numbers_of(table.columns["rating"])
    if not np.isfinite(exact).any():
        exact = _likes_of(table.columns["rating"])
    _refuse_no_numbers(table, exact, "rating")
    with np.errstate(over="ignore"):
        values = exact.astype(np.float32)
    check_ratings(table, values, scale, implicit)
    return values


def _likes_of(column: "pa.ChunkedArray") -> np.ndarray:
    """Return 1 for True, 0 for False, whether a text or not, and NaN for anything else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not re.match("bool|(dictionary<values=)?(large_)?(bool|string)", str(column.type)):
        return np.full(len(column), np.nan)
    texts = pc.ascii_lower(column.cast(pa.string()))
    places = pc.index_in(texts, pa.array(["false", "true"]))
    return as_numpy(places.cast(pa.float64()), np.nan)


def _refuse_no_numbers(table: Table, values: np.ndarray, role: str) -> None:
    bad = ~np.isfinite(values)
    first = table.columns[role][int(bad.argmax())].as_py()
    form = "4.5" if role == "rating" else "1580472000, or as 2020-01-31 12:00:00"
    what, way_out = "{!r} is not a number", f"write them as {form}, or remove them"
    if first in (None, ""):
        what, way_out = "is missing", "fill them in, or remove these rows"
    table.refuse(bad, role, what, way_out)


def times_of(table: Table) -> np.ndarray | None:
    """Return the timestamps as float64, dates as seconds since 1970; None without any."""
    column = table.columns.get("timestamp")
    if column is None:
        return None

    times = numbers_of(column)
    if re.match(DATED, str(column.type)) and not np.isfinite(times).any():
        import pandas as pd
        import pyarrow as pa

        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        dates = column.to_pandas(date_as_object=False)
        moments = pd.to_datetime(dates, format="ISO8601", utc=True, errors="coerce")
        moments = moments.dt.tz_convert(None).to_numpy()
        seconds = moments.astype("datetime64[s]")
        times = seconds.astype(float) + (moments - seconds) / np.timedelta64(1, "s")

    _refuse_no_numbers(table, times, "timestamp")
    beyond = np.abs(times) >= 2.0**53
    table.refuse(beyond, "timestamp", "{} is beyond 2^53", "give seconds or milliseconds")
    return times


def check_ratings(table: Table, values: np.ndarray, scale: Scale, implicit: bool = False) -> None:
    """Raise DataError for numbers that are no ratings.

    If a `scale` is given, these are the numbers outside it. If none is given, they are:

    - numbers beyond ±2^24, where float32 merges whole numbers;
    - numbers that are all of size 1000 or more;
    - 100 or more whole numbers of which more than half are different, and
      which span more than 1000;
    - counts: a highest number above 100 that is more than 20 times the median, if not `implicit`;
    - a lowest or highest number that is a usual code for a missing rating
      (`MISSING_CODES`) and stands alone: at least three others are farther from
      it than any two neighbours of them are from each other, and it is the only
      one below 0 (0 itself: below 1), or twice as large as the next. -1 below four others from
      0 on is always such a code.

    A DataWarning tells of 0 as the lowest rating if it is far more frequent than others.

    Parameters
    ----------
    table : Table
        The table that the values come from, for messages.
    values : ndarray of float32, shape (n,)
        The numbers.
    scale : (float, float), optional
        Lowest and highest possible rating.
    implicit : bool
        Whether the values may be counts of clicks.

    Raises
    ------
    DataError
        If a number is no rating.
    """
    different = np.unique(values)
    if scale is None:
        _refuse_missing_codes(table, values, different)
        _check_kind(table, values, different, implicit)

    low, high = scale or (max(different[0], -LARGEST), min(different[-1], LARGEST))
    outside = (values < low) | (values > high)
    what = f"{{}} is outside the scale {low:.9g},{high:.9g}"
    table.refuse(outside, "rating", what, "correct them or `scale`")


def _refuse_missing_codes(table: Table, values: np.ndarray, different: np.ndarray) -> None:
    """Raise DataError for a lowest or highest number that usually means 'not rated'."""
    for code, near in ((different[0], different[1:]), (different[-1], different[-2::-1])):
        if len(near) < 3 or code not in MISSING_CODES:
            continue

        nearest = near[0]
        above = code >= 2 * nearest
        alone = above if code > nearest else nearest >= (0 if code < 0 else 1)
        far = abs(nearest - code) > np.abs(np.diff(near)).max()
        if alone and (far or (code == -1 and len(near) > 3)):
            scale = f"`scale={different[0]:g},{different[-1]:g}`"
            what = f"{code:g} is far from the others, {near.min():g}..{near.max():g}"
            way_out = f"remove them if they mean 'not rated'; else say {scale}"
            table.refuse(values == code, "rating", what, way_out)


def _check_kind(table: Table, values: np.ndarray, different: np.ndarray, implicit: bool) -> None:
    """Raise DataError for times, ids and counts; warn of zeros that may mean 'not rated'."""
    low, high = float(different[0]), float(different[-1])
    half = np.median(values) if high > MANY else 0
    what, way_out = "", table.way_out("times")
    numbered = len(values) >= NUMBERED and len(different) > len(values) / 2

    if np.abs(different).min() >= HUGE:
        what = f"ratings of size {HUGE:g} or more look like times or ids"
    elif numbered and high - low > HUGE and (different % 1 == 0).all():
        what = f"{len(different)} different whole numbers as ratings look like times or ids"
    elif not implicit and LARGEST >= high > COUNTS * half > 0:
        what = f"ratings up to {high:g}, half of them {half:g} or less, look like counts of plays"
        way_out = f"train a model of clicks, as {MODEL_OF_CLICKS}, or write logarithms of them"
    if what:
        meant = f"; else say `scale={low:.9g},{high:.9g}` if they are meant so"
        meant *= -LARGEST <= low < high <= LARGEST
        raise DataError(f"{table.locate(0)}: {what}: {way_out}{meant}")

    zeros = len(values) - np.count_nonzero(values)
    often = zeros > 2 * len(values) / len(different)
    if low == 0 and len(different) > 4 and different[1] >= 1 and often:
        warn(
            f"{table.name}: {zeros:,} of {len(values):,} ratings are 0: if 0 means 'not rated', "
            "remove these rows"
        )


def canonical(
    codes: np.ndarray, ids: np.ndarray, exact: np.ndarray, times: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's position among the ids in canonical order, and these ids.

    Ids without a row, as a frame's column of categories may have, are left out.
    """
    codes = codes.astype(np.intp)  # bincount would convert them each time
    weights = [exact] if times is None else [times, exact]
    sums = [np.bincount(codes, weight, len(ids)) for weight in weights]
    counts = np.bincount(codes, minlength=len(ids))

    order = np.lexsort([*sums, -counts])  # the last key decides first
    position = np.argsort(order).astype(np.int32)
    return position[codes], ids[order[: np.count_nonzero(counts)]]


def size_of(values: np.ndarray, user_ids: np.ndarray, item_ids: np.ndarray, scale: Scale) -> str:
    """Return how many ratings of how many users and items, and their scale, in words."""
    low, high = scale or (values.min(), values.max())
    whence = "as found" if scale is None else "as given"
    equal = ", all ratings equal" * bool(values.min() == values.max())
    return (
        f"{len(values):,} ratings of {len(user_ids):,} users x {len(item_ids):,} items, scale "
        f"{low:g}..{high:g} ({whence}{equal})"
    )

"""The one set of rules by which columns become `Ratings`: ids, values, times, duplicates."""

import re
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from ..support.errors import ConfigError, DataError, DataWarning, did_you_mean, shortened
from .ids import plain_id
from .layout import NUMBER
from .ratings import Ratings
from .tables import NO_TEXT, Table

if TYPE_CHECKING:
    import pyarrow as pa

DUPLICATES = ("error", "last", "mean")
Scale = tuple[float, float] | None
LARGEST = 2.0**24  # float32 merges whole numbers beyond
HUGE = 1000.0  # a column of nothing but such ratings is years, days, times or ids
COUNTS = 20  # that many times the median rating: a count
NUMBERED = 100  # that many whole numbers, most of them different, are ids or times
MISSING_CODES = (-9999, -999, -99, -9, -1, 0, 99, 999, 9999)
ROWS_SHOWN = 5

NO_ID = {"", "NULL", "null", "\\N", "NA", "<NA>", "nan", "NaN", "None"}
# Control characters, line ends of Unicode, and halves of characters: an .npz file, a line of a
# csv file or a terminal does not give them back as they are.
UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]|\\\\ud[89a-f]..")
LONGEST = 500  # characters; the ids of a run are stored in an array as wide as the longest

HINTS = {  # of texts that are no numbers
    r"-?\d+,\d+": "write decimals with a point",
    r"\d+(\.\d+)? */ *\d+": "keep the number before the slash",
    r"\d+([.,]\d+)? *%": "delete the percent sign",
}


def check_options(scale: Scale, duplicates: str) -> None:
    """Raise ConfigError for a scale or a rule for duplicates that cannot be."""
    if duplicates not in DUPLICATES:
        raise ConfigError(
            f"duplicates={duplicates!r}: it must be one of {', '.join(DUPLICATES)}"
            f"{did_you_mean(str(duplicates), DUPLICATES)}"
        )
    if scale is not None and not -np.inf < scale[0] < scale[1] < np.inf:
        raise ConfigError(f"scale={scale}: it must be the lowest and the highest rating, as (1, 5)")


def refuse(table: Table, bad: np.ndarray, role: str, what: str, way_out: str = "") -> None:
    """Raise DataError where rows are bad: the first, how many of how many, and the way out.

    Where all rows are, it is the column or the format that is wrong.

    Parameters
    ----------
    table : Table
    bad : ndarray of bool, shape (n,)
    role : str
    what : str
        What is wrong with the first of them.
    way_out : str
        By default to fix or remove the rows, or to name another column.
    """
    count = int(bad.sum())
    if not count:
        return

    if count == len(bad) > 1:
        affected = f"all {count:,} rows are affected, so the column or the format is wrong"
        way_out = f"{way_out}; else {table.way_out(role)}" if way_out else table.way_out(role)
    else:
        affected = f"{count:,} of {len(bad):,} rows are affected"
    raise DataError(
        f"{table.locate(int(bad.argmax()))}: {what}; {affected}: {way_out or 'fix or remove them'}"
    )


def as_numpy(column: Any) -> np.ndarray:
    """Return an Arrow array of numbers; NaN or -1 where it has none.

    Not by Arrow's own to_numpy, which imports pandas: half a second.
    """
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    dtype = np.dtype(
        {"double": "float64", "float": "float32"}.get(str(array.type), str(array.type))
    )
    valid, content = array.buffers()
    values = np.frombuffer(content or b"", dtype)[array.offset :][: len(array)]
    if not array.null_count:
        return values

    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    missing = bits[array.offset :][: len(array)] == 0
    return np.where(missing, dtype.type(np.nan if dtype.kind == "f" else -1), values)


def ids_of(table: Table, role: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return a code for each row, in order of first appearance, the ids, and what to say of them.

    Raises
    ------
    DataError
        If an id is missing (`NO_ID`), neither a text nor a whole number, longer than
        `LONGEST`, or has a character of `UNUSABLE`.
    """
    import pyarrow as pa

    column = table.columns[role]
    kind = column.type
    told = ""
    if pa.types.is_floating(kind):
        column, told = _whole_numbers(table, role), f"{role} ids are floats, read as whole numbers"
    elif str(kind).removeprefix("large_") in ("string", "binary", "string_view"):
        column = column.cast(pa.string(), safe=False)
    elif not (pa.types.is_integer(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind)):
        wrong = f"the {role} id {column[0].as_py()!r} must be a text or a whole number"
        refuse(table, np.ones(len(table), dtype=bool), role, wrong)

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    ids = encoded.dictionary
    codes = as_numpy(encoded.indices)
    if pa.types.is_integer(ids.type):
        refuse(table, codes < 0, role, f"the {role} id is missing", _dropna(role))
        return codes, natural_ids(as_numpy(ids)), told

    found = [*ids.to_pylist(), ""]  # the last for the code -1
    texts = [plain_id(text) for text in found]
    _check_texts(table, role, codes, found, texts)

    changed = [pair for pair in zip(found, texts) if pair[0].strip(" \t") != pair[1]]
    if changed:
        first, plain = changed[0]
        told = f"{len(changed):,} {role} ids in another form, as {first!r}, read as {plain!r}"

    positions: dict[str, int] = {}
    merged = [positions.setdefault(text, len(positions)) for text in texts[:-1]]
    codes = np.array(merged, dtype=np.int32)[codes]
    return codes, natural_ids(np.array(list(positions), dtype=object)), told


def _whole_numbers(table: Table, role: str) -> "pa.ChunkedArray":
    """Return a column of floats, as a merge of frames leaves them, as whole numbers."""
    import pyarrow as pa

    values = as_numpy(table.columns[role].cast(pa.float64()))
    missing = np.isnan(values)
    refuse(table, missing, role, f"the {role} id is missing", _dropna(role))

    bad = (values % 1 != 0) | (np.abs(values) >= 2.0**53)
    first = values[int(bad.argmax())]
    refuse(table, bad, role, f"the {role} id {first} must be a text or a whole number")
    return pa.chunked_array([values.astype(np.int64)])


def _dropna(role: str) -> str:
    return f"drop them, as with df.dropna(subset=[{role!r}])"


def _check_texts(
    table: Table, role: str, codes: np.ndarray, found: list[str], texts: list[str]
) -> None:
    """Refuse texts that cannot be ids."""
    checks: dict[str, Callable[[str], bool]] = {
        "is missing": NO_ID.__contains__,
        "must be a text or a whole number": lambda text: text.startswith(NO_TEXT),
        "has a control character": lambda text: UNUSABLE.search(text) is not None,
        f"is longer than {LONGEST} characters": lambda text: len(text) > LONGEST,
    }
    for what, is_bad in checks.items():
        bad = np.array([is_bad(text) for text in texts])[codes]
        if bad.any():
            first = found[codes[int(bad.argmax())]].removeprefix(NO_TEXT)
            shown = f"{first[:20]!r}..." if len(first) > LONGEST else repr(first)
            refuse(table, bad, role, f"the {role} id {shown} {what}")


def natural_ids(ids: np.ndarray) -> np.ndarray:
    """Return integers where every id is one in its plain form, else strings."""
    if ids.dtype.kind in "iu" and (ids <= np.iinfo(np.int64).max).all():
        return ids.astype(np.int64)

    texts = [str(text) for text in ids]
    if all(re.fullmatch("0|-?[1-9][0-9]{0,17}", text) for text in texts):
        return np.array(texts, dtype=np.int64)
    return np.array(texts, dtype=object)


def numbers_of(column: "pa.ChunkedArray") -> np.ndarray:
    """Return a column as float64; NaN where there is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        encoded = column.unify_dictionaries().combine_chunks()
        different = np.append(numbers_of(encoded.dictionary), np.nan)
        return different[as_numpy(encoded.indices)]
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind) or pa.types.is_nested(kind):
        return np.full(len(column), np.nan)

    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowInvalid:  # blanks around it, a plus sign, or no number
        texts = pc.ascii_ltrim(pc.ascii_trim_whitespace(column), "+")
        is_number = pc.match_substring_regex(texts, f"^({NUMBER})$")
        numbers = pc.if_else(is_number, texts, None).cast(pa.float64())
    return as_numpy(numbers)


def values_of(table: Table, scale: Scale, implicit: bool = False) -> np.ndarray:
    """Return the ratings, ones where the table has none; see `check_ratings`."""
    if "rating" not in table.columns:
        return np.ones(len(table), dtype=np.float32)

    exact = numbers_of(table.columns["rating"])
    _refuse_no_numbers(table, exact, "rating")
    with np.errstate(over="ignore"):
        values = exact.astype(np.float32)

    if np.count_nonzero(values) < np.count_nonzero(exact):
        lost = (values == 0) & (exact != 0)
        first = exact[int(lost.argmax())]
        refuse(table, lost, "rating", f"the rating {first:g} is 0 in float32", "rescale them")
    check_ratings(table, values, scale, implicit)
    return values


def _refuse_no_numbers(table: Table, values: np.ndarray, role: str) -> None:
    bad = ~np.isfinite(values)
    if not bad.any():
        return

    value = table.columns[role][int(bad.argmax())].as_py()
    if value is None or value == "" or value != value:
        what = f"the {role} is missing"
    else:
        shown = shortened(str(value).removeprefix(NO_TEXT))
        date = " or an ISO date, as 2020-01-31 12:00:00" * (role == "timestamp")
        what = f"the {role} {shown!r} is not a number{date}"
    hints = [hint for kind, hint in HINTS.items() if re.fullmatch(kind, str(value).strip())]
    refuse(table, bad, role, what, *hints)


def times_of(table: Table) -> np.ndarray | None:
    """Return the timestamps as whole numbers; those of dates are seconds since 1970."""
    import pyarrow as pa

    column = table.columns.get("timestamp")
    if column is None:
        return None
    if pa.types.is_temporal(column.type):
        times = _seconds(column)
    else:
        times = numbers_of(column)
        if not np.isfinite(times).any():
            times = _seconds(column)
    _refuse_no_numbers(table, times, "timestamp")

    if max(times.max(), -times.min()) >= 2.0**53:
        beyond = np.abs(times) >= 2.0**53
        what = f"the timestamp {times[int(beyond.argmax())]:g} is beyond 2^53"
        refuse(table, beyond, "timestamp", what, "give seconds or milliseconds")

    whole = times.astype(np.int64)
    cut = np.count_nonzero(whole != times)
    if cut:
        warnings.warn(
            f"{cut} timestamps lost their fractions of a second", DataWarning, stacklevel=4
        )
    return whole


def _seconds(column: "pa.ChunkedArray") -> np.ndarray:
    """Return dates, of a type of their own or as ISO 8601 has them; NaN where there is none."""
    import pyarrow as pa

    for zone in (None, "UTC"):
        try:
            micros = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
            return np.floor_divide(as_numpy(micros.cast(pa.float64())), 1_000_000)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue

    texts = column.cast(pa.string()).to_pylist()
    return np.array([_second(text) for text in texts])


def _second(text: str | None) -> float:
    try:
        moment = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return np.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() // 1


def check_ratings(table: Table, values: np.ndarray, scale: Scale, implicit: bool = False) -> None:
    """Refuse numbers that are no ratings.

    Always: beyond ±2^24; outside `scale`. Without a `scale`, which says that the numbers are
    meant so, also:

    - all of size 1000 or more;
    - 100 or more whole numbers of which more than half are different, and
      which span more than 1000;
    - a highest above 1000 that is 20 times the median, if they are not `implicit`: counts;
    - a lowest or highest rating that is a usual code for a missing one
      (`MISSING_CODES`) and stands alone: at least three others are farther from
      it than any two neighbours of them are from each other, and it is the only
      one below 0 (0 itself: below 1), or twice as large as the next. -1 below four others from
      0 is always one. A 0 below 1 that is more frequent than any other is warned of.

    Parameters
    ----------
    table : Table
    values : ndarray of float32, shape (n,)
    scale : (float, float), optional
    implicit : bool
        Whether the values may be counts of clicks.

    Raises
    ------
    DataError
    """
    import pyarrow as pa

    different = pa.Array.from_buffers(pa.float32(), len(values), [None, pa.py_buffer(values)])
    different = np.sort(as_numpy(different.unique()))
    low, high = scale or (float(different[0]), float(different[-1]))

    def refuse_where(is_bad: Callable[[np.ndarray], np.ndarray], what: str, way_out: str) -> None:
        if is_bad(different).any():
            bad = is_bad(values)
            first = values[int(bad.argmax())]
            refuse(table, bad, "rating", f"the rating {first:g} {what}", way_out)

    if scale is None:
        for code, near in ((different[0], different[1:]), (different[-1], different[-2::-1])):
            if _is_missing_code(float(code), near):
                refuse_where(
                    code.__eq__,
                    f"is far from the others, {near.min():g}..{near.max():g}",
                    f"remove them if they mean 'not rated'; else say `scale={low:g},{high:g}`",
                )
        _check_kind(table, values, different, implicit)

    beyond = f"is beyond {LARGEST:.0f}, where float32 merges whole numbers"
    refuse_where(lambda numbers: np.abs(numbers) > LARGEST, beyond, "fix or rescale them")
    outside = f"is outside the scale {low:g},{high:g}"
    refuse_where(
        lambda numbers: (numbers < low) | (numbers > high), outside, "correct them or `scale`"
    )


def _check_kind(table: Table, values: np.ndarray, different: np.ndarray, implicit: bool) -> None:
    """Refuse times, ids and counts; warn of zeros that may mean 'not rated'."""
    low, high = float(different[0]), float(different[-1])
    place = table.locate(0) if max(abs(low), high) >= HUGE else ""
    meant = f"{table.way_out('times')}; else say `scale={low:.9g},{high:.9g}` if they are meant so"

    if np.abs(different).min() >= HUGE:
        raise DataError(
            f"{place}: the rating {values[0]:g} and all others are of size {HUGE:g} or more, so "
            f"they look like times or ids: {meant}"
        )

    numbered = len(values) >= NUMBERED and len(different) > len(values) / 2
    if numbered and high - low > HUGE and (different % 1 == 0).all():
        raise DataError(
            f"{place}: {len(different)} different whole numbers as {len(values)} ratings look "
            f"like times or ids: {meant}"
        )

    if not implicit and LARGEST >= high > HUGE and high > COUNTS * np.median(values) > 0:
        raise DataError(
            f"{place}: ratings up to {high:g}, half of them {np.median(values):g} or less, look "
            "like counts of plays or purchases: train a model of clicks, as `model=ease`, or "
            f"write logarithms of them; else say `scale={low:.9g},{high:.9g}`"
        )

    zeros = len(values) - np.count_nonzero(values)
    usual = len(values) / len(different)
    if low == 0 and len(different) > 4 and different[1] >= 1 and zeros > 2 * usual:
        warnings.warn(
            f"{table.name}: {zeros:,} of {len(values):,} ratings are 0: if 0 means 'not rated', "
            "remove these rows",
            DataWarning,
            stacklevel=5,
        )


def _is_missing_code(code: float, near: np.ndarray) -> bool:
    """Whether a lowest or highest rating stands alone; `near` are the others, from the next."""
    if len(near) < 3 or code not in MISSING_CODES:
        return False

    nearest = float(near[0])
    if code < nearest:
        alone = nearest >= 0 if code < 0 else code == 0 and nearest >= 1
    else:
        alone = code >= 2 * nearest

    gap = abs(nearest - code)
    return alone and (gap > np.abs(np.diff(near)).max() or (code == -1 and len(near) > 3))


def ratings_of(
    table: Table, duplicates: str, scale: Scale, implicit: bool = False, train_rows: int = 0
) -> tuple[Ratings, np.ndarray | None]:
    """Check a table and return its ratings, and the row that each comes from (None: its own).

    Index 0 is the user (item) with the most ratings; ties go by sum of ratings, sum of
    timestamps, then first row. So the index maps do not depend on the names of
    the ids, and, but for such full ties, not on the order of the rows.

    Parameters
    ----------
    table : Table
    duplicates : {'error', 'last', 'mean'}
    scale : (float, float), optional
    implicit : bool
        Whether the ratings are for a model of clicks.
    train_rows : int
        Where a given split has its test rows; 0 without one. No pair may be in both parts.

    Raises
    ------
    DataError
        If an id, a number or a pair cannot be used.
    """
    import pyarrow as pa

    users, user_ids, *told = ids_of(table, "user")
    items, item_ids, more = ids_of(table, "item")
    values = values_of(table, scale, implicit)
    times = times_of(table)
    table.columns.clear()  # of 20 million rows, half a gigabyte
    pa.default_memory_pool().release_unused()

    def pair(row: int) -> str:
        user, item = user_ids[users[row]], item_ids[items[row]]
        return f"{table.locate(row)}: user {str(user)!r} rated item {str(item)!r}"

    rows = None
    keys = _pair_keys(users, items, len(item_ids))
    keys.sort()
    count = int((keys[1:] == keys[:-1]).sum())

    if count:
        keys = _pair_keys(users, items, len(item_ids))
        order = np.argsort(keys, kind="stable")
        begins = np.flatnonzero(np.diff(keys[order], prepend=-1))
        first_of = np.empty(len(keys), dtype=np.int64)
        first_of[order] = np.repeat(order[begins], np.diff(begins, append=len(keys)))
        _refuse_leaks(table, first_of, values, pair, train_rows)
        if duplicates == "error":
            raise _repeated(table, first_of, values, pair)

        warnings.warn(
            f"{count} repeated ratings of an item by the same user were merged "
            f"(`duplicates={duplicates}`)",
            DataWarning,
            stacklevel=3,
        )
        last = np.append(begins[1:], len(keys)) - 1
        if duplicates == "mean":
            sums = np.add.reduceat(values[order].astype(np.float64), begins)
            values[order[last]] = sums / np.diff(begins, append=len(keys))
        rows = np.sort(order[last])
        users, user_ids = _in_order(users[rows], user_ids)
        items, item_ids = _in_order(items[rows], item_ids)
        values = values[rows]
        times = None if times is None else times[rows]
    del keys

    exact = np.rint(values * 1024.0).astype(np.float64)  # whole numbers: sums know no order
    users, user_ids = canonical(users, user_ids, exact, times)
    items, item_ids = canonical(items, item_ids, exact, times)
    del exact
    merged = f"{count:,} repeated ratings merged ({duplicates})" if count else "no duplicates"
    told = [text for text in (*told, more) if text]
    size = size_of(values, user_ids, item_ids, scale)
    ratings = Ratings(
        users,
        items,
        values,
        user_ids,
        item_ids,
        times,
        scale,
        name=table.name,
        origin="; ".join([table.origin, f"{size}, {merged}", *told]),
    )

    if ratings.offset and not implicit:
        low, high = ratings.bounds
        warnings.warn(
            f"{table.name}: the rating scale {low:g}..{high:g} includes 0 or below, "
            f"and 0 means unobserved: trained on rating + {ratings.offset:g}, "
            "shifted back in every output",
            DataWarning,
            stacklevel=3,
        )
    return ratings, rows


def _pair_keys(users: np.ndarray, items: np.ndarray, num_items: int) -> np.ndarray:
    """Return one whole number for each different pair."""
    keys = users.astype(np.int64)
    keys *= num_items
    keys += items
    return keys


def _in_order(codes: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes that are in order of first appearance again, and their ids."""
    different, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    position = np.argsort(order)
    return position[inverse].astype(np.int32), ids[different[order]]


def canonical(
    codes: np.ndarray, ids: np.ndarray, exact: np.ndarray, times: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's position among the ids in canonical order, and these ids."""
    counts = np.bincount(codes, minlength=len(ids))
    keys = [np.arange(len(ids))]  # the last key decides first
    if times is not None:
        keys.append(np.bincount(codes, times))
    keys += [np.bincount(codes, exact), -counts]

    order = np.lexsort(keys)
    position = np.empty(len(order), dtype=np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    return position[codes], ids[order]


def size_of(values: np.ndarray, user_ids: np.ndarray, item_ids: np.ndarray, scale: Scale) -> str:
    """Return how many ratings of how many users and items, and their scale, in words."""
    low, high = scale or (values.min(), values.max())
    whence = "as found" if scale is None else "as given"
    equal = ", all ratings equal" * bool(values.min() == values.max())
    return (
        f"{len(values):,} ratings of {len(user_ids):,} users x {len(item_ids):,} items, scale "
        f"{low:g}..{high:g} ({whence}{equal})"
    )


def _refuse_leaks(
    table: Table,
    first_of: np.ndarray,
    values: np.ndarray,
    pair: Callable[[int], str],
    train_rows: int,
) -> None:
    """Raise DataError if a pair is in both parts of a given split."""
    leaking = first_of < np.where(np.arange(len(first_of)) >= train_rows, train_rows, 0)
    if not leaking.any():
        return

    row = int(leaking.argmax())
    first = int(first_of[row])
    raise DataError(
        f"{pair(row)} {values[row]:g}, and {values[first]:g} in {table.locate(first)}; "
        f"{len(set(first_of[leaking]))} (user, item) pairs are in both files: a test rating must "
        "not be trained on; take them out of one of the files"
    )


def _repeated(
    table: Table, first_of: np.ndarray, values: np.ndarray, pair: Callable[[int], str]
) -> DataError:
    """Tell the first repeated pair, the lines of all that are repeated, and how many differ."""
    rows = np.flatnonzero(first_of != np.arange(len(first_of)))
    conflicts = int((values[rows] != values[first_of[rows]]).sum())
    second = int(rows[0])
    first = int(first_of[second])

    def line(row: int) -> str:
        return table.locate(row).split(", ")[-1]

    places = [line(int(row)) for row in rows[:ROWS_SHOWN]] + ["..."] * (len(rows) > ROWS_SHOWN)
    return DataError(
        f"{pair(second)} already in {line(first)} ({values[first]:g} there, {values[second]:g} "
        f"here); {len(rows)} ratings are repeated ({', '.join(places)}), {conflicts} of them with "
        "another value: choose `duplicates=last` or mean, or delete them"
    )

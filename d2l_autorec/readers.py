"""A ratings file, or a frame, to checked `Ratings`. pandas reads; this module judges."""

import gzip
import io
import json
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, IO, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import pandas as pd

from .errors import DataError, DataWarning
from .ratings import Ratings

ROLES = ("user", "item", "rating", "timestamp")
KNOWN_NAMES = {
    "user": ("user", "userid", "user_id", "uid", "reviewerid", "customerid"),
    "item": ("item", "itemid", "item_id", "iid", "movie", "movieid", "movie_id", "sid", "asin",
             "productid"),
    "rating": ("rating", "ratings", "score", "stars", "overall", "value"),
    "timestamp": ("timestamp", "time", "unixreviewtime"),
}
SEPARATORS = ("::", "\t", ",", ";", "|", " ")
HOW_TO_NAME = "say which is which with --columns user=NAME,item=NAME,rating=NAME"
DUPLICATES = ("error", "last", "mean")
BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)
SAMPLE_BYTES = 1 << 16
NUMERIC = {"rating": "float32", "timestamp": "float64"}
JSON_LINE = ('{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1400000000}, '
             "or name its keys with --columns")


@dataclass(frozen=True)
class TableFormat:
    """How a ratings file is laid out.

    Parameters
    ----------
    separator : str
        Between fields; "::" and " " (any run of blanks) included.
    header : bool
        Whether the first line names the columns.
    columns : dict
        'user', 'item', 'rating' and perhaps 'timestamp' to a field number from 0.
    width : int
        Fields a line.
    """

    separator: str
    header: bool
    columns: Dict[str, int]
    width: int


def read_ratings(path: Union[str, Path], columns: Optional[str] = None,
                 separator: Optional[str] = None, duplicates: str = "error",
                 scale: Optional[Tuple[float, float]] = None, implicit: bool = False) -> Ratings:
    """Read a csv, tsv, dat or JSON lines file of ratings, gzipped or not.

    Parameters
    ----------
    path : path
    columns : str, optional
        'user=NAME,item=NAME,rating=NAME[,timestamp=NAME]', names of the
        header or field numbers from 0. By default usual names are
        recognised; a file without a header has user, item, rating and
        perhaps timestamp in its first fields. Keys of JSON lines are names too.
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
        Rows in file order. See `ratings_from_frame` for ids.

    Raises
    ------
    DataError
        One line with file, line or column, and the remedy.
    """
    path = Path(path)
    frame, locate = read_frame(path, columns, separator, implicit)
    return ratings_from_frame(frame, path.name, duplicates, scale, locate)


def read_train_and_test(train: Path, test: Path, columns: Optional[str] = None,
                        separator: Optional[str] = None, duplicates: str = "error",
                        scale: Optional[Tuple[float, float]] = None) -> Tuple[Ratings, Ratings]:
    """Read a given split; both parts get the index maps of the two together.

    Raises
    ------
    DataError
        As `read_ratings`; also if a (user, item) pair is in both files.
    """
    frames = [_deduplicated(*read_frame(path, columns, separator), duplicates)
              for path in (train, test)]
    both = pd.concat([_as_objects(frame) for frame in frames], ignore_index=True)
    leaks = int(both.duplicated(["user", "item"]).sum())
    if leaks:
        raise DataError(f"{leaks} (user, item) pairs are in both {train} and {test}: a test "
                        "rating must not be trained on; take them out of one of the files")
    whole = ratings_from_frame(both, f"{train.name}+{test.name}", "error", scale,
                               lambda row: f"{train} and {test}, row {row + 1}")
    is_test = np.arange(len(whole)) >= len(frames[0])
    return whole.part(~is_test), whole.part(is_test)


def _as_objects(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"user": object, "item": object})


def read_frame(path: Path, columns: Optional[str] = None, separator: Optional[str] = None,
               implicit: bool = False) -> Tuple[pd.DataFrame, Callable[[int], str]]:
    """A file's checked columns user, item (categories), rating (float32) and perhaps timestamp.

    Returns
    -------
    frame : DataFrame
    locate : callable
        Row number to 'FILE, line N', for errors.
    """
    is_json = _first_lines(path)[0].lstrip().startswith("{")
    layout = None if is_json else detect_format(path, columns, separator, implicit)

    def locate(row: int) -> str:
        return f"{path}, line {_line_number(path, row + (not is_json and layout.header))}"

    frame = (_parse_json(path, columns, implicit) if is_json else _parse(path, layout, locate))
    frame = _checked_numbers(frame, locate)
    if not len(frame):
        raise DataError(f"{path} has no ratings: each line must hold a user, an item and a rating")
    for role in ("user", "item"):
        empty = frame[role].isna()
        if empty.any():
            raise DataError(f"{locate(empty.argmax())}: the {role} id is empty; "
                            f"{int(empty.sum())} lines are so: complete or delete them")
    return frame, locate


def detect_format(path: Path, columns: Optional[str] = None, separator: Optional[str] = None,
                  implicit: bool = False) -> TableFormat:
    """Find separator, header and columns from the first lines.

    Raises
    ------
    DataError
        If the file cannot be read, is not text, or has too few columns.
    """
    lines = _first_lines(path)
    needed = needed_roles(implicit)
    separator = _unescape(separator) if separator else _separator_of(lines, len(needed))
    if separator != "::" and len(separator) != 1:
        raise DataError(f"--separator is {separator!r}: it must be a character, ::, tab or space")
    fields = [_fields(line, separator) for line in lines]
    width = len(fields[0])
    if width < len(needed):
        raise DataError(f"{path}, line 1: {width} column{'s' * (width > 1)} (separated by "
                        f"{separator!r}), but {', '.join(needed[:-1])} and {needed[-1]} are "
                        "needed; name another separator with --separator if that is the reason")
    if len(fields) > 1 and len(fields[1]) != width:
        raise DataError(f"{path}: line 1 has {width} columns and the next {len(fields[1])} "
                        f"(separated by {separator!r}): give every line the same columns")
    header, positions = _columns_of(path, fields, columns, needed)
    return TableFormat(separator, header, positions, width)


def needed_roles(implicit: bool) -> Tuple[str, ...]:
    """The columns that a file must have."""
    return ROLES[:2] if implicit else ROLES[:3]


def _unescape(separator: str) -> str:
    return {"\\t": "\t", "tab": "\t", "space": " "}.get(separator, separator)


def _open(path: Path) -> IO[bytes]:
    file = open(path, "rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.open(file) if magic == b"\x1f\x8b" else file


def _first_lines(path: Path) -> List[str]:
    try:
        with _open(path) as file:
            sample = file.read(SAMPLE_BYTES)
    except BAD_GZIP as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): make it anew") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the name and the "
                        "permissions") from error
    if sample[:2] == b"PK":
        raise DataError(f"{path} is a zip archive: unpack it and name the ratings file in it")
    if b"\0" in sample:
        line = sample[:sample.index(b"\0")].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not text (a zero byte); save it as UTF-8 csv")
    complete = sample if len(sample) < SAMPLE_BYTES else sample[:sample.rfind(b"\n") + 1]
    try:
        text = complete.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, complete[:error.start].count(b"\n") + 1) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty: each line must hold a user, an item and a rating")
    return lines[:50]


def _not_utf8(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: bytes that are not UTF-8 text; save the file as UTF-8")


def _separator_of(lines: Sequence[str], fewest: int) -> str:
    counts = {sep: [len(_fields(line, sep)) for line in lines] for sep in SEPARATORS}
    steady = [sep for sep in SEPARATORS if counts[sep][0] >= fewest and len(set(counts[sep])) == 1]
    wide = [sep for sep in SEPARATORS if counts[sep][0] >= fewest]
    most = max(SEPARATORS, key=lambda sep: counts[sep][0])
    return (steady or wide or [most])[0]


def _fields(line: str, separator: str) -> List[str]:
    if separator == " ":
        return line.split()
    if separator == "::":
        return line.split("::")
    row = pd.read_csv(io.StringIO(line), sep=separator, header=None, dtype=str, engine="c",
                      keep_default_na=False, skipinitialspace=True, on_bad_lines="skip",
                      quoting=0 if line.count('"') % 2 == 0 else 3)
    return row.iloc[0].tolist()


def _columns_of(path: Path, fields: List[List[str]], columns: Optional[str],
                needed: Sequence[str]) -> Tuple[bool, Dict[str, int]]:
    """Whether there is a header, and where each role stands."""
    wanted = _parse_columns(columns, needed) if columns else {}
    width, first = len(fields[0]), [name.strip().lower() for name in fields[0]]
    by_name = {role: name for role, name in wanted.items() if not name.isdecimal()}
    header = bool(by_name) or _is_header(first, int(wanted.get("rating", width)) if wanted else 2)
    if by_name or (header and not wanted):
        wanted = wanted or _known_names(first)
        missing = [role for role in needed if role not in wanted]
        if missing:
            raise DataError(f"{path}, line 1: no column for {missing[0]} among "
                            f"{', '.join(map(repr, fields[0]))}; {HOW_TO_NAME}")
    positions = {}
    for role, name in (wanted or {r: str(i) for i, r in enumerate(ROLES[:width])}).items():
        position = int(name) if name.isdecimal() else _position(first, name.strip().lower())
        if not 0 <= position < width:
            raise DataError(f"{path}, line 1: no column {name!r} for {role}; the columns are "
                            f"{', '.join(map(repr, fields[0]))}: {HOW_TO_NAME}")
        positions[role] = position
    return header, positions


def _is_header(first: List[str], rating: int) -> bool:
    """Whether the first line has a name where ratings stand, or, without ratings, known names."""
    if rating < len(first):
        return not _is_number(first[rating])
    return {"user", "item"} <= set(_known_names(first))


def _known_names(names: Sequence[str]) -> Dict[str, str]:
    return {role: name for role in ROLES for name in names if name in KNOWN_NAMES[role]}


def _position(names: List[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _parse_columns(text: str, needed: Sequence[str]) -> Dict[str, str]:
    parts = [part.partition("=") for part in text.split(",")]
    columns = {role.strip(): name.strip() for role, _, name in parts}
    unknown = [role for role in columns if role not in ROLES]
    if unknown or not all(columns.values()) or len(columns) < len(parts):
        raise DataError(f"--columns is {text!r}: it must be like user=userId,item=movieId,"
                        "rating=rating[,timestamp=time], each once")
    missing = [role for role in needed if role not in columns]
    if missing:
        raise DataError(f"--columns {text} does not say which column is the {missing[0]}: "
                        f"{HOW_TO_NAME}")
    return columns


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(path: Path, layout: TableFormat, locate: Callable[[int], str]) -> pd.DataFrame:
    numeric = {role: kind for role, kind in NUMERIC.items() if role in layout.columns}
    try:
        raw = _read_csv(path, layout, {layout.columns[role]: kind
                                       for role, kind in numeric.items()})
    except pd.errors.ParserError as error:
        raise DataError(_parser_message(path, error)) from error
    except UnicodeDecodeError as error:
        raise _not_utf8(path, _first_bad_line(path)) from error
    except BAD_GZIP as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): make it anew") from error
    except ValueError as error:
        raise _non_numeric(path, layout, numeric, locate) from error
    return pd.DataFrame({role: raw.pop(position) for role, position in layout.columns.items()})


def _checked_numbers(frame: pd.DataFrame, locate: Callable[[int], str]) -> pd.DataFrame:
    """Ratings and whole timestamps, all finite; where there are no ratings, ones."""
    if "rating" not in frame:
        frame["rating"] = np.ones(len(frame), dtype=np.float32)
    for role in (role for role in NUMERIC if role in frame):
        bad = ~np.isfinite(frame[role].to_numpy())
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{locate(row)}: the {role} is missing or not finite "
                            f"({frame[role][row]}); {int(bad.sum())} lines are so: correct or "
                            "delete them")
    if "timestamp" in frame:
        frame["timestamp"] = _whole_times(frame["timestamp"], locate)
    return frame


def _parse_json(path: Path, columns: Optional[str], implicit: bool) -> pd.DataFrame:
    """JSON lines, as the Amazon reviews come: an object a line, of which three or four keys count.
    """
    ids, codes, numbers, keys = ({"user": {}, "item": {}}, {"user": [], "item": []},
                                 {role: [] for role in NUMERIC}, {})
    for number, record in _json_records(path):
        keys = keys or _json_keys(path, record, columns, needed_roles(implicit))
        for role, key in keys.items():
            value = record.get(key)
            if role in NUMERIC:
                numbers[role].append(_json_number(value, f"{path}, line {number}", key))
            else:  # None and "" become -1: no id
                known = ids[role]
                codes[role].append(-1 if value in (None, "") else
                                   known.setdefault(str(value), len(known)))
    frame = {role: pd.Categorical.from_codes(codes[role], list(ids[role])) for role in codes}
    frame.update({role: np.array(numbers[role], dtype=kind) for role, kind in NUMERIC.items()
                  if role in keys})
    return pd.DataFrame(frame)


def _json_records(path: Path) -> Iterator[Tuple[int, Dict[str, Any]]]:
    """Line numbers, from 1, and objects; blank lines are left out."""
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    record = json.loads(line.decode("utf-8-sig"))
                    if not isinstance(record, dict):
                        raise ValueError("not an object")
                    yield number, record
    except BAD_GZIP as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): make it anew") from error
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number) from error
    except ValueError as error:
        raise DataError(f"{path}, line {number}: not a JSON object ({error}); correct or delete "
                        f"the line: each must be like {JSON_LINE}") from error


def _json_keys(path: Path, record: Dict[str, Any], columns: Optional[str], needed: Sequence[str]
               ) -> Dict[str, str]:
    """Role to key, found in the first line."""
    spelled = {key.lower(): key for key in record}
    wanted = _parse_columns(columns, needed) if columns else _known_names(list(spelled))
    missing = [wanted.get(role, role) for role in {**dict.fromkeys(needed), **wanted}
               if wanted.get(role, "").lower() not in spelled]
    if missing:
        raise DataError(f"{path}, line 1: no key for {missing[0]} among "
                        f"{', '.join(map(repr, record))}; {HOW_TO_NAME}")
    return {role: spelled[name.lower()] for role, name in wanted.items()}


def _json_number(value: Any, place: str, key: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: {key!r} is {value!r}, not a number; correct or delete the "
                        f"line: each must be like {JSON_LINE}") from error


def _whole_times(times: pd.Series, locate: Callable[[int], str]) -> pd.Series:
    too_large = (times.abs() >= 2.0 ** 53).to_numpy()
    if too_large.any():
        row = int(too_large.argmax())
        raise DataError(f"{locate(row)}: the timestamp {times[row]:g} is beyond 2^53: give seconds "
                        "or milliseconds")
    cut = int((times % 1 != 0).sum())
    if cut:
        warnings.warn(f"{cut} timestamps lost their fractions of a second", DataWarning,
                      stacklevel=4)
    return times.astype("int64")


def _read_csv(path: Path, layout: TableFormat, numeric: Dict[int, Any]) -> pd.DataFrame:
    """Fields numbered from 0; those not in `numeric` become categories."""
    step = 2 if layout.separator == "::" else 1  # pandas' fast parser splits at one character
    positions = range(step * (layout.width - 1) + 1)
    kinds = {p: "category" for p in positions}
    kinds.update({step * p: kind for p, kind in numeric.items()})
    separator = {"::": ":", " ": r"\s+"}.get(layout.separator, layout.separator)
    with _open(path) as file:
        raw = pd.read_csv(file, sep=separator, header=0 if layout.header else None,
                          names=list(positions), index_col=False, dtype=kinds, engine="c",
                          encoding="utf-8-sig", keep_default_na=False, na_values=[""],
                          skipinitialspace=True)
    return raw[[step * p for p in range(layout.width)]].rename(columns=lambda p: p // step)


def _parser_message(path: Path, error: Exception) -> str:
    text = str(error).split("C error: ")[-1].strip().rstrip(".")
    found = text.split()
    if text.startswith("Expected") and len(found) >= 7:
        return (f"{path}, line {found[5].rstrip(',')}: {found[7]} fields where the lines before "
                f"have {found[1]}; quote fields that contain the separator, or correct the line")
    return f"{path}: {text}; correct the quotes or line ends there"


def _non_numeric(path: Path, layout: TableFormat, numeric: Dict[str, str],
                 locate: Callable[[int], str]) -> DataError:
    """The first value that is not a number: read again as text, only once it has failed."""
    raw = _read_csv(path, layout, {layout.columns[role]: str for role in numeric})
    for role in numeric:
        column = raw[layout.columns[role]]
        bad = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        if bad.any():
            row = int(bad.argmax())
            return DataError(f"{locate(row)}: the {role} {column[row]!r} is not a number; "
                             f"{int(bad.sum())} lines are so: correct or delete them")
    return DataError(f"{path}: the ratings are not numbers; {HOW_TO_NAME}")


def _line_number(path: Path, record: int) -> int:
    """The line, from 1, of a record, from 0; blank lines are no records."""
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                if record == 0:
                    return number
                record -= 1
    return number


def _first_bad_line(path: Path) -> int:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def ratings_from_frame(frame: pd.DataFrame, name: str = "frame", duplicates: str = "error",
                       scale: Optional[Tuple[float, float]] = None,
                       locate: Optional[Callable[[int], str]] = None) -> Ratings:
    """Checked `Ratings` of a frame with columns user, item, rating and perhaps timestamp.

    Ids that are all whole numbers in their plain form become integers, else
    all are strings ("007" and "7" stay two users). Index 0 is the user (item)
    with the most ratings; ties go by sum of ratings, sum of timestamps, then
    first row. So the index maps do not depend on the names of the ids, and,
    but for such full ties, not on the order of the rows.

    Parameters
    ----------
    frame : DataFrame
    name : str
        For messages and the result file.
    duplicates : {'error', 'last', 'mean'}
    scale : (float, float), optional
    locate : callable, optional
        Row number to a place, for errors.

    Raises
    ------
    DataError
        If a (user, item) pair occurs twice and `duplicates` is 'error', or a
        rating is outside `scale`.
    """
    locate = locate or (lambda row: f"{name}, row {row}")
    frame = _deduplicated(frame, locate, duplicates)
    values = frame["rating"].to_numpy(dtype=np.float32)
    times = frame["timestamp"].to_numpy(dtype=np.int64) if "timestamp" in frame else None
    _check_scale(values, scale, locate)
    user_ids, users = _index(frame["user"], values, times)
    item_ids, items = _index(frame["item"], values, times)
    ratings = Ratings(users, items, values, user_ids, item_ids, times, scale, name=name)
    if ratings.offset:
        warnings.warn(f"{name}: the rating scale {ratings.scale[0]:g}..{ratings.scale[1]:g} "
                      f"includes 0 or below, and 0 means unobserved: trained on rating + "
                      f"{ratings.offset:g}, shifted back in every output", DataWarning,
                      stacklevel=2)
    return ratings


def _check_scale(values: np.ndarray, scale: Optional[Tuple[float, float]],
                 locate: Callable[[int], str]) -> None:
    if scale is None:
        return
    outside = (values < scale[0]) | (values > scale[1])
    if outside.any():
        row = int(outside.argmax())
        raise DataError(f"{locate(row)}: the rating {values[row]:g} is outside the scale "
                        f"{scale[0]:g},{scale[1]:g}; {int(outside.sum())} lines are so: correct "
                        "them or --scale")


def _deduplicated(frame: pd.DataFrame, locate: Callable[[int], str], duplicates: str
                  ) -> pd.DataFrame:
    users, items = (pd.factorize(frame[role])[0].astype(np.int64) for role in ("user", "item"))
    keys = users * (items.max(initial=0) + 1) + items
    ordered = np.sort(keys)
    count = int((ordered[1:] == ordered[:-1]).sum())
    if not count:
        return frame
    repeated = pd.Series(keys).duplicated()
    if duplicates == "error":
        second = int(repeated.to_numpy().argmax())
        first = int((keys == keys[second]).argmax())
        row = frame.iloc[second]
        raise DataError(f"{locate(second)}: user {row['user']!r} rated item {row['item']!r} "
                        f"already in {locate(first).split(', ')[-1]}; {count} ratings are "
                        "repeated: choose --duplicates last or mean, or delete them")
    warnings.warn(f"{count} repeated ratings of an item by the same user were merged "
                  f"(--duplicates {duplicates})", DataWarning, stacklevel=3)
    last = frame[~pd.Series(keys).duplicated(keep="last").to_numpy()].copy()
    if duplicates == "mean":
        means = frame["rating"].astype("float64").groupby(keys).mean()
        kept = keys[last.index.to_numpy()]
        last["rating"] = means.loc[kept].to_numpy(dtype=np.float32)
    return last.reset_index(drop=True)


def _index(column: pd.Series, values: np.ndarray, times: Optional[np.ndarray]
           ) -> Tuple[np.ndarray, np.ndarray]:
    """Ids in canonical order (see `ratings_from_frame`), and each row's position among them."""
    codes, ids = pd.factorize(column)  # in order of first appearance
    counts = np.bincount(codes)
    exact = np.rint(values * 1024.0).astype(np.float64)  # whole numbers: sums know no order
    keys = [np.arange(len(counts))]
    keys += [] if times is None else [np.bincount(codes, times)]
    keys += [np.bincount(codes, exact), -counts]
    order = np.lexsort(keys)
    position = np.empty(len(order), dtype=np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    return _natural(np.asarray(ids))[order], position[codes]


def _natural(ids: np.ndarray) -> np.ndarray:
    """Integers where every id is one in its plain form, else strings."""
    if ids.dtype.kind in "iu":
        return ids.astype(np.int64)
    text = pd.Series(ids, dtype=object).astype(str)
    if text.str.fullmatch(r"0|-?[1-9]\d{0,17}").all():
        return text.astype(np.int64).to_numpy()
    return text.to_numpy(dtype=object)

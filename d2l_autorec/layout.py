"""How a table of ratings is laid out: separator, header, and which column is which."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import pandas as pd

from .errors import DataError
from .textfile import first_lines

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
NUMERIC = {"rating": "float32", "timestamp": "float64"}


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


def detect_format(path: Path, columns: Optional[str] = None, separator: Optional[str] = None,
                  implicit: bool = False) -> TableFormat:
    """Find separator, header and columns from the first lines.

    Raises
    ------
    DataError
        If the file cannot be read, is not text, or has too few columns.
    """
    lines = first_lines(path)
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
    wanted = parse_columns(columns, needed) if columns else {}
    width, first = len(fields[0]), [name.strip().lower() for name in fields[0]]
    by_name = {role: name for role, name in wanted.items() if not name.isdecimal()}
    header = bool(by_name) or _is_header(first, int(wanted.get("rating", width)) if wanted else 2)
    if by_name or (header and not wanted):
        wanted = wanted or known_names(first)
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
    return {"user", "item"} <= set(known_names(first))


def known_names(names: Sequence[str]) -> Dict[str, str]:
    return {role: name for role in ROLES for name in names if name in KNOWN_NAMES[role]}


def _position(names: List[str], name: str) -> int:
    return names.index(name) if name in names else -1


def parse_columns(text: str, needed: Sequence[str]) -> Dict[str, str]:
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

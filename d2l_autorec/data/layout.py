"""How a file of ratings is laid out: separator, header, and which column is which.

What cannot be told is not guessed: the error holds the `columns` to paste.
"""

import csv
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..support.errors import DataError
from .textfile import first_lines

ROLES = ("user", "item", "rating", "timestamp")
KNOWN_NAMES = {
    "user": ("user", "userid", "user_id", "uid", "reviewerid", "customerid"),
    "item": (
        "item",
        "itemid",
        "item_id",
        "iid",
        "movie",
        "movieid",
        "movie_id",
        "sid",
        "asin",
        "productid",
    ),
    "rating": ("rating", "ratings", "score", "stars", "overall", "value"),
    "timestamp": ("timestamp", "time", "unixreviewtime"),
}
SEPARATORS = ("::", "\t", ",", ";", "|", " ")
ONE_CHARACTER = {"::": "\x1f"}  # pandas' fast parser splits at one
SEPARATOR_NAMES = {"\\t": "\t", "tab": "\t", "space": " "}
NUMERIC = {"rating": "float32", "timestamp": "float64"}
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


@dataclass(frozen=True)
class Request:
    """What is wanted of a file, and what its owner says of it.

    Parameters
    ----------
    fewest : int
        The first `fewest` of `roles` must be there.
    columns, separator : str, optional
        As in `read_ratings`.
    roles : tuple of str
        The columns of a file without a header, in this order.
    exactly : str
        What the file must be like, where there is one way and no option; ''
        where it is for `columns` to say.
    """

    fewest: int
    columns: str | None = None
    separator: str | None = None
    roles: tuple[str, ...] = ROLES
    exactly: str = ""

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return self.roles[: self.fewest]


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
        Each role that the file has, to a field number from 0.
    names : list of str
        The fields of the first line.
    """

    separator: str
    header: bool
    columns: dict[str, int]
    names: list[str]

    @property
    def width(self) -> int:
        """Fields a line."""
        return len(self.names)

    @property
    def character(self) -> str:
        """The separator as one character, which `one_character` puts in its place."""
        return ONE_CHARACTER.get(self.separator, self.separator)

    def describe(self) -> str:
        """The layout in words."""
        header = "no header"
        columns = {role: f"column {column}" for role, column in self.columns.items()}
        if self.header:
            header = "header"
            for role, column in self.columns.items():
                columns[role] = f"{self.names[column]} (column {column})"

        separator = repr(self.separator)
        if self.separator == " ":
            separator = "blanks"

        return f"separated by {separator}, {header}; {describe_columns(columns)}"


def describe_columns(columns: dict[str, str]) -> str:
    """Which column is which, in words."""
    told = [f"{role} = {column}" for role, column in columns.items()]
    if "rating" not in columns:
        told.append("no ratings, so each row is a 1")
    if "timestamp" not in columns:
        told.append("no timestamps")

    return ", ".join(told)


def detect_format(path: Path, request: Request) -> TableFormat:
    """Find separator, header and columns from the first lines.

    The first line is a header if `request.columns` holds names, or if two of
    its fields are usual names. Else the lines below it tell. Take the
    columns that hold numbers in each of them: if the first line has a number
    in one, it is a row; if it has none, and there are two such columns or more,
    it is a header. Without such columns it is a row if one of its fields is
    found again below, or if `request.columns` holds numbers. Otherwise nothing
    tells, which is an error.

    Raises
    ------
    DataError
        If the file cannot be read, is not text, has too few columns, or can be
        understood in more than one way.
    """
    lines = first_lines(path)
    for number, line in lines:
        refuse_comment(f"{path}, line {number}", line)

    separator = _separator(path, [line for _, line in lines], request)
    rows = [fields_of(line, separator) for _, line in lines]
    _check_width(path, lines[0], rows, separator, request)

    first_number, _ = lines[0]
    place = f"{path}, line {first_number}"
    names = [name.strip() for name in rows[0]]

    asked: dict[str, str] = {}
    if request.columns:
        asked = parse_columns(request)

    by_name = any(not name.isdecimal() for name in asked.values())
    header = by_name or _has_header(place, rows, asked, request)

    if asked:
        columns = columns_asked_for(place, names, asked, request)
    elif header:
        columns = columns_recognised(place, names, request)
    else:
        columns = {role: column for column, role in enumerate(request.roles[: len(names)])}

    return TableFormat(separator, header, columns, names)


def refuse_comment(place: str, line: str) -> None:
    """Raise DataError for a line that looks like a comment."""
    if line.startswith("#"):
        raise DataError(
            f"{place}: begins with '#', and comments are not understood; delete the "
            "line, or quote the id"
        )


def _check_width(
    path: Path,
    first_line: tuple[int, str],
    rows: list[list[str]],
    separator: str,
    request: Request,
) -> None:
    """Raise DataError unless the first line has fields enough, and the next as many."""
    number, text = first_line
    place = f"{path}, line {number}"
    width = len(rows[0])

    if request.exactly and width != request.fewest:
        raise DataError(f"{path} has {width} column{'s' * (width > 1)}: {request.exactly}")

    if width < request.fewest and text.count('"') % 2:
        raise DataError(
            f"{place}: a quote is not closed; correct the quotes: each line must be one rating"
        )

    if width < request.fewest:
        raise _too_narrow(place, width, separator, request)

    if len(rows) > 1 and len(rows[1]) != width:
        raise DataError(
            f"{path}: line {number} has {width} columns and the next "
            f"{len(rows[1])} (separated by {separator!r}): give every line the same "
            "columns"
        )


def _too_narrow(place: str, width: int, separator: str, request: Request) -> DataError:
    *others, last = request.needed
    needed = last
    if others:
        needed = f"{', '.join(others)} and {last}"

    clicks = ""
    if width == len(others) and last == "rating":
        clicks = "; models that rank clicks need no rating"

    return DataError(
        f"{place}: {width} column{'s' * (width > 1)} (separated by {separator!r}), "
        f"but {needed} are needed; name another separator with `separator` if that "
        f"is the reason{clicks}"
    )


def fields_of(line: str, separator: str) -> list[str]:
    """The fields of one line; quotes are read leniently."""
    character = ONE_CHARACTER.get(separator, separator)
    reader = csv.reader(
        [one_character(line, separator)], delimiter=character, skipinitialspace=True
    )
    return next(reader)


def one_character(text: str, separator: str) -> str:
    """Lines in which one character separates fields; runs of blanks stay."""
    if separator == " ":
        return text.replace("\t", " ").strip(" ")
    if separator in ONE_CHARACTER:
        return text.replace(separator, ONE_CHARACTER[separator])
    return text


def _separator(path: Path, lines: list[str], request: Request) -> str:
    """The separator that is given, or the only one that cuts all lines alike."""
    if request.separator:
        return _given_separator(request.separator)

    counts = {sep: [len(fields_of(line, sep)) for line in lines] for sep in SEPARATORS}
    wide = [sep for sep in SEPARATORS if counts[sep][0] >= request.fewest]
    steady = [sep for sep in wide if len(set(counts[sep])) == 1]

    if len(steady) > 1:  # blanks are also found in names
        steady = [sep for sep in steady if sep != " "]
    if len(steady) > 1:
        named = [sep for sep in steady if _is_known(fields_of(lines[0], sep), request)]
        steady = named or steady

    if len(steady) > 1:
        choices = " or ".join(f"{sep!r} ({counts[sep][0]} columns)" for sep in steady)
        widest = max(steady, key=lambda sep: counts[sep][0])
        raise DataError(
            f"{path} may be separated by {choices}: say which with "
            f"`separator={shlex.quote(widest)}`"
        )

    most = max(SEPARATORS, key=lambda sep: counts[sep][0])
    return (steady or wide or [most])[0]


def _given_separator(text: str) -> str:
    """The separator that a request names; DataError where it cannot be one."""
    given = SEPARATOR_NAMES.get(text, text)
    printable = given == "::" or re.fullmatch(r"[\t -~]", given)
    if not printable or given.isalnum() or given == '"':
        raise DataError(
            f"`separator` is {given!r}: it must be a character other than a "
            "letter, a digit or a quote; ::, tab or space"
        )

    return given


def _has_header(place: str, rows: list[list[str]], asked: dict[str, str], request: Request) -> bool:
    """The rule of `detect_format`, where no names are asked for."""
    first = rows[0]
    width = len(first)
    if _is_known(first, request):
        return True

    rating = _rating_column(asked, request)
    if rating is not None and rating < width and is_number(first[rating]):
        return False

    below = [row for row in rows[1:] if len(row) == width and row != first]
    columns = list(zip(*below))  # none where no line tells
    numeric = [column for column, texts in enumerate(columns) if all(map(is_number, texts))]
    if any(is_number(first[column]) for column in numeric):
        return False
    if len(numeric) >= 2:
        return True

    found_again = any(text in texts for text, texts in zip(first, columns))
    if not numeric and (asked or found_again or request.exactly):
        return False

    raise _undecided(place, first, bool(numeric), request)


def _rating_column(asked: dict[str, str], request: Request) -> int | None:
    """The field, from 0, that holds the ratings if the first line is a row."""
    if "rating" in asked:
        return int(asked["rating"])
    if "rating" in request.roles:
        return request.roles.index("rating")
    return None


def _undecided(place: str, first: list[str], numeric: bool, request: Request) -> DataError:
    names = ",".join(request.needed)
    if request.exactly:
        return DataError(
            f"{place}: begins with {','.join(first)!r}: {request.exactly}, in this "
            "order, with or without a header"
        )

    if numeric:
        row = f"put the line {names} above"
    else:
        numbers = ",".join(f"{role}={column}" for column, role in enumerate(request.needed))
        row = f"say `columns={numbers}`"

    return DataError(
        f"{place}: {', '.join(map(repr, first))} may be the names of the columns or "
        f"the first row: if names, say {suggestion(first, request)}; if a row, {row}"
    )


def _is_known(names: Sequence[str], request: Request) -> bool:
    """Whether two of the names (or the only one that is needed) are usual ones."""
    found = [role for role, positions in _candidates(names, request).items() if positions]
    return len(found) >= min(2, request.fewest)


def _candidates(names: Sequence[str], request: Request) -> dict[str, list[int]]:
    """Role to the positions of its usual names."""
    plain = [name.strip().lower() for name in names]

    candidates = {}
    for role in request.roles:
        usual = KNOWN_NAMES[role]
        candidates[role] = [position for position, name in enumerate(plain) if name in usual]

    return candidates


def columns_recognised(
    place: str, names: Sequence[str], request: Request, what: str = "column"
) -> dict[str, int]:
    """Role to position among `names`, by usual names.

    Raises
    ------
    DataError
        If a role that is needed has none, or any role has two.
    """
    columns = {}

    for role, found in _candidates(names, request).items():
        if len(found) > 1:
            both = " and ".join(repr(names[position]) for position in found)
            raise DataError(
                f"{place}: {both} may each be the {role}; {how_to_name(names, request)}"
            )

        if found:
            columns[role] = found[0]
        elif role in request.needed:
            raise DataError(
                f"{place}: no {what} for {role} among {', '.join(map(repr, names))}; "
                f"{how_to_name(names, request)}"
            )

    return columns


def columns_asked_for(
    place: str, names: Sequence[str], asked: dict[str, str], request: Request, what: str = "column"
) -> dict[str, int]:
    """Role to position among `names`, by names or numbers that were given.

    A name that is written exactly so comes first; else capitals do not matter.

    Raises
    ------
    DataError
        If a name is not there, or there twice, or one column has two roles.
    """
    columns: dict[str, int] = {}

    for role, name in asked.items():
        found = _positions(names, name, what)
        if not found:
            raise DataError(
                f"{place}: no {what} {name!r} for {role}; the {what}s are "
                f"{', '.join(map(repr, names))}: {how_to_name(names, request)}"
            )

        if len(found) > 1:
            raise DataError(
                f"{place}: {len(found)} {what}s are named {name!r}: give the number, "
                f"as in {role}={found[0]}"
            )

        same = [other for other, position in columns.items() if position == found[0]]
        if same:
            raise DataError(
                f"`columns={request.columns}` takes {name!r} for {same[0]} and for "
                f"{role}: {how_to_name(names, request)}"
            )

        columns[role] = found[0]

    return columns


def _positions(names: Sequence[str], name: str, what: str) -> list[int]:
    if what == "column" and name.isdecimal():
        return [position for position in [int(name)] if position < len(names)]

    exact = [position for position, other in enumerate(names) if other == name]
    alike = [position for position, other in enumerate(names) if other.lower() == name.lower()]
    return exact or alike


def parse_columns(request: Request) -> dict[str, str]:
    """Role to the name or number that `request.columns` gives it.

    Raises
    ------
    DataError
        If it cannot be read, or lacks a role that is needed.
    """
    text = request.columns or ""
    parts = [part.partition("=") for part in text.split(",")]
    columns = {role.strip(): name.strip() for role, _, name in parts}

    unknown = [role for role in columns if role not in ROLES]
    nameless = not all(columns.values())
    repeated = len(columns) < len(parts)
    if unknown or nameless or repeated:
        raise DataError(
            f"`columns` is {text!r}: it must be like user=userId,item=movieId,"
            "rating=rating[,timestamp=time], each once"
        )

    missing = [role for role in request.needed if role not in columns]
    if missing:
        raise DataError(
            f"`columns={text}` does not say which column is the {missing[0]}: add {missing[0]}=NAME"
        )

    return columns


def how_to_name(names: Sequence[str], request: Request) -> str:
    """The remedy where columns are not recognised."""
    return request.exactly or f"say which is which with {suggestion(names, request)}"


def suggestion(names: Sequence[str], request: Request) -> str:
    """The `columns` to paste: usual names where they are, else the next column that is left."""
    known = {role: found[0] for role, found in _candidates(names, request).items() if found}
    left = [position for position in range(len(names)) if position not in known.values()]

    parts = []
    for role in request.needed:
        position = known.get(role)
        if position is None and left:
            position = left.pop(0)
        parts.append(f"{role}={_shortest(names, position)}")

    columns = shlex.quote(",".join(parts))
    return f"`columns={columns}`"


def _shortest(names: Sequence[str], position: int | None) -> str:
    """A column's name, or its number where the name would not do."""
    if position is None:
        return "NAME"

    name = names[position].strip()
    alone = [other.strip() for other in names].count(name) == 1
    if name and alone and not name.isdecimal() and not set(name) & set(",="):
        return name
    return str(position)


def is_number(text: str) -> bool:
    """Whether a field is a finite decimal number; "1_0" and digits of other scripts are none."""
    return NUMBER.fullmatch(text) is not None

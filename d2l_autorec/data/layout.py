"""How ratings are laid out: separator, header, and which column is which.

What cannot be told is not guessed: the error holds the `columns` to paste.
"""

import csv
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..support.errors import DataError
from .textfile import first_lines

ROLES = ("user", "item", "rating", "timestamp")
THINGS = "item movie product business book track artist recipe game song anime beer".split()
KNOWN_NAMES = {  # in small letters, without what is neither a letter nor a digit
    "user": {"user", "userid", "uid", "reviewerid", "customerid"},
    "item": {"iid", "sid", "asin", "isbn", *THINGS, *(f"{thing}id" for thing in THINGS)},
    "rating": {"rating", "ratings", "score", "stars", "overall", "value", "bookrating"},
    "timestamp": {"timestamp", "time", "unixreviewtime"},
}
SEPARATORS = ("::", "||", "\t", ",", ";", "|", "\x01", " ")
ONE_CHARACTER = {"::": "\x1f", "||": "\x1e"}  # the parser splits at one
SEPARATOR_NAMES = {"\\t": "\t", "tab": "\t", "space": " ", "\\x01": "\x01"}
NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
MOST_UNNAMED = 5  # columns that roles are given to by their order
FEWEST_COUNTED = 5  # rows in which 0, 1, 2, ... is a count
MATRIX = "a matrix, a row a user and a column an item? Then melt it to lines user,item,rating"


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
    quotes : bool
        Whether a '"' may enclose a field.
    """

    fewest: int
    columns: str | None = None
    separator: str | None = None
    roles: tuple[str, ...] = ROLES
    exactly: str = ""
    quotes: bool = True

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return self.roles[: self.fewest]


@dataclass(frozen=True)
class Fields:
    """The names and first values of the columns (or keys) among which roles are given.

    Parameters
    ----------
    place : str
        Where the names stand, for messages.
    names : list of str
    rows : list of list of str
        Some of the first rows.
    request : Request
    what : str
        'column' or 'key'.
    named : bool
        Whether `names` are names, and not the first row.
    """

    place: str
    names: list[str]
    rows: list[list[str]]
    request: Request
    what: str = "column"
    named: bool = True

    def columns(self) -> dict[str, int]:
        """Return role to position, as asked for, else by usual names.

        Raises
        ------
        DataError
            If a role that is needed has no column, or any role has two.
        """
        if self.request.columns:
            return self._asked_for(parse_columns(self.request))

        columns = {}
        for role, found in self.candidates().items():
            if len(found) > 1:
                both = " and ".join(repr(self.names[position]) for position in found)
                raise DataError(f"{self.place}: {both} may each be the {role}; {self.way_out()}")
            if found:
                columns[role] = found[0]

        missing = [role for role in self.request.needed if role not in columns]
        if missing:
            shown = ", ".join(map(repr, self.names[:9])) + ", ..." * (len(self.names) > 9)
            numbered = sum(name.isdecimal() for name in self.names)
            matrix = f"; or is it {MATRIX}" * (numbered > 1 and len(columns) < 2)
            raise DataError(
                f"{self.place}: no {self.what} for {missing[0]} among {shown}; "
                f"{self.way_out()}{matrix}"
            )
        return columns

    def candidates(self) -> dict[str, list[int]]:
        """Return role to the positions of its usual names."""
        plain = [re.sub("[^a-z0-9]", "", name.lower()) for name in self.names]
        return {
            role: [position for position, name in enumerate(plain) if name in KNOWN_NAMES[role]]
            for role in self.request.roles
        }

    def _asked_for(self, asked: Mapping[str, str]) -> dict[str, int]:
        """Return role to position; capitals matter only where two names differ by them."""
        columns: dict[str, int] = {}
        for role, name in asked.items():
            found = self._positions(name)
            problem = ""
            if not found:
                names = ", ".join(map(repr, self.names))
                problem = f"no {self.what} {name!r} for {role}; the {self.what}s are {names}"
            elif len(found) > 1:
                problem = f"{len(found)} {self.what}s are named {name!r}: give the number"
            elif found[0] in columns.values():
                problem = f"`columns={self.request.columns}` takes {name!r} for two roles"
            if problem:
                raise DataError(f"{self.place}: {problem}; {self.way_out()}")
            columns[role] = found[0]
        return columns

    def _positions(self, name: str) -> list[int]:
        places = range(len(self.names))
        if self.what == "column" and name.isdecimal():
            return [at for at in places if at == int(name)]

        alike = [at for at in places if self.names[at].lower() == name.lower()]
        return [at for at in alike if self.names[at] == name] or alike

    def way_out(self) -> str:
        """Return what to do where columns are not recognised."""
        return self.request.exactly or f"say which is which with {self.suggestion()}"

    def suggestion(self, given: Mapping[str, int] | None = None, wrong: int | None = None) -> str:
        """Return the `columns` to paste.

        Usual names come first. Else ids are in columns whose values repeat, and rather in those
        that are named so; ratings in columns of numbers.

        Parameters
        ----------
        given : dict, optional
            Role to position where it is known; by default, by usual names.
        wrong : int, optional
            The position of what cannot be ratings.
        """
        if given is None:
            given = {role: found[0] for role, found in self.candidates().items() if found}

        chosen = dict(given)
        for role in self.request.needed:
            left = [at for at in range(len(self.names)) if at not in (*chosen.values(), wrong)]
            if role == "rating":
                left = [at for at in left if self._is_numeric(at)] or left * (wrong is None)
            if role not in chosen and left:
                chosen[role] = min(left, key=self._strangeness)

        roles = [role for role in self.request.roles if role in chosen]
        if wrong is None:
            roles = [role for role in ROLES if role in (*chosen, *self.request.needed)]
        parts = [f"{role}={self._shortest(chosen.get(role))}" for role in roles]
        clicks = " for a model that ranks clicks" * ("rating" not in roles and wrong is not None)
        return f"`columns={shlex.quote(','.join(parts))}`{clicks}"

    def _values(self, position: int) -> list[str]:
        return [row[position] for row in self.rows if len(row) == len(self.names)]

    def _is_numeric(self, position: int) -> bool:
        return all(map(is_number, self._values(position)))

    def _strangeness(self, position: int) -> tuple[bool, bool, int]:
        values = self._values(position)
        repeats = len(set(values)) < len(values)
        return not repeats, not self.names[position].lower().endswith("id"), position

    def _shortest(self, position: int | None) -> str:
        """Return a column's name, or its number where the name would not do."""
        if position is None:
            return "NAME"

        name = self.names[position].strip()
        if not self.named:
            return str(position)
        alone = [other.strip() for other in self.names].count(name) == 1
        if name and alone and not name.isdecimal() and not set(name) & set(",="):
            return name
        return str(position)


@dataclass(frozen=True)
class TableFormat:
    """How a file of separated fields is laid out.

    Parameters
    ----------
    separator : str
        Between fields; "::" and " " (any run of blanks) included.
    header : int
        The line, from 1, that names the columns; 0 for none.
    columns : dict
        Each role that the file has, to a field number from 0.
    fields : Fields
    """

    separator: str
    header: int
    columns: dict[str, int]
    fields: Fields = field(repr=False)

    @property
    def character(self) -> str:
        """The separator as one character, which `fields_of` puts in its place."""
        return ONE_CHARACTER.get(self.separator, self.separator)

    def describe(self) -> str:
        """Return the layout in words."""
        columns = {role: f"column {column}" for role, column in self.columns.items()}
        if self.header:
            for role, column in self.columns.items():
                columns[role] = f"{self.fields.names[column]} (column {column})"

        header = "header" if self.header else "no header"
        separator = "blanks" if self.separator == " " else repr(self.separator)
        return f"separated by {separator}, {header}; {describe_columns(columns)}"


def describe_columns(columns: Mapping[str, str]) -> str:
    """Return which column is which, in words."""
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
    tells, which is an error; so is one usual name above numbers.

    Raises
    ------
    DataError
        If the file cannot be read, is not text, has too few columns, or can be
        understood in more than one way.
    """
    lines = first_lines(path)
    separator = _separator(path, [line for _, line in lines], request)
    rows = [fields_of(line, separator, request.quotes) for _, line in lines]
    number = lines[0][0]

    fields = Fields(f"{path}, line {number}", [name.strip() for name in rows[0]], rows[1:], request)
    _check_width(path, lines[0], rows, separator, request)

    asked = parse_columns(request) if request.columns else {}
    by_name = any(not name.isdecimal() for name in asked.values())
    header = number if by_name or _has_header(fields, asked) else 0
    if asked and not header:
        fields = replace(fields, named=False)
    if asked or header:
        return TableFormat(separator, header, fields.columns(), fields)

    rows = [row for row in rows if len(row) == len(rows[0])]
    filled = len(rows[0]) - (not any(row[-1].strip() for row in rows))  # a separator at the end
    columns = {role: column for column, role in enumerate(request.roles[:filled])}
    fields = replace(fields, rows=rows, named=False)
    _refuse_unnamed(fields, rows, filled)
    return TableFormat(separator, 0, columns, fields)


def _refuse_unnamed(fields: Fields, rows: list[list[str]], width: int) -> None:
    """Raise DataError where columns without names are not user, item, rating in this order."""
    request = fields.request
    if width > MOST_UNNAMED:
        raise DataError(
            f"{fields.place}: {width} columns without names: "
            f"{request.exactly or f'say which is which, as in {fields.suggestion()}'}; or is it "
            f"{MATRIX}"
        )

    first = [row[0].strip() for row in rows]
    counts = [list(map(str, range(begin, begin + len(rows)))) for begin in (0, 1)]
    if len(rows) >= FEWEST_COUNTED and width > request.fewest and first in counts:
        roles = request.roles[: min(width, len(request.roles) + 1) - 1]
        columns = ",".join(f"{role}={column}" for column, role in enumerate(roles, 1))
        own = ",".join(f"{role}={column}" for column, role in enumerate(request.needed))
        raise DataError(
            f"{fields.place}: column 0 counts the rows ({first[0]}, {first[1]}, ...), as a saved "
            f"index does: say `columns={columns}`; or `columns={own}` if these are users"
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
    columns = f"{width} column{'s' * (width > 1)}"

    if request.exactly and width != request.fewest:
        raise DataError(f"{path} has {columns}: {request.exactly}")

    if width < request.fewest and request.quotes and text.count('"') % 2:
        raise DataError(
            f"{place}: a quote is not closed; correct the quotes: each line must be one rating"
        )

    if width < request.fewest:
        *others, last = request.needed
        needed = f"{', '.join(others)} and {last}" if others else last
        clicks = "; models that rank clicks need no rating" * (width == len(others))
        raise DataError(
            f"{place}: {columns} (separated by {separator!r}), but {needed} are needed; name "
            f"another separator with `separator` if that is the reason{clicks}"
        )

    if len(rows) > 1 and len(rows[1]) != width:
        raise DataError(
            f"{path}: line {number} has {width} columns and the next {len(rows[1])} (separated by "
            f"{separator!r}): give every line the same columns"
        )


def fields_of(line: str, separator: str, quotes: bool = True) -> list[str]:
    """Return the fields of one line; quotes are read leniently."""
    if separator == " ":
        line = line.replace("\t", " ").strip(" ")
    character = ONE_CHARACTER.get(separator, separator)
    line = line.replace(separator, character)
    if not quotes:
        return line.split(character)
    return next(csv.reader([line], delimiter=character, skipinitialspace=True))


def _separator(path: Path, lines: list[str], request: Request) -> str:
    """Return the separator that is given, or the only one that cuts all lines alike."""
    if request.separator:
        return _given_separator(request.separator)

    rows = {sep: [fields_of(line, sep, request.quotes) for line in lines] for sep in SEPARATORS}
    width = {sep: len(rows[sep][0]) for sep in SEPARATORS}
    wide = [sep for sep in SEPARATORS if width[sep] >= request.fewest]
    steady = [sep for sep in wide if {len(row) for row in rows[sep]} == {width[sep]}]

    for double, single in (("||", "|"), (" ", " ")):  # "a||b" has an empty field at "|"
        if len(steady) > 1 and (double in steady or single == " "):
            steady = [sep for sep in steady if sep != single]
    if len(steady) > 1:
        named = [sep for sep in steady if _known_roles(rows[sep][0], request) > 1]
        steady = named or steady

    if len(steady) > 1:
        choices = " or ".join(f"{sep!r} ({width[sep]} columns)" for sep in steady)
        widest = max(steady, key=lambda sep: width[sep])
        raise DataError(
            f"{path} may be separated by {choices}: say which with "
            f"`separator={shlex.quote(widest)}`"
        )

    return (steady or wide or [max(SEPARATORS, key=lambda sep: width[sep])])[0]


def _given_separator(text: str) -> str:
    """Return the separator that a request names; raise DataError where it cannot be one."""
    given = SEPARATOR_NAMES.get(text, text)
    printable = given in ONE_CHARACTER or re.fullmatch(r"[\t\x01 -~]", given)
    if not printable or given.isalnum() or given == '"':
        raise DataError(
            f"`separator` is {given!r}: it must be a character other than a "
            "letter, a digit or a quote; ::, ||, tab or space"
        )
    return given


def _known_roles(names: Sequence[str], request: Request) -> int:
    """Return how many roles have a usual name among these."""
    return sum(map(bool, Fields("", list(names), [], request).candidates().values()))


def _has_header(fields: Fields, asked: Mapping[str, str]) -> bool:
    """Apply the rule of `detect_format`, where no names are asked for."""
    request, first = fields.request, fields.names
    known = _known_roles(first, request)
    if known >= min(2, request.fewest):
        return True

    by_order = request.roles.index("rating") if "rating" in request.roles else len(first)
    rating = int(asked.get("rating", by_order))
    if known and not asked:
        return True
    if rating < len(first) and is_number(first[rating]):
        return False

    below = [row for row in fields.rows if len(row) == len(first) and row != first]
    columns = list(zip(*below))  # none where no line tells
    numeric = [column for column, texts in enumerate(columns) if all(map(is_number, texts))]
    if any(is_number(first[column]) for column in numeric):
        return False
    if len(numeric) >= 2:
        return True

    found_again = any(text in texts for text, texts in zip(first, columns))
    if not numeric and (asked or found_again or request.exactly):
        return False

    raise _undecided(fields, bool(numeric))


def _undecided(fields: Fields, numeric: bool) -> DataError:
    request = fields.request
    numbers = ",".join(f"{role}={column}" for column, role in enumerate(request.needed))
    row = (
        f"put the line {','.join(request.needed)} above" if numeric else f"say `columns={numbers}`"
    )
    if request.exactly:
        row = request.exactly
    return DataError(
        f"{fields.place}: {', '.join(map(repr, fields.names))} may be the names of the columns or "
        f"the first row: if names, say {fields.suggestion()}; if a row, {row}"
    )


def parse_columns(request: Request) -> dict[str, str]:
    """Return role to the name or number that `request.columns` gives it.

    Raises
    ------
    DataError
        If it cannot be read, or lacks a role that is needed.
    """
    text = request.columns or ""
    parts = [part.partition("=") for part in text.split(",")]
    columns = {role.strip(): name.strip() for role, _, name in parts}

    if set(columns) - set(ROLES) or not all(columns.values()) or len(columns) < len(parts):
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


def is_number(text: str) -> bool:
    """Whether a field is a finite decimal number; "1_0" and digits of other scripts are none."""
    return re.fullmatch(NUMBER, text) is not None

"""Which column of a file is which: separator, header and roles, found or asked for.

What cannot be told is not guessed: the error holds the `columns` to paste.
"""

import csv
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..support.errors import DataError

ROLES = ("user", "item", "rating", "timestamp")
KNOWN_NAMES = {  # in small letters, without what is neither a letter nor a digit
    "user": "user|userid|uid|reviewerid|customerid",
    "item": "iid|sid|asin|isbn|(item|movie|product|business|book|track|artist|recipe|game|song|"
    "anime|beer)(id)?",
    "rating": "ratings?|score|stars|overall|value|bookrating",
    "timestamp": "timestamp|time|unixreviewtime",
}
SEPARATORS = ("::", "||", "\t", ",", ";", "|", "\x01", " ")
ONE_CHARACTER = {"::": "\x1f", "||": "\x1e"}  # the parser splits at one
SEPARATOR_NAMES = {"\\t": "\t", "tab": "\t", "space": " ", "\\x01": "\x01"}
NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
MOST_UNNAMED = 5  # columns that roles are given to by their order
FEWEST_COUNTED = 5  # rows in which 0, 1, 2, ... is a count
MATRIX = (
    "; or is it a matrix, a row a user and a column an item? Then melt it to lines user,item,rating"
)


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

    @cached_property
    def asked(self) -> dict[str, str]:
        """Role to the name or number that `columns` gives it.

        Raises
        ------
        DataError
            If `columns` cannot be read, or lacks a role that is needed.
        """
        if not self.columns:
            return {}

        parts = [part.partition("=") for part in self.columns.split(",")]
        asked = {role.strip(): name.strip() for role, _, name in parts}
        known = set(self.needed) <= set(asked) <= set(ROLES)
        if not known or not all(asked.values()) or len(asked) < len(parts):
            raise DataError(
                f"`columns` is {self.columns!r}: it must be like user=userId,item=movieId,"
                f"rating=rating[,timestamp=time], with {', '.join(self.needed)}, each once"
            )
        return asked


@dataclass(frozen=True)
class Layout:
    """The columns of a file, and which of them has which role.

    Parameters
    ----------
    place : str
        Where the names stand, for messages.
    names : list of str
        The names of the columns, or the first row where they have none.
    rows : list of list of str
        Some of the first rows.
    request : Request
    header : int
        The line, from 1, that names the columns; 0 for none.
    separator : str
        Between fields; "::" and " " (any run of blanks) included.
    """

    place: str
    names: list[str]
    rows: list[list[str]]
    request: Request
    header: int = 1
    separator: str = ""

    @property
    def character(self) -> str:
        """The separator as one character."""
        return ONE_CHARACTER.get(self.separator, self.separator)

    @cached_property
    def columns(self) -> dict[str, int]:
        """Role to position: as asked for, by usual names, or by order where there are no names.

        Raises
        ------
        DataError
            If a role that is needed has no column, or any role has two.
        """
        if self.request.asked:
            return self._asked_for()
        if not self.header:
            return dict(zip(self.request.roles, range(self.filled())))

        named = self.named()
        for role, found in named.items():
            if len(found) > 1:
                both = " and ".join(repr(self.names[at]) for at in found)
                raise self.wrong(f"{both} may each be the {role}")

        missing = [role for role in self.request.needed if role not in named]
        if missing:
            shown = ", ".join(map(repr, self.names[:9])) + ", ..." * (len(self.names) > 9)
            matrix = MATRIX * any(name.isdecimal() for name in self.names)
            raise self.wrong(f"no column for {missing[0]} among {shown}", matrix)
        return {role: found[0] for role, found in named.items()}

    def named(self) -> dict[str, list[int]]:
        """Return role to the positions of its usual names."""
        plain = [re.sub("[^a-z0-9]", "", name.lower()) for name in self.names]
        named = {
            role: [at for at, name in enumerate(plain) if re.fullmatch(KNOWN_NAMES[role], name)]
            for role in self.request.roles
        }
        return {role: found for role, found in named.items() if found}

    def _asked_for(self) -> dict[str, int]:
        columns: dict[str, int] = {}
        for role, name in self.request.asked.items():
            numbered = [at for at in range(len(self.names)) if str(at) == name]
            found = numbered or [at for at, other in enumerate(self.names) if other == name]
            if len(found) != 1:
                names = ", ".join(map(repr, self.names))
                count = "several columns" if found else "no column"
                raise self.wrong(f"{count} {name!r} for {role} among {names}")
            if found[0] in columns.values():
                raise self.wrong(f"`columns={self.request.columns}` takes {name!r} for two roles")
            columns[role] = found[0]
        return columns

    def filled(self) -> int:
        """Return the number of columns, without the empty one that a last separator makes."""
        width = len(self.names)
        last = [row[-1] for row in self.rows if len(row) == width]
        return width if any(map(str.strip, last)) else width - 1

    def wrong(self, what: str, more: str = "") -> DataError:
        """Return the error for columns that cannot be told apart."""
        way_out = self.request.exactly or f"say which is which with {self.suggestion()}"
        return DataError(f"{self.place}: {what}; {way_out}{more}")

    def remedy(self, role: str) -> str:
        """Return what to do about a column that is wrong for its role.

        Of ratings that look like times, the role is 'times'.
        """
        if self.request.exactly:
            return self.request.exactly

        wrong = self.columns["rating" if role == "times" else role]
        given = {other: at for other, at in self.columns.items() if at != wrong}
        if role == "timestamp":
            return f"leave it out: say {self.suggestion(given)}"

        given = {other: at for other, at in given.items() if other in ("user", "item")}
        if role == "times":
            given["timestamp"] = wrong
            return f"if they are times, say {self.suggestion(given, wrong)}"
        return f"name another column, as with {self.suggestion(given, wrong)}"

    def suggestion(self, given: Mapping[str, int] | None = None, wrong: int | None = None) -> str:
        """Return the `columns` to paste.

        Ids are in columns whose values repeat, and rather in those that are named so; ratings in
        columns of numbers.

        Parameters
        ----------
        given : dict, optional
            Role to position where it is known; by default, by usual names.
        wrong : int, optional
            The position of what cannot be ratings.
        """
        usual = {role: found[0] for role, found in self.named().items()}
        chosen = dict(usual if given is None else given)
        for role in self.request.needed:
            left = [at for at in range(len(self.names)) if at not in (*chosen.values(), wrong)]
            if role == "rating":
                left = [at for at in left if self.is_numeric(at)] or left * (wrong is None)
            if role not in chosen and left:
                chosen[role] = min(left, key=self._strangeness)

        parts = [f"{role}={self._label(chosen[role])}" for role in ROLES if role in chosen]
        clicks = " for a model that ranks clicks" * ("rating" not in chosen and wrong is not None)
        return f"`columns={shlex.quote(','.join(parts))}`{clicks}"

    def values(self, position: int) -> list[str]:
        """Return the first values of a column."""
        return [row[position] for row in self.rows if len(row) == len(self.names)]

    def is_numeric(self, position: int) -> bool:
        """Whether a column holds numbers in each of the first rows."""
        return all(map(is_number, self.values(position)))

    def _strangeness(self, position: int) -> tuple[bool, bool, int]:
        values = self.values(position)
        repeats = len(set(values)) < len(values)
        return not repeats, not self.names[position].lower().endswith("id"), position

    def _label(self, position: int) -> str:
        """Return a column's name, or its number where the name would not do."""
        name = self.names[position]
        usable = self.header and name and not name.isdecimal() and not set(name) & set(",=")
        return name if usable and self.names.count(name) == 1 else str(position)

    def describe(self) -> str:
        """Return the layout in words."""
        form = "{0} = {1} (column {2})" if self.header else "{0} = column {2}"
        told = [form.format(role, self.names[at], at) for role, at in self.columns.items()]
        absent = {"rating": "no ratings, so each row is a 1", "timestamp": "no timestamps"}
        told += [text for role, text in absent.items() if role not in self.columns]

        separator = "blanks" if self.separator == " " else repr(self.separator)
        header = f"separated by {separator}, {'header' if self.header else 'no header'}; "
        return header * bool(self.separator) + ", ".join(told)


def detect(path: Path, lines: Sequence[tuple[int, str]], request: Request) -> Layout:
    """Find separator, header and columns from the first lines, which come with their numbers.

    The first line is a header if `request.columns` holds names, or if a field is
    a usual name. Else the lines below it tell. Take the columns that hold
    numbers in each of them: if the first line has a number in one, it is a row; if it has none,
    it is a header. Without such columns it is a row if one of its fields is
    found again below, or if `request.columns` holds numbers. Otherwise nothing
    tells, which is an error.

    Raises
    ------
    DataError
        If there are too few columns, or they can be understood in more than one way.
    """
    separator = _separator([line for _, line in lines], request)
    rows = [fields_of(line, separator, request.quotes) for _, line in lines]
    number = lines[0][0]
    names = [name.strip() for name in rows[0]]
    layout = Layout(f"{path}, line {number}", names, rows[1:], request, 0, separator)

    _check_width(layout)
    if _is_header(layout):
        return replace(layout, header=number)

    layout = replace(layout, rows=rows)
    if not request.asked:
        _refuse_unnamed(layout)
    return layout


def _separator(lines: Sequence[str], request: Request) -> str:
    """Return the separator that is given, or the one that cuts all lines into most fields."""
    if request.separator:
        given = SEPARATOR_NAMES.get(request.separator, request.separator)
        if given not in ONE_CHARACTER and not re.fullmatch(r"[\t\x01 -~]", given):
            raise DataError(f"`separator` is {given!r}: it must be a character, ::, || or tab")
        return given

    widths = {
        separator: [len(fields_of(line, separator, request.quotes)) for line in lines]
        for separator in SEPARATORS
    }
    wide = [separator for separator in SEPARATORS if widths[separator][0] >= request.fewest]
    steady = [separator for separator in wide if len(set(widths[separator])) == 1]

    def preference(separator: str) -> tuple[bool, bool, int]:
        width = widths[separator][0]
        double = separator in ONE_CHARACTER and width > 1  # "a||b" is cut by "|" too
        return double, separator != " " or not wide, width

    return max(steady or wide or SEPARATORS, key=preference)


def _check_width(layout: Layout) -> None:
    """Raise DataError unless the first line has fields enough."""
    request, width = layout.request, len(layout.names)
    if width == request.fewest or (width > request.fewest and not request.exactly):
        return

    way_out = "name another separator with `separator` if that is the reason"
    if request.needed[width:] == ("rating",):
        way_out += "; models that rank clicks need no rating"
    raise DataError(
        f"{layout.place}: {width} column{'s' * (width > 1)} (separated by {layout.separator!r}), "
        f"needed are {', '.join(request.needed)}; {request.exactly or way_out}"
    )


def _is_header(layout: Layout) -> bool:
    """Apply the rule of `detect`."""
    first, request = layout.names, layout.request
    known = len(layout.named())
    by_name = not all(map(str.isdecimal, request.asked.values()))
    if by_name or known > 1 or (known and not request.asked):
        return True

    numeric = [at for at in range(len(first)) if layout.is_numeric(at)]
    if numeric:
        return not any(is_number(first[at]) for at in numeric)

    found_again = any(text in layout.values(at) for at, text in enumerate(first))
    if request.asked or request.exactly or found_again:
        return False

    numbers = ",".join(f"{role}={at}" for at, role in enumerate(request.needed))
    raise DataError(
        f"{layout.place}: {', '.join(map(repr, first))} may be the names of the columns or the "
        f"first row: if names, say {replace(layout, header=1).suggestion()}; if a row, say "
        f"`columns={numbers}`"
    )


def _refuse_unnamed(layout: Layout) -> None:
    """Raise DataError where columns without names are not user, item, rating in this order."""
    request, width = layout.request, layout.filled()
    if width > MOST_UNNAMED:
        raise layout.wrong(f"{width} columns without names", MATRIX)

    first = [row[0].strip() for row in layout.rows]
    counts = [[str(number + begin) for number in range(len(first))] for begin in (0, 1)]
    if len(first) >= FEWEST_COUNTED and width > request.fewest and first in counts:
        with_index, without = (
            ",".join(f"{role}={at + begin}" for at, role in enumerate(request.roles[:count]))
            for begin, count in ((1, width - 1), (0, request.fewest))
        )
        raise DataError(
            f"{layout.place}: column 0 counts the rows ({first[0]}, {first[1]}, ...), as a saved "
            f"index does: say `columns={with_index}`; or `columns={without}` if these are users"
        )


def fields_of(line: str, separator: str, quotes: bool = True) -> list[str]:
    """Return the fields of one line; quotes are read leniently."""
    if separator == " ":
        line = " ".join(line.split())
    character = ONE_CHARACTER.get(separator, separator)
    line = line.replace(separator, character)
    if not quotes or '"' not in line:
        return line.split(character)
    return next(csv.reader([line], delimiter=character))


def is_number(text: str) -> bool:
    """Whether a field is a finite decimal number; "1_0" and digits of other scripts are none."""
    return re.fullmatch(NUMBER, text) is not None

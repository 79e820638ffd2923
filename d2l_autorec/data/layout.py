"""Which column of a file is which: separator, header and roles, recognised or asked for.

Nothing is guessed where it cannot be told: the error then holds the `columns` to paste.
"""

import csv
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..support.errors import DataError

ROLES = ("user", "item", "rating", "timestamp")
USERS = "user|customer|visitor|member|profile|reviewer|client"
ITEMS = "item|movie|product|business|book|track|artist|recipe|game|song|anime|beer|video|article"
# Patterns of names in small letters, without other signs than letters and digits, and without the
# types of RecBole's user_id:token.
KNOWN_NAMES = {
    "user": f"uid|({USERS})(id)?s?",
    "item": f"iid|sid|asin|isbn|({ITEMS})(id)?s?",
    "rating": "ratings?|score|stars|overall|value|bookrating|(is)?click(ed)?",
    "timestamp": "timestamp|time|unixreviewtime",
    "title": f"({ITEMS})?(title|name)",
}
KNOWN_NAMES["id"] = f"id|{KNOWN_NAMES['item']}"  # for files of items alone
# parts of less usual names, for a suggestion
LIKELY_IDS = {
    "user": f"{USERS}|session|kunde|nutzer|usuario|utilisateur|utente|reader|listener",
    "item": f"{ITEMS}|stock|sku|film|novel|artikel|produkt|producto|produit|prodotto|libro|livre",
}
LIKELY_RATINGS = "rating|ratio$|score|star$|overall|points|grade"
NO_RATINGS = r"^$|(id|type|price)$|\b(age|year|month|day|hour|store|shop|quantity|qty)$"
BINARY = {"-1", "0", "1", "0.0", "1.0", "false", "true", "no", "yes", "n", "y", "dislike", "like"}
SEPARATORS = ("::", "||", "\t", ";", ",", "|", "\x01", " ")  # of equal ones the first is taken
ONE_CHARACTER = {"::": "\x1f", "||": "\x1e"}  # stand-ins, as the parser splits at one character
ESCAPED = '\\"', '""'  # a quote within a field, as in a dump of MySQL, and as csv has it
SEPARATOR_NAMES = {"\\t": "\t", "tab": "\t", "space": " ", "\\x01": "\x01"}
NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
# a number below 1000, a text like 4/5 or 80 %, True or False; but no date or time
BELOW_1000 = (
    r"(?i)\s*([-+]?(\d{1,3}([.,]\d*)?|[.,]\d+)"
    r"\s*(/\s*\d+\s*$|[^\d\s.,:/-]|-(?!\s*\d)|$)|(true|false)\s*$)"
)
NO_FRACTION = r"\s*(?![-+]?\d*\.\d*[1-9]\d*\s*$)\S"  # a text that is neither empty nor a fraction
AMAZON_USER = r"\s*A[0-9A-Z]{11,13}\s*$"
DATE = r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d\d"
SECONDS = r"\s*1?\d{9}(\.\d*)?\s*$"  # since 1970, of a day after 1973
FEWEST_COUNTED = 5  # rows from which on 0, 1, 2, ... is taken for a row number
MODEL_OF_CLICKS = "`model=ease` (for report: `task=ranking`)"
MATRIX = "; or is it a matrix or lists, a row a user? Then melt it to lines user,item,rating"


@dataclass(frozen=True)
class Request:
    """What a file must hold, and what its owner says about it.

    Parameters
    ----------
    needed : tuple of str
        The roles that must have a column.
    columns, separator : str, optional
        As for `read_ratings`.
    exactly : str
        Words for what the file must be like, if only one layout is allowed; ''
        if `columns` may say which column is which.
    quotes : bool
        Whether a '"' may enclose a field.
    optional : tuple of str
        Other roles that a column may have by its name.
    """

    needed: tuple[str, ...]
    columns: str | None = None
    separator: str | None = None
    exactly: str = ""
    quotes: bool = True
    optional: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the columns of a file without a header, in order."""
        return self.needed if self.exactly else ROLES

    @cached_property
    def asked(self) -> dict[str, str]:
        """A dict of role to the name or number that `columns` gives it.

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
        File and line of the names, for messages.
    names : list of str
        The names of the columns, or the first row where they have none.
    rows : list of list of str
        Some of the first rows.
    request : Request
        What the file must hold.
    header : int
        The number, from 1, of the line that names the columns; 0 if there is none.
    separator : str
        The text between fields; " " stands for any run of blanks.
    """

    place: str
    names: list[str]
    rows: list[list[str]]
    request: Request
    header: int = 1
    separator: str = ""

    @property
    def character(self) -> str:
        """The separator as one character, a stand-in for a longer one."""
        return ONE_CHARACTER.get(self.separator, self.separator)

    @cached_property
    def columns(self) -> dict[str, int]:
        """A dict of role to position: as asked for, or by usual names, or in order without names.

        Raises
        ------
        DataError
            If a role that is needed has no column, or any role has two.
        """
        asked, needed = self.request.asked, self.request.needed
        if asked:
            found = {role: self._positions(name) for role, name in asked.items()}
        elif self.header:
            found = self.named()
        else:
            found = {role: [at] for at, role in enumerate(self.request.roles[: self.filled()])}

        for role, positions in found.items():
            if len(positions) > 1:
                both = " and ".join(repr(self.names[at]) for at in positions)
                raise self.wrong(f"{both} may each be the {role}")
        missing = [role for role in asked or needed if not found.get(role)]
        if missing:
            wanted = f"column {asked[missing[0]]!r}" if asked else "column"
            shown = ", ".join(map(repr, self.names[:9])) + ", ..." * (len(self.names) > 9)
            is_matrix = bool(self.header) and self._looks_like_a_matrix() and not asked
            raise self.wrong(f"no {wanted} for {missing[0]} among {shown}", MATRIX * is_matrix)

        columns = {role: position for role, [position] in found.items()}
        if len(set(columns.values())) < len(columns):
            raise self.wrong(f"`columns={self.request.columns}` takes a column for two roles")
        return columns

    def _looks_like_a_matrix(self) -> bool:
        """Return whether names are numbers, or a user's name is beside columns of small numbers."""
        named = self.named()
        others = [at for at in range(len(self.names)) if [at] != named.get("user")]
        cells = all(self.holds(rf"{BELOW_1000}|\s*$", at) for at in others)
        lone_user = [*named] == ["user"] and len(others) > 2
        return any(map(str.isdecimal, self.names)) or (lone_user and cells)

    def _positions(self, name: str) -> list[int]:
        """Return the positions of the columns with this number or name."""
        numbers = [str(at) for at in range(len(self.names))]
        among = numbers if name in numbers else self.names
        return [at for at, other in enumerate(among) if other == name]

    def named(self) -> dict[str, list[int]]:
        """Return each role with the positions of columns that have one of its usual names."""
        plain = [re.sub(r":(token|float)(_seq)?$|[\W_]", "", name.lower()) for name in self.names]
        named = {
            role: [at for at, name in enumerate(plain) if re.fullmatch(KNOWN_NAMES[role], name)]
            for role in (*self.request.roles, *self.request.optional)
        }
        return {role: found for role, found in named.items() if found}

    def filled(self) -> int:
        """Return the number of columns, less an empty one after a separator at the line's end."""
        width = len(self.names)
        last = [row[-1] for row in self.rows if len(row) == width]
        return width if any(map(str.strip, last)) else width - 1

    def wrong(self, what: str, more: str = "", given: Mapping[str, int] | None = None) -> DataError:
        """Return the error for columns that cannot be told apart; see `suggestion` for `given`."""
        must = self.request.exactly or f"each row must hold {', '.join(self.request.needed)}"
        suggestion = not self.request.exactly and self.suggestion(given)
        way_out = f"say which is which with {suggestion}" if suggestion else must
        return DataError(f"{self.place}: {what}; {way_out}{more}")

    def remedy(self, role: str) -> str:
        """Return advice on a column that is wrong for its role; '' if there is no other column.

        For ratings that look like times, `role` is 'times'.
        """
        if self.request.exactly:
            return self.request.exactly

        wrong = self.columns["rating" if role == "times" else role]
        kept = ROLES if role == "timestamp" or self.header else ROLES[:2]
        given = {other: at for other, at in self.columns.items() if other in kept and at != wrong}
        if role == "timestamp":
            return f"leave it out: say {self.suggestion(given)}"
        if role == "times":
            given["timestamp"] = wrong
            return f"if they are times, say {self.suggestion(given, wrong)}"
        suggestion = self.suggestion(given, wrong)
        return suggestion and f"name another column, as with {suggestion}"

    def suggestion(self, given: Mapping[str, int] | None = None, wrong: int | None = None) -> str:
        """Return the text of a likely `columns`, to paste; '' if there are too few columns.

        For ids it prefers columns whose values repeat, and that are named so; for ratings it takes
        columns of numbers below 1000, or of texts that begin with one, as 4/5 or 80 %, unless all
        are 0. If there are several of these, only their names can say that one holds ratings: they
        may be degrees, prices or hours.

        Parameters
        ----------
        given : dict, optional
            Role to position where it is known; by default, those with usual names.
        wrong : int, optional
            The position of a column that cannot be used.
        """
        usual = {role: self._plainest(role, found) for role, found in self.named().items()}
        chosen = dict(usual if given is None else given)
        for role in self.request.needed:
            left = [at for at in range(len(self.names)) if at not in (*chosen.values(), wrong)]
            if role == "rating":
                left = self._likely_ratings(left)
            if role not in chosen and left:
                chosen[role] = min(left, key=partial(self._strangeness, role))
        if not {"user", "item"} <= chosen.keys():
            return ""

        parts = [f"{role}={self._label(chosen[role])}" for role in ROLES if role in chosen]
        without = "rating" in self.request.needed and "rating" not in chosen
        clicks = f" and {MODEL_OF_CLICKS} if each row is a click, else add rating=COLUMN" * without
        return f"`columns={shlex.quote(','.join(parts))}`{clicks}"

    def _plainest(self, role: str, positions: Sequence[int]) -> int:
        """Return the first of some columns whose name holds the role's, else the first."""
        return min(positions, key=lambda at: role not in self.names[at].lower())

    def values(self, position: int) -> list[str]:
        """Return the first values of a column."""
        return [row[position] for row in self.rows if len(row) == len(self.names)]

    def holds(self, pattern: str, position: int) -> bool:
        """Return whether all of the first values of a column begin with a pattern."""
        return all(re.match(pattern, value) for value in self.values(position))

    def _likely_ratings(self, positions: Sequence[int]) -> list[int]:
        """Return those of some columns that may hold ratings: all named so, or the only one."""
        names = {at: self.names[at].lower() for at in positions if self.holds(BELOW_1000, at)}
        left = [at for at in names if not re.search(NO_RATINGS, names[at].replace("_", " "))]
        left = [at for at in left if set(self.values(at)) != {"0"}]
        return [at for at in left if re.search(LIKELY_RATINGS, names[at]) or len(left) == 1]

    def unread(self) -> tuple[str, str] | None:
        """Return a column that may say which rows are clicks, and how to read it."""
        request = self.request
        if request.asked or request.exactly or "rating" in (*self.columns, *request.needed):
            return None
        for at in sorted({*range(len(self.names))} - {*self.columns.values()}):
            found = {value.strip().lower() for value in self.values(at)}
            is_binary = len(found) == 2 and found <= BINARY
            is_named = self.header and re.search(LIKELY_RATINGS, self.names[at].lower())
            if is_binary or (is_named and self.holds(BELOW_1000, at)):
                return repr(self.names[at]), self.suggestion({**self.columns, "rating": at})
        return None

    def _strangeness(self, role: str, position: int) -> tuple[Any, ...]:
        """Return the objections to giving a column a role, the heaviest first, as a sort key."""
        if role == "rating":
            return not self.holds(NUMBER, position), position

        name, values = self.names[position].lower(), self.values(position)
        fit = self.holds(NO_FRACTION, position)
        repeats = len(set(values)) < len(values)
        few = len(set(values)) < 4 < len(values) / 10  # as genders
        likely = re.search(LIKELY_IDS[role], name) is not None
        is_other = not name.endswith("id")
        dated = self.holds(DATE, position) or self.holds(SECONDS, position)
        return not fit, dated, few, not repeats, not likely, is_other, position

    def _label(self, position: int) -> str:
        """Return a column's name, or its number if the name cannot stand in `columns`."""
        name = self.names[position]
        usable = self.header and name and not name.isdecimal() and not set(name) & set(",=")
        return name if usable and self.names.count(name) == 1 else str(position)

    def describe(self) -> str:
        """Return the layout in words."""
        form = "{0} = {1} (column {2})" if self.header else "{0} = column {2} (as {1:.60})"
        told = [form.format(role, self.names[at], at) for role, at in self.columns.items()]
        absent = {"rating": "no ratings, so each row is a 1", "timestamp": "no timestamps"}
        told += [text for role, text in absent.items() if role not in self.columns]

        separator = "blanks" if self.separator == " " else repr(self.separator)
        header = f"separated by {separator}, {'header' if self.header else 'no header'}; "
        return header * bool(self.separator) + ", ".join(told)


def detect(path: Path, lines: Sequence[tuple[int, str]], request: Request) -> Layout:
    """Find separator, header and columns from the first lines, which come with their numbers.

    The first line is a header if `request.columns` holds names, if two of its fields are usual
    names, or if one is and others are numbers, as in a matrix. Else the lines below it decide. Take
    the columns with numbers in all of these lines: if the first line has a number in one of them,
    it is a row; if it has none, it is a header. Without such columns it is a header if a field is a
    usual name, and a row if one of its fields occurs again below, or if `request.columns` holds
    numbers. Otherwise an error says that it cannot be told.

    Raises
    ------
    DataError
        If there are too few columns, or they can be understood in more than one way.
    """
    separator = _separator([line for _, line in lines], request)
    rows = [fields_of(line, separator, request.quotes) for _, line in lines]
    number = lines[0][0]
    names = [name.strip() for name in rows[0]]
    if rows[1:] and all(row[len(names) :] == [""] for row in rows[1:]):
        names.append("")  # a separator ends each row, but not the header
    layout = Layout(f"{path}, line {number}", names, rows[1:], request, 0, separator)

    if len(names) >= len(request.needed) and _is_header(layout):
        return replace(layout, header=number)
    _check_width(layout)

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

    def preference(separator: str) -> tuple[bool, bool, bool, bool, int]:
        widths = [len(fields_of(line, separator, request.quotes)) for line in lines]
        wide = widths[0] >= len(request.needed)
        steady = wide and len(set(widths)) == 1
        double = separator in ONE_CHARACTER and widths[0] > 1  # "a||b" is cut by "|" too
        if separator == "||" and any("|" in line.replace("||", "") for line in lines):
            double = False  # a field is empty
        return steady, wide, double, separator != " " or not wide, widths[0]

    return max(SEPARATORS, key=preference)


def _check_width(layout: Layout) -> None:
    """Raise DataError unless the first line has enough fields."""
    request, width = layout.request, len(layout.names)
    fewest = len(request.needed)
    if width == fewest or (width > fewest and not request.exactly):
        return

    way_out = "name another separator with `separator` if that is the reason"
    if request.needed[width:] == ("rating",):
        way_out += f"; {MODEL_OF_CLICKS}, which ranks clicks, needs no rating"
    raise DataError(
        f"{layout.place}: {width} column{'s' * (width > 1)} (separated by {layout.separator!r}), "
        f"needed are {', '.join(request.needed)}; {request.exactly or way_out}"
    )


def _is_header(layout: Layout) -> bool:
    """Return whether the first line is a header, by the rule of `detect`, or raise DataError."""
    first, request = layout.names, layout.request
    known = len(layout.named())
    by_name = not all(map(str.isdecimal, request.asked.values()))
    numbered = known and sum(map(str.isdecimal, first)) > 1  # a matrix
    if by_name or known > 1 or numbered:
        return True

    numeric = [at for at in range(len(first)) if layout.holds(NUMBER, at)]
    if numeric and (layout.rows or not request.exactly):
        return not any(re.match(NUMBER, first[at]) for at in numeric)
    if known and not request.asked:
        return True

    found_again = any(text in layout.values(at) for at, text in enumerate(first))
    if request.asked or request.exactly or found_again:
        return False

    raise DataError(
        f"{layout.place}: {', '.join(map(repr, first))} may be the names of the columns or the "
        f"first row: if names, say {replace(layout, header=1).suggestion()}; if a row, say "
        f"`columns={_numbered(request.needed)}`"
    )


def _refuse_unnamed(layout: Layout) -> None:
    """Raise DataError if columns without names are not user, item, rating in this order."""
    request, width = layout.request, layout.filled()
    first = [row[0].strip() for row in layout.rows]
    counts = [[str(number + begin) for number in range(len(first))] for begin in (0, 1)]
    counted = len(first) >= FEWEST_COUNTED and first in counts
    if counted and len(request.needed) <= width <= len(ROLES) + 1 and width > 2:
        after = {role: at for at, role in enumerate(ROLES[: width - 1], 1)}
        with_index = layout.suggestion(after, wrong=0)
        raise DataError(
            f"{layout.place}: column 0 counts the rows ({first[0]}, {first[1]}, ...), as a saved "
            f"index does: say {with_index}; or `columns={_numbered(request.needed)}` if "
            "these are users"
        )

    if width > len(ROLES):
        raise layout.wrong(f"{width} columns without names", MATRIX)

    in_order = f"`columns={_numbered(ROLES[:width])}`"
    if width > 2 and layout.names[:width] == [str(at) for at in range(width)]:
        raise DataError(
            f"{layout.place}: 0, 1, ... may be the names of the columns, as a frame without any "
            f"saves them: delete the line; or say {in_order} if it is a row"
        )
    if width > 1 and layout.holds(AMAZON_USER, 1):
        swapped = _numbered(("item", "user", *ROLES[2:width]))
        raise DataError(
            f"{layout.place}: column 1 would be the item, and looks like users of Amazon: say "
            f"`columns={swapped}`; or {in_order} if these are items"
        )
    for role, at in layout.columns.items():
        if role != "timestamp" and layout.holds(DATE, at):
            what = f"column {at} would be the {role}, and holds dates"
            raise layout.wrong(what, given={"timestamp": at})
        is_time = role in ("user", "item") and layout.holds(SECONDS, at)
        if is_time and layout.holds(BELOW_1000, width - 1):
            what = f"column {at} would be the {role}, and looks like times"
            raise layout.wrong(what, given={"timestamp": at})


def _numbered(roles: Sequence[str]) -> str:
    """Return the text of `columns` for roles in order, numbered from 0."""
    return ",".join(f"{role}={at}" for at, role in enumerate(roles))


def fields_of(line: str, separator: str, quotes: bool = True) -> list[str]:
    """Return the fields of one line; unpaired quotes are taken as part of the text."""
    if separator == " ":
        line = " ".join(line.split())
    character = ONE_CHARACTER.get(separator, separator)
    line = line.replace(separator, character)
    if not quotes or '"' not in line:
        return line.split(character)
    plain = quoted_fields(line, character)
    return plain or quoted_fields(line.replace(*ESCAPED), character) or line.split(character)


def quoted_fields(line: str, character: str) -> list[str]:
    """Return the fields of a line with quotes, or none if a quoted field does not end."""
    try:
        return next(csv.reader([line], delimiter=character, strict=True))
    except csv.Error:
        return []

"""A table of ratings to a frame: pandas reads, and nothing reaches it unchecked."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..support.errors import DataError
from .layout import NUMERIC, TableFormat, one_character, refuse_comment
from .textfile import blocks, line_number


def parse_table(path: Path, layout: TableFormat) -> pd.DataFrame:
    """The columns that `layout` names: ids as categories, the rest as floats.

    Raises
    ------
    DataError
        If a line has other fields than the first, its quotes do not match, it
        begins with '#', or a number is none.
    """
    numeric = [role for role in NUMERIC if role in layout.columns]
    kinds = {layout.columns[role]: NUMERIC[role] for role in numeric}
    try:
        with np.errstate(over="ignore"):  # what is too large becomes inf, and is refused as that
            raw = _read_csv(path, layout, kinds)
    except DataError:
        raise
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        text = str(error).split("C error: ")[-1].strip().rstrip(".")
        raise DataError(f"{path}: {text}; correct the quotes or fields there") from error
    except ValueError as error:
        raise _non_numeric(path, layout, numeric) from error

    return pd.DataFrame({role: raw.pop(str(field)) for role, field in layout.columns.items()})


def _read_csv(path: Path, layout: TableFormat, numeric: Mapping[int, str]) -> pd.DataFrame:
    """Fields named "0", "1" and so on; those not in `numeric` become categories."""
    kinds = {str(field): numeric.get(field, "category") for field in range(layout.width)}

    separator = layout.character
    if layout.separator == " ":
        separator = r"\s+"

    header = None
    if layout.header:
        header = 0

    rows = CheckedRows(path, layout)
    raw = pd.read_csv(
        rows,  # type: ignore[call-overload]  # the parser only reads; the stubs want a whole file
        sep=separator,
        header=header,
        names=list(kinds),
        index_col=False,
        dtype=kinds,
        engine="c",
        keep_default_na=False,
        na_values=[""],
        skipinitialspace=True,
    )

    expected = rows.count - layout.header
    if len(raw) != expected:
        raise DataError(
            f"{path}: {expected} lines, but {len(raw)} rows were understood; look for stray quotes"
        )

    return raw


class CheckedRows:
    """A file for pandas: blocks in which each line has as many fields as the first.

    A block without quotes or '#' is only counted, which is quick; else its
    lines are read one by one, strictly, so that an error can name the line.

    Parameters
    ----------
    path : Path
    layout : TableFormat

    Attributes
    ----------
    count : int
        Lines so far that are not blank, a header included.
    """

    def __init__(self, path: Path, layout: TableFormat) -> None:
        self._path = path
        self._layout = layout
        self._blocks = blocks(path)
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(), b"")

    def read(self, size: int = -1) -> bytes:
        """The next block, whatever its size; b"" at the end."""
        first, block = next(self._blocks, (0, b""))
        if not block:
            return b""

        character = self._layout.character.encode()
        separator = self._layout.separator.encode()
        if character != separator:
            self._refuse_character(character, first, block)
            block = block.replace(separator, character)

        if self._is_plain(block, character):
            self.count += block.count(b"\n")
        else:
            self._check_lines(first, block[:-1].decode().split("\n"))

        return block

    def _is_plain(self, block: bytes, character: bytes) -> bool:
        if b'"' in block or b"#" in block:
            return False

        lines = block.count(b"\n")
        width = self._layout.width
        if self._layout.separator == " ":
            return len(block.split()) == lines * width
        return width > 1 and block.count(character) == lines * (width - 1)

    def _refuse_character(self, character: bytes, first: int, block: bytes) -> None:
        found = block.find(character)
        if found >= 0:
            line = first + block.count(b"\n", 0, found)
            raise DataError(f"{self._path}, line {line}: not text (a control character); delete it")

    def _check_lines(self, first: int, lines: list[str]) -> None:
        layout = self._layout
        reader = csv.reader(
            (one_character(line, layout.separator) for line in lines),
            delimiter=layout.character,
            skipinitialspace=True,
            strict=True,
        )

        done = 0
        try:
            for fields in reader:
                if reader.line_num != done + 1:
                    raise csv.Error("a quoted field goes on in the next line")
                if fields not in ([], [""]):
                    self.count += 1
                    self._check_line(first + done, lines[done], fields)

                done += 1
        except csv.Error as error:
            raise DataError(
                f"{self._path}, line {first + done}: {error}; correct the quotes: "
                "each line must be one rating"
            ) from error

    def _check_line(self, number: int, line: str, fields: list[str]) -> None:
        place = f"{self._path}, line {number}"
        refuse_comment(place, line)

        if len(fields) != self._layout.width:
            raise DataError(
                f"{place}: {len(fields)} fields where the first "
                f"line has {self._layout.width}; quote fields that contain the "
                "separator, or correct the line"
            )


def _non_numeric(path: Path, layout: TableFormat, numeric: list[str]) -> DataError:
    """The first value that is not a number: read again as text, only once it has failed."""
    as_text = {layout.columns[role]: "str" for role in numeric}
    raw = _read_csv(path, layout, as_text)

    for role in numeric:
        column = raw[str(layout.columns[role])]
        bad = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        if bad.any():
            row = int(bad.argmax())
            place = f"{path}, line {line_number(path, row + layout.header)}"
            return DataError(
                f"{place}: the {role} {column[row]!r} is not a number; "
                f"{int(bad.sum())} lines are so: correct or delete them"
            )

    return DataError(
        f"{path}: the ratings are not numbers; correct them, or name another column with `columns`"
    )

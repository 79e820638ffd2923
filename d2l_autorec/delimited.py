"""A table of ratings to a frame: pandas reads, and its errors become one line."""

from pathlib import Path
from typing import Any, Callable, Dict

import pandas as pd

from .errors import DataError
from .layout import HOW_TO_NAME, NUMERIC, TableFormat
from .textfile import BAD_GZIP, first_bad_line, not_utf8, open_file


def parse_table(path: Path, layout: TableFormat, locate: Callable[[int], str]) -> pd.DataFrame:
    numeric = {role: kind for role, kind in NUMERIC.items() if role in layout.columns}
    try:
        raw = _read_csv(path, layout, {layout.columns[role]: kind
                                       for role, kind in numeric.items()})
    except pd.errors.ParserError as error:
        raise DataError(_parser_message(path, error)) from error
    except UnicodeDecodeError as error:
        raise not_utf8(path, first_bad_line(path)) from error
    except BAD_GZIP as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): make it anew") from error
    except ValueError as error:
        raise _non_numeric(path, layout, numeric, locate) from error
    return pd.DataFrame({role: raw.pop(position) for role, position in layout.columns.items()})


def _read_csv(path: Path, layout: TableFormat, numeric: Dict[int, Any]) -> pd.DataFrame:
    """Fields numbered from 0; those not in `numeric` become categories."""
    step = 2 if layout.separator == "::" else 1  # pandas' fast parser splits at one character
    positions = range(step * (layout.width - 1) + 1)
    kinds = {p: "category" for p in positions}
    kinds.update({step * p: kind for p, kind in numeric.items()})
    separator = {"::": ":", " ": r"\s+"}.get(layout.separator, layout.separator)
    with open_file(path) as file:
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

"""JSON lines to a frame: an object a line, of which two to four keys count."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..support.errors import DataError
from .layout import (
    NUMERIC,
    Request,
    columns_asked_for,
    columns_recognised,
    is_number,
    parse_columns,
)
from .textfile import blocks

JSON_LINE = (
    '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1400000000}, '
    "or name its keys with `columns`"
)


def parse_json(path: Path, request: Request) -> tuple[pd.DataFrame, dict[str, str]]:
    """JSON lines, as the Amazon reviews come.

    Returns
    -------
    frame : DataFrame
    keys : dict
        Role to key, found in the first line.

    Raises
    ------
    DataError
        If a line is no object, has a key twice, or a value is of another kind:
        an id must be a string or a whole number, null or '' is no id.
    """
    ids: dict[str, dict[str, int]] = {"user": {}, "item": {}}
    codes: dict[str, list[int]] = {role: [] for role in ids}
    numbers: dict[str, list[float]] = {role: [] for role in NUMERIC}
    keys: dict[str, str] = {}

    for number, record in _records(path):
        place = f"{path}, line {number}"
        keys = keys or _keys(place, list(record), request)
        for role, key in keys.items():
            value = record.get(key)
            if role in NUMERIC:
                numbers[role].append(_number(value, place, key))
            else:
                codes[role].append(_code(value, ids[role], place, key))

    frame: dict[str, pd.Categorical | np.ndarray] = {}
    for role in keys:
        if role in ids:
            categories = pd.Index(list(ids[role]), dtype=object)
            frame[role] = pd.Categorical.from_codes(codes[role], categories)

    for role, kind in NUMERIC.items():
        if role in keys:
            frame[role] = np.array(numbers[role], dtype=kind)

    return pd.DataFrame(frame), keys


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from 1, and objects; blank lines are left out."""
    for first, block in blocks(path):
        for number, line in enumerate(block[:-1].split(b"\n"), first):
            if line.strip():
                yield number, _record(path, number, line)


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_without_repeats)
        if not isinstance(record, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}, line {number}: not a JSON object ({error}); correct or delete "
            f"the line: each must be like {JSON_LINE}"
        ) from error
    return record


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count)!r} twice")

    return record


def _keys(place: str, names: list[str], request: Request) -> dict[str, str]:
    if request.columns:
        asked = parse_columns(request)
        columns = columns_asked_for(place, names, asked, request, "key")
    else:
        columns = columns_recognised(place, names, request, "key")

    return {role: names[position] for role, position in columns.items()}


def _code(value: Any, known: dict[str, int], place: str, key: str) -> int:
    """The code of an id; -1 where there is none."""
    if value is None or value == "":
        return -1

    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise DataError(
            f"{place}: {key!r} is {json.dumps(value)}, but an id must be a string or "
            "a whole number; correct or delete the line"
        )

    return known.setdefault(str(value), len(known))


def _number(value: Any, place: str, key: str) -> float:
    if isinstance(value, str) and is_number(value):
        value = float(value)

    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(
            f"{place}: {key!r} is {value!r}, not a number; correct or delete the "
            f"line: each must be like {JSON_LINE}"
        )

    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return float("inf")

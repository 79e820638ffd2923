"""JSON lines to a frame: an object a line, of which two to four keys count."""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
import pandas as pd

from .errors import DataError
from .layout import HOW_TO_NAME, NUMERIC, known_names, needed_roles, parse_columns
from .textfile import BAD_GZIP, not_utf8, open_file

JSON_LINE = ('{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1400000000}, '
             "or name its keys with --columns")


def parse_json(path: Path, columns: Optional[str], implicit: bool) -> pd.DataFrame:
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
        with open_file(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    record = json.loads(line.decode("utf-8-sig"))
                    if not isinstance(record, dict):
                        raise ValueError("not an object")
                    yield number, record
    except BAD_GZIP as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): make it anew") from error
    except UnicodeDecodeError as error:
        raise not_utf8(path, number) from error
    except ValueError as error:
        raise DataError(f"{path}, line {number}: not a JSON object ({error}); correct or delete "
                        f"the line: each must be like {JSON_LINE}") from error


def _json_keys(path: Path, record: Dict[str, Any], columns: Optional[str], needed: Sequence[str]
               ) -> Dict[str, str]:
    """Role to key, found in the first line."""
    spelled = {key.lower(): key for key in record}
    wanted = parse_columns(columns, needed) if columns else known_names(list(spelled))
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

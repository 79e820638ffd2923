"""Options in a file of JSON: what a search leaves, and a run takes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..models.options import Options
from ..support.errors import DataError
from ..support.files import write_atomically

SOURCES = ("dataset", "ratings", "train", "test")
OF_A_SOURCE = (*SOURCES, "columns", "separator", "quotes", "duplicates", "scale")


def write_options(path: Path, options: Mapping[str, Any]) -> None:
    """Write options by name; see `replacing` for errors."""
    write_atomically(path, (json.dumps(dict(options), indent=2) + "\n").encode())


def read_options(path: Path) -> Options:
    """Options by name, not yet checked.

    Raises
    ------
    DataError
        If the file cannot be read, or holds no JSON object.
    """
    try:
        options = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(options, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read ({reason}): name a file of options, as best.json of "
            "python -m d2l_autorec.tune"
        ) from error
    return options


def overridden(options: Options, given: Options) -> Options:
    """Options of a file with those that were given; other ratings replace the file's."""
    if any(name in given for name in SOURCES):
        options = {name: value for name, value in options.items() if name not in OF_A_SOURCE}
    return {**options, **given}

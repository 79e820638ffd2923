"""A frame with columns of any name to checked `Ratings`: `Ratings.from_frame`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..support.errors import ConfigError, DataError, did_you_mean
from .frame_ids import cleaned_ids
from .frames import DUPLICATES, Source, ratings_from_frame
from .layout import NUMERIC
from .plausible import Scale
from .ratings import Ratings

NAME = "frame"  # in messages and results


def ratings_of_columns(
    df: pd.DataFrame, columns: Mapping[str, str], scale: Scale, duplicates: str
) -> Ratings:
    """Ratings of the columns that `columns`, role to name, chooses; see `Ratings.from_frame`."""
    if not isinstance(df, pd.DataFrame):
        raise ConfigError(f"df is a {type(df).__name__}: it must be a pandas DataFrame")
    if duplicates not in DUPLICATES:
        raise ConfigError(
            f"duplicates={duplicates!r}: it must be one of {', '.join(DUPLICATES)}"
            f"{did_you_mean(str(duplicates), DUPLICATES)}"
        )
    _check_scale(scale)
    _check_columns(df, columns)

    locate = Source.of_frame(NAME).locate
    chosen = {}
    for role, name in columns.items():
        column = df[name].reset_index(drop=True)
        if role in NUMERIC:
            chosen[role] = _numbers(column, role, name)
        else:
            chosen[role] = cleaned_ids(column, f"{role} (column {name!r})", locate)
    return ratings_from_frame(pd.DataFrame(chosen), NAME, duplicates, scale)


def _check_scale(scale: Scale) -> None:
    if scale is None:
        return
    low, high = scale
    if not -np.inf < low < high < np.inf:
        raise ConfigError(f"scale={scale}: it must be the lowest and the highest rating, as (1, 5)")


def _check_columns(df: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Raise DataError unless each role has one column of its own, and there is a row."""
    names = [str(name) for name in df.columns]
    for role, name in columns.items():
        count = int((df.columns == name).sum())
        if count > 1:
            raise DataError(f"{role}={name!r}: the frame has {count} columns of this name")
        if count == 0:
            raise DataError(
                f"{role}={name!r}: the frame has no such column, but {', '.join(names)}"
                f"{did_you_mean(str(name), names)}"
            )
    if not len(df):
        raise DataError("the frame has no rows: each must be one rating")


def _numbers(column: pd.Series, role: str, name: str) -> pd.Series:
    """A column of ratings or times as float64; raise DataError, naming it, where it has none."""
    if pd.api.types.is_datetime64_any_dtype(column):
        if role == "rating":
            raise DataError(f"rating={name!r} holds times, which are no ratings")
        return _seconds(column, name)

    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    bad = ~np.isfinite(numbers.to_numpy())
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{role}={name!r}: row {row} holds {column.iloc[row]!r}, which is no finite number; "
            f"{int(bad.sum())} rows are so: correct or drop them"
        )
    return numbers


def _seconds(column: pd.Series, name: str) -> pd.Series:
    """Seconds since 1970 of a column of datetimes."""
    missing = column.isna().to_numpy()
    if missing.any():
        row = int(missing.argmax())
        raise DataError(
            f"timestamp={name!r}: row {row} is missing; {int(missing.sum())} rows are so: "
            "correct or drop them"
        )
    if column.dt.tz is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    whole = column.astype("datetime64[s]").astype("int64")
    return whole.astype("float64")

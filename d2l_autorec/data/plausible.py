"""Whether numbers can be ratings: what is none, or would not survive float32, is refused."""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from ..support.errors import DataError, DataWarning
from .layout import NUMERIC
from .ratings import offset_of

LARGEST = 2.0**24  # float32 merges whole numbers beyond
HUGE = 1000.0  # a column of nothing but such ratings is years, days, times or ids
MERGED, LEVELS = 0.1, 1000  # see `check_ratings`
NUMBERED = 100  # that many whole numbers, most of them different, are ids or times
MISSING_CODES = (-9999, -999, -99, -9, -1, 0, 99, 999, 9999)
Locate = Callable[[int], str]
Scale = tuple[float, float] | None


def finite_numbers(frame: pd.DataFrame, locate: Locate) -> pd.DataFrame:
    """The frame with finite ratings and whole timestamps; where there are no ratings, ones.

    Raises
    ------
    DataError
        If a number is missing or not finite, or a timestamp beyond 2^53.
    """
    frame = frame.copy(deep=False)
    if "rating" not in frame:
        frame["rating"] = np.ones(len(frame), dtype=np.float32)

    for role in NUMERIC:
        if role not in frame:
            continue
        bad = ~np.isfinite(frame[role].to_numpy())
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{locate(row)}: the {role} is missing or not finite "
                f"({frame[role].iloc[row]}); {int(bad.sum())} lines are so: correct "
                "or delete them"
            )

    if "timestamp" in frame:
        frame["timestamp"] = _whole_times(frame["timestamp"], locate)

    return frame


def _whole_times(times: pd.Series, locate: Locate) -> pd.Series:
    too_large = (times.abs() >= 2.0**53).to_numpy()
    if too_large.any():
        row = int(too_large.argmax())
        raise DataError(
            f"{locate(row)}: the timestamp {times.iloc[row]:g} is beyond 2^53: give "
            "seconds or milliseconds"
        )

    cut = int((times % 1 != 0).sum())
    if cut:
        warnings.warn(
            f"{cut} timestamps lost their fractions of a second", DataWarning, stacklevel=5
        )

    return times.astype("int64")


def check_ratings(values: np.ndarray, scale: Scale, locate: Locate, remedy: str) -> None:
    """Refuse numbers that are no ratings.

    Always: beyond ±2^24; outside `scale`; ratings that are no longer different
    once they are shifted above 0, in float32, if that is more than a tenth of them
    and fewer than `LEVELS` different ones are left. Without a `scale`, which says
    that the numbers are meant so, also:

    - all of size 1000 or more;
    - 100 or more whole numbers of which more than half are different, and
      which span more than 1000;
    - a lowest or highest rating that is a usual code for a missing one
      (`MISSING_CODES`) and stands alone: at least three others are farther from
      it than any two neighbours of them are from each other, and it is the only
      one below 0 (0 itself: below 1), or twice as large as the next.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
    scale : (float, float), optional
    locate : callable
        Row number to a place, for errors.
    remedy : str
        What to do where the column is the wrong one.

    Raises
    ------
    DataError
    """
    _refuse(
        np.abs(values) > LARGEST,
        values,
        locate,
        f"is beyond {LARGEST:.0f}, where float32 merges whole numbers",
        f"{remedy}; else correct or rescale them",
    )

    different = np.sort(pd.unique(values))
    if scale is None:
        low, high = different[0], different[-1]
        _check_kind(values, different, locate, remedy)
        _check_missing_codes(values, different, locate)
    else:
        low, high = scale
        _refuse(
            (values < low) | (values > high),
            values,
            locate,
            f"is outside the scale {low:g},{high:g}",
            "correct them or `scale`",
        )

    if _merged_by_shift(different, np.float32(offset_of(low))):
        raise DataError(
            f"{locate(int(values.argmin()))}: ratings of the scale {low:g}..{high:g} "
            "are no longer different in float32 once they are shifted above 0: delete "
            "ratings that stand for a missing one, or rescale them"
        )


def _merged_by_shift(different: np.ndarray, offset: np.float32) -> bool:
    """Whether float32 loses ratings once they are shifted: many are equal, or one not above 0.

    Of measurements, which have more digits than float32, a few may come to be equal.
    """
    shifted = different + offset
    lost = int((np.diff(shifted) <= 0).sum())
    left = len(different) - lost

    many = lost > MERGED * len(different) and left < LEVELS
    return bool(shifted[0] <= 0) or many


def _refuse(bad: np.ndarray, values: np.ndarray, locate: Locate, what: str, remedy: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{locate(row)}: the rating {values[row]:g} {what}; {int(bad.sum())} lines "
            f"are so: {remedy}"
        )


def _check_kind(values: np.ndarray, different: np.ndarray, locate: Locate, remedy: str) -> None:
    low = float(different[0])
    high = float(different[-1])
    meant = f"`scale={low:.9g},{high:.9g}` if they are meant so"

    if np.abs(different).min() >= HUGE:
        raise DataError(
            f"{locate(0)}: the rating {values[0]:g} and all others are of size "
            f"{HUGE:g} or more, so they look like times or ids: {remedy}; else say "
            f"{meant}"
        )

    numbered = len(values) >= NUMBERED and len(different) > len(values) / 2
    wide = high - low > HUGE
    if numbered and wide and (different % 1 == 0).all():
        raise DataError(
            f"{locate(0)}: {len(different)} different whole numbers as {len(values)} "
            f"ratings look like times or ids: {remedy}; else say {meant}"
        )


def _check_missing_codes(values: np.ndarray, different: np.ndarray, locate: Locate) -> None:
    if len(different) < 4:
        return

    for code, others in ((different[0], different[1:]), (different[-1], different[:-1])):
        gap = np.abs(others - code).min()
        alone = _is_only_low(code, others[0]) or code >= 2 * others[-1]
        if code in MISSING_CODES and alone and gap > np.diff(others).max():
            _refuse(
                values == code,
                values,
                locate,
                f"is far from the others, {others[0]:g}..{others[-1]:g}",
                "delete them if they stand for missing ratings; if they are meant so, say "
                f"`scale={different[0]:g},{different[-1]:g}`",
            )


def _is_only_low(code: float, lowest_other: float) -> bool:
    """Whether a rating is the only one below 0; 0 itself, the only one below 1."""
    if code < 0:
        return lowest_other >= 0
    return code == 0 and lowest_other >= 1

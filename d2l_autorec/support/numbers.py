"""Numbers: as exact as anyone reads them, and what a share of users may be."""

import math


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits: '0.00312', '61.4', '337,000'.

    Parameters
    ----------
    value : float
    digits : int
        At least 1. A whole number of more digits is rounded, and keeps its length.
    """
    if not math.isfinite(value):
        return str(value)

    rounded = f"{value:.{digits - 1}e}"
    exponent = int(rounded.partition("e")[2])
    if value and exponent < -4:
        return rounded

    decimals = max(0, digits - 1 - exponent)
    return f"{float(rounded):,.{decimals}f}"


def seconds_shown(seconds: float) -> str:
    """A time that was measured: '61.4', and '<0.1' where it is of no account."""
    if seconds < 0.1:
        return "<0.1"
    return significant(seconds)


def can_be_heldout(wanted: int | float) -> bool:
    """Return whether this is a number of users to hold out, or a fraction of them."""
    is_fraction = 0 < wanted < 0.5
    is_count = wanted >= 0 and float(wanted).is_integer()
    return is_fraction or is_count

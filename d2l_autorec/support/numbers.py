"""How numbers are written for people: as exact as anyone reads them."""

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

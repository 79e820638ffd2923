"""Numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2l_autorec.support.numbers import seconds_shown, significant


@pytest.mark.parametrize(
    "value, shown",
    [
        (0.0031249, "0.00312"),
        (0.0210, "0.0210"),
        (61.44, "61.4"),
        (9.996, "10.0"),
        (410.3, "410"),
        (336922.7, "337,000"),
        (109381833.2, "109,000,000"),
        (-12.345, "-12.3"),
        (0.0, "0.00"),
        (0.00001234, "1.23e-05"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_three_digits(value, shown):
    assert significant(value) == shown


def test_other_numbers_of_digits():
    assert [significant(4.5678, digits) for digits in (1, 2, 4)] == ["5", "4.6", "4.568"]


@given(st.floats(1e-12, 1e15), st.integers(1, 6))
def test_what_is_shown_is_the_number(value, digits):
    """To half a unit in the last digit that counts."""
    shown = float(significant(value, digits).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.5001 * 10 ** (1 - digits))


def test_a_time_of_no_account():
    assert [seconds_shown(seconds) for seconds in (0.000156, 0.657, 3600.4)] == [
        "<0.1",
        "0.657",
        "3,600",
    ]

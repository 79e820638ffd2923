"""Limits that the first epochs do not stretch, and labels that do not lie over each other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2l_autorec.support.axes import cut_of, spread


def curve(*values):
    return list(enumerate(values, 1))


def test_the_first_epochs_are_cut_off_where_they_are_far_away():
    points = curve(9.0, 2.0, 1.5, 1.4, 1.3, 1.2, 1.1, 1.05, 1.02, 1.0)
    cut = cut_of([points])
    settled = [value for _, value in points[2:]]
    assert cut.low < min(settled) and max(settled) < cut.high < 2.0
    assert (cut.epoch, cut.farthest) == (2, 9.0)
    assert cut.note == "the first 2 epochs are cut off above (to 9.00)"


def test_of_a_metric_that_grows_they_are_cut_off_below():
    cut = cut_of([curve(0.01, 0.4, 0.41, 0.42, 0.43)])
    assert cut.epoch == 1 and cut.low < 0.4 < 0.43 < cut.high
    assert cut.note == "epoch 1 is cut off below (to 0.01)"


def test_a_level_is_never_cut_off():
    cut = cut_of([curve(*[50.0] * 2, *[1.0 - i / 100 for i in range(10)])], levels=[2.0])
    assert cut.high > 2.0


@pytest.mark.parametrize("points", [[], curve(3.0), curve(3.0, 1.0), curve(1.0, 1.0, 1.0)])
def test_what_has_no_story_is_not_cut(points):
    assert cut_of([points]) is None


def test_a_steady_curve_is_not_cut():
    assert cut_of([curve(*[2.0 - i / 20 for i in range(20)])]) is None


@given(st.lists(st.floats(0, 1), max_size=15).map(sorted))
def test_places_are_apart_in_order_and_within_the_axes(places):
    moved = spread(places, 1 / 15)
    assert len(moved) == len(places)
    for one, other in itertools.pairwise(moved):
        assert other - one >= 1 / 15 - 1e-9
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in moved)


def test_places_that_are_apart_stay():
    assert spread([0.1, 0.5, 0.9], 0.2) == [0.1, 0.5, 0.9]


def test_places_that_touch_are_moved_to_both_sides():
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert spread([0.0, 0.0, 1.0, 1.0], 0.2) == pytest.approx([0.0, 0.2, 0.8, 1.0])

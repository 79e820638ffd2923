"""The style of all pictures: what it sets, and for how long."""

import pytest
from matplotlib.figure import Figure

import d2l_autorec as d2l
from d2l_autorec.support.style import BLUE, COLORS, in_style, settled_limits


def test_use_style_sets_what_pyplot_draws_with(settings):
    d2l.use_style()
    [line] = Figure().subplots().plot([1, 2], [3, 4])
    assert line.get_color() == BLUE
    assert settings["axes.prop_cycle"].by_key()["color"] == list(COLORS)


def test_in_style_gives_the_callers_settings_back(settings):
    settings["lines.linewidth"] = 7
    with in_style():
        axes = Figure().subplots()
        [line] = axes.plot([1, 2], [3, 4])
        assert line.get_color() == BLUE
        assert not axes.title.get_parse_math()
    assert settings["lines.linewidth"] == 7


def curve(*values):
    return list(enumerate(values, 1))


def test_the_first_epochs_are_left_out_where_they_are_far_away():
    points = curve(9.0, 2.0, 1.5, 1.4, 1.3, 1.2, 1.1, 1.05, 1.02, 1.0)
    low, high = settled_limits([points])
    assert low == pytest.approx(1.0 - 0.08 * 0.5) and high == pytest.approx(1.5 + 0.08 * 0.5)


def test_of_a_metric_that_grows_they_are_left_out_below():
    low, high = settled_limits([curve(0.01, 0.4, 0.41, 0.42, 0.43)])
    assert 0.3 < low < 0.4 and 0.43 < high < 0.44


def test_a_level_is_never_left_out():
    _, high = settled_limits([curve(50.0, 50.0, *[1.0 - i / 100 for i in range(10)])], [2.0])
    assert high > 2.0


@pytest.mark.parametrize(
    "points", [[], curve(3.0), curve(3.0, 1.0), curve(1.0, 1.0), curve(*range(20, 0, -1))]
)
def test_a_curve_that_does_not_settle_is_shown_whole(points):
    assert settled_limits([points]) == (None, None)

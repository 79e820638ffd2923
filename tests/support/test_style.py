"""The style of all pictures: what it sets, for how long, and whether its colours can be told."""

import itertools
import subprocess
import sys

import numpy as onp
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import d2l_autorec as d2l
from d2l_autorec.support.style import BLUE, COLORS, GREY, in_style, settled_limits

# Machado, Oliveira and Fernandes (2009), severity 1, of linear RGB
DEFICIENCIES = {
    "none": onp.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = onp.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(color: str, deficiency: str) -> onp.ndarray:
    """CIE L*a*b* of a colour as it is seen with a kind of colour vision."""
    rgb = onp.array(to_rgb(color))
    linear = onp.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = onp.clip(onp.array(DEFICIENCIES[deficiency]) @ linear, 0, 1)
    x, y, z = onp.cbrt(XYZ @ seen / (XYZ @ onp.ones(3)))
    return onp.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_are_told_apart_with_any_colour_vision(deficiency):
    """A difference (CIE76) of 2.3 is just noticeable."""
    for one, other in itertools.combinations(COLORS, 2):
        difference = onp.linalg.norm(lab(one, deficiency) - lab(other, deficiency))
        assert difference > 10, (one, other)


def test_text_in_grey_is_read_on_white():
    """WCAG 2 asks for a contrast of 4.5."""
    lightness = lab(GREY, "none")[0]
    luminance = ((lightness + 16) / 116) ** 3
    assert 1.05 / (luminance + 0.05) > 4.5


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


def test_needs_no_pyplot():
    """It asks for a display, and keeps figures."""
    program = (
        "import sys; import d2l_autorec as d2l; d2l.use_style(); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


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

"""One look for every picture: colours, line styles, resolution, and what matplotlib is to draw."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Okabe and Ito, Color Universal Design: told apart with any kind of colour vision, and dark
# enough for thin lines on white, which their yellow is not
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
BLACK, GREY = "#000000", "#595959"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)

# what is measured on which part, in every picture
COLOR_OF = {"train": BLUE, "validation": GREEN, "test": VERMILLION}
STYLE_OF = {"train": "-", "validation": ":", "test": "--"}
LINE_STYLES = ("-", "--", "-.", ":")  # of several runs; also tells them apart in print
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # of points of several kinds
DPI = 120


def use_style() -> None:
    """Make pyplot draw as this package does: colour-blind safe colours, a light grid, no frame.

    For notebooks and programs. The lines of an axes take the colours in turn
    (`"C0"` to `"C6"`); what was drawn before is not changed.

    Examples
    --------
    >>> import d2l_autorec as d2l
    >>> d2l.use_style()
    """
    import matplotlib

    matplotlib.rcParams.update(_settings())


@contextmanager
def in_style() -> Iterator[None]:
    """What is drawn in the block has the package's style; the caller's settings come back.

    Texts are shown as they are: a data set or a folder may have a dollar sign in its name.
    """
    import matplotlib

    with matplotlib.rc_context({**_settings(), "text.parse_math": False}):
        yield


def marker_of(points: int) -> str:
    """The marker of a line of so many points: a line of one would not be seen."""
    if points == 1:
        return "o"
    return ""


def _settings() -> dict[str, Any]:
    """Matplotlib's settings."""
    from cycler import cycler

    return {
        "axes.prop_cycle": cycler(color=COLORS),
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "errorbar.capsize": 3,
        "figure.constrained_layout.use": True,
        "figure.titlesize": "large",
        "font.size": 10,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "savefig.dpi": DPI,
    }

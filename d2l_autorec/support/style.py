"""One look for every picture: colours, line styles, resolution, and what matplotlib is to draw."""

from collections.abc import Sequence
from typing import Any, TypeAlias

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
SETTINGS: Any = {  # matplotlib's
    "axes.prop_cycle": f"cycler(color={COLORS})",
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
Points: TypeAlias = Sequence[tuple[int, float]]  # epochs and values


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

    matplotlib.rcParams.update(SETTINGS)


def in_style() -> Any:
    """Return a context in which figures have the package's style.

    Texts are shown as they are: a data set or a folder may have a dollar sign in its name.
    """
    import matplotlib

    return matplotlib.rc_context({**SETTINGS, "text.parse_math": False})


def settled_limits(
    curves: Sequence[Points], levels: Sequence[float] = ()
) -> tuple[float | None, float | None]:
    """Return limits of a value axis that show what curves settle to, and not how they begin.

    Parameters
    ----------
    curves : sequence of points
        (epoch, value) pairs; the first fifth of each may be left out.
    levels : sequence of float
        Values that are shown in any case.

    Returns
    -------
    low, high : float or None
        None where everything is shown.
    """
    settled = [*levels, *(value for points in curves for _, value in points[len(points) // 5 :])]
    everything = [*settled, *(value for points in curves for _, value in points)]
    if not everything:
        return None, None

    low, high = min(settled), max(settled)
    margin = 0.08 * (high - low)
    is_flattened = max(everything) - min(everything) > 1.5 * (high - low)
    return (low - margin, high + margin) if is_flattened and margin else (None, None)

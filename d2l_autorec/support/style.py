"""One look for every picture: colours, line styles, resolution and other matplotlib settings."""

from collections.abc import Sequence
from typing import Any, TypeAlias

# The palette of Okabe and Ito (Color Universal Design) can be told apart with any kind of colour
# vision. Its yellow is left out: thin lines of it are too pale on white
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
BLACK, GREY = "#000000", "#595959"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)

# the lines of what is measured on each part of the data, in every picture
COLOR_OF = {"train": BLUE, "validation": GREEN, "test": VERMILLION}
STYLE_OF = {"train": "-", "validation": ":", "test": "--"}
LINE_STYLES = ("-", "--", "-.", ":")  # tell several runs apart, in black and white, too
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # tell kinds of points apart
DPI = 120
SETTINGS: Any = {  # matplotlib's settings
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
Points: TypeAlias = Sequence[tuple[int, float]]  # pairs of epoch and value


def use_style() -> None:
    """Make pyplot draw as this package does: colour-blind safe colours, a light grid, no frame.

    Use it in notebooks and programs. The lines of an axes take the colours in turn
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

    A dollar sign in a text, as in the name of a data set or a folder, begins no formula.
    """
    import matplotlib

    return matplotlib.rc_context({**SETTINGS, "text.parse_math": False})


def settled_limits(
    curves: Sequence[Points], levels: Sequence[float] = ()
) -> tuple[float | None, float | None]:
    """Return limits of a value axis that show what curves settle to, not how they begin.

    Parameters
    ----------
    curves : sequence of points
        (epoch, value) pairs; the first fifth of each may be left out.
    levels : sequence of float
        Values that are shown in any case.

    Returns
    -------
    low, high : float or None
        Both None where everything is to be shown.
    """
    settled = [*levels, *(value for points in curves for _, value in points[len(points) // 5 :])]
    everything = [*settled, *(value for points in curves for _, value in points)]
    if not everything:
        return None, None

    low, high = min(settled), max(settled)
    margin = 0.08 * (high - low)
    is_flattened = max(everything) - min(everything) > 1.5 * (high - low)
    return (low - margin, high + margin) if is_flattened and margin else (None, None)

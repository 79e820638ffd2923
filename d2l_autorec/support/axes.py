"""What axes show and say: limits that the first epochs do not stretch, labels at line ends."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from .style import GREY

SETTLING = 0.2  # this share of the epochs, the first, does not decide on the limits
STRETCH = 1.5  # that many times the rest they may take before they are cut
LINE_HEIGHT = 1.3  # of a label, in sizes of its font
SMALL = 9  # points
LEADER = dict(linewidth=0.6, alpha=0.6)
PLOT = 0.72  # of a figure's height that its axes have, about

Points = Sequence[tuple[int, float]]


class Cut(NamedTuple):
    """Limits of an axis, and what lies outside: up to which epoch, and how far."""

    low: float
    high: float
    epoch: int
    farthest: float

    @property
    def note(self) -> str:
        """What a reader of the figure is told."""
        first = f"the first {self.epoch} epochs are"
        if self.epoch == 1:
            first = "epoch 1 is"

        side = "below"
        if self.farthest > self.high:
            side = "above"
        return f"{first} cut off {side} (to {self.farthest:.2f})"


class EndLabel(NamedTuple):
    """A text for the right of the axes, and the end of the line that it is of."""

    x: float
    y: float
    text: str
    color: str


def cut_of(curves: Sequence[Points], levels: Sequence[float] = ()) -> Cut | None:
    """Limits that leave out what is far off in the first epochs alone; None where nothing is.

    Parameters
    ----------
    curves : sequence of sequence of (int, float)
        Epochs, in order, and values.
    levels : sequence of float
        Of horizontal lines, which are to be seen.
    """
    settled = [*levels]
    for points in curves:
        settled += [value for _, value in points[int(SETTLING * len(points)) :]]
    everything = [*settled, *(value for points in curves for _, value in points)]

    if not everything:
        return None
    low, high = min(settled), max(settled)
    if max(everything) - min(everything) <= STRETCH * (high - low):
        return None

    margin = 0.08 * (high - low)
    low, high = low - margin, high + margin
    outside = [
        (epoch, value) for points in curves for epoch, value in points if not low <= value <= high
    ]
    if not outside or low == high:
        return None

    last = max(epoch for epoch, _ in outside)
    middle = (low + high) / 2
    farthest = max((value for _, value in outside), key=lambda value: abs(value - middle))
    return Cut(low, high, last, farthest)


def label_ends(axes: Any, labels: Sequence[EndLabel]) -> None:
    """Write each line's label to the right of the axes, none over another.

    A thin line leads from the end of the line, level to the edge of the axes, to the label. The
    limits of the axes must be set: they decide where a label stands.
    """
    axes.set_xlim(axes.get_xlim())  # what is drawn from here on moves none
    _, right = axes.get_xlim()
    labels = sorted(labels, key=lambda label: label.y)
    low, high = axes.get_ylim()
    height = 72 * PLOT * axes.figure.get_figheight()
    wanted = [(label.y - low) / (high - low) for label in labels]

    for label, place in zip(labels, spread(wanted, LINE_HEIGHT * SMALL / height)):
        if label.x < right:
            axes.hlines(label.y, label.x, right, colors=label.color, **LEADER)
        axes.annotate(
            label.text,
            xy=(right, label.y),
            xycoords="data",
            xytext=(1.03, place),
            textcoords="axes fraction",
            color=label.color,
            fontsize=SMALL,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops=dict(
                arrowstyle="-", color=label.color, relpos=(0, 0.5), shrinkA=1, shrinkB=0, **LEADER
            ),
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places in 0..1, in order, moved apart to at least `gap`, each as little as can be.

    Where there is no room for all, the last ones are above 1.
    """
    # Least squares: of places less their number of gaps, which are to grow, each block of those
    # that do not has its mean (pool adjacent violators)
    blocks: list[tuple[float, int]] = []
    for number, place in enumerate(places):
        total, count = place - number * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before, more = blocks.pop()
            total, count = total + before, count + more
        blocks.append((total, count))

    most = max(0.0, 1 - (len(places) - 1) * gap)
    levels = []
    for total, count in blocks:
        level = min(max(total / count, 0.0), most)
        levels += [level] * count
    return [level + number * gap for number, level in enumerate(levels)]


def headline(axes: Any, title: str, notes: Sequence[str] = (), above: float = 0.0) -> None:
    """The title of a figure of one axes, and below it, smaller, what else is to be known.

    Parameters
    ----------
    axes : Axes
    title : str
    notes : sequence of str
        A line each, or more where it is long.
    above : float
        Points between axes and notes that other text needs.
    """
    figure = axes.figure
    figure.suptitle(title, x=0.01, horizontalalignment="left")

    letters = int(13 * (figure.get_figwidth() - 1))
    text = "\n".join(textwrap.fill(note, letters) for note in notes)
    axes.set_title(text, loc="left", color=GREY, fontsize=SMALL, pad=6 + above)

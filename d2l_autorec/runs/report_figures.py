"""Figures of the reproduction report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..support.files import replacing
from .paper_tables import Table


def draw(table: Table, lines: Sequence[Any], path: Path) -> None:
    """Means with standard deviations, and published figures where there are any, as a PNG file.

    Parameters
    ----------
    table : Table
    lines : sequence of Line
    path : Path
    """
    from matplotlib.figure import (
        Figure,  # no pyplot: needs no display, keeps no global figure
    )

    height = 4 if table.x_label else 1.2 + 0.4 * len(lines)
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.add_subplot()
    (_draw_curve if table.x_label else _draw_rows)(axes, table, lines)
    axes.set_title(table.title)
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120, format="png")


def _draw_curve(axes: Any, table: Table, lines: Sequence[Any]) -> None:
    metric = table.metrics[0]
    axes.errorbar(
        [line.row.x for line in lines],
        [line.mean(metric) for line in lines],
        [line.deviation(metric) or 0 for line in lines],
        marker="o",
        capsize=3,
        label="here",
    )
    axes.set(xlabel=table.x_label, ylabel=table.heads[metric])


def _draw_rows(axes: Any, table: Table, lines: Sequence[Any]) -> None:
    metric, places = table.metrics[0], range(len(lines))
    axes.errorbar(
        [line.mean(metric) for line in lines],
        places,
        xerr=[line.deviation(metric) or 0 for line in lines],
        fmt="o",
        capsize=3,
        label="here, mean ± sd",
    )
    known = [
        (line.row.value, place) for line, place in zip(lines, places) if line.row.value is not None
    ]
    if known:
        axes.plot(*zip(*known), "kx", label="published")
    axes.set_yticks(places, [line.row.label for line in lines])
    axes.invert_yaxis()
    axes.margins(y=0.15)
    axes.set_xlabel(table.heads[metric])

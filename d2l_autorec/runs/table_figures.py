"""The figure of a table of the report: what was measured, and what was published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..support.axes import headline
from ..support.style import BLACK, BLUE
from .figures import figure_at
from .paper_tables import Line, Table

HERE = dict(fmt="o", color=BLUE, label="here")
PUBLISHED = dict(linestyle="", color=BLACK)
BESIDE = 0.25  # of a row: a published value that is ours would hide it


def draw_table(table: Table, lines: Sequence[Line], path: Path) -> None:
    """Means with standard deviations, and published figures where there are any.

    Parameters
    ----------
    table : Table
    lines : sequence of Line
    path : Path
        A PNG file.
    """
    notes = [made_of(lines)]
    if table.x_label:
        height = 4.5
        draw = _draw_over_x
        notes.append(table.data.removesuffix("."))
    else:
        height = 1.6 + 0.45 * len(lines)
        draw = _draw_rows

    with figure_at(path, 8, height) as axes:
        draw(axes, table, lines)
        headline(axes, table.title, notes)
        axes.figure.legend(loc="outside lower center", ncols=2)


def made_of(lines: Sequence[Line]) -> str:
    """Of which data and runs the figures are: 'ml-1m, split random: mean ± sd of 3 runs'."""
    results = [result for line in lines for result in line.results]
    data = ", ".join(dict.fromkeys(result["dataset"] for result in results))

    splits = list(dict.fromkeys(result["split"] for result in results if "split" in result))
    if splits:
        data += f", split {', '.join(splits)}"
    elif "heldout_users" in results[0]:
        data += f", {results[0]['heldout_users']} test users"

    counts = sorted({len(line.results) for line in lines})
    if counts == [1]:
        return f"{data}: one run each"
    runs = " or ".join(map(str, counts))
    return f"{data}: mean ± standard deviation of {runs} runs"


def _draw_over_x(axes: Any, table: Table, lines: Sequence[Line]) -> None:
    """A curve over the rows' places, with its values."""
    metric = table.metrics[0]
    places = [line.row.x for line in lines]
    means = [line.mean(metric) for line in lines]

    axes.errorbar(places, means, [line.deviation(metric) or 0 for line in lines], ls="-", **HERE)
    for place, mean in zip(places, means):
        axes.annotate(
            f"{mean:.4f}", (place, mean), (6, 6), textcoords="offset points", fontsize="small"
        )

    known = [(line.row.x, line.row.value) for line in lines if line.row.value is not None]
    if known:
        # around ours, where both are the same
        axes.plot(
            *zip(*known),
            marker="D",
            markersize=11,
            fillstyle="none",
            label=table.reference,
            **PUBLISHED,
        )
    for place, value in known:
        axes.annotate(
            f"{value:.3f}", (place, value), (0, -18), textcoords="offset points", fontsize="small"
        )

    axes.set(xlabel=table.x_label, ylabel=table.heads[metric])
    axes.margins(x=0.08, y=0.15)


def _draw_rows(axes: Any, table: Table, lines: Sequence[Line]) -> None:
    """A row for each line, the published value below ours."""
    metric = table.metrics[0]
    places = range(len(lines))

    axes.errorbar(
        [line.mean(metric) for line in lines],
        places,
        xerr=[line.deviation(metric) or 0 for line in lines],
        **HERE,
    )

    known = [
        (line.row.value, place + BESIDE)
        for line, place in zip(lines, places)
        if line.row.value is not None
    ]
    if known:
        axes.plot(*zip(*known), marker="x", label=table.reference, **PUBLISHED)

    axes.set_yticks(places, [line.row.label for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlabel(table.heads[metric])

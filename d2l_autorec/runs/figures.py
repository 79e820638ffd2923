"""Figures: the curve of a run, the curves of several, the tables of the report."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..support.errors import DataWarning, UserError
from ..support.files import replacing
from .paper_tables import Row, Table

if TYPE_CHECKING:
    import pandas as pd

    from ..training.history import EpochRecord, Score

DPI = 120
STYLES = {"train": "-", "validation": ":", "test": "--"}


class Line(Protocol):
    """A row of a table, and what its runs have found."""

    @property
    def row(self) -> Row:
        """What was run."""

    def mean(self, metric: str) -> float:
        """Mean over the runs."""

    def deviation(self, metric: str) -> float | None:
        """Standard deviation over the runs; None for a single one."""


@contextmanager
def warning_of_figure(
    path: Path, fatal: tuple[type[BaseException], ...] = (UserError,)
) -> Iterator[None]:
    """Whatever goes wrong while a figure is drawn in the block, as one warning.

    The figures of a run stand elsewhere too, and matplotlib depends on much
    that is not ours: fonts, caches, MPLBACKEND.

    Parameters
    ----------
    path : Path
        Where the figure was to go.
    fatal : tuple of exception types
        What is raised nevertheless.
    """
    reason = None

    try:
        with warnings.catch_warnings():  # of glyphs and layouts, which nobody asked for
            warnings.simplefilter("ignore")
            yield
    except fatal:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = (lines or [type(error).__name__])[0]

    if reason is not None:
        warnings.warn(
            f"the figure {path} was not drawn ({reason}); the numbers are not affected",
            DataWarning,
            stacklevel=4,
        )


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of so many inches, and its axes."""
    # no pyplot: needs no display, keeps no global figure
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI, format="png")


def save_curve(
    history: "Sequence[EpochRecord]", title: str, path: Path, metric: str = "rmse"
) -> None:
    """Draw a metric of training (RMSE only), validation and test against epochs into a PNG file."""
    from ..training.progress import label_of

    label = label_of(metric)
    unit = label
    marker = ""
    values = {
        "validation": [record.validation.get(metric) for record in history],
        "test": [record.test.get(metric) for record in history],
    }
    if metric == "rmse":
        values = {"train": [record.train_rmse for record in history], **values}
        unit = f"{label} (rating units)"
    if len(history) == 1:
        marker = "o"  # a line of one point would not be seen

    figure, axes = new_figure(6, 4)
    for part, measured in values.items():
        points = [
            (record.epoch, value)
            for record, value in zip(history, measured)
            if value is not None  # that epoch was not evaluated
        ]
        if points:
            axes.plot(*zip(*points), STYLES[part], marker=marker, label=f"{part} {label}")

    axes.set(xlabel="epoch", ylabel=unit)
    axes.set_title(title, parse_math=False)  # a data set may have a dollar sign in its name
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=DPI, format="png")


def draw_table(table: Table, lines: Sequence[Line], path: Path) -> None:
    """Means with standard deviations, and published figures where there are any, as a PNG file.

    Parameters
    ----------
    table : Table
    lines : sequence of Line
    path : Path
    """
    if table.x_label:
        figure, axes = new_figure(7, 4)
        _draw_over_x(axes, table, lines)
    else:
        figure, axes = new_figure(7, 1.2 + 0.4 * len(lines))
        _draw_rows(axes, table, lines)

    axes.set_title(table.title)
    axes.grid(alpha=0.3)
    axes.legend()

    _save(figure, path)


def _draw_over_x(axes: Any, table: Table, lines: Sequence[Line]) -> None:
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


def _draw_rows(axes: Any, table: Table, lines: Sequence[Line]) -> None:
    metric = table.metrics[0]
    places = range(len(lines))

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


def draw_trials(trials: "pd.DataFrame", score: "Score", path: Path) -> None:
    """Draw the validation score of each trial of a search, and the best so far.

    Parameters
    ----------
    trials : DataFrame
        As `Tuned` has it.
    score : Score
    path : Path
        A PNG file.
    """
    from ..training.progress import label_of

    complete = trials[trials.state == "complete"]
    figure, axes = new_figure(7, 4)
    for model, own in complete.groupby("model", sort=False):
        axes.plot(own.trial, own.validation, "o", label=model)

    best = complete.validation.cummin()
    if score.higher_is_better:
        best = complete.validation.cummax()
    axes.step(complete.trial, best, "k-", where="post", linewidth=1, label="best so far")

    # a trial that went astray would press all others into a line
    low, high = complete.validation.quantile([0.0, 0.8])
    if score.higher_is_better:
        low, high = complete.validation.quantile([0.2, 1.0])
    margin = 0.1 * (high - low)
    if margin > 0:
        axes.set_ylim(low - margin, high + margin)

    axes.set(xlabel="trial", ylabel=f"validation {label_of(score.metric)}")
    axes.set_title(f"{len(trials)} trials, {len(trials) - len(complete)} of them ended early")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()

    _save(figure, path)


def draw_importance(importance: dict[str, float], path: Path) -> None:
    """Draw which options of a search mattered, the most important on top, into a PNG file."""
    names = sorted(importance, key=importance.__getitem__)
    figure, axes = new_figure(6, 1.2 + 0.3 * len(names))

    axes.barh(names, [importance[name] for name in names])
    axes.set(xlabel="share in the spread of validation scores (PED-ANOVA)")
    axes.grid(alpha=0.3, axis="x")

    _save(figure, path)

"""Figures of runs, comparisons, tables and searches, all written in one way."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from ..models.registry import model_class
from ..support import style
from ..support.errors import UserError, warn
from ..support.files import replacing
from ..training.history import EpochRecord, Score, label_of
from .tables import Line, Table

WIDTH, LETTERS = 8, 91  # width of a figure in inches, and letters in a line of its title
BEST_TRIALS = 0.8  # share of the trials, the best ones, by which limits are chosen


@contextmanager
def warning_of_figure(
    path: Path, fatal: tuple[type[BaseException], ...] = (UserError,)
) -> Iterator[None]:
    """Turn any error in the block, which draws a figure, into one warning.

    A run's numbers are written to other files, too, and matplotlib depends on fonts, caches and
    MPLBACKEND.

    Parameters
    ----------
    path : Path
        The file of the figure.
    fatal : tuple of exception types
        Errors that are raised nevertheless.
    """
    try:
        with warnings.catch_warnings():  # matplotlib warns of glyphs and layouts
            warnings.simplefilter("ignore")
            yield
    except fatal:
        raise
    except Exception as error:
        reason, *_ = str(error).strip().splitlines() or [type(error).__name__]
        warn(f"the figure {path} was not drawn ({reason}); the numbers are not affected")


@contextmanager
def figure_at(path: Path, height: float, title: str, notes: Sequence[str] = ()) -> Iterator[Any]:
    """Yield the axes of a new figure, and write it when the block ends: whole, or not at all.

    Parameters
    ----------
    path : Path
        The file; its suffix is the format: .png, .svg or .pdf.
    height : float
        Height in inches.
    title : str
        The title.
    notes : sequence of str
        Remarks below the title, each of one line or more.
    """
    from matplotlib.figure import Figure  # no pyplot: needs no display, keeps no global figure

    lines = [textwrap.fill(text, LETTERS) for text in (title, *notes)]
    with style.in_style():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        yield axes

        figure.suptitle("\n".join(lines), x=0.01, horizontalalignment="left", fontsize="medium")
        with replacing(path) as unfinished:
            figure.savefig(unfinished, dpi=style.DPI)


class Series(NamedTuple):
    """A line over epochs; `kept` is the (epoch, value) that is served, unless it is the last."""

    name: str
    points: style.Points
    color: str
    style: str
    is_level: bool = False
    kept: tuple[int, float] | None = None

    @property
    def label(self) -> str:
        """The label of the line: its name, and the value that is served."""
        _, value = self.kept or self.points[-1]
        return f"{self.name} {value:.4f}"


def series_of_run(
    name: str, points: style.Points, look: tuple[str, str], result: dict[str, Any]
) -> Series:
    """Return the line of a run.

    Parameters
    ----------
    name : str
        The name of the run.
    points : sequence of (int, float)
        Epochs and values.
    look : (str, str)
        Colour and style.
    result : dict
        The content of result.json.
    """
    best = result.get("best_epoch")  # for a refit, its last epoch
    kept = next((point for point in points[:-1] if point[0] == best), None)
    return Series(name, points, *look, model_class(result["model"]).at_once, kept)


def look_of(place: int) -> tuple[str, str]:
    """Return the colour and style of one of several runs; they differ for up to 28."""
    colors, lines = style.COLORS, style.LINE_STYLES
    return colors[place % len(colors)], lines[place % len(lines)]


def save_curve(
    history: Sequence[EpochRecord], result: dict[str, Any], path: Path, metric: str
) -> None:
    """Draw a metric of training (RMSE only), validation and test over the epochs of a run.

    Parameters
    ----------
    history : sequence of EpochRecord
        The epochs of the last phase.
    result : dict
        The content of result.json.
    path : Path
        A PNG file.
    metric : str
        The name of the metric.
    """
    notes: list[str] = []
    series = []
    for part, color in style.COLOR_OF.items():
        measured = [(one.epoch, _of_part(one, part).get(metric)) for one in history]
        if points := [(epoch, value) for epoch, value in measured if value is not None]:
            look = color, style.STYLE_OF[part]
            series.append(series_of_run(part, points, look, result))

    if not series:  # nothing was measured
        return
    if f"baseline_test_{metric}" in result:
        level = [(history[-1].epoch, result[f"baseline_test_{metric}"])]
        series.append(Series(result["baseline"], level, style.GREY, ":", is_level=True))
    if result.get("best_epoch") and not history[-1].validation:
        notes.append(
            f"refitted on all training ratings for {len(history)} epochs, as many as were best "
            "on validation ratings"
        )
    based = f" ({result['based']}-based)" if "based" in result else ""
    title = f"{result['model']}{based} on {result['dataset']}"
    draw_runs(series, path, title, value_label(metric), notes)


def _of_part(record: EpochRecord, part: str) -> dict[str, Any]:
    """Return the metrics of an epoch on a part of the data: for training, only the RMSE."""
    return {"rmse": record.train_rmse} if part == "train" else getattr(record, part)


def value_label(metric: str) -> str:
    """Return the label of the axis of a metric: 'RMSE (rating units)'."""
    return label_of(metric) + " (rating units)" * (metric == "rmse")


def draw_runs(
    series: Sequence[Series], path: Path, title: str, value: str, notes: Sequence[str] = ()
) -> None:
    """Draw the lines of several runs over epochs.

    Parameters
    ----------
    series : sequence of Series
        The lines.
    path : Path
        The file; its suffix is the format.
    title : str
        The title.
    value : str
        The label of the vertical axis.
    notes : sequence of str
        Remarks below the title.
    """
    if any(one.kept for one in series):
        notes = [*notes, "a dot marks the epoch that was kept, where it is not the last"]
    curves = [one.points for one in series if not one.is_level]
    levels = [one.points[-1][1] for one in series if one.is_level]
    height = max(4.0, 1.6 + 0.22 * len(series))

    limits = style.settled_limits(curves, levels)
    if limits != (None, None):
        notes = [*notes, "the first epochs are beyond the picture"]

    with figure_at(path, height, title, notes) as axes:
        for one in series:
            _draw(axes, one)

        axes.autoscale(axis="y")
        axes.set_ylim(limits)
        axes.set_ylabel(value)
        axes.figure.legend(loc="outside right center")
        if not curves:
            axes.set(xlabel="fitted in closed form: no epochs", xticks=[])
            return

        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.02)


def _draw(axes: Any, one: Series) -> None:
    look = dict(color=one.color, linestyle=one.style, label=one.label)
    if one.is_level:
        axes.axhline(one.points[-1][1], **look)
        return

    marker = "o" if len(one.points) == 1 else ""  # a line of one point would not be seen
    axes.plot(*zip(*one.points, strict=True), marker=marker, **look)
    if one.kept:
        axes.plot(*one.kept, "o", color=one.color)


def draw_table(table: Table, lines: Sequence[Line], path: Path) -> None:
    """Draw a row for each line: mean, standard deviation and, below, the published value.

    Parameters
    ----------
    table : Table
    lines : sequence of Line
    path : Path
        A PNG file.
    """
    metric = table.metrics[0]
    published = [
        (line.row.value, place + 0.25)  # a quarter of a row below
        for place, line in enumerate(lines)
        if line.row.value is not None
    ]

    with figure_at(path, 1.8 + 0.45 * len(lines), table.title, [made_of(lines)]) as axes:
        axes.errorbar(
            [line.mean(metric) for line in lines],
            range(len(lines)),
            xerr=[line.deviation(metric) or 0 for line in lines],
            fmt="o",
            color=style.BLUE,
            label="here",
        )
        if published:
            axes.plot(*zip(*published, strict=True), "x", color=style.BLACK, label=table.reference)

        axes.set_yticks(range(len(lines)), [line.row.label for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlabel(table.metric_label)
        if published:
            axes.figure.legend(loc="outside lower center", ncols=2)


def made_of(lines: Sequence[Line]) -> str:
    """Return the data and runs behind a figure: 'ml-1m, split random: mean ± sd of 3 runs'."""
    results = [result for line in lines for result in line.results]
    data = dict.fromkeys(result["dataset"] for result in results)
    splits = dict.fromkeys(f"split {result['split']}" for result in results if "split" in result)
    counts = sorted({len(line.results) for line in lines})
    runs = f"mean ± standard deviation of {' or '.join(map(str, counts))} runs"
    return f"{', '.join([*data, *splits])}: {'one run each' if counts == [1] else runs}"


def draw_trials(trials: Any, score: Score, data: str, path: Path) -> None:
    """Draw the validation score of each trial of a search, and the best so far.

    Parameters
    ----------
    trials : DataFrame
        The trials, as in `Tuned`.
    score : Score
        The metric that decides.
    data : str
        The name of the data.
    path : Path
        A PNG file.
    """
    complete = trials[trials.state == "complete"]
    scores = complete.validation
    best = scores.cummax() if score.higher_is_better else scores.cummin()

    quantiles = [1 - BEST_TRIALS, 1.0] if score.higher_is_better else [0.0, BEST_TRIALS]
    low, high = scores.quantile(quantiles, interpolation="nearest")
    margin = 0.1 * (high - low)  # with the worst trials shown, all others would be one line
    note = f"{len(trials)} trials, {len(trials) - len(complete)} of them ended early"
    if margin > 0 and (beyond := int((~scores.between(low - margin, high + margin)).sum())):
        note += f"; {beyond} beyond the picture"
    with figure_at(path, 4, f"A search on {data}", [note]) as axes:
        look = dict(color=style.BLACK, linewidth=1, label="best so far")
        axes.step(complete.trial, best, where="post", **look)
        by_model = complete.groupby("model", sort=False)
        for marker, (model, own) in zip(cycle(style.MARKERS), by_model):
            axes.plot(own.trial, own.validation, marker, markersize=4, label=model)

        if margin > 0:
            axes.set_ylim(low - margin, high + margin)
        axes.set(xlabel="trial", ylabel=f"validation {label_of(score.metric)}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.figure.legend(loc="outside right center")

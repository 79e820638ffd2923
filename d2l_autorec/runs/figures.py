"""Figures of runs, comparisons, tables and searches, all written in one way."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models.registry import model_class
from ..support.errors import DataWarning, UserError
from ..support.files import replacing
from ..support.style import (
    BLACK,
    BLUE,
    COLOR_OF,
    COLORS,
    DPI,
    GREY,
    LINE_STYLES,
    MARKERS,
    STYLE_OF,
    Points,
    in_style,
    settled_limits,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..training.history import EpochRecord, Score
    from .tables import Line, Table

RECONSTRUCTION = "reconstruction"  # of rows that the network was given
LETTERS_AN_INCH = 13
BEST_TRIALS = 0.8  # this share of the trials, the best, decides on the limits


@contextmanager
def warning_of_figure(
    path: Path, fatal: tuple[type[BaseException], ...] = (UserError,)
) -> Iterator[None]:
    """Turn whatever goes wrong while a figure is drawn into one warning.

    The figures of a run stand elsewhere too, and matplotlib depends on fonts, caches and
    MPLBACKEND.

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
        reason = lines[0] if lines else type(error).__name__

    if reason is not None:
        warnings.warn(
            f"the figure {path} was not drawn ({reason}); the numbers are not affected",
            DataWarning,
            stacklevel=4,
        )


@contextmanager
def figure_at(
    path: Path, width: float, height: float, title: str, notes: Sequence[str] = ()
) -> Iterator[Any]:
    """Yield the axes of a new figure, and write it when the block ends: whole, or not at all.

    Parameters
    ----------
    path : Path
        Its ending is the format: see `formats`.
    width, height : float
        Inches.
    title : str
    notes : sequence of str
        What a reader is to know beside the title, a line or more each.
    """
    from matplotlib.figure import Figure  # no pyplot: needs no display, keeps no global figure

    letters = int(LETTERS_AN_INCH * (width - 1))
    lines = [textwrap.fill(text, letters) for text in (title, *notes)]

    with in_style():
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        yield axes

        figure.suptitle("\n".join(lines), x=0.01, horizontalalignment="left", fontsize="medium")
        with replacing(path) as unfinished:
            figure.savefig(unfinished, dpi=DPI, format=format_of(path))


def format_of(path: Path) -> str:
    """Return the format that the ending of a file's name asks for: 'png'."""
    return path.suffix[1:].lower()


def formats() -> set[str]:
    """Return the formats that a figure can be written in."""
    from matplotlib.figure import Figure

    return set(Figure().canvas.get_supported_filetypes())


class Series(NamedTuple):
    """A line over epochs; `kept` is the (epoch, value) that is served, where not the last."""

    name: str
    points: Points
    color: str
    style: str
    is_level: bool = False
    kept: tuple[int, float] | None = None

    @property
    def label(self) -> str:
        """The name, and the value that counts."""
        _, value = self.kept or self.points[-1]
        return f"{self.name} {value:.4f}"


def save_curve(
    history: "Sequence[EpochRecord]", result: dict[str, Any], path: Path, score: "Score"
) -> None:
    """Draw a metric of training (RMSE only), validation and test over the epochs of a run.

    Parameters
    ----------
    history : sequence of EpochRecord
        Of the last phase.
    result : dict
        What result.json holds.
    path : Path
        A PNG file.
    score : Score
    """
    metric = score.metric
    series = _parts_of(history, result, metric)
    if not series:  # nothing was measured
        return
    if "baseline" in result:
        level = [(history[-1].epoch, result[f"baseline_test_{metric}"])]
        series.append(Series(result["baseline"], level, GREY, ":", is_level=True))

    notes = []
    if is_reconstruction(result):
        notes.append(f"{held_out_rows(result)} are reconstructed from their own ratings")
    if result.get("best_epoch") and not history[-1].validation:
        notes.append(
            f"refitted on all training ratings for {len(history)} epochs, as many as were best "
            "on validation ratings"
        )

    with _epochs_at(path, series, _title_of(result), notes) as axes:
        axes.set_ylabel(value_label(metric, [result]))
        _mark_best(axes, history, score)


def _parts_of(
    history: "Sequence[EpochRecord]", result: dict[str, Any], metric: str
) -> list[Series]:
    """Return a line for each part that was measured, without epochs that were not evaluated."""
    measured: dict[str, list[float | None]] = {
        "validation": [record.validation.get(metric) for record in history],
        "test": [record.test.get(metric) for record in history],
    }
    if metric == "rmse":
        measured = {"train": [record.train_rmse for record in history], **measured}

    series = []
    for part, values in measured.items():
        points = [
            (record.epoch, value)
            for record, value in zip(history, values, strict=True)
            if value is not None
        ]
        name = held_out_rows(result) if part == "test" and is_reconstruction(result) else part
        is_level = model_class(result["model"]).at_once
        if points:
            series.append(Series(name, points, COLOR_OF[part], STYLE_OF[part], is_level))
    return series


def _title_of(result: dict[str, Any]) -> str:
    """Name the model and the data: 'autorec (item-based) on ml-100k'."""
    based = f" ({result['based']}-based)" if "based" in result else ""
    return f"{result['model']}{based} on {result['dataset']}"


def is_reconstruction(result: dict[str, Any]) -> bool:
    """Return whether test rows are given to the network: its error is not one of predictions."""
    return result.get("split") == "held-out-rows"


def held_out_rows(result: dict[str, Any]) -> str:
    """Name what was held out: 'held-out items'."""
    return f"held-out {result['based']}s"


def value_label(metric: str, results: Sequence[dict[str, Any]]) -> str:
    """Return the label of the axis of a metric: 'RMSE (rating units)'."""
    from ..training.progress import label_of

    label = label_of(metric)
    if metric == "rmse":
        label += " (rating units)"
    if all(map(is_reconstruction, results)):
        label = f"{RECONSTRUCTION} {label}"
    return label


def _mark_best(axes: Any, history: "Sequence[EpochRecord]", score: "Score") -> None:
    """Mark the best validation epoch by an upright line, where it is one of several."""
    from ..training.history import best_epoch
    from ..training.progress import label_of

    epoch = best_epoch(history, score)
    if epoch is None or len(history) == 1:
        return

    [best] = (record for record in history if record.epoch == epoch)
    label = (
        f"best epoch {epoch}: validation {label_of(score.metric)} "
        f"{best.validation[score.metric]:.4f}"
    )
    if score.metric in best.test:
        label += f",\ntest {best.test[score.metric]:.4f}"
    axes.axvline(epoch, color=GREY, linewidth=0.8, label=label)


def series_of_run(
    place: int, name: str, points: Points, result: dict[str, Any], metric: str
) -> Series:
    """Return the line of one of several runs; no two of 28 have both colour and style.

    Parameters
    ----------
    place : int
        Of the run, from 0.
    name : str
    points : sequence of (int, float)
        Epochs and values of `metric`.
    result : dict
        What result.json holds.
    metric : str
        As result.json names it.
    """
    best: Any = result.get("best_epoch")
    is_earlier = best in dict(points[:-1])  # refitted, a run is at its end; else what was best
    return Series(
        name,
        points,
        COLORS[place % len(COLORS)],
        LINE_STYLES[place % len(LINE_STYLES)],
        model_class(result["model"]).at_once,
        (best, result[metric]) if is_earlier else None,
    )


def draw_runs(
    series: Sequence[Series], path: Path, title: str, value: str, notes: Sequence[str] = ()
) -> None:
    """Draw the lines of several runs over epochs.

    Parameters
    ----------
    series : sequence of Series
    path : Path
        Its ending is the format.
    title : str
    value : str
        The label of the vertical axis.
    notes : sequence of str
    """
    with _epochs_at(path, series, title, notes) as axes:
        axes.set_ylabel(value)


@contextmanager
def _epochs_at(
    path: Path, series: Sequence[Series], title: str, notes: Sequence[str]
) -> Iterator[Any]:
    """Draw lines over epochs with a legend beside them; yield the axes before they are written."""
    if any(one.kept for one in series):
        notes = [*notes, "a dot marks the epoch that was kept, where it is not the last"]
    height = max(4.0, 1.6 + 0.22 * len(series))

    with figure_at(path, 8, height, title, notes) as axes:
        for one in series:
            _draw(axes, one)

        curves = [one.points for one in series if not one.is_level]
        levels = [one.points[-1][1] for one in series if one.is_level]
        axes.autoscale(axis="y")
        axes.set_ylim(settled_limits(curves, levels))
        _set_epochs(axes, curves)
        yield axes
        axes.figure.legend(loc="outside right upper")


def _draw(axes: Any, one: Series) -> None:
    look = dict(color=one.color, linestyle=one.style, label=one.label)
    if one.is_level:
        axes.axhline(one.points[-1][1], **look)
        return

    marker = "o" if len(one.points) == 1 else ""  # a line of one point would not be seen
    axes.plot(*zip(*one.points, strict=True), marker=marker, **look)
    if one.kept:
        axes.plot(*one.kept, "o", color=one.color)


def _set_epochs(axes: Any, curves: Sequence[Points]) -> None:
    """Give the axis whole epochs, or none where nothing has any."""
    if not curves:
        axes.set(xlabel="fitted in closed form: no epochs", xticks=[])
        return

    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.02)

    epochs = {epoch for points in curves for epoch, _ in points}
    if len(epochs) == 1:
        axes.set_xticks(list(epochs))


def draw_table(table: "Table", lines: "Sequence[Line]", path: Path) -> None:
    """Draw the means of a table with standard deviations, and published figures if there are any.

    Parameters
    ----------
    table : Table
    lines : sequence of Line
    path : Path
        A PNG file.
    """
    notes = [made_of(lines)]
    height, draw = 1.8 + 0.45 * len(lines), _draw_rows
    if table.x_label:
        height, draw = 4.5, _draw_over_x
        notes.append(table.data.removesuffix("."))

    with figure_at(path, 8, height, table.title, notes) as axes:
        draw(axes, table, lines)
        axes.figure.legend(loc="outside lower center", ncols=2)


def made_of(lines: "Sequence[Line]") -> str:
    """Name data and runs behind figures: 'ml-1m, split random: mean ± sd of 3 runs'."""
    results = [result for line in lines for result in line.results]
    data = ", ".join(dict.fromkeys(result["dataset"] for result in results))

    splits = dict.fromkeys(result["split"] for result in results if "split" in result)
    if splits:
        data += f", split {', '.join(splits)}"
    elif "heldout_users" in results[0]:
        data += f", {results[0]['heldout_users']} test users"

    counts = sorted({len(line.results) for line in lines})
    if counts == [1]:
        return f"{data}: one run each"
    return f"{data}: mean ± standard deviation of {' or '.join(map(str, counts))} runs"


def _draw_over_x(axes: Any, table: "Table", lines: "Sequence[Line]") -> None:
    """Draw a curve over the rows' places, with its values."""
    metric = table.metrics[0]
    places = [line.row.x for line in lines]
    _draw_means(axes, places, lines, metric, "-")
    for place, line in zip(places, lines, strict=True):
        _write_value(axes, place, f"{line.mean(metric):.4f}", above=6)

    known = [(line.row.x, line.row.value) for line in lines if line.row.value is not None]
    if known:
        look = dict(markersize=11, fillstyle="none", color=BLACK, label=table.reference)
        axes.plot(*zip(*known, strict=True), "D", **look)
    for place, value in known:
        _write_value(axes, place, f"{value:.3f}", above=-18)

    axes.set(xlabel=table.x_label, ylabel=table.metric_label)
    axes.margins(x=0.08, y=0.15)


def _write_value(axes: Any, x: Any, text: str, above: int) -> None:
    axes.annotate(
        text,
        (x, float(text)),
        (6, above),
        textcoords="offset points",
        fontsize="small",
    )


def _draw_means(
    axes: Any, places: Sequence[Any], lines: "Sequence[Line]", metric: str, style: str
) -> None:
    """Draw means over places with their deviations."""
    axes.errorbar(
        places,
        [line.mean(metric) for line in lines],
        [line.deviation(metric) or 0 for line in lines],
        fmt="o",
        linestyle=style,
        color=BLUE,
        label="here",
    )


def _draw_rows(axes: Any, table: "Table", lines: "Sequence[Line]") -> None:
    """Draw a row for each line, the published value below ours."""
    metric = table.metrics[0]
    axes.errorbar(
        [line.mean(metric) for line in lines],
        range(len(lines)),
        xerr=[line.deviation(metric) or 0 for line in lines],
        fmt="o",
        color=BLUE,
        label="here",
    )

    known = [
        (line.row.value, place + 0.25)  # of the height of a row
        for place, line in enumerate(lines)
        if line.row.value is not None
    ]
    if known:
        axes.plot(*zip(*known, strict=True), "x", color=BLACK, label=table.reference)

    axes.set_yticks(range(len(lines)), [line.row.label for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlabel(table.metric_label)


def draw_trials(trials: "pd.DataFrame", score: "Score", data: str, path: Path) -> None:
    """Draw the validation score of each trial of a search, and the best so far.

    Parameters
    ----------
    trials : DataFrame
        As `Tuned` has it.
    score : Score
    data : str
        What was searched on.
    path : Path
        A PNG file.
    """
    from ..training.progress import label_of

    complete = trials[trials.state == "complete"]
    scores = complete.validation
    best = scores.cummax() if score.higher_is_better else scores.cummin()

    quantiles = [1 - BEST_TRIALS, 1.0] if score.higher_is_better else [0.0, BEST_TRIALS]
    low, high = scores.quantile(quantiles, interpolation="nearest")
    margin = 0.1 * (high - low)  # trials that went astray would press all others into a line
    outside = int((~scores.between(low - margin, high + margin)).sum()) if margin > 0 else 0

    notes = [f"{len(trials)} trials, {len(trials) - len(complete)} of them ended early"]
    if outside:
        notes.append(f"{outside} lie outside the axes")

    with figure_at(path, 8, 4, f"A search on {data}", notes) as axes:
        axes.step(complete.trial, best, where="post", color=BLACK, linewidth=1, label="best so far")
        for marker, (model, own) in zip(cycle(MARKERS), complete.groupby("model", sort=False)):
            axes.plot(own.trial, own.validation, marker, markersize=4, label=model)

        if margin > 0:
            axes.set_ylim(low - margin, high + margin)
        axes.set(xlabel="trial", ylabel=f"validation {label_of(score.metric)}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.figure.legend(loc="outside right upper")


def draw_importance(importance: dict[str, float], data: str, path: Path) -> None:
    """Draw which options of a search mattered, the most important on top, with their shares.

    Parameters
    ----------
    importance : dict
        Option to share.
    data : str
        What was searched on.
    path : Path
        A PNG file.
    """
    names = sorted(importance, key=importance.__getitem__)
    height = 1.6 + 0.3 * len(names)

    with figure_at(path, 7, height, f"Which options mattered on {data}") as axes:
        bars = axes.barh(names, [importance[name] for name in names])
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.margins(x=0.1)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share in the spread of validation scores (PED-ANOVA)")

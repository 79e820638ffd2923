"""Curves over epochs: of a run, and of several beside each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..support.axes import EndLabel, Points, cut_of, headline, label_ends
from ..support.style import COLOR_OF, COLORS, GREY, LINE_STYLES, STYLE_OF, marker_of
from .config import CLOSED_FORM
from .figures import figure_at

if TYPE_CHECKING:
    from ..training.history import EpochRecord, Score

RECONSTRUCTION = "reconstruction"  # not prediction: what the rows of held-out-rows undergo
LETTER = 0.075  # inches of a label's letter, about
LINE = 0.22  # inches of a label


class Series(NamedTuple):
    """A line of a figure over epochs.

    Parameters
    ----------
    name : str
    points : sequence of (int, float)
        Epochs, in order, and values.
    color, style : str
    is_level : bool
        Of a single value that no epoch changes: a horizontal line.
    kept : (int, float), optional
        The epoch whose parameters a run has kept, where it is not the last, and its value.
    """

    name: str
    points: Points
    color: str
    style: str
    is_level: bool = False
    kept: tuple[int, float] | None = None

    @property
    def last(self) -> float:
        """The value at the end of the line."""
        return self.points[-1][1]

    @property
    def text(self) -> str:
        """The label: the name, and the value that counts."""
        value = self.last
        if self.kept:
            value = self.kept[1]
        return f"{self.name} {value:.4f}"


class Mark(NamedTuple):
    """An epoch to point out, the values that the lines have there, and what is said of it."""

    epoch: int
    values: Sequence[float]
    text: str


class Words(NamedTuple):
    """What stands around the axes."""

    title: str
    notes: Sequence[str]
    value: str


def save_curve(
    history: "Sequence[EpochRecord]", result: dict[str, Any], path: Path, score: "Score"
) -> None:
    """Draw a metric of training (RMSE only), validation and test over the epochs of a run.

    The baseline is a horizontal line, the best validation epoch is marked, and
    each line ends in its last value.

    Parameters
    ----------
    history : sequence of EpochRecord
        Of the last phase.
    result : dict
        What result.json holds.
    path : Path
        A PNG file.
    score : Score
        Which metric.
    """
    from ..training.progress import label_of

    metric = score.metric
    series = _parts_of(history, result, metric)
    if "baseline" in result:
        level = [(history[-1].epoch, result[f"baseline_test_{metric}"])]
        series.append(Series(result["baseline"], level, GREY, ":", is_level=True))

    words = Words(_title_of(result), _notes_of(history, result), value_label(metric, [result]))
    draw_series(series, words, path, _best_of(history, score, label_of(metric)))


def _parts_of(
    history: "Sequence[EpochRecord]", result: dict[str, Any], metric: str
) -> list[Series]:
    """The line of each part that was measured; epochs that were not evaluated are left out."""
    values: dict[str, list[float | None]] = {
        "validation": [record.validation.get(metric) for record in history],
        "test": [record.test.get(metric) for record in history],
    }
    if metric == "rmse":
        values = {"train": [record.train_rmse for record in history], **values}

    series = []
    for part, measured in values.items():
        points = [
            (record.epoch, value) for record, value in zip(history, measured) if value is not None
        ]
        if not points:
            continue

        name = part
        if part == "test" and is_reconstruction(result):
            name = held_out_rows(result)
        is_level = result["model"] in CLOSED_FORM
        series.append(Series(name, points, COLOR_OF[part], STYLE_OF[part], is_level))
    return series


def _title_of(result: dict[str, Any]) -> str:
    """The model and the data: 'autorec (item-based) on ml-100k'."""
    model = result["model"]
    if "based" in result:
        model += f" ({result['based']}-based)"
    return f"{model} on {result['dataset']}"


def _notes_of(history: "Sequence[EpochRecord]", result: dict[str, Any]) -> list[str]:
    """What a reader is to know of the curve beside its values."""
    notes = []
    if is_reconstruction(result):
        notes.append(f"{held_out_rows(result)} are reconstructed from their own ratings")

    if result.get("best_epoch") and not history[-1].validation:
        notes.append(
            f"refitted on all training ratings for {len(history)} epochs, "
            "as many as were best on validation ratings"
        )
    return notes


def _best_of(history: "Sequence[EpochRecord]", score: "Score", label: str) -> Mark | None:
    """The best validation epoch; None where there is none, or no other to be better than."""
    from ..training.history import best_epoch

    epoch = best_epoch(history, score)
    if epoch is None or len(history) == 1:
        return None

    [best] = (record for record in history if record.epoch == epoch)
    values = [best.validation[score.metric]]
    text = f"best epoch {epoch}: validation {label} {values[0]:.4f}"
    if score.metric in best.test:
        values.append(best.test[score.metric])
        text += f", test {values[1]:.4f}"
    return Mark(epoch, values, text)


def is_reconstruction(result: dict[str, Any]) -> bool:
    """Whether test rows are given to the network: its error is not one of predictions."""
    return result.get("split") == "held-out-rows"


def held_out_rows(result: dict[str, Any]) -> str:
    """What was held out: 'held-out items'."""
    return f"held-out {result['based']}s"


def value_label(metric: str, results: Sequence[dict[str, Any]]) -> str:
    """The label of the axis of a metric: 'RMSE (rating units)'."""
    from ..training.progress import label_of

    label = label_of(metric)
    if metric == "rmse":
        label += " (rating units)"
    if all(map(is_reconstruction, results)):
        label = f"{RECONSTRUCTION} {label}"
    return label


def series_of_run(
    place: int, name: str, points: Points, result: dict[str, Any], metric: str
) -> Series:
    """The line of one of several runs; no two of 28 have both colour and style.

    Parameters
    ----------
    place : int
        Of the run among the others, from 0.
    name : str
    points : sequence of (int, float)
    result : dict
        What result.json holds.
    metric : str
        Its key there, whose value the label shows.
    """
    kept = None
    epoch = result.get("best_epoch")
    if epoch in dict(points[:-1]):
        kept = (epoch, result[metric])

    color = COLORS[place % len(COLORS)]
    style = LINE_STYLES[place % len(LINE_STYLES)]
    return Series(name, points, color, style, result["model"] in CLOSED_FORM, kept)


def draw_series(
    series: Sequence[Series], words: Words, path: Path, mark: Mark | None = None
) -> None:
    """Draw lines over epochs into a file, each with its name and last value at its end.

    Parameters
    ----------
    series : sequence of Series
    words : Words
    path : Path
    mark : Mark, optional
    """
    width = 5 + LETTER * max(len(one.text) for one in series)
    height = max(4, 1.6 + LINE * len(series))
    curves = [one.points for one in series if not one.is_level]
    cut = cut_of(curves, [one.last for one in series if one.is_level])

    notes = list(words.notes)
    above = 0
    if any(one.kept for one in series):
        notes.append("a dot marks the epoch that was kept, where it is not the last")
    if cut:
        notes.append(cut.note)
    if mark:
        above = 14

    with figure_at(path, width, height) as axes:
        for one in series:
            _draw(axes, one)
        axes.autoscale(axis="y")  # a horizontal line within 0..1 does not ask for it
        if cut:
            axes.set_ylim(cut.low, cut.high)
        _set_epochs(axes, curves)
        if mark:
            _point_out(axes, mark)

        axes.set_ylabel(words.value)
        headline(axes, words.title, notes, above)
        label_ends(axes, _ends(axes, series))


def _draw(axes: Any, one: Series) -> None:
    if one.is_level:
        axes.axhline(one.last, color=one.color, linestyle=one.style)
        return

    axes.plot(
        *zip(*one.points), linestyle=one.style, color=one.color, marker=marker_of(len(one.points))
    )
    if one.kept:
        axes.plot(*one.kept, "o", color=one.color)


def _set_epochs(axes: Any, curves: Sequence[Points]) -> None:
    """Whole epochs on the axis; none where nothing has any."""
    if not curves:
        axes.set(xlabel="fitted in closed form: no epochs", xticks=[])
        return

    epochs = [epoch for points in curves for epoch, _ in points]
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.02)
    if len(set(epochs)) == 1:
        axes.set_xticks([epochs[0]])


def _point_out(axes: Any, mark: Mark) -> None:
    """A vertical line at the epoch, and above the axes what is said of it."""
    axes.axvline(mark.epoch, color=GREY, linewidth=0.8)
    axes.plot([mark.epoch] * len(mark.values), mark.values, "o", color=GREY, markersize=4, zorder=3)

    low, high = axes.get_xlim()
    side = "left"
    if mark.epoch > (low + high) / 2:
        side = "right"
    axes.annotate(
        mark.text,
        xy=(mark.epoch, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        horizontalalignment=side,
        color=GREY,
        fontsize="small",
    )


def _ends(axes: Any, series: Sequence[Series]) -> list[EndLabel]:
    """Where the lines end; levels at the right of the axes."""
    _, right = axes.get_xlim()
    ends = []
    for one in series:
        x = one.points[-1][0]
        if one.is_level:
            x = right
        ends.append(EndLabel(x, one.last, one.text, one.color))
    return ends

"""The figures of a search: its trials, and which options mattered."""

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.axes import headline
from ..support.style import BLACK, MARKERS
from .figures import figure_at

if TYPE_CHECKING:
    import pandas as pd

    from ..training.history import Score

SHOWN = 0.8  # this share of the trials, the best, decides on the limits


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
    best = complete.validation.cummin()
    if score.higher_is_better:
        best = complete.validation.cummax()

    size = 5.0
    if len(complete) > 60:
        size = 3.0  # many lie beside each other

    with figure_at(path, 8, 4) as axes:
        axes.step(
            complete.trial, best, "-", where="post", color=BLACK, linewidth=1, label="best so far"
        )
        for marker, (model, own) in zip(cycle(MARKERS), complete.groupby("model", sort=False)):
            axes.plot(own.trial, own.validation, marker, markersize=size, label=model)

        outside = _limit(axes, complete.validation, score.higher_is_better)
        notes = [f"{len(trials)} trials, {len(trials) - len(complete)} of them ended early"]
        if outside:
            notes.append(f"{outside} lie outside the axes")

        axes.set(xlabel="trial", ylabel=f"validation {label_of(score.metric)}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        headline(axes, f"A search on {data}", notes)
        axes.figure.legend(loc="outside right upper")


def _limit(axes: Any, values: "pd.Series", higher_is_better: bool) -> int:
    """Cut off trials that went astray, which would press all others into a line; how many."""
    low, high = values.quantile([0.0, SHOWN], interpolation="nearest")
    if higher_is_better:
        low, high = values.quantile([1 - SHOWN, 1.0], interpolation="nearest")

    margin = 0.1 * (high - low)
    if margin <= 0:
        return 0

    low, high = low - margin, high + margin
    axes.set_ylim(low, high)
    return int((~values.between(low, high)).sum())


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

    with figure_at(path, 7, 1.6 + 0.3 * len(names)) as axes:
        bars = axes.barh(names, [importance[name] for name in names])
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.margins(x=0.1)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share in the spread of validation scores (PED-ANOVA)")
        headline(axes, f"Which options mattered on {data}")

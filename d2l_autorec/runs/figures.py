"""Figures of a run."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.errors import DataWarning, UserError

if TYPE_CHECKING:
    from ..training.history import EpochRecord


@contextmanager
def warning_of_figure(path: Path, fatal: tuple = (UserError,)) -> Iterator[None]:
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
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if reason is not None:
        warnings.warn(
            f"the figure {path} was not drawn ({reason}); the numbers are not affected",
            DataWarning,
            stacklevel=4,
        )


def save_curve(
    history: "Sequence[EpochRecord]", title: str, path: Path, metric: str = "rmse"
) -> None:
    """Draw a metric of training (RMSE only), validation and test against epochs into a PNG file."""
    from matplotlib.figure import (
        Figure,  # no pyplot: needs no display, keeps no global figure
    )

    from ..training.progress import label_of

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs, label = [record.epoch for record in history], label_of(metric)
    marker = "o" if len(history) == 1 else ""
    lines = {
        "train": [r.train_rmse if metric == "rmse" else None for r in history],
        "validation": [r.validation.get(metric) for r in history],
        "test": [r.test.get(metric) for r in history],
    }
    for (part, values), style in zip(lines.items(), ("-", ":", "--")):
        points = [(epoch, value) for epoch, value in zip(epochs, values) if value is not None]
        if points:
            axes.plot(*zip(*points), style, marker=marker, label=f"{part} {label}")
    unit = f"{label} (rating units)" if metric == "rmse" else label
    axes.set(xlabel="epoch", ylabel=unit)
    axes.set_title(title, parse_math=False)  # a data set may have a dollar sign in its name
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, format="png")

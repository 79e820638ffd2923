"""Figures of a run."""

from pathlib import Path
from typing import Sequence

from .progress import label_of
from .train import EpochRecord


def save_curve(history: Sequence[EpochRecord], title: str, path: Path, metric: str = "rmse"
               ) -> None:
    """Draw a metric of training (RMSE only), validation and test against epochs into a PNG file."""
    from matplotlib.figure import Figure  # no pyplot: needs no display, keeps no global figure
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs, label = [record.epoch for record in history], label_of(metric)
    marker = "o" if len(history) == 1 else ""
    lines = {"train": [r.train_rmse if metric == "rmse" else None for r in history],
             "validation": [r.validation.get(metric) for r in history],
             "test": [r.test.get(metric) for r in history]}
    for (part, values), style in zip(lines.items(), ("-", ":", "--")):
        points = [(epoch, value) for epoch, value in zip(epochs, values) if value is not None]
        if points:
            axes.plot(*zip(*points), style, marker=marker, label=f"{part} {label}")
    unit = f"{label} (rating units)" if metric == "rmse" else label
    axes.set(xlabel="epoch", ylabel=unit, title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)

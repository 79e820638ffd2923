"""Figures of a run."""

from pathlib import Path
from typing import Sequence

from .train import EpochRecord


def save_curve(history: Sequence[EpochRecord], title: str, path: Path) -> None:
    """Draw train, validation and test RMSE against epochs into a PNG file."""
    from matplotlib.figure import Figure  # no pyplot: needs no display, keeps no global figure
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs = [record.epoch for record in history]
    marker = "o" if len(history) == 1 else ""
    axes.plot(epochs, [r.train_rmse for r in history], "-", marker=marker, label="train RMSE")
    if history[0].validation:
        axes.plot(epochs, [r.validation["rmse"] for r in history], ":", marker=marker,
                  label="validation RMSE")
    axes.plot(epochs, [r.test["rmse"] for r in history], "--", marker=marker, label="test RMSE")
    axes.set(xlabel="epoch", ylabel="RMSE (rating units)", title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)

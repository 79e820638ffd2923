"""What a person sees while a model is trained: a bar or lines, or the chapter's animated curve."""

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..support.style import settled_limits
from .callbacks import Callback
from .history import label_of

if TYPE_CHECKING:
    from .loop import Training


@dataclass(eq=False)
class Bar(Callback, AbstractContextManager):
    """A callback that shows a bar over epochs, or lines if stderr is no terminal, with scores."""

    num_epochs: int
    disable: bool = False
    done: int = 0
    label: str = ""
    metric: str = "rmse"

    def __post_init__(self) -> None:
        tqdm = import_module("tqdm.auto" if in_notebook() else "tqdm")  # tqdm.auto loads slowly
        self._lines = not self.disable and not sys.stderr.isatty() and not in_notebook()
        self._bar = tqdm.tqdm(
            total=self.num_epochs,
            initial=self.done,
            desc=self.label or None,
            bar_format="{desc}{bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            disable=self.disable or self._lines,
            dynamic_ncols=True,
        )

    def on_epoch_end(self, training: "Training") -> None:
        """Move the bar on by one epoch, or print a line."""
        record = training.history[-1]
        scores = {
            "train": record.train_rmse if self.metric == "rmse" else None,
            "validation": record.validation.get(self.metric),
            "test": record.test.get(self.metric),
        }
        label = label_of(self.metric)
        text = ", ".join(f"{name} {label} {v:.4f}" for name, v in scores.items() if v is not None)

        if self._lines:
            line = f"{self.label} epoch {record.epoch}/{self.num_epochs}: {text}"
            print(line.strip(), file=sys.stderr, flush=True)
        brief = " ".join(f"{name[:5]} {v:.4f}" for name, v in scores.items() if v is not None)
        self._bar.set_postfix_str(f"{label} {brief}", refresh=False)
        self._bar.update()

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


class Curve(Callback, AbstractContextManager):
    """A callback that draws the chapter's animated figure in a notebook.

    The legend has the last values.
    """

    def __init__(self, num_epochs: int) -> None:
        from d2l import mxnet as d2l

        self._epochs = num_epochs
        self._lines: dict[str, list[tuple[int, float]]] = {"train": [], "test": []}
        self._set_axes = d2l.set_axes
        self._animator = d2l.Animator(fmts=("C0-", "C1--"), figsize=(5, 3))
        self._animator.config_axes = self._configure

    def on_epoch_end(self, training: "Training") -> None:
        """Add the epoch to the figure and draw it."""
        record = training.history[-1]
        values = {"train": record.train_rmse, "test": record.test["rmse"]}
        for part, value in values.items():
            if value is not None:
                self._lines[part].append((record.epoch, value))

        self._animator.add(record.epoch, tuple(values.values()))

    def _configure(self) -> None:
        """Give the axes their labels, and limits that the first epochs do not stretch."""
        legend = []
        for part, points in self._lines.items():
            values = [f"{value:.3f}" for _, value in points]
            legend.append(" ".join([part, "RMSE", *values[-1:]]))

        [axes] = self._animator.axes
        limits = [1, self._epochs], settled_limits(list(self._lines.values()))
        self._set_axes(axes, "epoch", "RMSE (rating units)", *limits, "linear", "linear", legend)
        axes.grid(True)  # d2l's call toggles the grid, and so turns off the style's

    def __exit__(self, *_: Any) -> None:
        pass


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this code."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")

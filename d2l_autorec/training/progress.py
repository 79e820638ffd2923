"""What a person sees while a model trains: a bar, or in a notebook the animated curve."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..support.style import settled_limits
from .callbacks import Callback
from .history import label_of

if TYPE_CHECKING:
    from .loop import Training


class Bar(Callback):
    """A tqdm bar over epochs with the latest scores; where stderr is no terminal, lines."""

    def __init__(
        self,
        num_epochs: int,
        disable: bool = False,
        done: int = 0,
        label: str = "",
        metric: str = "rmse",
    ) -> None:
        tqdm = import_module("tqdm.auto" if in_notebook() else "tqdm")  # the first loads slowly
        self._epochs = num_epochs
        self._label = label
        self._metric = metric
        self._lines = not disable and not sys.stderr.isatty() and not in_notebook()
        self._bar = tqdm.tqdm(
            total=num_epochs,
            initial=done,
            desc=label or None,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            disable=disable or self._lines,
            dynamic_ncols=True,
        )

    def on_epoch_end(self, training: "Training") -> None:
        """Move on by one epoch."""
        record = training.history[-1]
        scores = {
            "train": record.train_rmse if self._metric == "rmse" else None,
            "validation": record.validation.get(self._metric),
            "test": record.test.get(self._metric),
        }
        label = label_of(self._metric)
        text = ", ".join(f"{name} {label} {v:.4f}" for name, v in scores.items() if v is not None)

        if self._lines:
            line = f"{self._label} epoch {record.epoch}/{self._epochs}: {text}"
            print(line.strip(), file=sys.stderr, flush=True)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


class Curve(Callback):
    """The chapter's animated figure, for a notebook: the last values are in its legend."""

    def __init__(self, num_epochs: int) -> None:
        from d2l import mxnet as d2l

        self._epochs = num_epochs
        self._lines: dict[str, list[tuple[int, float]]] = {"train": [], "test": []}
        self._set_axes = d2l.set_axes
        self._animator = d2l.Animator(fmts=("C0-", "C1--"), figsize=(5, 3))
        self._animator.config_axes = self._configure

    def on_epoch_end(self, training: "Training") -> None:
        """Draw one more epoch."""
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
        axes.grid(True)  # d2l's call turns off one that is there

    def __enter__(self) -> "Curve":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this code."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")

"""What a person sees while a model trains: a bar, or in a notebook the animated curve."""

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from ..support.numbers import significant
from ..support.style import settled_limits
from .history import EpochRecord


class Bar:
    """A tqdm bar over epochs with the latest scores; where stderr is no terminal, lines."""

    def __init__(
        self,
        num_epochs: int,
        disable: bool = False,
        done: int = 0,
        label: str = "",
        metric: str = "rmse",
    ) -> None:
        self._epochs = num_epochs
        self._label = label
        self._metric = metric
        self._lines = not disable and not sys.stderr.isatty() and not in_notebook()
        self._bar = bar_class()(
            total=num_epochs,
            initial=done,
            desc=label or None,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            disable=disable or self._lines,
            dynamic_ncols=True,
        )

    def update(self, history: Sequence[EpochRecord]) -> None:
        """Move on by one epoch."""
        record = history[-1]
        text = self._scores(record)

        if self._lines:
            line = f"{self._label} epoch {record.epoch}/{self._epochs}: {text}"
            print(line.strip(), file=sys.stderr, flush=True)

        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    def _scores(self, record: EpochRecord) -> str:
        """An epoch's scores in words, those that it has."""
        metric = self._metric
        scores = {"validation": record.validation.get(metric), "test": record.test.get(metric)}
        if metric == "rmse":
            scores = {"train": record.train_rmse, **scores}

        parts = []
        for name, value in scores.items():
            if value is not None:
                parts.append(f"{name} {label_of(metric)} {value:.4f}")
        return ", ".join(parts)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


def bar_class() -> type:
    """tqdm's bar; the one for notebooks takes longer to load than a terminal's."""
    if not in_notebook():
        return tqdm

    from tqdm import auto

    return auto.tqdm


def label_of(metric: str) -> str:
    """A metric's name as people write it: RMSE, NDCG@100."""
    if metric in ("rmse", "mae") or metric.startswith("ndcg"):
        return metric.upper()
    return metric


class Curve:
    """The chapter's animated figure, for a notebook: the last values are in its legend."""

    def __init__(self, num_epochs: int) -> None:
        from d2l import mxnet as d2l

        self._epochs = num_epochs
        self._lines: dict[str, list[tuple[int, float]]] = {"train": [], "test": []}
        self._set_axes = d2l.set_axes
        self._animator = d2l.Animator(fmts=("C0-", "C1--"), figsize=(5, 3))
        self._animator.config_axes = self._configure

    def update(self, history: Sequence[EpochRecord]) -> None:
        """Draw one more epoch."""
        record = history[-1]
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
        self._set_axes(
            axes,
            "epoch",
            "RMSE (rating units)",
            [1, self._epochs],
            settled_limits(list(self._lines.values())),
            "linear",
            "linear",
            legend,
        )
        axes.grid(True)  # d2l's call turns off one that is there

    def __enter__(self) -> "Curve":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def open_progress(num_epochs: int) -> Curve | Bar:
    """A Curve in a notebook, else a Bar; both are context managers with `update(history)`."""
    if in_notebook():
        return Curve(num_epochs)
    return Bar(num_epochs)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False

    shell = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def summary(train_loss: float | None, test_rmse: float, rate: float, devices: Sequence[Any]) -> str:
    """The chapter's two closing lines."""
    if train_loss is None:
        raise ValueError("nothing was trained: there is no train loss")

    names = ", ".join(map(str, devices))
    return (
        f"train loss {significant(train_loss)}, test RMSE {test_rmse:.3f}\n"
        f"{significant(rate)} ratings/sec on [{names}]"
    )

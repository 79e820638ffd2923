"""What a person sees while a model trains: a bar, or in a notebook the animated curve."""

import sys
from typing import Any

from tqdm.auto import tqdm

from .train import EpochRecord


class Bar:
    """A tqdm bar over epochs with the latest train and test RMSE."""

    def __init__(self, num_epochs: int, disable: bool = False) -> None:
        self._bar = tqdm(total=num_epochs, unit="epoch", disable=disable, dynamic_ncols=True)

    def update(self, record: EpochRecord) -> None:
        """Move on by one epoch."""
        self._bar.set_postfix_str(f"train RMSE {record.train_rmse:.4f}, "
                                  f"test RMSE {record.test['rmse']:.4f}", refresh=False)
        self._bar.update()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


class Curve:
    """The chapter's animated figure, for a notebook."""

    def __init__(self, num_epochs: int) -> None:
        from d2l import mxnet as d2l
        self._animator = d2l.Animator(xlabel="epoch", xlim=[1, num_epochs], ylim=[0, 2],
                                      legend=["train RMSE", "test RMSE"])

    def update(self, record: EpochRecord) -> None:
        """Draw one more epoch."""
        self._animator.add(record.epoch, (record.train_rmse, record.test["rmse"]))

    def __enter__(self) -> "Curve":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def open_progress(num_epochs: int) -> Any:
    """A Curve in a notebook, else a Bar; both are context managers with `update(record)`."""
    return Curve(num_epochs) if in_notebook() else Bar(num_epochs)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")

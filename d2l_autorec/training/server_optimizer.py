"""What the servers of dist_async do with what they are sent. They unpickle it: see `Workers`."""

from typing import Any

import mxnet as mx

FIRST_KEY = 1 << 20  # below it are a trainer's parameters


class ServerOptimizer(mx.optimizer.Optimizer):
    """A trainer's optimizer for its parameters; a plain sum for the workers' own keys.

    Parameters
    ----------
    inner : Optimizer, optional
        None until there is a trainer: its parameters come after it.
    """

    def __init__(self, inner: mx.optimizer.Optimizer | None = None) -> None:
        super().__init__()
        self._inner = inner

    def create_state_multi_precision(self, index: int, weight: Any) -> Any:
        """The inner optimizer's."""
        if index >= FIRST_KEY:
            return None
        return self._trainers().create_state_multi_precision(index, weight)

    def update_multi_precision(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Add, or update."""
        if index >= FIRST_KEY:
            weight[:] = weight + grad
        else:
            self._trainers().update_multi_precision(index, weight, grad, state)

    def _trainers(self) -> Any:
        """The trainer's optimizer."""
        if self._inner is None:
            raise RuntimeError("a parameter was sent before the trainer's optimizer was")
        return self._inner

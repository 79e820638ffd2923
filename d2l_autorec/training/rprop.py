"""RProp, the optimizer of the AutoRec paper, as an MXNet optimizer."""

from typing import Any

import mxnet as mx
from mxnet import nd

from ..kernels.fused_step import RPropOptions

RULE = RPropOptions()  # its numbers are Riedmiller and Braun's, but for the sizes of steps


@mx.optimizer.register
class RProp(mx.optimizer.Optimizer):
    """Steps by the sign of each weight's gradient alone, each of a size of its own.

    A weight whose gradient keeps its sign takes a step 1.2 times as large as the last, up to 0.1;
    one whose gradient changes sign stays where it is, and its next step is half as large. This is
    iRprop- (Igel and Huesken, Improving the Rprop learning algorithm, 2000, algorithm 4), without
    the step back of the original (Riedmiller and Braun, ICNN 1993).

    The signs are those of all rows' gradient: that of a few rows changes with them.

    Parameters
    ----------
    learning_rate : float
        The first size of a step.
    **kwargs
        As of every MXNet optimizer; `wd` is part of the gradient.
    """

    def __init__(self, learning_rate: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)

    def create_state(self, index: int, weight: Any) -> tuple[Any, Any]:
        """Sizes of the next steps, and signs of the last gradients, 0 where a sign changed."""
        shape, ctx = weight.shape, weight.context
        return nd.full(shape, self.lr, ctx), nd.zeros(shape, ctx)

    def update(self, index: int, weight: Any, grad: Any, state: tuple[Any, Any]) -> None:
        """Change a weight and its state in place."""
        self._update_count(index)
        size, last = state

        sign = nd.sign(grad * self.rescale_grad + self._get_wd(index) * weight)
        turn = sign * last

        grown = nd.minimum(size * RULE.growth, RULE.largest)
        cut = nd.maximum(size * RULE.cut, RULE.smallest)
        size[:] = nd.where(turn > 0, grown, nd.where(turn < 0, cut, size))
        last[:] = sign * (turn >= 0)

        weight[:] -= last * size

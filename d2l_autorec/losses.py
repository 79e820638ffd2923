"""Losses over observed ratings. The chapter's is `gluon.loss.L2Loss` on masked predictions."""

from typing import Any

from mxnet import np


class MaskedRootLoss:
    """Root of the sum of squared errors over a batch's observed ratings.

    The loss of a PyTorch AutoRec tutorial (its MRMSELoss in 'sum' mode). It is one
    number for the batch; every row gets it, so that `trainer.step(rows)`,
    which divides by the rows, applies its gradient unscaled.

    Shape: (batch_size, columns), (batch_size, columns) -> (batch_size,).
    """

    def __call__(self, prediction: Any, label: Any) -> Any:
        error = (prediction - label) * np.sign(np.abs(label))
        root = np.sqrt(np.square(error).sum() + 1e-12)  # finite gradient where nothing is wrong
        return np.broadcast_to(root, (label.shape[0],))

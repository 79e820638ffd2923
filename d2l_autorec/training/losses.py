"""Losses over observed ratings; of dense batches and of sparse ones."""

from collections.abc import Callable
from typing import Any

from mxnet import np, npx

from ..kernels.csr import CSRBatch
from ..kernels.functions import multinomial_nll


def observed_errors(prediction: Any, label: Any) -> tuple[Any, Any]:
    """Return prediction less label where there is a label, and the number of labels.

    Parameters
    ----------
    prediction : ndarray, shape (batch_size, columns) or, of a CSRBatch, (entries,)
    label : ndarray or CSRBatch, (batch_size, columns)
        0 is no label.

    Returns
    -------
    errors : ndarray, shape of `prediction`
    count : ndarray, shape ()
    """
    if isinstance(label, CSRBatch):
        return prediction - label.values, np.array(len(label.data), ctx=label.ctx)

    observed = np.abs(np.sign(label))
    return (prediction - label) * observed, observed.sum()


class MaskedL2Loss:
    """Half the mean over all columns of a row's squared errors: the chapter's loss.

    `gluon.loss.L2Loss` on masked predictions, for dense and sparse batches.

    Shape: (batch_size, columns), (batch_size, columns) -> (batch_size,);
    of a CSRBatch the sum over rows -> ().
    """

    def __call__(self, prediction: Any, label: Any) -> Any:
        """Return the loss of each row."""
        scale = 0.5 / label.shape[1]
        if isinstance(label, CSRBatch):
            errors = prediction - label.values
            return np.dot(errors, errors) * scale

        errors, _ = observed_errors(prediction, label)
        return np.square(errors).sum(axis=1) * scale


class PenalizedL2Loss:
    """Half the squared error of each rating, plus its penalty where there is one.

    Shape: predictions (batch_size,), or a pair of them and penalties (batch_size,); label
    (batch_size,) -> (batch_size,).
    """

    def __call__(self, prediction: Any, label: Any) -> Any:
        """Return the loss of each rating."""
        prediction, penalty = prediction if isinstance(prediction, tuple) else (prediction, 0)
        return np.square(prediction - label) / 2 + penalty


class MaskedRootLoss:
    """Root of the sum of squared errors over a batch's observed ratings.

    The loss of a PyTorch AutoRec tutorial (its MRMSELoss in 'sum' mode). It is one
    number for the batch; every row gets it, so that `trainer.step(rows)`,
    which divides by the rows, applies its gradient unscaled.

    Shape: (batch_size, columns), (batch_size, columns) -> (batch_size,).
    """

    def __call__(self, prediction: Any, label: Any) -> Any:
        """Return the loss of the batch, for each row."""
        errors, _ = observed_errors(prediction, label)
        root = np.sqrt(np.square(errors).sum() + 1e-12)  # finite gradient where nothing is wrong
        return np.broadcast_to(root, (label.shape[0],))


class MultinomialLoss:
    """Each row's negative log likelihood of its clicks, plus beta times its KL divergence.

    -sum_i x_i log softmax(logits)_i + beta KL (Liang et al. 2018, equations 3 and 7).
    It is not averaged: `trainer.step(rows)` divides by the rows, once.

    Parameters
    ----------
    beta : callable, optional
        Called without arguments for each batch; see `history.Anneal`. Without one there is no
        penalty, as where the prediction is logits alone.

    Shape: logits (batch_size, columns), or a pair of them and the KL divergences (batch_size,);
    label (batch_size, columns), an ndarray or a CSRBatch -> (batch_size,).
    """

    def __init__(self, beta: Callable[[], float] | None = None) -> None:
        self.beta = beta

    def __call__(self, prediction: Any, label: Any) -> Any:
        """Return the loss of each row."""
        logits, divergence = prediction if isinstance(prediction, tuple) else (prediction, None)
        if isinstance(label, CSRBatch):
            loss = multinomial_nll(label, logits)
        else:
            loss = -(npx.log_softmax(logits, axis=-1) * label).sum(axis=1)

        if divergence is None or self.beta is None:
            return loss
        return loss + self.beta() * divergence

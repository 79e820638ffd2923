"""Losses over observed ratings, or over clicks, for dense and sparse batches."""

from collections.abc import Callable
from typing import Any

from mxnet import np, npx

from ..kernels.csr import CSRBatch
from ..kernels.functions import multinomial_nll


def observed_errors(prediction: Any, label: Any) -> tuple[Any, Any]:
    """Return prediction less label where there is a label, and the number of labels.

    Parameters
    ----------
    prediction, label : ndarray, shape (batch_size, columns)
        The predictions, and the labels; 0 is none.

    Returns
    -------
    errors : ndarray, shape of `prediction`
        The errors, 0 where there is no label.
    count : ndarray, shape ()
        The number of labels.
    """
    observed = np.abs(np.sign(label))
    return (prediction - label) * observed, observed.sum()


class MaskedL2Loss:
    """The chapter's loss: half the mean of a row's squared errors, over all columns.

    It is `gluon.loss.L2Loss` on masked predictions, for dense and sparse batches.

    Shape: (batch_size, columns), (batch_size, columns) -> (batch_size,); for a CSRBatch
    (entries,), (batch_size, columns) -> (), the sum over rows.
    """

    def __call__(self, prediction: Any, label: Any) -> Any:
        """Return the loss of each row, or for a CSRBatch their sum."""
        scale = 0.5 / label.shape[1]
        if isinstance(label, CSRBatch):
            errors = prediction - label.values
            return np.dot(errors, errors) * scale

        errors, _ = observed_errors(prediction, label)
        return np.square(errors).sum(axis=1) * scale


class PenalizedL2Loss:
    """The loss of matrix factorization: half the squared error of each rating, plus its penalty.

    Shape: predictions (batch_size,), or a pair of them and penalties (batch_size,); label
    (batch_size,) -> (batch_size,).
    """

    def __call__(self, prediction: Any, label: Any) -> Any:
        """Return the loss of each rating."""
        prediction, penalty = prediction if isinstance(prediction, tuple) else (prediction, 0)
        return np.square(prediction - label) / 2 + penalty


class MultinomialLoss:
    """The negative log likelihood of each row's clicks, plus beta times its KL divergence.

    -sum_i x_i log softmax(logits)_i + beta KL (Liang et al. 2018, equations 3 and 7).
    It is not averaged: `trainer.step(rows)` divides by the rows, once.

    Parameters
    ----------
    beta : callable, optional
        Returns the weight of the KL divergence; it is called without arguments for each batch.
        Without it, or if the prediction is logits alone, there is no such term.

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

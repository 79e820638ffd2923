"""EASE, a linear autoencoder in closed form."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...support.machine import available_memory, check_fits
from ..kinds import ClickModel
from ..options import POSITIVE, Span, option
from ..registry import register

if TYPE_CHECKING:
    import numpy as np

    from ..vectors import Linear

BLOCK = 1024  # items whose products are in sparse form at once


@register("ease")
@dataclass(frozen=True)
class EASEConfig(ClickModel):
    """Linear autoencoder without self-similarity: scores X B, in closed form.

    G = X'X + penalty I; P = inverse of G; B_ij = -P_ij / P_jj, and 0 on the diagonal.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, equation 8.
    """

    penalty: float = option(
        500.0, "lambda, on the squares of its weights", POSITIVE, space=Span(5.0, 5000.0, log=True)
    )

    about = "a linear autoencoder in closed form"
    at_once = True
    compared = {"EASE": {}}

    def check_data(self, data: Any, devices: int) -> None:
        """Raise ConfigError if there are too many items for the memory."""
        super().check_data(data, devices)
        items = data.num_items
        needed = 8 * items * items + 24 * BLOCK * items  # float64 of items x items, and a block
        way_out = ": drop rare items with `min_item_clicks`, or leave EASE out"
        check_fits(needed, available_memory(), f"EASE of {items} items", way_out)

    def fit(self, matrix: Any) -> "Linear":
        """Return the weights; X is `matrix`, of shape (users, items)."""
        import numpy as np

        from ..vectors import Linear

        weights = _inverse(gram_matrix(matrix, self.penalty))  # (items, items)
        weights /= -np.diag(weights).copy()  # column j by P_jj
        np.fill_diagonal(weights, 0)
        return Linear(weights, np.zeros(len(weights), dtype=np.float32))


def gram_matrix(train: Any, penalty: float) -> "np.ndarray":
    """Return X'X + penalty I in float64, a block of items at a time."""
    import numpy as np

    by_user = train.astype(np.float64)
    by_item = by_user.T.tocsr()
    items = train.shape[1]
    gram = np.empty((items, items))

    for first in range(0, items, BLOCK):
        last = first + BLOCK
        gram[first:last] = (by_item[first:last] @ by_user).toarray()

    gram[np.diag_indices_from(gram)] += penalty
    return gram


def _inverse(gram: "np.ndarray") -> "np.ndarray":
    """Return the inverse of a symmetric positive definite matrix, in its own memory."""
    import numpy as np
    from scipy import linalg

    factor, _ = linalg.lapack.dpotrf(gram.T, lower=1, overwrite_a=1)  # .T: LAPACK's order
    inverse, _ = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)

    for first in range(0, len(inverse), BLOCK):  # only the lower triangle is computed
        last = first + BLOCK

        block = inverse[first:last, first:last]
        block[...] = np.tril(block) + np.tril(block, -1).T
        inverse[first:last, last:] = inverse[last:, first:last].T

    return inverse

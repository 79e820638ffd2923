"""EASE and EDLAE, linear autoencoders in closed form."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...support.errors import NumericalError, warn
from ...support.machine import available_memory, check_fits
from ..kinds import ClickModel
from ..options import FRACTION, POSITIVE, Span, climb, option
from ..registry import register

if TYPE_CHECKING:
    import numpy as np

    from ..vectors import Linear

PENALTIES = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)  # the grid for lambda
DROPOUTS = (0.0, 0.33, 0.5, 0.67, 0.8)
USUAL = 500.0  # lambda where nothing can be chosen: the paper's on ML-20M
TRIED_ITEMS = 1000, 4000  # `choose` tries on half of the items, the most clicked, within these
MANY_ITEMS = 20_000  # 31,710 took two CPUs eight minutes
BLOCK = 1024  # items whose products are held in sparse form at once
IN_ONE = 16_000  # items whose inverse is LAPACK's; OpenBLAS's threads crash beyond 4 GB of float64


@register("ease")
@dataclass(frozen=True)
class EASEConfig(ClickModel):
    """The options of EASE, a linear autoencoder in closed form: scores X B, B with diagonal 0.

    G = X'X + penalty I; P = inverse of G; B_ij = -P_ij / P_jj, and 0 on the diagonal. With a
    `dropout` it is EDLAE: see `solve`.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, equation 8.
    """

    penalty: float | None = option(
        None,
        "lambda, on the squares of its weights (default: chosen on the validation users)",
        POSITIVE,
        space=Span(5.0, 5000.0, log=True),
    )
    dropout: float | None = option(
        None,
        "share of the clicks that EDLAE hides from its input (default: chosen with the penalty)",
        FRACTION,
        space=Span(0.0, 0.8),
    )

    about = "a linear autoencoder in closed form"
    at_once = True
    compared = {"EASE": {}}

    def check_data(self, data: Any) -> None:
        """Raise ConfigError if there are too many items for the memory."""
        super().check_data(data)
        items = data.num_items
        copies = 1.75 if items > IN_ONE else 1  # with products of halves
        needed = int(8 * copies * items * items) + 24 * BLOCK * items  # float64, and a block
        way_out = ": drop rare items with `min_item_clicks`, or leave EASE out"
        check_fits(needed, available_memory(), f"EASE of {items} items", way_out)
        if items > MANY_ITEMS:
            warn(f"EASE of {items:,} items takes minutes: for so many, see `model=ials`")

    def choose(self, matrix: Any, score: Callable[["Linear"], float]) -> "EASEConfig":
        """Return the options with the penalty and dropout of a grid that score best.

        They are tried on the most clicked items in float32: half of the items cost an eighth.
        """
        if self.penalty is not None:
            return self

        import numpy as np

        from ..vectors import Linear

        items = matrix.shape[1]
        by_clicks = np.argsort(-np.bincount(matrix.indices, minlength=items), kind="stable")
        common = np.sort(by_clicks[: np.clip(items // 2, *TRIED_ITEMS)])
        gram = gram_matrix(matrix[:, common], "float32")
        weights, biases = np.zeros((items, items), "float32"), np.zeros(items, "float32")

        def score_of(penalty: float, dropout: float) -> float:
            weights[np.ix_(common, common)] = solve(gram.copy(), penalty, dropout).weights
            return score(Linear(weights, biases))

        dropouts = DROPOUTS if self.dropout is None else (self.dropout,)
        penalty, dropout = climb(score_of, PENALTIES, dropouts)
        return replace(self, penalty=penalty, dropout=dropout)

    def fit(self, matrix: Any) -> "Linear":
        """Return the weights B for `matrix`, the X of shape (users, items)."""
        return solve(gram_matrix(matrix), self.penalty or USUAL, self.dropout or 0.0)


def solve(gram: "np.ndarray", penalty: float, dropout: float) -> "Linear":
    """Return the weights B for a Gram matrix X'X, shape (items, items), which is overwritten.

    EDLAE hides a share p of the clicks from the input, and none from the target. On average
    that adds p / (1 - p) times the item's clicks to its penalty, lambda.

    Source: Steck, Autoencoders that don't overfit towards the Identity, NeurIPS 2020, section 3.
    """
    import numpy as np

    from ..vectors import Linear

    diagonal = np.diag_indices_from(gram)
    gram[diagonal] += penalty + dropout / (1 - dropout) * gram[diagonal]
    weights = _inverse(gram, penalty)
    weights /= -np.diag(weights).copy()  # column j by P_jj
    np.fill_diagonal(weights, 0)
    return Linear(weights, np.zeros(len(weights), dtype=np.float32))


def gram_matrix(train: Any, dtype: str = "float64") -> "np.ndarray":
    """Return X'X, shape (items, items), computed a block of items at a time."""
    import numpy as np

    by_user = train.astype(dtype)
    by_item = by_user.T.tocsr()
    items = train.shape[1]
    gram = np.empty((items, items), dtype)

    for first in range(0, items, BLOCK):
        last = first + BLOCK
        gram[first:last] = (by_item[first:last] @ by_user).toarray()
    return gram


def _inverse(gram: "np.ndarray", penalty: float) -> "np.ndarray":
    """Return the inverse of a symmetric positive definite matrix, which is overwritten.

    That of a large one is made of the inverses of its first half and of the Schur complement.
    """
    import numpy as np
    from scipy import linalg

    if len(gram) > IN_ONE:
        half = len(gram) // 2
        upper, beside, lower = gram[:half, :half], gram[:half, half:], gram[half:, half:]
        upper[...] = _inverse(upper.copy(), penalty)
        product = upper @ beside
        lower -= beside.T @ product
        lower[...] = _inverse(lower.copy(), penalty)
        beside[...] = product @ -lower
        upper -= beside @ product.T
        gram[half:, :half] = beside.T
        return gram

    lost = 100 * np.finfo(gram.dtype).eps * np.diag(gram).max()  # two digits are left of it
    factorize, invert = linalg.lapack.get_lapack_funcs(("potrf", "potri"), (gram,))
    factor, failed = factorize(gram.T, lower=1, overwrite_a=1)  # .T gives LAPACK's memory order
    if failed or np.diag(factor).min() ** 2 < lost:
        raise NumericalError(
            f"`penalty={penalty:g}` is lost in rounding beside the clicks: raise `penalty`"
        )
    inverse, _ = invert(factor, lower=1, overwrite_c=1)

    for first in range(0, len(inverse), BLOCK):  # only the lower triangle is computed
        last = first + BLOCK

        block = inverse[first:last, first:last]
        block[...] = np.tril(block) + np.tril(block, -1).T
        inverse[first:last, last:] = inverse[last:, first:last].T

    return inverse

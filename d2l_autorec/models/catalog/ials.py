"""iALS, matrix factorization of clicks by alternating least squares."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...support.errors import NumericalError
from ..kinds import ClickModel
from ..options import AT_LEAST_1, POSITIVE, Span, climb, option, within
from ..registry import register

if TYPE_CHECKING:
    import numpy as np

    from ..vectors import FoldIn

PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # the grid, with that of the weights
WEIGHTS = (0.01, 0.017, 0.03, 0.06, 0.1, 0.17, 0.3, 0.6, 1.0)
USUAL_PENALTY, USUAL_WEIGHT = 0.003, 0.1  # where nothing can be chosen: the paper's on ML-20M
TRIED_FACTORS, TRIED_SWEEPS = 32, 5  # limits while penalty and weight are chosen
SPREAD = 0.1  # standard deviation of initial factors, times the square root of their number


@register("ials")
@dataclass(frozen=True)
class IALSConfig(ClickModel):
    """The options of iALS: factors of users and items, by alternating least squares.

    A click is a 1, and everything else a 0 of little weight. With s the product of a user's and
    an item's factors, they minimise the sum over clicks of (1 - s)^2, plus `unobserved` times the
    sum over all cells of s^2, plus `regularization` times the squared factors of each user and
    item, each multiplied by its clicks plus `unobserved` times its cells.

    Sources: Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM
    2008; Rendle et al., Revisiting the Performance of iALS on Item Recommendation Benchmarks,
    RecSys 2022.
    """

    factors: int = option(64, "latent factors", within(1, 4096), space=Span(16, 256, log=True))
    regularization: float | None = option(
        None,
        "on the squares of the factors (default: chosen on the validation users)",
        POSITIVE,
        space=Span(1e-4, 0.1, log=True),
    )
    unobserved: float | None = option(
        None,
        "weight of what was not clicked (default: chosen with the regularization)",
        POSITIVE,
        space=Span(0.003, 1.0, log=True),
    )
    sweeps: int = option(16, "number of alternating sweeps", AT_LEAST_1)

    about = "matrix factorization by alternating least squares"
    at_once = True
    compared = {"iALS": {}}

    def choose(self, matrix: Any, score: Callable[["FoldIn"], float]) -> "IALSConfig":
        """Return the options with the penalty and weight of a grid that score best.

        They are tried with at most `TRIED_FACTORS` factors and `TRIED_SWEEPS` sweeps.
        """
        penalties = PENALTIES if self.regularization is None else (self.regularization,)
        weights = WEIGHTS if self.unobserved is None else (self.unobserved,)
        if len(penalties) == len(weights) == 1:
            return self

        factors, sweeps = min(self.factors, TRIED_FACTORS), min(self.sweeps, TRIED_SWEEPS)
        small = replace(self, factors=factors, sweeps=sweeps)

        def score_of(penalty: float, weight: float) -> float:
            tried = replace(small, regularization=penalty, unobserved=weight)
            return score(tried.fit(matrix))

        penalty, weight = climb(score_of, penalties, weights)
        return replace(self, regularization=penalty, unobserved=weight)

    def fit(self, matrix: Any) -> "FoldIn":
        """Return the items' factors, with the numbers that a user's factors are solved with."""
        import numpy as np

        from ...support.seeds import Purpose, generator
        from ..vectors import FoldIn

        by_user = matrix.tocsr()
        by_item = matrix.T.tocsr()
        penalty = self.regularization or USUAL_PENALTY
        weight = self.unobserved or USUAL_WEIGHT

        rng = generator(self.seed, Purpose.INITIAL_VALUES)
        shape = matrix.shape[1], self.factors
        items = rng.normal(0, SPREAD / np.sqrt(self.factors), shape).astype(np.float32)
        for _ in range(self.sweeps):
            users = solved(by_user, items, penalty, weight)
            items = solved(by_item, users, penalty, weight)
        if not np.isfinite(items).all():
            raise NumericalError(
                f"the factors are not finite with `regularization={penalty:g}`, which is lost in "
                "rounding beside the clicks: raise `regularization`"
            )
        return FoldIn(items, penalty, weight)


def solved(rows: Any, factors: "np.ndarray", penalty: float, weight: float) -> "np.ndarray":
    """Return the factors of rows, shape (rows, factors), for given factors of the columns."""
    import numpy as np

    from ... import kernels

    numba_als = kernels.load("numba_als")
    threads = kernels.threads()
    gram = np.empty((factors.shape[1],) * 2)
    numba_als.gram(factors, threads, gram)

    out = np.empty((rows.shape[0], factors.shape[1]), dtype=np.float32)
    numbers = np.float32(penalty), np.float32(weight * rows.shape[1])
    base = (weight * gram).astype(np.float32)
    numba_als.solve_rows(rows.indptr, rows.indices, factors, base, *numbers, threads, out)
    return out

"""iALS, matrix factorization of clicks by alternating least squares."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..kinds import ClickModel
from ..options import AT_LEAST_1, POSITIVE, Span, climb, option, within
from ..registry import register

if TYPE_CHECKING:
    import numpy as np

    from ..vectors import FoldIn

PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # to choose from
WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0)
USUAL_PENALTY, USUAL_WEIGHT = 0.003, 0.1  # where nothing can be chosen: the paper's on ML-20M
TRIED_FACTORS, TRIED_SWEEPS = 32, 5  # at most, while the two are chosen
SPREAD = 0.1  # of initial factors, times the square root of their number


@register("ials")
@dataclass(frozen=True)
class IALSConfig(ClickModel):
    """Factors of users and items by alternating least squares; a click is a 1, all else a weak 0.

    They minimise the sum over clicks of (1 - s)^2, a weight times the sum over all cells of s^2,
    and a penalty on their squares in proportion to those terms; s is the product of both.

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
    sweeps: int = option(16, "solutions for all users and items", AT_LEAST_1)

    about = "matrix factorization by alternating least squares"
    at_once = True
    compared = {"iALS": {}}

    def choose(self, matrix: Any, score: Callable[["FoldIn"], float]) -> "IALSConfig":
        """Return the options with the best score of those on a grid.

        They are tried with fewer factors and sweeps, where there are many.
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
        """Return the items' factors, with what a user's are solved by."""
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
        return FoldIn(items, penalty, weight)


def solved(rows: Any, factors: "np.ndarray", penalty: float, weight: float) -> "np.ndarray":
    """Return the factors of rows by those of columns, which stay as they are."""
    import numpy as np

    from ... import kernels

    kernels.load()  # its threads
    from ...kernels import numba_als

    threads = kernels.threads()
    gram = np.empty((factors.shape[1],) * 2)
    numba_als.gram(factors, threads, gram)

    out = np.empty((rows.shape[0], factors.shape[1]), dtype=np.float32)
    numbers = np.float32(penalty), np.float32(weight * rows.shape[1])
    base = (weight * gram).astype(np.float32)
    numba_als.solve_rows(rows.indptr, rows.indices, factors, base, *numbers, threads, out)
    return out

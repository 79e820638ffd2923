"""User and item means, shrunk by amounts that are estimated from the ratings."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

MOST_SWEEPS = 300
SETTLED = 1e-3  # biases are done if none changes by more, in standard deviations of the ratings
TOLERANCE = 1e-3  # dampings are done if their relative change is less
TINY = 1e-12
MANY = 1_000_000  # with more ratings, no line is tried


class Prior(NamedTuple):
    """What biases are expected to be before their ratings are seen.

    The expectation is a line in the logarithm of the number of ratings.

    Parameters
    ----------
    damping : float
        How many ratings on the line each row, or column, is given beside its own.
    slope : float
        The slope of the line, which is 0 at one rating; with no rating, 0 is expected, too.
    """

    damping: float
    slope: float = 0.0

    def biases(self, counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Return the biases, shape (n,).

        Parameters
        ----------
        counts, sums : ndarray, shape (n,)
            For each bias the number of its ratings, and the sum of what is left of them after
            the mean and the biases of the other side.
        """
        expected = self.slope * np.log(np.maximum(counts, 1))
        return expected + (sums - counts * expected) / np.maximum(counts + self.damping, TINY)


class Means(NamedTuple):
    """The means of a matrix of ratings; they predict mean + rows[i] + columns[j].

    Parameters
    ----------
    mean : float
        The prediction for a row and a column without ratings.
    rows, columns : ndarray of float64, shapes (R,) and (C,)
        The biases; 0 where there is no rating.
    row_prior, column_prior : Prior
        What the biases were shrunk towards.
    unit : float
        The standard deviation of what the means leave of ratings; 1 if they leave nothing.
    """

    mean: float
    rows: np.ndarray
    columns: np.ndarray
    row_prior: Prior
    column_prior: Prior
    unit: float

    @property
    def transposed(self) -> "Means":
        """The means of the transposed matrix."""
        priors = self.column_prior, self.row_prior
        return Means(self.mean, self.columns, self.rows, *priors, self.unit)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return what the means predict for cells; `rows` and `columns` broadcast."""
        return self.mean + self.rows[rows] + self.columns[columns]


def rows_of(matrix: sparse.csr_matrix) -> np.ndarray:
    """Return the row of each non-zero, shape (n,)."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def fit_means(matrix: sparse.csr_matrix, damping: float | None = None) -> Means:
    """Fit row and column biases in turn, until they settle.

    A rating is mean + row bias + column bias + noise. Row and column biases are normal, each with
    a variance of its own, about a line in the log of the number of their ratings: items that many
    people rate are mostly rated higher. Each bias is then the mean of its ratings, shrunk towards
    the line by noise / variance ratings. Variances and lines are estimated together with the
    biases, by expectation maximization. The uncertainty of a bias depends on the biases of the
    other side, too: each rating counts as 1 less its share in the other bias. (That is the
    diagonal of the Schur complement of the normal equations; what couples biases of one side is
    left out.)

    The lines are used only if they lower the squared error by more than its standard error, with
    each rating predicted by the others. With a few thousand ratings of films they lower it by 0.5
    to 1 %, with 100,000 no longer. They are not tried with more than `MANY` ratings.

    Parameters
    ----------
    matrix : csr_matrix, shape (R, C)
        The ratings; a zero is none.
    damping : float, optional
        The damping of rows and of columns, towards 0, in place of estimates; with infinity only
        the mean is left.

    References
    ----------
    Searle, Casella and McCulloch, Variance Components (1992), chapters 7 and 8.
    """
    flat = _fit(matrix, damping, lines=False)
    if damping is not None or matrix.nnz > MANY:
        return flat

    lined = _fit(matrix, damping, lines=True)
    gain = _left_out(flat, matrix) - _left_out(lined, matrix)
    return lined if gain.mean() > gain.std() / len(gain) ** 0.5 else flat


def _left_out(means: Means, matrix: sparse.csr_matrix) -> np.ndarray:
    """Return each rating's squared error when it is left out of its biases, shape (n,)."""
    rows, columns = rows_of(matrix), matrix.indices
    error, share = matrix.data - means.at(rows, columns), np.zeros(matrix.nnz)
    shift = np.zeros(matrix.nnz)  # with one rating fewer, the line expects less

    for index, prior in ((rows, means.row_prior), (columns, means.column_prior)):
        counts = np.bincount(index)[index]
        share += 1 / (counts + prior.damping)
        steps = np.log(counts / np.maximum(counts - 1, 1))
        shift += prior.slope * steps * prior.damping / (counts - 1 + prior.damping)

    return (error / np.maximum(1 - share, TINY) + shift) ** 2


def _fit(matrix: sparse.csr_matrix, damping: float | None, lines: bool) -> Means:
    """Fit the means, with lines in the log of the numbers of ratings, or without."""
    values = matrix.data.astype(np.float64)
    matrix, rated = (_with_data(matrix, data) for data in (values, np.ones(len(values))))
    each = rated, rated.T  # 1 at each rating: a product with a vector sums it over ratings
    counts = matrix.getnnz(axis=1), matrix.getnnz(axis=0)
    totals = matrix.sum(axis=1).A1, matrix.sum(axis=0).A1
    biases = [np.zeros(size) for size in matrix.shape]

    mean, spread = float(values.mean()), float(values.var())
    if spread < TINY * max(1.0, mean * mean):  # one value everywhere
        return Means(mean, biases[0], biases[1], Prior(1.0), Prior(1.0), 1.0)

    noise = spread
    priors = [Prior(2.0 if damping is None else damping)] * 2  # for rows, and for columns
    estimates = damping is None

    for _ in range(MOST_SWEEPS):
        before = biases[1]
        for side, other in ((1, 0), (0, 1)):
            sums = totals[side] - counts[side] * mean - each[side] @ biases[other]
            biases[side] = priors[side].biases(counts[side], sums)

        if estimates:
            left = _left(matrix, mean, biases)
            former = [prior.damping for prior in priors]
            starts, freedom = [0.0, 0.0], [0.0, 0.0]
            for side, other in ((0, 1), (1, 0)):
                shares = each[side] @ (1 / (counts[other] + former[other]))
                priors[side], starts[side], freedom[side] = _estimate(
                    former[side], noise, biases[side], counts[side], shares, lines
                )

            mean += float(left.mean()) + starts[0] + starts[1]
            biases[0] -= starts[0]
            noise = float(left.var() + noise * sum(freedom) / len(values))
            change = np.log([prior.damping for prior in priors]) - np.log(former)
            estimates = np.abs(change).max() > TOLERANCE
        elif np.abs(biases[1] - before).max() <= SETTLED * spread**0.5:
            break

    unit = float(_left(matrix, mean, biases).std())
    if unit < 1e-6 * np.abs(values).max():  # it is but float32's rounding
        unit = 1.0
    return Means(mean, biases[0], biases[1], priors[0], priors[1], unit)


def _left(matrix: sparse.csr_matrix, mean: float, biases: list[np.ndarray]) -> np.ndarray:
    """Return each rating less its means, shape (n,)."""
    left = matrix.data - np.repeat(mean + biases[0], np.diff(matrix.indptr))
    left -= biases[1][matrix.indices]
    return left


def _with_data(matrix: sparse.csr_matrix, data: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix((data, matrix.indices, matrix.indptr), matrix.shape)


def _estimate(
    damping: float,
    noise: float,
    biases: np.ndarray,
    counts: np.ndarray,
    shares: np.ndarray,
    lines: bool,
) -> tuple[Prior, float, float]:
    """Return the prior of biases, the line's value at one rating, and the degrees of freedom.

    These are the number of parameters that the biases amount to.

    Parameters
    ----------
    damping, noise : float
        The damping and the noise's variance with which the biases were found.
    biases, counts, shares : ndarray, shape (size,)
        The biases, the numbers of their ratings, and the sums of the shares that these ratings
        have in the biases of the other side.
    lines : bool
        Whether the prior may have a slope.
    """
    informative = counts - shares
    errors = 1 / (informative + damping)

    rated = counts > 0
    logs = np.log(counts[rated])
    deviations = logs - logs.mean()
    spread = deviations @ deviations + 1  # 1 keeps the slope low where there are few
    slope = lines * float(deviations @ biases[rated] / spread)
    about = biases[rated] - slope * logs
    variance = float((about.var() + noise * errors[rated]).mean())
    return Prior(noise / variance, slope), float(about.mean()), float(informative @ errors)

"""User and item means, shrunk as far as the ratings themselves say."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

MOST_SWEEPS = 300
SETTLED = 1e-3  # change of a bias, in standard deviations of the ratings
TINY = 1e-12


class Means(NamedTuple):
    """What row and column means say of a matrix of ratings: mean + rows[i] + columns[j].

    Parameters
    ----------
    mean : float
    rows, columns : ndarray of float64, shapes (R,) and (C,)
        Biases; 0 where there is no rating.
    row_damping, column_damping : float
        Ratings without deviation that each row and each column is given beside its own.
    unit : float
        Standard deviation of what they leave; 1 where they leave nothing.
    """

    mean: float
    rows: np.ndarray
    columns: np.ndarray
    row_damping: float
    column_damping: float
    unit: float

    @property
    def transposed(self) -> "Means":
        """The means of the transposed matrix."""
        return self._replace(
            rows=self.columns,
            columns=self.rows,
            row_damping=self.column_damping,
            column_damping=self.row_damping,
        )

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return what the means predict for cells; `rows` and `columns` broadcast."""
        return self.mean + self.rows[rows] + self.columns[columns]

    def of_rows(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Return the biases of the rows of a matrix, which may be new ones, shape (B,)."""
        left = matrix.data - self.mean - self.columns[matrix.indices]
        return shrunk_means(rows_of(matrix), left, matrix.shape[0], self.row_damping)


def rows_of(matrix: sparse.csr_matrix) -> np.ndarray:
    """Return the row of each non-zero."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def shrunk_means(index: np.ndarray, values: np.ndarray, size: int, damping: float) -> np.ndarray:
    """Return means of `values` by `index`, shape (size,), as if of `damping` more zeros each."""
    counts = np.bincount(index, minlength=size) + damping
    return np.bincount(index, values, minlength=size) / np.maximum(counts, TINY)


def fit_means(
    matrix: sparse.csr_matrix, damping: float | None = None, tolerance: float = 1e-3
) -> Means:
    """Fit row and column biases, in turn until they settle.

    A rating is mean + row bias + column bias + noise, and the biases are normal with variances of
    their own. Each bias is then a mean shrunk by noise / variance ratings of 0 deviation. The
    three variances are estimated with the biases by expectation maximization, where the
    posterior is taken to factorize over biases.

    Parameters
    ----------
    matrix : csr_matrix, shape (R, C)
        A non-zero is a rating.
    damping : float, optional
        Of rows and columns, instead of the estimated one; infinity leaves the mean alone.
    tolerance : float
        Relative change at which an estimate is taken.

    References
    ----------
    Searle, Casella and McCulloch, Variance Components (1992), chapters 7 and 8.
    """
    rows, columns = rows_of(matrix), matrix.indices
    values = matrix.data.astype(np.float64)
    row_counts, column_counts = matrix.getnnz(axis=1), matrix.getnnz(axis=0)
    row_biases, column_biases = np.zeros(len(row_counts)), np.zeros(len(column_counts))

    mean, spread = float(values.mean()), float(values.var())
    if spread < TINY * max(1.0, mean * mean):  # one value everywhere
        return Means(mean, row_biases, column_biases, 1.0, 1.0, 1.0)

    noise = spread
    row_damping = column_damping = 2.0 if damping is None else damping
    estimates = damping is None

    for _ in range(MOST_SWEEPS):
        before = column_biases
        left = values - mean - row_biases[rows]
        column_biases = shrunk_means(columns, left, len(column_counts), column_damping)
        left = values - mean - column_biases[columns]
        row_biases = shrunk_means(rows, left, len(row_counts), row_damping)
        left -= row_biases[rows]

        if estimates:
            mean += float(left.mean())
            row_variance = _variance(row_biases, row_counts, row_damping, noise)
            column_variance = _variance(column_biases, column_counts, column_damping, noise)
            fitted = (row_counts / (row_counts + row_damping)).sum()
            fitted += (column_counts / (column_counts + column_damping)).sum()
            noise = float(left.var() + noise * fitted / len(values))

            found = noise / row_variance, noise / column_variance
            change = np.abs(np.log(np.divide(found, (row_damping, column_damping)))).max()
            row_damping, column_damping = found
            estimates = change > tolerance
        elif np.abs(column_biases - before).max() <= SETTLED * spread**0.5:
            break

    unit = float(left.std())
    if unit < 1e-6 * np.abs(values).max():  # what float32 rounds off
        unit = 1.0
    return Means(mean, row_biases, column_biases, row_damping, column_damping, unit)


def _variance(biases: np.ndarray, counts: np.ndarray, damping: float, noise: float) -> float:
    """Return the expected square of a bias that has ratings."""
    expected = biases * biases + noise / (counts + damping)
    return float(expected[counts > 0].mean())

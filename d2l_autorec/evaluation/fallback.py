"""Means, where training saw nothing of a user or an item; imports no MXNet."""

import numpy as np
from scipy import sparse


class MeanFallback:
    """What to predict where training saw nothing.

    Parameters
    ----------
    train : csr_matrix, shape (rows, columns)
        Training ratings.

    Attributes
    ----------
    no_row, no_column : ndarray of bool
        Which rows and columns are empty.
    """

    def __init__(self, train: sparse.csr_matrix) -> None:
        rows = np.diff(train.indptr)
        columns = np.bincount(train.indices, minlength=train.shape[1])
        self.no_row = rows == 0
        self.no_column = columns == 0

        self._row_means = np.asarray(train.sum(axis=1)).ravel() / np.maximum(rows, 1)
        self._column_means = np.asarray(train.sum(axis=0)).ravel() / np.maximum(columns, 1)
        self._mean = train.data.mean()

    def at(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the cells are cold, and the mean to predict.

        Parameters
        ----------
        rows, columns : ndarray of int
            Cells; they may be shaped so that they broadcast.

        Returns
        -------
        cold : ndarray of bool
        fallback : ndarray of float32
            Column mean where the row is empty, row mean where the column is,
            global mean where both are.
        """
        no_row = self.no_row[rows]
        no_column = self.no_column[columns]

        fallback = np.where(no_row, self._column_means[columns], self._row_means[rows])
        fallback = np.where(no_row & no_column, self._mean, fallback)

        cold = no_row | no_column
        return cold, fallback.astype(np.float32)

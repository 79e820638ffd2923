"""User and item means: against a linear solver, and known variances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from d2l_autorec.data.means import fit_means


def drawn(rows, columns, share, row_sd, column_sd, noise, seed=0):
    """Return a matrix of 3 + row bias + column bias + noise at a share of its cells."""
    rng = np.random.default_rng(seed)
    full = 3 + row_sd * rng.standard_normal((rows, 1)) + column_sd * rng.standard_normal(columns)
    full = full + noise * rng.standard_normal((rows, columns))
    return sparse.csr_matrix(np.where(rng.random((rows, columns)) < share, full, 0))


def ridge(matrix, means):
    """Return the biases that minimize squared error plus damped squares off the lines."""
    rows, columns = matrix.shape
    cells = matrix.tocoo()
    design = np.zeros((cells.nnz, rows + columns))
    design[np.arange(cells.nnz), cells.row] = 1
    design[np.arange(cells.nnz), rows + cells.col] = 1

    damping = [means.row_prior.damping] * rows + [means.column_prior.damping] * columns
    slopes = [means.row_prior.slope] * rows + [means.column_prior.slope] * columns
    line = slopes * np.log(np.maximum(design.sum(axis=0), 1))
    target = design.T @ (cells.data - means.mean) + damping * line
    biases = np.linalg.solve(design.T @ design + np.diag(damping), target)
    return biases[:rows], biases[rows:]


@pytest.mark.parametrize("damping", [None, 1.0])
def test_biases_solve_the_ridge_regression(damping):
    matrix = drawn(30, 20, 0.3, 0.5, 0.4, 0.9)
    means = fit_means(matrix, damping)

    rows, columns = ridge(matrix, means)
    assert means.rows == pytest.approx(rows, abs=2e-3)
    assert means.columns == pytest.approx(columns, abs=2e-3)


def test_what_many_rate_is_expected_to_be_rated_higher():
    rng = np.random.default_rng(0)
    sizes = np.arange(1, 301) // 3 + 1  # ratings of each column
    columns = np.repeat(np.arange(300), sizes)
    rows = np.concatenate([rng.permutation(400)[:size] for size in sizes])
    biases = 2 + 0.5 * np.log(sizes) + rng.normal(0, 0.3, 300)
    values = biases[columns] + rng.normal(0, 1, len(columns))
    means = fit_means(sparse.csr_matrix((values, (rows, columns)), shape=(400, 301)))

    assert means.column_prior.slope == pytest.approx(0.5, abs=0.1)
    assert means.at(rows, 300).mean() == pytest.approx(2, abs=0.2)  # a column without ratings


@pytest.mark.parametrize(
    ("row_sd", "column_sd", "noise"), [(0.5, 0.5, 1.0), (0.2, 0.6, 0.9), (0.8, 0.3, 1.1)]
)
def test_damping_is_the_ratio_of_variances(row_sd, column_sd, noise):
    means = fit_means(drawn(600, 500, 0.05, row_sd, column_sd, noise))

    assert means.row_prior.damping == pytest.approx((noise / row_sd) ** 2, rel=0.2)
    assert means.column_prior.damping == pytest.approx((noise / column_sd) ** 2, rel=0.2)


def test_damping_of_few_ratings_each_is_not_exaggerated():
    """Where biases of both sides explain the same ratings, each is less certain than alone."""
    found = [fit_means(drawn(1500, 1200, 0.003, 0.5, 0.5, 1.0, seed)) for seed in range(6)]

    assert np.mean([means.row_prior.damping for means in found]) == pytest.approx(4, rel=0.15)
    assert np.mean([means.column_prior.damping for means in found]) == pytest.approx(4, rel=0.15)


def test_no_line_is_taken_where_the_number_of_ratings_says_nothing():
    for seed in range(3):
        means = fit_means(drawn(300, 200, 0.03, 0.4, 0.5, 1.0, seed))
        assert means.row_prior.slope == means.column_prior.slope == 0


def test_noise_alone_leaves_little_but_the_global_mean():
    matrix = drawn(2000, 1500, 0.002, 0.0, 0.0, 1.0)
    means = fit_means(matrix)
    rng = np.random.default_rng(1)
    predicted = means.at(rng.integers(2000, size=5000), rng.integers(1500, size=5000))

    assert np.sqrt(np.mean((predicted - 3) ** 2)) < 0.06  # with 5 ratings of damping: 0.28


def test_the_transposed_matrix_has_the_same_means_but_for_what_is_left_to_settle():
    matrix = drawn(40, 30, 0.3, 0.5, 0.4, 0.9)
    one, other = fit_means(matrix).transposed, fit_means(matrix.T.tocsr())

    assert one.rows == pytest.approx(other.rows, abs=5e-3)
    assert one.row_prior.damping == pytest.approx(other.row_prior.damping, rel=1e-2)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.floats(0.5, 100.0)),
        min_size=1,
        max_size=12,
        unique_by=lambda cell: cell[:2],
    )
)
def test_any_ratings_have_finite_means_near_them(cells):
    rows, columns, values = map(np.array, zip(*cells))
    matrix = sparse.csr_matrix((values, (rows, columns)), shape=(5, 4))
    means = fit_means(matrix)
    predicted = means.at(np.arange(5)[:, None], np.arange(4))

    spread = values.max() - values.min()
    assert (predicted > values.min() - spread - 1e-6).all()
    assert (predicted < values.max() + spread + 1e-6).all()
    assert means.unit > 0

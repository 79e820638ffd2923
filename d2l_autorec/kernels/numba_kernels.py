"""Encoding, masked decoding, the multinomial loss and their gradients, on NumPy arrays.

They compute observed entries only. A batch of B rows and C columns has its n observed
entries in CSR order and, for these kernels, grouped by column: for column c, j in
starts[c]:starts[c + 1] gives the row rows[j] and the CSR position positions[j]. Weights are
(C, H), the H weights of a column contiguous. Encoding and decoding traverse columns: a weight
row is read once for a batch, while the (B, H) hidden matrix stays in the cache.

Columns are divided among the threads in blocks. The most active ones come
first (see `data.rules.ratings_of`), so all threads have the same work, and the same mix of
arithmetic and memory traffic. A sum over columns is made of one partial sum for each thread,
added in thread order: it is bitwise repeatable for a given number of threads. A sum over rows
does not depend on that number at all.
"""

import math

import numpy as np
from numba import config, get_num_threads, prange, set_num_threads  # noqa: F401 (for kernels)

from .cache import compiled

# Sums may be reassociated (vectorised). NaN and infinity keep their meaning, so that a
# training that diverges can be told.
FAST = {"reassoc", "contract", "arcp", "nsz"}
BLOCK = 16  # consecutive columns that one thread takes
KERNEL = dict(parallel=True, fastmath=FAST)


@compiled()
def group_by_column(
    indptr: np.ndarray, columns: np.ndarray, num_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (starts, rows, positions) for a CSR structure, by a stable counting sort."""
    groups = empty_groups(len(columns), num_columns)
    fill_groups(indptr, columns, groups)
    return groups


@compiled(forceinline=True)
def empty_groups(entries, num_columns):
    """Return memory for the groups that `fill_groups` makes."""
    rows, positions = np.empty((2, entries), dtype=np.int32)
    return np.zeros(num_columns + 1, dtype=np.int64), rows, positions


@compiled(forceinline=True)
def fill_groups(indptr, columns, groups):
    """Set groups = (starts, rows, positions), which `empty_groups` has made."""
    starts, rows, positions = groups
    for c in columns:
        starts[c + 1] += 1
    for c in range(len(starts) - 1):
        starts[c + 1] += starts[c]

    fill = starts[:-1].copy()  # where the next entry of a column goes
    for row in range(len(indptr) - 1):
        for position in range(indptr[row], indptr[row + 1]):
            column = columns[position]
            j = fill[column]
            fill[column] += 1

            rows[j] = row
            positions[j] = position


@compiled(**KERNEL)
def weighted_columns(starts, rows, positions, threads, values, weight, initial, out):
    """Set out[b] = initial + sum over entries (b, c) of value * weight[c]; (B, H), in place.

    If the values are ratings, this encodes; if they are the gradient of the
    predictions, it is the gradient of the hidden matrix.
    """
    hidden = weight.shape[1]
    partial = np.empty((threads - 1, *out.shape), dtype=np.float32)

    for t in prange(threads):
        own = partial[t - 1] if t else out
        for b in range(len(out)):
            for k in range(hidden):
                own[b, k] = np.float32(0) if t else initial[k]

        for first in range(BLOCK * t, len(starts) - 1, BLOCK * threads):
            for c in range(first, min(first + BLOCK, len(starts) - 1)):
                for j in range(starts[c], starts[c + 1]):
                    value = values[positions[j]]
                    b = rows[j]
                    for k in range(hidden):
                        own[b, k] += value * weight[c, k]

    for b in prange(len(out)):
        for t in range(threads - 1):
            for k in range(hidden):
                out[b, k] += partial[t, b, k]


@compiled(**KERNEL)
def masked_products(starts, rows, positions, threads, hidden, weight, bias, out):
    """Set out[position] = hidden[b] . weight[c] + bias[c] at the entries (b, c); (n,), in place."""
    for t in prange(threads):
        for first in range(BLOCK * t, len(starts) - 1, BLOCK * threads):
            for c in range(first, min(first + BLOCK, len(starts) - 1)):
                _products_of_column(c, starts, rows, positions, hidden, weight[c], bias[c], out)


@compiled(fastmath=FAST)
def _products_of_column(c, starts, rows, positions, hidden, weight, bias, out):
    """Set a column's products, four at a time: a fifth faster, as weights are read less often."""
    j = starts[c]
    end = starts[c + 1]

    while j + 4 <= end:
        h0 = hidden[rows[j]]
        h1 = hidden[rows[j + 1]]
        h2 = hidden[rows[j + 2]]
        h3 = hidden[rows[j + 3]]

        s0 = s1 = s2 = s3 = bias
        for k in range(len(weight)):
            s0 += h0[k] * weight[k]
            s1 += h1[k] * weight[k]
            s2 += h2[k] * weight[k]
            s3 += h3[k] * weight[k]

        out[positions[j]] = s0
        out[positions[j + 1]] = s1
        out[positions[j + 2]] = s2
        out[positions[j + 3]] = s3
        j += 4

    while j < end:
        h0 = hidden[rows[j]]
        s0 = bias
        for k in range(len(weight)):
            s0 += h0[k] * weight[k]
        out[positions[j]] = s0
        j += 1


@compiled(fastmath=FAST, forceinline=True)
def _gradient_row(c, starts, rows, positions, values, hidden, gradient):
    """Set gradient[:] = sum over the entries (b, c) of column c of value * hidden[b]."""
    gradient[:] = 0
    j = starts[c]
    end = starts[c + 1]

    while j + 4 <= end:
        v0 = values[positions[j]]
        v1 = values[positions[j + 1]]
        v2 = values[positions[j + 2]]
        v3 = values[positions[j + 3]]

        h0 = hidden[rows[j]]
        h1 = hidden[rows[j + 1]]
        h2 = hidden[rows[j + 2]]
        h3 = hidden[rows[j + 3]]

        for k in range(len(gradient)):
            gradient[k] += v0 * h0[k] + v1 * h1[k] + v2 * h2[k] + v3 * h3[k]
        j += 4

    while j < end:
        v0 = values[positions[j]]
        h0 = hidden[rows[j]]
        for k in range(len(gradient)):
            gradient[k] += v0 * h0[k]
        j += 1


@compiled(**KERNEL)
def weight_gradient(starts, rows, positions, threads, values, hidden, out):
    """Set out[c] = sum over entries (b, c) of value * hidden[b]; (C, H), every row written."""
    for t in prange(threads):
        for first in range(BLOCK * t, len(starts) - 1, BLOCK * threads):
            for c in range(first, min(first + BLOCK, len(starts) - 1)):
                _gradient_row(c, starts, rows, positions, values, hidden, out[c])


@compiled(forceinline=True)
def _largest(row):
    """Return the largest number in a row."""
    m0 = m1 = m2 = m3 = row[0]
    for c in range(0, len(row) - 3, 4):
        m0 = max(m0, row[c])
        m1 = max(m1, row[c + 1])
        m2 = max(m2, row[c + 2])
        m3 = max(m3, row[c + 3])

    for c in range(len(row) - len(row) % 4, len(row)):
        m0 = max(m0, row[c])
    return max(max(m0, m1), max(m2, m3))


@compiled(forceinline=True)
def _exponentials(row, top, out):
    """Set out = exp(row - top), and return its sum."""
    s0 = s1 = s2 = s3 = np.float32(0)
    for c in range(len(row)):
        out[c] = math.exp(row[c] - top)

    for c in range(0, len(row) - 3, 4):
        s0 += out[c]
        s1 += out[c + 1]
        s2 += out[c + 2]
        s3 += out[c + 3]

    for c in range(len(row) - len(row) % 4, len(row)):
        s0 += out[c]
    return (s0 + s1) + (s2 + s3)


# FAST is left out: a parallel loop is optimised twice, and code that was just compiled may run the
# first result where code from the cache runs the second. So sums are added in the written order.
@compiled(parallel=True)
def multinomial_loss(indptr, columns, values, logits, exponentials, sums, out):
    """Set out[b] = -sum over entries (b, c) of value * log softmax(logits[b])[c]; (B,), in place.

    This also sets exp(logits - largest of the row) and their sums, for the gradient.
    """
    for b in prange(len(logits)):
        top = _largest(logits[b])
        total = _exponentials(logits[b], top, exponentials[b])
        sums[b] = total

        normaliser = top + math.log(total)
        loss = np.float32(0)
        for j in range(indptr[b], indptr[b + 1]):
            loss += values[j] * (normaliser - logits[b, columns[j]])
        out[b] = loss


@compiled(parallel=True)
def multinomial_gradient(indptr, columns, values, exponentials, sums, upstream, out):
    """Set out[b] = upstream[b] * (clicks of b * softmax(logits[b]) - values of b); (B, C)."""
    for b in prange(len(out)):
        clicks = np.float32(0)
        for j in range(indptr[b], indptr[b + 1]):
            clicks += values[j]

        scale = upstream[b] * clicks / sums[b]
        for c in range(out.shape[1]):
            out[b, c] = scale * exponentials[b, c]

        for j in range(indptr[b], indptr[b + 1]):
            out[b, columns[j]] -= upstream[b] * values[j]

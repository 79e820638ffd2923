"""Compiled sweeps of alternating least squares over clicks, from and to NumPy arrays.

Rows are independent of each other, and each sum is added in the written order: no result depends
on the number of threads.
"""

import math

import numpy as np
from numba import prange

from .cache import compiled

FUSED = {"contract"}  # allows a product and a sum in one instruction, but no other order of sums


@compiled(parallel=True)
def gram(factors, threads, out):
    """Set the upper triangle of out = factors' factors, float64, in place."""
    size = factors.shape[1]
    for t in prange(threads):
        for p in range(t, size, threads):
            _gram_row(factors, p, out[p])


@compiled(fastmath=FUSED)
def _gram_row(factors, p, out):
    out[:] = 0
    for i in range(len(factors)):
        row = factors[i]
        factor = np.float64(row[p])
        for q in range(p, len(row)):
            out[q] += factor * row[q]


@compiled(parallel=True)
def solve_rows(indptr, indices, factors, base, penalty, expected, threads, out):
    """Set out[row] = (base + sum of f f' + ridge I)^-1 sum of f; (rows, factors), in place.

    The sums are over the clicks of the row, whose factors are f, and the ridge is
    penalty * (clicks + expected). Only the upper triangle of `base` is read.
    """
    for t in prange(threads):
        system = np.empty(base.shape, np.float32)
        for row in range(t, len(out), threads):
            clicked = indices[indptr[row] : indptr[row + 1]]
            ridge = penalty * (np.float32(len(clicked)) + expected)
            _normal_equations(clicked, factors, base, ridge, system, out[row])
            _solve(system, out[row])


@compiled(fastmath=FUSED)
def _normal_equations(clicked, factors, base, ridge, system, right):
    """Build the normal equations four clicks at a time, to read the matrix less often."""
    size = len(right)
    system[:] = base
    right[:] = 0
    for p in range(size):
        system[p, p] += ridge

    j = 0
    while j + 4 <= len(clicked):
        f0 = factors[clicked[j]]
        f1 = factors[clicked[j + 1]]
        f2 = factors[clicked[j + 2]]
        f3 = factors[clicked[j + 3]]
        for p in range(size):
            right[p] += f0[p] + f1[p] + f2[p] + f3[p]
            a0, a1, a2, a3 = f0[p], f1[p], f2[p], f3[p]
            row = system[p]
            for q in range(p, size):
                row[q] += a0 * f0[q] + a1 * f1[q] + a2 * f2[q] + a3 * f3[q]
        j += 4

    while j < len(clicked):
        f0 = factors[clicked[j]]
        for p in range(size):
            right[p] += f0[p]
            a0 = f0[p]
            row = system[p]
            for q in range(p, size):
                row[q] += a0 * f0[q]
        j += 1


@compiled(fastmath=FUSED)
def _solve(system, right):
    """Solve the system by Cholesky's decomposition U'U, in place."""
    size = len(right)
    for k in range(size):
        top = system[k]
        scale = np.float32(1) / math.sqrt(top[k])
        for q in range(k, size):
            top[q] *= scale
        right[k] *= scale

        value = right[k]
        for p in range(k + 1, size):
            row = system[p]
            factor = top[p]
            right[p] -= factor * value
            for q in range(p, size):
                row[q] -= factor * top[q]

    for k in range(size - 1, -1, -1):
        top = system[k]
        total = right[k]
        for q in range(k + 1, size):
            total -= top[q] * right[q]
        right[k] = total / top[k]

"""One training step of a matrix factorization, compiled as a whole, on NumPy arrays.

    pairs:          errors of the predictions                            -> errors (B,)
    users, items:   gradients and updates of the vectors, of the biases

Every vector and bias is updated, as Adam also moves those without a gradient. No result depends on
the number of threads.
"""

import numpy as np
from numba import prange

from .cache import compiled
from .numba_fused import F0, _bias, _columns, _square, inlined
from .numba_kernels import FAST, empty_groups, fill_groups


@inlined
def _errors(pairs, users, items, mean, unit, vectors, errors):
    """Set errors and vectors of each pair; return the sums of squared errors and of squares."""
    squared = squares = np.float64(0)
    for b in range(len(errors)):
        user, item = pairs[0][b], pairs[1][b]
        product = square = F0
        for k in range(vectors.shape[2]):
            p, q = users[0][user, k], items[0][item, k]
            vectors[0, b, k], vectors[1, b, k] = p, q
            product += p * q
            square += p * p + q * q

        error = unit * product + users[3][user] + items[3][item] + mean - pairs[2][b]
        errors[b] = error
        squared += _square(error)
        squares += square
    return squared, squares


@compiled(parallel=True, fastmath=FAST, error_model="numpy")
def factor_step(pairs, users, items, constants, rule, wd, rates, shares):
    """Take one step in place; return the loss before it and the squared error.

    Parameters
    ----------
    pairs : (users, items, ratings)
        Arrays of shape (B,): int32, int32 and float32.
    users, items : (vectors, their two states, biases, their two states)
        Arrays of shapes (n, K) and (n,); the states are those of the rule of updates.
    constants : (mean, unit, penalty)
        Numbers of float32. A prediction is mean + biases + unit * product of vectors; a rating's
        penalty is penalty * unit^2 times half the squares of its two vectors.
    rule, rates, shares
        As for `fused_step`.
    wd : (users' vectors, their biases, items' vectors, their biases)
        Weight decay of each, float32.
    """
    size = len(pairs[2])
    vectors = np.empty((2, size, users[0].shape[1]), dtype=np.float32)
    errors = np.empty(size, dtype=np.float32)
    mean, unit, penalty = constants
    squared, squares = _errors(pairs, users, items, mean, unit, vectors, errors)

    one_each = np.arange(size + 1)  # each row of the batch has one entry
    of_users, of_items = empty_groups(size, len(users[0])), empty_groups(size, len(items[0]))
    fill_groups(one_each, pairs[0], of_users)
    fill_groups(one_each, pairs[1], of_items)

    in_units, plain = (*rates, unit / np.float32(size)), (*rates, np.float32(1) / np.float32(size))
    shrink = penalty * unit
    for t in prange(shares):
        _columns(t, shares, of_users, users, errors, vectors[1], shrink, wd[0], rule, in_units)
        _bias(t, shares, of_users, users, errors, wd[1], rule, plain)
        _columns(t, shares, of_items, items, errors, vectors[0], shrink, wd[2], rule, in_units)
        _bias(t, shares, of_items, items, errors, wd[3], rule, plain)
    return (squared + penalty * unit * unit * squares) / 2, squared

"""One training step of a network with one hidden layer, compiled as a whole, on NumPy arrays.

    rows:     encode, activate, drop, decode, and back        -> hidden, delta (B, H), errors (n,)
    columns:  gradients and updates of the decoder, of the encoder

The squared error separates by entry. So a row is decoded and differentiated at the same time, while
its decoder weights are in the cache, and a row of the gradient is made while its weights are
updated. No array has the size entries x H, and only parameters and states have columns x H.

Rows are independent of each other, and so are columns: no result depends on the number of threads.
All is one compiled function, as one loads faster than several.
"""

import math

import numpy as np
from numba import prange

from . import ACTIVATIONS, RULES
from .cache import compiled
from .dropout import draw
from .numba_kernels import BLOCK, FAST, _gradient_row, empty_groups, fill_groups

IDENTITY, SIGMOID, TANH, RELU = range(len(ACTIVATIONS))
ADAM, RPROP = range(len(RULES))

F0, F1, F2 = np.float32(0), np.float32(1), np.float32(2)
ROW_COST = 10  # activation and mask of a row take as long as this many entries
GROUPED = 20  # grouping this many entries takes as long as one entry

# exp(x) = 2^n exp(r), |r| <= ln(2) / 2; ln(2) in two parts, and the polynomial of Cephes' expf
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOWEST, HIGHEST = np.float32(-87), np.float32(87)
BIAS, BIAS_AND_HALF = np.int32(127), np.float32(127.5)
E2, E3, E4 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
E5, E6, E7 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)

# Inlining is not a matter of speed. A function that is called is also compiled alone, and its code
# may add a sum in another order. A process that has just compiled may run the one, and a process
# that has loaded the step from the cache the other: a resumed run would differ.
inlined = compiled(fastmath=FAST, error_model="numpy", forceinline=True)
_draw = compiled(forceinline=True)(draw)


@inlined
def _sigmoid(x):
    """Return 1 / (1 + exp(-x)), to 2e-7; exp is written out, as libm's is not vectorised."""
    y = -x
    if y < LOWEST:
        y = LOWEST
    if y > HIGHEST:
        y = HIGHEST
    exponent = np.int32(y * LOG2_E + BIAS_AND_HALF)
    n = np.float32(exponent - BIAS)
    r = y - n * LN2_HIGH - n * LN2_LOW
    polynomial = ((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2
    power = np.int32(exponent << np.int32(23)).view(np.float32)
    value = F1 / (F1 + (polynomial * r * r + r + F1) * power)
    if x != x:
        value = x
    return value


@inlined
def _activate(row, activation):
    """Set row = activation(row)."""
    if activation == SIGMOID:
        for k in range(len(row)):
            row[k] = _sigmoid(row[k])
    elif activation == TANH:
        for k in range(len(row)):
            row[k] = F2 * _sigmoid(F2 * row[k]) - F1
    elif activation == RELU:
        for k in range(len(row)):
            if row[k] < F0:  # keeps NaN
                row[k] = F0


@inlined
def _times_slope(gradient, row, kept, activation):
    """Multiply the gradient by the slope of the activation, whose value is kept * row."""
    if activation == SIGMOID:
        for k in range(len(row)):
            value = row[k] * kept
            gradient[k] *= value * (F1 - value)
    elif activation == TANH:
        for k in range(len(row)):
            value = row[k] * kept
            gradient[k] *= F1 - value * value
    elif activation == RELU:
        for k in range(len(row)):
            if row[k] <= F0:
                gradient[k] = F0


@inlined
def _drop(row, row_key, threshold, scale):
    """Multiply a row by its dropout mask."""
    for k in range(len(row)):
        value = row[k] * scale
        if _draw(row_key, np.uint64(k)) < threshold:
            value = F0
        row[k] = value


@inlined
def _encode_row(first, end, indices, data, weight, bias, row):
    """Set row = x weight + bias, with four entries at a time, to read and write `row` less."""
    units = len(bias)
    for k in range(units):
        row[k] = bias[k]
    j = first
    while j + 4 <= end:
        v0, v1, v2, v3 = data[j], data[j + 1], data[j + 2], data[j + 3]
        c0, c1, c2, c3 = indices[j], indices[j + 1], indices[j + 2], indices[j + 3]
        for k in range(units):
            low = v0 * weight[c0, k] + v1 * weight[c1, k]
            high = v2 * weight[c2, k] + v3 * weight[c3, k]
            row[k] += low + high
        j += 4
    while j < end:
        v0, c0 = data[j], indices[j]
        for k in range(units):
            row[k] += v0 * weight[c0, k]
        j += 1


@inlined
def _square(error):
    """Return the square of an error in float64, the type in which they are added up."""
    return np.float64(error) * np.float64(error)


@inlined
def _decode_row(first, end, indices, targets, weight, bias, row, errors, gradient):
    """Return the squared error of a row's predictions.

    This sets each entry's error in `errors`, and `gradient` to that of half their squares.
    """
    units, squared = len(row), 0.0
    for k in range(units):
        gradient[k] = F0
    j = first
    while j + 4 <= end:
        c0, c1, c2, c3 = indices[j], indices[j + 1], indices[j + 2], indices[j + 3]
        s0 = s1 = s2 = s3 = F0
        for k in range(units):
            s0 += row[k] * weight[c0, k]
            s1 += row[k] * weight[c1, k]
            s2 += row[k] * weight[c2, k]
            s3 += row[k] * weight[c3, k]
        s0 += bias[c0] - targets[j]
        s1 += bias[c1] - targets[j + 1]
        s2 += bias[c2] - targets[j + 2]
        s3 += bias[c3] - targets[j + 3]
        squared += _square(s0) + _square(s1) + _square(s2) + _square(s3)
        errors[j], errors[j + 1], errors[j + 2], errors[j + 3] = s0, s1, s2, s3
        for k in range(units):
            low = s0 * weight[c0, k] + s1 * weight[c1, k]
            high = s2 * weight[c2, k] + s3 * weight[c3, k]
            gradient[k] += low + high
        j += 4
    while j < end:
        c0, s0 = indices[j], F0
        for k in range(units):
            s0 += row[k] * weight[c0, k]
        s0 += bias[c0] - targets[j]
        squared += _square(s0)
        errors[j] = s0
        for k in range(units):
            gradient[k] += s0 * weight[c0, k]
        j += 1
    return squared


@inlined
def _rows(first, end, batch, encoder, decoder, network, key, hidden, delta, errors, squared):
    """Pass rows `first` to `end` forward and back, up to the gradients of the hidden units."""
    indptr, indices, data, targets = batch
    activation, threshold, scale = network
    kept = F1 / scale
    for b in range(first, end):
        row, gradient, row_key = hidden[b], delta[b], _draw(key, np.uint64(b))
        here, there = indptr[b], indptr[b + 1]

        _encode_row(here, there, indices, data, encoder[0], encoder[3], row)
        _activate(row, activation)
        if threshold:
            _drop(row, row_key, threshold, scale)

        weight, bias = decoder[0], decoder[3]
        squared[b] = _decode_row(here, there, indices, targets, weight, bias, row, errors, gradient)

        _times_slope(gradient, row, kept, activation)
        if threshold:
            _drop(gradient, row_key, threshold, scale)


@inlined
def _adam(weight, mean, variance, gradient, wd, rates):
    """Update one row of weights as MXNet's `adam_update`, in place.

    The learning rate has the bias correction; the last of `rates` is a factor of the gradient.
    """
    lr, beta1, beta2, epsilon, factor = rates
    rest1, rest2 = F1 - beta1, F1 - beta2
    for k in range(len(weight)):
        g = factor * gradient[k] + wd * weight[k]
        m = beta1 * mean[k] + rest1 * g
        v = beta2 * variance[k] + rest2 * g * g
        mean[k] = m
        variance[k] = v
        weight[k] -= lr * m / (math.sqrt(v) + epsilon)


@inlined
def _rprop(weight, size, last, gradient, wd, rates):
    """Update one row of weights by iRprop-, in place: see `training.fused.RProp`.

    `last` are the signs of the last gradients, 0 after a change of sign.
    """
    growth, cut, smallest, largest, factor = rates
    for k in range(len(weight)):
        g = factor * gradient[k] + wd * weight[k]
        sign = F1 if g > F0 else (-F1 if g < F0 else F0)
        turn = sign * last[k]

        step = size[k]
        if turn > F0:
            step = min(step * growth, largest)
        if turn < F0:
            step = max(step * cut, smallest)
            sign = F0
        weight[k] -= sign * step
        size[k] = step
        last[k] = sign


@inlined
def _step(weight, first, second, gradient, wd, rule, rates):
    """Update one row of weights and its two states by the rule, in place."""
    if rule == RPROP:
        _rprop(weight, first, second, gradient, wd, rates)
    else:
        _adam(weight, first, second, gradient, wd, rates)


@inlined
def _columns(share, shares, groups, layer, values, factors, penalty, wd, rule, rates):
    """Update a layer's weights in one share of the columns.

    The gradient of column c is the sum over its entries (b, c) of value * factors[b], and of
    penalty * weight[c].
    """
    starts, rows, positions = groups
    weight, first_state, second_state, _, _, _ = layer
    gradient = np.empty(weight.shape[1], dtype=np.float32)
    for first in range(BLOCK * share, len(weight), BLOCK * shares):
        for c in range(first, min(first + BLOCK, len(weight))):
            _gradient_row(c, starts, rows, positions, values, factors, gradient)
            decay = wd + rates[4] * penalty * np.float32(starts[c + 1] - starts[c])
            _step(weight[c], first_state[c], second_state[c], gradient, decay, rule, rates)


@inlined
def _bias(share, shares, groups, layer, errors, wd, rule, rates):
    """Update the biases of a share of the columns.

    They are updated in blocks: the place of an element in a vector decides on the rounding of its
    last bit, and must not depend on the shares.
    """
    starts, _, positions = groups
    _, _, _, bias, first_state, second_state = layer
    gradient = np.empty(BLOCK, dtype=np.float32)

    for first in range(BLOCK * share, len(bias), BLOCK * shares):
        end = min(first + BLOCK, len(bias))
        for c in range(first, end):
            total = F0
            for j in range(starts[c], starts[c + 1]):
                total += errors[positions[j]]
            gradient[c - first] = total
        block = slice(first, end)
        _step(bias[block], first_state[block], second_state[block], gradient, wd, rule, rates)


@inlined
def _encoder_bias(share, shares, encoder, delta, wd, rule, rates):
    """Update the biases of a share of the hidden units, in blocks like the decoder's."""
    _, _, _, bias, first_state, second_state = encoder
    gradient = np.empty(BLOCK, dtype=np.float32)

    for first in range(BLOCK * share, len(bias), BLOCK * shares):
        end = min(first + BLOCK, len(bias))
        gradient[:] = F0
        for b in range(len(delta)):
            for k in range(first, end):
                gradient[k - first] += delta[b, k]
        block = slice(first, end)
        _step(bias[block], first_state[block], second_state[block], gradient, wd, rule, rates)


@inlined
def _taken(table, numbers, key, threshold, scale):
    """Return (indptr, indices, data, targets) of some rows, with input dropout on the data."""
    indptr, indices, data, targets = table
    starts = np.zeros(len(numbers) + 1, dtype=np.int32)
    for b in range(len(numbers)):
        starts[b + 1] = starts[b] + indptr[numbers[b] + 1] - indptr[numbers[b]]

    columns = np.empty(starts[-1], dtype=np.int32)
    values, wanted = np.empty((2, starts[-1]), dtype=np.float32)
    for b in range(len(numbers)):
        row_key, first = _draw(key, np.uint64(b)), indptr[numbers[b]]
        for j in range(starts[b + 1] - starts[b]):
            column, value = indices[first + j], data[first + j]
            if threshold:
                value *= scale
                if _draw(row_key, np.uint64(column)) < threshold:
                    value = F0
            columns[starts[b] + j] = column
            values[starts[b] + j] = value
            wanted[starts[b] + j] = targets[first + j]
    return starts, columns, values, wanted


@inlined
def _cuts(indptr, shares, done):
    """Return where each share of the rows begins, so that all have the same work; (shares + 1,).

    The first share has other work, too, which counts as `done` entries.
    """
    rows = len(indptr) - 1
    total = indptr[rows] + ROW_COST * rows + done
    cuts = np.full(shares + 1, rows)
    cuts[0], share = 0, 1
    for b in range(rows):
        while share < shares and (indptr[b] + ROW_COST * b + done) * shares >= total * share:
            cuts[share] = b
            share += 1
    return cuts


@compiled(parallel=True, fastmath=FAST, error_model="numpy")
def fused_step(
    table, chosen, encoder, decoder, network, key, factor, rule, rates, wd, hidden, delta, shares
):
    """Take one step in place; return the squared error before it.

    Tuples are plain, as numba takes no others into a parallel region.

    Parameters
    ----------
    table : (indptr, indices, data, targets)
        The encoder reads the data; the decoder is to predict the targets.
    chosen : (numbers, key, threshold, scale)
        The rows of the table that are trained on, int64, shape (B,); dropout of their data.
    encoder, decoder : (weight, its two states, bias, its two states)
        Arrays of shapes (C, H), and (H,) or (C,); the states are those of the rule of updates.
    network : (activation, threshold, scale)
        The number of one of `ACTIVATIONS`, and the two numbers of dropout.
    key : uint64
        Key of the dropout mask.
    factor : float32
        The loss is half the sum of squared errors times this.
    rule : int
        The number of one of `RULES`.
    rates : (lr, beta1, beta2, epsilon) or (growth, cut, smallest, largest)
        Adam's rates, with the bias correction in `lr`, or RProp's; float32.
    wd : (encoder's weight, its bias, decoder's weight, its bias)
        Weight decay of each, float32.
    hidden, delta : ndarray of float32, shape (B, H)
        Memory that is overwritten.
    shares : int
        Number of threads, at most as many as numba began with. No result depends on it.
    """
    batch = _taken(table, *chosen)
    indptr, indices, data, _ = batch
    groups = empty_groups(len(data), len(decoder[0]))
    errors = np.empty(len(data), dtype=np.float32)
    squared = np.empty(len(hidden), dtype=np.float64)

    cuts = _cuts(indptr, shares, len(data) // GROUPED)
    for t in prange(shares):
        if t == 0:
            fill_groups(indptr, indices, groups)
        first, end = cuts[t], cuts[t + 1]
        _rows(first, end, batch, encoder, decoder, network, key, hidden, delta, errors, squared)

    total = 0.0  # numba would add squared.sum() in parallel, in another order
    for b in range(len(squared)):
        total += squared[b]

    rates = *rates, factor
    for t in prange(shares):
        _columns(t, shares, groups, decoder, errors, hidden, F0, wd[2], rule, rates)
        _bias(t, shares, groups, decoder, errors, wd[3], rule, rates)
        _columns(t, shares, groups, encoder, data, delta, F0, wd[0], rule, rates)
        _encoder_bias(t, shares, encoder, delta, wd[1], rule, rates)

    return total


@compiled(parallel=True, fastmath=FAST, error_model="numpy")
def predict_cells(rows, wanted, encoder, decoder, activation, out, shares):
    """Set out = predictions at the wanted entries; a row that has none is not encoded.

    Parameters
    ----------
    rows : (indptr, indices, data)
        The rows that the encoder reads.
    wanted : (indptr, indices)
        The entries to predict, of the same rows.
    encoder, decoder : (weight, bias)
        The parameters.
    activation : int
        The number of one of `ACTIVATIONS`.
    out : ndarray of float32, shape (wanted entries,)
        The predictions.
    shares : int
        As for `fused_step`.
    """
    indptr, indices, data = rows
    starts, columns = wanted
    weight, bias = decoder

    cuts = _cuts(indptr + starts, shares, 0)
    for t in prange(shares):
        row = np.empty(weight.shape[1], dtype=np.float32)
        for b in range(cuts[t], cuts[t + 1]):
            if starts[b] < starts[b + 1]:
                _encode_row(indptr[b], indptr[b + 1], indices, data, encoder[0], encoder[1], row)
                _activate(row, activation)
            for j in range(starts[b], starts[b + 1]):
                total = F0
                for k in range(len(row)):
                    total += row[k] * weight[columns[j], k]
                out[j] = total + bias[columns[j]]

"""One training step of a network with one hidden layer, compiled whole; NumPy arrays in, out.

    rows:     encode, activate, drop, decode, and back        -> hidden, delta (B, H), errors (n,)
    columns:  gradients and updates of the decoder, of the encoder

The squared error separates by entry, so a row is decoded and differentiated at one time, while
its decoder weights are at hand, and a gradient row is made while its weights are updated: nothing
has the size entries x H or, but for what is trained, columns x H.

Rows are independent of each other, and so are columns: no result depends on how many threads
they are dealt to. All is one compiled function, as one is loaded faster than several.
"""

import math

import numpy as np
from numba import prange

from .cache import compiled
from .dropout import draw
from .fused_step import ACTIVATIONS, ROOT_TINY, RULES
from .numba_kernels import BLOCK, FAST, _gradient_row, group_by_column

IDENTITY, SIGMOID, TANH, RELU = range(len(ACTIVATIONS))
ADAM, RPROP = range(len(RULES))

F0, F1, F2 = np.float32(0), np.float32(1), np.float32(2)
ROW_COST = 10  # activation and mask of a row take as long as so many entries

# exp(x) = 2^n exp(r), |r| <= ln(2) / 2; ln(2) in two parts, and the polynomial of Cephes' expf
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOWEST, HIGHEST = np.float32(-87), np.float32(87)
BIAS, BIAS_AND_HALF = np.int32(127), np.float32(127.5)
E2, E3, E4 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
E5, E6, E7 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)

# Not a matter of speed: a function that is called is also compiled alone, and where its code
# differs in the order of a sum, a process that has just compiled may run the one, and a process
# that has loaded the step from the cache the other. A resumed run would differ.
inlined = compiled(fastmath=FAST, error_model="numpy", forceinline=True)
_draw = compiled(forceinline=True)(draw)


@inlined
def _sigmoid(x):
    """1 / (1 + exp(-x)), to 2e-7; written out, as a loop over libm's exp is not vectorised."""
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
    """Set gradient *= slope of the activation where it is kept * row."""
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
    """Multiply a row by its mask."""
    for k in range(len(row)):
        value = row[k] * scale
        if _draw(row_key, np.uint64(k)) < threshold:
            value = F0
        row[k] = value


@inlined
def _encode_row(first, end, indices, data, weight, bias, row):
    """Set row = x weight + bias, four entries at a time: `row` is read and written once."""
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
    """Return a square in float64, in which squared errors are added up."""
    return np.float64(error) * np.float64(error)


@inlined
def _decode_row(first, end, indices, targets, weight, bias, row, errors, gradient):
    """Return the squared error of a row's predictions.

    Leaves each entry's error in `errors`, and the gradient of half their squares in `gradient`.
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
    """Pass rows `first` to `end` there and back, up to the gradients of the weights."""
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
    """MXNet's `adam_update`, whose learning rate holds the bias correction; one row, in place.

    The gradient is `factor` times that given.
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
    """iRprop-: see `training.rprop`; one row, in place. `last` are signs, 0 after a turn."""
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
    """One row of weights and the two states of each, in place."""
    if rule == RPROP:
        _rprop(weight, first, second, gradient, wd, rates)
    else:
        _adam(weight, first, second, gradient, wd, rates)


@inlined
def _columns(share, shares, groups, layer, values, factors, wd, rule, rates):
    """Update a layer's weights in the columns of a share.

    The gradient of column c is the sum over its entries (b, c) of value * factors[b].
    """
    starts, rows, positions = groups
    weight, first_state, second_state, _, _, _ = layer
    gradient = np.empty(weight.shape[1], dtype=np.float32)
    for first in range(BLOCK * share, len(weight), BLOCK * shares):
        for c in range(first, min(first + BLOCK, len(weight))):
            _gradient_row(c, starts, rows, positions, values, factors, gradient)
            _step(weight[c], first_state[c], second_state[c], gradient, wd, rule, rates)


@inlined
def _decoder_bias(share, shares, groups, decoder, errors, wd, rule, rates):
    """Update the biases of a share of the columns.

    In blocks: where an element stands in a vector decides on the rounding of its last bit, and
    must not depend on the shares.
    """
    starts, _, positions = groups
    _, _, _, bias, first_state, second_state = decoder
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
    """Update the biases of a share of the hidden units, in blocks as the decoder's."""
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
def _cuts(indptr, shares):
    """Where each share of the rows begins, so that all have the same work; (shares + 1,)."""
    rows = len(indptr) - 1
    total = indptr[rows] + ROW_COST * rows
    cuts = np.full(shares + 1, rows)
    share = 0
    for b in range(rows):
        while share < shares and (indptr[b] + ROW_COST * b) * shares >= total * share:
            cuts[share] = b
            share += 1
    return cuts


@compiled(parallel=True, fastmath=FAST, error_model="numpy")
def fused_step(batch, encoder, decoder, network, key, loss, rule, rates, wd, hidden, delta, shares):
    """Take one step in place; return the squared error before it.

    Tuples are plain, as numba takes no others into a parallel region.

    Parameters
    ----------
    batch : (indptr, indices, data, targets)
        The encoder reads the data; the decoder is to predict the targets.
    encoder, decoder : (weight, its two states, bias, its two states)
        As the rule of updates has them.
    network : (activation, threshold, scale)
        The first is one of `ACTIVATIONS`, by number, and the others are of the dropout.
    key : uint64
        Of the dropout mask.
    loss : (is_root, scale)
        Whether the loss is the root of the sum of squared errors; otherwise it is half that sum
        times `scale`.
    rule : int
        One of `RULES`, by number.
    rates : (lr, beta1, beta2, epsilon) or (growth, cut, smallest, largest)
        float32; Adam's, with the bias correction in `lr`, or RProp's.
    wd : (encoder's weight, its bias, decoder's weight, its bias)
        float32.
    hidden, delta : ndarray, shape (B, H)
        Overwritten.
    shares : int
        Threads that work: at most as many as numba began with. No result depends on them.
    """
    indptr, indices, data, _ = batch
    groups = group_by_column(indptr, indices, len(decoder[0]))
    errors = np.empty(len(data), dtype=np.float32)
    squared = np.empty(len(hidden), dtype=np.float64)

    cuts = _cuts(indptr, shares)
    for t in prange(shares):
        first, end = cuts[t], cuts[t + 1]
        _rows(first, end, batch, encoder, decoder, network, key, hidden, delta, errors, squared)

    total = 0.0  # numba would make squared.sum() a parallel one, in another order
    for b in range(len(squared)):
        total += squared[b]

    is_root, factor = loss  # a gradient is what the errors give, times the factor
    if is_root:
        factor = np.float32(1 / math.sqrt(total + ROOT_TINY))

    rates = *rates, factor
    for t in prange(shares):
        _columns(t, shares, groups, decoder, errors, hidden, wd[2], rule, rates)
        _decoder_bias(t, shares, groups, decoder, errors, wd[3], rule, rates)
        _columns(t, shares, groups, encoder, data, delta, wd[0], rule, rates)
        _encoder_bias(t, shares, encoder, delta, wd[1], rule, rates)

    return total

"""Dropout masks that depend only on a key and a position, however and in what order computed.

A draw is a hash of its number, so no generator is advanced and no state is kept. Seed, epoch,
step, row and unit are taken one after the other: each number chooses a draw of the generator that
the numbers before it have chosen.

    seed -> epoch -> step = the key of a batch -> row -> unit

`draw`, which has no type annotations, is compiled into the fused step, too: see `numba_fused`.
This module itself needs no numba.
"""

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
ONE, S27, S30, S31 = (np.uint64(number) for number in (1, 27, 30, 31))
NO_ROW = np.uint64(2**63)  # a number that no row has


def draw(state, number):
    """Return draw `number`, counted from 0, of the generator SplitMix64 that begins with `state`.

    Arguments and result are uint64 numbers or arrays.

    Source: Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators", with the
    constants of Vigna's splitmix64.c.
    """
    z = state + GAMMA * (number + ONE)
    z = (z ^ (z >> S30)) * FIRST_FACTOR
    z = (z ^ (z >> S27)) * SECOND_FACTOR
    return z ^ (z >> S31)


def dropout_key(seed: int, epoch: int, step: int) -> np.uint64:
    """Return the key of a batch's dropout mask.

    Parameters
    ----------
    seed, epoch, step : int
        Numbers from 0 to 2^64 - 1.
    """
    key = np.uint64(seed)

    with np.errstate(over="ignore"):  # arithmetic modulo 2^64
        for number in (epoch, step):
            key = draw(key, np.uint64(number))

    return key


def mxnet_seed_of(key: np.uint64, first_row: int) -> int:
    """Return a seed of 31 bits for `mx.random.seed`, for layers that use MXNet's generator."""
    with np.errstate(over="ignore"):
        return int(draw(key, np.uint64(first_row)) >> np.uint64(33))


def input_key(key: np.uint64) -> np.uint64:
    """Return the key of the mask of a batch's inputs; `key` is that of its hidden units."""
    with np.errstate(over="ignore"):
        return draw(key, NO_ROW)


def dropout_threshold(rate: float) -> np.uint64:
    """Return the number below which a draw drops a unit."""
    return np.uint64(int(rate * 2.0**64))


def dropout_scale(rate: float) -> np.float32:
    """Return the factor of units that are kept, 1 / (1 - rate)."""
    return np.float32(1 / (1 - rate))


def dropout_mask(
    key: np.uint64, rows: int, units: int, rate: float, first_row: int = 0
) -> np.ndarray:
    """Return the mask by which the hidden units of a batch are multiplied in training.

    Parameters
    ----------
    key : uint64
        The batch's key, by `dropout_key`.
    rows, units : int
        Shape of the mask.
    rate : float
        Share of the units that are dropped, in [0, 1).
    first_row : int
        Position in the whole batch of the first row, where this is a part of it.

    Returns
    -------
    ndarray of float32, shape (rows, units)
        Each number is 0 or 1 / (1 - rate).
    """
    unit_numbers = np.arange(units, dtype=np.uint64)
    row_keys = _row_keys(key, first_row, rows)[:, np.newaxis]
    return _mask(draw(row_keys, unit_numbers), rate)  # (rows, units)


def dropout_at(
    key: np.uint64, indptr: np.ndarray, indices: np.ndarray, rate: float, first_row: int = 0
) -> np.ndarray:
    """Return the mask of `dropout_mask` at the entries of sparse rows only, shape (entries,).

    Parameters
    ----------
    key, rate, first_row
        As for `dropout_mask`.
    indptr, indices : ndarray of int
        CSR structure of the rows.
    """
    row_keys = np.repeat(_row_keys(key, first_row, len(indptr) - 1), np.diff(indptr))
    return _mask(draw(row_keys, indices.astype(np.uint64)), rate)


def _row_keys(key: np.uint64, first_row: int, rows: int) -> np.ndarray:
    return draw(key, np.arange(first_row, first_row + rows, dtype=np.uint64))


def _mask(draws: np.ndarray, rate: float) -> np.ndarray:
    return (draws >= dropout_threshold(rate)) * dropout_scale(rate)

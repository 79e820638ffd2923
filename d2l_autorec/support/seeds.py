"""The random streams of a run, each derived from (seed, purpose, epoch).

Dropout has keys in their place: see `kernels.dropout`.
"""

from enum import IntEnum

import numpy as np

from .errors import check_whole


class Purpose(IntEnum):
    """What random numbers are for. Its values must never change, or runs would not repeat."""

    SPLIT = 1
    VALIDATION = 2
    GENERATED_RATINGS = 3
    INITIAL_VALUES = 4
    ROW_ORDER = 5
    # 6 was once dropout's and stays unused


def generator(seed: int, purpose: Purpose, epoch: int = 0) -> np.random.Generator:
    """Return NumPy's generator for a purpose; no two purposes or epochs share a stream.

    Parameters
    ----------
    seed : int
        The run's seed, from 0.
    purpose : Purpose
    epoch : int
        The epoch, or 0 where a run needs the stream only once.

    Raises
    ------
    ConfigError
        If `seed` is not a whole number, or below 0.
    """
    check_whole("seed", seed, at_least=0)
    return np.random.default_rng(_sequence(seed, purpose, epoch))


def mxnet_seed(seed: int, purpose: Purpose) -> int:
    """Return a 31-bit seed for `mx.random.seed`, which has one stream for everything.

    Parameters
    ----------
    seed, purpose
        As for `generator`.
    """
    return int(_sequence(seed, purpose).generate_state(1)[0] >> 1)


def _sequence(seed: int, purpose: Purpose, epoch: int = 0) -> np.random.SeedSequence:
    # always four numbers: NumPy pads with zeros, so that [7] and [7, 0] would be one stream
    return np.random.SeedSequence([seed, int(purpose), epoch, 0])

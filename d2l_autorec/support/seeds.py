"""The random streams of a run, each derived from (seed, purpose, epoch); dropout has keys."""

from enum import IntEnum

import numpy as np

from .errors import check_whole


class Purpose(IntEnum):
    """What random numbers are for. A value, once given, stays: runs are repeatable by it."""

    SPLIT = 1
    VALIDATION = 2
    GENERATED_RATINGS = 3
    INITIAL_VALUES = 4
    ROW_ORDER = 5
    # 6 was dropout's, which now has a key of its own: see kernels.dropout


def generator(seed: int, purpose: Purpose, epoch: int = 0) -> np.random.Generator:
    """Return NumPy's generator for a purpose; no two purposes or epochs share one.

    Parameters
    ----------
    seed : int
        The run's, from 0 to 2^31 - 1.
    purpose : Purpose
    epoch : int
        0 where a run needs the stream once.
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

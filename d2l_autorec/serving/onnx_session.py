"""An exported network run by onnxruntime; imports no MXNet."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..runs.config import ClickAutoencoderConfig, RunConfig
from ..support.errors import ConfigError
from .parts import RowScorer

HOW_TO_INSTALL = "pip install 'd2l_autorec[onnx]'"
INPUT = "data"  # the name that HybridBlock.export gives it
TINY = 1e-12  # as in the network: a row without a click stays zero


def open_session(path: Path) -> "Session":
    """Load a model; see `Session`.

    Raises
    ------
    ConfigError
        If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"{path.name} needs onnxruntime ({error}): {HOW_TO_INSTALL}") from error

    # one thread: a pool of them would not outlive the fork of a server's workers
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return Session(
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    )


class Session:
    """A loaded model.

    Shape: (batch_size, columns) -> (batch_size, columns), float32.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self._session.run(None, {INPUT: rows})[0]


def row_scorer(path: Path, config: RunConfig) -> RowScorer:
    """Scores of users' rows, as a model.onnx of this configuration computes them."""
    session = open_session(path)

    def score_rows(matrix: sparse.csr_matrix) -> np.ndarray:
        rows = matrix.toarray().astype(np.float32)
        if isinstance(config, ClickAutoencoderConfig):
            rows = of_length_1(rows)
        return session(rows)

    return score_rows


def of_length_1(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their Euclidean length, which a network of clicks reads."""
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return rows / np.maximum(lengths, TINY)

"""A model that answers without MXNet, by the files of an export: tables.npz and model.onnx.

run folder and export folder -> load_served -> Predictor
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..models.kinds import RunConfig
from ..models.vectors import FoldIn, Linear, ScaledActivation, Vectors
from ..runs.folder import RunFolder
from ..support.arrays import load_arrays, save_arrays
from ..support.errors import ConfigError, DataError
from ..support.files import digest_of
from .predictor import Parts, Predictor, RowScorer

TABLES, NETWORK, METADATA = "tables.npz", "model.onnx", "metadata.json"
ORIGINS = ("ratings.npz", "clicks.npz", "model.params")  # what a model's answers depend on
HOW_TO_INSTALL = "pip install 'd2l_autorec[onnx]'"
INPUT = "data"  # the name that HybridBlock.export gives it
TINY = 1e-12  # as in the network: a row without a click stays zero


RowFunction = Callable[[np.ndarray], np.ndarray]


class NotExportedError(DataError):
    """A run without tables of it as it is now."""


def origins_of(record: RunFolder) -> dict[str, str]:
    """Return the SHA-256, by name, of the files of a run that its answers depend on."""
    return {name: record.digests[name] for name in ORIGINS if name in record.digests}


def save_tables(parts: Parts, path: Path) -> None:
    """Write all of a model's parts but a network that scores rows."""
    arrays: dict[str, Any] = {}
    for name, table in (("items", parts.items), ("users", parts.users), ("linear", parts.linear)):
        if table is not None:
            arrays[f"{name}_biases"] = table.biases
            arrays |= _arrays_of(f"{name}_weights", table.weights)

    if parts.fold_in is not None:
        arrays["fold_in"] = np.array([parts.fold_in.penalty, parts.fold_in.unobserved])
    if parts.output is not None:
        arrays["output_name"] = np.array(parts.output.name)
        arrays["output_ends"] = np.array([parts.output.low, parts.output.high])
    save_arrays(path, arrays.items())


def _arrays_of(name: str, weights: Any) -> dict[str, np.ndarray]:
    """Return weights, dense or sparse or none, as arrays of float32 by name."""
    if weights is None:
        return {}

    weights = weights.astype(np.float32, copy=False)
    if not sparse.issparse(weights):
        return {name: weights}
    return {name: weights.data, f"{name}_columns": weights.indices, f"{name}_rows": weights.indptr}


def _matrix_of(name: str, arrays: dict[str, Any]) -> Any:
    """Return what `_arrays_of` was given."""
    weights, rows = arrays.get(name), arrays.get(f"{name}_rows")
    if rows is None:
        return weights

    cells = weights, arrays[f"{name}_columns"], rows
    return sparse.csr_matrix(cells, shape=(len(rows) - 1, len(rows) - 1))


def read_tables(path: Path) -> Parts:
    """Read what `save_tables` wrote."""
    arrays = load_arrays(path)

    def table(kind: type, name: str) -> Any:
        biases = arrays.get(f"{name}_biases")
        return None if biases is None else kind(_matrix_of(f"{name}_weights", arrays), biases)

    if "fold_in" in arrays:
        return Parts(**FoldIn(arrays["items_weights"], *arrays["fold_in"].tolist()).parts())

    output = None
    if "output_name" in arrays:
        output = ScaledActivation(str(arrays["output_name"]), *arrays["output_ends"].tolist())
    return Parts(table(Vectors, "items"), table(Vectors, "users"), output, table(Linear, "linear"))


def open_session(path: Path) -> RowFunction:
    """Load model.onnx, float32 (batch_size, columns) -> (batch_size, columns).

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
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {INPUT: rows})[0]


def row_scorer(path: Path, config: RunConfig) -> RowScorer:
    """Return the function that scores users' rows by model.onnx."""
    session = open_session(path)

    def score_rows(matrix: sparse.csr_matrix) -> np.ndarray:
        rows = matrix.toarray().astype(np.float32)
        return session(of_length_1(rows) if config.unit_rows else rows)

    return score_rows


def of_length_1(rows: np.ndarray) -> np.ndarray:
    """Divide rows by their Euclidean length, which a network of clicks reads."""
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return rows / np.maximum(lengths, TINY)


def load_served(
    path: str | Path, export: str | Path | None = None
) -> tuple[Predictor, dict[str, Any]]:
    """Open a run folder without MXNet, by the tables that `export` wrote of it.

    Parameters
    ----------
    path : path
        The run folder.
    export : path, optional
        The folder of the export, by default the folder export in the run folder.

    Returns
    -------
    Predictor
    dict
        What result.json holds.

    Raises
    ------
    NotExportedError
        If there are no tables of the run as it is now.
    DataError
        If it is no finished run, or one of its files is damaged.
    """
    record = RunFolder.read(Path(path))
    result = record.finished()
    config = record.config

    folder = Path(export or record.path / "export")
    names = [TABLES, NETWORK] if config.encodes_users else [TABLES]
    _check_current(record, folder, names)

    parts = read_tables(folder / TABLES)
    if config.encodes_users:
        parts = replace(parts, score_rows=row_scorer(folder / NETWORK, config))
    ratings, inputs, _ = record.known()
    if config.task == "rating":
        inputs.means()  # once, before a server's workers are forked
    return Predictor(config, ratings, inputs, parts), result


def _check_current(record: RunFolder, folder: Path, names: list[str]) -> None:
    """Raise NotExportedError unless the files are those of an export of the run as it is."""
    try:
        metadata = json.loads((folder / METADATA).read_bytes())
        found = {name: digest_of(folder / name) for name in names}
        is_current = metadata["run"] == origins_of(record)
        is_current = is_current and found.items() <= metadata["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_current = False
    if not is_current:
        raise NotExportedError(f"{folder} is no export of the run as it is now")

"""Models that answer without MXNet, by the files of an export: tables.npz and model.onnx.

run folder and export folder -> load_served -> Predictor
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..models.vectors import FoldIn, Linear, ScaledActivation, Vectors
from ..runs.folder import RunFolder
from ..support.arrays import load_arrays, save_arrays
from ..support.errors import ConfigError, DataError
from ..support.files import check_digests, read_json
from .predictor import Parts, Predictor

FILES = NETWORK, TABLES, METADATA = "model.onnx", "tables.npz", "metadata.json"
ORIGINS = ("ratings.npz", "clicks.npz", "model.params")  # files that a model's answers depend on
HOW_TO_INSTALL = "pip install 'd2l_autorec[onnx]'"
INPUT = "data"  # the input's name, as HybridBlock.export would give it
TINY = 1e-12  # the least length to divide by, as in the network: an empty row stays zero


DOCUMENTED = {  # texts for metadata.json; H is the number of hidden units, or factors
    "items_weights": "vectors of item_ids, (items, H)",
    "items_biases": "biases of item_ids, (items,)",
    "users_weights": "vectors of user_ids, (users, H)",
    "users_biases": "biases of user_ids, (users,): a prediction, before output_name and "
    "postprocessing, is users_weights[u] @ items_weights[i] + users_biases[u] + items_biases[i]",
    "output_name": "activation of predictions; sigmoid and tanh are stretched to output_ends",
    "linear_weights": "scores of a user's row are row @ linear_weights + linear_biases; with "
    "linear_weights_columns and _rows these are data, indices and indptr of a CSR matrix",
    "linear_biases": "(items,)",
    "scores": "predictions, before postprocessing, of user_ids and item_ids, (users, items)",
    "fold_in": "penalty and weight of what is not clicked, by which a user's vector is solved for: "
    "see d2l_autorec.models.vectors.FoldIn",
}


class NotExportedError(DataError):
    """A run that has no export, or only one of an earlier state."""


def origins_of(record: RunFolder) -> dict[str, str]:
    """Return the SHA-256 of the files of a run that its answers depend on, by name."""
    return {name: record.digests[name] for name in ORIGINS if name in record.digests}


def save_tables(parts: Parts, path: Path) -> dict[str, str]:
    """Write a model's parts, but not `score_rows`; return a description of each array by name."""
    arrays: dict[str, Any] = {}
    for name, table in (("items", parts.items), ("users", parts.users), ("linear", parts.linear)):
        if table is not None:
            arrays[f"{name}_biases"] = table.biases
            arrays |= _arrays_of(f"{name}_weights", table.weights)

    if parts.scores is not None:
        arrays["scores"] = parts.scores
    if parts.fold_in is not None:
        arrays["fold_in"] = np.array([parts.fold_in.penalty, parts.fold_in.unobserved])
    if parts.output is not None:
        arrays["output_name"] = np.array(parts.output.name)
        arrays["output_ends"] = np.array([parts.output.low, parts.output.high])
    save_arrays(path, arrays.items())
    return {name: text for name, text in DOCUMENTED.items() if name in arrays}


def _arrays_of(name: str, weights: Any) -> dict[str, np.ndarray]:
    """Return weights, which are dense, sparse or None, as arrays by name."""
    if weights is None:
        return {}

    weights = weights.astype(np.float32, copy=False)
    if not sparse.issparse(weights):
        return {name: weights}
    return {name: weights.data, f"{name}_columns": weights.indices, f"{name}_rows": weights.indptr}


def read_tables(path: Path) -> Parts:
    """Read the parts that `save_tables` wrote."""
    arrays = load_arrays(path)
    if "fold_in" in arrays:
        return Parts(**FoldIn(arrays["items_weights"], *arrays["fold_in"].tolist()).parts())
    if "linear_biases" in arrays:
        weights, biases = arrays.get("linear_weights"), arrays["linear_biases"]
        if "linear_weights_rows" in arrays:
            csr = weights, arrays["linear_weights_columns"], arrays["linear_weights_rows"]
            weights = sparse.csr_matrix(csr, (len(biases), len(biases)))
        return Parts(**Linear(weights, biases).parts())

    parts: dict[str, Any] = {"scores": arrays.get("scores")}
    for name in ("items", "users"):
        if f"{name}_biases" in arrays:
            parts[name] = Vectors(arrays[f"{name}_weights"], arrays[f"{name}_biases"])
    if "output_name" in arrays:
        ends = arrays["output_ends"].tolist()
        parts["output"] = ScaledActivation(str(arrays["output_name"]), *ends)
    return Parts(**parts)


class NetworkScorer:
    """A function that scores rows by the content of a model.onnx; it can be pickled.

    Parameters
    ----------
    network : bytes
        The content, a model of float32 (batch_size, columns) -> (batch_size, columns).
    unit_rows : bool
        Whether that model reads rows of Euclidean length 1.

    Raises
    ------
    ConfigError
        If onnxruntime is not installed.
    """

    def __init__(self, network: bytes, unit_rows: bool) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(f"{NETWORK} needs onnxruntime ({error}): {HOW_TO_INSTALL}") from error

        # one thread: a pool of them would not outlive the fork of a server's workers
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(network, options, providers=providers)
        self._made_of = network, unit_rows

    def __reduce__(self) -> tuple[type, tuple[bytes, bool]]:
        return type(self), self._made_of

    def __call__(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Return the scores of rows, float32, in the same shape."""
        rows = matrix.toarray().astype(np.float32)
        _, unit_rows = self._made_of
        if unit_rows:
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
        return self._session.run(None, {INPUT: rows})[0]


def load_served(
    path: str | Path, export: str | Path | None = None
) -> tuple[Predictor, dict[str, Any]]:
    """Open a run folder without MXNet, by the files of its export.

    Parameters
    ----------
    path : path
        The run folder.
    export : path, optional
        The folder of the export, by default the folder export in the run folder.

    Returns
    -------
    Predictor
        The model.
    dict
        The content of result.json.

    Raises
    ------
    NotExportedError
        If there is no export of the run as it is now.
    DataError
        If the folder holds no finished run, or one of its files is damaged.
    """
    record = RunFolder.read(Path(path))
    result = record.finished()
    config = record.config

    folder = Path(export or record.path / "export")
    if not _is_current(record, folder):
        raise NotExportedError(f"{folder} is no export of the run as it is now")

    parts = read_tables(folder / TABLES)
    if config.maps_rows and config.based == "user":
        scorer = NetworkScorer((folder / NETWORK).read_bytes(), config.unit_rows)
        parts = replace(parts, score_rows=scorer)
    ratings, inputs, _ = record.known()
    if config.task == "rating":
        inputs.means()  # computes them once, before a server's workers are forked
    return Predictor(config, ratings, inputs, parts), result


def _is_current(record: RunFolder, folder: Path) -> bool:
    """Return whether a folder holds an export of the run as it is now, undamaged."""
    try:
        metadata = read_json(folder / METADATA)
        check_digests(folder, metadata["files"])
        return metadata["run"] == origins_of(record)
    except (DataError, KeyError, AttributeError):
        return False

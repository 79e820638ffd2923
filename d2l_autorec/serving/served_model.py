"""A model that answers without MXNet, by the files of an export: tables.npz and model.onnx.

run folder and export folder -> load_served -> ServedModel
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..data.ratings import Ratings
from ..models.kinds import RunConfig
from ..models.rating_scale import ScaledActivation
from ..models.vectors import Linear, Vectors
from ..runs.known_data import read_known
from ..runs.run_record import RunRecord, read_record
from ..support.arrays import load_arrays, save_arrays
from ..support.errors import ConfigError, DataError
from ..support.files import digest_of
from .predictor import Parts, RowScorer

FILE, NETWORK, METADATA = "tables.npz", "model.onnx", "metadata.json"
ORIGINS = ("ratings.npz", "clicks.npz", "model.params")  # what a model's answers depend on
HOW_TO_INSTALL = "pip install 'd2l_autorec[onnx]'"
INPUT = "data"  # the name that HybridBlock.export gives it
TINY = 1e-12  # as in the network: a row without a click stays zero


RowFunction = Callable[[np.ndarray], np.ndarray]


class NotExported(DataError):
    """A run without tables of it as it is now."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A trained model without its network: `TrainedModel`, as far as it answers.

    Parameters
    ----------
    config : RunConfig
    ratings, inputs : Ratings
        As of `TrainedModel`.
    tables : Parts
    metrics : dict
        What result.json holds.
    """

    config: RunConfig
    ratings: Ratings
    inputs: Ratings
    tables: Parts
    metrics: dict[str, Any] = field(default_factory=dict, repr=False)

    def parts(self) -> Parts:
        """What it answers by."""
        return self.tables


def origins_of(record: RunRecord) -> dict[str, str]:
    """Name to SHA-256 of the files of a run that its answers depend on."""
    return {name: record.digests[name] for name in ORIGINS if name in record.digests}


def save_tables(parts: Parts, path: Path) -> None:
    """Write all of a model's parts but a network that scores rows."""
    arrays: dict[str, Any] = {}
    for name, vectors in (("items", parts.items), ("users", parts.users)):
        if vectors is not None:
            arrays[f"{name}_weights"] = vectors.weights
            arrays[f"{name}_biases"] = vectors.biases

    if parts.linear is not None:
        arrays["linear_biases"] = parts.linear.biases
        if parts.linear.weights is not None:
            arrays["linear_weights"] = parts.linear.weights.astype(np.float32)

    if parts.output is not None:
        arrays["output_name"] = np.array(parts.output.name)
        arrays["output_ends"] = np.array([parts.output.low, parts.output.high])
    save_arrays(path, arrays.items())


def read_tables(path: Path, ratings: Ratings) -> Parts:
    """Read what `save_tables` wrote of a model of these users and items.

    Raises
    ------
    NotExported
        If the file is missing or damaged, or no tables of such a model.
    """
    try:
        arrays = load_arrays(path)
        output = None
        if "output_name" in arrays:
            low, high = arrays["output_ends"].tolist()
            output = ScaledActivation(str(arrays["output_name"]), low, high)

        linear = None
        if "linear_biases" in arrays:
            linear = Linear(arrays.get("linear_weights"), arrays["linear_biases"])

        items, users = (_vectors(arrays, name) for name in ("items", "users"))
        _check_tables((items, users, linear), ratings)
        return Parts(items, users, output, linear)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes can raise anything from zlib, struct and NumPy
        raise NotExported(f"{path} is missing or damaged ({error})") from error


def _vectors(arrays: dict[str, np.ndarray], name: str) -> Vectors | None:
    if f"{name}_weights" not in arrays:
        return None
    return Vectors(arrays[f"{name}_weights"], arrays[f"{name}_biases"])


def _check_tables(tables: tuple[Vectors | Linear | None, ...], ratings: Ratings) -> None:
    """Raise ValueError unless there is a finite row for each item, user and item."""
    counts = (ratings.num_items, ratings.num_users, ratings.num_items)
    for table, count in zip(tables, counts):
        for array in table or ():
            if array is None:
                continue
            if len(array) != count:
                raise ValueError(f"a table has {len(array)} rows, and there must be {count}")
            if not np.isfinite([array.min(), array.max()]).all():
                raise ValueError("a table holds numbers that are not finite")


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
        if config.unit_rows:
            rows = of_length_1(rows)
        return session(rows)

    return score_rows


def of_length_1(rows: np.ndarray) -> np.ndarray:
    """Divide rows by their Euclidean length, which a network of clicks reads."""
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return rows / np.maximum(lengths, TINY)


def load_served(path: str | Path, export: str | Path | None = None) -> ServedModel:
    """Open a run folder without MXNet, by the tables that `export` wrote of it.

    Parameters
    ----------
    path : path
        The run folder.
    export : path, optional
        The folder of the export, by default the folder export in the run folder.

    Raises
    ------
    NotExported
        If there are no tables of the run as it is now.
    DataError
        If it is no finished run, or one of its files is damaged.
    """
    path = Path(path)
    record = read_record(path)
    result = record.finished()

    folder = Path(export or path / "export")
    _check_current(record, folder)
    known = read_known(record)

    tables = read_tables(folder / FILE, known.ratings)
    if record.config.encodes_users:
        tables = replace(tables, score_rows=row_scorer(folder / NETWORK, record.config))
    return ServedModel(record.config, known.ratings, known.inputs, tables, result)


def _check_current(record: RunRecord, folder: Path) -> None:
    """Raise NotExported unless the export has what answers need, and is of the run as it is."""
    try:
        metadata = json.loads((folder / METADATA).read_bytes())
        origins, digests = metadata["run"], metadata["files"]
    except FileNotFoundError as error:
        raise NotExported(f"{record.path} has no export") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotExported(f"{folder} does not say which run it was exported from") from error

    if origins != origins_of(record):
        raise NotExported(f"{folder} was exported from other parameters than the run has now")

    needed = [FILE]
    if record.config.encodes_users:
        needed.append(NETWORK)
    for name in needed:
        if not _is_whole(folder / name, digests):
            raise NotExported(f"{folder / name} is missing, or not what the export wrote")


def _is_whole(path: Path, digests: Any) -> bool:
    try:
        return digests.get(path.name) == digest_of(path)
    except (OSError, AttributeError):
        return False

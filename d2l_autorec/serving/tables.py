"""The tables of a model in a file, tables.npz, and a model that answers by them.

Imports no MXNet: run folder and export folder -> load_served -> ServedModel
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.ratings import Ratings
from ..models.rating_scale import ScaledActivation
from ..models.vectors import Linear, Vectors
from ..runs.config import AutoRecConfig, ClickAutoencoderConfig, RunConfig
from ..runs.known_data import read_known
from ..runs.run_record import RunRecord, read_record
from ..support.arrays import load_arrays, save_arrays
from ..support.errors import DataError
from ..support.files import digest_of
from .onnx_session import row_scorer
from .parts import Parts

FILE, NETWORK, METADATA = "tables.npz", "model.onnx", "metadata.json"
ORIGINS = ("ratings.npz", "clicks.npz", "model.params")  # what a model's answers depend on


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


def reads_rows(config: RunConfig) -> bool:
    """Whether a network makes a user's vector of what they rated, at every answer."""
    if isinstance(config, AutoRecConfig):
        return config.based == "user"
    return isinstance(config, ClickAutoencoderConfig)


def formats_of(config: RunConfig) -> str:
    """What an export has to hold for a model to be served, as `export` takes it."""
    if reads_rows(config):
        return "onnx,tables"
    return "tables"


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


def read_tables(path: Path) -> Parts:
    """Read what `save_tables` wrote.

    Raises
    ------
    NotExported
        If the file is missing or damaged.
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
        return Parts(items, users, output, linear)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes can raise anything from zlib, struct and NumPy
        raise NotExported(f"{path} is missing or damaged ({error})") from error


def _vectors(arrays: dict[str, np.ndarray], name: str) -> Vectors | None:
    if f"{name}_weights" not in arrays:
        return None
    return Vectors(arrays[f"{name}_weights"], arrays[f"{name}_biases"])


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

    folder = path / "export"
    if export is not None:
        folder = Path(export)

    _check_current(record, folder)
    tables = read_tables(folder / FILE)
    if reads_rows(record.config):
        tables = replace(tables, score_rows=row_scorer(folder / NETWORK, record.config))

    known = read_known(record)
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
    if reads_rows(record.config):
        needed.append(NETWORK)
    for name in needed:
        if not _is_whole(folder / name, digests):
            raise NotExported(f"{folder / name} is missing, or not what the export wrote")


def _is_whole(path: Path, digests: Any) -> bool:
    try:
        return digests.get(path.name) == digest_of(path)
    except (OSError, AttributeError):
        return False

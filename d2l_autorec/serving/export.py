"""A trained model as files that load without this package: MXNet's symbol, ONNX, tables.

TrainedModel -> plain layers -> symbol and parameters -> ONNX graph, each compared with the network
             -> parts -> tables.npz, by which any model is served
"""

import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mxnet import MXNetError, gluon, npx
from mxnet import np as mxnp
from mxnet.gluon import nn

from ..data.ratings import Ratings
from ..models.centered_autorec import Centering
from ..models.kinds import RunConfig
from ..models.sparse_autorec import row_model
from ..runs.folder import RunFolder
from ..support.errors import ConfigError, DataError, did_you_mean
from ..support.files import PART, digest_of
from .tables import (
    HOW_TO_INSTALL,
    INPUT,
    METADATA,
    NETWORK,
    TABLES,
    of_length_1,
    open_session,
    origins_of,
    save_tables,
)

if TYPE_CHECKING:
    from ..trained_model import TrainedModel

FORMATS = ("mxnet", "onnx", "tables")
WRITTEN = (METADATA, "model-symbol.json", "model-0000.params", NETWORK, TABLES)
TOLERANCE = 1e-4  # largest difference of a prediction, in rating units


def export_run(
    run: "TrainedModel", folder: Path, formats: Sequence[str] = FORMATS, given: str = "folder"
) -> list[Path]:
    """Write model files and metadata.json; files of an earlier export are replaced.

    Switches MXNet to NumPy semantics (`npx.set_np()`).

    Parameters
    ----------
    run : TrainedModel
    folder : Path
        Made when missing.
    formats : sequence of {'mxnet', 'onnx', 'tables'}
        The first two are of an autoencoder's network; any model has tables.
    given : str
        What the caller calls the folder, for errors.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ConfigError
        If a format is unknown, the onnx extra is not installed, the folder
        cannot be made, or the model has no network and a format is of one.
    DataError
        If a file's predictions differ from the network's by more than
        `TOLERANCE`. Nothing is written then.
    """
    _check_formats(run, formats)
    npx.set_np()
    try:
        _check_free(folder, given)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as unfinished:
            files = _write_checked(run, Path(unfinished), formats)
            return [path.replace(folder / path.name) for path in files]  # once all are whole
    except (OSError, MXNetError, UnicodeDecodeError) as error:
        reason = (
            getattr(error, "strerror", None) or "MXNet's files are not whole, as on a full disk"
        )
        raise ConfigError(
            f"the folder {folder} cannot be written ({reason}): name another one with `{given}`"
        ) from error


def _check_formats(run: "TrainedModel", formats: Sequence[str]) -> None:
    """Raise ConfigError unless the model can be written in these formats."""
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(
                f"`format={name}` is none of {', '.join(FORMATS)}{did_you_mean(name, FORMATS)}"
            )

    if set(formats) - {"tables"} and not run.config.maps_rows:
        raise ConfigError(
            f"{run.path} is a run of `model={run.config.model}`, which has no network to export: "
            "leave its tables by `format=tables`"
        )

    if "onnx" in formats:
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"`format=onnx` needs onnx and onnxruntime ({error}): {HOW_TO_INSTALL}, "
                "or choose `format=mxnet`"
            ) from error


def _check_free(folder: Path, given: str) -> None:
    """Raise ConfigError if the folder has files of these names that no export has written."""
    there = [name for name in WRITTEN if os.path.lexists(folder / name)]
    try:
        known = json.loads((folder / METADATA).read_bytes())
        is_ours = {"model", "based", "item_ids"} <= set(known)
    except (OSError, ValueError, TypeError):
        is_ours = False

    if there and not is_ours:
        raise ConfigError(
            f"{folder} holds {', '.join(there)}, which no export has written: name "
            f"another folder with `{given}`"
        )


def _write_checked(run: "TrainedModel", folder: Path, formats: Sequence[str]) -> list[Path]:
    written = []
    if set(formats) - {"tables"}:
        written += _write_network(run, folder, formats)
    if "tables" in formats:
        written.append(folder / TABLES)
        save_tables(run.parts(), folder / TABLES)

    about = describe(run) | {"files": {path.name: digest_of(path) for path in written}}
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (folder / METADATA).write_text(text + "\n", encoding="utf-8")
    return [*written, folder / METADATA]


def _write_network(run: "TrainedModel", folder: Path, formats: Sequence[str]) -> list[Path]:
    rows = _sample(run)
    expected = run.net(rows).asnumpy()
    if run.config.unit_rows:
        rows = mxnp.array(of_length_1(rows.asnumpy()))

    written = []
    if "mxnet" in formats:
        written = _export_mxnet(plain_network(run.net), rows, folder)
        _compare(_run_mxnet(written, rows), expected, written[0].name)

    if "onnx" in formats:
        from .onnx_graph import save_graph

        path = folder / NETWORK
        save_graph(run.net, rows.shape[1], path)
        _compare(open_session(path)(rows.asnumpy()), expected, path.name)
        written.append(path)
    return written


def plain_network(net: Any) -> Any:
    """Return the same function as `net`, made of MXNet's own layers.

    Dropout does nothing here, a Mult-VAE's code is its mean, and the rows of a
    Mult-VAE or Mult-DAE must have length 1 already.

    Returns
    -------
    HybridBlock
        (batch_size, columns) -> (batch_size, columns)
    """
    net = row_model(net)
    plain = nn.HybridSequential()

    for weight, bias, activation in net.affine_layers():
        layer = nn.Dense(weight.shape[0], in_units=weight.shape[1])
        layer.initialize()
        layer.weight.set_data(weight)
        layer.bias.set_data(bias)
        plain.add(layer, *filter(None, [activation]))

    if net.output is not None:
        plain.add(net.output)

    if net.centering is not None:
        return PlainCentering(plain, net.centering)
    return plain


class PlainCentering(nn.HybridBlock):
    """`Centering` around plain layers, as a block that MXNet can trace.

    Parameters
    ----------
    layers : HybridBlock
        (batch_size, columns) -> (batch_size, columns)
    centering : Centering
    """

    def __init__(self, layers: Any, centering: Centering) -> None:
        super().__init__()
        self.layers = layers
        self.centering = centering
        self.columns, self.unit = centering.columns, centering.unit

    def hybrid_forward(self, F: Any, x: Any, columns: Any, unit: Any) -> Any:
        inputs, row_biases = self.centering(x)
        return self.layers(inputs) * unit + columns + row_biases


def _sample(run: "TrainedModel") -> Any:
    """Return rows to compare on: the five with the most ratings, the last, an empty one."""
    matrix = run.inputs.to_csr(run.config.based)
    fullest = np.argsort(-np.diff(matrix.indptr), kind="stable")[:5]
    dense = matrix[[*fullest, -1]].toarray()
    return mxnp.array(np.vstack([dense, np.zeros_like(dense[:1])]), dtype="float32")


def _export_mxnet(plain: Any, rows: Any, folder: Path) -> list[Path]:
    plain.hybridize()
    plain(rows)  # export writes the graph that this call traces
    plain.export(str(folder / "model"))
    return [folder / "model-symbol.json", folder / "model-0000.params"]


def _run_mxnet(files: list[Path], rows: Any) -> Any:
    with warnings.catch_warnings():  # a graph does not say the type of its input: float32
        warnings.filterwarnings("ignore", "\\s*Cannot decide type")
        block = gluon.SymbolBlock.imports(str(files[0]), [INPUT], str(files[1]))
    return block(rows).asnumpy()


def _compare(found: Any, expected: Any, name: str) -> None:
    """Raise unless the predictions of the file `name` are the network's."""
    difference = np.abs(found - expected).max()
    if not difference <= TOLERANCE:  # also where it is NaN
        raise DataError(
            f"{name} was not kept: its predictions differ from the network's by up to "
            f"{difference:g}, and {TOLERANCE:g} is allowed"
        )


def describe(run: "TrainedModel") -> dict[str, Any]:
    """Return what metadata.json holds: everything that serving needs beside the network."""
    config, ratings = run.config, run.ratings
    steps: dict[str, str] = {}
    if config.maps_rows:
        own = _rating_steps(config, ratings) if config.task == "rating" else _click_steps(config)
        steps = {"input": INPUT, **own}

    return {
        "model": config.model,
        "dataset": ratings.name,
        "run": run.path and origins_of(RunFolder.read(run.path)),
        "based": config.based if config.reads == "rows" else None,
        "scale": list(ratings.bounds),
        "offset": ratings.offset,
        "clip": config.clip,
        **steps,
        "user_ids": ratings.user_ids.tolist(),
        "item_ids": ratings.item_ids.tolist(),
        "titles": [ratings.titles.get(item, "") for item in ratings.item_ids.tolist()],
    }


def _click_steps(config: RunConfig) -> dict[str, str]:
    last = "; then divide the row by its Euclidean length" if config.unit_rows else ""
    return {
        "preprocessing": "A row of the input holds the clicks of one user, float32: column c is 1 "
        f"where they clicked item_ids[c], else 0{last}.",
        "postprocessing": "Column c of the output is the score of item_ids[c]: rank by it, without "
        "the items of the input.",
    }


def _rating_steps(config: RunConfig, ratings: Ratings) -> dict[str, str]:
    row, column = ("item", "user") if config.based == "item" else ("user", "item")
    offset, (low, high) = ratings.offset, ratings.bounds
    before = f"; add {offset:g} to each rating" if offset else ""
    after = f"; subtract {offset:g}" if offset else ""
    after += f"; clip to {low:g}..{high:g}" if config.clip else "; do not clip"

    return {
        "preprocessing": f"A row of the input holds the ratings of one {row}, float32: column c "
        f"is that of {column}_ids[c], 0 = unobserved{before}.",
        "postprocessing": f"Column c of the output is the prediction for {column}_ids[c]{after}. "
        "Use a mean where a user or an item has no training rating.",
    }

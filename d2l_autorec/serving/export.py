"""The export of a trained model: as arrays, and as files that load without this package.

network -> parts -> Predictor, or tables.npz, by which any model is served
        -> ONNX graph, compared with the network
"""

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mxnet import np as mxnp
from mxnet import npx
from scipy import sparse

from ..data.ratings import Ratings
from ..kernels.csr import CSRBatch
from ..models.kinds import RunConfig
from ..models.sparse_autorec import row_model
from ..models.vectors import Vectors
from ..runs.folder import RunFolder
from ..support.errors import ConfigError, DataError
from ..support.files import PART, digest_of
from . import tables
from .predictor import Parts

TOLERANCE = 1e-4  # largest difference of predictions that is allowed, in rating units
ENCODE_ROWS = 1024  # rows that are encoded at a time


def parts_of(net: Any, config: RunConfig, inputs: Ratings) -> Parts:
    """Return a network's parts: its vectors, and where MXNet computes scores a function for that.

    Parameters
    ----------
    net : Model
        The trained network.
    config : RunConfig
        The options of its run.
    inputs : Ratings
        The ratings that the network reads.
    """
    net = row_model(net)
    scorer = net.scorer()
    if scorer is not None:
        return Parts(**scorer.parts())
    if config.reads == "pairs":
        users, items = net.tables()
        return Parts(items, users)

    columns = net.column_vectors()
    output = net.output and net.output.function
    if columns is None:
        score_rows = partial(_outputs, net)
        if config.based == "user":
            return Parts(score_rows=score_rows)
        return Parts(scores=np.concatenate([*map(score_rows, _blocks(inputs.to_csr("item")))]).T)
    if config.based == "item":
        return Parts(_encode_all(net, inputs.to_csr("item")), columns, output)
    return Parts(columns, None, output, score_rows=partial(_outputs_by_vectors, net, columns))


def encode(net: Any, matrix: sparse.csr_matrix) -> Vectors:
    """Return the hidden vectors of the rows of a matrix, shape (rows, H), and their biases."""
    npx.set_np()
    return net.row_vectors(CSRBatch.of(matrix))


def user_vectors(net: Any, parts: Parts, inputs: Ratings) -> Vectors | None:
    """Return the vectors and biases of all users; None if the model has none."""
    if parts.users is not None or parts.items is None:
        return parts.users

    matrix = inputs.to_csr("user")
    if parts.fold_in is None:
        return _encode_all(row_model(net), matrix)
    return Vectors.unbiased(parts.fold_in.vectors(matrix))


def _encode_all(net: Any, matrix: sparse.csr_matrix) -> Vectors:
    blocks = [encode(net, block) for block in _blocks(matrix)]
    return Vectors(*map(np.concatenate, zip(*blocks)))


def _blocks(matrix: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
    for start in range(0, matrix.shape[0], ENCODE_ROWS):
        yield matrix[start : start + ENCODE_ROWS]


def _outputs(net: Any, matrix: sparse.csr_matrix) -> np.ndarray:
    return net(mxnp.array(matrix.toarray(), dtype="float32")).asnumpy()


def _outputs_by_vectors(net: Any, columns: Vectors, matrix: sparse.csr_matrix) -> np.ndarray:
    users, user_biases = encode(net, matrix)
    products = users @ columns.weights.T + columns.biases + user_biases[:, None]
    if net.output is None:
        return products
    return net.output(mxnp.array(products, dtype="float32")).asnumpy()


def export_run(run: Any, folder: Path, given: str = "folder") -> list[Path]:
    """Write model.onnx, tables.npz and metadata.json, in place of those of a former export.

    A model.onnx is written only for networks that map rows. This switches MXNet to NumPy semantics
    (`npx.set_np()`).

    Parameters
    ----------
    run : TrainedModel
        The model.
    folder : Path
        The folder for the files, which is made if it is missing.
    given : str
        The parameter that names the folder, for messages.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ConfigError
        If the onnx extra is not installed, or the folder cannot be written.
    DataError
        If the predictions of the ONNX file differ from the network's by more than
        `TOLERANCE`. Nothing is written then.
    """
    npx.set_np()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as unfinished:
            files = _write_files(run, Path(unfinished))
            (folder / tables.NETWORK).unlink(missing_ok=True)
            return [path.replace(folder / path.name) for path in files]  # once all are whole
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}): name another folder with `{given}`"
        ) from error


def _write_files(run: Any, folder: Path) -> list[Path]:
    network, arrays, metadata = (folder / name for name in tables.FILES)
    if run.config.maps_rows:
        _write_network(run, network)
    documented = tables.save_tables(run.parts(), arrays)

    files = {path.name: digest_of(path) for path in (network, arrays) if path.exists()}
    about = describe(run) | {"tables": documented, "files": files}
    text = json.dumps(about, ensure_ascii=False, indent=1)
    metadata.write_text(text + "\n", encoding="utf-8")
    return [folder / name for name in (*files, tables.METADATA)]


def _write_network(run: Any, path: Path) -> None:
    """Write the ONNX model, and compare its predictions with the network's."""
    try:
        from .onnx_graph import save_graph
    except ImportError as error:
        raise ConfigError(f"an export needs onnx ({error}): {tables.HOW_TO_INSTALL}") from error

    rows = _sample(run.inputs.to_csr(run.config.based))
    save_graph(run.net, rows.shape[1], path)
    found = tables.NetworkScorer(path.read_bytes(), run.config.unit_rows)(rows)

    difference = np.abs(found - _outputs(run.net, rows)).max()
    if not difference <= TOLERANCE:  # also where it is NaN
        raise DataError(
            f"{path.name} was not kept: its predictions differ from the network's by up to "
            f"{difference:g}, and {TOLERANCE:g} is allowed"
        )


def _sample(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return rows for the comparison: the five with most ratings, the last, and an empty one."""
    fullest = np.argsort(-np.diff(matrix.indptr), kind="stable")[:5]
    empty = sparse.csr_matrix((1, matrix.shape[1]), dtype=np.float32)
    return sparse.vstack([matrix[[*fullest, -1]], empty], format="csr")


def describe(run: Any) -> dict[str, Any]:
    """Return the content of metadata.json: all that serving needs beside arrays and network."""
    config, ratings = run.config, run.ratings
    steps = _rating_steps(config, ratings) if config.task == "rating" else _click_steps(config)

    return {
        "model": config.model,
        "dataset": ratings.name,
        "run": run.path and tables.origins_of(RunFolder.read(run.path)),
        "based": config.based if config.reads == "rows" else None,
        "scale": list(ratings.bounds),
        "offset": ratings.offset,
        "clip": config.clip,
        **(steps if config.maps_rows or config.reads == "pairs" else {}),
        "user_ids": ratings.user_ids.tolist(),
        "item_ids": ratings.item_ids.tolist(),
        "titles": [ratings.titles.get(item, "") for item in ratings.item_ids.tolist()],
    }


def _click_steps(config: RunConfig) -> dict[str, str]:
    last = "; then divide the row by its Euclidean length" if config.unit_rows else ""
    return {
        "input": tables.INPUT,
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
    after += ". Use a mean where a user or an item has no training rating."
    if config.reads == "pairs":
        return {"postprocessing": f"Take the prediction of the tables{after}"}

    return {
        "input": tables.INPUT,
        "preprocessing": f"A row of the input holds the ratings of one {row}, float32: column c "
        f"is that of {column}_ids[c], 0 = unobserved{before}.",
        "postprocessing": f"Column c of the output is the prediction for {column}_ids[c]{after}",
    }

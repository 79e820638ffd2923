"""The run folder: what a run leaves behind."""

import dataclasses
import errno
import io
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as onp
from mxnet import MXNetError, nd, npx

from .. import kernels
from ..data.ratings import Ratings
from ..support.errors import DataError
from ..support.files import digest_of, replacing, write_json
from ..support.text_table import csv_text
from ..training.checkpoint import on_host
from ..training.history import EpochRecord, Score
from .config import RankingConfig, RunConfig
from .figures import save_curve, warning_of_figure
from .known_data import read_known
from .run_record import RunRecord

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("d2l", "numpy", "scipy", "numba", "pandas", "matplotlib")


class RunFolder:
    """Writes config.json, ratings.npz, metrics.csv, model.params, result.json and curve.png.

    Each file is whole or not there, and result.json has the digests of all
    that a run is loaded from. Hold the folder's lock meanwhile.

    Parameters
    ----------
    path : Path
    digests : dict, optional
        Of the files of a run to go on with: name to SHA-256.
    """

    def __init__(self, path: Path, digests: dict[str, str] | None = None) -> None:
        self.path = path
        self._digests = dict(digests or {})

    def _write_with(self, name: str, save: Callable[[Path], Any]) -> None:
        """Write a file that `save(path)` makes, atomically, and note its digest."""
        with replacing(self.path / name) as unfinished:
            save(unfinished)
            digest = digest_of(unfinished)

        self._digests[name] = digest

    def begin(
        self,
        config: RunConfig,
        data: dict[str, Any],
        save_data: Callable[[Path], None],
        kernel: dict[str, str],
        devices: Sequence[str],
    ) -> None:
        """ratings.npz or clicks.npz (known data, ids, titles) and, last, config.json."""
        name = "ratings.npz"
        if isinstance(config, RankingConfig):
            name = "clicks.npz"
        self._write_with(name, save_data)

        about = {
            "options": dataclasses.asdict(config),
            "data": data,
            "devices": list(devices),
            "kernel": kernel,
            "threads": str(kernels.threads()),
            "versions": versions(),
        }

        path = self.path / "config.json"
        write_json(path, {**about, "files": self._digests})
        self._digests["config.json"] = digest_of(path)

    def finish(
        self, net: Any, phases: Mapping[str, Sequence[EpochRecord]], result: dict[str, Any]
    ) -> None:
        """Write parameters, metrics and, last, result.json."""
        if net.has_parameters:  # else it is computed again, from the data
            self.write_parameters(net)

        self.write_metrics(phases)
        write_json(self.path / "result.json", {**result, "files": self._digests})

    def write_parameters(self, net: Any) -> None:
        """Write model.params."""
        self._write_with("model.params", partial(save_parameters, net))

    def draw_curve(
        self, history: Sequence[EpochRecord], result: dict[str, Any], score: Score
    ) -> None:
        """Write curve.png; where it cannot be drawn, warn: the run has its result."""
        path = self.path / "curve.png"
        with warning_of_figure(path, fatal=()):
            save_curve(history, result, path, score)

    def write_metrics(self, phases: Mapping[str, Sequence[EpochRecord]]) -> None:
        """metrics.csv: a row for each epoch of each phase; validation and test metrics by name."""
        content = metrics_text(phases).encode()
        self._write_with("metrics.csv", lambda path: path.write_bytes(content))


def metrics_text(phases: Mapping[str, Sequence[EpochRecord]]) -> str:
    """The content of metrics.csv."""
    rows: list[dict[str, Any]] = []
    for phase, history in phases.items():
        rows += ({"phase": phase, **columns_of(record)} for record in history)
    return csv_text(rows)  # a refit has no validation


def frame_of_epochs(text: str) -> "pd.DataFrame":
    """The content of metrics.csv as a frame, one row an epoch."""
    import pandas as pd

    return pd.read_csv(io.StringIO(text), float_precision="round_trip")


def save_parameters(net: Any, path: Path) -> None:
    """Write a network's parameters, and read them back: MXNet does not tell of a full disk.

    Raises
    ------
    OSError
        If the file does not hold what the network does.
    """
    # not net.save_parameters, which writes the mean over devices: equal numbers, but for rounding
    live = {
        name: parameter.list_data()[0]
        for name, parameter in net._collect_params_with_prefix().items()
    }

    try:
        npx.save(str(path), live)
        stored = nd.load(str(path))
    except (MXNetError, ValueError) as error:
        raise OSError(errno.EIO, "MXNet's file is not whole, as on a full disk") from error

    for name, array in live.items():
        if not _same(stored[name], array):
            raise OSError(errno.EIO, f"{name} does not read back as it was written")


def _same(stored: Any, live: Any) -> bool:
    ours, theirs = on_host(stored), on_host(live)
    return onp.array_equal(ours.view(onp.uint32), theirs.view(onp.uint32))  # NaN is NaN, too


def columns_of(record: EpochRecord) -> dict[str, Any]:
    """An epoch as a row of metrics.csv."""
    columns = {
        "epoch": record.epoch,
        "lr": record.lr,
        "train_loss": record.train_loss,
        "train_rmse": record.train_rmse,
        "beta": record.beta,
        "ratings": record.ratings,
        "seconds": record.seconds,
    }
    always = ("train_loss",)
    row = {name: value for name, value in columns.items() if value is not None or name in always}

    for name, value in record.validation.items():
        row[f"validation_{name}"] = value
    for name, value in record.test.items():
        row[f"test_{name}"] = value
    return row


def versions() -> dict[str, str]:
    """Versions of Python, MXNet, this package and what it computes with."""
    import mxnet

    from .. import __version__

    found = {
        "d2l_autorec": __version__,
        "python": platform.python_version(),
        "mxnet": mxnet.__version__,
    }
    for name in PACKAGES:
        found[name] = metadata.version(name)
    return found


class Stored(NamedTuple):
    """What a finished run's folder holds for serving: see `TrainedModel`."""

    ratings: Ratings
    inputs: Ratings
    net: Any


def read_stored(record: RunRecord) -> Stored:
    """Ratings and network of a finished run, on the CPU.

    Raises
    ------
    DataError
        If one of its files is damaged.
    """
    known = read_known(record)
    net: Any = record.config.build(known.clicks or known.inputs)

    if not net.has_parameters:
        matrix = known.inputs.to_csr("user") if known.clicks is None else known.clicks.train
        return Stored(known.ratings, known.inputs, net.fit(matrix))

    load_parameters(net, record.path / "model.params")
    return Stored(known.ratings, known.inputs, net)


def load_parameters(net: Any, path: Path) -> None:
    """Read a network's parameters.

    Raises
    ------
    DataError
        If the file is missing or damaged, of another network, or holds NaN.
    """
    try:
        net.load_parameters(str(path))
    except (MXNetError, ValueError, AssertionError, OSError, AttributeError) as error:
        raise DataError(
            f"{path} is missing or damaged ({str(error).splitlines()[0]}): restore it "
            "from a copy, or begin a new run"
        ) from error

    for name, parameter in net._collect_params_with_prefix().items():
        if not onp.isfinite(parameter.data().asnumpy()).all():
            raise DataError(
                f"{path} is damaged ({name} holds values that are not finite): "
                "restore it from a copy, or begin a new run"
            )

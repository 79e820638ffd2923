"""The run folder: what a run leaves behind."""

import csv
import dataclasses
import io
import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

from mxnet import MXNetError

from . import kernels
from .clicks import Clicks
from .config import RankingConfig, RunConfig, read_config
from .errors import ConfigError, DataError
from .files import replacing, write_atomically
from .models import build
from .plots import save_curve
from .ratings import Ratings
from .train import EpochRecord

PACKAGES = ("d2l", "numpy", "scipy", "numba", "pandas", "matplotlib")


class RunFolder:
    """Writes config.json, ratings.npz, metrics.csv, result.json, curve.png and model.params.

    Each file is whole or not there. Hold the folder's lock meanwhile.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically; see `write_atomically` for errors."""
        write_atomically(self.path / name, content)

    def write_json(self, name: str, content: Dict[str, Any]) -> None:
        """Write `content` to the file `name`."""
        self.write(name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

    def write_with(self, name: str, save: Callable[[str], None]) -> None:
        """Write a file that `save(path)` makes, atomically."""
        with replacing(self.path / name) as unfinished:
            save(str(unfinished))

    def begin(self, config: RunConfig, data: Dict[str, Any], train: Any,
              kernel: Dict[str, str], devices: Sequence[str]) -> None:
        """ratings.npz or clicks.npz (training data, ids, titles) and, last, config.json.

        Raises
        ------
        ConfigError
            If the folder holds a run already.
        """
        if (self.path / "config.json").exists():
            raise ConfigError(f"{self.path} holds a run already: go on with it by --resume "
                              f"{self.path}, or name another folder with --out")
        name = "ratings.npz" if isinstance(train, Ratings) else "clicks.npz"
        self.write_with(name, lambda path: train.save(Path(path)))
        self.write_json("config.json", {
            "options": dataclasses.asdict(config), "data": data,
            "devices": list(devices), "kernel": kernel,
            "threads": str(kernels.threads()), "versions": versions()})

    def finish(self, net: Any, phases: Dict[str, Sequence[EpochRecord]], result: Dict[str, Any],
               metric: str) -> None:
        """Write parameters, metrics, curve of `metric` and, last, result.json."""
        if hasattr(net, "save_parameters"):  # what is computed from the data is computed again
            self.write_with("model.params", net.save_parameters)
        self.write_metrics(phases)
        title = f"{result['model']} on {result['dataset']}"
        history = list(phases.values())[-1]
        self.write_with("curve.png", lambda path: save_curve(history, title, Path(path), metric))
        self.write_json("result.json", result)

    def write_metrics(self, phases: Dict[str, Sequence[EpochRecord]]) -> None:
        """metrics.csv: a row for each epoch of each phase; validation and test metrics by name."""
        rows = [{"phase": phase, **columns_of(record)}
                for phase, history in phases.items() for record in history]
        text = io.StringIO()
        names = {name: None for row in rows for name in row}  # in order; a refit has no validation
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        self.write("metrics.csv", text.getvalue().encode())


def columns_of(record: EpochRecord) -> Dict[str, Any]:
    """An epoch as a row of metrics.csv."""
    row = {"epoch": record.epoch, "lr": record.lr, "train_loss": record.train_loss,
           "train_rmse": record.train_rmse, "beta": record.beta, "ratings": record.ratings,
           "seconds": record.seconds}
    row = {name: value for name, value in row.items()
           if value is not None or name in ("train_loss",)}
    for part, metrics in (("validation", record.validation), ("test", record.test)):
        row.update({f"{part}_{name}": value for name, value in metrics.items()})
    return row


def versions() -> Dict[str, str]:
    """Versions of Python, MXNet, this package and what it computes with."""
    import mxnet

    from . import __version__
    found = {"d2l_autorec": __version__, "python": platform.python_version(),
             "mxnet": mxnet.__version__}
    return {**found, **{name: metadata.version(name) for name in PACKAGES}}


@dataclass(frozen=True)
class SavedRun:
    """A finished run, ready to predict.

    Parameters
    ----------
    path : Path
    config : RunConfig
    ratings : Ratings
        The training ratings, or every click, with the maps to the user's own
        ids and titles.
    net : HybridBlock
        With the trained parameters, on the CPU.
    """

    path: Path
    config: RunConfig
    ratings: Ratings
    net: Any


def load_run(path: Path) -> SavedRun:
    """Open a run folder.

    Raises
    ------
    DataError
        If it is no finished run, or one of its files is damaged.
    """
    config = read_config(path)
    if not (path / "result.json").exists():
        raise DataError(f"{path} holds a run that has not finished: finish it with python -m "
                        f"d2l_autorec.run --resume {path}")
    if isinstance(config, RankingConfig):
        clicks = Clicks.load(path / "clicks.npz")
        net, ratings = build(config, clicks), clicks.interactions()
    else:
        ratings = Ratings.load(path / "ratings.npz")
        net = build(config, ratings)
    if not hasattr(net, "load_parameters"):
        return SavedRun(path, config, ratings, net.fit(clicks.train))
    try:
        net.load_parameters(str(path / "model.params"))
    except (MXNetError, ValueError, AssertionError, OSError) as error:
        raise DataError(f"{path / 'model.params'} is missing or damaged "
                        f"({str(error).splitlines()[0]})") from error
    return SavedRun(path, config, ratings, net)

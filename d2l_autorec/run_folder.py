"""The run folder: what a run leaves behind."""

import csv
import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Sequence

from mxnet import MXNetError

from .config import AutoRecConfig
from .errors import ConfigError, DataError
from .models import build
from .plots import save_curve
from .ratings import Ratings
from .train import EpochRecord

PACKAGES = ("d2l", "numpy", "scipy", "numba", "pandas", "matplotlib")


class RunFolder:
    """Writes config.json, metrics.csv, result.json, curve.png and model.params.

    Parameters
    ----------
    path : Path
        Made when missing.

    Raises
    ------
    ConfigError
        If the folder holds a run already, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if (path / "config.json").exists():
            raise ConfigError(f"{path} holds a run already: name another folder with --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the run folder {path} cannot be made ({error.strerror}): name "
                              "another one with --out") from error

    def write_config(self, config: Any, train: Any, test: Any, devices: Sequence[Any],
                     kernel: Dict[str, str]) -> None:
        """config.json: every option, the data and the versions that the run used.

        Also ratings.npz: the training ratings with ids and titles, which
        recommend and export read.
        """
        train.save(self.path / "ratings.npz")
        self.write_json("config.json", {
            "options": dataclasses.asdict(config),
            "data": {"name": train.name, "users": train.num_users, "items": train.num_items,
                     "scale": train.scale, "offset": train.offset,
                     "train_ratings": len(train), "train_sha256": train.fingerprint,
                     "test_ratings": len(test), "test_sha256": test.fingerprint},
            "devices": [str(device) for device in devices], "kernel": kernel,
            "threads": os.environ.get("OMP_NUM_THREADS"), "versions": versions()})

    def finish(self, net: Any, history: Sequence[EpochRecord], about: Dict[str, Any]
               ) -> Dict[str, Any]:
        """Write parameters, metrics, curve and result.json; returns the latter's content."""
        last = history[-1]
        seconds = sum(record.seconds for record in history)
        result = {**about, "epochs": last.epoch, "train_loss": last.train_loss,
                  "train_rmse": last.train_rmse,
                  "train_seconds": seconds,
                  "ratings_per_second": sum(record.ratings for record in history) / seconds}
        net.save_parameters(str(self.path / "model.params"))
        self.write_metrics(history)
        save_curve(history, f"{about['model']} on {about['dataset']}", self.path / "curve.png")
        self.write_json("result.json", result)
        return result

    def write_json(self, name: str, content: Dict[str, Any]) -> None:
        """Write `content` to the file `name`."""
        (self.path / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def write_metrics(self, history: Sequence[EpochRecord]) -> None:
        """metrics.csv: a row for each epoch."""
        with open(self.path / "metrics.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            tests = list(history[0].test)
            writer.writerow(["epoch", "train_loss", "train_rmse", "ratings", "seconds",
                             *(f"test_{name}" for name in tests)])
            for r in history:
                writer.writerow([r.epoch, r.train_loss, r.train_rmse, r.ratings, r.seconds,
                                 *(r.test[name] for name in tests)])


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
    config : AutoRecConfig
    ratings : Ratings
        The training ratings, with the maps to the user's own ids and titles.
    net : HybridBlock
        With the trained parameters, on the CPU.
    """

    path: Path
    config: AutoRecConfig
    ratings: Ratings
    net: Any


def load_run(path: Path) -> SavedRun:
    """Open a run folder.

    Raises
    ------
    DataError
        If it is no finished run, or one of its files is damaged.
    """
    try:
        options = json.loads((path / "config.json").read_text(encoding="utf-8"))["options"]
        config = AutoRecConfig(**options)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a run folder: no readable config.json ({error}); name a "
                        "folder that python -m d2l_autorec.run has written") from error
    if not (path / "result.json").exists():
        raise DataError(f"{path} holds a run that has not finished: finish it with python -m "
                        f"d2l_autorec.run --resume {path}")
    ratings = Ratings.load(path / "ratings.npz")
    columns = ratings.num_users if config.based == "item" else ratings.num_items
    net = build(config, columns)
    try:
        net.load_parameters(str(path / "model.params"))
    except (MXNetError, ValueError, AssertionError, OSError) as error:
        raise DataError(f"{path / 'model.params'} is missing or damaged "
                        f"({str(error).splitlines()[0]})") from error
    return SavedRun(path, config, ratings, net)

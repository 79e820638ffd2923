"""The run folder: what a run leaves behind."""

import csv
import dataclasses
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Sequence

from .errors import ConfigError
from .plots import save_curve
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
        """config.json: every option, the data and the versions that the run used."""
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

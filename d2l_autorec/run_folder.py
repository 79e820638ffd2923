"""The run folder: what a run leaves behind."""

import csv
import dataclasses
import io
import json
import os
import platform
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Tuple

from mxnet import MXNetError

from .clicks import INPUTS, Clicks
from .config import RankingConfig, RatingConfig, RunConfig, read_config
from .errors import ConfigError, DataError, DataWarning
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

    def begin(self, config: RunConfig, data: Dict[str, Any], save_data: Callable[[Path], None],
              kernel: Dict[str, str], devices: Sequence[str]) -> None:
        """ratings.npz or clicks.npz (known data, ids, titles) and, last, config.json.

        Raises
        ------
        ConfigError
            If the folder holds a run already.
        """
        if (self.path / "config.json").exists():
            raise ConfigError(f"{self.path} holds a run already: go on with it by --resume "
                              f"{self.path}, or name another folder with --out")
        name = "clicks.npz" if isinstance(config, RankingConfig) else "ratings.npz"
        self.write_with(name, lambda path: save_data(Path(path)))
        self.write_json("config.json", {
            "options": dataclasses.asdict(config), "data": data,
            "devices": list(devices), "kernel": kernel,
            "threads": os.environ.get("OMP_NUM_THREADS"), "versions": versions()})

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
        What each user is known to have rated or clicked: never recommended.
        With the maps to the user's own ids and titles.
    inputs : Ratings
        The part of it that the network is given, which is what it was
        measured with. Left out are validation ratings of a run without a refit,
        and the held-out clicks of validation and test users.
    net : HybridBlock
        With the trained parameters, on the CPU.
    """

    path: Path
    config: RunConfig
    ratings: Ratings
    inputs: Ratings
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
        net = build(config, clicks)
        ratings, inputs = clicks.interactions(), clicks.interactions(INPUTS)
    else:
        ratings, inputs = _known_ratings(path / "ratings.npz", config)
        net = build(config, inputs)
    if not hasattr(net, "load_parameters"):
        return SavedRun(path, config, ratings, inputs, net.fit(clicks.train))
    try:
        net.load_parameters(str(path / "model.params"))
    except (MXNetError, ValueError, AssertionError, OSError) as error:
        raise DataError(f"{path / 'model.params'} is missing or damaged "
                        f"({str(error).splitlines()[0]})") from error
    return SavedRun(path, config, ratings, inputs, net)


def _known_ratings(path: Path, config: RatingConfig) -> Tuple[Ratings, Ratings]:
    """All known ratings, and those that are inputs."""
    ratings, is_input = Ratings.load_known(path)
    if is_input is not None:
        return ratings, ratings.part(is_input)

    if config.val_ratio and not config.refit:
        warnings.warn(f"{path} does not say which ratings are validation ratings, as it is from "
                      "version 0.1.0: predictions will not be quite those that result.json "
                      "measured; train anew to mend it", DataWarning, stacklevel=3)
    return ratings, ratings

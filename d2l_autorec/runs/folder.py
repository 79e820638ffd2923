"""The run folder: what a run leaves behind, written and verified; imports no MXNet."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.kinds import RunConfig
from ..models.registry import model_class, models
from ..support.errors import ConfigError, DataError
from ..support.files import (
    check_digests,
    digest_of,
    read_json,
    replacing,
    telling_damage,
    write_json,
)
from ..support.texts import csv_text
from ..training.history import EpochRecord

if TYPE_CHECKING:
    from ..data.clicks import Clicks
    from ..data.ratings import Ratings

TRAINING_DATA = {"rating": "ratings.npz", "ranking": "clicks.npz"}  # of a configuration's task
ABOUT = ("data", "devices", "kernel", "threads", "versions")  # of config.json, beside the options
FOLDS = "folds.json"  # of a k-fold split, in the folder that has a run for each


def new_folder(begins: str) -> Path:
    """Make a new folder in runs/ with the time in its name."""
    name = f"{begins}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in count(1):
        path = Path("runs", name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # of a run that began in the same second
            continue
        except OSError:
            break  # locked says what is wrong
        break
    return path


@dataclass
class RunFolder:
    """A run's folder: config.json, ratings.npz, metrics.csv, model.params, result.json, curve.png.

    Each file is whole or not there, and result.json has the digests of all
    that a run is loaded from. Hold the folder's lock to write.

    Parameters
    ----------
    path : Path
    config : RunConfig
    about : dict
        What config.json holds beside the options: data, devices, kernel, threads, versions.
    result : dict or None
        What result.json holds; None of a run that has not finished.
    digests : dict
        Name to SHA-256 of each file that was verified or written.
    """

    path: Path
    config: RunConfig
    about: dict[str, Any]
    result: dict[str, Any] | None = None
    digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, path: Path, config: RunConfig, about: dict[str, Any], save_data: Callable[[Path], None]
    ) -> "RunFolder":
        """Write the data (known interactions, ids, titles) and, last, config.json."""
        folder = cls(path, config, about)
        folder.write(TRAINING_DATA[config.task], save_data)

        content = {"options": asdict(config), **about, "files": folder.digests}
        write_json(path / "config.json", content)
        folder.digests["config.json"] = digest_of(path / "config.json")
        return folder

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Read and verify a run folder.

        Raises
        ------
        DataError
            If it is no run folder, or a file of it is missing, damaged or was edited.
        """
        file = path / "config.json"
        if not file.is_file():
            raise DataError(
                f"{path} is not a run folder: it has no config.json; name a folder that "
                "python -m d2l_autorec.run has written"
            )

        about = read_json(file)
        config = config_of(about, file)
        with telling_damage(file):  # of an unfinished run no digest tells that it was edited
            digests = dict(about["files"])
            began = {name: about[name] for name in ABOUT}

        result = None
        if (path / "result.json").exists():
            result = read_json(path / "result.json")
            with telling_damage(path / "result.json"):
                digests = dict(result.pop("files"))

        check_digests(path, digests)
        return cls(path, config, began, result, {"config.json": digest_of(file), **digests})

    def finished(self) -> dict[str, Any]:
        """Return the result; raise DataError if the run has not finished."""
        if self.result is None:
            raise DataError(
                f"{self.path} holds a run that has not finished: finish it with "
                f"`train_model(resume={self.path})`"
            )
        return self.result

    def known(self) -> "tuple[Ratings, Ratings, Clicks | None]":
        """Read the data of a finished run.

        Returns
        -------
        ratings, inputs : Ratings
            See `TrainedModel`.
        clicks : Clicks or None
            Of a model that ranks.

        Raises
        ------
        DataError
            If their file is damaged.
        """
        from ..data.clicks import INPUTS, Clicks
        from ..data.ratings import Ratings

        path = self.path / TRAINING_DATA[self.config.task]
        if self.config.task == "ranking":
            clicks = Clicks.load(path)
            return clicks.interactions(), clicks.interactions(INPUTS), clicks

        ratings, is_input = Ratings.load_known(path)
        return ratings, ratings if is_input is None else ratings.part(is_input), None

    def write(self, name: str, save: Callable[[Path], Any]) -> None:
        """Write a file that `save(path)` makes, atomically, and note its digest."""
        with replacing(self.path / name) as unfinished:
            save(unfinished)
            digest = digest_of(unfinished)

        self.digests[name] = digest

    def write_metrics(self, phases: Mapping[str, Sequence[EpochRecord]]) -> None:
        """Write metrics.csv: a row for each epoch of each phase, a column for each metric."""
        content = metrics_text(phases).encode()
        self.write("metrics.csv", lambda path: path.write_bytes(content))

    def finish(self, phases: Mapping[str, Sequence[EpochRecord]], result: dict[str, Any]) -> None:
        """Write the metrics and, last, result.json."""
        self.write_metrics(phases)
        write_json(self.path / "result.json", {**result, "files": self.digests})


def metrics_text(phases: Mapping[str, Sequence[EpochRecord]]) -> str:
    """Return the content of metrics.csv, without columns that no epoch has."""
    rows = []
    for phase, history in phases.items():
        for record in history:
            names = ("epoch", "lr", "train_loss", "train_rmse", "beta", "ratings", "seconds")
            row = {"phase": phase, **{name: getattr(record, name) for name in names}}
            row |= {f"validation_{name}": value for name, value in record.validation.items()}
            row |= {f"test_{name}": value for name, value in record.test.items()}
            rows.append({k: v for k, v in row.items() if v is not None or k == "train_loss"})
    return csv_text(rows)


def config_of(about: dict[str, Any], path: Path) -> RunConfig:
    """Return the configuration described by a config.json, whose content is `about`.

    Raises
    ------
    DataError
        If it describes none, as after an edit or by a later version.
    """
    with telling_damage(path):
        options = dict(about["options"])
        model = str(options["model"])
    if model not in models():
        raise DataError(
            f"{path} is of `model={model}`, which nothing here registers: install its package"
        )

    known = {spec.name: spec.default for spec in fields(model_class(model))}
    try:  # an option that the version of the run had not is what it was then: no preset's
        return model_class(model)(**{**known, **options})
    except ConfigError as error:
        raise DataError(
            f"{path} was edited, or written by another version of d2l_autorec ({error}): restore "
            "it from a copy, or begin a new run"
        ) from error


def read_folds(folder: Path) -> RunConfig | None:
    """Return the configuration of the folds that are trained in a folder; None without folds.

    Raises
    ------
    DataError
        If folds.json is damaged or was edited.
    """
    path = folder / FOLDS
    return config_of(read_json(path), path) if path.is_file() else None

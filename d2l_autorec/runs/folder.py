"""The run folder: the files that a run leaves, written and verified. No MXNet is imported."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.kinds import RunConfig
from ..models.registry import model_class, models
from ..support import files
from ..support.errors import ConfigError, DataError
from ..support.texts import csv_text
from ..training.history import EpochRecord

if TYPE_CHECKING:
    from ..data.clicks import Clicks
    from ..data.ratings import Ratings

TRAINING_DATA = {"rating": "ratings.npz", "ranking": "clicks.npz"}  # the data's file, by task
# what config.json has beside the options and digests
ABOUT = ("data", "devices", "kernel", "threads", "versions", "given")
REPEATS = "runs.json"  # describes several seeds or folds, in the folder that has a run for each


def new_folder(begins: str) -> Path:
    """Make a new folder in runs/, named `begins` followed by the time, and return its path."""
    name = f"{begins}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in count(1):
        path = Path("runs", name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # another run has begun in the same second
            continue
        except OSError:
            break  # locked says what is wrong
        break
    return path


@dataclass
class RunFolder:
    """A run's folder: config.json, ratings.npz, metrics.csv, model.params, users.csv, result.json.

    Each file is whole or not there, and result.json has the digests of all files
    that a run is loaded from. Whoever writes must hold the folder's lock.

    Parameters
    ----------
    path : Path
        The folder.
    config : RunConfig
        The options of the run.
    about : dict
        The other content of config.json: data, devices, kernel, threads, versions, and what
        it was given in Python beside options: train, net, loss.
    result : dict or None
        The content of result.json; None for a run that has not finished.
    digests : dict
        Name of each file that was verified or written to its SHA-256.
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
        """Begin a run folder: write the data (interactions, ids, titles), then config.json."""
        folder = cls(path, config, about)
        folder.write(TRAINING_DATA[config.task], save_data)

        content = {"options": asdict(config), **about, "files": folder.digests}
        files.write_json(path / "config.json", content)
        folder.digests["config.json"] = files.digest_of(path / "config.json")
        return folder

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Read and verify a run folder.

        Raises
        ------
        DataError
            If it is no run folder, or one of its files is missing, damaged or was edited.
        """
        file = path / "config.json"
        if not file.is_file():
            runs = sorted(config.parent for config in path.glob("*/config.json"))
            advice = f"name a run in it, such as {runs[0]}" if runs else "name another one"
            raise DataError(f"{path} is not a run folder: it has no config.json; {advice}")

        about = files.read_json(file)
        config = config_of(about, file)
        with files.telling_damage(file):  # of an unfinished run no digest tells that it was edited
            digests = dict(about["files"])
            began = {name: about[name] for name in ABOUT}

        result = None
        if (path / "result.json").exists():
            result = files.read_json(path / "result.json")
            with files.telling_damage(path / "result.json"):
                digests = dict(result.pop("files"))

        files.check_digests(path, digests)
        return cls(path, config, began, result, {"config.json": files.digest_of(file), **digests})

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
            Known and input ratings: see `TrainedModel`.
        clicks : Clicks or None
            The clicks, for a model that ranks.

        Raises
        ------
        DataError
            If the data's file is damaged.
        """
        from ..data.clicks import Clicks
        from ..data.ratings import Ratings

        path = self.path / TRAINING_DATA[self.config.task]
        if self.config.task == "ranking":
            clicks = Clicks.load(path)
            return clicks.rated(), clicks.interactions(clicks.inputs), clicks

        ratings, is_input = Ratings.load_known(path)
        return ratings, ratings if is_input is None else ratings.part(is_input), None

    def write(self, name: str, save: Callable[[Path], Any]) -> None:
        """Write a file atomically, by `save(path)`, and note its digest."""
        with files.replacing(self.path / name) as unfinished:
            save(unfinished)
            digest = files.digest_of(unfinished)

        self.digests[name] = digest

    def write_metrics(self, phases: Mapping[str, Sequence[EpochRecord]]) -> None:
        """Write metrics.csv: a row for each epoch of each phase, a column for each metric."""
        content = metrics_text(phases).encode()
        self.write("metrics.csv", lambda path: path.write_bytes(content))

    def finish(self, phases: Mapping[str, Sequence[EpochRecord]], result: dict[str, Any]) -> None:
        """Write the metrics and, last, result.json."""
        self.write_metrics(phases)
        files.write_json(self.path / "result.json", {**result, "files": self.digests})


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
    """Return the configuration that a config.json, whose content is `about`, describes.

    Raises
    ------
    DataError
        If it describes none, because it was edited or written by a later version.
    """
    with files.telling_damage(path):
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
            f"{path} was edited, or written by another version of d2l_autorec ({error}): "
            f"{files.BEGIN_ANEW}"
        ) from error


def read_repeats(folder: Path) -> RunConfig | None:
    """Return the configuration of several runs in one folder; None for a single run.

    Raises
    ------
    DataError
        If runs.json is damaged or was edited.
    """
    path = folder / REPEATS
    return config_of(files.read_json(path), path) if path.is_file() else None

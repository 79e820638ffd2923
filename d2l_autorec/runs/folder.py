"""The run folder: what a run leaves behind, written and verified; imports no MXNet."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.kinds import RunConfig
from ..models.registry import model_class, models
from ..support.environment import MAX_THREADS
from ..support.errors import ConfigError, DataError
from ..support.files import LOCK, check_digests, digest_of, read_json, replacing, write_json
from ..support.text_table import csv_text
from ..training.history import EpochRecord

if TYPE_CHECKING:
    from ..data.clicks import Clicks
    from ..data.ratings import Ratings

TRAINING_DATA = {"rating": "ratings.npz", "ranking": "clicks.npz"}  # of a configuration's task
FOLDS = "folds.json"  # of a k-fold split, in the folder that has a run for each
RUN_FILES = (
    "config.json",
    *TRAINING_DATA.values(),
    "metrics.csv",
    "model.params",
    "result.json",
    "curve.png",
    "checkpoint.bin",
    "checkpoint-former.bin",
    FOLDS,
    LOCK,
)


def refuse_run_file(path: Path) -> None:
    """Raise ConfigError if `path`, to be written by a command, is a file that a run has left."""
    target = Path(os.path.realpath(path))
    if target.name not in RUN_FILES:
        return

    beside = [target.with_name(name) for name in ("config.json", LOCK)]
    if all(os.path.isfile(file) for file in beside):
        raise ConfigError(f"{path} is a file of the run in {path.parent}: name another one")


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
        about = read_begun(path)
        config = config_of(about, path / "config.json")
        _check_about(about, path / "config.json")
        digests = about.pop("files")

        result = None
        if os.path.lexists(path / "result.json"):
            result = read_json(path / "result.json")
            digests = result.pop("files", None)
            if not _are_digests(digests):
                raise _edited(path / "result.json", "files")

        check_digests(path, digests)
        digests = {"config.json": digest_of(path / "config.json"), **digests}
        return cls(path, config, about, result, digests)

    @property
    def threads(self) -> int:
        """The number of CPU threads that the run began with."""
        return int(self.about["threads"])

    def finished(self) -> dict[str, Any]:
        """Return the result.

        Raises
        ------
        DataError
            If the run has not finished.
        """
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
            If their file is damaged, or holds other data than the run was trained on.
        """
        from ..data.clicks import INPUTS, Clicks
        from ..data.ratings import Ratings

        path = self.path / TRAINING_DATA[self.config.task]
        if self.config.task == "ranking":
            clicks = Clicks.load(path)
            self._check_data(clicks)
            return clicks.interactions(), clicks.interactions(INPUTS), clicks

        ratings, is_input = Ratings.load_known(path)
        if is_input is not None:
            return ratings, ratings.part(is_input), None

        self._check_data(ratings)
        return ratings, ratings, None

    def _check_data(self, data: Any) -> None:
        """Raise DataError unless `data` are what the run was trained on."""
        if self.about["data"]["train_sha256"] != data.fingerprint:
            raise DataError(
                f"{self.path} has other ratings than the run was trained on: restore "
                "its .npz file from a copy, or begin a new run"
            )

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
    """Return the content of metrics.csv."""
    rows: list[dict[str, Any]] = []
    for phase, history in phases.items():
        rows += ({"phase": phase, **columns_of(record)} for record in history)
    return csv_text(rows)  # a refit has no validation


def columns_of(record: EpochRecord) -> dict[str, Any]:
    """Return an epoch as a row of metrics.csv."""
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

    row |= {f"validation_{name}": value for name, value in record.validation.items()}
    row |= {f"test_{name}": value for name, value in record.test.items()}
    return row


def read_folds(folder: Path) -> RunConfig | None:
    """Return the configuration of the folds that are trained in a folder; None without folds.

    Raises
    ------
    DataError
        If folds.json is damaged or was edited.
    """
    path = folder / FOLDS
    if not os.path.isfile(path):
        return None
    return config_of(read_json(path), path)


def _check_about(about: dict[str, Any], path: Path) -> None:
    """Raise DataError unless config.json has what its readers ask for, as an edit may not."""
    data = about.get("data")
    kernel = about.get("kernel")
    readable = {
        "data": isinstance(data, dict) and {"train_sha256", "test_sha256"} <= data.keys(),
        "kernel": isinstance(kernel, dict) and "chosen" in kernel,
        "devices": isinstance(about.get("devices"), list),
        "threads": _is_thread_number(about.get("threads")),
        "files": _are_digests(about.get("files")),
    }

    for name, right in readable.items():
        if not right:
            raise _edited(path, name)


def _edited(path: Path, name: str) -> DataError:
    return DataError(
        f"{path} is damaged or was edited (what it says of its {name} cannot be read): "
        "restore it from a copy, or begin a new run"
    )


def _are_digests(found: Any) -> bool:
    if not isinstance(found, dict) or not found.keys() <= {*RUN_FILES}:
        return False
    return all(isinstance(digest, str) for digest in found.values())


def _is_thread_number(recorded: Any) -> bool:
    if not isinstance(recorded, str) or not recorded.isdecimal():
        return False
    return 1 <= int(recorded) <= MAX_THREADS


def read_config(folder: Path) -> RunConfig:
    """Return the options of the run in a folder.

    Raises
    ------
    DataError
        If there is none, or its config.json is damaged or was edited.
    """
    path = folder / "config.json"
    return config_of(read_begun(folder), path)


def read_begun(folder: Path) -> dict[str, Any]:
    """Return the config.json of a run folder; see `read_config` for errors."""
    path = folder / "config.json"
    if not os.path.isfile(path):
        raise DataError(
            f"{folder} is not a run folder: it has no config.json; name a folder that "
            "python -m d2l_autorec.run has written"
        )
    return read_json(path)


def config_of(about: dict[str, Any], path: Path) -> RunConfig:
    """Return the configuration that the content of a config.json, read from `path`, describes.

    Raises
    ------
    DataError
        If it describes none, as after an edit or by a later version.
    """
    options = about.get("options")
    if not isinstance(options, dict):
        options = {}

    model = options.get("model")
    if isinstance(model, str) and model not in models():
        raise DataError(
            f"{path} is of `model={model}`, which nothing here registers: install its package"
        )
    if not isinstance(model, str):
        raise DataError(
            f"{path} is missing or damaged (it names no model): restore it from a "
            "copy, or begin a new run"
        )

    known = {spec.name: spec.default for spec in fields(model_class(model))}
    unknown = [f"`{name}`" for name in options if name not in known]
    if unknown:
        raise DataError(
            f"{path} has options that this version of d2l_autorec does not know "
            f"({', '.join(unknown)}): use the version that wrote it"
        )

    try:  # an option that the version of the run had not is what it was then: no preset's
        return model_class(model)(**{**known, **options})
    except ConfigError as error:
        raise DataError(
            f"{path} was edited ({error}): restore it from a copy, or begin a new run"
        ) from error

"""What a run folder records, read and verified; imports no MXNet."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..support.environment import MAX_THREADS
from ..support.errors import ConfigError, DataError
from ..support.files import LOCK, check_digests, digest_of, read_json
from .config import RunConfig, config_of, read_begun

TRAINING_DATA = ("ratings.npz", "clicks.npz")  # a run has one of them
FOLDS = "folds.json"  # of a k-fold split, in the folder that has a run for each
RUN_FILES = (
    "config.json",
    *TRAINING_DATA,
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


@dataclass(frozen=True)
class RunRecord:
    """The JSON of a run folder whose files are as the run left them.

    Parameters
    ----------
    path : Path
    config : RunConfig
    about : dict
        What config.json holds: data, devices, kernel, threads, versions.
    result : dict or None
        What result.json holds; None of a run that has not finished.
    digests : dict
        Name to SHA-256 of each file that was verified, and of config.json.
    """

    path: Path
    config: RunConfig
    about: dict[str, Any]
    result: dict[str, Any] | None
    digests: dict[str, str]

    @property
    def threads(self) -> int:
        """The number of CPU threads that the run began with."""
        return int(self.about["threads"])

    def finished(self) -> dict[str, Any]:
        """The result.

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


def read_record(path: Path) -> RunRecord:
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
    return RunRecord(path, config, about, result, digests)


def read_folds(folder: Path) -> RunConfig | None:
    """The configuration of the folds that are trained in a folder; None where it has none.

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

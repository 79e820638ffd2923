"""What a run folder records, read and verified; imports no MXNet."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..support.environment import MAX_THREADS
from ..support.errors import ConfigError, DataError
from ..support.files import LOCK, check_digests, digest_of, read_sealed
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
    def threads(self) -> int | None:
        """The number of CPU threads that the run began with."""
        recorded = self.about.get("threads")
        if recorded is None:
            return None
        return int(recorded)

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

    A folder of an earlier version has no digests: only what is plainly
    damaged can be told there.

    Raises
    ------
    DataError
        If it is no run folder, or a file of it is missing, damaged or was edited.
    """
    began = read_begun(path)
    config = config_of(began.content, path / "config.json")
    _check_about(began.content, path / "config.json")

    result = None
    files = began.files

    if os.path.lexists(path / "result.json"):
        result, files = read_sealed(path / "result.json")
        if files is None and began.files is not None:
            raise DataError(
                f"{path / 'result.json'} is not what this run has written: restore it "
                "from a copy, or delete it and go on with `resume`"
            )

    sealed = files or {}  # an earlier version has none
    check_digests(path, sealed)
    known = {
        name: digest_of(path / name)
        for name in ("config.json", *TRAINING_DATA)
        if (path / name).is_file()
    }

    return RunRecord(path, config, began.content, result, {**known, **sealed})


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
    return config_of(read_sealed(path).content, path)


def _check_about(about: dict[str, Any], path: Path) -> None:
    """Raise DataError unless config.json has what its readers ask for, as an edit may not."""
    data = about.get("data")
    kernel = about.get("kernel")
    threads = about.get("threads")
    readable = {
        "data": isinstance(data, dict) and {"train_sha256", "test_sha256"} <= data.keys(),
        "kernel": isinstance(kernel, dict) and "chosen" in kernel,
        "devices": isinstance(about.get("devices"), list),
        "threads": threads is None or _is_thread_number(threads),
    }

    for name, right in readable.items():
        if not right:
            raise DataError(
                f"{path} was edited (what it says of its {name} cannot be read): "
                "restore it from a copy, or begin a new run"
            )


def _is_thread_number(recorded: Any) -> bool:
    if not isinstance(recorded, str) or not recorded.isdecimal():
        return False
    return 1 <= int(recorded) <= MAX_THREADS

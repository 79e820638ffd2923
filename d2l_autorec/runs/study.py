"""The folder of a search: its study, and whether other processes are at work there.

The study is a journal of Optuna's, a line of JSON for each change. It is read whole when it is
opened, so that damage shows at once; a line that a kill cut off is dropped by the next one.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from ..support.errors import ConfigError
from ..support.files import LOCK, claim, holding, read_json, write_json

STUDY, ABOUT = "study.log", "tune.json"
AT_WORK = ".at-work"  # every process holds this file as long as it is at work
HOW_TO_INSTALL = "pip install 'd2l_autorec[tune]'"


def load_optuna() -> Any:
    """Import Optuna, silent; it takes a moment, and most commands need it not.

    Raises
    ------
    ConfigError
        If the extra `tune` is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(f"a search needs Optuna ({error}): {HOW_TO_INSTALL}") from error

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Journal:
    """What Optuna's JournalStorage reads and writes: a file, which processes share.

    Optuna's own class leaves a lock behind when its process is killed, and joins a line that was
    cut off to the next one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Read the entries from a number on."""
        content = self._path.read_bytes() if self._path.exists() else b""
        *lines, unfinished = content.split(b"\n")
        if unfinished[:1] not in (b"", b"{"):
            raise ValueError("its end is no JSON")
        return [json.loads(line) for line in lines[log_number_from:]]

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        """Write entries; raises ConfigError where there is no room."""
        text = "".join(f"{json.dumps(log)}\n" for log in logs)
        try:
            with holding(self._path), open(self._path, "rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
                file.seek(0, os.SEEK_END)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be written ({error.strerror or error}): make room; the same "
                "command then goes on"
            ) from error


class SharedFolder:
    """The folder of a search, for as long as this process is at work in it; a context manager.

    Parameters
    ----------
    path : Path or None
        New or empty, or of the same search. None keeps the study in memory.
    about : mapping
        What is searched, and of which data: what every process must say alike.

    Raises
    ------
    UserError
        If the folder cannot be used, or holds something else.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any]) -> None:
        self.path = path
        self._presence: BinaryIO | None = None
        if path is None:
            return

        try:
            path.mkdir(parents=True, exist_ok=True)
            with self.holding():
                if not (path / ABOUT).exists():
                    claim(path)
                    write_json(path / ABOUT, about)
                _check_same(path, about)
                self._presence = open(path / AT_WORK, "ab")
                fcntl.flock(self._presence, fcntl.LOCK_SH)
        except OSError as error:
            raise ConfigError(
                f"the folder {path} cannot be written ({error.strerror or error}): name another "
                "one with `out`"
            ) from error

    def __enter__(self) -> "SharedFolder":
        return self

    def __exit__(self, *_: Any) -> None:
        self.leave()

    def leave(self) -> None:
        """Be no longer at work here."""
        if self._presence is not None:
            self._presence.close()

    def holding(self) -> AbstractContextManager[None]:
        """Hold the list of trials; waits for other processes."""
        return nullcontext() if self.path is None else holding(self.path / LOCK)

    def is_alone(self) -> bool:
        """Whether no other process is at work here; hold the list of trials meanwhile."""
        if self._presence is None:
            return True

        try:
            fcntl.flock(self._presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._presence, fcntl.LOCK_SH)

    def open_study(self, direction: str, pruner: Any) -> Any:
        """Open the study, made where there is none; hold the list of trials meanwhile."""
        optuna = load_optuna()
        storage = None
        if self.path is not None:
            storage = optuna.storages.JournalStorage(Journal(self.path / STUDY))
        return optuna.create_study(
            storage=storage,
            study_name="tune",
            direction=direction,
            load_if_exists=True,
            pruner=pruner,
        )


def _check_same(path: Path, about: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the search in the folder is this one."""
    began = read_json(path / ABOUT)
    now = json.loads(json.dumps(dict(about)))  # with lists for tuples, as in the file

    for name in sorted({*began, *now}):
        if began.get(name) != now.get(name):
            raise ConfigError(
                f"{path} holds another search ({name} was {began.get(name)}, and now is "
                f"{now.get(name)}): give the same options and ratings to go on with it, or name "
                "another folder with `out`"
            )

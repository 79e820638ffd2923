"""The folder of a search: its study, and whether other processes are at work there.

The study is a journal of Optuna's, a line of JSON for each change, with a checksum that goes on
from the line before. A line that a kill cut off is dropped by the next one.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..support.errors import ConfigError, DataError
from ..support.files import LOCK, claim, holding, read_json, write_json

STUDY, ABOUT = "study.log", "tune.json"
AT_WORK = ".at-work"  # every process holds this file as long as it is at work
DIGITS = 8  # of a line's checksum, at its end


def load_optuna() -> Any:
    """Import Optuna, silenced; it is slow to load, and most commands do not need it.

    Raises
    ------
    ConfigError
        If the extra `tune` is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            f"a search needs Optuna ({error}): pip install 'd2l_autorec[tune]'"
        ) from error

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Journal:
    """The file behind Optuna's JournalStorage, which processes share.

    Optuna's own class leaves a lock behind when its process is killed, and joins a line that was
    cut off to the next one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the entries from a number on; raise DataError if the file is damaged."""
        entries: list[bytes] = []
        checksum = 0
        for line in self._path.read_bytes().split(b"\n")[:-1]:
            entry, found = line[:-DIGITS], line[-DIGITS:]
            checksum = zlib.crc32(entry, checksum)
            if found != b"%08x" % checksum:
                raise DataError(
                    f"{self._path} is damaged in line {len(entries) + 1}: restore it from a copy, "
                    "or begin a new search with `out`"
                )
            entries.append(entry)
        return [json.loads(entry) for entry in entries[log_number_from:]]

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        """Write entries."""
        with holding(self._path), open(self._path, "rb+") as file:
            end = file.read().rfind(b"\n") + 1
            file.truncate(end)
            file.seek(max(0, end - 1 - DIGITS))
            checksum = int(file.read(DIGITS) or b"0", 16)

            file.seek(end)
            for log in logs:
                entry = json.dumps(log).encode()
                checksum = zlib.crc32(entry, checksum)
                file.write(b"%s%08x\n" % (entry, checksum))
            file.flush()
            os.fsync(file.fileno())


class SharedFolder:
    """The folder of a search, for as long as this process is at work in it.

    Parameters
    ----------
    path : Path
        New or empty, or of the same search.
    about : mapping
        What is searched, and of which data: what every process must say alike.

    Raises
    ------
    UserError
        If the folder holds something else.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True)
        with self.holding():
            if not (path / ABOUT).exists():
                claim(path)
                write_json(path / ABOUT, about)
            _check_same(path, about)
            self._presence = open(path / AT_WORK, "ab")
            fcntl.flock(self._presence, fcntl.LOCK_SH)

    def close(self) -> None:
        """Stop being at work here."""
        self._presence.close()

    def holding(self) -> AbstractContextManager[None]:
        """Hold the list of trials, after waiting for other processes."""
        return holding(self._path / LOCK)

    def is_alone(self) -> bool:
        """Return whether no other process is at work here; call it while holding the list."""
        try:
            fcntl.flock(self._presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._presence, fcntl.LOCK_SH)

    def open_study(self, direction: str, pruner: Any) -> Any:
        """Open the study, or create it; call it while holding the list."""
        optuna = load_optuna()
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(Journal(self._path / STUDY)),
            study_name="tune",
            direction=direction,
            load_if_exists=True,
            pruner=pruner,
        )


def _check_same(path: Path, about: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the search in the folder is this one."""
    began = read_json(path / ABOUT)
    for name, now in json.loads(json.dumps(about)).items():  # with lists for tuples, as there
        if began.get(name) != now:
            raise ConfigError(
                f"{path} holds another search ({name} was {began.get(name)}, and now is "
                f"{now}): give the same options and ratings to go on with it, or name "
                "another folder with `out`"
            )

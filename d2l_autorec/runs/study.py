"""The folder of a search: its study, and whether other processes are at work there.

The study is a journal of Optuna's, with a line of JSON for each change.
"""

import fcntl
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..support.errors import ConfigError
from ..support.files import LOCK, claim, holding, read_json, telling_damage, write_json

STUDY, ABOUT = "study.log", "tune.json"
AT_WORK = ".at-work"  # every process holds this file as long as it is at work
WAY_OUT = "restore it from a copy, or begin a new search with `out`"


def load_optuna() -> Any:
    """Import Optuna without its messages; it is slow to load, and most commands do not need it.

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


class StudyLock:
    """The lock that Optuna takes to write the study; unlike Optuna's own, it ends with its process.

    Parameters
    ----------
    path : Path
        The file of the study.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: Any = None

    def acquire(self) -> bool:
        """Take the lock, after waiting until no other process holds it; return True."""
        self._held = self._path.open("ab")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Release the lock for other processes."""
        self._held.close()


class SharedFolder:
    """The folder of a search, for as long as this process is at work in it.

    Parameters
    ----------
    path : Path
        A folder that is new or empty, or belongs to the same search.
    about : mapping
        A description of the search and its data, which must be the same in every process.

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
            began = read_json(path / ABOUT)
            for name, now in json.loads(json.dumps(about)).items():  # with lists for tuples
                if began.get(name) != now:
                    raise ConfigError(
                        f"{path} holds another search, with other {name}: go on with it by the "
                        "same options and ratings, or name another folder with `out`"
                    )
            self._presence = open(path / AT_WORK, "ab")
            fcntl.flock(self._presence, fcntl.LOCK_SH)

    def close(self) -> None:
        """Note that this process is no longer at work here."""
        self._presence.close()

    def holding(self) -> AbstractContextManager[None]:
        """Lock the list of trials for the block, after waiting for other processes."""
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
        """Open the study, or create it; call it while holding the list.

        Raises
        ------
        DataError
            If the study is damaged.
        """
        optuna = load_optuna()
        path = self._path / STUDY
        if path.exists() and self.is_alone():
            with path.open("rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)  # drops a line that a kill cut off

        with telling_damage(path, WAY_OUT):
            backend = optuna.storages.journal.JournalFileBackend(str(path), StudyLock(path))
            storage = optuna.storages.JournalStorage(backend)
        return optuna.create_study(
            storage=storage,
            study_name="tune",
            direction=direction,
            load_if_exists=True,
            pruner=pruner,
        )

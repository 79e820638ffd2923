"""The folder of a search: its study in SQLite, and which processes are at work in it.

Whatever changes the study's list of trials is done while the folder's lock is held, so that
several processes share it. A trial whose process has gone, however it went, is begun again.
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..support.errors import ConfigError, DataError
from ..support.files import LOCK, claim, holding, is_held, read_json, write_sealed

STUDY, ABOUT = "study.db", "tune.json"
AT_WORK = "at-work-"  # begins the name of a file that a process holds as long as it lives
HOW_TO_INSTALL = "pip install 'd2l_autorec[tune]'"


def load_optuna() -> Any:
    """Optuna, silent; it takes a moment to load, and most commands need it not.

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


class SharedFolder:
    """The folder of a search, for as long as this process is at work in it.

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
        self.name = f"{AT_WORK}{os.getpid()}-{secrets.token_hex(4)}"
        self._presence: AbstractContextManager[None] = nullcontext()
        if path is None:
            return

        try:
            path.mkdir(parents=True, exist_ok=True)
            with self.holding():
                if not (path / ABOUT).exists():
                    claim(path)
                    write_sealed(path / ABOUT, about, {})
                _check_same(path, about)
            self._presence = holding(path / self.name)
        except OSError as error:
            raise ConfigError(
                f"the folder {path} cannot be written ({error.strerror or error}): name another "
                "one with `out`"
            ) from error

    def __enter__(self) -> "SharedFolder":
        self._presence.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self.leave()

    def leave(self) -> None:
        """This process is no longer at work here."""
        if self.path is not None:
            (self.path / self.name).unlink(missing_ok=True)
        self._presence.__exit__(None, None, None)
        self._presence = nullcontext()

    def holding(self) -> AbstractContextManager[None]:
        """Hold the list of trials; waits for other processes."""
        if self.path is None:
            return nullcontext()
        return holding(self.path / LOCK)

    def others(self) -> list[str]:
        """The other processes that are at work here."""
        if self.path is None:
            return []
        names = (found.name for found in self.path.glob(f"{AT_WORK}*"))
        return [name for name in names if name != self.name and is_held(self.path / name)]

    def open_study(self, higher_is_better: bool, pruner: Any) -> Any:
        """The study, made where there is none.

        Raises
        ------
        DataError
            If its file is damaged.
        """
        optuna = load_optuna()
        direction = "minimize"
        if higher_is_better:
            direction = "maximize"

        if self.path is None:
            return optuna.create_study(direction=direction, pruner=pruner)

        with self._naming_damage():
            storage = optuna.storages.RDBStorage(
                _url(self.path / STUDY), engine_kwargs={"connect_args": {"timeout": 60}}
            )
            return optuna.create_study(
                storage=storage,
                study_name="tune",
                direction=direction,
                load_if_exists=True,
                pruner=pruner,
            )

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        import sqlalchemy.exc

        try:
            yield
        except (sqlalchemy.exc.DatabaseError, ValueError, KeyError) as error:
            raise DataError(
                f"{self.path}/{STUDY} is damaged ({str(error).splitlines()[0]}): restore it from a "
                "copy, or begin a new search with `out`"
            ) from error

    def begin_again(self, study: Any) -> None:
        """Have the trials of processes that are gone tried again; hold the list meanwhile."""
        optuna = load_optuna()
        alive = {self.name, *self.others()}

        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            attributes = trial.user_attrs
            if attributes.get("process") in alive:
                continue

            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            kept = {key: value for key, value in attributes.items() if key in ("model", "preset")}
            study.enqueue_trial(trial.params, user_attrs=kept)


def _url(path: Path) -> str:
    import sqlalchemy

    return sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string()


def _check_same(path: Path, about: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the search in the folder is this one."""
    began = read_json(path / ABOUT)
    now = json.loads(json.dumps(dict(about)))  # with lists for tuples, as in the file

    for name in sorted({*began, *now} - {"files"}):
        if began.get(name) != now.get(name):
            raise ConfigError(
                f"{path} holds another search ({name} was {began.get(name)}, and now is "
                f"{now.get(name)}): give the same options and ratings to go on with it, or name "
                "another folder with `out`"
            )

"""Files that are whole or not there, and folders that one process works in."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Optional, Type

from .errors import ConfigError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, flush it to the disk, rename it into place.

    Raises
    ------
    ConfigError
        If the folder is read-only or the disk full; what stood at `path` stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written ({error.strerror}): make room or choose "
                          "another folder; what was there before is unharmed") from error


class FolderLock:
    """Holds a folder for this process; a context manager.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises
    ------
    ConfigError
        If the folder cannot be made or written, or another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(folder / ".lock", "a")
        except OSError as error:
            raise ConfigError(f"the run folder {folder} cannot be written ({error.strerror}): "
                              "name another one with --out") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConfigError(f"another process is at work in {folder}: wait for it, or name "
                              "another folder with --out") from error

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._file.close()

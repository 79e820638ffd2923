"""Files that are whole or not there, and folders that one process works in."""

import fcntl
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterator, Optional, Type

from .errors import ConfigError, DataError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, of the same suffix, to be written in the block.

    At the end it is flushed to the disk and renamed into place; after an error
    it is gone, and what stood at `path` stays.

    Raises
    ------
    ConfigError
        If the folder is missing or read-only, or the disk full.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name a file")
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.name, dir=path.parent)
        os.close(handle)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp lets only the owner read
        yield Path(name)
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}): make room or choose "
                          "another folder; what was there before is unharmed") from error
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_json(path: Path) -> Dict[str, Any]:
    """A file of JSON.

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged ({error}): restore it from a copy, or begin "
                        "a new run") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; see `replacing` for errors."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


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

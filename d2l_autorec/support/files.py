"""Files that are whole or not there, their digests, and folders that one process works in."""

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import ConfigError, DataError

PART = ".d2l_autorec-part-"  # begins the name of every temporary file, and of nothing else
LOCK, CLAIM = ".lock", b"d2l_autorec writes a run into this folder\n"
# The file that each kind of folder has from its beginning, what it then holds, and how to go on.
BEGUN = {
    "config.json": ("a run", "go on with it by `resume={}`, or "),
    "folds.json": ("a run of each fold", "go on with them by `resume={}`, or "),
    "tune.json": ("a search", ""),
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file of the same suffix, to be written in the block.

    At the end it is flushed to the disk and renamed into place, with the mode
    of the file that it replaces; a symbolic link stays, and its target is
    replaced. After an error the temporary file is gone, and what stood at
    `path` stays.

    Raises
    ------
    ConfigError
        If the folder is missing or read-only, the disk full, or `path` no
        regular file.
    """
    name = None
    try:
        target = _target_of(path)
        handle, name = tempfile.mkstemp(prefix=PART, suffix=target.suffix, dir=target.parent)
        os.close(handle)
        os.chmod(name, _mode_for(target))  # mkstemp lets only the owner read

        yield Path(name)

        _sync(Path(name))
        os.replace(name, target)
        with suppress(OSError):  # the file is in place; some shared mounts sync no folders
            _sync(target.parent)  # else a power failure may undo the renaming
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror or error}): make room or "
            "choose another folder; what was there before is unharmed"
        ) from error
    finally:
        if name is not None:
            _remove(Path(name))


def _target_of(path: Path) -> Path:
    """Return the file that a write to `path` replaces, at the end of its links.

    Raises
    ------
    ConfigError
        If it is a folder, device, pipe or socket.
    """
    if str(path) == "-":
        raise ConfigError(
            "- is no name of a file, and this cannot be written to stdout: name a file"
        )

    target = Path(os.path.realpath(path))
    if path.exists():
        if not path.is_file():
            raise ConfigError(
                f"{path} is {'a folder' if path.is_dir() else 'no file'}: name a file"
            )
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
    return target


def _mode_for(target: Path) -> int:
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder has become read-only: what is wrong is said already
        path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; see `replacing` for errors."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder of this package's."""
    ours = re.compile(re.escape(PART) + r"\w{8}(\.\w+)?")
    for path in folder.iterdir():
        if ours.fullmatch(path.name) and path.is_file():
            _remove(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; see `replacing` for errors."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    DataError
        If the file is missing, or holds none.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} is missing or damaged ({reason}): restore it from a copy, or begin a new run"
        ) from error
    return content


def digest_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()

    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)

    return digest.hexdigest()


def check_digests(folder: Path, files: Mapping[str, str]) -> None:
    """Raise DataError unless every file is there, as it was when its digest was taken."""
    for name, digest in files.items():
        path = folder / name

        try:
            found = digest_of(path)
        except OSError as error:
            raise DataError(
                f"{path} is missing or damaged ({error.strerror}): restore it from a "
                "copy, or begin a new run"
            ) from error

        if found != digest:
            raise DataError(
                f"{path} is damaged or was edited (its digest is not the one that the "
                "run noted): restore it from a copy, or begin a new run"
            )


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a file, made where it is missing, in the block; waits while another process does."""
    with open(path, "ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claim(folder: Path, given: str = "out") -> None:
    """Mark a folder as one that this package writes a run into; hold its `LOCK` meanwhile.

    Raises
    ------
    ConfigError
        If the folder holds files already.
    """
    _check_free(folder, given)
    (folder / LOCK).write_bytes(CLAIM)


class FolderLock:
    """Holds a run folder for this process; a context manager.

    The lock is the operating system's: it ends with the process, however that ends.

    Parameters
    ----------
    folder : Path
    new : bool
        Whether to claim the folder for a run that begins: it must be missing
        or empty, or claimed by a run that was killed before it began.

    Raises
    ------
    ConfigError
        If the folder cannot be made or written, holds other files, or
        another process holds it.
    """

    def __init__(self, folder: Path, new: bool = False, given: str = "out") -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if new:
                _check_free(folder, given)

            self._file = open(folder / LOCK, "ab", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if new and not self._file.tell():
                self._file.write(CLAIM)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is at work in {folder}: wait for it, or name "
                f"another folder with `{given}`"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"the run folder {folder} cannot be written "
                f"({error.strerror or error}): name another one with `{given}`"
            ) from error

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()


def _check_free(folder: Path, given: str) -> None:
    """Raise ConfigError if the folder holds a run, or files that no run of ours has left."""
    names = sorted(entry.name for entry in folder.iterdir())
    for name, (what, way_on) in BEGUN.items():
        if name in names:
            raise ConfigError(
                f"{folder} holds {what} already: {way_on.format(folder)}"
                f"name another folder with `{given}`"
            )

    claim = (folder / LOCK).read_bytes() if LOCK in names else b""
    is_empty = not claim and set(names) <= {LOCK}
    if claim == CLAIM or is_empty:
        return

    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

    raise ConfigError(
        f"{folder} holds files already ({shown}), which a run might replace: name a "
        f"new or an empty folder with `{given}`"
    )

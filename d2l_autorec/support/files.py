"""Files that are whole or not there, their digests, and folders that one process works in."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import ConfigError, DataError

PART = ".d2l_autorec-part-"  # begins the name of every temporary file, and of nothing else
LOCK, CLAIM = ".lock", b"d2l_autorec writes a run into this folder\n"
BEGIN_ANEW = "restore it from a copy, or begin a new run"
BEGUN = ("config.json", "folds.json", "tune.json")  # of a run, its folds, a search: begun there


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file of the same suffix, to be written in the block.

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
    target = Path(os.path.realpath(path))
    unfinished = target.parent / f"{PART}{secrets.token_hex(4)}{target.suffix[:9]}"
    try:
        if target.exists() and not target.is_file():
            raise ConfigError(f"{path} is no file: name a file")
        unfinished.touch(exist_ok=False)
        if target.exists():
            shutil.copymode(target, unfinished)

        yield unfinished

        _sync(unfinished)
        unfinished.replace(target)
        with suppress(OSError):  # the file is in place; some shared mounts sync no folders
            _sync(target.parent)  # else a power failure may undo the renaming
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror or error}): make room or "
            "choose another folder; what was there before is unharmed"
        ) from error
    finally:
        with suppress(OSError):  # the folder has become read-only: what is wrong is said already
            unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def telling_damage(path: Path, way_out: str = BEGIN_ANEW) -> Iterator[None]:
    """Raise DataError, which names the file, for what goes wrong in the block.

    Too little memory is no damage, nor is what cannot be written.
    """
    try:
        yield
    except (MemoryError, ConfigError):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        line = reason.splitlines()[0]
        raise DataError(f"{path} is missing or damaged ({line}): {way_out}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; see `replacing` for errors."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder of this package's."""
    for path in folder.glob(f"{PART}*"):
        path.unlink()


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
    with telling_damage(path):
        content = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    return content


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()

    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)

    return digest.hexdigest()


def check_digests(folder: Path, files: Mapping[str, str]) -> None:
    """Raise DataError unless every file is there, as it was when its digest was taken."""
    for name, digest in files.items():
        with telling_damage(folder / name):
            if digest_of(folder / name) != digest:
                raise ValueError("it is not what the run has written")


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a file, made where it is missing, in the block; waits while another process does."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claim(folder: Path, given: str = "out") -> None:
    """Mark a folder as one that this package writes a run into.

    What a run left there that was killed before it began is replaced.

    Raises
    ------
    ConfigError
        If the folder holds a run, or files that are not this package's.
    """
    names = sorted(entry.name for entry in folder.iterdir())
    if any(name in names for name in BEGUN):
        raise ConfigError(
            f"{folder} holds a run already: go on with it by `resume={folder}`, or name another "
            f"folder with `{given}`"
        )

    lock = folder / LOCK
    others = [name for name in names if name != LOCK]
    if others and not (lock.exists() and lock.stat().st_size):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise ConfigError(
            f"{folder} holds files already ({shown}), which a run might replace: name a "
            f"new or an empty folder with `{given}`"
        )
    lock.write_bytes(CLAIM)


@contextmanager
def locked(folder: Path, new: bool = False, given: str = "out") -> Iterator[None]:
    """Hold a run folder for this process in the block.

    The lock is the operating system's: it ends with the process, however that ends.

    Parameters
    ----------
    folder : Path
    new : bool
        Whether to `claim` it for a run that begins.
    given : str
        The parameter that names the folder.

    Raises
    ------
    ConfigError
        If the folder cannot be made or written, holds other files, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if new:
            claim(folder, given)

        file = (folder / LOCK).open("ab")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"another process is at work in {folder}: wait for it, or name another folder "
            f"with `{given}`"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"the run folder {folder} cannot be written ({error.strerror or error}): name "
            f"another one with `{given}`"
        ) from error

    with file:
        yield

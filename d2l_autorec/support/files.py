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

PART = ".d2l_autorec-part-"  # how the names of temporary files begin, and no others
LOCK, CLAIM = ".lock", b"d2l_autorec writes a run into this folder\n"
BEGIN_ANEW = "restore it from a copy, or begin a new run"
BEGUN = {"config.json", "runs.json", "tune.json"}  # show that a run, several or a search began


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file with the same suffix, to be written in the block.

    At the end the file is flushed to the disk and renamed into place, with the mode
    of the file that it replaces; a symbolic link stays, and its target is
    replaced. After an error the temporary file is gone, and what stood at
    `path` stays.

    Raises
    ------
    ConfigError
        If the folder is missing or read-only, the disk is full, or `path` is not
        a regular file.
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
        with suppress(OSError):  # the file is in place; some shared mounts cannot sync folders
            _sync(target.parent)  # else a power failure may undo the renaming
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror or error}): make room or "
            "choose another folder; what was there before is unharmed"
        ) from error
    finally:
        with suppress(OSError):  # the folder has become read-only, which is reported already
            unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def telling_damage(path: Path, way_out: str = BEGIN_ANEW) -> Iterator[None]:
    """Raise DataError, which names the file, for any exception in the block.

    Two pass unchanged, as they are no damage: MemoryError, and ConfigError for a file that
    cannot be written. A file without permission to read it is no damage either.
    """
    try:
        yield
    except (MemoryError, ConfigError):
        raise
    except PermissionError as error:
        reason = f"{path} cannot be read ({error.strerror}): change its permissions"
        raise DataError(reason) from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        line = reason.splitlines()[0]
        raise DataError(f"{path} is missing or damaged ({line}): {way_out}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; see `replacing` for errors."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that a killed process of this package left in a folder."""
    for path in folder.glob(f"{PART}*"):
        path.unlink()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; see `replacing` for errors."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def read_json(path: Path, way_out: str = BEGIN_ANEW) -> dict[str, Any]:
    """Read a JSON object; `way_out` is the advice in an error.

    Raises
    ------
    DataError
        If the file is missing, or holds no JSON object.
    """
    with telling_damage(path, way_out):
        content = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    return content


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_digests(folder: Path, files: Mapping[str, str]) -> None:
    """Raise DataError unless every file is there and still has the SHA-256 that is given."""
    for name, digest in files.items():
        with telling_damage(folder / name):
            if digest_of(folder / name) != digest:
                raise ValueError("it is not what the run has written")


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Lock a file for the block, after waiting for other processes; make it where missing."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claim(folder: Path, given: str = "out") -> None:
    """Mark a folder as one that this package writes a run into.

    The folder may hold what was left by a run that was killed before it began.

    Parameters
    ----------
    folder : Path
    given : str
        The parameter that names the folder, for messages.

    Raises
    ------
    ConfigError
        If the folder holds a run, or files that are not this package's.
    """
    names = {entry.name for entry in folder.iterdir()}
    if names & BEGUN:
        raise ConfigError(
            f"{folder} holds a run already: "
            + f"go on with it by `resume={folder}`, or " * (given == "out")
            + f"name another folder with `{given}`"
        )

    lock = folder / LOCK
    others = sorted(names - {LOCK})
    if others and not (lock.exists() and lock.stat().st_size):
        shown = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
        raise ConfigError(
            f"{folder} holds files already ({shown}): name a new or an empty folder with `{given}`"
        )
    lock.write_bytes(CLAIM)


@contextmanager
def locked(folder: Path, new: bool = False, given: str = "out") -> Iterator[None]:
    """Lock a run folder for this process in the block.

    The operating system holds the lock: it ends with the process, however that ends.

    Parameters
    ----------
    folder : Path
    new : bool
        Whether to `claim` it for a run that begins.
    given : str
        The parameter that names the folder, for messages.

    Raises
    ------
    ConfigError
        If the folder cannot be made or written, another process has locked it, or, where it
        is `new`, it holds other files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if new:
            claim(folder, given)

        file = (folder / LOCK).open("ab")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"another process is at work in {folder}: wait, or name another one with `{given}`"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror or error}): name another with `{given}`"
        ) from error

    with file:
        yield


def table_writer(path: Path, schema: Any) -> Any:
    """Return a writer of Arrow tables: to Parquet, Feather or else csv, by the file's suffix.

    A csv file may be compressed, as .csv.gz or .csv.zst.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    if path.suffix == ".parquet":
        return parquet.ParquetWriter(path, schema, compression="zstd")
    if path.suffix == ".feather":
        return pa.ipc.new_file(path, schema)
    return csv.CSVWriter(pa.output_stream(str(path)), schema)

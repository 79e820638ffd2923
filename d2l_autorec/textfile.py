"""Opening a text file, gzipped or not: its first lines, and where a line stands."""

import gzip
import zlib
from pathlib import Path
from typing import IO, List

from .errors import DataError

BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)
SAMPLE_BYTES = 1 << 16


def open_file(path: Path) -> IO[bytes]:
    file = open(path, "rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.open(file) if magic == b"\x1f\x8b" else file


def first_lines(path: Path) -> List[str]:
    try:
        with open_file(path) as file:
            sample = file.read(SAMPLE_BYTES)
    except BAD_GZIP as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): make it anew") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the name and the "
                        "permissions") from error
    if sample[:2] == b"PK":
        raise DataError(f"{path} is a zip archive: unpack it and name the ratings file in it")
    if b"\0" in sample:
        line = sample[:sample.index(b"\0")].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not text (a zero byte); save it as UTF-8 csv")
    complete = sample if len(sample) < SAMPLE_BYTES else sample[:sample.rfind(b"\n") + 1]
    try:
        text = complete.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, complete[:error.start].count(b"\n") + 1) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty: each line must hold a user, an item and a rating")
    return lines[:50]


def not_utf8(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: bytes that are not UTF-8 text; save the file as UTF-8")


def line_number(path: Path, record: int) -> int:
    """The line, from 1, of a record, from 0; blank lines are no records."""
    with open_file(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                if record == 0:
                    return number
                record -= 1
    return number


def first_bad_line(path: Path) -> int:
    with open_file(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0

"""A text file, compressed or not, in blocks of whole lines that are known to be sound.

Sound means: UTF-8, no zero byte, and no line end but "\\n" and "\\r\\n". So everyone who reads
these blocks sees the same lines, and a line number in an error is the one an editor shows.
"""

import bz2
import gzip
import lzma
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

from ..support.errors import DataError

Opener = Callable[[Path, Literal["rb"]], BufferedIOBase]
DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)
OPENERS: dict[bytes, Opener] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
REFUSED: dict[bytes, str] = {
    b"PK": "is a zip archive: unpack it and name the ratings file in it",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd: unpack it with unzstd",
    b"7z\xbc\xaf": "is a 7z archive: unpack it and name the ratings file in it",
    b"[{": "is one JSON array: write one object a line, as jq -c '.[]' does",
    b"PAR1": "is a Parquet file: write it as csv",
    b"\xff\xfe": "is not text in UTF-8 but in UTF-16: save it as UTF-8",
    b"\xfe\xff": "is not text in UTF-8 but in UTF-16: save it as UTF-8",
}
BLOCK_BYTES = 1 << 20  # no line is longer
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SAMPLE_LINES = 1000


def blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, about a megabyte at a time.

    Yields
    ------
    number : int
        Of the block's first line, from 1.
    block : bytes
        Whole lines without a byte order mark; the last has a line end too.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged, or a line is not sound.
    """
    number = 1
    rest = b""  # of a line whose end is in the next piece

    with _opened(path) as file:
        while True:
            piece = file.read(BLOCK_BYTES)
            if number == 1 and not rest:
                piece = piece.removeprefix(BYTE_ORDER_MARK)
            if not piece:
                break

            whole, end, tail = (rest + piece).rpartition(b"\n")
            rest = tail
            if end:
                yield number, _sound(path, number, whole + end)
                number += whole.count(b"\n") + 1

            if len(rest) > BLOCK_BYTES:
                raise DataError(
                    f"{path}, line {number}: longer than a megabyte; each line must be one rating"
                )

    if rest:
        yield number, _sound(path, number, rest + b"\n")


def first_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of up to `SAMPLE_LINES` lines from the beginning, without blank ones.

    Raises
    ------
    DataError
        As `blocks`; also if there is none.
    """
    for first, block in blocks(path):
        lines = block[:-1].split(b"\n")[:SAMPLE_LINES]
        texts = [line.decode().rstrip("\r") for line in lines]
        filled = [(number, text) for number, text in enumerate(texts, first) if text.strip()]
        if filled:
            return filled

    raise DataError(f"{path} is empty: each line must hold a user, an item and a rating")


def line_number(path: Path, record: int) -> int:
    """The line, from 1, of a record, from 0; blank lines are no records."""
    for first, block in blocks(path):
        for number, line in enumerate(block[:-1].split(b"\n"), first):
            if not line.strip():
                continue
            if record == 0:
                return number
            record -= 1

    return number


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    """The bytes of a file, decompressed; what goes wrong in the block is one line."""
    try:
        if "\0" in str(path):
            raise DataError(f"{str(path)!r} is no file name")
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise DataError(
                f"{path} is no file but a pipe or a device, and a ratings file is read "
                "more than once: copy it to a file"
            )

        opener = _opener_of(path)
        with opener(path, "rb") as content:
            yield content
    except DAMAGED as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.strerror is None:  # bz2's way to say so
            raise _damaged(path, error) from error
        raise DataError(
            f"{path} cannot be read ({error.strerror}): check the name and the permissions"
        ) from error


def _opener_of(path: Path) -> Opener:
    """What opens the file, by its first bytes; DataError for a kind that is not read."""
    with open(path, "rb") as file:
        magic = file.read(max(map(len, (*OPENERS, *REFUSED))))

    for beginning, reason in REFUSED.items():
        if magic.startswith(beginning):
            raise DataError(f"{path} {reason}")

    for beginning, opener in OPENERS.items():
        if magic.startswith(beginning):
            return opener
    return open


def _damaged(path: Path, error: Exception) -> DataError:
    with open(path, "rb") as file:
        magic = file.read(2)

    kind = {b"\x1f\x8b": "gzip", b"BZ": "bzip2"}.get(magic, "xz")
    return DataError(f"{path} is a damaged {kind} file ({error}): make it anew")


def _sound(path: Path, first: int, block: bytes) -> bytes:
    """The block, if its text is sound."""

    def place(position: int) -> str:
        line_ends = block.count(b"\n", 0, position)
        return f"{path}, line {first + line_ends}"

    zero = block.find(b"\0")
    if zero >= 0:
        raise DataError(f"{place(zero)}: not text (a zero byte); save it as UTF-8 csv")

    if block.count(b"\r") != block.count(b"\r\n"):
        lone = block.replace(b"\r\n", b"\n\n").index(b"\r")
        raise DataError(
            f"{place(lone)}: a carriage return that ends no line; save the file with "
            "the line ends of Unix or Windows"
        )

    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{place(error.start)}: bytes that are not UTF-8 text; save the file as UTF-8"
            ) from error

    return block

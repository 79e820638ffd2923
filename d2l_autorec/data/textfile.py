"""Read a text file, compressed or not, in blocks of whole lines that are known to be sound.

Sound means: UTF-8, no zero byte, and no line end but "\\n" and "\\r\\n". So everyone who reads
these blocks sees the same lines, and a line number in an error is the one an editor shows.
"""

import bz2
import gzip
import lzma
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..support.errors import DataError


def _open_zstd(path: Path, mode: str) -> Any:
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd")


OPENERS: dict[bytes, tuple[str, Callable[..., Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.GzipFile),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", _open_zstd),
}
DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)
# How files begin that are something else, and what to do with them.
REFUSED = {
    rb"PK(?s:.)*?(xl/|\[Content_Types)": "is an Excel file: save it as csv",
    rb"\xd0\xcf\x11\xe0": "is an Excel file: save it as csv",
    rb"PK": "is a zip archive: unpack it and name the ratings file in it",
    rb"7z\xbc\xaf": "is a 7z archive: unpack it and name the ratings file in it",
    rb"\xff\xfe|\xfe\xff": "is not text in UTF-8 but in UTF-16: save it as UTF-8",
    rb"\s*\[\s*[{\]]": "is one JSON array: write one object a line, as jq -c '.[]' does",
    rb"(?i)\s*<(!doctype|html|\?xml)": "is a web page, perhaps the error of a download: get the "
    "file itself",
    rb"version https://git-lfs": "is a pointer of Git LFS, not the file: get it by git lfs pull",
    rb"(?i)sep=": "begins with Excel's line sep=: delete this line, and name the separator with "
    "`separator`",
    rb"%%MatrixMarket": "is in MatrixMarket format: delete the lines that begin with %, and the "
    "line of sizes below them",
    rb"%": "begins with '%', as KONECT's files do: delete the lines that begin with %",
    rb"\d+:\s*\n": "has Netflix's blocks, a line '1:' above the ratings of film 1: write the film "
    """in each line, as awk -F: '/:/{f=$1; next} {print f","$0}' does""",
}
BLOCK_BYTES = 8 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SAMPLE_LINES = 1000


def blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the file's lines, some megabytes at a time.

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
        while piece := file.read(BLOCK_BYTES):
            if number == 1 and not rest:
                piece = piece.removeprefix(BYTE_ORDER_MARK)
                _refuse_beginning(path, piece)

            piece = rest + piece
            end = piece.rfind(b"\n") + 1
            rest = piece[end:]
            if end:
                yield number, _sound(path, number, piece[:end])
                number += piece.count(b"\n")

            if len(rest) > BLOCK_BYTES:
                raise DataError(
                    f"{path}, line {number}: longer than 8 megabytes; each line must be one rating"
                )

    if rest:
        yield number, _sound(path, number, rest + b"\n")


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank."""
    for first, block in blocks(path):
        for number, line in enumerate(block[:-1].split(b"\n"), first):
            if line.strip():
                yield number, line.decode().rstrip("\r")


def first_lines(path: Path) -> list[tuple[int, str]]:
    """Return number and text of up to `SAMPLE_LINES` lines; DataError if there is none."""
    lines = [line for line, _ in zip(lines_of(path), range(SAMPLE_LINES))]
    if not lines:
        raise DataError(f"{path} is empty: each line must hold a user, an item and a rating")
    return lines


def line_number(path: Path, record: int) -> int:
    """Return the line, from 1, of a record, from 0; blank lines are no records."""
    return next(number for row, (number, _) in enumerate(lines_of(path)) if row == record)


def check_file(path: Path) -> bytes:
    """Return the first bytes of a regular file; raise DataError for anything else."""
    if re.match(r"\w\w+:/", str(path)):
        raise DataError(f"{path} is a URL: download the file, and give its path")
    if "\0" in str(path):
        raise DataError(f"{str(path)!r} is no file name")

    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise DataError(
                f"{path} is no file but a pipe or a device, and a ratings file is read "
                "more than once: copy it to a file"
            )
        with open(path, "rb") as file:
            return file.read(2000)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): check the name and the permissions"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file for its decompressed bytes; what goes wrong in the block is one line."""
    magic = check_file(path)
    kinds = [known for beginning, known in OPENERS.items() if magic.startswith(beginning)]
    kind, opener = kinds[0] if kinds else ("text", open)

    try:
        with opener(path, "rb") as content:
            yield content
    except (*DAMAGED, OSError) as error:
        raise DataError(f"{path} is a damaged {kind} file ({error}): get it anew") from error


def _refuse_beginning(path: Path, piece: bytes) -> None:
    for beginning, reason in REFUSED.items():
        if re.match(beginning, piece[:2000]):
            raise DataError(f"{path} {reason}")


def _sound(path: Path, first: int, block: bytes) -> bytes:
    """Return the block if its text is sound; raise DataError that names the line if not."""

    def refuse(position: int, what: str) -> DataError:
        return DataError(f"{path}, line {first + block.count(bytes([10]), 0, position)}: {what}")

    zero = block.find(b"\0")
    if zero >= 0:
        raise refuse(zero, "not text (a zero byte); save it as UTF-8 csv")

    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        lone = block.replace(b"\r\n", b"\n\n").index(b"\r")
        raise refuse(
            lone,
            "a carriage return that ends no line; save the file with the line ends of Unix or "
            "Windows",
        )

    comment = re.search(rb"^#", block, re.MULTILINE) if b"#" in block else None
    if comment:
        raise refuse(
            comment.start(),
            "begins with '#', and comments are not understood; delete the line, or quote the id",
        )

    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError as error:
            raise refuse(
                error.start, "bytes that are not UTF-8 text; save the file as UTF-8"
            ) from error

    return block

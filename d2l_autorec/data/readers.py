"""Ratings files of every kind as columns, and from them to checked `Ratings`."""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.errors import DataError
from .layout import Layout, Request, detect, fields_of
from .ratings import Ratings
from .rules import Scale, Table, ratings_of
from .splits import check_apart

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 8 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SAMPLE_ROWS = 1000  # that tell how a file is laid out


COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
# How files begin that are something else, and what to do with them.
REFUSED = {
    rb"PK(?s:.)*?(xl/|\[Content_Types)|\xd0\xcf\x11\xe0": "is an Excel file: save it as csv",
    rb"PK|7z\xbc\xaf|\xfd7zXZ": "is a zip archive: unpack it and name the ratings file in it",
    rb"\xff\xfe|\xfe\xff|[^\n]*\0": "is not text in UTF-8: save it as UTF-8 csv",
    rb"[^\n]*\r[^\n]": "has carriage returns for line ends: save it with those of Unix or Windows",
    rb"\s*\[\s*[{\]]": "is one JSON array: write one object a line, as jq -c '.[]' does",
    rb"(?i)\s*<(!doctype|html|\?xml)": "is a web page, perhaps the error of a download: get the "
    "file itself",
    rb"version https://git-lfs": "is a pointer of Git LFS, not the file: get it by git lfs pull",
    rb"(?i)sep=": "begins with Excel's line sep=: delete this line, and name the separator with "
    "`separator`",
    rb"[%#]": "begins with a comment, as files of MatrixMarket and KONECT: delete the lines that "
    "begin with % or #, and MatrixMarket's line of sizes",
    rb"\d+:\s*\n": "has Netflix's blocks, a line '1:' above the ratings of film 1: write the film "
    """in each line, as awk -F: '/:/{f=$1; next} {print f","$0}' does""",
}
EXAMPLE = '{"user": "A1", "item": "B1", "rating": 5.0, "timestamp": 1400000000}'


def read_ratings(
    path: str | Path,
    columns: str | None = None,
    separator: str | None = None,
    duplicates: str = "error",
    scale: Scale = None,
    implicit: bool = False,
    quotes: bool = True,
) -> Ratings:
    """Read a csv, tsv, dat, JSON lines or Parquet file of ratings.

    Text may be compressed by gzip, bzip2 or zstd. Each line is one rating: what cannot be
    understood so is an error, and `Ratings.origin` says how the file was understood.

    Parameters
    ----------
    path : path
    columns : str, optional
        'user=NAME,item=NAME,rating=NAME[,timestamp=NAME]', names of the
        header or field numbers from 0. By default usual names are
        recognised; a file without a header has user, item, rating and
        perhaps timestamp in its first fields. See `layout.detect` for what
        is taken for a header. Keys of JSON lines are names too.
    separator : str, optional
        By default the one of `SEPARATORS` that gives most fields, alike in all lines.
    duplicates : {'error', 'last', 'mean'}
        What becomes of several ratings of one item by one user.
    scale : (float, float), optional
        Lowest and highest possible rating; by default those that occur.
    implicit : bool
        The file may do without ratings: each row is then a 1.
    quotes : bool
        Whether a '"' may enclose a field; if not, it is a character like others.

    Returns
    -------
    Ratings
        Rows in file order. An id is its text in Unicode's NFC form, without the blanks around
        it; 12.0 is 12; an empty one, NULL, NA, nan and None are missing, and refused. Ids that
        are all whole numbers in their plain form become integers. See `ratings_of` for their
        order, and `check_ratings` for what can be a rating.

    Raises
    ------
    DataError
        One line with file, line or column, and the remedy.
    """
    request = Request(2 if implicit else 3, columns, separator, quotes=quotes)
    table = read_table(Path(path), request)
    return ratings_of(table, duplicates, scale, implicit)[0]


def read_train_and_test(
    train: Path,
    test: Path,
    columns: str | None = None,
    separator: str | None = None,
    duplicates: str = "error",
    scale: Scale = None,
    quotes: bool = True,
) -> tuple[Ratings, Ratings]:
    """Read a given split; both parts get the index maps of the two together.

    Raises
    ------
    DataError
        As `read_ratings`; also if a (user, item) pair is in both files.
    """
    import pyarrow as pa

    request = Request(3, columns, separator, quotes=quotes)
    first, second = (read_table(path, request) for path in (train, test))
    if set(first.columns) != set(second.columns):
        raise DataError(f"{train} and {test} differ: one has timestamps, and the other has none")

    cut = len(first)
    both = {}
    for role in first.columns:
        texts = [table.columns[role].cast(pa.string()) for table in (first, second)]
        both[role] = pa.chunked_array([*texts[0].chunks, *texts[1].chunks], pa.string())
    table = Table(
        f"{train.name}+{test.name}",
        both,
        lambda row: first.locate(row) if row < cut else second.locate(row - cut),
        f"{first.origin}; {second.origin}",
        first.way_out,
    )

    ratings, rows = ratings_of(table, duplicates, scale, train_rows=cut)
    is_test = rows >= cut
    told = f"{ratings.origin}; {int(is_test.sum()):,} of them in {test.name}"
    ratings = replace(ratings, origin=told)
    parts = ratings.part(~is_test), ratings.part(is_test)
    check_apart({"train": parts[0], "test": parts[1]})
    return parts


def read_table(path: Path, request: Request) -> Table:
    """Read the columns of a file: Parquet, JSON lines, or separated fields.

    Raises
    ------
    DataError
        If the file cannot be read, its columns are not recognised, or it has no row.
    """
    if _beginning(path).startswith(b"PAR1"):
        return _read_parquet(path, request)

    lines = [line for line, _ in zip(lines_of(path), range(SAMPLE_ROWS))]
    if not lines:
        raise DataError(f"{path} is empty: each line must hold a user, an item and a rating")
    if lines[0][1].lstrip().startswith("{"):
        return _read_json(path, request)
    if request.quotes:
        _check_quotes(path, lines)
    return _read_separated(path, detect(path, lines, request))


def _beginning(path: Path) -> bytes:
    """Return the first bytes of a regular file; raise DataError for anything else."""
    if re.match(r"\w\w+:/", str(path)):
        raise DataError(f"{path} is a URL: download the file, and give its path")

    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError(f"{path} is no file but a pipe or a device: copy it to a file")
        with path.open("rb") as file:
            return file.read(8)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read ({reason}): check its name and mode") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file for its decompressed bytes; what goes wrong in the block is one line."""
    import pyarrow as pa

    magic = _beginning(path)
    kinds = [kind for start, kind in COMPRESSED.items() if magic.startswith(start)]
    try:
        stream = pa.input_stream(str(path), compression=kinds[0] if kinds else None)
        with io.BufferedReader(stream) as content:
            yield content
    except OSError as error:
        raise DataError(f"{path} is damaged ({error}): get it anew") from error


def blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the file's lines, some megabytes at a time.

    Yields
    ------
    number : int
        Of the block's first line, from 1.
    block : bytes
        Whole lines of UTF-8, without a byte order mark.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged, or is no text.
    """
    number = 1
    with _opened(path) as file:
        while block := file.read(BLOCK_BYTES) + file.readline(BLOCK_BYTES):
            if number == 1:
                block = block.removeprefix(BYTE_ORDER_MARK)
                for beginning, reason in REFUSED.items():
                    if re.match(beginning, block[:2000]):
                        raise DataError(f"{path} {reason}")

            try:
                block.decode()
            except UnicodeDecodeError as error:
                wrong = number + block.count(b"\n", 0, error.start)
                raise DataError(
                    f"{path}, line {wrong}: bytes that are not UTF-8 text; save the file as UTF-8"
                ) from error
            yield number, block
            number += block.count(b"\n")


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank."""
    for first, block in blocks(path):
        for number, line in enumerate(block.split(b"\n"), first):
            if line.strip():
                yield number, line.decode().rstrip("\r")


def _by_line(path: Path, header: bool, row: int) -> str:
    """Return the line of a row, from 0; blank lines are no rows."""
    numbers = (number for number, _ in lines_of(path))
    number = next(number for at, number in enumerate(numbers) if at == row + header)
    return f"{path}, line {number}"


def _table_of(
    path: Path, content: "pa.Table", layout: Layout, locate: Callable[[int], str], kind: str = ""
) -> Table:
    columns = {role: content.column(at) for at, role in enumerate(layout.columns)}
    origin = f"{path.name}: {kind}{layout.describe()}"
    return Table(path.name, columns, locate, origin, layout.remedy)


def _sample(content: "pa.Table") -> list[list[str]]:
    rows = content.slice(0, SAMPLE_ROWS).to_pylist()
    return [[str(value) for value in row.values()] for row in rows]


def _read_parquet(path: Path, request: Request) -> Table:
    import pyarrow as pa
    from pyarrow import dataset

    try:
        data = dataset.dataset(path)
        layout = Layout(str(path), data.schema.names, _sample(data.head(SAMPLE_ROWS)), request)
        content = data.to_table([layout.names[at] for at in layout.columns.values()])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is a damaged Parquet file ({error}): get it anew") from error

    if not len(content):
        raise DataError(f"{path} has no ratings: each row must be one")
    return _table_of(path, content, layout, lambda row: f"{path}, row {row}", "Parquet; ")


def _read_json(path: Path, request: Request) -> Table:
    """Read JSON lines, a block at a time, of which only the columns in question are kept."""
    import pyarrow as pa
    from pyarrow import json

    locate = partial(_by_line, path, False)
    parts: list[pa.Table] = []
    try:
        for _, block in blocks(path):
            options = json.ReadOptions(block_size=len(block) + 1)
            part = json.read_json(pa.BufferReader(block), options)
            if not parts:
                layout = Layout(locate(0), part.column_names, _sample(part), request)
                names = [layout.names[at] for at in layout.columns.values()]
            parts.append(part.select([name for name in names if name in part.column_names]))
        content = pa.concat_tables(parts, promote_options="permissive").select(names)
    except pa.ArrowException as error:
        row = re.search(r" in row (\d+)", str(error))
        place = locate(int(row[1]) + sum(map(len, parts))) if row else path
        reason = str(error).split(" in row")[0]
        raise DataError(
            f"{place}: {reason}; fix or remove the line: each must be like {EXAMPLE}"
        ) from error

    return _table_of(path, content, layout, locate, "JSON lines; ")


class _Stream(io.RawIOBase):
    """Blocks as a file, for Arrow."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        super().__init__()
        self._parts = parts

    def readable(self) -> bool:
        """Whether it can be read, which is all that Arrow does."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next block, which is below the size that Arrow asks for; b"" at the end."""
        return next(self._parts, b"")


def _check_quotes(path: Path, lines: Iterable[tuple[int, str]]) -> None:
    for number, line in lines:
        if line.count('"') % 2:
            raise DataError(
                f"{path}, line {number}: a quote is not closed; each line must be one rating: "
                "correct the quotes, or say `quotes=False` if they are part of the text"
            )


def _plain_blocks(path: Path, layout: Layout) -> Iterator[bytes]:
    """Yield the rows of a file with one character between fields.

    Raises
    ------
    DataError
        If a quote is not closed in its line.
    """
    separator, character = layout.separator, layout.character.encode()

    for first, block in blocks(path):
        if first <= layout.header:
            block = block.split(b"\n", layout.header)[-1]
            first = layout.header + 1

        if layout.request.quotes and b'"' in block:
            _check_quotes(path, enumerate(block.decode().split("\n"), first))
        if separator == " ":
            block = re.sub(rb"[ \t]+", b" ", block)
            block = re.sub(rb"^ | (?=\r?$)", b"", block, flags=re.MULTILINE)
        else:
            block = block.replace(separator.encode(), character)
        if block:
            yield block


def _read_separated(path: Path, layout: Layout) -> Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    quotes, separator = layout.request.quotes, layout.separator
    names = list(map(str, range(len(layout.names))))
    encoded = pa.dictionary(pa.int32(), pa.string())
    kinds = {
        names[at]: encoded if role in ("user", "item") else pa.string()
        for role, at in layout.columns.items()
    }
    uneven = []

    def skip(row: Any) -> str:
        if row.text.strip():
            uneven.append(row.actual_columns)
        return "skip"

    parsing = arrow_csv.ParseOptions(
        delimiter=layout.character, quote_char='"' if quotes else False, invalid_row_handler=skip
    )
    blocks = _plain_blocks(path, layout)
    begin = [*islice(blocks, 2)]
    # Of a short file nothing of Python's is left to Arrow's threads, which may outlive it.
    is_short = len(begin) < 2
    source = pa.BufferReader(b"".join(begin)) if is_short else _Stream(chain(begin, blocks))
    try:
        content = arrow_csv.read_csv(
            source,
            arrow_csv.ReadOptions(column_names=names, block_size=3 * BLOCK_BYTES),
            parsing,
            arrow_csv.ConvertOptions(include_columns=list(kinds), column_types=kinds),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: {error}; each line must be one rating") from error

    if uneven:
        widths = ((n, len(fields_of(line, separator, quotes))) for n, line in lines_of(path))
        wrong = (pair for pair in widths if pair[1] != len(names))
        number, width = next(wrong, (1, uneven[0]))
        raise DataError(
            f"{path}, line {number}: {width} fields where the first line has {len(names)}; "
            f"{len(uneven):,} of {len(content) + len(uneven):,} rows are affected: quote fields "
            "that contain the separator, or fix the lines"
        )
    return _table_of(path, content, layout, partial(_by_line, path, layout.header > 0))

"""The reader of files of every kind: a file becomes columns, as a `Table`."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..support.errors import DataError, warn
from .layout import ESCAPED, Layout, Request, detect, fields_of, quoted_fields
from .rules import Table, ids_of

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 8 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SAMPLE_ROWS = 1000  # the first rows, by which the layout of a file is recognised


ARROW = {b"PAR1": "Parquet", b"ARROW1": "Feather"}  # Arrow has these names in small letters
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
# patterns of how other files begin, and what to say of such a file
REFUSED = {
    rb"PK\x03(?s:.)*?(xl/|\[Content_Types)|\xd0\xcf\x11\xe0": "is an Excel file: save it as csv",
    rb"PK\x03|7z\xbc\xaf|\xfd7zXZ|(?s:.{257})ustar": "is an archive: unpack it, name a file in it",
    rb"\xff\xfe|\xfe\xff|[^\n]*\0": "is not text in UTF-8: save it as UTF-8 csv",
    rb"[^\n]*\r[^\n]": "has carriage returns for line ends: save it with those of Unix or Windows",
    rb"\s*\[\s*[{\]]": "is one JSON array: write one object a line, as jq -c '.[]' does",
    rb"(?i)\s*<(!doctype|html|\?xml)": "is a web page, perhaps of a failed download: get it anew",
    rb"\s*[\[(][^\n]*[\])],?\r?\n": "has a list in each line: write its fields, without brackets",
    rb'([^\n"]*[,;])?"[^\n"]*"[,;] +"': "has blanks before quotes: remove them: sed 's/, \"/,\"/g'",
    rb"version https://git-lfs": "is a pointer of Git LFS, not the file: get it by git lfs pull",
    rb"(?i)sep=": "begins with Excel's line sep=: delete this line, and give the `separator`",
    rb'\s*\{\s*"[^"]*":\s*\{\s*"0":': "is one JSON object, not one a line: write "
    'df.to_json(orient="records", lines=True)',
    rb"\s*\{[^\n]*\},\s*\n": "has commas between JSON lines: delete them, as sed 's/,$//' does",
    rb"[%#](?![^\n]*(?i:user|item|rating))": "begins with a comment: delete the lines at its top "
    "that begin with % or #, and MatrixMarket's line of sizes",
    rb"\d+:\s*\n": "has Netflix's blocks, a line '1:' above the ratings of film 1: write the film "
    """in each line, as awk -F'[:,]' '/:/{f=$1; next} {print $1","f","$2","$3}' does""",
    rb"\s*\{\s*u?'": "has dicts of Python, not JSON: write json.dumps(ast.literal_eval(line))",
}
EXAMPLE = '{"user": "A1", "item": "B1", "rating": 5.0, "timestamp": 1400000000}'


def read_table(path: Path, request: Request) -> Table:
    """Read the columns of a file: Parquet, Feather, JSON lines, or separated fields.

    Raises
    ------
    DataError
        If the file cannot be read, its columns are not recognised, or it has no row.
    """
    beginning = _beginning(path)
    for magic, kind in ARROW.items():
        if beginning.startswith(magic):
            return _read_arrow(path, request, kind)

    lines = list(islice(lines_of(path), SAMPLE_ROWS))
    if not lines:
        wanted = request.exactly or "each line must hold a user, an item and a rating"
        raise DataError(f"{path} is empty; {wanted}")
    if lines[0][1].lstrip().startswith("{"):
        return _read_json(path, request)
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
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): check its name and mode"
        ) from error


def blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the file's lines, some megabytes at a time.

    Yields
    ------
    number : int
        The number of the block's first line, from 1.
    block : bytes
        Whole lines in UTF-8, without a byte order mark.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged, or is not text in UTF-8.
    """
    import pyarrow as pa

    magic = _beginning(path)
    compression = next(
        (kind for start, kind in COMPRESSED.items() if magic.startswith(start)), None
    )
    number = 1
    try:
        stream = pa.input_stream(str(path), compression=compression)
        with io.BufferedReader(stream) as file:
            while block := file.read(BLOCK_BYTES) + file.readline(BLOCK_BYTES):
                if number == 1:
                    block = block.removeprefix(BYTE_ORDER_MARK)
                    for pattern, reason in REFUSED.items():
                        if re.match(pattern, block[:2000]):
                            raise DataError(f"{path} {reason}")

                block.decode()
                yield number, block
                number += np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    except UnicodeDecodeError as error:
        wrong = number + error.object.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {wrong}: bytes that are not UTF-8 text; save the file as UTF-8, "
            "as iconv -f latin1 -t utf-8 does if its encoding is latin1"
        ) from error
    except OSError as error:
        raise DataError(f"{path} is damaged ({error}): get it anew") from error


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank."""
    for first, block in blocks(path):
        for number, line in enumerate(io.BytesIO(block), first):
            if line.strip():
                yield number, line.decode().rstrip("\r\n")


def _by_line(path: Path, header: bool, row: int) -> str:
    """Return the place of a row, counted from 0 without blank lines: the file and the line."""
    number, _ = next(islice(lines_of(path), row + header, None))
    return f"{path}, line {number}"


def _table_of(
    path: Path, content: "pa.Table", layout: Layout, locate: Callable[[int], str], kind: str = ""
) -> Table:
    columns = {role: content.column(at) for at, role in enumerate(layout.columns)}
    if unread := layout.unread():
        name, say = unread
        warn(f"{path}: each row is a click; if column {name} says which rows are, say {say}")
    origin = f"{path.name}: {kind}{layout.describe()}"
    return Table(path.name, columns, locate, origin, layout.remedy)


def _sample(content: "pa.Table") -> list[list[str]]:
    rows = content.slice(0, SAMPLE_ROWS).to_pylist()
    return [[str(value) for value in row.values()] for row in rows]


def _read_arrow(path: Path, request: Request, kind: str) -> Table:
    import pyarrow as pa
    from pyarrow import dataset

    try:
        data = dataset.dataset(path, format=kind.lower())
        layout = Layout(str(path), data.schema.names, _sample(data.head(SAMPLE_ROWS)), request)
        content = data.to_table([layout.names[at] for at in layout.columns.values()])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as {kind} ({error}): save it anew") from error

    if not len(content):
        raise DataError(f"{path} has no ratings: each row must be one")
    return _table_of(path, content, layout, lambda row: f"{path}, row {row}", f"{kind}; ")


def _read_json(path: Path, request: Request) -> Table:
    """Read JSON lines a block at a time; only the columns that have a role are kept."""
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


def read_ids(path: Path) -> list[str]:
    """Read a file with the column id, or a file of nothing but ids, one in each line.

    Raises
    ------
    DataError
        If the file cannot be read, or has other columns.
    """
    exactly = "it must have the column id, or one id a line"
    table = read_table(path, Request(("id",), separator=",", exactly=exactly))
    codes, ids, _ = ids_of(table, "id")
    return list(map(str, ids[codes]))


def read_titles(path: Path) -> dict[str, str]:
    """Read a file with the columns id and title; see `Ratings.with_titles` for errors."""
    exactly = "it must have the columns id and title"
    table = read_table(path, Request(("id", "title"), exactly=exactly))
    codes, ids, _ = ids_of(table, "id")

    titles: dict[str, str] = {}
    for row, item in enumerate(map(str, ids[codes])):
        title = str(table.columns["title"][row].as_py() or "")
        if titles.setdefault(item, title) != title:
            raise DataError(
                f"{table.locate(row)}: id {item!r} has the title {title!r} here, and "
                f"{titles[item]!r} above: keep one of them"
            )
    return titles


class _Stream(io.RawIOBase):
    """A file for Arrow to read, whose content is an iterator's blocks."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def readable(self) -> bool:
        """Return True: it can be read, which is all that Arrow does."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next block, which is smaller than Arrow asks for; b"" at the end."""
        return next(self._parts, b"")


def _standard_quotes(path: Path, first: int, block: bytes, layout: Layout) -> bytes:
    """Return the block with quotes as csv has them, where a backslash escapes some.

    Raises
    ------
    DataError
        If a field begins with a quote and does not end with one in its line.
    """
    character = layout.character
    lines = block.decode().split("\n")
    with suppress(csv.Error):  # of the whole block, which takes a tenth of the time
        if sum(1 for _ in csv.reader(lines, delimiter=character, strict=True)) == len(lines):
            return block

    for at, line in enumerate(lines):
        if '"' in line and not quoted_fields(line, character):
            lines[at] = line.replace(*ESCAPED)
        if '"' in line and not quoted_fields(lines[at], character):
            say = "say `quotes=False` if quotes are part of the text, else "
            raise DataError(
                f"{path}, line {first + at}: a quoted field does not end in its line: "
                f"{'' if layout.request.exactly else say}correct its quotes, or save the file "
                "without the column of long texts"
            )
    return "\n".join(lines).encode()


def _plain_blocks(path: Path, layout: Layout) -> Iterator[bytes]:
    """Yield the blocks of a file, with one character between fields.

    Raises
    ------
    DataError
        If a field's quotes are wrong: see `_standard_quotes`.
    """
    separator, character = layout.separator, layout.character.encode()

    for first, block in blocks(path):
        if separator == " ":
            block = re.sub(rb"[ \t]+", b" ", block)
            block = re.sub(rb"^ | (?=\r?$)", b"", block, flags=re.MULTILINE)
        elif separator != layout.character:
            block = block.replace(separator.encode(), character)
        if layout.request.quotes and b'"' in block:
            block = _standard_quotes(path, first, block, layout)
        yield block


def _read_separated(path: Path, layout: Layout) -> Table:
    import pyarrow as pa

    if layout.columns and layout.header and not layout.rows:
        raise DataError(f"{path}: no line follows the header; each line must be one rating")

    try:
        try:
            content, uneven = _parsed(path, layout, pa.float64())
        except pa.ArrowInvalid:  # these may be dates, or other texts that the rules decide on
            content, uneven = _parsed(path, layout, pa.string())
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: {error}; each line must be one rating") from error

    if uneven:
        quotes, separator = layout.request.quotes, layout.separator
        widths = ((n, len(fields_of(line, separator, quotes))) for n, line in lines_of(path))
        wrong = (pair for pair in widths if pair[1] != len(layout.names))
        number, width = next(wrong, (1, uneven[0]))
        way_out = "quote fields that contain the separator, or fix the lines"
        first = [row[0] for row in layout.rows]
        named = not len(content) and len({*first}) == len(first)
        if named and {*uneven} == {len(layout.names) + 1}:
            way_out = "the first has no name: leave it out, as write.csv(row.names=FALSE) of R does"
        raise DataError(
            f"{path}, line {number}: {width} fields where the first line has {len(layout.names)}; "
            f"{len(uneven):,} of {len(content) + len(uneven):,} rows are affected: {way_out}"
        )
    return _table_of(path, content, layout, partial(_by_line, path, layout.header > 0))


def _parsed(path: Path, layout: Layout, numbers: Any) -> tuple["pa.Table", list[int]]:
    """Return the columns, and the field counts of rows that differ from the first row.

    Raises
    ------
    ArrowInvalid
        If a rating or a time is not of the type `numbers`.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = list(map(str, range(len(layout.names))))
    encoded = pa.dictionary(pa.int32(), pa.string())
    kinds = {
        names[at]: numbers if role in ("rating", "timestamp") else encoded
        for role, at in layout.columns.items()
    }
    uneven: list[int] = []

    def skip(row: Any) -> str:
        if row.text.strip():
            uneven.append(row.actual_columns)
        return "skip"

    quote = '"' if layout.request.quotes else False
    parsing = arrow_csv.ParseOptions(
        delimiter=layout.character, quote_char=quote, invalid_row_handler=skip
    )
    blocks = _plain_blocks(path, layout)
    begin = [*islice(blocks, 2)]
    # A short file is read at once: Arrow's threads, which may outlive Python, hold no object of it.
    is_short = len(begin) < 2
    source = pa.BufferReader(b"".join(begin)) if is_short else _Stream(chain(begin, blocks))
    reading = arrow_csv.ReadOptions(
        column_names=names, skip_rows=layout.header, block_size=3 * BLOCK_BYTES
    )
    typed = arrow_csv.ConvertOptions(include_columns=[*kinds], column_types=kinds, null_values=[])
    return arrow_csv.read_csv(source, reading, parsing, typed), uneven

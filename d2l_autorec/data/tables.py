"""Files and frames as columns: whatever the source, one Arrow array for each role."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..support.errors import ConfigError, DataError, did_you_mean
from .layout import (
    Fields,
    Request,
    TableFormat,
    describe_columns,
    detect_format,
    fields_of,
)
from .textfile import BLOCK_BYTES, blocks, check_file, first_lines, line_number

if TYPE_CHECKING:
    import pyarrow as pa

NO_TEXT = "\0"  # before what stands for a value of a kind that can be neither id nor number


@dataclass(frozen=True)
class Table:
    """Columns of ids, ratings and times, as they were found.

    Parameters
    ----------
    name : str
        For messages and the result file.
    columns : dict
        Role to a ChunkedArray of any type.
    locate : callable
        Row number to a place.
    origin : str
        What was recognised.
    way_out : callable
        A role whose column is the wrong one, or 'times' for ratings that are times, to what to
        do about it.
    """

    name: str
    columns: dict[str, "pa.ChunkedArray"]
    locate: Callable[[int], str]
    origin: str
    way_out: Callable[[str], str]

    def __len__(self) -> int:
        return len(self.columns["item"])


def read_table(path: Path, request: Request) -> Table:
    """Read the columns of a file: Parquet, JSON lines, or separated fields.

    Raises
    ------
    DataError
        If the file cannot be read, its columns are not recognised, or it has no row.
    """
    limit = csv.field_size_limit(2 * BLOCK_BYTES)  # usually 128 KiB, and a review may be longer
    try:
        if check_file(path).startswith(b"PAR1"):
            table = _read_parquet(path, request)
        elif first_lines(path)[0][1].lstrip().startswith("{"):
            table = _read_json(path, request)
        else:
            table = _read_separated(path, request)
    finally:
        csv.field_size_limit(limit)

    if not len(table):
        needed = ", ".join(request.needed)
        raise DataError(f"{path} has no ratings: each line must hold {needed}")
    return table


def _table_of(
    path: Path,
    columns: Mapping[str, int],
    arrays: Sequence["pa.ChunkedArray"],
    locate: Callable[[int], str],
    origin: str,
    fields: Fields,
) -> Table:
    def way_out(role: str) -> str:
        if fields.request.exactly:
            return fields.request.exactly
        if role == "timestamp":
            given = {other: at for other, at in columns.items() if other != role}
            return f"leave it out: say {fields.suggestion(given)}"

        given = {other: columns[other] for other in ("user", "item") if other != role}
        if role == "times":
            given["timestamp"] = columns["rating"]
            return f"if they are times, say {fields.suggestion(given, columns['rating'])}"
        return f"name another column, as with {fields.suggestion(given, columns[role])}"

    return Table(path.name, dict(zip(columns, arrays)), locate, f"{path.name}: {origin}", way_out)


def _read_parquet(path: Path, request: Request) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            head = next(file.iter_batches(1000), None)
            texts = (
                []
                if head is None
                else [[str(value) for value in row.values()] for row in head.to_pylist()]
            )
            fields = Fields(str(path), names, texts, request)
            columns = fields.columns()
            content = file.read([names[position] for position in columns.values()])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is a damaged Parquet file ({error}): get it anew") from error

    arrays = [content[names[position]] for position in columns.values()]
    told = describe_columns({role: names[position] for role, position in columns.items()})
    return _table_of(
        path, columns, arrays, lambda row: f"{path}, row {row}", f"Parquet; {told}", fields
    )


def _read_json(path: Path, request: Request) -> Table:
    import pyarrow as pa

    if request.separator is not None:
        remedy = request.exactly or "leave `separator` out"
        raise DataError(f"{path} is JSON lines, which have no separator: {remedy}")

    number, line = first_lines(path)[0]
    first = _record(path, number, line.encode())
    fields = Fields(
        f"{path}, line {number}", list(first), [list(map(str, first.values()))], request, "key"
    )
    columns = fields.columns()
    keys = [fields.names[position] for position in columns.values()]

    chunks: list[list[pa.Array]] = [[] for _ in keys]
    for begin, block in blocks(path):
        lines = enumerate(block[:-1].split(b"\n"), begin)
        records = [_record(path, number, line) for number, line in lines if line.strip()]
        for chunk, key in zip(chunks, keys):
            chunk.append(array_of([record.get(key) for record in records]))

    arrays = [pa.chunked_array(chunk, pa.string()) for chunk in chunks]
    told = describe_columns(dict(zip(columns, keys)))
    return _table_of(path, columns, arrays, _by_line(path, False), f"JSON lines; {told}", fields)


def _by_line(path: Path, header: bool) -> Callable[[int], str]:
    return lambda row: f"{path}, line {line_number(path, row + header)}"


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}, line {number}: not a JSON object ({error}); fix or remove the line: each "
            'must be like {"user": "A1", "item": "B1", "rating": 5.0, "timestamp": 1400000000}'
        ) from error
    return record


def array_of(values: Sequence[Any]) -> "pa.Array":
    """Return Python objects as text; what is neither text nor number is marked by `NO_TEXT`."""
    import pyarrow as pa

    def text(value: Any) -> str | None:
        if isinstance(value, str):
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
        if value is None or value != value:
            return None
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            return str(value)
        return NO_TEXT + json.dumps(value, default=str)

    return pa.array(map(text, values), pa.string())


def _read_separated(path: Path, request: Request) -> Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    layout = detect_format(path, request)
    encoded = pa.dictionary(pa.int32(), pa.string())
    names = [str(position) for position in range(len(layout.fields.names))]
    kinds = {str(position): encoded for position in layout.columns.values()}
    if "timestamp" in layout.columns:
        kinds[str(layout.columns["timestamp"])] = pa.string()

    uneven = []

    def skip(row: Any) -> str:
        uneven.append(row.text.strip() != "")
        return "skip"

    try:
        content = arrow_csv.read_csv(
            _Lines(path, layout, request.quotes),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=3 * BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(
                delimiter=layout.character,
                quote_char='"' if request.quotes else False,
                invalid_row_handler=skip,
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(kinds), column_types=kinds
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):
            raise DataError(f"{path}: {error}; fix or remove the line") from error
        content = pa.table({name: pa.array([], kind) for name, kind in kinds.items()})

    if any(uneven):
        raise _uneven(path, layout, request.quotes, sum(uneven), len(content) + sum(uneven))

    arrays = [content[str(position)] for position in layout.columns.values()]
    place = _by_line(path, bool(layout.header))
    return _table_of(path, layout.columns, arrays, place, layout.describe(), layout.fields)


def _uneven(path: Path, layout: TableFormat, quotes: bool, count: int, total: int) -> DataError:
    """Name the first line of a width of its own."""
    width = len(layout.fields.names)
    for first, block in blocks(path):
        for number, line in enumerate(block[:-1].decode().split("\n"), first):
            found = (
                len(fields_of(line.rstrip("\r"), layout.separator, quotes))
                if line.strip()
                else width
            )
            if found != width:
                return DataError(
                    f"{path}, line {number}: {found} fields where the first line has {width}; "
                    f"{count:,} of {total:,} rows are affected: quote fields that contain the "
                    "separator, or fix the lines"
                )
    return DataError(f"{path}: {count:,} of {total:,} rows have other fields than the first line")


class _Lines(io.RawIOBase):
    """The lines below the header, for Arrow: one character separates fields, quotes are strict."""

    def __init__(self, path: Path, layout: TableFormat, quotes: bool) -> None:
        super().__init__()
        self._path = path
        self._layout = layout
        self._quotes = quotes
        self._blocks = self._prepared()

    def readable(self) -> bool:
        """Whether it can be read, which is all that Arrow does."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next block, which is below the size that Arrow asks for; b"" at the end."""
        return next(self._blocks, b"")

    def _prepared(self) -> Iterator[bytes]:
        separator = self._layout.separator.encode()
        character = self._layout.character.encode()
        header = self._layout.header

        for first, block in blocks(self._path):
            if header >= first:
                below = block.split(b"\n", header - first + 1)
                header, first, block = 0, header + 1, below[-1]

            if separator != character and character in block:
                raise DataError(f"{self._path}: has the control character {character!r}: delete it")
            if separator == b" ":
                block = re.sub(rb"[ \t]+", b" ", block)
                block = re.sub(rb"^ | (?=\r?$)", b"", block, flags=re.MULTILINE)
            if separator != character:
                block = block.replace(separator, character)

            if self._quotes and b'"' in block:
                block = self._requoted(first, block)
            if block:
                yield block

    def _requoted(self, first: int, block: bytes) -> bytes:
        """Return the block as Python's csv module reads it, which is strict; a line is a row."""
        lines = block[:-1].decode().replace("\r\n", "\n").split("\n")
        character = self._layout.character
        reader = csv.reader(lines, delimiter=character, skipinitialspace=True, strict=True)
        text = io.StringIO()
        writer = csv.writer(text, delimiter=character, lineterminator="\n")

        done = 0
        try:
            for row in reader:
                if reader.line_num != done + 1:
                    raise csv.Error("a quoted field goes on in the next line")
                writer.writerow(row)
                done += 1
        except csv.Error as error:
            raise DataError(
                f"{self._path}, line {first + done}: {error}; each line must be one rating: "
                "correct the quotes, or say `quotes=False` if they are part of the text"
            ) from error
        return text.getvalue().encode()


def table_of_frame(df: Any, columns: Mapping[str, str]) -> Table:
    """Return the columns of a frame, of pandas or of what gives its columns to Arrow, as polars'.

    Raises
    ------
    DataError
        If a role has no column, or there is no row.
    """
    import pyarrow as pa

    if hasattr(df, "iloc"):
        names = list(df.columns)
        index = list(df.index.names)
    elif hasattr(df, "__arrow_c_stream__"):
        df = pa.table(df)
        names, index = df.column_names, []
    else:
        raise ConfigError(f"df is a {type(df).__name__}: it must be a DataFrame")

    arrays = {}
    for role, name in columns.items():
        if names.count(name) != 1:
            raise _no_such_column(role, name, names, index)
        arrays[role] = _column_of(df[name])

    def way_out(role: str) -> str:
        return "name the column that holds the " + role.replace("times", "rating") + "s"

    table = Table("frame", arrays, lambda row: f"frame, row {row}", "frame", way_out)
    if not len(table):
        raise DataError("the frame has no rows: each must be one rating")
    return table


def _no_such_column(role: str, name: str, names: list[Any], index: list[Any]) -> DataError:
    found = f"{role}={name!r}: the frame has"
    if names.count(name):
        return DataError(f"{found} {names.count(name)} columns of this name")
    if name in index:
        return DataError(f"{found} it in its index: give df.reset_index()")
    if any(isinstance(other, tuple) for other in names):
        return DataError(f"{found} columns of several levels: give them one name each")

    clicks = "; rating=None if each row is a click" * (role == "rating")
    shown = list(map(str, names))
    return DataError(
        f"{found} no such column, but {', '.join(shown)}{did_you_mean(str(name), shown)}{clicks}"
    )


def _column_of(column: Any) -> "pa.ChunkedArray":
    """Return a frame's column; of objects of several types, or that Arrow has not, as text."""
    import pyarrow as pa

    if not isinstance(column, pa.ChunkedArray):
        try:
            column = pa.array(column, from_pandas=True)
        except (ValueError, TypeError, OverflowError):
            column = array_of(column.astype(object).where(column.notna(), None).tolist())
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column

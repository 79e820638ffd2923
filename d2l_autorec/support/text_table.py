"""Tables of text: aligned for a terminal, in Markdown, as csv."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Lines = Sequence[Sequence[str]]  # a head and its rows, all of equal length


def aligned(lines: Lines, left: int) -> str:
    """Columns two blanks apart, each as wide as its longest text.

    Parameters
    ----------
    lines : sequence of sequence of str
        The head, then the rows.
    left : int
        How many columns stand to the left; the others, which are numbers, to the right.
    """
    widths = [max(map(len, column)) for column in zip(*lines)]

    rows = []
    for line in lines:
        cells = [text.ljust(width) for text, width in zip(line[:left], widths[:left])]
        cells += [text.rjust(width) for text, width in zip(line[left:], widths[left:])]
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


def markdown(lines: Lines) -> str:
    """A table in Markdown; its first line is the head."""
    head, *rows = lines
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as the content of a csv file: each name that a row has is a column, None is empty."""
    rows = list(rows)
    names = {name: None for row in rows for name in row}  # in order; rows may lack some

    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

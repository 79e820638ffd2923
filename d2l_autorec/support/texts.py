"""How numbers, tables and options are written for people."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote, split
from typing import Any

# Errors and warnings of the library put parameters in backticks, and nothing else:
# `batch_size`, `kernel=dense`, and `train_model(resume=FOLDER)` for a training to go on with. A
# command prints --batch-size and --kernel dense for them. Only backticks beside blanks or
# punctuation count: a name or a path of the user's may have some, too.
QUOTED = re.compile(
    r"""(?<![^\s(])`
    (?: train_model\(resume=(?P<resumed>.*?)\)
      | (?P<name>[A-Za-z][\w-]*) (?: =(?P<value>.*?) )?
    )`(?![^\s:;,)])""",
    re.VERBOSE | re.DOTALL,
)
Lines = Sequence[Sequence[str]]  # a head and its rows, all of equal length


def significant(value: float, digits: int = 3) -> str:
    """Return a number rounded to `digits` significant digits: '0.00312', '61.4', '337,000'."""
    if not math.isfinite(value):
        return str(value)

    rounded = f"{value:.{digits - 1}e}"
    exponent = int(rounded.partition("e")[2])
    if value and exponent < -4:
        return rounded

    decimals = max(0, digits - 1 - exponent)
    return f"{float(rounded):,.{decimals}f}"


def seconds_shown(seconds: float) -> str:
    """Return a measured time as text: '61.4', and '<0.1' where it is negligible."""
    return "<0.1" if seconds < 0.1 else significant(seconds)


def aligned(lines: Lines, left: int) -> str:
    """Return lines with aligned columns for a terminal, two blanks apart.

    Parameters
    ----------
    lines : sequence of sequence of str
        The head, then the rows.
    left : int
        How many columns, from the first, are aligned to the left; the others to the right.
    """
    widths = [max(map(len, column)) for column in zip(*lines)]
    sides = [str.ljust if place < left else str.rjust for place in range(len(widths))]
    rows = [[side(text, width) for side, text, width in zip(sides, line, widths)] for line in lines]
    return "\n".join("  ".join(row).rstrip() for row in rows)


def markdown(lines: Lines) -> str:
    """Return a table in Markdown; the first of `lines` is the head."""
    head, *rows = lines
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as csv: each name that a row has becomes a column, and None an empty field."""
    rows = list(rows)
    names = {name: None for row in rows for name in row}  # in order; a row may lack some

    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flag(name: str) -> str:
    """Return a parameter's option on the command line: num_hidden has --num-hidden, n has -n.

    The underscore at the end of from_ is left out: --from.
    """
    return f"-{name}" if len(name) == 1 else "--" + name.rstrip("_").replace("_", "-")


def as_command(name: str, *arguments: str, **options: str | bool) -> str:
    """Return a command of this package as text that can be pasted into a shell.

    Examples
    --------
    >>> as_command("recommend", "runs/mine", user="196")
    'python -m d2l_autorec.recommend runs/mine --user 196'
    """
    words = ["python", "-m", f"d2l_autorec.{name}", *map(quote, arguments)]
    return " ".join([*words, *as_words(options)])


def as_words(options: Mapping[str, str | bool]) -> list[str]:
    """Return options as they are written in a shell."""
    words = []
    for option, value in options.items():
        if isinstance(value, bool):
            words.append(flag(option if value else f"no_{option}"))
        elif value.startswith("-"):  # after a blank it would be taken for an option
            words.append(f"{flag(option)}={quote(value)}")
        else:
            words += [flag(option), quote(value)]
    return words


def with_flags(text: str) -> str:
    """Replace the parameters in a text of the library by options of the command line."""
    return QUOTED.sub(_as_option, text)


def _as_option(quoted: re.Match[str]) -> str:
    if quoted["resumed"] is not None:
        return as_command("run", resume=quoted["resumed"])
    if quoted["value"] is None:
        return flag(quoted["name"])
    value = quoted["value"]
    if value.startswith("'"):
        value = "".join(split(value))
    return " ".join(as_words({quoted["name"]: value != "False" and value}))

"""What a command says on stderr: what it is about to do, and what else a person should know."""

import shutil
import sys
import textwrap

CLEAR_LINE = "\r\x1b[K"  # of a terminal

_shown = False


def show_steps(wanted: bool) -> None:
    """From now on tell each step, if `wanted` and where a person reads stderr."""
    global _shown
    _shown = wanted and sys.stderr.isatty()


def step(what: str) -> None:
    """Say what begins now, in a line; in the place of a bar that has not moved yet."""
    if _shown:
        print(f"{CLEAR_LINE}{what} ...", file=sys.stderr, flush=True)


def remark(text: str) -> None:
    """Say a sentence on stderr, broken between words where it is wider than a terminal."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(text, file=sys.stderr)

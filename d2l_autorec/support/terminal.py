"""What a command writes to the terminal, which may be closed, full or without a reader."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CLEAR_LINE = "\r\x1b[K"  # of a terminal

_shown = False


class Output:
    """A standard stream that never raises: what it cannot write is dropped.

    Parameters
    ----------
    stream : file object, or None
        sys.stdout or sys.stderr; None where the process began without one.

    Attributes
    ----------
    failure : OSError or None
        Why something was dropped; BrokenPipeError where the reader went away.
    """

    def __init__(self, stream: Any | None) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, if that can be done."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that can be done."""
        self._try("flush")

    def _try(self, method: str, *arguments: str) -> None:
        if self._stream is None or self.failure is not None:
            return

        try:
            getattr(self._stream, method)(*arguments)
        except UnicodeEncodeError:
            self._stream.reconfigure(errors="backslashreplace")
            self._try(method, *arguments)
        except OSError as error:
            self.failure = error
            discard(self._stream.fileno())

    def isatty(self) -> bool:
        """Return whether a person reads it."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def discard(descriptor: int) -> None:
    """Let what is written to `descriptor` vanish: Python writes what it has left at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


@contextmanager
def standard_streams() -> Iterator[Output]:
    """Make sys.stdout, which is returned, and sys.stderr an `Output` each.

    A closed descriptor 0, 1 or 2 is opened to nowhere: the next file that is opened would get its
    number, and what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest free number
        pass
    os.close(descriptor)

    usual = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = output, errors = Output(sys.stdout), Output(sys.stderr)
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = usual


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

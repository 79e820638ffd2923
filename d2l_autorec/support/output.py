"""Standard streams that may be closed, full, or without a reader, at any moment."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
            text = arguments[0].encode(self._stream.encoding, "backslashreplace")
            self._try("write", text.decode(self._stream.encoding))
        except OSError as error:
            self.failure = error
            discard(self._stream.fileno())

    def isatty(self) -> bool:
        """Whether a person reads it."""
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
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one

    usual = sys.stdout, sys.stderr
    sys.stdout = Output(sys.stdout)
    sys.stderr = Output(sys.stderr)

    try:
        yield sys.stdout
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = usual

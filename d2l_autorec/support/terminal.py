"""The terminal of a command: its streams, messages on progress, and the signals from it."""

import os
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from .errors import Interrupted

CLEAR_LINE = "\r\x1b[K"  # a terminal's code
WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}  # for textwrap
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_shown = False
_said: set[str] = set()  # steps and remarks that this command has printed


def prepare_streams() -> None:
    """Let the standard streams take any character, and open /dev/null for those that are closed."""
    for name in ("stdin", "stdout", "stderr"):  # in the order of their descriptors
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("r+"))
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard(descriptor: int) -> None:
    """Redirect `descriptor` to /dev/null, for what Python flushes at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def show_steps(wanted: bool) -> None:
    """Let `step` print from now on, if `wanted` and if stderr is a terminal."""
    global _shown
    _shown = wanted and sys.stderr.isatty()
    _said.clear()


def step(what: str) -> None:
    """Print what begins now, once for each text, over a progress bar that has not moved yet."""
    if _shown and what not in _said:
        _said.add(what)
        print(CLEAR_LINE + wrapped(f"{what} ...", sys.stderr), file=sys.stderr, flush=True)


def remark(text: str) -> None:
    """Print a sentence to stderr."""
    print(wrapped(text, sys.stderr), file=sys.stderr, flush=True)


def remark_once(text: str) -> None:
    """Print a sentence to stderr, if this command has not printed it yet."""
    if text not in _said:
        _said.add(text)
        remark(text)


def wrapped(text: str, stream: TextIO, indent: int = 0, end: str = "") -> str:
    """Break a text between words for a terminal, which would break it within them.

    Parameters
    ----------
    text : str
    stream : text file
        Where the text goes; it is broken only for a terminal.
    indent : int
        Blanks before the second line and those that follow it.
    end : str
        What each line but the last ends with: a backslash in a command for a shell.
    """
    if not stream.isatty():
        return text

    columns = shutil.get_terminal_size().columns - len(end)
    lines = textwrap.wrap(text, columns, subsequent_indent=" " * indent, **WHOLE_WORDS)
    return f"{end}\n".join(lines)


class SignalWatch:
    """A block in which a signal raises `Interrupted`: at once, or while `deferring` at `check`.

    A second signal is raised at once in any case. An exception that a library has
    swallowed is raised again at the next `check`, at the end of the block at the latest.
    A signal that is ignored, as under nohup, stays ignored.

    Parameters
    ----------
    advice : str
        How to go on, for the message.
    """

    def __init__(self, advice: str = "") -> None:
        self.received: int | None = None  # the signal that has come
        self._advice = advice
        self._defers = False
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
            self._usual = {number: signal.signal(number, self._note) for number in heard}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        waits = self._defers and self.received is None
        self.received = number
        if not waits:
            self.check()

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Let a signal in this block wait for `check`, or for the end of the block."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False
        self.check()

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received, self._advice)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        for number, former in self._usual.items():
            signal.signal(number, former)
        if kind is None or not issubclass(kind, Interrupted):
            self.check()

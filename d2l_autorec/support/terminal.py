"""The terminal of a command: its streams, what is said on the way, and the signals from it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from .errors import Interrupted

CLEAR_LINE = "\r\x1b[K"  # of a terminal
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_shown = False


def prepare_streams() -> None:
    """Let the standard streams take any character, and open to nowhere those that are closed."""
    for name in ("stdin", "stdout", "stderr"):  # in the order of their descriptors
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("r+"))
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard(descriptor: int) -> None:
    """Let what is written to `descriptor` vanish: Python writes what it has left at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def show_steps(wanted: bool) -> None:
    """From now on tell each step, if `wanted` and where a person reads stderr."""
    global _shown
    _shown = wanted and sys.stderr.isatty()


def step(what: str) -> None:
    """Say what begins now, in a line; in the place of a bar that has not moved yet."""
    if _shown:
        print(f"{CLEAR_LINE}{what} ...", file=sys.stderr, flush=True)


def remark(text: str) -> None:
    """Say a sentence on stderr."""
    print(text, file=sys.stderr)


class SignalWatch:
    """Make an `Interrupted` of a signal: at once, or where `deferring` between two steps.

    Of several at once the second is raised at once. One that a library has
    swallowed is raised at the next `check`, at the end of the block at the latest.
    A signal that is ignored, as by nohup, stays so.

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
        """In this block let a signal wait for `check`, or for the end of the block."""
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

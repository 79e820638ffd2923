"""Signals end a command in one line, and a training between two steps."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from .errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
Handler = Callable[[int, FrameType | None], Any]


def quit_on_signals(name: str) -> None:
    """Until the command begins: end this process, which has nothing to undo, in one line."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        text = f"{name}: stopped: {signal.Signals(number).name}\n"
        try:
            os.write(2, text.encode())
        finally:
            os._exit(128 + number)

    _install(leave)


def _install(handler: Handler) -> dict[int, Any]:
    """Set the handler of each signal that is not ignored, as by nohup; return the former ones."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


class SignalWatch:
    """Make an `Interrupted` of a signal: at once, or where `deferring` between two steps.

    Of several at once the second is raised at once. One that a library has
    swallowed is raised at the next `check`, at the end of the block at the latest.

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
            self._usual = _install(self._note)
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

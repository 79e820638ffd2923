"""Signals end a command in one line, and a training between two steps."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, NoReturn

from .errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


def quit_on_signals(name: str) -> None:
    """Until the command begins: end this process, which has nothing to undo, in one line."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        text = f"{name}: stopped: {signal.Signals(number).name}\n"
        try:
            os.write(2, text.encode())
        finally:
            os._exit(128 + number)

    _install(leave)


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Let `handler` have the signals in this block; one that is ignored stays so, as by nohup."""
    usual = {}
    if threading.current_thread() is threading.main_thread():
        usual = _install(handler)

    try:
        yield
    finally:
        for number, former in usual.items():
            signal.signal(number, former)


def _install(handler: Handler) -> dict[int, Any]:
    """Set the handler of each signal that is not ignored, and return the former ones."""
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
        self._advice = advice
        self._received: int | None = None
        self._defers = False
        self._block = ExitStack()

    def __enter__(self) -> "SignalWatch":
        self._block.enter_context(handling(self._note))
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        waits = self._defers and self._received is None
        self._received = number
        if not waits:
            raise Interrupted(number, self._advice)

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """In this block let a signal wait for `check`, or for the end of the block."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False
        self.check()

    @property
    def received(self) -> int | None:
        """The signal that has come."""
        return self._received

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        received = self.received
        if received is not None:
            raise Interrupted(received, self._advice)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._block.close()
        if self._received is not None and not (kind and issubclass(kind, Interrupted)):
            raise Interrupted(self._received, self._advice)

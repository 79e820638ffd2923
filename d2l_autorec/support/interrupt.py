"""Signals end a command in one line, and a training between two steps."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from .errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_raised: int | None = None  # the signal that became an Interrupted, which a library may swallow


def quit_on_signals(name: str) -> None:
    """Until the command begins: end this process, which has nothing to undo, in one line."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        text = f"{name}: stopped: {signal.Signals(number).name}\n"
        try:
            os.write(2, text.encode())
        finally:
            os._exit(128 + number)

    _handle(leave)


@contextmanager
def interrupting_signals() -> Iterator[None]:
    """In this block they raise Interrupted in the main thread, wherever it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    usual = {number: signal.getsignal(number) for number in SIGNALS}
    usual_hook = sys.unraisablehook
    sys.unraisablehook = _raise_later
    _handle(_interrupt)

    try:
        yield
    finally:
        _forget()
        sys.unraisablehook = usual_hook
        for number, handler in usual.items():
            signal.signal(number, handler)


def _forget() -> None:
    global _raised
    _raised = None


def _handle(handler: Any) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # not ignored, as by `&` and nohup
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise Interrupted; not inside an import, which might swallow it and stay half done."""
    if _is_importing(frame):
        _send_again(number)
        return

    global _raised
    _raised = number
    raise Interrupted(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _raise_later(unraisable: Any) -> None:
    """Where nothing can be raised, as in what C calls, ask for it again a moment later."""
    error = unraisable.exc_value
    if not isinstance(error, Interrupted):
        sys.__unraisablehook__(unraisable)
        return

    _send_again(error.exit_code - 128)


def _send_again(number: int) -> None:
    again = threading.Timer(0.01, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


class SignalWatch:
    """Remembers the first SIGINT, SIGTERM or SIGHUP, so that the step under way is finished.

    The second one has its usual effect at once.

    Parameters
    ----------
    advice : str
        How to go on, for the message.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._received: int | None = None
        self._usual: dict = {}

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._usual[number] = signal.signal(number, self._note)

        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)
        self._usual = {}

    @property
    def received(self) -> int | None:
        """The signal that has come, here or before, where it was swallowed."""
        if self._received is None:
            return _raised
        return self._received

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        received = self.received
        if received is not None:
            raise Interrupted(received, self._advice)

    def __exit__(self, *_: Any) -> None:
        self._put_back()

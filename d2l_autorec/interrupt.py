"""Signals end a run between two steps, and a command so that it tidies up."""

import signal
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Any, Iterator, Optional

from .errors import Interrupted


ENDING = (signal.SIGTERM, signal.SIGHUP)  # SIGINT raises KeyboardInterrupt anyway


@contextmanager
def signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Interrupted in the block, so that no temporary file stays.

    A signal that is ignored, as under nohup, or handled already is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: Optional[FrameType]) -> None:
    raise Interrupted(number)


class SignalWatch:
    """Remembers the first SIGINT, SIGTERM or SIGHUP, so that the step under way is finished.

    The second one has its usual effect at once. A checkpoint holds the state
    after an epoch: MXNet's random state cannot be read back, so one in
    mid-epoch could not be resumed exactly.

    Parameters
    ----------
    advice : str
        How to go on, for the message.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._received: Optional[int] = None
        self._usual: dict = {}

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *ENDING):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._usual[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self._received = number
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)
        self._usual = {}

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self._received is not None:
            raise Interrupted(self._received, self._advice)

    def __exit__(self, *_: Any) -> None:
        self._put_back()

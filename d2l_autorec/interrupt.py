"""SIGINT and SIGTERM end a run between two steps."""

import signal
import threading
from types import FrameType
from typing import Any, Optional

from .errors import Interrupted


class SignalWatch:
    """Remembers the first SIGINT or SIGTERM, so that the step under way is finished.

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
            for number in (signal.SIGINT, signal.SIGTERM):
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

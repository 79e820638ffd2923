"""What a user did wrong, in one line: the value, what is allowed, the way out."""

import difflib
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

LONGEST = 60  # of a value that is quoted
MXNET_IS_MISSING = (
    "d2l_autorec needs MXNet, which is a different distribution for each CUDA version: "
    "pip install 'd2l_autorec[cpu]', or [cu112], [cu116] or [cu117] for a GPU"
)


class UserError(ValueError):
    """A mistake of the user's; the commands print it as one line and exit with 2."""


class ConfigError(UserError):
    """An option, or a combination of options, that cannot be run."""


class DataError(UserError):
    """A ratings file, data set or split that cannot be used."""


class UnknownId(DataError):
    """A user or an item that a run does not know."""


class DataWarning(UserWarning):
    """Something was dropped, changed or replaced; the run goes on and says so."""


class NumericalError(ArithmeticError):
    """A training has diverged; the commands print it as one line and exit with 3."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end: it says how to go on, and exits with 128 + signal."""

    def __init__(self, signal_number: int, advice: str = "") -> None:
        message = signal.Signals(signal_number).name
        if advice:
            message = f"{message}; {advice}"

        super().__init__(message)
        self.exit_code = 128 + signal_number


@contextmanager
def stopped_with(advice: str) -> Iterator[None]:
    """Have the message of a signal in the block say how to go on with the whole."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        number = getattr(stopped, "exit_code", 128 + signal.SIGINT) - 128
        raise Interrupted(number, advice) from None


def check_whole(name: str, value: Any, at_least: int, at_most: int | None = None) -> None:
    """Raise ConfigError unless a parameter is a whole number, not too low and not too high."""
    is_whole = isinstance(value, Integral)
    if is_whole and int(value) >= at_least and (at_most is None or int(value) <= at_most):
        return

    bounds = f"at least {at_least}"
    if at_most is not None:
        bounds += f" and at most {at_most}"
    raise ConfigError(f"`{name}` is {value!r}: it must be a whole number, {bounds}")


def shortened(text: str) -> str:
    """A text, cut where it is too long for a line."""
    if len(text) > LONGEST:
        return f"{text[:LONGEST]}..."
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """', did you mean ...?' where a word is close to a known one, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    if not close:
        return ""
    return f"; did you mean {close[0]}?"


def refuse_blank(name: str, value: str, white_space: bool = False) -> None:
    """Raise ConfigError for a value that an unset shell variable leaves.

    Parameters
    ----------
    name : str
        What has the value: an option, or a variable of the environment.
    value : str
    white_space : bool
        Whether blanks are a value.
    """
    if value and (white_space or not value.isspace()):
        return

    raise ConfigError(
        f"{name} is {value!r}, which is empty (a shell variable that is not set?): "
        "give it a value, or leave it out"
    )

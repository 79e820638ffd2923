"""Errors and warnings for users, in one line: the value, what is allowed, the way out."""

import difflib
import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from numbers import Integral
from typing import Any

LONGEST = 60  # characters of a value that a message quotes
MXNET_IS_MISSING = (
    "d2l_autorec needs MXNet: pip install 'd2l_autorec[cpu]', or [cu112], [cu116] or [cu117], "
    "your CUDA version, for a GPU"
)


class UserError(ValueError):
    """A mistake of the user's; the commands print it as one line and exit with code 2."""


class ConfigError(UserError):
    """An option, or a combination of options, that is not possible."""


class DataError(UserError):
    """A ratings file, data set or split that cannot be used."""


class UnknownIdError(DataError):
    """A user or an item that a run does not know."""


class DataWarning(UserWarning):
    """A warning that something in the data or options was dropped, changed or replaced."""


class NumericalError(ArithmeticError):
    """A training that has diverged; the commands print it as one line and exit with code 3."""


class Interrupted(KeyboardInterrupt):
    """A signal that asked to stop; the message says how to go on.

    Parameters
    ----------
    signal_number : int
        The signal; the commands exit with 128 plus this number, which is `exit_code`.
    advice : str
        How to go on, for the message.
    """

    def __init__(self, signal_number: int, advice: str = "") -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"{name}; {advice}" if advice else name)
        self.exit_code = 128 + signal_number


def warn(text: str, level: int = 4) -> None:
    """Warn with a DataWarning that points to the line which called the library.

    Parameters
    ----------
    text : str
    level : int
        How many calls above that line is, this one included: 3 if what called `warn` is public.
    """
    warnings.warn(text, DataWarning, stacklevel=level)


@contextmanager
def stopped_with(advice: str) -> Iterator[None]:
    """Replace the message of a signal that comes in the block by one that has this advice."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        number = getattr(stopped, "exit_code", 128 + signal.SIGINT) - 128
        raise Interrupted(number, advice) from None


def check_whole(name: str, value: Any, at_least: int) -> None:
    """Raise ConfigError unless a parameter is a whole number, and large enough."""
    if not isinstance(value, Integral) or int(value) < at_least:
        raise ConfigError(f"`{name}` is {value!r}: it must be a whole number, at least {at_least}")


def can_be_heldout(wanted: int | float) -> bool:
    """Return whether this can be a number of users to hold out, or a fraction of them."""
    return 0 < wanted < 0.5 or (wanted >= 0 and float(wanted).is_integer())


def scale_of(scale: Any) -> tuple[float, float] | None:
    """Return the two numbers of a scale, which may be a text like 1,5; None if it is None.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if scale is None:
        return None

    with suppress(TypeError, ValueError):
        low, high = map(float, scale.split(",") if isinstance(scale, str) else scale)
        if -(2**24) <= low < high <= 2**24:  # float32 merges whole numbers beyond
            return low, high
    raise ConfigError(
        f"`scale` is {scale}: it must be the lowest and the highest rating, as in 1,5, from "
        "-16777216 to 16777216"
    )


def shortened(text: str) -> str:
    """Cut a text that is longer than `LONGEST` characters."""
    return f"{text[:LONGEST]}..." if len(text) > LONGEST else text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean ...?' where a word is close to a known one, else ''."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def refuse_blank(name: str, value: str, white_space: bool = False) -> None:
    """Raise ConfigError for an empty value, such as an unset shell variable leaves.

    Parameters
    ----------
    name, value : str
        An option's name, and the value it was given.
    white_space : bool
        Whether blanks alone are allowed.
    """
    if not value or (value.isspace() and not white_space):
        raise ConfigError(f"{name} is {value!r}, which is empty: give it a value, or leave it out")

"""What a user did wrong, in one line: the value, what is allowed, the way out."""

import signal


class UserError(ValueError):
    """A mistake of the user's; the commands print it as one line and exit with 2."""


class ConfigError(UserError):
    """An option, or a combination of options, that cannot be run."""


class DataError(UserError):
    """A ratings file, data set or split that cannot be used."""


class DataWarning(UserWarning):
    """Something was dropped, changed or replaced; the run goes on and says so."""


class NumericalError(ArithmeticError):
    """The loss is not finite; the commands print it as one line and exit with 3."""


class Interrupted(BaseException):
    """A signal asked the run to end; the commands say how to resume and exit with 128 + signal.

    No Exception, so that nobody who handles errors holds it up.
    """

    def __init__(self, signal_number: int, advice: str = "") -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"{name}; {advice}" if advice else name)
        self.exit_code = 128 + signal_number

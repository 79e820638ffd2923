"""What a user did wrong, in one line: the value, what is allowed, the way out."""


class UserError(ValueError):
    """A mistake of the user's; the commands print it as one line and exit with 2."""


class ConfigError(UserError):
    """An option, or a combination of options, that cannot be run."""


class DataError(UserError):
    """A ratings file, data set or split that cannot be used."""


class DataWarning(UserWarning):
    """Something was dropped, changed or replaced; the run goes on and says so."""

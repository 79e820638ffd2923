"""What every command shares: one-line errors, exit codes, warnings on stderr."""

import argparse
import os
import sys
import warnings
from typing import Any, Callable, NoReturn, Optional, Sequence

from .errors import DataWarning, Interrupted, NumericalError, UserError
from .interrupt import signals_raise

EXIT_USER_ERROR, EXIT_NUMERICAL = 2, 3


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps its layout."""

    def __init__(self, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(**kwargs)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def run_command(name: str, command: Callable[[Optional[Sequence[str]]], None],
                argv: Optional[Sequence[str]] = None) -> int:
    """Run `command(argv)`; user errors become one line on stderr and exit code 2.

    Parameters
    ----------
    name : str
        The command's name, printed before the error.
    command : callable
        Takes the argument list (None: `sys.argv`).
    argv : sequence of str, optional
        Arguments, for calls from Python.

    Returns
    -------
    int
        0; 2 after a user error; 3 after a numerical failure; 130, 143 or 129
        after SIGINT, SIGTERM or SIGHUP. Internal errors propagate with their traceback.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        # PYTHONWARNINGS and -W neither end a command nor hide what it has to tell
        warnings.filters[:] = [known for known in warnings.filters if known[0] != "error"]
        warnings.simplefilter("default", DataWarning)
        try:
            with signals_raise():
                command(argv)
        except KeyboardInterrupt:
            print(f"{name}: stopped: SIGINT", file=sys.stderr)
            return 130
        except (UserError, NumericalError, Interrupted) as error:
            kind = "stopped" if isinstance(error, Interrupted) else "error"
            print(f"{name}: {kind}: {' '.join(str(error).splitlines())}", file=sys.stderr)
            return _exit_code(error)
    return 0


def leave(code: int) -> NoReturn:
    """End this process; after a failure at once.

    At the interpreter's exit an open store waits until every worker is done,
    and those wait for this one: nobody would ever learn of its failure.
    """
    if code and os.environ.get("DMLC_ROLE") == "worker":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, Interrupted):
        return error.exit_code
    return EXIT_NUMERICAL if isinstance(error, NumericalError) else EXIT_USER_ERROR

"""What every command shares: one-line errors, exit codes, warnings on stderr."""

import argparse
import os
import sys
import warnings
from typing import Any, Callable, List, NoReturn, Optional, Sequence, Set

from .errors import Interrupted, NumericalError, UserError, did_you_mean, refuse_blank

EXIT_USER_ERROR, EXIT_NUMERICAL = 2, 3


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps its layout.

    It refuses what argparse lets pass: an empty value, as an unset shell
    variable leaves it, and an option that is given twice.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(**kwargs)
        self._met: Set[str] = set()

    def parse_args(self, args: Any = None, namespace: Any = None  # type: ignore[override]
                   ) -> argparse.Namespace:  # argparse's is typed by overloads
        """As argparse's; a mistyped option comes with the one that was meant."""
        self._met.clear()
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            typed = unknown[0].partition("=")[0]
            self.error(f"unrecognized arguments: {' '.join(unknown)}"
                       + did_you_mean(typed, self._option_string_actions))
        return options

    def _get_values(self, action: argparse.Action, arg_strings: List[str]) -> Any:
        """Called once each time that an option or positional argument is met."""
        if action.nargs == argparse.REMAINDER:  # another command's, for which all this may do
            return super()._get_values(action, arg_strings)
        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        for text in arg_strings:
            refuse_blank(name, text, getattr(action, "blank", False))
        if action.option_strings:
            if action.dest in self._met:
                self.error(f"argument {name}: it is given more than once")
            self._met.add(action.dest)
        return super()._get_values(action, arg_strings)

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
        0; 2 after a user error; 3 after a numerical failure; 130 or 143 after
        SIGINT or SIGTERM. Internal errors propagate with their traceback.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
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


def _exit_code(error: Exception) -> int:
    if isinstance(error, Interrupted):
        return error.exit_code
    return EXIT_NUMERICAL if isinstance(error, NumericalError) else EXIT_USER_ERROR

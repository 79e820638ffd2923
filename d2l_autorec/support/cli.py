"""The frame of every command: its parser, one-line errors, exit codes and warnings."""

import argparse
import copy
import errno
import gc
import os
import re
import sys
import textwrap
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from .. import __version__
from .errors import Interrupted, NumericalError, UserError, did_you_mean, refuse_blank
from .flags import with_flags
from .signals import SignalWatch
from .terminal import discard, standard_streams

EXIT_USER_ERROR, EXIT_NUMERICAL = 2, 3
WIDTH = 79  # of a help's description
OUT_OF_MEMORY = re.compile("out of memory|failed to allocate|cudaMalloc failed", re.IGNORECASE)
ADVICE = {  # what to do about an error of the operating system's
    errno.ENOSPC: "make room, or choose another folder",
    errno.EDQUOT: "make room, or choose another folder",
    errno.EMFILE: "allow more open files, ulimit -n",
    errno.ENOENT: "see whether its name is right",
}


class FirstHelp(argparse.RawDescriptionHelpFormatter):
    """Help that is brief, and leaves out what is rarely needed."""

    def add_argument(self, action: argparse.Action) -> None:
        """Show an option, in the words of its attribute `brief` where it has any."""
        shown = copy.copy(action)
        shown.help = getattr(action, "brief", action.help)

        if shown.help != "":
            super().add_argument(shown)


class ShowAll(argparse.Action):
    """Print the help of every option, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.print_help()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps its layout.

    It refuses an empty value, as an unset shell variable leaves it. An option
    whose attribute `brief` is a text is shown with it by --help; where that is
    empty, the option is left to --help-all.

    Parameters
    ----------
    command : str
        What stands behind "python -m ".
    about : str
        The command's docstring: its first two paragraphs are shown above the options, the
        others below.
    usage : str
        What stands behind the command.
    """

    def __init__(self, command: str, about: str | None, usage: str = "[options]") -> None:
        paragraphs = (about or "").split("\n\n")
        super().__init__(
            prog=f"python -m {command}",
            usage=f"%(prog)s {usage}",
            description=textwrap.fill(" ".join(paragraphs[:2]), WIDTH),
            epilog="\n\n".join(paragraphs[2:]),
            formatter_class=FirstHelp,
            allow_abbrev=False,
        )
        self.add_argument(
            "--version",
            action="version",
            version=f"d2l_autorec {__version__}",
            help="show the version and exit",
        )
        self._words: list[str] = []

    def add_help_all(self) -> None:
        """Give the parser --help-all, where --help leaves options out."""
        self.add_argument(
            "--help-all",
            action=ShowAll,
            nargs=0,
            default=argparse.SUPPRESS,
            help="show every option (of a model: --model NAME --help)",
        )

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse as argparse does; a mistyped option comes with what was meant."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_args(self._words, namespace)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Called once each time that an option or positional argument is met."""
        if action.nargs == argparse.REMAINDER:  # another command's, for which all this may do
            return super()._get_values(action, arg_strings)

        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        for text in arg_strings:
            refuse_blank(name, text, getattr(action, "blank", False))

        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise UserError, with what may be meant by a word that is no option."""
        # argparse repeats a value as long as it is
        brief = re.sub(r"\S{200,}", lambda found: f"{found[0][:100]}...{found[0][-20:]}", message)
        if re.search("required|unrecognized|ignored explicit", message):  # -hidden is -h idden
            known = self._option_string_actions
            typed = [word.partition("=")[0] for word in self._words if word.startswith("-")]
            unknown = [word for word in typed if word not in known and did_you_mean(word, known)]
            if unknown:
                brief += f"; {unknown[0]} is unknown{did_you_mean(unknown[0], known)}"
        raise UserError(f"{brief} (see --help)")


def run_command(
    name: str, command: Callable[[Sequence[str] | None], Any], argv: Sequence[str] | None = None
) -> int:
    """Run `command(argv)`; what a user or a machine can do becomes one line and an exit code.

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
        0; 2 after an error of the user's or the machine's; 3 after a numerical
        failure; 128 + signal after SIGHUP, SIGINT, SIGQUIT or SIGTERM. A reader of
        the output that goes away is no error. Bugs propagate with their traceback.
    """
    with standard_streams() as output, _own_warnings():
        code = _exit_code(name, command, argv)
        output.flush()

        lost = output.failure
        if code == 0 and lost is not None and not isinstance(lost, BrokenPipeError):
            _print_error(name, f"error: stdout cannot be written ({lost.strerror})")
            return EXIT_USER_ERROR

        return code


def _exit_code(
    name: str, command: Callable[[Sequence[str] | None], Any], argv: Sequence[str] | None
) -> int:
    try:
        with SignalWatch():  # not while an error is told, which would be lost
            command(argv)
    except SystemExit as request:  # --help
        return int(request.code or 0)
    except BaseException as error:
        line, code = explain(error)
        if line is None:
            raise
        _print_error(name, line)
        return code
    return 0


def explain(error: BaseException) -> tuple[str | None, int]:
    """Return the line and the exit code of what users and machines do; no line for a bug."""
    if isinstance(error, Interrupted):
        return f"stopped: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "stopped: SIGINT", 130
    if isinstance(error, NumericalError):
        return f"error: {error}", EXIT_NUMERICAL

    text = _said_of(error)
    return text and f"error: {text}", EXIT_USER_ERROR


def _said_of(error: BaseException) -> str | None:
    """Return what is wrong, and the way out; None of a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("d2l_autorec"):
        return f"a library cannot be loaded ({error}): install it again"
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        where = "" if error.filename is None else f"{error.filename}: "
        advice = ADVICE.get(error.errno or 0, "see to it, and try again")
        return f"{where}{reason}: {advice}"
    if isinstance(error, MemoryError):
        return f"out of memory ({error or 'nothing more is said'}): take a smaller model or batch"
    if isinstance(error, (zlib.error, zipfile.BadZipFile)):
        return f"a compressed file is damaged ({error}): restore it from a copy"
    if type(error).__name__ == "MXNetError" and OUT_OF_MEMORY.search(str(error)):
        return "a device is out of memory: take a smaller --batch-size or --hidden"
    return None


def _print_error(name: str, line: str) -> None:
    # at once: between a line and its end, as print writes them, a signal may end this process
    sys.stderr.write(f"{name}: {' '.join(with_flags(line).split())}\n")


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Print warnings as one line each; those for programmers are not shown, nor are they errors."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        warnings.showwarning = lambda message, *_, **__: _print_error("warning", str(message))
        yield


def leave(code: int) -> NoReturn:
    """End this process; a worker that failed at once.

    At the interpreter's exit an open store waits until every worker is done,
    and those wait for this one: nobody would ever learn of its failure.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()

    if code and os.environ.get("DMLC_ROLE") == "worker":
        os._exit(code)
    if code:  # all is said: MXNet, where it was only half loaded, has something to add
        discard(2)
    gc.freeze()  # else the interpreter looks through all of the libraries once more
    sys.exit(code)

"""What every command shares: one-line errors, exit codes, warnings on stderr."""

import argparse
import copy
import errno
import gc
import lzma
import os
import re
import sys
import textwrap
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from .errors import Interrupted, NumericalError, UserError, did_you_mean, refuse_blank
from .flags import with_flags
from .interrupt import SignalWatch
from .output import discard, standard_streams

EXIT_USER_ERROR, EXIT_NUMERICAL = 2, 3
WIDTH = 79  # of a help's description
PACKAGE = Path(__file__).parents[1]
OUT_OF_MEMORY = re.compile("out of memory|failed to allocate|cudaMalloc failed", re.IGNORECASE)
ADVICE = {
    errno.ENOSPC: "make room, or choose another folder",
    errno.EDQUOT: "make room, or choose another folder",
    errno.EACCES: "see to its permissions, or choose another",
    errno.EPERM: "see to its permissions, or choose another",
    errno.EROFS: "choose another folder",
    errno.ENOENT: "see whether its name is right",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.EMFILE: "allow more open files, ulimit -n",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOMEM: "the machine is out of memory",
    errno.EIO: "the disk or the network behind it fails",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file",
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
    """

    def __init__(self, description: str, usage: str = "%(prog)s [options]", **kwargs: Any) -> None:
        super().__init__(
            description=textwrap.fill(description, WIDTH),
            usage=usage,
            formatter_class=FirstHelp,
            allow_abbrev=False,
            **kwargs,
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
        """As argparse's, of the namespace's type; a mistyped option comes with what was meant."""
        if args is None:
            args = sys.argv[1:]
        self._words = list(args)
        options, unknown = self.parse_known_args(self._words, namespace)

        if unknown:
            typed, _, _ = unknown[0].partition("=")
            meant = did_you_mean(typed, self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")

        return options

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Called once each time that an option or positional argument is met."""
        if action.nargs == argparse.REMAINDER:  # another command's, for which all this may do
            return super()._get_values(action, arg_strings)

        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        for text in arg_strings:
            refuse_blank(name, text, getattr(action, "blank", False))

        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        # argparse repeats a value as long as it is
        brief = re.sub(r"\S{200,}", lambda found: f"{found[0][:100]}...{found[0][-20:]}", message)
        if "required" in message or "ignored explicit" in message:  # -hidden is -h idden
            brief += self._mistyped()
        raise UserError(f"{brief} (see --help)")

    def _mistyped(self) -> str:
        """What may be meant by a word that is no option."""
        known = self._option_string_actions
        for word in self._words:
            typed, _, _ = word.partition("=")
            meant = did_you_mean(typed, known)

            if typed.startswith("-") and typed not in known and meant:
                return f"; {typed} is unknown{meant}"
        return ""


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
            _print_error(
                name, f"error: stdout cannot be written ({lost.strerror}): all else was done"
            )
            return EXIT_USER_ERROR

        return code


def _exit_code(
    name: str, command: Callable[[Sequence[str] | None], Any], argv: Sequence[str] | None
) -> int:
    try:
        with SignalWatch():  # not while an error is told, which would be lost
            command(argv)
    except SystemExit as request:  # --help
        code = request.code or 0
        if isinstance(code, str):
            return 1  # what Python makes of a text
        return code
    except BaseException as error:
        line, code = explain(error)
        if line is None:
            raise
        _print_error(name, line)
        return code
    return 0


def explain(error: BaseException) -> tuple[str | None, int]:
    """The line and the exit code of what users and machines can do; no line for a bug of ours."""
    if isinstance(error, Interrupted):
        return f"stopped: {with_flags(str(error))}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "stopped: SIGINT", 130
    if isinstance(error, NumericalError):
        return f"error: {with_flags(str(error))}", EXIT_NUMERICAL

    text = _said_of(error)
    if text is None:
        return None, EXIT_USER_ERROR
    return f"error: {text}", EXIT_USER_ERROR


def _said_of(error: BaseException) -> str | None:
    """What is wrong, and the way out; None of a bug."""
    if isinstance(error, UserError):
        return with_flags(str(error))
    if isinstance(error, Exception) and _library_failed_to_load(error):
        return (
            f"a library cannot be loaded ({type(error).__name__}: {error}): see to the variables "
            "of the environment that concern it, or install it again"
        )
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, MemoryError):
        return f"out of memory ({error or 'nothing more is said'}): take a smaller model or batch"
    if isinstance(error, RecursionError):  # nothing here recurses but parsers of what users give
        return "a file is nested too deeply to be read: restore it from a copy"
    if isinstance(error, (zlib.error, lzma.LZMAError, zipfile.BadZipFile)):
        return f"a compressed file is damaged ({error}): restore it from a copy"
    if type(error).__name__ == "MXNetError" and OUT_OF_MEMORY.search(str(error)):
        return "a device is out of memory: take a smaller --batch-size or --hidden, or --preload no"
    return None


def _of_the_system(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__

    where = ""
    if error.filename is not None:
        where = f"{error.filename}: "

    advice = "see to it, and try again"
    if error.errno is not None:
        advice = ADVICE.get(error.errno, advice)

    return f"{where}{reason}: {advice}"


def _library_failed_to_load(error: Exception) -> bool:
    """Whether the error comes from the import of a module that is not of this package."""
    if isinstance(error, ImportError):
        return not (error.name or "").startswith(PACKAGE.name)

    frames = traceback.extract_tb(error.__traceback__)
    return any(
        frame.name == "<module>" and not Path(frame.filename).is_relative_to(PACKAGE)
        for frame in frames
    )


def _print_error(name: str, line: str) -> None:
    # at once: between a line and its end, as print writes them, a signal may end this process
    sys.stderr.write(f"{name}: {' '.join(line.split())}\n")


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Warnings as one line each; those for programmers are not shown, nor are they errors."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        warnings.showwarning = _show_warning
        yield


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    text = with_flags(str(message))
    print(f"warning: {' '.join(text.split())}", file=sys.stderr)


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

"""The frame of every command: its parser, one-line errors, exit codes and warnings."""

import argparse
import atexit
import gc
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeAlias

from .. import __version__
from .errors import NumericalError, UserError, did_you_mean, shortened
from .terminal import WHOLE_WORDS, SignalWatch, discard, prepare_streams, wrapped
from .texts import with_flags

USER_ERROR, DIVERGED, BROKEN_PIPE = 2, 3, 141  # exit codes
WIDTH = 79  # characters in a line of a help's description
WARNING = "warning"
YELLOW, PLAIN = "\x1b[33m", "\x1b[0m"  # codes of a terminal
Arguments: TypeAlias = Sequence[str] | None  # None stands for those of sys.argv
Command: TypeAlias = Callable[[Arguments], Any]
OUT_OF_MEMORY = re.compile("out of memory|failed to allocate|cudaMalloc failed", re.IGNORECASE)


class Help(argparse.RawDescriptionHelpFormatter):
    """A formatter of help texts that breaks lines between words only."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, **WHOLE_WORDS)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps its layout.

    Where an option has an attribute `brief`, --help shows that text in place of the whole one;
    where `brief` is empty, only --help-all shows the option.

    Parameters
    ----------
    command : str
        The words behind "python -m ", in the usage line.
    about : str
        The command's docstring: its first two paragraphs are shown above the options, the
        others below.
    usage : str
        The words behind the command, in the usage line.
    """

    def __init__(self, command: str, about: str | None, usage: str = "[options]") -> None:
        paragraphs = (about or "").split("\n\n")
        super().__init__(
            prog=f"python -m {command}",
            usage=f"%(prog)s {usage}",
            description=textwrap.fill(" ".join(paragraphs[:2]), WIDTH, **WHOLE_WORDS),
            epilog="\n\n".join(paragraphs[2:]),
            formatter_class=Help,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"d2l_autorec {__version__}")
        self._words: list[str] = []

    def add_help_all(self) -> None:
        """Add the option --help-all, for a parser whose --help leaves options out."""
        text = "show every option (of a model: --model NAME --help)"
        self.add_argument("--help-all", action="help", help=text)

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse as argparse does, with short help texts unless --help-all asks for the whole."""
        self._words = list(sys.argv[1:] if args is None else args)
        if "--help-all" not in self._words:
            for action in self._actions:
                action.help = getattr(action, "brief", action.help) or argparse.SUPPRESS
        return super().parse_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise UserError; for a mistyped option, its message says what may have been meant."""
        known = self._option_string_actions
        if re.search("required|unrecognized|ignored explicit", message):  # -hidden is -h idden
            for word in self._words:
                name = word.partition("=")[0]
                hint = did_you_mean(name, known)
                if name.startswith("-") and name not in known and hint:
                    message += f"; {name} is unknown{hint}"
                    break
        for option, value in zip(self._words, self._words[1:]):
            if message == f"argument {option}: expected one argument" and value not in known:
                message += f"; write {option}={value} if this is its value"
        message = re.sub(r"\S{200,}", lambda value: shortened(value[0]), message)
        raise UserError(f"{message} (see --help)")


def run_command(name: str, command: Command, argv: Arguments = None) -> int:
    """Run `command(argv)`, and make one line and an exit code of an error that is no bug.

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
        failure; 128 + signal after SIGHUP, SIGINT, SIGQUIT or SIGTERM; 141 where the
        reader of the output goes away before the end. Bugs propagate with their traceback.
    """
    prepare_streams()
    with _own_warnings():
        code = _exit_code(name, command, argv)
        try:
            sys.stdout.flush()
        except OSError as error:
            discard(1)
            if code == 0 and not isinstance(error, BrokenPipeError):
                _print_error(name, f"error: stdout cannot be written ({error.strerror})")
                return USER_ERROR
        return code


def _exit_code(name: str, command: Command, argv: Arguments) -> int:
    try:
        with SignalWatch():  # it ends before an error is printed, or a signal could swallow that
            command(argv)
    except SystemExit as request:  # --help
        return int(request.code or 0)
    except BrokenPipeError:
        return BROKEN_PIPE
    except BaseException as error:
        line, code = explain(error)
        if line is None:
            raise
        _print_error(name, line)
        return code
    return 0


def explain(error: BaseException) -> tuple[str | None, int]:
    """Return the line and the exit code for an error; the line is None for a bug."""
    if isinstance(error, KeyboardInterrupt):
        return f"stopped: {str(error) or 'SIGINT'}", getattr(error, "exit_code", 130)

    text = None
    if isinstance(error, (UserError, NumericalError)):
        text = str(error)
    elif isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        text = f"{where}{error.strerror or error}"
    elif isinstance(error, ImportError) and not (error.name or "").startswith("d2l_autorec"):
        text = f"a library cannot be loaded ({error}): install it again"
    elif isinstance(error, MemoryError):
        text = f"out of memory ({error}): take a smaller model or batch"
    elif type(error).__name__ == "MXNetError" and OUT_OF_MEMORY.search(str(error)):
        text = "a device is out of memory: take a smaller --batch-size or --hidden"
    code = DIVERGED if isinstance(error, NumericalError) else USER_ERROR
    return text and f"error: {text}", code


def _print_error(name: str, line: str) -> None:
    # at once: between a line and its end, as print writes them, a signal may end this process
    text = wrapped(f"{name}: {' '.join(with_flags(line).split())}", sys.stderr)
    if name == WARNING and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        text = f"{YELLOW}{WARNING}:{PLAIN}{text.removeprefix(WARNING + ':')}"
    sys.stderr.write(text + "\n")


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Print warnings for users as one line each; those for programmers are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_, **__: _print_error(WARNING, str(message))
        yield


def leave(code: int) -> NoReturn:
    """End this process with an exit code, without taking its libraries apart.

    A half-loaded MXNet prints more, and a thread of Arrow's may abort the process. Only a worker
    that is done takes the long way: an open key-value store waits there until every worker is.
    """
    if "DMLC_ROLE" not in os.environ:
        atexit._run_exitfuncs()
    elif not code:
        gc.freeze()  # else the interpreter's last garbage collection goes through all libraries
        sys.exit(code)
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)

"""List the commands (`python -m d2l_autorec`), or start one (`python -m d2l_autorec run`)."""

import importlib
import sys
from collections.abc import Sequence

from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, did_you_mean

COMMANDS = {
    "run": "train a model, print its test error, leave a run folder",
    "recommend": "recommend items to a user, or predict ratings",
    "serve": "answer over HTTP, with a page to try it on",
    "compare": "compare runs, as a table and a figure",
    "tune": "search for the options that suit your data",
    "report": "reproduce the published tables, or compare models on your data",
    "export": "write a run as files for ONNX and serve",
    "launch": "train with several processes or machines",
}
ABOUT = """Autoencoders for recommendation in MXNet/Gluon.

Each command has --help.

commands:
{}

Begin with:
  python -m d2l_autorec.run --out runs/mine
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the list of commands; raise ConfigError if the first word is no command."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and not argv[0].startswith("-"):
        raise ConfigError(
            f"{argv[0]!r} is no command: it must be one of {', '.join(COMMANDS)}"
            f"{did_you_mean(argv[0], COMMANDS)}"
        )

    listed = "\n".join(f"  {name:9}  {text}" for name, text in COMMANDS.items())
    parser = Parser("d2l_autorec", ABOUT.format(listed))
    parser.usage = "python -m d2l_autorec.COMMAND [options]"
    parser.parse_args(argv)
    parser.print_help()


def start(argv: Sequence[str]) -> int:
    """Run the command that the first word names, or `main`, and return the exit code."""
    if not argv or argv[0] not in COMMANDS:
        return run_command("d2l_autorec", main, argv)

    name, *arguments = argv
    module = importlib.import_module(f"{__package__}.{name}")
    return run_command(f"d2l_autorec.{name}", module.main, arguments)


if __name__ == "__main__":
    leave(start(sys.argv[1:]))

"""What a command is about to do, while there is nothing else to see yet."""

import sys

CLEAR_LINE = "\r\x1b[K"  # of a terminal

_shown = False


def show_steps(wanted: bool) -> None:
    """From now on tell each step, if `wanted` and where a person reads stderr."""
    global _shown
    _shown = wanted and sys.stderr.isatty()


def step(what: str) -> None:
    """Say what begins now, in a line; in the place of a bar that has not moved yet."""
    if _shown:
        print(f"{CLEAR_LINE}{what} ...", file=sys.stderr, flush=True)

"""How figures are written: one way for all of them, and a warning where one cannot be drawn."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..support.errors import DataWarning, UserError
from ..support.files import replacing
from ..support.style import DPI, in_style


@contextmanager
def warning_of_figure(
    path: Path, fatal: tuple[type[BaseException], ...] = (UserError,)
) -> Iterator[None]:
    """Whatever goes wrong while a figure is drawn in the block, as one warning.

    The figures of a run stand elsewhere too, and matplotlib depends on much
    that is not ours: fonts, caches, MPLBACKEND.

    Parameters
    ----------
    path : Path
        Where the figure was to go.
    fatal : tuple of exception types
        What is raised nevertheless.
    """
    reason = None

    try:
        with warnings.catch_warnings():  # of glyphs and layouts, which nobody asked for
            warnings.simplefilter("ignore")
            yield
    except fatal:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = (lines or [type(error).__name__])[0]

    if reason is not None:
        warnings.warn(
            f"the figure {path} was not drawn ({reason}); the numbers are not affected",
            DataWarning,
            stacklevel=4,
        )


@contextmanager
def figure_at(path: Path, width: float, height: float) -> Iterator[Any]:
    """The axes of a new figure, which is written when the block ends: whole, or not at all.

    Parameters
    ----------
    path : Path
        Its ending is the format: see `formats`.
    width, height : float
        Inches.
    """
    # no pyplot: needs no display, keeps no global figure
    from matplotlib.figure import Figure

    with in_style():
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.add_subplot()

        with replacing(path) as unfinished:
            figure.savefig(unfinished, dpi=DPI, format=format_of(path))


def format_of(path: Path) -> str:
    """The format that the ending of a file's name asks for: 'png'."""
    return path.suffix[1:].lower()


def formats() -> set[str]:
    """The formats that a figure can be written in."""
    from matplotlib.figure import Figure

    return set(Figure().canvas.get_supported_filetypes())

"""The networks, one a file, and the one that a configuration asks for."""

from typing import Any

from ..config import AutoRecConfig


def build(config: AutoRecConfig, columns: int) -> Any:
    """The uninitialised network of a configuration; `columns` is the length of a rating vector."""
    from .autorec import AutoRec
    return AutoRec(config.num_hidden, columns, config.dropout)

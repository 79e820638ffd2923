"""Between the ids of the user's own file and positions in the matrices."""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..support.errors import UnknownId, shortened

SUGGESTIONS = 3


class IdMap:
    """Finds ids, given as text or as they are, among those of a run.

    Parameters
    ----------
    ids : ndarray
        Integers or strings, in index order.
    what : str
        'user' or 'item', for messages.
    """

    def __init__(self, ids: np.ndarray, what: str) -> None:
        self.ids = ids
        self._what = what
        self._positions = {str(name): index for index, name in enumerate(ids.tolist())}

    def find(self, wanted: Iterable[Any]) -> np.ndarray:
        """Positions of ids, -1 where there is none: 5, '5' and ' 5' are the same id.

        Returns
        -------
        ndarray of int64
        """
        return np.array([self._position(str(name)) for name in wanted], dtype=np.int64)

    def _position(self, name: str) -> int:
        without_blanks = self._positions.get(name.strip(" \t"), -1)  # as they are read
        return self._positions.get(name, without_blanks)

    def positions(self, wanted: Iterable[Any]) -> np.ndarray:
        """Positions of ids that must all be known.

        Raises
        ------
        UnknownId
            If one is unknown; the line names the nearest known ids.
        """
        wanted = list(wanted)
        found = self.find(wanted)
        unknown = [name for name, position in zip(wanted, found) if position < 0]
        if unknown:
            raise self._unknown(unknown)
        return found

    def _unknown(self, names: list[Any]) -> UnknownId:
        """What to say of ids that are not among those of the run."""
        first, *rest = names
        others = ""
        if rest:
            others = f" (and {len(rest)} more of those asked for)"

        nearest = ", ".join(map(str, self.nearest(first)))
        return UnknownId(
            f"{self._what} {shortened(str(first))!r}{others} is not among the {len(self.ids)} "
            f"{self._what}s of this run; the nearest ids are {nearest}"
        )

    def nearest(self, name: Any) -> list[Any]:
        """Known ids like `name`: integers by value, then any by their text."""
        near: list[Any] = []
        if self.ids.dtype.kind in "iu":
            try:
                distance = np.abs(self.ids.astype(float) - float(name))
                near = self.ids[np.argsort(distance, kind="stable")[:2]].tolist()
            except (ValueError, TypeError, OverflowError):
                pass  # asked for by a text that is no number, or by one that is too long

        alike = difflib.get_close_matches(str(name), self._positions, SUGGESTIONS, cutoff=0.5)
        near += [self.ids.tolist()[self._positions[text]] for text in alike]

        different = list(dict.fromkeys(near))
        return different[:SUGGESTIONS] or self.ids[:SUGGESTIONS].tolist()

"""Between the ids of the user's own file and positions in the matrices."""

import difflib
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from ..support.errors import UnknownId, shortened

SUGGESTIONS = 3
CANDIDATES = 200  # difflib takes 0.08 ms for each, of ids as long as a UUID
LONGEST_TEXT = 200
# No-break blanks are blanks, and what has no width is nothing.
UNSEEN = {0xA0: " ", 0x202F: " ", 0x200B: None, 0x2060: None, 0xFEFF: None}


def plain_id(text: str) -> str:
    """Return the id of a text: in Unicode's NFC form, without blanks around it; 12.0 is 12."""
    if text.isascii() and text.isalnum():
        return text
    text = unicodedata.normalize("NFC", text.translate(UNSEEN)).strip(" \t")
    return re.sub(r"^(-?[0-9]+)\.0+$", r"\1", text)


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
        as_read = self._positions.get(plain_id(name), -1)
        return self._positions.get(name, as_read)

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
        """List known ids like `name`: integers by value, then any by their text.

        The text is compared with at most `CANDIDATES` ids, those beside it in alphabetical order.
        """
        near: list[int] = []
        if self.ids.dtype.kind in "iu":
            try:
                distance = np.abs(self.ids - float(name))
                near = np.argsort(distance, kind="stable")[:2].tolist()
            except (ValueError, TypeError, OverflowError):
                pass  # asked for by a text that is no number, or by one that is too long

        text = str(name)[:LONGEST_TEXT]
        place = bisect_left(self._texts, text)
        last_first = max(0, len(self._texts) - CANDIDATES)
        first = min(max(0, place - CANDIDATES // 2), last_first)
        candidates = self._texts[first : first + CANDIDATES]

        alike = difflib.get_close_matches(text, candidates, SUGGESTIONS, cutoff=0.5)
        near += [self._positions[text] for text in alike]

        different = list(dict.fromkeys(near)) or list(range(len(self.ids)))
        return self.ids[different[:SUGGESTIONS]].tolist()

    @cached_property
    def _texts(self) -> list[str]:
        """All ids as text, in alphabetical order."""
        return sorted(self._positions)

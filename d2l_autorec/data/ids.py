"""Between the ids of the user's own file and positions in the matrices."""

import difflib
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np

from ..support.errors import UnknownIdError, shortened

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
        """Return positions of ids, -1 where there is none: 5, '5' and ' 5' are the same id.

        Returns
        -------
        ndarray of int64
        """
        texts = [str(name) for name in wanted]
        as_read = [self._positions.get(plain_id(text), -1) for text in texts]
        found = [self._positions.get(text, near) for text, near in zip(texts, as_read)]
        return np.array(found, dtype=np.int64)

    def positions(self, wanted: Iterable[Any]) -> np.ndarray:
        """Return positions of ids that must all be known.

        Raises
        ------
        UnknownIdError
            If one is unknown; the line names the nearest known ids.
        """
        wanted = list(wanted)
        found = self.find(wanted)
        unknown = [name for name, position in zip(wanted, found) if position < 0]
        if unknown:
            first, *rest = unknown
            others = f" (and {len(rest)} more of those asked for)" * bool(rest)
            raise UnknownIdError(
                f"{self._what} {shortened(str(first))!r}{others} is not among the "
                f"{len(self.ids)} {self._what}s of this run; the nearest ids are "
                f"{', '.join(map(str, self.nearest(first)))}"
            )
        return found

    def nearest(self, name: Any) -> list[Any]:
        """List known ids like `name`: integers by value, then any by their text.

        The text is compared with at most `CANDIDATES` ids, those beside it in alphabetical order.
        """
        near: list[int] = []
        if self.ids.dtype.kind in "iu":
            with suppress(ValueError, TypeError, OverflowError):  # a text that is no number
                distance = np.abs(self.ids - float(name))
                near = np.argsort(distance, kind="stable")[:2].tolist()

        text = str(name)[:LONGEST_TEXT]
        last = len(self._texts) - CANDIDATES  # where the last candidates begin
        first = max(0, min(bisect_left(self._texts, text) - CANDIDATES // 2, last))
        candidates = self._texts[first : first + CANDIDATES]
        alike = difflib.get_close_matches(text, candidates, SUGGESTIONS, cutoff=0.5)

        near += [self._positions[text] for text in alike]
        different = list(dict.fromkeys(near)) or list(range(len(self.ids)))
        return self.ids[different[:SUGGESTIONS]].tolist()

    @cached_property
    def _texts(self) -> list[str]:
        """All ids as text, in alphabetical order."""
        return sorted(self._positions)

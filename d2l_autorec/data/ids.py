"""Maps from the ids in the user's own file to positions in the matrices."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from ..support.errors import ConfigError, UnknownIdError, shortened

SUGGESTIONS = 3  # ids that an error names
LONGEST_TEXT = 200  # characters of an id for which near ones are searched
# no-break blanks become blanks, and characters without width are removed
UNSEEN = {0xA0: " ", 0x202F: " ", 0x200B: None, 0x2060: None, 0xFEFF: None}


def plain_id(text: str) -> str:
    """Return the id that a text stands for: in NFC, without blanks around it; 12.0 is 12."""
    if text.isascii() and text.isalnum():
        return text
    text = unicodedata.normalize("NFC", text.translate(UNSEEN)).strip(" \t")
    return re.sub(r"^(-?[0-9]+)\.0+$", r"\1", text)


def listed(ids: Iterable[Any]) -> list[Any]:
    """Return ids as a list; raise ConfigError for a single one: a text would be its letters."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ConfigError(f"{shortened(str(ids))!r} is one id: give a list of ids")
    return list(ids)


def extended(ids: np.ndarray, newer: np.ndarray) -> np.ndarray:
    """Return `ids`, and after them those in `newer` that are not among them."""
    added = newer[IdMap(ids, "id").find(newer.tolist()) < 0]
    if ids.dtype != added.dtype:
        ids, added = (part.astype(str).astype(object) for part in (ids, added))
    return np.concatenate([ids, added])


class IdMap:
    """A map from the ids of a run, as text or as they are, to their positions.

    Parameters
    ----------
    ids : ndarray
        The ids, integers or strings, in index order.
    what : str
        'user' or 'item', for messages.
    """

    def __init__(self, ids: np.ndarray, what: str) -> None:
        self.ids = ids
        self._what = what
        self._positions = {str(name): index for index, name in enumerate(ids.tolist())}

    def find(self, wanted: Iterable[Any]) -> np.ndarray:
        """Return the positions of ids, -1 for unknown ones; 5, '5' and ' 5' are the same id.

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        known = self._positions
        found = [
            known.get(text, known.get(plain_id(text), -1)) for text in map(str, listed(wanted))
        ]
        return np.array(found, dtype=np.int64)

    def positions(self, wanted: Iterable[Any]) -> np.ndarray:
        """Return the positions of ids that must all be known, int64 of shape (n,).

        Raises
        ------
        UnknownIdError
            If one is unknown; the message names the nearest known ids.
        """
        wanted = listed(wanted)
        found = self.find(wanted)
        unknown = [name for name, position in zip(wanted, found) if position < 0]
        if unknown:
            first, *rest = unknown
            others = f" (and {len(rest)} more of those asked for)" * bool(rest)
            near = self.nearest(first)
            known = "the nearest ids are" if near else "its ids are like"
            raise UnknownIdError(
                f"{self._what} {shortened(str(first))!r}{others} is not among the "
                f"{len(self.ids)} {self._what}s of this run; {known} "
                f"{', '.join(map(str, near or self.ids[:SUGGESTIONS].tolist()))}"
            )
        return found

    def nearest(self, name: Any) -> list[Any]:
        """Return known ids that `name` may be a slip of: those at an edit distance of 1.

        It is Damerau and Levenshtein's distance: a character is missing, added or another one, or
        has changed places with the next.
        """
        text = str(name)
        if not 1 < len(text) <= LONGEST_TEXT:  # every other single character would be near
            return []

        edited = set()
        for head, tail in ((text[:at], text[at:]) for at in range(len(text) + 1)):
            edited |= {head + tail[1:], head + tail[1:2] + tail[:1] + tail[2:]}
            edited |= {head + sign + rest for sign in self._signs for rest in (tail, tail[1:])}
        near = sorted(self._positions[text] for text in edited & self._positions.keys())
        return self.ids[near[:SUGGESTIONS]].tolist()

    @cached_property
    def _signs(self) -> set[str]:
        """All characters that occur in the ids."""
        return set().union(*self._positions)

"""Finds items by words of their titles, or by id; imports no MXNet."""

import unicodedata

import numpy as np

from ..support.errors import check_whole
from .predictor import Predictor, Scored


class ItemSearch:
    """Finds items whose title or id contains every word of a text.

    Neither case nor accents matter: 'amelie' finds 'Amélie'.

    Parameters
    ----------
    predictor : Predictor
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        ratings = predictor.ratings
        _, self._counts = ratings.counts()

        self._by_popularity = np.argsort(-self._counts, kind="stable")
        ids = ratings.item_ids.tolist()
        self._texts = [
            folded(f"{ratings.titles.get(ids[item], '')}\n{ids[item]}")
            for item in self._by_popularity
        ]

    def find(self, text: str, n: int = 10) -> list[Scored]:
        """The most popular items that match; the one of that id first.

        Parameters
        ----------
        text : str
            Empty for the most popular of all.
        n : int

        Returns
        -------
        list of Scored
            The score is the number of known ratings.

        Raises
        ------
        ConfigError
            If `n` is below 1.
        """
        check_whole("n", n, at_least=1)
        words = set(folded(text).split())
        matching = np.array([all(word in found for word in words) for found in self._texts])
        positions = self._by_popularity[matching]

        exact = self._predictor.items.find([text])
        if exact[0] >= 0:
            positions = np.append(exact, positions[positions != exact[0]])

        best = positions[:n]
        return self._predictor.scored(best, self._counts[best])


def folded(text: str) -> str:
    """Text without accents and in one case, for comparisons."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return plain.casefold()

"""What the HTTP API answers, as JSON's types; knows no web framework, and imports no MXNet."""

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..runs.config import RankingConfig
from ..support.errors import DataWarning, check_whole
from .explain import because
from .new_user import positions_and_values, predict_new_user, recommend_new_user
from .parts import Answering
from .predictor import Scored, predictor_of, recommend, score, shortage, similar_items
from .search import ItemSearch

MOST_ITEMS = 1000  # that may be asked for at once
WARNINGS = threading.Lock()  # threads share what `warnings` does with them
Given = Mapping[Any, float] | Sequence[Any]


class Answers:
    """The answers of a model: what the library recommends and predicts, and what there is.

    Parameters
    ----------
    model : Answering
    result : mapping
        What result.json holds.

    Notes
    -----
    Several threads may ask.
    """

    def __init__(self, model: Answering, result: Mapping[str, Any]) -> None:
        self._model = model
        self._result = result
        self._predictor = predictor_of(model)
        self._predictor.prepare()
        self._search = ItemSearch(self._predictor)

    def recommend(self, user: Any, n: int) -> dict[str, Any]:
        """The best unseen items of a user that the model knows."""
        _check_number(n)
        with _remarks() as remarks:
            found = recommend(self._model, user, n)

        (position,) = self._predictor.users.positions([user])
        rated, values = self._predictor.inputs_of(position)
        return {
            "recommendations": self._explained(found, rated, values),
            "remarks": [*remarks, *_shortage(found, n)],
        }

    def recommend_new_user(self, ratings: Given, n: int) -> dict[str, Any]:
        """The best items for someone whom training did not see."""
        _check_number(n)
        rated, values = positions_and_values(self._model, ratings)
        found = recommend_new_user(self._model, rated, values, n)
        return {
            "recommendations": self._explained(found, rated, values),
            "remarks": _shortage(found, n),
        }

    def predict(self, user: Any, items: Sequence[Any]) -> dict[str, Any]:
        """What a user would give to each of `items`."""
        return {"predictions": _rows(score(self._model, user, items))}

    def predict_new_user(self, ratings: Given, items: Sequence[Any]) -> dict[str, Any]:
        """What someone whom training did not see would give to each of `items`."""
        rated, values = positions_and_values(self._model, ratings)
        wanted = self._predictor.items.positions(items)

        scores = predict_new_user(self._predictor, rated, values)
        shown = self._predictor.shown(scores[wanted])
        return {"predictions": _rows(self._predictor.scored(wanted, shown))}

    def similar_items(self, item: Any, n: int) -> dict[str, Any]:
        """The items most like an item."""
        _check_number(n)
        with _remarks() as remarks:
            found = similar_items(self._model, item, n)
        return {"items": _rows(found, "similarity"), "remarks": remarks}

    def search(self, text: str, n: int) -> dict[str, Any]:
        """Items whose title or id contains the words of `text`, popular ones first."""
        _check_number(n)
        found = self._search.find(text, n)
        return {
            "items": [
                {"item": item, "title": title, "ratings": int(count)}
                for item, title, count in found
            ]
        }

    def about(self) -> dict[str, Any]:
        """What result.json says, and what is asked for and answered."""
        ratings = self._model.ratings
        kind = "rating"
        if isinstance(self._model.config, RankingConfig):
            kind = "ranking"

        return {
            "kind": kind,
            "scale": list(ratings.bounds),
            "users": ratings.num_users,
            "items": ratings.num_items,
            "result": dict(self._result),
        }

    def _explained(
        self, found: Sequence[Scored], rated: np.ndarray, values: np.ndarray
    ) -> list[dict[str, Any]]:
        positions = self._predictor.items.positions([scored.item for scored in found])
        reasons = because(self._predictor, positions, rated, values)

        return [
            {**row, "because": _rows(reason, "similarity")}
            for row, reason in zip(_rows(found), reasons)
        ]


def _check_number(n: int) -> None:
    check_whole("n", n, at_least=1, at_most=MOST_ITEMS)


def _shortage(found: Sequence[Scored], n: int) -> list[str]:
    if len(found) < n:
        return [shortage(len(found), n)]
    return []


def _rows(found: Sequence[Scored], score: str = "score") -> list[dict[str, Any]]:
    return [{"item": item, "title": title, score: value} for item, title, value in found]


@contextmanager
def _remarks() -> Iterator[list[str]]:
    """What the block warns of; complete at its end."""
    texts: list[str] = []
    with WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        yield texts

    for warning in caught:
        if issubclass(warning.category, DataWarning):
            texts.append(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )

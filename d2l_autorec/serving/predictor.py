"""Predictions of a finished run: ratings by id, the best unseen items, similar items.

    run -> parts -> Predictor -> item vectors (I, H), user vectors (B, H), biases -> ratings

Every model predicts a rating as the product of a user's and an item's vector,
plus their biases. AutoRec's vectors are hidden units and decoder rows:
item-based, the encoder makes an item's vector of its ratings and the decoder
has a row for each user; user-based it is the other way round. Matrix
factorization has a table for each. No users x items matrix is ever made: a
batch of users is. All is NumPy here: MXNet has made the `Parts`.
"""

import unicodedata
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import sparse

from ..data.ids import IdMap
from ..data.ratings import Ratings
from ..evaluation.fallback import MeanFallback
from ..evaluation.metrics import top_items
from ..models.kinds import RunConfig
from ..models.rating_scale import ScaledActivation
from ..models.vectors import Linear, Vectors
from ..support.errors import ConfigError, DataWarning, check_whole

REASONS = 3  # at most, for an item
CELLS = 1 << 22  # predictions held at a time: 16 MiB
TINY = 1e-12  # keeps vectors of length zero at zero


RowScorer = Callable[[sparse.csr_matrix], np.ndarray]


@dataclass(frozen=True, eq=False)
class Parts:
    """A trained model without its network.

    It has a table of users, or scores rows of users: by `score_rows`, or as a `linear` function.

    Parameters
    ----------
    items : Vectors or None
        Of the items; none where the model is `linear`.
    users : Vectors or None
        Of the users; none where the model reads a user's row.
    output : ScaledActivation or None
        Of the predictions.
    linear : Linear or None
    score_rows : callable or None
        A csr_matrix of users' rows, shape (rows, items), to outputs of that shape, float32.
    """

    items: Vectors | None = None
    users: Vectors | None = None
    output: ScaledActivation | None = None
    linear: Linear | None = None
    score_rows: RowScorer | None = None


class Answering(Hashable, Protocol):
    """A model that answers: with its network, `TrainedModel`, or without, `ServedModel`."""

    @property
    def config(self) -> RunConfig:
        """Which model it is, and what it was trained with."""

    @property
    def ratings(self) -> Ratings:
        """What each user is known to have rated or clicked."""

    @property
    def inputs(self) -> Ratings:
        """The part of it that the model is given."""

    def parts(self) -> Parts:
        """What it answers by."""


class Scored(NamedTuple):
    """An item, its title ('' if unknown), and its predicted rating, or another score."""

    item: Any
    title: str
    score: float


def predict(run: Answering, users: Sequence[Any], items: Sequence[Any]) -> np.ndarray:
    """Predicted ratings of pairs of users and items.

    Parameters
    ----------
    run : Answering
        What `train_model` or `load_run` returns.
    users, items : sequence of id, length n
        The ids of the ratings file; '5' and 5 are the same.

    Returns
    -------
    ndarray of float32, shape (n,)
        On the scale of the ratings file; clipped to it if the run has `clip`.
        A mean (see `MeanFallback`) where user or item has no training rating.

    Raises
    ------
    DataError
        If an id is unknown; the nearest known ones are named.
    ValueError
        If `users` and `items` differ in length.
    """
    if len(users) != len(items):
        raise ValueError(f"{len(users)} users and {len(items)} items: give pairs")

    predictor = predictor_of(run)
    user_positions = predictor.users.positions(users)
    item_positions = predictor.items.positions(items)
    return predictor.pairs(user_positions, item_positions)


def recommend(run: Answering, user: Any, n: int = 10) -> list[Scored]:
    """The items with the highest predicted ratings among those that a user has not rated.

    Parameters
    ----------
    run : Answering
    user : id
    n : int

    Returns
    -------
    list of Scored
        Best first, by unclipped rating; ties go to the item with more
        ratings. Fewer than `n` if fewer are unseen; empty if none is.
        Unseen means: rated nowhere in the data, test and validation ratings
        included. Items without a rating among the run's inputs are left out: `predict`
        has only the user's mean for them, which says nothing about the item.

    Raises
    ------
    ConfigError
        If `n` is below 1.
    DataError
        If the user is unknown.
    """
    predictor = predictor_of(run)
    position = predictor.users.positions([user])

    if predictor.cold_users[position[0]]:
        warnings.warn(
            f"user {user} has no training rating: the items' mean ratings are shown",
            DataWarning,
            stacklevel=2,
        )

    ((_, items, ratings),) = predictor.best(position, n)
    return predictor.scored(items, ratings)


def score(run: Answering, user: Any, items: Sequence[Any]) -> list[Scored]:
    """What a user would give each of `items`, in the order given, as `predict`.

    Raises
    ------
    DataError
        If the user or an item is unknown.
    """
    ratings = predict(run, [user] * len(items), items)

    predictor = predictor_of(run)
    positions = predictor.items.positions(items)
    return predictor.scored(positions, ratings)


def similar_items(run: Answering, item: Any, n: int = 10) -> list[Scored]:
    """The items whose vectors have the highest cosine with that of `item`.

    An item's vector is its hidden representation (item-based), or its row of
    decoder weights (user-based: there the decoder's outputs are the items), or
    its factors (matrix factorization). Vectors are taken relative to the mean
    vector: sigmoid outputs are all positive, so that without this every cosine
    is close to 1. Items without training ratings have no vector of their own
    and are left out.

    Raises
    ------
    ConfigError
        If `n` is below 1.
    DataError
        If the item is unknown.
    """
    check_whole("n", n, at_least=1)
    predictor = predictor_of(run)
    linear = predictor.parts.linear
    if predictor.item_vectors is None and (linear is None or linear.weights is None):
        raise ConfigError(
            f"`similar_items` needs item vectors, and `model={run.config.model}` has "
            "none: train mult-vae, mult-dae or a model of ratings"
        )

    position = int(predictor.items.positions([item])[0])
    if predictor.cold_items[position]:
        warnings.warn(
            f"item {item} has no training rating: its neighbours say nothing",
            DataWarning,
            stacklevel=2,
        )

    if predictor.item_vectors is not None:
        cosines = predictor.directions @ predictor.directions[position]
    elif linear is not None and linear.weights is not None:  # what a click on it says of others
        cosines = linear.weights[position].astype(np.float32)

    cosines[predictor.cold_items] = -np.inf
    cosines[position] = -np.inf
    nearest = top(cosines, n)
    return predictor.scored(nearest, cosines[nearest])


def top(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the `n` highest scores, best first, ties in order; never of a -inf.

    Parameters
    ----------
    scores : ndarray, shape (items,)

    Returns
    -------
    ndarray of int64, shape (min(n, scores above -inf),)
    """
    best = top_items(scores[None], n)[0]
    return best[scores[best] > -np.inf]


def shortage(there: int, wanted: int) -> str:
    """What to say where fewer items are left than were asked for."""
    if there:
        return f"only {there} items are left to choose from, {wanted} were asked for"
    return "every item is rated already: there is nothing to recommend"


class Predictor:
    """Item vectors and id maps of a run, computed once.

    Parameters
    ----------
    run : Answering

    Attributes
    ----------
    users, items : IdMap
    item_vectors, item_biases : ndarray of float32, shapes (items, H) and (items,)
        No vectors, None, of a closed form.
    user_table : ndarray of float32, shape (users, H), or None
        User vectors; None where the encoder makes them of a user's ratings.
    user_biases : ndarray of float32, shape (users,)
    cold_users, cold_items : ndarray of bool, shapes (users,) and (items,)
        Which have no rating among the run's inputs.
    """

    def __init__(self, run: Answering) -> None:
        self.run = run
        self.ratings = run.ratings
        self.users = IdMap(self.ratings.user_ids, "user")
        self.items = IdMap(self.ratings.item_ids, "item")

        self._seen = self.ratings.to_csr("user")
        self._inputs = run.inputs.to_csr("user")
        self._means = MeanFallback(self._inputs)
        self.cold_users = self._means.no_row
        self.cold_items = self._means.no_column

        self.parts = run.parts()
        self.item_vectors: np.ndarray | None = None
        self.user_table: np.ndarray | None = None
        self.user_biases = np.zeros(len(self.cold_users), dtype=np.float32)
        self.item_biases = np.zeros(len(self.cold_items), dtype=np.float32)

        if self.parts.items is not None:
            self.item_vectors, self.item_biases = self.parts.items
        if self.parts.users is not None:
            self.user_table, self.user_biases = self.parts.users

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """User and item vectors, shapes (users, H) and (items, H), of a model that has both.

        Raises
        ------
        TypeError
            If the model makes user vectors of rows, or has no vectors.
        """
        if self.user_table is None or self.item_vectors is None:
            raise TypeError(f"{self.run.config.model} has no table of user vectors")
        return self.user_table, self.item_vectors

    def shown(self, ratings: np.ndarray) -> np.ndarray:
        """Ratings as the user sees them: clipped to the scale if the run has `clip`."""
        if self.run.config.clip:
            low, high = self.ratings.bounds
            return np.minimum(
                np.maximum(ratings, low), high
            )  # five times as quick as np.clip, of ten
        return ratings

    def rated(self, products: np.ndarray) -> np.ndarray:
        """The activation of the decoder."""
        if self.parts.output is None:
            return products
        return self.parts.output(products)

    def before_activation(self, ratings: np.ndarray) -> np.ndarray:
        """The reverse of `rated`, for ratings in the network's units."""
        if self.parts.output is None:
            return ratings
        return self.parts.output.inverse(ratings)

    @cached_property
    def directions(self) -> np.ndarray:
        """Item vectors less their mean and scaled to length 1, shape (items, H).

        Raises
        ------
        TypeError
            If the model has no vectors.
        """
        if self.item_vectors is None:
            raise TypeError(f"{self.run.config.model} has no item vectors")

        mean = self.item_vectors[~self.cold_items].mean(axis=0)
        vectors = self.item_vectors - mean
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, TINY)

    @cached_property
    def mean_user(self) -> np.ndarray:
        """Mean vector of the users with ratings, and their mean bias: float64, shape (H + 1,)."""
        user_table, _ = self.tables()
        known = ~self.cold_users

        vector = user_table[known].mean(axis=0, dtype=np.float64)
        bias = self.user_biases[known].mean(dtype=np.float64)
        return np.append(vector, bias)

    def prepare(self) -> None:
        """Compute now what later answers share."""
        if self.item_vectors is not None:
            _ = self.directions
        if self.user_table is not None:
            _ = self.mean_user

    def inputs_of(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the items that the model was given of a user, and the ratings of them."""
        row = self._inputs[user]
        return row.indices, row.data - np.float32(self.ratings.offset)

    def scores_of_rows(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Outputs of a model whose input is users' rows, float32, shape (rows, items).

        Raises
        ------
        TypeError
            If the model has a table of users instead.
        """
        if self.parts.linear is not None:
            return linear_scores(self.parts.linear, matrix)
        if self.parts.score_rows is None:
            raise TypeError(f"{self.run.config.model} reads no rows: it has a table of users")
        return self.parts.score_rows(matrix)

    def unclipped(self, users: np.ndarray) -> np.ndarray:
        """Predictions for all items on the user's scale, shape (users, items)."""
        if self.user_table is None:
            raw = self.scores_of_rows(self._inputs[users])
        else:
            user_table, item_table = self.tables()
            products = user_table[users] @ item_table.T
            raw = self.rated(products + self.user_biases[users, None] + self.item_biases)

        cold, means = self._means.at(users[:, None], np.arange(len(self.item_biases)))
        return np.where(cold, means, raw) - np.float32(self.ratings.offset)

    def pairs(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predictions for pairs of positions, shape (n,); each user is encoded once."""
        distinct, row = np.unique(users, return_inverse=True)
        predictions = np.empty(len(users), dtype=np.float32)

        for start, block in self._blocks(distinct):
            in_block = (row >= start) & (row < start + len(block))
            pairs = np.flatnonzero(in_block)
            table = self.unclipped(block)
            predictions[pairs] = table[row[pairs] - start, items[pairs]]

        return self.shown(predictions)

    def best(self, users: np.ndarray, n: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each user (user, item positions, ratings) of the `n` best unseen items."""
        check_whole("n", n, at_least=1)

        for _, block in self._blocks(users):
            scores = self.unclipped(block)
            seen = self._seen[block].tocoo()
            scores[seen.row, seen.col] = -np.inf
            scores[:, self.cold_items] = -np.inf

            for user, row in zip(block.tolist(), scores):
                items = top(row, n)
                yield user, items, self.shown(row[items])

    def _blocks(self, users: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Runs of users whose predictions for all items fit into `CELLS`, and where they begin."""
        size = max(1, CELLS // len(self.item_biases))
        for start in range(0, len(users), size):
            yield start, users[start : start + size]

    def scored(self, items: np.ndarray, scores: np.ndarray) -> list[Scored]:
        """Positions and scores with the items' own ids and titles."""
        titles = self.ratings.titles
        ids = self.ratings.item_ids[items].tolist()
        return [
            Scored(item, titles.get(item, ""), float(score)) for item, score in zip(ids, scores)
        ]


def linear_scores(linear: Linear, matrix: sparse.csr_matrix) -> np.ndarray:
    """Rows of a matrix to scores, float32, shape (rows, items)."""
    scores = np.tile(linear.biases, (matrix.shape[0], 1))
    if linear.weights is not None:
        scores += (matrix @ linear.weights).astype(np.float32)
    return scores


@lru_cache(maxsize=1)
def predictor_of(run: Answering) -> Predictor:
    """The `Predictor` of a run; the latest one is kept, for calls in a loop."""
    return Predictor(run)


def because(
    predictor: Predictor, items: np.ndarray, rated: np.ndarray, values: np.ndarray
) -> list[list[Scored]]:
    """For each item the rated ones that contribute most, best first, at most `REASONS`.

    A rated item contributes its similarity to the item, times how far its rating is above the
    lowest of the scale. Similarities are the cosines of `similar_items`, or the weights of a
    linear model (EASE). What does not speak for the item, with a contribution of 0 or below, is
    left out; of a model without vectors nothing is known.

    Parameters
    ----------
    predictor : Predictor
    items : ndarray of int, shape (n,)
        Positions of the recommended items.
    rated : ndarray of int, shape (rated,)
        Positions of the rated items.
    values : ndarray of float, shape (rated,)
        Their ratings on the user's scale.

    Returns
    -------
    list of list of Scored
        The score is the similarity.
    """
    warm = ~predictor.cold_items[rated]
    rated = rated[warm]
    similarities = _similarities(predictor, items, rated)  # (n, rated)
    if similarities is None:
        return [[] for _ in items]

    contributions = similarities * _weights(predictor, values[warm])
    best_first = np.argsort(-contributions, axis=1, kind="stable")[:, :REASONS]
    best = np.take_along_axis(contributions, best_first, axis=1)

    named = predictor.scored(rated, np.zeros(len(rated)))
    reasons = []
    for places, of_item, similarity in zip(
        best_first.tolist(), best.tolist(), similarities.tolist()
    ):
        speaking = [place for place, part in zip(places, of_item) if part > 0]
        reasons.append([named[place]._replace(score=similarity[place]) for place in speaking])

    return reasons


def _similarities(predictor: Predictor, items: np.ndarray, rated: np.ndarray) -> np.ndarray | None:
    """Shape (items, rated); None of a model that has none."""
    if predictor.item_vectors is not None:
        return predictor.directions[items] @ predictor.directions[rated].T

    linear = predictor.parts.linear
    if linear is None or linear.weights is None:
        return None
    return linear.weights[np.ix_(rated, items)].T


def _weights(predictor: Predictor, values: np.ndarray) -> np.ndarray:
    """From 0, of the lowest rating of the scale, to 1; a click is 1."""
    low, high = predictor.ratings.bounds
    if high == low:
        return np.ones(len(values))
    return (values - low) / (high - low)


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

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..data.ids import IdMap
from ..data.ratings import Ratings
from ..evaluation.metrics import top_items
from ..models.kinds import RunConfig
from ..models.vectors import FoldIn, Linear, ScaledActivation, Vectors
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
    fold_in : FoldIn or None
        What `score_rows` is of, where it solves for users' vectors.
    """

    items: Vectors | None = None
    users: Vectors | None = None
    output: ScaledActivation | None = None
    linear: Linear | None = None
    score_rows: RowScorer | None = None
    fold_in: FoldIn | None = None


class Scored(NamedTuple):
    """An item, its title ('' if unknown), and its predicted rating, or another score."""

    item: Any
    title: str
    score: float


def warn(text: str) -> None:
    """Warn of an answer that says little, where the model was asked."""
    warnings.warn(text, DataWarning, stacklevel=4)


class Predictor:
    """Answers of a trained model, by its vectors and id maps.

    Parameters
    ----------
    config : RunConfig
        Which model it is, and what it was trained with.
    ratings : Ratings
        What each user is known to have rated or clicked.
    inputs : Ratings
        The part of it that the model is given.
    parts : Parts

    Attributes
    ----------
    users, items : IdMap
    item_vectors, item_biases : ndarray of float32, shapes (items, H) and (items,), or None
        None of a linear model.
    user_table, user_biases : ndarray of float32, shapes (users, H) and (users,), or None
        None where the encoder makes them of a user's ratings.
    cold_users, cold_items : ndarray of bool, shapes (users,) and (items,)
        Which have no rating among the run's inputs.
    """

    def __init__(self, config: RunConfig, ratings: Ratings, inputs: Ratings, parts: Parts) -> None:
        self.config = config
        self.ratings = ratings
        self.parts = parts
        self.users = IdMap(ratings.user_ids, "user")
        self.items = IdMap(ratings.item_ids, "item")

        self._seen = ratings.to_csr("user")
        self._inputs = inputs.to_csr("user")
        self._known = inputs
        self.cold_users, self.cold_items = (counts == 0 for counts in inputs.counts())

        self.user_table: Any = parts.users and parts.users.weights
        self.user_biases: Any = parts.users and parts.users.biases
        self.item_vectors: Any = parts.items and parts.items.weights
        self.item_biases: Any = parts.items and parts.items.biases
        self._linear: Any = parts.linear and parts.linear.weights is not None and parts.linear

    def predict(self, users: Sequence[Any], items: Sequence[Any]) -> np.ndarray:
        """Predict the ratings of pairs of users and items.

        Parameters
        ----------
        users, items : sequence of id, length n
            The ids of the ratings file; '5' and 5 are the same.

        Returns
        -------
        ndarray of float32, shape (n,)
            On the scale of the ratings file; clipped to it if the run has `clip`.
            Their means (see `fit_means`) where user or item has no training rating.

        Raises
        ------
        DataError
            If an id is unknown; the nearest known ones are named.
        ValueError
            If `users` and `items` differ in length.
        """
        if len(users) != len(items):
            raise ValueError(f"{len(users)} users and {len(items)} items: give pairs")
        distinct, row = np.unique(self.users.positions(users), return_inverse=True)
        positions = self.items.positions(items)
        predictions = np.empty(len(users), dtype=np.float32)

        for start, block in self._blocks(distinct):  # each user is encoded once
            pairs = np.flatnonzero((row >= start) & (row < start + len(block)))
            predictions[pairs] = self.unclipped(block)[row[pairs] - start, positions[pairs]]
        return self.shown(predictions)

    def recommend(
        self, user: Any, n: int = 10, remark: Callable[[str], None] = warn
    ) -> list[Scored]:
        """Return the items with the highest predicted ratings that a user has not rated.

        Parameters
        ----------
        user : id
        n : int
        remark : callable
            Is told, in a sentence, where the answer says little.

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
        position = self.users.positions([user])
        if self.cold_users[position[0]]:
            remark(f"user {user} has no training rating: the items' mean ratings are shown")

        ((_, items, ratings),) = self.best(position, n)
        return self.scored(items, ratings)

    def score(self, user: Any, items: Sequence[Any]) -> list[Scored]:
        """Return what a user would give each of `items`, in the order given, as `predict`."""
        ratings = self.predict([user] * len(items), items)
        return self.scored(self.items.positions(items), ratings)

    def similar_items(
        self, item: Any, n: int = 10, remark: Callable[[str], None] = warn
    ) -> list[Scored]:
        """Return the items whose vectors have the highest cosine with that of `item`.

        An item's vector is its hidden representation (item-based), or its row of
        decoder weights (user-based: there the decoder's outputs are the items), or
        its factors (matrix factorization). Vectors are taken relative to the mean
        vector: sigmoid outputs are all positive, so that without this every cosine
        is close to 1. Of a linear model (EASE, item-kNN) the score is how much a click on `item`
        speaks for the other. Items without training ratings are left out.

        Raises
        ------
        ConfigError
            If `n` is below 1.
        DataError
            If the item is unknown.
        """
        check_whole("n", n, at_least=1)
        position = int(self.items.positions([item])[0])
        if self.cold_items[position]:
            remark(f"item {item} has no training rating: its neighbours say nothing")

        if self.item_vectors is not None:
            cosines = self.directions @ self.directions[position]
        elif self._linear:  # what a click on it says of others
            cosines = self._linear.effects([position])[0].astype(np.float32)
        else:
            raise ConfigError(
                f"`similar_items` needs item vectors, and `model={self.config.model}` has "
                "none: train ease, item-knn, ials, mult-vae, mult-dae or a model of ratings"
            )

        cosines[self.cold_items] = -np.inf
        cosines[position] = -np.inf
        nearest = top(cosines, n)
        return self.scored(nearest, cosines[nearest])

    def reasons(
        self, items: np.ndarray, rated: np.ndarray, values: np.ndarray
    ) -> list[list[Scored]]:
        """For each item return the rated ones that contribute most, best first.

        A rated item contributes its similarity to the item, times how far its rating is above the
        lowest of the scale; a click counts in full. Similarities are the cosines of
        `similar_items`, or the weights of a linear model (EASE, item-kNN). What does not speak for
        the item, with a contribution of 0 or below, is left out; of a model without vectors nothing
        is known.

        Parameters
        ----------
        items : ndarray of int, shape (n,)
            Positions of the recommended items.
        rated : ndarray of int, shape (rated,)
            Positions of the rated items.
        values : ndarray of float, shape (rated,)
            Their ratings on the user's scale.

        Returns
        -------
        list of list of Scored
            At most `REASONS` for an item; the score is the similarity.
        """
        warm = ~self.cold_items[rated]
        rated, values = rated[warm], values[warm]
        if self.item_vectors is not None:
            similarities = self.directions[items] @ self.directions[rated].T  # (n, rated)
        elif self._linear:
            similarities = self._linear.effects(rated)[:, items].T
        else:
            return [[] for _ in items]

        low, high = self.ratings.bounds
        contributions = similarities * ((values - low) / (high - low) if low < high else 1)
        best_first = np.argsort(-contributions, axis=1, kind="stable")[:, :REASONS]

        named = self.scored(rated, np.zeros(len(rated)))
        rows = zip(best_first.tolist(), contributions.tolist(), similarities.tolist())
        return [
            [named[at]._replace(score=similarity[at]) for at in best if contribution[at] > 0]
            for best, contribution, similarity in rows
        ]

    def search(self, text: str, n: int = 10) -> list[Scored]:
        """Return the most popular items whose title or id has every word; that of this id first.

        Neither case nor accents matter: 'amelie' finds 'Amélie'.

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
        counts, by_popularity, texts = self._searched
        words = set(folded(text).split())
        found = by_popularity[[all(word in each for word in words) for each in texts]]

        exact = self.items.find([text])
        if exact[0] >= 0:
            found = np.append(exact, found[found != exact[0]])
        return self.scored(found[:n], counts[found[:n]])

    @cached_property
    def _searched(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Ratings of each item, positions by popularity, and what is searched there."""
        _, counts = self.ratings.counts()
        by_popularity = np.argsort(-counts, kind="stable")
        ids = self.ratings.item_ids[by_popularity].tolist()
        return counts, by_popularity, [folded(f"{self._title(id_)}\n{id_}") for id_ in ids]

    def shown(self, ratings: np.ndarray) -> np.ndarray:
        """Return ratings as the user sees them: clipped to the scale if the run has `clip`."""
        low, high = self.ratings.bounds if self.config.clip else (-np.inf, np.inf)
        return np.minimum(np.maximum(ratings, low), high)  # of ten, 5 times as quick as np.clip

    @cached_property
    def directions(self) -> np.ndarray:
        """Item vectors less their mean and scaled to length 1, shape (items, H)."""
        vectors = self.item_vectors - self.item_vectors[~self.cold_items].mean(axis=0)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, TINY)

    @cached_property
    def mean_user(self) -> np.ndarray:
        """Mean vector of the users with ratings, and their mean bias: float64, shape (H + 1,)."""
        known = ~self.cold_users
        vector = self.user_table[known].mean(axis=0, dtype=np.float64)
        return np.append(vector, self.user_biases[known].mean(dtype=np.float64))

    def prepare(self) -> None:
        """Compute now what later answers share."""
        _ = self._searched
        if self.item_vectors is not None:
            _ = self.directions
        if self.user_table is not None:
            _ = self.mean_user

    def inputs_of(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """Return positions of the items that the model was given of a user, and their ratings."""
        row = self._inputs[user]
        return row.indices, row.data - np.float32(self.ratings.offset)

    def of_rows(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Return the outputs of a model that reads users' rows, float32, shape (rows, items)."""
        linear = self.parts.linear
        if linear is None:
            return self.parts.score_rows(matrix)  # type: ignore[misc]
        return linear.scores(matrix).astype(np.float32, copy=False)

    def of_vectors(self, vectors: np.ndarray, biases: Any) -> np.ndarray:
        """Return the outputs for users of these vectors, (B, H), and biases, (B, 1) or one."""
        products = vectors @ self.item_vectors.T + biases + self.item_biases
        return products if self.parts.output is None else self.parts.output(products)

    def unclipped(self, users: np.ndarray) -> np.ndarray:
        """Predict all items on the user's scale, shape (users, items)."""
        if self.user_table is None:
            raw = self.of_rows(self._inputs[users])
        else:
            raw = self.of_vectors(self.user_table[users], self.user_biases[users, None])

        cold = self.cold_users[users, None] | self.cold_items
        if cold.any():
            means = self._known.means().at(users[:, None], np.arange(self.ratings.num_items))
            raw = np.where(cold, means.astype(np.float32), raw)
        return raw - np.float32(self.ratings.offset)

    def best(self, users: np.ndarray, n: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each user yield (user, item positions, ratings) of the `n` best unseen items."""
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
        """Yield blocks of users whose predictions fit into `CELLS`, and where they begin."""
        size = max(1, CELLS // self.ratings.num_items)
        for start in range(0, len(users), size):
            yield start, users[start : start + size]

    def scored(self, items: np.ndarray, scores: np.ndarray) -> list[Scored]:
        """Return positions and scores with the items' own ids and titles."""
        ids = self.ratings.item_ids[items].tolist()
        return [Scored(id_, self._title(id_), float(score)) for id_, score in zip(ids, scores)]

    def _title(self, item: Any) -> str:
        return self.ratings.titles.get(item, "")


@lru_cache(maxsize=1)
def predictor_of(run: Any) -> Predictor:
    """Return the `Predictor` of a `TrainedModel`; the latest one is kept, for calls in a loop."""
    return Predictor(run.config, run.ratings, run.inputs, run.parts())


def top(scores: np.ndarray, n: int) -> np.ndarray:
    """Return positions of the `n` highest scores, best first, ties in order; never of a -inf.

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
    """Return what to say where fewer items are left than were asked for."""
    if there:
        return f"only {there} items are left to choose from, {wanted} were asked for"
    return "every item is rated already: there is nothing to recommend"


def folded(text: str) -> str:
    """Return text without accents and in one case, for comparisons."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return plain.casefold()

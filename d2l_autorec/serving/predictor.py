"""The predictions of a finished run: ratings by id, the best unseen items, similar items.

    run -> parts -> Predictor -> item vectors (I, H), user vectors (B, H), biases -> ratings

Most models predict a rating as the product of a user's and an item's vector,
plus their biases. AutoRec's vectors are hidden units and decoder rows: in the
item-based model, the encoder makes an item's vector of its ratings and the decoder
has a row for each user; in the user-based model it is the other way round. Matrix
factorization has a table of vectors for each. The whole users x items matrix is
never made, only a batch of users. All is NumPy here: MXNet has made the `Parts`.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..data.ids import IdMap, listed
from ..data.ratings import Ratings
from ..models.kinds import RunConfig
from ..models.vectors import FoldIn, Linear, ScaledActivation, Vectors, top_items
from ..support.errors import ConfigError, check_whole, shortened
from .filters import Selection

REASONS = 3  # reasons for an item, at most
CELLS = 1 << 22  # predictions held at a time: 16 MiB
SAMPLE = 20_000  # users, and ratings, by which the prior of new users is estimated
TINY = 1e-12  # keeps vectors of length zero at zero


RowScorer = Callable[[sparse.csr_matrix], np.ndarray]
Rated = tuple[np.ndarray, np.ndarray]  # positions of items, and one person's ratings of them


@dataclass(frozen=True, eq=False)
class Parts:
    """A trained model without its network.

    It has a table of users, or all scores, or scores users' rows.

    Parameters
    ----------
    items : Vectors or None
        Vectors of the items; None if the model is `linear`.
    users : Vectors or None
        Vectors of the users; None if the model reads a user's row.
    output : ScaledActivation or None
        The activation of predictions.
    linear : Linear or None
        The function whose `scores` are `score_rows`, if it is linear.
    score_rows : callable or None
        (csr_matrix of users' rows, shape (rows, items)) to outputs of that shape.
    fold_in : FoldIn or None
        The object that computes users' vectors, if `score_rows` is its `scores`.
    scores : ndarray of float32, shape (users, items), or None
        The outputs for the known items' rows, if these are read by a network without vectors.
    """

    items: Vectors | None = None
    users: Vectors | None = None
    output: ScaledActivation | None = None
    linear: Linear | None = None
    score_rows: RowScorer | None = None
    fold_in: FoldIn | None = None
    scores: np.ndarray | None = None


class Scored(NamedTuple):
    """An item with a score: (item, title, score, ratings).

    The title is '' if it is unknown. The score is a predicted rating, by a model that ranks another
    score, or a similarity. `ratings` is the number of the item's known ratings or clicks.
    """

    item: Any
    title: str
    score: float
    ratings: int


class Predictor:
    """A trained model that answers by its vectors and id maps.

    Parameters
    ----------
    config : RunConfig
        The options of the run.
    ratings : Ratings
        All that each user is known to have rated or clicked.
    inputs : Ratings
        The part of `ratings` that the model reads.
    parts : Parts
        The arrays and functions by which it answers.

    Attributes
    ----------
    users, items : IdMap
        Maps from ids to positions.
    item_vectors, item_biases : ndarray of float32, shapes (items, H) and (items,), or None
        None for a linear model.
    user_table, user_biases : ndarray of float32, shapes (users, H) and (users,), or None
        None if the model computes them from a user's ratings.
    cold_users, cold_items : ndarray of bool, shapes (users,) and (items,)
        Which users and items have no rating among the run's inputs.
    withheld : ndarray of bool, shape (items,)
        Which items are never recommended: the cold ones, and those that a server leaves out.
    counts : ndarray of int, shape (items,)
        Number of known ratings of each item.
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
        self.withheld = self.cold_items
        is_click = ratings.values == ratings.bounds[1]  # not below the threshold
        self.counts = (ratings.part(is_click) if config.task == "ranking" else ratings).counts()[1]

        self.user_table: Any = parts.users and parts.users.weights
        self.user_biases: Any = parts.users and parts.users.biases
        self.item_vectors: Any = parts.items and parts.items.weights
        self.item_biases: Any = parts.items and parts.items.biases

    def predict(self, users: Sequence[Any], items: Sequence[Any]) -> np.ndarray:
        """Predict the ratings of pairs of users and items.

        Parameters
        ----------
        users, items : sequence of id, length n
            Ids as in the ratings file; '5' and 5 are the same.

        Returns
        -------
        ndarray of float32, shape (n,)
            Ratings on the scale of the ratings file, clipped to it if the run has `clip`.
            If user or item has no training rating, they are the means (see `fit_means`); by a
            model that ranks, the numbers of clicks.

        Raises
        ------
        ConfigError
            If `users` or `items` is a single id.
        DataError
            If an id is unknown; the nearest known ones are named.
        ValueError
            If `users` and `items` differ in length.
        """
        users, items = listed(users), listed(items)
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
        self, user: Any, selection: Selection, fallback: str | None = None
    ) -> list[Scored]:
        """Return the items with the highest predicted ratings that a user has not rated.

        Parameters
        ----------
        user : id
        selection : Selection
        fallback : {'popularity'}, optional
            What an unknown user gets: the items with most ratings, scored by their mean.

        Returns
        -------
        list of Scored
            The items, best first, by unclipped rating; ties go by the items' index. There are
            fewer than `n` if fewer are unseen.
            An item is unseen if the user has rated it nowhere in the data, test and validation
            ratings included. Items without a rating among the run's inputs are left out: `predict`
            has only the user's mean for them, which says nothing about the item.

        Raises
        ------
        ConfigError
            If `n` is below 1, or there is no such fallback.
        DataError
            If the user is unknown.
        """
        if fallback not in (None, "popularity"):
            raise ConfigError(f"`fallback` is {fallback}: it must be popularity")
        if fallback and self.users.find([user])[0] < 0:
            selection.remark(f"user {user} is unknown: the most popular items are shown")
            return self._popular(selection)

        position = self.users.positions([user])
        if self.cold_users[position[0]]:
            shown = "most popular items" if self.config.task == "ranking" else "items' means"
            selection.remark(f"user {user} has no training rating: the {shown} are shown")

        seen = self._seen[position].indices
        return self.best_of(self.unclipped(position)[0], selection, seen)

    def best_of(
        self, predictions: np.ndarray, selection: Selection, rated: np.ndarray
    ) -> list[Scored]:
        """Return the selected items with the highest predictions, without `rated` if it says so."""
        hidden = self.hidden(selection)
        if selection.filter_already_rated:
            hidden[rated] = True
        items = top(predictions, selection.n, hidden)
        return self.scored(items, self.shown(predictions[items]))

    def _popular(self, selection: Selection) -> list[Scored]:
        """Return the items with most ratings, scored by their mean or, for clicks, their number."""
        items = top(self.counts, selection.n, self.hidden(selection))
        if self.config.task == "ranking":
            return self.scored(items, self.counts[items])

        means = self._known.means()
        scores = means.mean + means.columns[items] - self.ratings.offset
        return self.scored(items, self.shown(scores))

    def hidden(self, selection: Selection) -> np.ndarray:
        """Return which items are not to be recommended, bool of shape (items,).

        Raises
        ------
        ConfigError
            If `min_ratings` is not a whole number, or below 0.
        """
        check_whole("min_ratings", selection.min_ratings, at_least=0)
        hidden = self.withheld | (self.counts < selection.min_ratings)
        if selection.only is not None:
            others = np.ones(len(hidden), dtype=bool)
            others[self.known_of("only", selection.only, selection.remark)] = False
            hidden |= others
        hidden[self.known_of("exclude", selection.exclude, selection.remark)] = True
        return hidden

    def known_of(self, name: str, ids: Iterable[Any], remark: Callable[[str], None]) -> np.ndarray:
        """Return the positions of the ids that are known; remark on the others."""
        ids = listed(ids)
        found = self.items.find(ids)
        unknown = [str(id_) for id_, position in zip(ids, found) if position < 0]
        if unknown:
            shown = ", ".join(map(shortened, unknown[:3])) + ", ..." * (len(unknown) > 3)
            remark(f"{name}: {len(unknown)} of {len(ids)} ids are no items of this run: {shown}")
        return found[found >= 0]

    def score(self, user: Any, items: Sequence[Any]) -> list[Scored]:
        """Return `items` with a user's predicted ratings, in the order given; see `predict`."""
        ratings = self.predict([user] * len(items), items)
        return self.scored(self.items.positions(items), ratings)

    def similar_items(self, item: Any, selection: Selection) -> list[Scored]:
        """Return the items whose vectors have the highest cosine with that of `item`.

        An item's vector is its hidden representation (item-based), or its row of
        decoder weights (user-based: there the decoder's outputs are the items), or
        its factors (matrix factorization). Vectors are taken relative to the mean
        vector: sigmoid outputs are all positive, so that without this every cosine
        is close to 1. By a linear model (EASE, item-kNN) the score is what a click on `item` adds
        to the other's score. Items without training ratings are left out.

        Raises
        ------
        ConfigError
            If `n` is below 1, or the model has neither vectors nor weights of items.
        DataError
            If the item is unknown.
        """
        position = self.items.positions([item])
        if self.cold_items[position[0]]:
            selection.remark(f"item {item} has no training rating: its neighbours say nothing")

        similarities = self.similarities(slice(None), position)
        if similarities is None:
            raise ConfigError(
                f"`similar_items` needs item vectors, and `model={self.config.model}` has none: "
                "train another model"
            )
        if not similarities.any():
            selection.remark(f"the model knows no item like {item}: its neighbours say nothing")

        hidden = self.hidden(selection)
        hidden[position] = True
        nearest = top(similarities[:, 0], selection.n, hidden)
        return self.scored(nearest, similarities[nearest, 0])

    def similarities(self, items: Any, rated: np.ndarray) -> np.ndarray | None:
        """Return the similarities of items to rated ones; None if the model has none.

        Returns
        -------
        ndarray of float32, shape (items, rated)
            The cosines of `directions`, or the weights of a linear model.
        """
        if self.item_vectors is not None:
            return self.directions[items] @ self.directions[rated].T
        linear = self.parts.linear
        if linear is None or linear.weights is None:
            return None
        return linear.effects(rated)[:, items].T.astype(np.float32, copy=False)

    def reasons(self, items: np.ndarray, by: Rated) -> list[list[Scored]]:
        """Return for each item the rated ones that contribute most to it, best first.

        A rated item contributes its similarity to the item, times how far its rating is above the
        lowest of the scale; a click counts in full. Similarities are the cosines of
        `similar_items`, or the weights of a linear model (EASE, item-kNN). Contributions of 0 or
        below, and an item's own, are left out. A model without vectors or weights has no reasons.

        Parameters
        ----------
        items : ndarray of int, shape (n,)
            Positions of the recommended items.
        by : Rated
            A person's ratings, on their own scale.

        Returns
        -------
        list of list of Scored
            At most `REASONS` for each item; the score is the similarity.
        """
        rated, values = by
        warm = ~self.cold_items[rated]
        rated, values = rated[warm], values[warm]
        similarities = self.similarities(items, rated)
        if similarities is None:
            return [[] for _ in items]

        low, high = self.ratings.bounds
        contributions = similarities * ((values - low) / (high - low) if low < high else 1)
        contributions[items[:, None] == rated] = 0
        best = np.argsort(-contributions, axis=1, kind="stable")[:, :REASONS]
        row = np.arange(len(items))[:, None]
        found = self.scored(rated[best].ravel(), similarities[row, best].ravel())

        counts = (contributions[row, best] > 0).sum(axis=1)
        starts = best.shape[1] * row.ravel()
        return [found[start : start + count] for start, count in zip(starts, counts)]

    def search(self, text: str, n: int = 10) -> list[Scored]:
        """Return the most popular items whose title or id has every word of `text`.

        An item whose id is `text` comes first. Neither case nor accents matter: 'amelie' finds
        'Amélie'.

        Parameters
        ----------
        text : str
            The words; an empty text finds the most popular of all items.
        n : int
            How many items to return, at most.

        Returns
        -------
        list of Scored
            The score is the number of known ratings.
        """
        by_popularity, texts = self._searched
        words = set(folded(text).split())
        found = by_popularity[[all(word in each for word in words) for each in texts]]

        exact = self.items.find([text])
        if exact[0] >= 0:
            found = np.append(exact, found[found != exact[0]])
        return self.scored(found[:n], self.counts[found[:n]])

    @cached_property
    def _searched(self) -> tuple[np.ndarray, list[str]]:
        """The positions of items by popularity, and the texts in which words are searched."""
        by_popularity = np.argsort(-self.counts, kind="stable")
        found = self.scored(by_popularity, self.counts[by_popularity])
        return by_popularity, [folded(f"{each.title}\n{each.item}") for each in found]

    def shown(self, ratings: np.ndarray) -> np.ndarray:
        """Return ratings as the user sees them: clipped to the scale if the run has `clip`."""
        low, high = self.ratings.bounds if self.config.clip else (-np.inf, np.inf)
        return np.minimum(np.maximum(ratings, low), high)  # 5 times as quick as np.clip for ten

    @cached_property
    def directions(self) -> np.ndarray:
        """The item vectors less their mean, scaled to length 1, shape (items, H).

        They are 0 if those of all users are: then the model predicts means, whatever the items'.
        """
        if self.user_table is not None and not self.user_table.any():
            return np.zeros_like(self.item_vectors)
        vectors = self.item_vectors - self.item_vectors[~self.cold_items].mean(axis=0)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, TINY)

    @cached_property
    def prior(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The prior of a new user's outputs, before their first rating.

        It takes vectors and biases of users as normal, with the mean and the covariance of the
        known ones: the outputs are `items @ x + base`, with standard normal x.

        Returns
        -------
        items : ndarray of float32, shape (items, H + 1)
        base : ndarray of float32, shape (items,)
        noise : float
            Variance of the model's errors on the ratings that it was given, before the decoder's
            activation.
        """
        known = _some(np.flatnonzero(~self.cold_users))
        users = np.column_stack([self.user_table[known], self.user_biases[known]])
        variances, axes = np.linalg.eigh(np.cov(users.T, bias=True))
        root = axes * np.sqrt(np.maximum(variances, 0))

        items = np.column_stack([self.item_vectors, np.ones(len(self.item_vectors))])
        base = self.item_biases + items @ users.mean(axis=0, dtype=np.float64)
        noise = np.square(self._left()).mean(dtype=np.float64)
        return (items @ root).astype(np.float32), base.astype(np.float32), float(noise) + TINY

    def _left(self) -> np.ndarray:
        """Return the model's errors on some of the ratings that it was given."""
        some = _some(np.arange(len(self._known)))
        users, items = self._known.users[some], self._known.items[some]
        targets = self._known.values[some] + np.float32(self.ratings.offset)
        if self.parts.output is not None:
            targets = self.parts.output.inverse(targets)

        products = (self.user_table[users] * self.item_vectors[items]).sum(axis=1)
        return targets - products - self.user_biases[users] - self.item_biases[items]

    def prepare(self) -> None:
        """Compute what later answers share, before the first of them."""
        _ = self._searched
        if self.item_vectors is not None:
            _ = self.directions
        if self.user_table is not None:
            _ = self.prior

    def inputs_of(self, user: int) -> Rated:
        """Return a user's ratings that the model reads; none for -1, an unknown user."""
        row = self._inputs[user : user + 1]
        return row.indices, row.data - np.float32(self.ratings.offset)

    def of_rows(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Return the outputs of a model that reads users' rows, float32, shape (rows, items)."""
        if self.parts.score_rows is None:
            raise ConfigError(
                "this model reads the ratings of items, and has no vectors of users: for new users "
                "train it with `based=user`"
            )
        return self.parts.score_rows(matrix).astype(np.float32, copy=False)

    def activated(self, outputs: np.ndarray) -> np.ndarray:
        """Return products of vectors, with their biases, after the decoder's activation."""
        return outputs if self.parts.output is None else self.parts.output(outputs)

    def unclipped(self, users: np.ndarray) -> np.ndarray:
        """Return unclipped predictions of all items for some users, shape (users, items)."""
        if self.parts.scores is not None:
            raw = self.parts.scores[users]
        elif self.user_table is None:
            raw = self.of_rows(self._inputs[users])
        else:
            biases = self.user_biases[users, None] + self.item_biases
            raw = self.activated(self.user_table[users] @ self.item_vectors.T + biases)

        if self.config.task == "ranking":
            raw[self.cold_users[users]] = self.counts
            return raw

        rows, columns = np.nonzero(self.cold_users[users, None] | self.cold_items)
        if len(rows) and not self.config.predicts_cold:
            raw[rows, columns] = self._known.means().at(users[rows], columns)
        return raw - np.float32(self.ratings.offset)

    def best_of_all(
        self, selection: Selection
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield all users with their `n` best items and the ratings of these, a block at a time.

        Yields
        ------
        users : ndarray of int, shape (B,)
            Positions of the users.
        items : ndarray of int, shape (B, min(n, items))
            Positions of their items, best first.
        ratings : ndarray of float32, shape (B, min(n, items))
            The predicted ratings; -inf where there are fewer items.
        """
        hidden = self.hidden(selection)
        for _, block in self._blocks(np.arange(len(self.cold_users))):
            scores = self.unclipped(block)
            if selection.filter_already_rated:
                seen = self._seen[block].tocoo()
                scores[seen.row, seen.col] = -np.inf
            np.copyto(scores, -np.inf, where=hidden)

            items = top_items(scores, selection.n)
            best = np.take_along_axis(scores, items, axis=1)
            yield block, items, np.where(best > -np.inf, self.shown(best), best)

    def _blocks(self, users: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield blocks of users whose predictions fit into `CELLS`, and where they begin."""
        size = max(1, CELLS // self.ratings.num_items)
        for start in range(0, len(users), size):
            yield start, users[start : start + size]

    def scored(self, items: np.ndarray, scores: np.ndarray) -> list[Scored]:
        """Return items, given by positions, with their ids, titles and scores."""
        ids, counts = self.ratings.item_ids[items].tolist(), self.counts[items].tolist()
        titles = [self.ratings.titles.get(id_, "") for id_ in ids]
        return list(map(Scored, ids, titles, map(float, scores), counts))


@lru_cache(maxsize=1)
def predictor_of(run: Any) -> Predictor:
    """Return the `Predictor` of a `TrainedModel`; the latest one is kept, for calls in a loop."""
    return Predictor(run.config, run.ratings, run.inputs, run.parts())


def _some(positions: np.ndarray) -> np.ndarray:
    """Return about `SAMPLE` of many positions, evenly spread."""
    return positions[:: 1 + len(positions) // SAMPLE]


def top(scores: np.ndarray, n: int, hidden: np.ndarray) -> np.ndarray:
    """Return the positions of the `n` highest scores that are not hidden, best first.

    Equal scores come in order of their positions.

    Parameters
    ----------
    scores : ndarray, shape (items,)
        The scores.
    n : int
        How many positions, at most.
    hidden : ndarray of bool, shape (items,)
        Which items are left out.

    Returns
    -------
    ndarray of int64, shape (min(n, items that are not hidden),)

    Raises
    ------
    ConfigError
        If `n` is below 1.
    """
    check_whole("n", n, at_least=1)
    (best,) = top_items(np.where(hidden, -np.inf, scores)[None], n)
    return best[~hidden[best]]


def shortage(there: int, wanted: int) -> str:
    """Return a sentence for the case that fewer items are left than were asked for."""
    if there:
        return f"only {there} items are left to choose from, {wanted} were asked for"
    return "every item is rated already or left out by a filter: there is nothing to recommend"


def folded(text: str) -> str:
    """Return a text without accents and differences of case, for comparisons."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return plain.casefold()

"""Item-based k-nearest neighbours of clicks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..kinds import ClickModel
from ..options import AT_LEAST_1, Among, Span, one_of, option
from ..registry import register

if TYPE_CHECKING:
    import numpy as np
    from scipy import sparse

    from ..vectors import Linear

WEIGHTINGS = ("bm25", "cosine")
NEIGHBORS = (20, 50, 100, 200, 500)  # the numbers to choose from
USUAL = 100  # neighbours, where nothing can be chosen
SATURATION, BY_LENGTH = 1.2, 0.2  # k1 and b of BM25
CELLS = 1 << 24  # similarities held at a time: 64 MiB


@register("item-knn")
@dataclass(frozen=True)
class ItemKNNConfig(ClickModel):
    """The options of item-based k-nearest neighbours.

    An item's score is the sum of its similarities to the items that a user clicked. Each item
    keeps the similarities to those that are most like it; the others are 0.

    Source: Sarwar et al., Item-based Collaborative Filtering Recommendation Algorithms, WWW 2001.
    """

    neighbors: int | None = option(
        None,
        "similar items that each item keeps (default: chosen on the validation users)",
        AT_LEAST_1,
        space=Span(10, 500, log=True),
    )
    weighting: str | None = option(
        None,
        "of clicks (default: chosen with the neighbors)",
        one_of(WEIGHTINGS),
        space=Among(WEIGHTINGS),
    )

    about = "item-based k-nearest neighbours"
    at_once = True
    compared = {"item-kNN": {}}

    def choose(self, matrix: Any, score: Callable[["Linear"], float]) -> "ItemKNNConfig":
        """Return the options with the neighbours and the weighting of a grid that score best."""
        sizes = NEIGHBORS if self.neighbors is None else (self.neighbors,)
        weightings = WEIGHTINGS if self.weighting is None else (self.weighting,)
        if len(sizes) == len(weightings) == 1:
            return self

        found: dict[tuple[int, str], float] = {}
        for weighting in weightings:
            most = neighbors_of(weighted(matrix, weighting), max(sizes))
            found |= {(size, weighting): score(linear(*most, size)) for size in sizes}
        neighbors, weighting = max(found, key=found.__getitem__)
        return replace(self, neighbors=neighbors, weighting=weighting)

    def fit(self, matrix: Any) -> "Linear":
        """Return the similarities; an item's column holds those to its neighbours, else 0."""
        size = self.neighbors or USUAL
        clicks = weighted(matrix, self.weighting or WEIGHTINGS[0])
        return linear(*neighbors_of(clicks, size), size)


def weighted(clicks: Any, weighting: str) -> "sparse.csr_matrix":
    """Return weighted clicks, users x items: the product of two columns is their similarity.

    BM25 takes a user for a term and an item for a document: a click counts more if its user has
    few, and less if its item has many.
    """
    import numpy as np
    from scipy import sparse

    users, items = clicks.shape
    of_users = np.bincount(clicks.nonzero()[0], minlength=users)
    of_items = np.maximum(np.bincount(clicks.indices, minlength=items), 1)

    if weighting == "cosine":
        return (clicks @ sparse.diags(1 / np.sqrt(of_items))).tocsr()
    rarity = np.maximum(np.log(items) - np.log1p(of_users), 0)
    lengths = 1 - BY_LENGTH + BY_LENGTH * of_items / of_items.mean()
    saturation = (SATURATION + 1) / (SATURATION * lengths + 1)
    return (sparse.diags(rarity) @ clicks @ sparse.diags(saturation)).tocsr()


def neighbors_of(matrix: Any, size: int) -> "tuple[np.ndarray, np.ndarray]":
    """Return the `size` nearest neighbours of each column, best first, and their similarities.

    The similarities, all products of two columns, are made a block of columns at a time.

    Shape: (items, size), (items, size).
    """
    import numpy as np

    from ..vectors import top_items

    rows = max(1, CELLS // matrix.shape[1])
    by_item = matrix.T.tocsr()
    found = []
    for start in range(0, matrix.shape[1], rows):
        similarities = (by_item[start : start + rows] @ matrix).toarray().astype(np.float32)
        np.fill_diagonal(similarities[:, start:], 0)
        others = top_items(similarities, size)
        found.append((others, np.take_along_axis(similarities, others, axis=1)))
    others, similarities = map(np.concatenate, zip(*found))
    return others, similarities


def linear(others: "np.ndarray", similarities: "np.ndarray", size: int) -> "Linear":
    """Return the linear scores by the first `size` of the neighbours of each item."""
    import numpy as np
    from scipy import sparse

    from ..vectors import Linear

    items = np.arange(len(others))
    values = similarities[:, :size]
    cells = others[:, :size].ravel(), items.repeat(values.shape[1])
    weights = sparse.csr_matrix((values.ravel(), cells), shape=(len(items), len(items)))
    weights.eliminate_zeros()
    return Linear(weights, np.zeros(len(items), dtype=np.float32))

"""Item-based k-nearest neighbours of clicks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..kinds import ClickModel
from ..options import AT_LEAST_1, Among, Span, one_of, option
from ..registry import register

if TYPE_CHECKING:
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

        items = matrix.shape[1]
        found: dict[tuple[int, str], float] = {}
        for weighting in weightings:
            most = neighbors_of(weighted(matrix, weighting), max(sizes))
            found |= {(size, weighting): score(linear(most, size, items)) for size in sizes}
        neighbors, weighting = max(found, key=found.__getitem__)
        return replace(self, neighbors=neighbors, weighting=weighting)

    def fit(self, matrix: Any) -> "Linear":
        """Return the similarities; an item's column holds those to its neighbours, else 0."""
        size = self.neighbors or USUAL
        clicks = weighted(matrix, self.weighting or WEIGHTINGS[0])
        return linear(neighbors_of(clicks, size), size, matrix.shape[1])


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


class Neighbors(NamedTuple):
    """The nearest neighbours of all items, sorted by item, and then by rank.

    Parameters
    ----------
    items, others, ranks : ndarray of int, shape (n,)
        Position of an item and of a neighbour, and the neighbour's rank from 0.
    similarities : ndarray of float32, shape (n,)
        How similar the two are.
    """

    items: Any
    others: Any
    ranks: Any
    similarities: Any


def neighbors_of(matrix: "sparse.csr_matrix", size: int) -> Neighbors:
    """Return the `size` nearest neighbours of each column, made dense a block at a time."""
    import numpy as np

    rows = max(1, CELLS // matrix.shape[1])
    by_item = matrix.T.tocsr()
    starts = range(0, matrix.shape[1], rows)
    blocks = [nearest(by_item[start : start + rows] @ matrix, start, size) for start in starts]
    return Neighbors(*map(np.concatenate, zip(*blocks)))


def nearest(products: "sparse.csr_matrix", start: int, size: int) -> Neighbors:
    """Return the `size` highest products of each row, the first of equal ones.

    The rows are items from position `start` on.
    """
    import numpy as np

    similarities = products.toarray().astype(np.float32)
    rows = np.arange(len(similarities))
    similarities[rows, start + rows] = 0
    size = min(size, similarities.shape[1])
    last = -np.partition(-similarities, size - 1, axis=1)[:, size - 1]

    items, others = np.nonzero((similarities >= last[:, None]) & (similarities > 0))
    values = similarities[items, others]
    order = np.lexsort((-values, items))  # equal ones stay in order
    items, others, values = items[order], others[order], values[order]
    ranks = np.arange(len(items)) - np.searchsorted(items, items)

    kept = ranks < size
    return Neighbors(start + items[kept], others[kept], ranks[kept], values[kept])


def linear(found: Neighbors, size: int, items: int) -> "Linear":
    """Return the linear scores by the `size` nearest neighbours of each item."""
    import numpy as np
    from scipy import sparse

    from ..vectors import Linear

    kept = found.ranks < size
    cells = found.similarities[kept], (found.others[kept], found.items[kept])
    weights = sparse.csr_matrix(cells, shape=(items, items))
    return Linear(weights, np.zeros(items, dtype=np.float32))

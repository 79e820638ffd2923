"""Which model for some ratings: the models that are compared on the same folds, and a verdict."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .paper_tables import RANKING, Row, Table

SURE = 0.95  # of a difference that is called one
BEST = {"preset": "best"}
ROWS = {
    "rating": (
        Row("user and item means", {"model": "bias", "clip": True}),
        Row("matrix factorization", {"model": "mf", **BEST}),
        Row("I-AutoRec", {"model": "autorec", **BEST}),
        Row("U-AutoRec", {"model": "autorec", **BEST, "based": "user"}),
    ),
    "ranking": (
        Row("popularity", {"model": "popularity"}),
        Row("EASE", {"model": "ease"}),
        Row("Mult-DAE", {"model": "mult-dae"}),
        Row("Mult-VAE", {"model": "mult-vae", "anneal": "recotour"}),
    ),
}


class Compared(NamedTuple):
    """A model's figures, one for each fold."""

    label: str
    values: Sequence[float]


class Difference(NamedTuple):
    """A paired difference over folds: its mean, standard error, and whether it is one."""

    mean: float
    error: float
    is_sure: bool


def models_table(kind: str, data: Mapping[str, Any], folds: int, source: str) -> Table:
    """The models of a kind on the folds of some data.

    Parameters
    ----------
    kind : {'rating', 'ranking'}
    data : mapping
        Options that say what the data are.
    folds : int
    source : str
        What the data are called.
    """
    more: dict[str, Any] = {}
    if kind == "ranking":
        more = RANKING

    return Table(
        "models",
        f"Which model for {source}",
        f"The same {folds} folds for every model; each chooses its epochs, where it has any, on "
        "validation data of its own.",
        {**data, "split": "k-fold", "folds": folds},
        ROWS[kind],
        "fold",
        range(1, folds + 1),
        **more,
    )


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """What `one` is above `other`, fold by fold.

    The standard error is that of independent folds. They share training data, so that it is
    rather too small (Nadeau and Bengio, Inference for the generalization error, 2003).
    """
    differences = [a - b for a, b in zip(one, other)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))

    from scipy import stats  # here: it is slow to load

    quantile = float(stats.t.ppf((1 + SURE) / 2, len(differences) - 1))
    return Difference(mean, error, abs(mean) > quantile * error)


def best_of(compared: Sequence[Compared], higher_is_better: bool) -> Compared:
    """The model with the best mean; the first of equal ones."""
    sign = 1
    if higher_is_better:
        sign = -1
    return min(compared, key=lambda one: sign * statistics.fmean(one.values))


def conclusion(
    compared: Sequence[Compared], higher_is_better: bool, baseline: str, label: str
) -> str:
    """What the figures bear out, in a sentence or two.

    Parameters
    ----------
    compared : sequence of Compared
    higher_is_better : bool
    baseline : str
        The label of the model that every other has to beat.
    label : str
        Of the metric.
    """
    best = best_of(compared, higher_is_better)
    behind = {
        other.label: difference(other.values, best.values) for other in compared if other != best
    }
    figure = f"{label} {statistics.fmean(best.values):.4f}"
    unsure = [name for name, apart in behind.items() if not apart.is_sure]

    if best.label == baseline:
        text = f"No model beats {baseline} ({figure}) on these data"
    else:
        text = f"{best.label} is best ({figure})"

    if unsure:
        return f"{text}, but these folds do not tell it from {_listed(unsure)}."
    nearest = min(behind, key=lambda name: abs(behind[name].mean))
    apart = behind[nearest]
    return (
        f"{text}; the next, {nearest}, is behind by {abs(apart.mean):.4f} ± {apart.error:.4f} "
        "(standard error over folds)."
    )


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"

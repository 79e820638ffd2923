"""The best of a search against iALS and item-kNN of `implicit`, tuned on the same users.

    pip install -e '.[cpu,tune,bench]'
    D2L_AUTOREC_DATA=... python tests/benchmarks/implicit_rivals.py [--sets ml-100k,FILE,...]
        [--folds 3] [--trials 7] [--models ease,ials,mult-dae]

Clicks are ratings of 4 or more, or all rows of a file without ratings; five folds of users: one
tests, the next one validates. Ours is what `tune` finds among the models of `report --task
ranking`, trained as it says; theirs the best on the validation users of a walk over a grid. Prints
the ratio of the mean NDCG@100, and the paired difference over all test users with its t; exits with
1 where ours is surely below (t < -2).
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from scipy import sparse, stats

import d2l_autorec as d2l
from d2l_autorec.data.clicks import Clicks, Fold, HeldOutUsers
from d2l_autorec.evaluation.ranking import RankingEvaluation
from d2l_autorec.runs.tuning import tune
from d2l_autorec.training.devices import resolve_devices

DEPTH = 100
NDCG = f"ndcg@{DEPTH}"


def ndcg(model: Any, part: HeldOutUsers) -> np.ndarray:
    """NDCG@100 of each user with held-out clicks, by what `recommend` of implicit returns."""
    measured = np.flatnonzero(np.diff(part.held_out.indptr))
    fold_in, held_out = part.fold_in[measured], part.held_out[measured]
    options = {"recalculate_user": True} if hasattr(model, "item_factors") else {}
    count = min(DEPTH, fold_in.shape[1])
    items, _ = model.recommend(np.arange(len(measured)), fold_in, N=count, **options)

    discounts = 1 / np.log2(np.arange(2, count + 2))
    hits = np.take_along_axis(held_out.toarray(), np.maximum(items, 0), axis=1) * (items >= 0)
    most = np.minimum(np.diff(held_out.indptr), count)
    return (hits * discounts).sum(axis=1) / np.cumsum(discounts)[most - 1]


def fitted(model: Any, train: sparse.csr_matrix) -> Any:
    model.fit(train, show_progress=False)
    return model


def als(factors: int, regularization: float, alpha: float) -> Any:
    return AlternatingLeastSquares(
        factors, regularization=regularization, alpha=alpha, iterations=15, random_state=0
    )


def walked(make: Callable[..., Any], grid: list[list[Any]], clicks: Clicks) -> Any:
    """The best model on validation users: from the middle, one option at a time, until none."""
    found: dict[tuple[Any, ...], float] = {}

    def score(point: tuple[Any, ...]) -> float:
        if point not in found:
            found[point] = ndcg(fitted(make(*point), clicks.train), clicks.validation).mean()
        return found[point]

    best: tuple[Any, ...] = tuple(values[len(values) // 2] for values in grid)
    while True:
        before = best
        for place, values in enumerate(grid):
            best = max((best[:place] + (v,) + best[place + 1 :] for v in values), key=score)
        if best == before:
            return fitted(make(*best), clicks.train), best


def rivals(clicks: Clicks) -> Iterator[tuple[str, Any]]:
    grids = {
        "iALS": (
            als,
            [[32, 64, 128], [1.0, 3.0, 10.0, 30.0, 100.0, 300.0], [1.0, 3.0, 10.0, 30.0]],
        ),
        "cosine": (CosineRecommender, [[20, 50, 100, 200, 500]]),
        "BM25": (BM25Recommender, [[20, 50, 100, 200, 500], [0.6, 1.2, 100.0], [0.2, 0.5, 0.8]]),
    }
    for name, (make, grid) in grids.items():
        model, best = walked(make, grid, clicks)
        print(f"  {name} {best}", file=sys.stderr)
        yield name, model


def ours(clicks: Clicks, models: str | None, trials: int) -> np.ndarray:
    """NDCG@100 of the same users, by what a search finds."""
    tuned = tune({"model": models} if models else None, clicks, trials=trials)
    print(f"  ours {tuned.options}, validation {tuned.validation:.4f}", file=sys.stderr)
    net = d2l.train_model(tuned.config, clicks).net
    evaluation = RankingEvaluation(
        clicks.test.fold_in, clicks.test.held_out, resolve_devices(None, 1)
    )
    return evaluation.per_user(evaluation.measured(net))[NDCG]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default="ml-100k,ml-latest-small,ml-1m")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=7)
    parser.add_argument("--models")
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    missed = False
    for name in options.sets.split(","):
        of_folds: dict[str, list[np.ndarray]] = {}
        for number in range(1, options.folds + 1):
            is_own = Path(name).is_file()
            ratings = d2l.read_ratings(name, implicit=True) if is_own else d2l.load_ratings(name)
            threshold = None if ratings.values.max() == 1 else 4
            clicks = d2l.prepare_clicks(ratings, threshold, heldout_users=Fold(number, 5))
            of_folds.setdefault("ours", []).append(ours(clicks, options.models, options.trials))
            for rival, model in rivals(clicks):
                of_folds.setdefault(rival, []).append(ndcg(model, clicks.test))

        users = {contender: np.concatenate(values) for contender, values in of_folds.items()}
        mine = users.pop("ours")
        for rival, theirs in users.items():
            found = stats.ttest_rel(mine, theirs)
            print(
                f"{name}: ours {mine.mean():.4f}, {rival} {theirs.mean():.4f}, ratio "
                f"{mine.mean() / theirs.mean():.3f}, difference {(mine - theirs).mean():+.4f}, "
                f"t {found.statistic:+.1f} over {len(mine)} users",
                flush=True,
            )
            missed |= found.statistic < -2

    sys.exit(int(missed))


if __name__ == "__main__":
    main()

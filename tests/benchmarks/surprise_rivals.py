"""The default on small, sparse and noisy ratings, against five models of Surprise and the means.

    pip install -e '.[cpu,bench]'
    D2L_AUTOREC_DATA=... python tests/benchmarks/surprise_rivals.py [--sets a,FILE] [--folds 10]

Surprise's, all clipped to the scale: BaselineOnly, SVD, SVD with the best of `GRID` on a tenth of
the training ratings, SVD++ and KNNBaseline. Prints the mean test RMSE over random folds, as ratios
to the default's; exits with 1 where the default is more than .5 % above the best of the five on a
set, above it on more than one set of six, or above its own means or the global mean. (Of the 250
test ratings of one small fold, chance decides about 1 %.)
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from surprise import SVD, BaselineOnly, Dataset, KNNBaseline, Reader, SVDpp

import d2l_autorec as d2l

GRID = [
    dict(n_factors=factors, n_epochs=epochs, reg_all=penalty)
    for factors, epochs, penalty in product((20, 50, 100), (20, 40), (0.02, 0.05, 0.1, 0.2))
]
MARGIN = 1.005
EVEN = 1.0005  # what is no difference


def ratings_of(users: Any, items: Any, values: Any, scale: tuple[float, float]) -> d2l.Ratings:
    frame = pd.DataFrame({"user": users, "item": items, "rating": values})
    return d2l.Ratings.from_frame(frame, user="user", item="item", rating="rating", scale=scale)


def part_of(name: str, size: int) -> d2l.Ratings:
    """So many random ratings of a data set."""
    full = d2l.load_ratings(name)
    chosen = np.random.default_rng(0).choice(len(full), size, replace=False)
    users, items = full.user_ids[full.users[chosen]], full.item_ids[full.items[chosen]]
    return ratings_of(users, items, full.values[chosen], full.bounds)


def drawn(  # noqa: PLR0913  # what the ratings are made of
    size: int,
    shape: tuple[int, int],
    scale: tuple[float, float],
    mean: float,
    user_sd: float,
    item_sd: float,
    taste: float,
    noise: float,
) -> d2l.Ratings:
    """Whole ratings mean + user bias + item bias + taste (two factors) + noise.

    Users and items are the more frequent the lower their number.
    """
    rng = np.random.default_rng(size)
    numbers = [rng.choice(n, 2 * size, p=_shares(n)) for n in shape]
    pairs = rng.permutation(np.unique(np.stack(numbers, axis=1), axis=0))[:size]
    users, items = pairs.T

    biases = rng.normal(0, user_sd, shape[0])[users] + rng.normal(0, item_sd, shape[1])[items]
    factors = rng.normal(size=(shape[0], 2))[users] * rng.normal(size=(shape[1], 2))[items]
    values = mean + biases + taste / 2**0.5 * factors.sum(axis=1) + rng.normal(0, noise, size)
    return ratings_of(users, items, values.round().clip(*scale), scale)


def _shares(size: int) -> np.ndarray:
    weights = 1 / (np.arange(size) + 10) ** 0.75
    return weights / weights.sum()


SETS: dict[str, Callable[[], d2l.Ratings]] = {
    "ml-latest-small:2500": lambda: part_of("ml-latest-small", 2500),
    "ml-latest-small:5000": lambda: part_of("ml-latest-small", 5000),
    "ml-100k:2500": lambda: part_of("ml-100k", 2500),
    "ml-100k:5000": lambda: part_of("ml-100k", 5000),
    "sparse": lambda: drawn(14_000, (5000, 2500), (1, 5), 4.0, 0.25, 0.35, 0.15, 0.9),
    "noisy": lambda: drawn(6000, (1500, 1200), (1, 100), 55.0, 9.0, 8.0, 8.0, 20.0),
    "to 10": lambda: drawn(8000, (1800, 1500), (0, 10), 7.3, 0.7, 0.7, 0.5, 1.4),
}


def rivals(seed: int, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "BaselineOnly": BaselineOnly(verbose=False),
        "SVD": SVD(random_state=seed),
        "SVD, tuned": SVD(random_state=seed, **options),
        "SVD++": SVDpp(random_state=seed),
        "KNNBaseline": KNNBaseline(verbose=False),
    }


def error_of(model: Any, train: d2l.Ratings, test: d2l.Ratings) -> float:
    """Test RMSE of a model of Surprise, which clips."""
    frame = pd.DataFrame({"user": train.users, "item": train.items, "rating": train.values})
    data = Dataset.load_from_df(frame, Reader(rating_scale=train.bounds))
    model.fit(data.build_full_trainset())

    cells = zip(test.users.tolist(), test.items.tolist())
    predicted = [model.predict(user, item).est for user, item in cells]
    return float(np.sqrt(np.mean((predicted - test.values) ** 2)))


def errors_of(train: d2l.Ratings, test: d2l.Ratings, seed: int) -> dict[str, float]:
    """Test RMSE of each contender on one fold."""
    model = d2l.train_model(train=train, test=test, config=d2l.AutoRecConfig(seed=seed, quiet=True))
    found = {
        "default": model.metrics["test_rmse"],
        "means": model.metrics["baseline_test_rmse"],
        "global mean": model.metrics["global_mean_test_rmse"],
    }
    fit, validation = d2l.random_split(train, test_ratio=0.1, seed=seed + 1)
    tuned = min(GRID, key=lambda o: error_of(SVD(random_state=seed, **o), fit, validation))
    return found | {name: error_of(m, train, test) for name, m in rivals(seed, tuned).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--folds", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore", d2l.DataWarning)

    to_best, to_means = [], []
    for name in options.sets.split(","):
        own = partial(d2l.read_ratings, name, duplicates="last")
        folds = d2l.k_folds(SETS.get(name, own)(), options.folds)
        runs = pd.DataFrame([errors_of(*fold, seed) for seed, fold in enumerate(folds)]).mean()
        ratios = runs / runs["default"]
        to_best.append(1 / ratios.drop(["default", "means", "global mean"]).min())
        to_means.append(1 / ratios[["means", "global mean"]].min())
        others = ", ".join(f"{label} {ratio:.4f}" for label, ratio in ratios.items())
        print(f"{name}: RMSE {runs['default']:.4f}; {others}", flush=True)

    lost = sum(ratio > EVEN for ratio in to_best)
    print(f"{lost} of {len(to_best)} lost to the best of Surprise, at most by {max(to_best):.4f}")
    sys.exit(int(lost > len(to_best) // 6 or max(to_best) > MARGIN or max(to_means) > EVEN))


if __name__ == "__main__":
    main()

"""The reference RMSE on the real MovieLens 100K, and what generated ratings must show."""

import numpy as np
import pandas as pd
import pytest
from helpers import ids_of, train_run

from d2l_autorec import AutoRecConfig
from d2l_autorec.data.sources import load_official_fold, load_ratings
from d2l_autorec.support.errors import DataWarning


def chapter_rmse(data_dir, out, seed, **options):
    given = dict(dataset="ml-100k", data_dir=str(data_dir), out=str(out / f"{seed}{options}"))
    return train_run(AutoRecConfig(**given, seed=seed, quiet=True, **options))["test_rmse"]


def over_five_seeds(what, *arguments, **options):
    scores = [chapter_rmse(*arguments, seed, **options) for seed in range(5)]
    print(f"\n{what}: test RMSE {np.mean(scores):.4f} +- {np.std(scores, ddof=1):.4f}")
    return np.array(scores)


@pytest.mark.realdata
@pytest.mark.slow
def test_chapter_settings_over_five_seeds(data_dir, tmp_path):
    """Within the book's range, and the same with either kernel."""
    sparse = over_five_seeds("chapter, sparse", data_dir, tmp_path, kernel="sparse")
    dense = over_five_seeds("chapter, dense", data_dir, tmp_path, kernel="dense")
    assert 0.885 <= sparse.mean() <= 0.910
    assert np.abs(sparse - dense).max() < 0.001  # same seeds: rounding alone differs


@pytest.mark.realdata
@pytest.mark.slow
def test_early_stopping_and_refit_beat_25_epochs(data_dir, tmp_path):
    fixed = over_five_seeds("25 epochs", data_dir, tmp_path)
    stopped = over_five_seeds("early stopping", data_dir, tmp_path, epochs=200, val_ratio=0.1)
    refitted = over_five_seeds(
        "early stopping, refit", data_dir, tmp_path, epochs=200, val_ratio=0.1, refit=True
    )
    assert stopped.mean() < fixed.mean() and refitted.mean() < fixed.mean() - 0.008


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name, shape, first_title",
    [
        ("ml-100k", (943, 1682, 100_000), "Toy Story (1995)"),
        ("ml-1m", (6040, 3706, 1_000_209), "Toy Story (1995)"),
        ("ml-latest-small", (610, 9724, 100_836), "Toy Story (1995)"),
    ],
)
def test_releases(data_dir, recwarn, name, shape, first_title):
    ratings = load_ratings(name, data_dir)
    assert (ratings.num_users, ratings.num_items, len(ratings)) == shape
    assert ratings.titles[1] == first_title
    assert not [w for w in recwarn if w.category is DataWarning]


def rows_of(ratings):
    return list(zip(*(column.tolist() for column in (*ids_of(ratings), ratings.values))))


@pytest.mark.realdata
@pytest.mark.parametrize("fold, sizes", [("u1", (80_000, 20_000)), ("ua", (90_570, 9430))])
def test_official_folds(data_dir, fold, sizes):
    train, test = load_official_fold(fold, data_dir)
    assert (len(train), len(test)) == sizes and train.num_items == 1682
    whole = load_ratings("ml-100k", data_dir)
    parts = [*rows_of(train), *rows_of(test)]
    assert len(parts) == len(whole) and set(parts) == set(rows_of(whole))


@pytest.mark.realdata
def test_string_ids_in_any_order_give_the_same_rmse(data_dir, tmp_path):
    """ML-100K as a csv with shuffled string ids: the same RMSE to the last digit."""
    rng = np.random.default_rng(7)
    table = pd.read_csv(
        data_dir / "ml-100k" / "u.data", sep="\t", names=["user", "item", "rating", "timestamp"]
    )
    for role, letter in (("user", "u"), ("item", "movie ")):
        names = rng.permutation(table[role].max() + 1)
        table[role] = [f"{letter}{names[k]}" for k in table[role]]
    table.to_csv(tmp_path / "mine.csv", index=False)
    options = dict(epochs=3, hidden=(50,), quiet=True, preset="chapter")
    sources = {
        "own": dict(ratings=str(tmp_path / "mine.csv")),
        "real": dict(dataset="ml-100k", data_dir=str(data_dir)),
    }
    own, real = (
        train_run(AutoRecConfig(**source, out=str(tmp_path / name), **options))
        for name, source in sources.items()
    )
    for name in ("test_rmse", "test_mae", "train_rmse", "cold_test_ratings"):
        assert own[name] == real[name]

"""The reference RMSE on the real MovieLens 100K, and what generated ratings must show."""

import numpy as np
import pytest

from d2l_autorec import AutoRecConfig
from d2l_autorec.datasets import load_ratings, synthetic_ratings
from d2l_autorec.run import split_ratings, train_model


def chapter_rmse(data_dir, out, seed):
    return train_model(AutoRecConfig(dataset="ml-100k", data_dir=str(data_dir), seed=seed,
                                     out=str(out / str(seed)), quiet=True))["test_rmse"]


@pytest.mark.realdata
def test_chapter_settings(data_dir, tmp_path):
    assert 0.88 < chapter_rmse(data_dir, tmp_path, seed=0) < 0.92


@pytest.mark.realdata
@pytest.mark.slow
def test_chapter_settings_over_five_seeds(data_dir, tmp_path):
    scores = [chapter_rmse(data_dir, tmp_path, seed) for seed in range(5)]
    print(f"test RMSE {np.mean(scores):.4f} +- {np.std(scores, ddof=1):.4f}", scores)
    assert 0.885 <= np.mean(scores) <= 0.910


def test_autorec_beats_the_item_mean_on_generated_ratings(tmp_path):
    config = AutoRecConfig(dataset="synthetic", out=str(tmp_path / "run"), quiet=True)
    result = train_model(config)
    train, test = split_ratings(config, synthetic_ratings(seed=0))
    sums = np.bincount(train.items, train.values, train.num_items)
    counts = np.bincount(train.items, minlength=train.num_items)
    means = np.where(counts, sums / np.maximum(counts, 1), train.values.mean())
    item_mean_rmse = np.sqrt(np.mean((test.values - means[test.items]) ** 2))
    assert result["test_rmse"] < 0.95 * item_mean_rmse


@pytest.mark.realdata
def test_ml_100k_is_the_real_one(data_dir):
    ratings = load_ratings("ml-100k", data_dir)
    assert (ratings.num_users, ratings.num_items, len(ratings)) == (943, 1682, 100_000)
    assert ratings.values.mean() == pytest.approx(3.52986)  # the mean in the data set's README

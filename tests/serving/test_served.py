"""What is served is what was measured, from the run folder alone; and nothing rated is."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers import ids_of, train_into

import d2l_autorec as d2l
from d2l_autorec.data.clicks import Clicks
from d2l_autorec.data.sources import load_ratings
from d2l_autorec.evaluation.metrics import hits_at, mae, ndcg_at, recall_at, rmse
from d2l_autorec.runs.rating import load_and_split
from d2l_autorec.serving.predictor import predictor_of
from d2l_autorec.trained_model import load_run

SMALL = dict(dataset="synthetic:60x80x900", quiet=True, cpus=1, seed=3)
AUTOREC = dict(hidden=(6,), batch_size=16, init_sigma=0.3, epochs=4, lr=0.01)
VALIDATED = dict(val_ratio=0.3, patience=2)
PRETRAINED = dict(hidden=(6, 3, 6), pretrain=True, pretrain_epochs=(2, 2))
REFITTED = dict(val_ratio=0.1, refit=True)
RATING_RUNS = {
    "chapter": AUTOREC,
    "validation and refit": {**AUTOREC, **VALIDATED, "refit": True},
    "dense": {**AUTOREC, **VALIDATED, "kernel": "dense"},
    "three devices": {**AUTOREC, **VALIDATED, "cpus": 3},
    "deep, bounded": {**AUTOREC, **VALIDATED, "hidden": (6, 3, 6), "decoder_activation": "tanh"},
    "tied": {**AUTOREC, **VALIDATED, "tied": True},
    "scaled inputs": {**AUTOREC, "input_scale": 3.0, "val_ratio": 0.1},
    "centered, scaled inputs": {**AUTOREC, "input_scale": 0.5, "center": True},
    "centered, pretrained, refitted": {**AUTOREC, **PRETRAINED, "center": True, **REFITTED},
    "paper": {**AUTOREC, "preset": "paper"},
    "best": {"preset": "best", "hidden": (6,), "epochs": 3},
    "deep best": {"preset": "best", "hidden": (6, 3), "epochs": 3, "refit": False},
    "k-fold": {**AUTOREC, **VALIDATED, "split": "k-fold", "fold": 2},
    "centered users": {**AUTOREC, "center": True, "based": "user"},
    "mf": dict(model="mf", epochs=3, factors=5, lr=0.01),
    "centered, clipped mf": dict(model="mf", epochs=3, center=True, penalty=0.1, clip=True),
    "mf by sgd": dict(model="mf", epochs=3, factors=5, optimizer="sgd"),
    "mf best": dict(model="mf", preset="best", epochs=4, factors=4),
    "means": dict(model="bias", val_ratio=0.3),
    "mean": dict(model="mean"),
}
BY_MXNET = ("dense", "mf by sgd", "means", "mean")  # what its operators train
CLICKS = dict(heldout_users=12, threshold=3.0, min_user_clicks=1)
TRAINED = dict(epochs=3, hidden=(8,), batch_size=16, **CLICKS)
RANKING_RUNS = {
    "mult-vae": dict(model="mult-vae", **TRAINED),
    "best beta": dict(model="mult-vae", search_beta=True, anneal_steps=20, **TRAINED),
    "mult-dae": dict(model="mult-dae", **TRAINED),
    "dense mult-dae": dict(model="mult-dae", kernel="dense", **TRAINED),
    "recvae": dict(model="recvae", **{**TRAINED, "hidden": (8, 4)}),
    "popularity": dict(model="popularity", **CLICKS),
    "ease": dict(model="ease", penalty=20.0, **CLICKS),
}


def finished(options, folder):
    return train_into(folder, **{**SMALL, **options}), load_run(folder)


def cells(ratings):
    return set(zip(*(ids.tolist() for ids in ids_of(ratings))))


def assert_nothing_rated_is_recommended(run):
    """Nor what a user has rated in the validation part, or in the test part."""
    rated = cells(run.ratings)
    for user in run.ratings.user_ids[::4].tolist():
        found = {(user, scored.item) for scored in run.recommend(user, 80)}
        assert found and not found & rated


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RATING_RUNS)
def test_predictions_are_those_that_were_measured(name, tmp_path):
    result, run = finished(RATING_RUNS[name], tmp_path / "run")
    train, test = load_and_split(run.config)
    assert result["kernel"] == ("dense" if name in BY_MXNET else "sparse")
    assert result["model"] == RATING_RUNS[name].get("model", "autorec")
    assert ("based" in result) == (result["model"] == "autorec")
    assert cells(run.ratings) >= cells(train) | cells(test)
    without = 0 if run.config.refit else result["validation_ratings"]
    assert len(run.inputs) == len(train) - without and cells(run.inputs) <= cells(train)
    assert_nothing_rated_is_recommended(run)
    served = run.predict(*ids_of(test))
    assert rmse(test.values, served) == pytest.approx(result["test_rmse"], abs=1e-6)
    assert mae(test.values, served) == pytest.approx(result["test_mae"], abs=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RANKING_RUNS)
def test_rankings_are_those_that_were_measured(name, tmp_path):
    result, run = finished(RANKING_RUNS[name], tmp_path / "run")
    clicks = Clicks.load(tmp_path / "run" / "clicks.npz")
    is_click = run.ratings.values == 1
    assert cells(run.ratings.part(is_click)) == cells(clicks.interactions())
    rated = {  # also below the threshold
        (user, item)
        for user, item in cells(load_ratings(run.config.dataset, seed=run.config.seed))
        if user in clicks.user_ids and item in clicks.item_ids
    }
    assert cells(run.ratings) == rated and len(run.ratings) == len(rated)
    assert set(run.ratings.values[~is_click].tolist()) == {0.5}
    assert_nothing_rated_is_recommended(run)
    first = len(clicks.user_ids) - clicks.heldout_users
    scores = predictor_of(run).unclipped(np.arange(first, len(clicks.user_ids)))

    scores[clicks.test.fold_in.nonzero()] = -np.inf
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :100]
    ranked[np.take_along_axis(scores, ranked, axis=1) == -np.inf] = -1
    hits, relevant = hits_at(ranked, clicks.test.held_out), np.diff(clicks.test.held_out.indptr)

    for metric, k, key in (
        (ndcg_at, 100, "ndcg@100"),
        (recall_at, 20, "recall@20"),
        (recall_at, 50, "recall@50"),
    ):
        expected = result[f"test_{key}"]
        assert not math.isnan(expected)
        assert metric(hits, relevant, k)[relevant > 0].mean() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("model", ["ease", "popularity", "mult-dae"])
def test_a_user_without_clicks_that_are_known_gets_popular_items(model):
    users, places = np.divmod(np.arange(240), 8)
    items = (places * (1 + users % 5) + users) % 23
    frame = pd.DataFrame({"user": users, "item": items}).drop_duplicates()
    split = dict(min_user_clicks=1, heldout_users=4)
    [cold, *_] = d2l.prepare_clicks(of_clicks(frame), **split).test.user_ids
    frame.loc[frame.user == cold, "item"] += 1000  # no training user clicked these
    trained = {"epochs": 1, "hidden": 4} if model == "mult-dae" else {}
    clicks = d2l.prepare_clicks(of_clicks(frame), **split)
    run = d2l.train_model({"model": model, "quiet": True, "cpus": 1, **trained}, clicks)
    with pytest.warns(d2l.DataWarning, match="has no training rating: the most popular items are"):
        found = run.recommend(cold, 5)
    counts = pd.Series(clicks.interactions().items).value_counts()
    assert [row.score for row in found] == counts.to_list()[:5]


def of_clicks(frame):
    return d2l.Ratings.from_frame(frame, rating=None)


@pytest.mark.parametrize(
    "config", [d2l.MeanConfig(), d2l.BiasConfig(damping=1e9)], ids=["mean", "damping"]
)
def test_means_predict_cold_pairs_themselves(config):
    ratings = d2l.load_ratings("synthetic:40x30x600")
    is_test = (ratings.users == 0) | (ratings.items == 1)
    train, test = ratings.part(~is_test), ratings.part(is_test)
    model = d2l.train_model(config, train, test)
    mean = train.values.mean()
    assert model.predict(*ids_of(test)) == pytest.approx(mean, abs=1e-4)
    assert model.metrics["test_rmse"] == pytest.approx(rmse(test.values, mean), abs=1e-4)
    assert model.metrics["cold_test_ratings"] == len(test)


def test_repeated_ratings_are_not_evaluated():
    frame = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 2], "rating": [1, 5, 4, 2]})
    model = d2l.train_model(d2l.BiasConfig(), d2l.Ratings.from_frame(frame))
    twice = d2l.Ratings.from_frame(pd.concat([frame, frame]), implicit=True)
    with pytest.raises(d2l.DataError, match="test: 4 .user, item. pairs are repeated"):
        model.evaluate(twice)

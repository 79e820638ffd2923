"""The HTTP API of every model answers what the library does, by the files of an export."""

import warnings

import numpy as np
import pytest
from fastapi.testclient import TestClient
from helpers import items_in, train_into
from scipy import sparse

from d2l_autorec.serving.app import Answers, make_app
from d2l_autorec.serving.filters import Selection
from d2l_autorec.serving.new_user import rated_by, recommend_new_user
from d2l_autorec.serving.renewal import load_shared, save_shared
from d2l_autorec.serving.tables import load_served
from d2l_autorec.support.errors import ConfigError, DataWarning
from d2l_autorec.trained_model import load_run

DATA = dict(dataset="synthetic:60x80x900", quiet=True, cpus=1, seed=3)
AUTOREC = dict(hidden=(6,), batch_size=16, init_sigma=0.3, epochs=3, lr=0.01)
CLICKS = dict(heldout_users=12, threshold=3.0, min_user_clicks=1)
NETWORK = dict(epochs=3, hidden=(8,), batch_size=16, **CLICKS)
RUNS = {
    "I-AutoRec": {**AUTOREC, "val_ratio": 0.1},
    "U-AutoRec": {**AUTOREC, "based": "user"},
    "bounded and clipped": {**AUTOREC, "decoder_activation": "sigmoid", "clip": True},
    "best": dict(preset="best", hidden=(6,), epochs=3, val_ratio=0.0),
    "centered U-AutoRec": {**AUTOREC, "based": "user", "center": True},
    "mf": dict(model="mf", epochs=3, factors=4),
    "bias": dict(model="bias"),
    "mean": dict(model="mean"),
    "popularity": dict(model="popularity", **CLICKS),
    "ease": dict(model="ease", penalty=20.0, **CLICKS),
    "item-knn": dict(model="item-knn", neighbors=9, weighting="cosine", **CLICKS),
    "ials": dict(model="ials", factors=4, regularization=0.01, unobserved=0.1, **CLICKS),
    "mult-vae": dict(model="mult-vae", **NETWORK),
    "mult-dae": dict(model="mult-dae", **NETWORK),
}
LINEAR = ("ease", "item-knn")
WITHOUT_VECTORS = ("popularity",)
WITHOUT_REASONS = ("bias", "mean", "popularity")
CLOSE = dict(rel=1e-6, abs=1e-6)


@pytest.fixture(scope="module", params=RUNS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def run(name, tmp_path_factory):
    """The model with its network, and an export beside it."""
    folder = tmp_path_factory.mktemp("http") / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        train_into(folder, **DATA, **RUNS[name])

    model = load_run(folder)
    model.export(folder / "export")
    return model


@pytest.fixture(scope="module")
def client(run):
    app = make_app(Answers(*load_served(run.path)), seconds=30)
    return TestClient(app, base_url="http://localhost")


def items_of(run):
    """Items that someone has rated, or clicked, whom training did not see."""
    return run.ratings.item_ids[[3, 1, 7, 20]].tolist()


def rated(run):
    """Their ratings."""
    items = items_of(run)
    if "threshold" in vars(run.config):
        return items
    return dict(zip(map(str, items), [5, 1, 4, 2]))


def assert_rows(found, expected, score="score"):
    assert items_in(found) == items_in(expected)
    assert [row["title"] for row in found] == [scored.title for scored in expected]
    scores = [scored.score for scored in expected]
    assert [row[score] for row in found] == pytest.approx(scores, **CLOSE)


def test_recommends_to_users(run, client):
    for user in run.ratings.user_ids[[0, 5, 59]].tolist():
        answer = client.get("/recommend", params={"user": user, "n": 7})
        assert answer.status_code == 200, answer.text
        assert_rows(answer.json()["recommendations"], run.recommend(user, 7))
        assert answer.json()["remarks"] == []


def test_recommends_to_new_users(run, client):
    answer = client.post("/recommend", json={"ratings": rated(run), "n": 7})
    assert answer.status_code == 200, answer.text
    assert_rows(answer.json()["recommendations"], run.recommend_new_user(rated(run), 7))


def test_predicts_for_users(run, client):
    items = run.ratings.item_ids[[2, 70, 3]].tolist()
    answer = client.post("/predict", json={"user": 4, "items": [str(items[0]), *items[1:]]})
    assert answer.status_code == 200, answer.text

    expected = run.predict([4, 4, 4], items)
    assert items_in(answer.json()["predictions"]) == items
    found = [row["score"] for row in answer.json()["predictions"]]
    assert found == pytest.approx(expected.tolist(), **CLOSE)


def test_predicts_for_new_users(run, client):
    """What is recommended is predicted alike."""
    best = run.recommend_new_user(rated(run), 5)
    items = items_in(best)
    answer = client.post("/predict", json={"ratings": rated(run), "items": items})
    assert_rows(answer.json()["predictions"], best)


def test_similar_items(run, name, client):
    item = int(run.ratings.item_ids[3])
    answer = client.get(f"/items/{item}/similar", params={"n": 5})
    if name in WITHOUT_VECTORS:
        with pytest.raises(ConfigError) as refused:
            run.similar_items(item, 5)
        assert (answer.status_code, answer.json()) == (422, {"error": str(refused.value)})
        return
    assert answer.status_code == 200, answer.text
    assert_rows(answer.json()["items"], run.similar_items(item, 5), "similarity")


def test_reasons_are_rated_and_near(run, name, client):
    """Where all ratings are alike, in the order of the library's cosines, or of linear weights.

    No item is a reason for itself.
    """
    known = run.ratings.item_ids.tolist()
    rated = dict.fromkeys(map(str, items_of(run)), 5)
    ratings = list(rated) if "threshold" in vars(run.config) else rated
    asked = {"ratings": ratings, "n": 80, "filter_already_rated": False}
    found = client.post("/recommend", json=asked).json()["recommendations"]

    assert {str(row["item"]) for row in found} > rated.keys()
    for row in found:
        expected = {}
        if name in LINEAR:
            weights = sparse.csc_matrix(run.net.scorer().weights)
            expected = dict(zip(known, weights[:, known.index(row["item"])].toarray().ravel()))
        elif name not in WITHOUT_VECTORS:
            expected = {near.item: near.score for near in run.similar_items(row["item"], 80)}
        similarities = [reason["similarity"] for reason in row["because"]]
        wanted = [float(expected[reason["item"]]) for reason in row["because"]]

        assert {str(reason["item"]) for reason in row["because"]} <= rated.keys()
        assert len(similarities) <= 3 and min(similarities, default=1) > 0
        assert similarities == sorted(similarities, reverse=True)
        assert similarities == pytest.approx(wanted, **CLOSE)
    assert any(row["because"] for row in found) == (name not in WITHOUT_REASONS)


def test_what_processes_share_answers_alike(run, tmp_path):
    """Every model can be handed to a worker, arrays as they are mapped: read-only."""
    predictor, _ = load_served(run.path)
    predictor.prepare()
    save_shared(tmp_path / "model", predictor)
    shared = load_shared(tmp_path / "model")
    user, five = run.ratings.user_ids[5], Selection(5)
    for answers in (
        lambda each: each.recommend(user, five),
        lambda each: recommend_new_user(each, rated_by(each, rated(run)), five),
        lambda each: each.reasons(np.array([2, 4]), each.inputs_of(5)),
    ):
        assert answers(shared) == answers(predictor)


def test_model_is_what_the_run_says(run, client):
    about = client.get("/model").json()
    assert about["result"] == run.metrics
    assert (about["users"], about["items"]) == (
        len(run.ratings.user_ids),
        len(run.ratings.item_ids),
    )
    assert about["scale"] == list(run.ratings.bounds)
    assert about["kind"] == ("ranking" if "threshold" in vars(run.config) else "rating")


def test_search_is_by_popularity(run, client):
    clicks = run.ratings.part(run.ratings.values == 1)
    known = clicks if run.config.task == "ranking" else run.ratings
    counts = np.bincount(known.items, minlength=known.num_items)
    found = client.get("/items", params={"n": 80}).json()["items"]
    assert [row["ratings"] for row in found] == sorted(counts.tolist(), reverse=True)[: len(found)]

    item = int(run.ratings.item_ids[5])
    first = client.get("/items", params={"search": f" {item}"}).json()["items"][0]
    assert (first["item"], first["ratings"]) == (item, counts[5])


def test_health_and_no_path_of_the_machine(run, client):
    assert client.get("/health").json() == {"status": "ok"}
    for path in ("/model", "/health", "/openapi.json", "/items", "/recommend?user=x"):
        assert str(run.path.parent) not in client.get(path).text


def test_vectors_by_id_are_what_scores_are_made_of(run, name):
    if name in (*WITHOUT_VECTORS, *LINEAR):
        with pytest.raises(ConfigError, match=f"`model={name}` has no vectors"):
            _ = run.user_vectors
        return

    users, items = run.user_vectors, run.item_vectors
    assert users.index.tolist() == run.ratings.user_ids.tolist() and users.index.name == "user_id"
    assert items.index.tolist() == run.ratings.item_ids.tolist()
    assert len(users.columns) == len(items.columns) and users.columns[-1] == "bias"
    if name == "bounded and clipped":
        return
    found = users.drop(columns="bias") @ items.drop(columns="bias").T
    found = found.add(users.bias, axis=0).add(items.bias, axis=1)
    for user in run.ratings.user_ids[[0, 5, 59]].tolist():
        best = run.recommend(user, 7)
        scores = [scored.score for scored in best]
        expected = found.loc[user, items_in(best)].tolist()
        assert scores == pytest.approx(expected, rel=1e-4, abs=1e-4)

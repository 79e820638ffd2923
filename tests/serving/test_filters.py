"""Filters of recommendations, against plain NumPy; what they say of ids that are unknown."""

import json

import numpy as np
import pytest
from helpers import Server, finish, items_in, own_file, succeeded
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, feather, parquet

from d2l_autorec.serving import predictor
from d2l_autorec.support.errors import ConfigError, DataWarning

ITEMS = st.lists(st.integers(1, 80), max_size=12)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """Ids with a comma, and titles of all items but one."""
    folder = tmp_path_factory.mktemp("own")
    lines = [f'"a,{k}",Title {k}' for k in range(19)]
    (folder / "items.csv").write_text("id,title\n" + "\n".join(lines) + "\n")
    given = dict(dataset="auto", preset="chapter", ratings=str(own_file(folder)))
    return finish(folder / "run", **given, titles=str(folder / "items.csv"))


def reference(run, scores, rated, n, filters):
    """The best items of someone with these scores, by a loop over all items."""
    kept, only = [], filters["only"]
    for position, item in enumerate(run.ratings.item_ids.tolist()):
        usable = (run.inputs.items == position).any()
        usable &= (run.ratings.items == position).sum() >= filters["min_ratings"]
        usable &= item not in filters["exclude"] and (only is None or item in only)
        if usable and not (filters["filter_already_rated"] and position in rated):
            kept.append((-scores[position], position, item))
    return [item for _, _, item in sorted(kept)[:n]]


@given(
    user=st.integers(0, 59),
    n=st.integers(1, 90),
    exclude=ITEMS,
    only=st.none() | ITEMS,
    filter_already_rated=st.booleans(),
    min_ratings=st.integers(0, 25),
)
def test_filters_are_those_of_numpy(run, user, n, **filters):
    ratings = run.ratings
    name = ratings.user_ids[user]
    scores = run.predict([name] * 80, ratings.item_ids)
    rated = set(ratings.items[ratings.users == user].tolist())

    expected = reference(run, scores, rated, n, filters)
    found = run.recommend(name, n, **filters)
    assert items_in(found) == expected
    support = np.bincount(ratings.items, minlength=80)
    positions = [ratings.item_ids.tolist().index(item) for item in expected]
    assert [scored.ratings for scored in found] == support[positions].tolist()


@given(exclude=ITEMS, only=st.none() | ITEMS, min_ratings=st.integers(0, 25), rated=st.booleans())
def test_filters_of_new_users(run, exclude, only, min_ratings, rated):
    mine = {1: 5, 2: 1, 30: 4}
    every = run.recommend_new_user(mine, 80, filter_already_rated=False)
    kept = [
        scored
        for scored in every
        if scored.item not in exclude
        and (only is None or scored.item in only)
        and scored.ratings >= min_ratings
        and (rated or scored.item not in mine)
    ]
    filters = dict(exclude=exclude, only=only, min_ratings=min_ratings)
    assert run.recommend_new_user(mine, 80, filter_already_rated=not rated, **filters) == kept


def test_similar_items_are_filtered(run):
    every = run.similar_items(1, 80)
    assert run.similar_items(1, 80, only=[5, 6, 7], exclude=[6]) == [
        scored for scored in every if scored.item in (5, 7)
    ]


def test_unknown_ids_are_remarked_on_and_wrong_numbers_refused(run):
    with pytest.warns(
        DataWarning, match="^exclude: 4 of 5 ids are no items of this run: a, b, c, "
    ):
        found = run.recommend(1, 3, exclude=["a", 5, "b", "c", "d"])
    assert len(found) == 3
    with pytest.warns(DataWarning, match="only: 1 of 1 ids are no items"):
        assert run.recommend(1, 3, only=["a"]) == []
    with pytest.raises(ConfigError, match="`min_ratings` is -1: it must be a whole number, at lea"):
        run.recommend(1, min_ratings=-1)
    with pytest.raises(ConfigError, match="`fallback` is popular: it must be popularity"):
        run.recommend("nobody", fallback="popular")


def test_one_id_is_no_list_of_its_letters(run):
    calls = [
        lambda: run.recommend(1, only="12"),
        lambda: run.similar_items(1, exclude="12"),
        lambda: run.predict("12", "34"),
        lambda: run.recommend_new_user("12"),
        lambda: run.recommend(1, only=12),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="^'12' is one id: give a list of ids"):
            call()
    with pytest.raises(ConfigError, match="^'None' is one id"):
        run.recommend_new_user(None)


def test_popularity_for_unknown_users(run):
    counts = np.bincount(run.ratings.items, minlength=80)
    cold = predictor.predictor_of(run).cold_items
    with pytest.warns(DataWarning, match="user nobody is unknown: the most popular items are sho"):
        found = run.recommend("nobody", 80, fallback="popularity", exclude=[1])
    expected = [item for item in np.argsort(-counts, kind="stable") if not cold[item]]
    expected.remove(run.ratings.item_ids.tolist().index(1))
    assert items_in(found) == run.ratings.item_ids[expected].tolist()
    assert [scored.ratings for scored in found] == counts[expected].tolist()

    means = run.inputs.means()
    scores = means.mean + means.columns[expected]
    np.testing.assert_allclose([scored.score for scored in found], scores, rtol=1e-6)


def recommended(in_process, run, *arguments):
    words = (str(run.path), "--user", "u3", "--json", *arguments)
    process = succeeded(in_process("recommend", *words))
    return items_in(json.loads(process.stdout)), process.stderr


def test_options(own_run, in_process, tmp_path):
    """An id with a comma is one id, where it is known; a file has ids, or a column of them."""
    every, _ = recommended(in_process, own_run, "-n", "20", "--include-rated")
    assert len(every) == 20
    found, _ = recommended(
        in_process, own_run, "--include-rated", "--only", "a,1", "--only", '"a,2","a,3"'
    )
    assert found == [item for item in every if item in ("a,1", "a,2", "a,3")]

    (tmp_path / "ids.csv").write_text('title,id\nx,"a,1"\ny,"a,2"\nz,zz\n')
    (tmp_path / "lines").write_text('"a,3"\n')
    given = ["--exclude", "ids.csv", "--exclude", "lines", "--include-rated", "-n", "20"]
    found, said = recommended(in_process, own_run, *given)
    assert found == [item for item in every if item not in ("a,1", "a,2", "a,3")]
    assert "warning: exclude: 1 of 4 ids are no items of this run: zz\n" in said

    most = max(own_run.ratings.counts()[1])
    found, _ = recommended(in_process, own_run, "--include-rated", "--min-ratings", str(most))
    assert found and set(found) < set(every)


def test_titles_and_support_are_shown(own_run, in_process):
    process = in_process("recommend", own_run.path, "--user", "u3", "--min-ratings", "2")
    head, first, *_ = process.stdout.splitlines()
    assert head.split() == ["item", "title", "predicted", "rating", "ratings"]
    assert first.startswith("a,") and " Title " in first

    process = in_process("recommend", own_run.path, "--user", "x", "--fallback", "popularity")
    assert "user x is unknown: the most popular items are shown" in process.stderr
    assert process.stdout.splitlines()[1].startswith(f"{own_run.ratings.item_ids[0]}  ")


@pytest.mark.parametrize(
    "name", ["all.csv", "all.csv.zst", "all.csv.gz", "all.parquet", "all.feather"]
)
def test_everybody_by_the_name_of_the_file(own_run, in_process, tmp_path, monkeypatch, name):
    monkeypatch.setattr(predictor, "CELLS", 7 * 20)  # seven users at a time
    given = ["--all", name, "--exclude", "a,1", "-n", "2", "--quiet"]
    process = in_process("recommend", own_run.path, *given)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"60 recommendations for 30 users: {name}\n"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]

    readers = {".parquet": parquet.read_table, ".feather": feather.read_table}
    path = tmp_path / name
    found = readers.get(path.suffix, csv.read_csv)(path).to_pylist()
    assert list(found[0]) == ["user", "item", "title", "predicted_rating", "rank", "ratings"]
    assert [tuple(row.values()) for row in found] == [
        (user, *scored[:2], pytest.approx(scored.score, abs=1e-4), rank, scored.ratings)
        for user in own_run.ratings.user_ids.tolist()
        for rank, scored in enumerate(own_run.recommend(user, 2, exclude=["a,1"]), 1)
    ]


def test_the_server_filters(own_run, tmp_path):
    """Its own options hold for every request; an id that is unknown never stops it."""
    own_run.export(own_run.path / "export")
    (tmp_path / "other.csv").write_text('movieId,title,genre\n"a,3",Other,x\n')
    options = ["--exclude", "a,1", "--exclude", "zz", "--titles", str(tmp_path / "other.csv")]
    with Server(own_run.path, *options, "--fallback", "popularity") as server:
        client = server.client
        body = {"ratings": {"a,0": 5}, "exclude": ["a,2", "nix"], "filter_already_rated": False}
        answer = client.post("/recommend", json={**body, "n": 20}).json()
        items = items_in(answer["recommendations"])
        assert sorted(items) == sorted(f"a,{k}" for k in range(20) if k not in (1, 2))
        assert answer["remarks"][0] == "exclude: 1 of 2 ids are no items of this run: nix"
        titles = {row["item"]: row["title"] for row in answer["recommendations"]}
        assert titles == {**dict.fromkeys(items, ""), "a,3": "Other"}

        body = {"ratings": {"a,0": 5}, "only": ["a,3"], "min_ratings": 2}
        answer = client.post("/recommend", json=body).json()
        assert items_in(answer["recommendations"]) == ["a,3"]

        asked = {"user": "nobody", "exclude": ["a,3", "a,4"], "n": 20}
        answer = client.get("/recommend", params=asked).json()
        assert answer["remarks"][0] == "user nobody is unknown: the most popular items are shown"
        items = items_in(answer["recommendations"])
        assert len(items) == 17 and not {"a,1", "a,3", "a,4"} & set(items)
    assert "warning: exclude: 1 of 2 ids are no items of this run: zz" in server.log.read_text()

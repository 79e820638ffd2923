"""`python -m d2l_autorec.recommend` and the functions behind it, against plain NumPy."""

import csv
import json
import random
import time
import uuid

import mxnet as mx
import numpy as onp
import pytest
from helpers import assert_user_error, by_hand, finish, own_file

from d2l_autorec import AutoRecConfig, train_model
from d2l_autorec.data.ids import IdMap
from d2l_autorec.evaluation.metrics import rmse
from d2l_autorec.runs.rating import RatingExperiment
from d2l_autorec.serving import export, new_user
from d2l_autorec.serving import predictor as module
from d2l_autorec.serving.new_user import (
    predict_new_user,
    read_new_user,
)
from d2l_autorec.serving.predictor import predictor_of
from d2l_autorec.support.errors import DataError, DataWarning


@pytest.fixture(scope="module", params=["item", "user"])
def run(request, tmp_path_factory):
    return finish(tmp_path_factory.mktemp(request.param) / "run", based=request.param)


@pytest.fixture(scope="module", params=["item", "user"])
def own_run(request, tmp_path_factory):
    """String ids, a scale with 0, clipped."""
    folder = tmp_path_factory.mktemp("own")
    return finish(
        folder / "run",
        dataset="auto",
        preset="chapter",
        ratings=str(own_file(folder, zero=True)),
        based=request.param,
        clip=True,
        scale="0,4",
    )


def seen_by(run, user):
    return set(run.ratings.item_ids[run.ratings.items[run.ratings.users == user]].tolist())


def test_predict_is_the_network(run):
    users, items = onp.indices((run.ratings.num_users, run.ratings.num_items)).reshape(2, -1)
    found = run.predict(run.ratings.user_ids[users], run.ratings.item_ids[items])
    assert found.dtype == onp.float32
    onp.testing.assert_allclose(found, by_hand(run)[users, items], atol=1e-4)


def test_blocks_of_users_change_nothing(run, monkeypatch):
    users = run.ratings.user_ids.tolist() * 3
    items = run.ratings.item_ids[onp.arange(len(users)) % run.ratings.num_items]
    whole = run.predict(users, items)
    monkeypatch.setattr(module, "CELLS", 7 * run.ratings.num_items)
    monkeypatch.setattr(export, "ENCODE_ROWS", 9)
    onp.testing.assert_allclose(run.predict(users, items), whole, atol=1e-5)


def test_scale_with_zero_is_shifted_back_and_clipped(own_run):
    users, items = onp.indices((own_run.ratings.num_users, own_run.ratings.num_items)).reshape(
        2, -1
    )
    found = own_run.predict(own_run.ratings.user_ids[users], own_run.ratings.item_ids[items])
    expected = by_hand(own_run)[users, items]
    onp.testing.assert_allclose(found, onp.clip(expected, 0, 4), atol=1e-4)
    assert own_run.ratings.offset == 1


def test_recommended_are_the_best_unseen(run):
    expected, rated = by_hand(run), onp.bincount(run.inputs.items, minlength=run.ratings.num_items)
    for user, name in enumerate(run.ratings.user_ids.tolist()):
        found, seen = run.recommend(name, 7), seen_by(run, user)
        assert not seen & {scored.item for scored in found}
        scores = {
            item: expected[user, index]
            for index, item in enumerate(run.ratings.item_ids.tolist())
            if item not in seen and rated[index]
        }
        best = sorted(scores.values(), reverse=True)[:7]
        onp.testing.assert_allclose([scored.score for scored in found], best, atol=1e-4)
        onp.testing.assert_allclose([scores[scored.item] for scored in found], best, atol=1e-4)


def test_similar_items_by_hand(run):
    vectors = predictor_of(run).item_vectors.astype(float)
    if run.config.based == "user":
        onp.testing.assert_array_equal(vectors, run.net.decoder.weight.data().asnumpy())
    warm = onp.bincount(run.inputs.items, minlength=len(vectors)) > 0
    centred = vectors - vectors[warm].mean(axis=0)
    unit = centred / onp.linalg.norm(centred, axis=1, keepdims=True)
    cosines = unit @ unit[0]
    found = run.similar_items(run.ratings.item_ids[0], 5)
    expected = [i for i in onp.argsort(-cosines) if i and warm[i]][:5]
    assert [scored.item for scored in found] == run.ratings.item_ids[expected].tolist()
    onp.testing.assert_allclose([s.score for s in found], cosines[expected], atol=1e-5)


def test_new_user_of_a_user_based_run_is_one_forward_pass(tmp_path):
    """Who repeats the ratings of a user in training is predicted as that user."""
    run = finish(tmp_path / "run", based="user")
    mine = run.inputs.users == 3
    found = predict_new_user(predictor_of(run), run.inputs.items[mine], run.inputs.values[mine])
    onp.testing.assert_allclose(found, by_hand(run)[3], atol=1e-4)


def test_new_user_of_an_item_based_run_minimises_the_ridge(tmp_path):
    """The gradient of what `fold_in` says it minimises is zero, and ratings move predictions."""
    run = finish(tmp_path / "run", based="item")
    predictor, items = predictor_of(run), onp.arange(12)
    targets = onp.linspace(1, 5, 12, dtype=onp.float32)
    weight, bias = new_user.fold_in(predictor, items, targets)
    hidden = predictor.item_vectors[items]
    ridge = 0.04 * (8 + 1)
    left = targets - hidden @ weight - bias
    known = onp.unique(run.inputs.users)
    onp.testing.assert_allclose(
        hidden.T @ left, ridge * (weight - predictor.user_table[known].mean(axis=0)), atol=1e-3
    )
    assert left.sum() == pytest.approx(
        ridge * (bias - predictor.user_biases[known].mean()), abs=1e-3
    )


@pytest.mark.parametrize(
    "content",
    [
        "u,1\n",
        "item,rating\n{0},4\n{1},2.5\n",
        "{0},4\n{1},2.5\n",
        "\ufeffmovieId, score\n{0}, 4\n{1}, 2.5\n",
    ],
)
def test_new_user_file(run, tmp_path, content):
    first, second = run.ratings.item_ids[:2].tolist()
    path = tmp_path / "me.csv"
    path.write_text(content.format(first, second), encoding="utf-8")
    if content.startswith("u,"):
        with pytest.raises(DataError, match="item 'u' is not among the 80 items"):
            read_new_user(path, predictor_of(run))
        return
    items, values = read_new_user(path, predictor_of(run))
    assert items.tolist() == [0, 1] and values.tolist() == [4, 2.5]


def test_unknown_items_of_a_new_user_are_counted(run, tmp_path):
    path = tmp_path / "me.csv"
    path.write_text(f"{run.ratings.item_ids[0]},4\nnix,1\n")
    with pytest.warns(DataWarning, match="1 of 2 items are not in this run and were left out: nix"):
        items, _ = read_new_user(path, predictor_of(run))
    assert items.tolist() == [0]


@pytest.mark.parametrize(
    "content, message",
    [
        (
            "{0},9\n{1},3\n",
            "line 1: 9 for item '1' is outside the scale 1..5",
        ),
        ("{0},nan\n", "line 1: the rating 'nan' is not a number"),
        (
            "{0},4\n{0},4\n",
            "line 2: item '1' is given more than once: keep one of them",
        ),
        (
            "rating,film\n4,{0}\n",
            "no column for item among 'rating', 'film'; it must have the two columns",
        ),
        ("", "is empty"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_new_user_errors(run, tmp_path, in_process, content, message):
    path = tmp_path / "me.csv"
    if content is not None:
        path.write_text(content.format(*run.ratings.item_ids[:2].tolist()))
    process = in_process("recommend", str(run.path), "--new-user", str(path))
    assert_user_error(process, str(path), message)
    for option in ("--scale", "--separator", "--columns"):  # of training, not of this command
        assert option not in process.stderr


def test_nearest_ids():
    numbers, names = (
        IdMap(onp.array([5, 40, 41, 300]), "user"),
        IdMap(onp.array(["anna", "bert", "007"], dtype=object), "user"),
    )
    assert numbers.nearest(42)[:2] == [41, 40] and numbers.nearest("x") == [5, 40, 41]
    assert names.nearest("ana") == ["anna"]
    assert names.find(["007", 7, "bert"]).tolist() == [2, -1, 1]
    with pytest.raises(
        DataError,
        match=r"user 'bart' \(and 1 more .* not among the 3 users of "
        "this run; the nearest ids are bert",
    ):
        names.positions(["anna", "bart", "clara"])


def test_the_nearest_of_many_ids_are_found_at_once():
    """Comparing a UUID with all of 100,000 took more than 6 seconds."""
    random_ = random.Random(0)
    ids = [str(uuid.UUID(int=random_.getrandbits(128))) for _ in range(100_000)]
    users = IdMap(onp.array(ids, dtype=object), "user")
    mistyped = ids[7][:-1] + "_"
    assert users.nearest(mistyped)[0] == ids[7]

    began = time.process_time()
    for wanted in (mistyped, str(uuid.UUID(int=1)), "z" * 36, "", "x" * 1_000_000):
        assert len(users.nearest(wanted)) in (1, 2, 3)
    assert time.process_time() - began < 0.5


def test_all_is_recommend_for_each(run, tmp_path, in_process):
    path = tmp_path / "all.csv"
    process = in_process("recommend", str(run.path), "--all", str(path), "-n", "4", "--quiet")
    assert process.returncode == 0 and process.stderr == "", process.stderr
    assert process.stdout == f"240 recommendations for 60 users: {path}\n"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["user", "item", "predicted_rating", "rank"]
    for name in run.ratings.user_ids.tolist():
        mine = [row for row in rows if row["user"] == str(name)]
        expected = run.recommend(name, 4)
        assert [row["item"] for row in mine] == [str(scored.item) for scored in expected]
        assert [row["rank"] for row in mine] == list("1234")
        onp.testing.assert_allclose(
            [float(row["predicted_rating"]) for row in mine],
            [scored.score for scored in expected],
            atol=1e-4,
        )
    assert list(tmp_path.iterdir()) == [path]


def test_table_json_and_given_items(own_run, in_process):
    process = in_process("recommend", str(own_run.path), "--user", "u3", "-n", "2")
    assert process.returncode == 0, process.stderr
    head, *lines = process.stdout.splitlines()
    assert head.split() == ["item", "predicted", "rating"] and len(lines) == 2
    process = in_process(
        "recommend", str(own_run.path), "--user", "u3", "--json", "--items", '"a,1", "a,0"'
    )
    records = json.loads(process.stdout)
    assert [record["item"] for record in records] == ["a,1", "a,0"]
    onp.testing.assert_allclose(
        [record["predicted_rating"] for record in records],
        own_run.predict(["u3"] * 2, ["a,1", "a,0"]),
        atol=1e-5,
    )
    process = in_process("recommend", str(own_run.path), "--similar-items", "a,1", "--json")
    assert list(json.loads(process.stdout)[0]) == ["item", "title", "similarity"]


def everything_rated(tmp_path, based):
    """A run in which user u0 has rated everything, and u9 only what is in the test part."""
    train = [
        f"u{user},i{item},{(user + item) % 5 + 1}"
        for user in range(9)
        for item in range(20)
        if user == 0 or (user + item) % 3
    ]
    (tmp_path / "train.csv").write_text("user,item,rating\n" + "\n".join(train) + "\n")
    (tmp_path / "test.csv").write_text("user,item,rating\nu1,i2,3\nu9,i1,4\nu2,new,4\n")
    return finish(
        tmp_path / "run",
        dataset="auto",
        train=str(tmp_path / "train.csv"),
        test=str(tmp_path / "test.csv"),
        based=based,
    )


@pytest.mark.parametrize("based", ["item", "user"])
def test_seen_everything_and_cold_ids(tmp_path, in_process, based):
    run = everything_rated(tmp_path, based)
    process = in_process("recommend", str(run.path), "--user", "u0")
    assert (process.returncode, process.stdout) == (0, "")
    assert "every item is rated already: there is nothing to recommend" in process.stderr
    assert in_process("recommend", str(run.path), "--user", "u0", "--json").stdout == "[]\n"
    process = in_process("recommend", str(run.path), "--user", "u1", "-n", "9")
    assert "items are left to choose from, 9 were asked for" in process.stderr
    assert "new" not in process.stdout  # nobody rated it in training
    with pytest.warns(DataWarning, match="user u9 has no training rating: the items' mean"):
        run.recommend("u9")
    means = run.inputs.means()
    item = means.columns[run.ratings.item_ids.tolist().index("i1")]
    user = means.rows[run.ratings.user_ids.tolist().index("u1")]
    onp.testing.assert_allclose(
        run.predict(["u9", "u1", "u9"], ["i1", "new", "new"]),
        means.mean + onp.array([item, user, 0]),
        rtol=1e-5,
    )
    process = in_process("recommend", str(run.path), "--all", str(tmp_path / "all.csv"), "--quiet")
    assert "9 users have fewer than 10 unseen items" in process.stderr


@pytest.mark.parametrize(
    "arguments, fragments",
    [
        (
            ["--user", "9999"],
            ["user '9999' is not among the 60 users of this run; the nearest ids"],
        ),
        (["--user", "1", "--items", '"1\n2"'], ["item '1\\n2' is not among the 80 items"]),
        (["--user", "1", "--items", "1,nix"], ["item 'nix' is not among the 80 items"]),
        (["--similar-items", "1", "--items", "1"], ["--items needs --user ID"]),
        ([], ["one of the arguments --user --similar-items --new-user --all is required"]),
        (["--user", "1", "-n", "0"], ["-n: it is '0': it must be a whole number, at least 1"]),
        (
            ["--all", "nowhere/x.csv"],
            ["nowhere/x.csv cannot be written (No such file or directory)"],
        ),
        (["--all", "/"], ["/ is no file"]),
    ],
)
def test_user_errors(run, in_process, arguments, fragments):
    assert_user_error(in_process("recommend", str(run.path), *arguments), *fragments)


@pytest.mark.realdata
def test_titles_of_ml100k(data_dir, tmp_path, in_process):
    run = finish(tmp_path / "run", dataset="ml-100k", data_dir=str(data_dir), epochs=1)
    process = in_process("recommend", str(run.path), "--user", "196", "--items", "50,181")
    assert "50    Star Wars (1977)" in process.stdout
    assert "Return of the Jedi (1983)" in process.stdout


@pytest.mark.slow
@pytest.mark.realdata
def test_fold_in_of_ml100k_users(data_dir):
    """94 users kept out of training: the figures that stand at `RIDGE_PER_UNIT`."""
    config = AutoRecConfig(dataset="ml-100k", data_dir=str(data_dir), quiet=True)
    task = RatingExperiment(config, devices=[mx.cpu()])
    train, test = task.train_data, task.test
    new = onp.random.default_rng(1).permutation(train.num_users)[:94]
    others = train.part(~onp.isin(train.users, new))
    predictor = predictor_of(train_model(config, others, test))
    errors, means = [], []
    counts = onp.maximum(onp.bincount(others.items, minlength=train.num_items), 1)
    item_means = onp.bincount(others.items, others.values, minlength=train.num_items) / counts
    for user in new:
        mine, wanted = train.users == user, test.users == user
        wanted &= ~predictor.cold_items[test.items]
        scores = predict_new_user(predictor, train.items[mine], train.values[mine])
        errors.append(test.values[wanted] - scores[test.items[wanted]])
        means.append(test.values[wanted] - item_means[test.items[wanted]])
    folded, naive = (rmse(onp.concatenate(e), 0 * onp.concatenate(e)) for e in (errors, means))
    assert folded == pytest.approx(0.852, abs=0.005) and naive == pytest.approx(1.073, abs=0.005)

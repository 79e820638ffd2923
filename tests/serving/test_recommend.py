"""`python -m d2l_autorec.recommend` and the functions behind it, against plain NumPy."""

import json
import shlex
import time
import uuid

import numpy as onp
import pandas as pd
import pytest
from helpers import assert_user_error, by_hand, finish, items_in, succeeded, written
from numpy.testing import assert_allclose, assert_array_equal

import d2l_autorec as d2l
from d2l_autorec.data.ids import IdMap
from d2l_autorec.serving import export, new_user
from d2l_autorec.serving import predictor as module
from d2l_autorec.serving.new_user import predict_new_user, read_new_user
from d2l_autorec.serving.predictor import predictor_of
from d2l_autorec.support.errors import DataError, DataWarning


def whole(run):
    """What is predicted for every user and item."""
    users, items = onp.indices((run.ratings.num_users, run.ratings.num_items)).reshape(2, -1)
    found = run.predict(run.ratings.user_ids[users], run.ratings.item_ids[items])
    return found.reshape(run.ratings.num_users, -1)


def test_predict_is_the_network(run, own_run):
    """On a scale with 0, which is shifted back, and clipped."""
    assert whole(run).dtype == onp.float32
    assert_allclose(whole(run), by_hand(run), atol=1e-4)
    assert_allclose(whole(own_run), onp.clip(by_hand(own_run), 0, 4), atol=1e-4)
    assert own_run.ratings.offset == 1


def test_blocks_of_users_change_nothing(run, monkeypatch):
    expected = whole(run)
    monkeypatch.setattr(module, "CELLS", 7 * run.ratings.num_items)
    monkeypatch.setattr(export, "ENCODE_ROWS", 9)
    assert_allclose(whole(run), expected, atol=1e-5)


def test_similar_items_by_hand(run):
    vectors = predictor_of(run).item_vectors.astype(float)
    if run.config.based == "user":
        assert_array_equal(vectors, run.net.decoder.weight.data().asnumpy())
    warm = onp.bincount(run.inputs.items, minlength=len(vectors)) > 0
    centred = vectors - vectors[warm].mean(axis=0)
    unit = centred / onp.linalg.norm(centred, axis=1, keepdims=True)
    cosines = unit @ unit[0]
    found = run.similar_items(run.ratings.item_ids[0], 5)
    expected = [i for i in onp.argsort(-cosines) if i and warm[i]][:5]
    assert items_in(found) == run.ratings.item_ids[expected].tolist()
    assert_allclose([s.score for s in found], cosines[expected], atol=1e-5)


@pytest.mark.parametrize("based", ["item", "user"])
def test_served_means_have_no_reasons(based):
    """Of ratings without any structure: the network's vectors of items are not what is served."""
    rng = onp.random.default_rng(0)
    users, items = onp.divmod(rng.permutation(2400)[:1200], 40)
    frame = {"user": users, "item": items, "rating": rng.integers(1, 6, 1200)}
    ratings = d2l.Ratings.from_frame(pd.DataFrame(frame))
    config = d2l.AutoRecConfig(preset="best", based=based, hidden=8, updates=60)
    with pytest.warns(d2l.DataWarning, match="validation found nothing beyond user and item means"):
        model = d2l.train_model(config, *d2l.random_split(ratings))
    assert model.metrics["serves_means"]
    found = predictor_of(model)
    rated = found.inputs_of(0)
    assert found.reasons(onp.arange(40), rated) == [[]] * 40
    with pytest.warns(d2l.DataWarning, match="the model knows no item like"):
        model.similar_items(ratings.item_ids[0])


def test_a_model_that_knows_no_likeness_says_so(run):
    model = d2l.train_model(d2l.BiasConfig(), run.ratings)
    with pytest.warns(d2l.DataWarning, match="the model knows no item like 1: its neighbours say"):
        model.similar_items(1, 5)


def test_new_user_of_a_user_based_run_is_one_forward_pass(tmp_path):
    """Who repeats the ratings of a user in training is predicted as that user."""
    run = finish(tmp_path / "run", based="user")
    mine = run.inputs.users == 3
    rated = run.inputs.items[mine], run.inputs.values[mine]
    found = predict_new_user(predictor_of(run), rated)
    assert_allclose(found, by_hand(run)[3], atol=1e-4)


@pytest.mark.parametrize("decoder", ["identity", "tanh"])
def test_new_user_of_an_item_based_run_is_the_expected_one(tmp_path, decoder):
    """The mean of a normal vector of a user, given their ratings (Bishop, 2006, equation 2.116)."""
    run = finish(tmp_path / "run", based="item", decoder_activation=decoder)
    predictor, rated = predictor_of(run), onp.arange(12)
    users = onp.column_stack([predictor.user_table, predictor.user_biases]).astype(float)
    users = users[onp.unique(run.inputs.users)]
    items = onp.column_stack([predictor.item_vectors, onp.ones(80)]).astype(float)

    def before(ratings):  # 1..5 is stretched to -1..1
        share = onp.clip((ratings - 1) / 4, 0.02, 0.98)
        return ratings if decoder == "identity" else onp.arctanh(2 * share - 1)

    outputs = onp.column_stack([predictor.user_table, predictor.user_biases]) @ items.T
    left = before(run.inputs.values) - outputs[run.inputs.users, run.inputs.items]
    noise = onp.square(left - predictor.item_biases[run.inputs.items]).mean()

    values = onp.linspace(1, 5, 12, dtype=onp.float32)
    precision = onp.linalg.inv(onp.cov(users.T, bias=True))
    given = items[rated].T @ (before(values) - predictor.item_biases[rated]) / noise
    vector = onp.linalg.solve(
        precision + items[rated].T @ items[rated] / noise, given + precision @ users.mean(axis=0)
    )
    expected = items @ vector + predictor.item_biases
    if decoder == "tanh":
        expected = 3 + 2 * onp.tanh(expected)
    found = new_user.fold_in(predictor, rated, values)
    assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    "content",
    [
        "item,rating\n{0},4\n{1},2.5\n",
        "{0},4\n{1},2.5\n",
        "\ufeffmovieId, score\n{0}, 4\n{1}, 2.5\n",
        "item;rating\n{0};4\n{1};2.5\n",
    ],
)
def test_new_user_file(run, tmp_path, content):
    first, second = run.ratings.item_ids[:2].tolist()
    path = written(tmp_path, content.format(first, second))
    items, values = read_new_user(path, predictor_of(run))
    assert items.tolist() == [0, 1] and values.tolist() == [4, 2.5]


def test_unknown_items_of_a_new_user_are_counted(run, tmp_path):
    path = written(tmp_path, f"{run.ratings.item_ids[0]},4\nnix,1\n", "me.csv")
    with pytest.warns(DataWarning, match="me.csv: 1 of 2 ids are no items of this run: nix"):
        items, _ = read_new_user(path, predictor_of(run))
    assert items.tolist() == [0]


@pytest.mark.parametrize(
    "content, message",
    [
        (
            "{0},9\n{1},9\n",
            "line 1: the rating 9 is outside the scale 1..5; all 2 rows are affected, so the "
            "column or the format is wrong: give ratings on that scale; else it must",
        ),
        ("{0},nan\n", "line 1: the rating 'nan' is not a number"),
        (
            "{0},4\n{0},4\n",
            "line 2: the item '1' is given more than once; 1 of 2 rows are affected: keep one",
        ),
        (
            "rating,film\n4,{0}\n",
            "no column for item among 'rating', 'film'; it must have no columns but item,rating",
        ),
        ("", "is empty"),
        ("user,item,rating\n8,{0},4\n9,{1},3\n", "has ratings of 2 users: give those of one"),
        ("u,1\n", "item 'u' is not among the 80 items"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_new_user_errors(run, tmp_path, in_process, content, message):
    path = tmp_path / "me.csv"
    if content is not None:
        path.write_text(content.format(*run.ratings.item_ids[:2].tolist()))
    process = in_process("recommend", run.path, "--new-user", path)
    of_file = [] if message.startswith("item 'u'") else [str(path)]
    assert_user_error(process, message, *of_file)
    for option in ("--scale", "--separator", "--columns"):  # of training, not of this command
        assert option not in process.stderr


def test_nearest_ids():
    numbers = IdMap(onp.array([5, 40, 41, 300]), "user")
    names = IdMap(onp.array(["anna", "bert", "007"], dtype=object), "user")
    assert numbers.nearest(42) == [40, 41] and numbers.nearest(303) == [300]
    assert numbers.nearest(4000) == numbers.nearest("x") == numbers.nearest("") == []
    assert names.nearest("ana") == names.nearest("anan") == ["anna"]
    assert names.find(["007", 7, "bert"]).tolist() == [2, -1, 1]
    text = r"user 'bart' \(and 1 more .* the 3 users of this run; the nearest ids are bert"
    with pytest.raises(DataError, match=text):
        names.positions(["anna", "bart", "clara"])


def test_the_nearest_of_many_ids_are_found_at_once():
    """Comparing a UUID with all of 100,000 took more than 6 seconds."""
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(100_000)]
    users = IdMap(onp.array(ids, dtype=object), "user")
    mistyped = ids[7][:-1] + "_"
    users.nearest("")

    began = time.process_time()
    for wanted in (mistyped, str(uuid.UUID(int=1)), "z" * 36, "", "x" * 1_000_000):
        assert users.nearest(wanted) == ids[7:8] * (wanted == mistyped)
    assert time.process_time() - began < 0.5


def test_table_json_and_given_items(own_run, in_process):
    process = in_process("recommend", own_run.path, "--user", "u3", "-n", "2")
    head, *lines = succeeded(process).stdout.splitlines()
    assert head.split() == ["item", "predicted", "rating"] and len(lines) == 2
    words = ("--user", "u3", "--json", "--items", '"a,1", "a,0"')
    process = in_process("recommend", own_run.path, *words)
    records = json.loads(process.stdout)
    assert items_in(records) == ["a,1", "a,0"]
    assert_allclose(
        [record["predicted_rating"] for record in records],
        own_run.predict(["u3"] * 2, ["a,1", "a,0"]),
        atol=1e-5,
    )
    process = in_process("recommend", own_run.path, "--similar-items", "a,1", "--json")
    assert list(json.loads(process.stdout)[0]) == ["item", "title", "similarity", "ratings"]


def everything_rated(tmp_path, based):
    """A run in which user u0 has rated everything, and u9 only what is in the test part."""
    rows = [
        f"u{user},i{item},{(user + item) % 5 + 1}\n"
        for user in range(9)
        for item in range(20)
        if user == 0 or (user + item) % 3
    ]
    train = written(tmp_path, "user,item,rating\n" + "".join(rows), "train.csv")
    test = written(tmp_path, "user,item,rating\nu1,i2,3\nu9,i1,4\nu2,new,4\n", "test.csv")
    given = dict(dataset="auto", train=str(train), test=str(test))
    return finish(tmp_path / "run", **given, based=based)


@pytest.mark.parametrize("based", ["item", "user"])
def test_seen_everything_and_cold_ids(tmp_path, in_process, based):
    run = everything_rated(tmp_path, based)
    process = in_process("recommend", run.path, "--user", "u0")
    assert (process.returncode, process.stdout) == (0, "")
    assert "every item is rated already or left out by a filter" in process.stderr
    assert in_process("recommend", run.path, "--user", "u0", "--json").stdout == "[]\n"
    process = in_process("recommend", run.path, "--user", "u1", "-n", "9")
    assert "items are left to choose from, 9 were asked for" in process.stderr
    assert "new" not in process.stdout  # nobody rated it in training
    text = "user u9 has no training rating: the items' means are shown"
    with pytest.warns(DataWarning, match=text):
        run.recommend("u9")
    means = run.inputs.means()
    item = means.columns[run.ratings.item_ids.tolist().index("i1")]
    user = means.rows[run.ratings.user_ids.tolist().index("u1")]
    assert_allclose(
        run.predict(["u9", "u1", "u9"], ["i1", "new", "new"]),
        means.mean + onp.array([item, user, 0]),
        rtol=1e-5,
    )
    process = in_process("recommend", run.path, "--all", "all.csv", "--quiet")
    assert "9 users have fewer than 10 items left" in process.stderr


REFUSED = {
    "--user 9999": "user '9999' is not among the 60 users of this run; its ids are like",
    "--user 1 --items '\"1\n2\"'": "item '1\\n2' is not among the 80 items",
    "--user 1 --items 1,nix": "item 'nix' is not among the 80 items",
    "--similar-items 1 --items 1": "--items needs --user ID",
    "": "one of the arguments --user --similar-items --new-user --all is required",
    "--user 1 -n 0": "-n: it is '0': it must be a whole number, from 1 to",
    "--all nowhere/x.csv": "nowhere/x.csv cannot be written (No such file or directory)",
    "--all x.json": "--all is x.json: its name must end with .csv, .csv.gz, .csv.zst",
    "--user 1 --items 1 --exclude 2": "--exclude has no effect: --items says which items",
    "--user 1 --items 1 -n 2": "-n has no effect: --items says which items",
    "--similar-items 1 --fallback popularity": "--fallback has no effect: it is for",
    "--similar-items 1 --include-rated": "--include-rated has no effect: it is for what a user",
}


@pytest.mark.parametrize("words", REFUSED)
def test_user_errors(run, in_process, words):
    process = in_process("recommend", run.path, *shlex.split(words))
    assert_user_error(process, REFUSED[words])


def test_ratings_are_not_taken_for_likes(tmp_path, in_process):
    """A file of likes, or ids; ratings of which one is low are refused by a model of clicks."""
    ratings = d2l.load_ratings("synthetic:60x80x900")
    clicks = d2l.prepare_clicks(ratings, heldout_users=5, min_user_clicks=1)
    run = d2l.train_model(d2l.EASEConfig(quiet=True), clicks, out=tmp_path / "run")
    liked = run.ratings.item_ids[:2].tolist()
    text = "ratings are not read by a model of clicks: give the items that were liked, without them"
    with pytest.raises(DataError, match=text):
        run.recommend_new_user(dict(zip(liked, (5, 1))))
    assert run.recommend_new_user(dict.fromkeys(liked, 1)) == run.recommend_new_user(liked)

    path = tmp_path / "me.csv"
    path.write_text("item,rating\n{},5\n{},1\n".format(*liked))
    assert_user_error(in_process("recommend", "run", "--new-user", "me.csv"), text)
    path.write_text("{}\n{}\n".format(*liked))
    succeeded(in_process("recommend", "run", "--new-user", "me.csv"))


def test_a_file_that_is_not_there_is_no_id(run, in_process):
    given = ["--user", str(run.ratings.user_ids[0]), "--exclude", "nope.csv"]
    process = in_process("recommend", run.path, *given)
    assert_user_error(process, "nope.csv cannot be read (no such file): check its name")

"""Next week's ratings: a run that goes on from another one."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import StopAfter, assert_user_error, finish, ids_of, outcome, succeeded
from hypothesis import given
from hypothesis import strategies as st
from mxnet import gluon

import d2l_autorec as d2l
from d2l_autorec.data.splits import following
from d2l_autorec.models.kinds import Own
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.runs.runner import run_training
from d2l_autorec.support import files
from d2l_autorec.training.checkpoint import parameters_of

ROWS = st.dictionaries(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 6)), st.integers(1, 5), min_size=1
)
STILL = 1e-30  # a learning rate that moves nothing


def ratings_of(rows, scale=(1, 5)):
    users, items = zip(*rows)
    frame = pd.DataFrame({"user": users, "item": items, "rating": list(rows.values())})
    return d2l.Ratings.from_frame(frame, scale=scale)


def rows_of(ratings):
    pairs = zip(*(ids.tolist() for ids in ids_of(ratings)))
    return dict(zip(pairs, ratings.values.tolist()))


@given(ROWS, ROWS, st.integers(0, 40))
def test_a_later_rating_replaces_the_earlier(earlier, newer, count):
    old, new = ratings_of(earlier), ratings_of(newer)
    first = np.arange(len(new)) < count
    train, test = following(old, [new.part(first), new.part(~first)])
    trained, tested = rows_of(new.part(first)), rows_of(new.part(~first))
    assert rows_of(test) == tested
    kept = {pair: value for pair, value in earlier.items() if pair not in tested}
    assert rows_of(train) == {**kept, **trained} and len(train) == len({**kept, **trained})
    assert train.user_ids[: old.num_users].tolist() == old.user_ids.tolist()
    assert train.item_ids[: old.num_items].tolist() == old.item_ids.tolist()


def test_ids_of_another_kind():
    old, new = ratings_of({("a", 1): 3}), ratings_of({("a", "x"): 2, ("b", "1"): 4})
    [train] = following(old, [new])
    assert train.item_ids.tolist() == ["1", "x"] and train.user_ids.tolist() == ["a", "b"]


@pytest.fixture(scope="module")
def weeks(tmp_path_factory):
    """A run on most of some ratings, and a file of the others, with users and items of their own.

    Returns the folder of both.
    """
    folder = tmp_path_factory.mktemp("weeks")
    frame = d2l.load_ratings("synthetic:60x80x1500")
    rows = pd.DataFrame({"user": frame.users, "item": frame.items, "rating": frame.values})
    is_old = (rows.user < 50) & (rows.item < 70) & (np.arange(1500) % 4 > 0)
    rows[is_old].to_csv(folder / "old.csv", index=False)
    rows[~is_old].to_csv(folder / "new.csv", index=False)
    finish(folder / "old", dataset="auto", ratings=str(folder / "old.csv"), preset="chapter")
    return folder


def newer(weeks):
    return d2l.random_split(d2l.read_ratings(weeks / "new.csv"), 0.3)


GO_ON = ("--from", "old", "--ratings", "new.csv", "--quiet")


@pytest.fixture
def at_home(weeks, in_process, tmp_path):
    """A command in a folder that has the run and the newer ratings."""
    shutil.copytree(weeks, tmp_path, dirs_exist_ok=True)
    return lambda *arguments: in_process("run", *arguments)


def test_a_week_later(at_home, tmp_path):
    process = succeeded(at_home(*GO_ON, "--epochs", "40", "--lr", "0.01", "--out", "next"))
    run = d2l.load_run(tmp_path / "next")
    assert run.config.hidden == (8,) and run.config.batch_size == 16  # as the start
    validation = run.history.validation_rmse
    assert len(validation) == int(validation.argmin()) + 1 + 3 < 40  # until it no longer fell
    assert run.metrics["start_train_seconds"] == d2l.load_run("old").metrics["train_seconds"]
    [told] = re.findall("went on from +old, .* whose test RMSE is (.*)", process.stdout)
    assert float(told) == pytest.approx(run.metrics["start_test_rmse"], abs=1e-4)
    old, new = (d2l.read_ratings(name) for name in ("old.csv", "new.csv"))
    assert rows_of(run.ratings) == rows_of(old) | rows_of(new)
    # what is tested and validated with is new to the start
    held_out = set(rows_of(run.ratings)) - set(rows_of(run.inputs))
    assert held_out < set(rows_of(new))

    [anew] = re.findall("to compare +python -m d2l_autorec.run (.*)", process.stdout)
    assert anew == "--ratings new.csv --from old --anew"
    process = at_home(*anew.split(), "--quiet", "--out", "anew")
    assert process.returncode == 0 and "went on from" not in process.stdout
    other = d2l.load_run("anew")
    assert other.config.epochs == 3 and "start" not in other.metrics
    for name in ("train_ratings", "test_ratings", "users", "items"):
        assert other.metrics[name] == run.metrics[name]
    about = [files.read_json(tmp_path / name / "config.json")["data"] for name in ("next", "anew")]
    assert about[0]["train_sha256"] == about[1]["train_sha256"]


def test_titles_are_kept_without_their_file(at_home, tmp_path):
    (tmp_path / "titles.csv").write_text("id,title\n1,Alien\n")
    named = ("--ratings", "old.csv", "--titles", "titles.csv", "--model", "mean", "--out", "named")
    succeeded(at_home(*named))
    (tmp_path / "titles.csv").unlink()
    succeeded(at_home("--from", "named", *GO_ON[2:], "--out", "later"))
    assert d2l.load_run(tmp_path / "later").ratings.titles == {1: "Alien"}


def test_killed_and_resumed(at_home, tmp_path):
    """From a checkpoint, or before the first, with the start's parameters; else not at all."""
    options = (*GO_ON, "--epochs", "6", "--patience", "6", "--checkpoint-every", "1")
    succeeded(at_home(*options, "--out", "whole"))

    for epochs in (1, 3):
        cut = tmp_path / f"cut-{epochs}"
        record = RunFolder.read(tmp_path / "whole")
        config = replace(record.config, out=str(cut))
        start = d2l.load_run("old")
        with pytest.raises(KeyboardInterrupt):
            run_training(config.with_own(Own(callbacks=[StopAfter(epochs)], start=start)))
        assert (cut / "checkpoint.bin").exists() == (epochs == 3)
        succeeded(at_home("--resume", cut.name))
        assert outcome(cut) == outcome(tmp_path / "whole")

        (cut / "result.json").unlink()
    finish(tmp_path / "other", dataset="auto", ratings="old.csv", preset="chapter", seed=1)
    shutil.rmtree("old")
    shutil.move("other", "old")
    assert_user_error(at_home("--resume", "cut-3"), "or what it went on from, are not those")
    shutil.rmtree("old")
    assert_user_error(at_home("--resume", "cut-3"), "old is not a run folder")


NEWER = "--from old --ratings new.csv"
REFUSED = {
    "--from old": "--from goes on with newer ratings: name them, as in --ratings FILE",
    f"{NEWER} --model mf": "--model mf cannot go on from a run of --model autorec",
    f"{NEWER} --hidden 9": "encoder.weight had the shape (50, 8), and now (60, 9)",
    f"{NEWER} --scale 1,10": "new.csv has ratings 1..10, and the run that it is to go on",
    "--from new --ratings new.csv": "new is not a run folder",
    "--ratings new.csv --anew": "--anew has no effect: it goes with --from",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_go_on(at_home, tmp_path, words):
    assert_user_error(at_home(*words.split(), "--out", "next"), REFUSED[words])
    assert not (tmp_path / "next").exists()


def test_newer_ratings_are_not_forgotten(weeks):
    with pytest.raises(d2l.ConfigError, match="^train is missing: give it beside start, test and"):
        d2l.train_model(None, start=d2l.load_run(weeks / "old"))


def test_what_is_computed_at_once_is_fitted_anew(at_home, tmp_path):
    succeeded(at_home("--ratings", "old.csv", "--model", "bias", "--out", "bias"))
    process = at_home("--from", "bias", *GO_ON[2:], "--test-ratio", "0", "--out", "next")
    assert "--model bias is computed at once: it was fitted anew to all" in process.stderr
    found = d2l.load_run("next")
    whole = d2l.train_model(replace(found.config, out=None, from_=None), found.ratings)
    pairs = [ids[:50] for ids in ids_of(found.ratings)]
    np.testing.assert_allclose(found.predict(*pairs), whole.predict(*pairs), rtol=1e-5)


def test_who_is_held_out_stays_so(weeks):
    """Of clicks: the same users are tested; new ones are trained on."""
    config = make_config(model="mult-dae", hidden=(6,), epochs=3, threshold=3.0, quiet=True)
    old, new = (d2l.read_ratings(weeks / name) for name in ("old.csv", "new.csv"))
    clicks = d2l.prepare_clicks(old, 3.0, heldout_users=5, validation_users=7, min_item_clicks=3)
    start = d2l.train_model(config, clicks)
    model = d2l.train_model(type(config)(lr=STILL, min_user_clicks=4), new, start=start)
    found = model.ratings.part(model.ratings.values == 1)
    assert found.item_ids[: clicks.num_items].tolist() == clicks.item_ids.tolist()
    assert set(found.user_ids[-5:]) == set(clicks.test.user_ids)
    assert set(found.user_ids[-12:-5]) == set(clicks.validation.user_ids)
    assert set(found.user_ids[:-12]) > set(clicks.user_ids[:-12])
    assert model.metrics["heldout_users"] == 5 and model.metrics["validation_users"] == 7

    above = {pair for pair, value in rows_of(new).items() if value >= 3}
    counts = pd.Series([user for user, _ in above]).value_counts()
    known = set(clicks.user_ids.tolist())
    kept = {pair for pair in above if pair[0] in known or counts[pair[0]] >= 4}
    held_out = set(found.user_ids[-12:].tolist())
    trained = {item for user, item in kept if user not in held_out} | set(clicks.item_ids.tolist())
    kept = {pair for pair in kept if pair[1] in trained}
    assert set(rows_of(found)) == kept | set(rows_of(clicks.interactions()))
    check_taken_over(start, model)


@pytest.mark.parametrize("again", [[("user", 5)], [("item", 5)], [("item", 0)], []], ids=str)
def test_users_and_items_keep_their_places(again):
    """Whatever clicks are repeated, or taken back: all of a user's, or all on an item."""
    rng = np.random.default_rng(0)
    old = {(u, i): 5 for u in range(40) for i in rng.permutation(16)[:7].tolist()}
    config = d2l.MultDAEConfig(hidden=4, epochs=1, lr=STILL, quiet=True, cpus=1)
    start = d2l.train_model(config, d2l.prepare_clicks(ratings_of(old), heldout_users=4))
    repeated = dict([*old.items()][::17])
    taken = {p: 1 for p in old for what, one in again if p[what == "item"] == one}
    newer = ratings_of({**repeated, (0, 99): 5, **taken})
    model = d2l.train_model(None, newer, start=start)
    items = start.ratings.item_ids.tolist()
    assert model.ratings.item_ids.tolist()[: len(items)] == items
    before, now = (of.ratings.user_ids.tolist() for of in (start, model))
    assert set(before[:32]) == set(now[:-8])
    for part in (slice(-8, -4), slice(-4, None)):
        assert set(before[part]) == set(now[part])
    check_taken_over(start, model)


def test_the_threshold_stays_the_one_of_the_start(at_home):
    """4 of ratings to 5, though the newer ones are 4 and 5; of a file without ratings all."""
    ratings = d2l.load_ratings("synthetic:60x80x1500")
    users, items = ["new"] * 12, ratings.item_ids[:12].tolist()
    start = d2l.train_model(d2l.EASEConfig(), d2l.prepare_clicks(ratings, min_user_clicks=1))
    newer = pd.DataFrame({"user": users, "item": items, "rating": [4, 5] * 6, "low": 3})
    for column, threshold in (("rating", 4), (None, 4), ("low", 3)):
        ratings = d2l.Ratings.from_frame(newer, rating=column)
        config = d2l.EASEConfig(threshold=3.0) if column == "low" else None
        model = d2l.train_model(config, ratings, start=start)
        assert model.ratings.num_users == start.ratings.num_users + 1
        assert model.metrics["threshold"] == threshold

    text = "^frame: none of the 12 ratings reaches 4, the lowest .*: say another `threshold`$"
    with pytest.raises(d2l.DataError, match=text):
        d2l.train_model(None, d2l.Ratings.from_frame(newer, rating="low"), start=start)


def test_what_the_start_was_trained_on_tests_nothing():
    """A file of all ratings, old and new, is what many have each week."""
    whole = d2l.load_ratings("synthetic:60x80x1500")
    is_old = np.arange(1500) % 10 > 1
    old_train, old_test = d2l.random_split(whole.part(is_old), 0.3, seed=5)
    config = d2l.AutoRecConfig(preset="chapter", epochs=2, hidden=8, quiet=True)
    start = d2l.train_model(config, old_train, old_test)
    train, test = d2l.random_split(whole, 0.3, seed=6)
    again = [pair for pair in rows_of(test) if pair in rows_of(old_train)]

    told = f"{len(again)} of {len(test)} ratings to test or validate with are of pairs that"
    for anew in (False, True):
        with pytest.warns(d2l.DataWarning, match=told):
            model = d2l.train_model(d2l.AutoRecConfig(anew=anew), train, test, start=start)
        assert model.metrics["test_ratings"] == len(test) - len(again)
        clean = {pair: value for pair, value in rows_of(test).items() if pair not in again}
        users, items = zip(*clean)
        errors = model.predict(users, items) - [*clean.values()]
        assert np.sqrt(np.mean(errors**2)) == pytest.approx(model.metrics["test_rmse"], abs=1e-6)

    seen, again = d2l.random_split(old_train, 0.3)
    for part, parts in (("test", (seen, again)), ("validation", (seen, old_test, again))):
        with pytest.raises(d2l.DataError, match=f"no {part} rating is new to the start: give"):
            d2l.train_model(None, *parts, start=start)


def test_what_was_no_click_stays_so():
    """Items that were rated low, before or since, are not recommended after a week either."""
    old = {("u", i): 5 if i % 2 else 1 for i in range(12)} | {("v", i): 5 for i in range(12)}
    old |= {(f"w{n}", i): 4 for n in range(6) for i in range(n, n + 6)}
    new = {("u", 1): 2, ("u", 2): 5, ("v", 12): 1, ("x", 3): 5, ("x", 4): 1, ("w0", 12): 5}
    config = d2l.EASEConfig(penalty=1.0, quiet=True)
    clicks = d2l.prepare_clicks(ratings_of(old), min_user_clicks=1, heldout_users=0)
    start = d2l.train_model(config, clicks)
    assert rows_of(start.ratings) == {pair: 1.0 if v > 3 else 0.5 for pair, v in old.items()}
    newer = d2l.EASEConfig(min_user_clicks=1)
    rated = rows_of(d2l.train_model(newer, ratings_of(new), start=start).ratings)
    added = {("u", 1): 0.5, ("u", 2): 1.0, ("v", 12): 0.5, ("x", 3): 1.0, ("x", 4): 0.5}
    added[("w0", 12)] = 1.0
    assert rated == rows_of(start.ratings) | added


@pytest.mark.slow
def test_a_tenth_more_of_ml_100k(data_dir):
    """In time order: a third of the time of training anew at most, and as good."""
    ratings = d2l.load_ratings("ml-100k", data_dir)
    frame = ratings.to_frame().sort_values("timestamp", kind="stable")
    parts = frame[:80_000], frame[80_000:]
    old, new = (d2l.Ratings.from_frame(part, timestamp="timestamp") for part in parts)
    train, test = d2l.time_split(new, 0.5)
    start = d2l.train_model(d2l.AutoRecConfig(preset="best", test_ratio=0.0), old)
    anew = d2l.train_model(d2l.AutoRecConfig(anew=True), train, test, start=start)
    warm = d2l.train_model(None, train, test, start=start)
    assert warm.metrics["train_seconds"] < anew.metrics["train_seconds"] / 3
    assert warm.metrics["test_rmse"] < anew.metrics["test_rmse"] + 0.002
    assert warm.metrics["test_rmse"] < warm.metrics["start_test_rmse"]


def check_taken_over(start, model):
    before, after = parameters_of(start.net), parameters_of(model.net)
    assert before.keys() == after.keys()
    for name, known in before.items():
        taken = after[name][tuple(map(slice, known.shape))]
        np.testing.assert_allclose(taken, known, rtol=0, atol=1e-25)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": (6,)},
        {"based": "user", "hidden": (6, 3, 6), "tied": True, "pretrain": True},
        {"hidden": (6,), "center": True, "val_ratio": 0.1, "refit": True},
        {"model": "mf", "factors": 4},
        {"model": "mf", "factors": 4, "center": True},
    ],
)
def test_what_is_taken_over(weeks, options):
    """Untrained, the known rows are those of the start, and so are its answers."""
    config = make_config({"preset": "chapter", "epochs": 3, "quiet": True, "cpus": 1, **options})
    old = d2l.read_ratings(weeks / "old.csv")
    start = d2l.train_model(config, old)
    train, test = newer(weeks)
    model = d2l.train_model(type(config)(lr=STILL, epochs=2, wd=0.0), train, test, start=start)
    assert model.ratings.user_ids[: old.num_users].tolist() == old.user_ids.tolist()
    check_taken_over(start, model)

    users, items = ids_of(test)
    known = test.part(np.isin(users, old.user_ids) & np.isin(items, old.item_ids))
    apart = d2l.train_model(type(config)(lr=STILL, epochs=1), train, known, start=start)
    expected = start.evaluate(known)["test_rmse"]
    assert apart.metrics["start_test_rmse"] == pytest.approx(expected, abs=1e-5)


def test_a_few_newer_ratings(weeks, in_process):
    """Too few to validate: a new user is known after a short training all the same."""
    (weeks / "few.csv").write_text("user,item,rating\n999,1,5\n999,2,4\n")
    words = ("--from", weeks / "old", "--ratings", weeks / "few.csv", "--out", weeks / "few")
    process = in_process("run", *words, "--test-ratio", "0", "--val-ratio", "0.1")
    assert "few newer ratings: at most 5 epochs, without validation" in process.stderr
    few = d2l.load_run(weeks / "few")
    assert few.config.val_ratio == 0.1  # so a run that goes on from this one validates again
    assert few.recommend(999, n=1) and len(few.history) == few.config.epochs == 3
    assert len(few.inputs) == len(few.ratings)  # so what either was trained on tests no later run


def test_titles_stay_where_ids_become_text():
    titles = {1: "one", 2: "two", "x": "ex"}
    old, new = ratings_of({("u", 1): 5, ("v", 2): 4}), ratings_of({("u", "x"): 3, ("v", "x"): 2})
    start = d2l.train_model(d2l.BiasConfig(), old.with_titles(titles))
    model = d2l.train_model(None, new.with_titles(titles), start=start)
    found = model.recommend("u", 9, filter_already_rated=False)
    assert {row.item: row.title for row in found} == {"1": "one", "2": "two", "x": "ex"}


def test_options_alone_are_of_the_model_of_the_start(weeks):
    start = d2l.train_model(d2l.MFConfig(epochs=1, quiet=True), d2l.read_ratings(weeks / "old.csv"))
    train, _ = newer(weeks)
    assert d2l.train_model({"epochs": 2}, train, start=start).config.model == "mf"


def test_the_command_to_compare_has_the_same_test_part(at_home, tmp_path):
    said = succeeded(at_home(*GO_ON[:4], "--seed", "5", "--out", "b")).stdout
    [anew] = re.findall("to compare +python -m d2l_autorec.run (.*)", said)
    succeeded(at_home(*anew.split(), "--quiet", "--out", "c"))
    data = [files.read_json(tmp_path / name / "config.json")["data"] for name in ("b", "c")]
    assert data[0]["test_sha256"] == data[1]["test_sha256"]


def test_runs_with_objects_of_python_go_on_there(at_home, tmp_path):
    ratings = d2l.load_ratings("synthetic:60x80x1500")
    config = d2l.MFConfig(epochs=1, quiet=True, cpus=1)
    d2l.train_model(config, ratings, out=tmp_path / "mine")
    told = "mine/config.json: this run was given objects in Python (train): go on there"
    assert_user_error(at_home("--options", "mine/config.json"), told)
    own = d2l.AutoRecConfig(preset="chapter", epochs=1, hidden=4, quiet=True, cpus=1)
    d2l.train_model(own, ratings, loss=gluon.loss.L1Loss(), out=tmp_path / "loss")
    told = "loss: this run was given objects in Python (loss): go on there"
    assert_user_error(at_home("--from", "loss", *GO_ON[2:]), told)

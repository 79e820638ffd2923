"""The public API: what a notebook imports from `d2l_autorec` alone."""

import copy
import pickle
from pathlib import Path

import mxnet as mx
import numpy as np
import pandas as pd
import pytest
from helpers import ids_of, python, succeeded

import d2l_autorec as d2l
from d2l_autorec.training.callbacks import Callback

SMALL = dict(hidden=8, epochs=3, batch_size=16, quiet=True, cpus=1, init_sigma=0.3)
SET = "synthetic:60x80x900"


@pytest.fixture(scope="module")
def parts():
    return d2l.random_split(d2l.load_ratings(SET), test_ratio=0.1, seed=0)


@pytest.fixture(scope="module")
def model(parts):
    return d2l.train_model(d2l.AutoRecConfig(**SMALL), *parts)


def test_six_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ratings = d2l.load_ratings(SET)
    train, test = d2l.random_split(ratings, test_ratio=0.1, seed=0)
    model = d2l.train_model(d2l.AutoRecConfig(**SMALL), train, test)
    assert repr(model) == "TrainedModel(autorec, 60 users, 80 items, path=None)"
    assert 0 < model.metrics["test_rmse"] < 5
    assert model.history["test_rmse"].iloc[-1] == model.metrics["test_rmse"]
    assert list(model.history["epoch"]) == [1, 2, 3]
    user, item = int(ratings.user_ids[0]), int(ratings.item_ids[0])
    assert model.predict(users=[user], items=[item]).shape == (1,)
    assert len(model.recommend(user, n=5)) == 5
    assert item not in [other for other, *_ in model.similar_items(item)]
    assert model.recommend_new_user({item: 5, int(ratings.item_ids[1]): 4}, n=3)
    model.evaluate(test)
    assert not list(tmp_path.iterdir())

    model.save("runs/mine")
    model = d2l.load_run("runs/mine")
    names = {path.name for path in model.export("out/")}
    assert names == {"model.onnx", "tables.npz", "metadata.json"}


def test_figures_are_those_of_the_command(in_process, model, tmp_path):
    options = ["--dataset", SET, "--hidden", "8", "--epochs", "3", "--batch-size", "16"]
    options += ["--cpus", "1", "--init-sigma", "0.3", "--quiet", "--out", str(tmp_path / "run")]
    in_process("run", *options)
    command = d2l.load_run(tmp_path / "run")
    for name in ("test_rmse", "test_mae", "train_loss", "train_rmse", "chapter_rmse"):
        assert command.metrics[name] == model.metrics[name]


def test_frame():
    rng = np.random.default_rng(0)
    cells = rng.choice(30 * 20, 300, replace=False)
    frame = pd.DataFrame(
        {
            "who": [f"u{cell // 20}" for cell in cells],
            "what": cells % 20,
            "stars": rng.integers(1, 6, 300),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(300), unit="s"),
        },
        index=rng.permutation(300),
    )
    ratings = d2l.Ratings.from_frame(frame, "who", "what", "stars", timestamp="when", scale=(1, 5))
    users, items = ids_of(ratings)
    assert users.tolist() == frame["who"].tolist()
    assert items.tolist() == frame["what"].tolist()
    assert ratings.values.tolist() == frame["stars"].tolist()
    assert ratings.timestamps.tolist() == list(range(1577836800, 1577836800 + 300))
    assert ratings.scale == (1, 5)


CONFIGS = {
    "item-based": d2l.AutoRecConfig(**SMALL),
    "user-based, stopped early": d2l.AutoRecConfig(**SMALL, based="user", val_ratio=0.2),
    "refit": d2l.AutoRecConfig(**SMALL, val_ratio=0.2, refit=True),
    "two devices": d2l.AutoRecConfig(**{**SMALL, "cpus": 2}),
    "mf": d2l.MFConfig(factors=4, epochs=2, quiet=True, cpus=1, val_ratio=0.2),
    "bias": d2l.BiasConfig(quiet=True, cpus=1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_is_equal(name, parts, tmp_path):
    train, test = parts
    model = d2l.train_model(CONFIGS[name], train, test)
    model.save(tmp_path / "saved")
    d2l.load_run(tmp_path / "saved").save(str(tmp_path / "copy"))
    written = d2l.train_model(CONFIGS[name], train, test, out=tmp_path / "written")
    rmse = pytest.approx(model.metrics["test_rmse"], abs=1e-6)
    for other in (d2l.load_run(str(tmp_path / "saved")), d2l.load_run(tmp_path / "copy"), written):
        assert (other.predict(*ids_of(test)) == model.predict(*ids_of(test))).all()
        for key in model.metrics.keys() - {"train_seconds", "ratings_per_second"}:
            assert other.metrics[key] == model.metrics[key]
        columns = ["phase", "epoch", "test_rmse"]
        pd.testing.assert_frame_equal(other.history[columns], model.history[columns])
        assert other.evaluate(test)["test_rmse"] == rmse


COPIED = {
    **CONFIGS,
    "best": d2l.AutoRecConfig(preset="best", hidden=4, updates=20, quiet=True, cpus=1),
    "deep and tied": d2l.AutoRecConfig(**{**SMALL, "hidden": (6, 4, 6)}, tied=True),
    "mult-vae": d2l.MultVAEConfig(hidden=(6, 3), epochs=2, quiet=True, cpus=1),
    "ease": d2l.EASEConfig(quiet=True, cpus=1),
    "popularity": d2l.PopularityConfig(quiet=True, cpus=1),
}


@pytest.fixture(scope="module")
def clicks():
    return d2l.prepare_clicks(d2l.load_ratings(SET), 3.0, 1, heldout_users=12)


@pytest.mark.parametrize("name", COPIED)
@pytest.mark.filterwarnings("ignore:no better than:d2l_autorec.DataWarning")
def test_a_model_can_be_copied_and_pickled(name, parts, clicks, tmp_path):
    """It ended in an error of ctypes."""
    config, (train, test) = COPIED[name], parts
    ranks = config.model in ("mult-vae", "ease", "popularity")
    model = d2l.train_model(config, clicks) if ranks else d2l.train_model(config, train, test)
    liked = train.item_ids[:3].tolist()
    items = liked if ranks else dict.fromkeys(liked, 4)

    dumps = (pickle.dumps, pickle._dumps)  # joblib goes by the second, which is Python's
    copies = [copy.deepcopy(model), *(pickle.loads(dump(model)) for dump in dumps)]
    for one in copies:
        assert one.config == model.config and one.metrics == model.metrics
        assert one.recommend(train.user_ids[3]) == model.recommend(train.user_ids[3])
        assert one.recommend_new_user(items) == model.recommend_new_user(items)
        pd.testing.assert_frame_equal(one.history, model.history)
        if not ranks:
            assert one.predict(*ids_of(test)).tolist() == model.predict(*ids_of(test)).tolist()
            assert one.similar_items(train.item_ids[0]) == model.similar_items(train.item_ids[0])
        with pytest.raises(d2l.ConfigError, match="^this model is a copy.*save the one that `trai"):
            one.save(tmp_path / "saved")


def test_in_another_process(model, parts, tmp_path):
    """A pickle is opened; and tune is a function, though the command's module has its name."""
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    user = parts[0].user_ids[3]
    code = (
        "import d2l_autorec as d2l; first = d2l.tune\n"
        "import d2l_autorec.tune; from d2l_autorec import tune\n"
        f"given = {{'model': 'bias', 'damping': 2.0}}, d2l.load_ratings('{SET}')\n"
        "assert first(*given, trials=1).validation == tune(*given, trials=1).validation\n"
        "import pickle, sys; model = pickle.load(open(sys.argv[1], 'rb'))\n"
        f"print(model.recommend({user})[0].item)"
    )
    found = succeeded(python("-c", code, tmp_path / "model.pickle")).stdout
    assert int(found) == model.recommend(user)[0].item


def test_a_copy_of_an_opened_run_can_be_saved(model, tmp_path):
    model.save(tmp_path / "run")
    copied = pickle.loads(pickle.dumps(d2l.load_run(tmp_path / "run")))
    copied.save(tmp_path / "again")
    assert d2l.load_run(tmp_path / "again").metrics == copied.metrics


@pytest.mark.parametrize("finished", [True, False])
def test_what_is_resumed_is_the_same_run(finished, parts, tmp_path, capfd):
    """It said 'is finished already', and returned the old model, of whatever was asked for."""
    config, out = d2l.AutoRecConfig(**SMALL), tmp_path / "run"
    first = d2l.train_model(config, *parts, out=out)
    if not finished:
        (out / "result.json").unlink()

    other = d2l.AutoRecConfig(**{**SMALL, "epochs": 5}, lr=0.1)
    differ = "these differ: `lr=0.1` .was 0.002., `epochs=5` .was 3.; leave them out, or begin"
    with pytest.raises(d2l.ConfigError, match=differ):
        d2l.train_model(other, *parts, resume=out)
    with pytest.raises(d2l.ConfigError, match="these differ: `model=mf` .was autorec."):
        d2l.train_model(d2l.MFConfig(quiet=True, cpus=1), *parts, resume=out)

    fewer = parts[0].part(np.arange(len(parts[0])) > 5)
    with pytest.raises(d2l.DataError, match="are not those that the run in .* began"):
        d2l.train_model(config, fewer, parts[1], resume=out)
    assert "finished already" not in capfd.readouterr().err

    again = d2l.train_model(config, *parts, resume=out)
    assert again.metrics["test_rmse"] == first.metrics["test_rmse"]
    assert ("is finished already" in capfd.readouterr().err) == finished


def test_given_validation_stops_early(parts):
    whole, test = parts
    train, validation = d2l.random_split(whole, 0.2, seed=1)
    config = d2l.AutoRecConfig(**{**SMALL, "epochs": 40}, lr=0.05, patience=1)
    model = d2l.train_model(config, train, test, validation)
    best = int(model.history["validation_rmse"].idxmin())
    assert model.metrics["best_epoch"] == best + 1
    assert model.metrics["validation_ratings"] == len(validation)
    assert len(model.history) < 40
    assert model.evaluate(validation)["test_rmse"] == pytest.approx(
        model.history["validation_rmse"][best], abs=1e-6
    )
    assert len(model.inputs) == len(train)
    assert len(model.ratings) == len(whole) + len(test)


@pytest.mark.parametrize("patience, epochs", [(5, 6), (0.25, 6), (1, 2)])
def test_patience_may_be_a_share_of_all_epochs(patience, epochs, parts):
    options = {**SMALL, "epochs": 20, "val_ratio": 0.2, "lr": 1e-30}  # too low for any change
    model = d2l.train_model(d2l.AutoRecConfig(**options, patience=patience), *parts)
    assert len(model.history) == epochs


def test_clicks(tmp_path):
    clicks = d2l.prepare_clicks(d2l.load_ratings(SET), 3.0, 1, heldout_users=12)
    config = d2l.MultDAEConfig(hidden=8, epochs=2, quiet=True, cpus=1, batch_size=16)
    for chosen in (config, d2l.EASEConfig(penalty=20.0, quiet=True, cpus=1)):
        model = d2l.train_model(chosen, clicks)
        model.save(tmp_path / chosen.model)
        loaded = d2l.load_run(tmp_path / chosen.model)
        user = clicks.user_ids[0]
        assert loaded.recommend(user) == model.recommend(user)
        assert model.recommend_new_user([clicks.item_ids[0]])
        with pytest.raises(d2l.ConfigError, match="^train is a Ratings: .* it must be Clicks"):
            d2l.train_model(chosen, model.ratings)


def test_ratings_that_are_split_become_clicks():
    train, test = d2l.leave_last_out(d2l.load_ratings(SET))
    config = d2l.EASEConfig(threshold=3, penalty=20.0, quiet=True, cpus=1)
    fitting, validation = d2l.leave_last_out(train)
    found = d2l.train_model(config, fitting, test, validation).metrics
    sizes = {"train": fitting, "validation_te": validation, "test_te": test}
    for piece, part in sizes.items():
        assert 0 < found[f"{piece}_clicks"] <= (part.values >= 3).sum()
    assert found["train_clicks"] == (fitting.values >= 3).sum()

    train, test = d2l.random_split(d2l.load_ratings("synthetic:60x40x1200"), 0.2, seed=0)
    drawn = d2l.train_model(config, train, test).metrics
    validation, fitting = drawn["validation_te_clicks"], drawn["train_clicks"]
    assert validation + fitting == (train.values >= 3).sum() and 0.05 < validation / fitting < 0.2
    assert drawn["test_te_clicks"] == (test.values >= 3).sum()
    with pytest.raises(d2l.DataError, match="test: user .* and in train; .* pairs are in both"):
        d2l.train_model(config, train, train)


def test_options_may_be_a_mapping(parts):
    model = d2l.train_model({"model": "bias", "damping": 2.0}, *parts)
    assert model.config == d2l.BiasConfig(damping=2.0)


def test_errors_name_parameters(parts, model):
    train, test = parts
    config, others = d2l.AutoRecConfig(**SMALL), d2l.load_ratings("synthetic:50x80x900")
    one = Callback()
    for text, call in (
        ("hiden: AutoRecConfig .*did you mean hidden", lambda: d2l.AutoRecConfig(hiden=8)),
        (".*did you mean hidden", lambda: d2l.make_config({"hiden": 8})),
        ("train is a DataFrame: .* be Ratings", lambda: d2l.train_model(train=pd.DataFrame())),
        ("config is a Ratings: .* ratings are given as `train`", lambda: d2l.train_model(train)),
        ("config is a str: it must be a conf", lambda: d2l.train_model("mf", train)),
        ("config is a str: it must be a conf", lambda: d2l.tune("mf", train)),
        ("config is a type: .*, as MFConfig", lambda: d2l.train_model(d2l.MFConfig, train)),
        ("start is a str: .* TrainedModel", lambda: d2l.train_model(config, train, start="run")),
        ("callbacks is a Call.*Sequence", lambda: d2l.train_model(train=train, callbacks=one)),
        ("one of callbacks is a type", lambda: d2l.train_model(train=train, callbacks=[Callback])),
        (
            "callbacks has no effect: `model=bias`",
            lambda: d2l.train_model(d2l.BiasConfig(), train, callbacks=[one]),
        ),
        ("`gpus=7`: ", lambda: d2l.train_model(config, train, devices=[mx.gpu(7)])),
        ("test is a str: .* it must be Ratings", lambda: d2l.train_model(config, train, "t.csv")),
        ("test has other user ids", lambda: d2l.train_model(config, train, others)),
        ("test_ratio=2: it must be between 0 and 1", lambda: d2l.random_split(train, 2)),
        ("test_ratio=x: it must be between 0 and 1", lambda: d2l.random_split(train, "x")),
        ("'12' is one id: give a list of ids", lambda: model.predict("12", "345")),
        ("ratings: 9 for item", lambda: model.recommend_new_user({train.item_ids[0]: 9})),
        ("train: .* repeated, whi", lambda: d2l.train_model(config, train.joined(train), test)),
    ):
        with pytest.raises(d2l.UserError, match=f"^{text}"):
            call()


ODD_NUMBERS = (float("nan"), -float("inf"), -1, 0, 2.5, 1e300, 10**40)
WITH_NUMBER = {
    "random_split": lambda r, m, v: d2l.random_split(r, test_ratio=v),
    "k_folds": lambda r, m, v: d2l.k_folds(r, v),
    "load_ratings, seed": lambda r, m, v: d2l.load_ratings(SET, seed=v),
    "heldout_users": lambda r, m, v: d2l.prepare_clicks(r, heldout_users=v),
    "threshold": lambda r, m, v: d2l.prepare_clicks(r, threshold=v),
    "recommend": lambda r, m, v: m.recommend(1, n=v),
    "recommend_new_user": lambda r, m, v: m.recommend_new_user({1: v}),
    "predict": lambda r, m, v: m.predict([v], [1]),
    "anneal_cap": lambda r, m, v: d2l.anneal_schedule("original", v),
    "lr": lambda r, m, v: d2l.AutoRecConfig(lr=v),
}


@pytest.mark.parametrize("name", WITH_NUMBER)
@pytest.mark.filterwarnings("ignore::d2l_autorec.DataWarning")
def test_an_odd_number_is_taken_or_refused_in_one_line(model, name):
    ratings = d2l.load_ratings(SET)
    for value in ODD_NUMBERS:
        try:
            WITH_NUMBER[name](ratings, model, value)
        except d2l.UserError as error:
            assert str(error) and "\n" not in str(error)


def test_exports_are_typed_and_quick():
    """The stub that type checkers read is what is loaded; the import is below 0.1 s."""
    assert all(getattr(d2l, name) is not None for name in d2l.__all__)
    assert Path(d2l.__file__).with_name("py.typed").is_file()
    code = (
        "import time; start = time.perf_counter(); import d2l_autorec;"
        "print(time.perf_counter() - start)"
    )
    assert min(float(python("-c", code).stdout) for _ in range(3)) < 0.1

"""The library names parameters, a command its options."""

import ast
import re
import shutil
import warnings
from dataclasses import replace

import pandas as pd
import pytest
from helpers import PACKAGE, finish

import d2l_autorec as d2l
from d2l_autorec.support.cli import run_command
from d2l_autorec.support.flags import flag, with_flags

OPTION = re.compile("--[a-z]")
MAY_NAME_OPTIONS = (
    "models",
    "runs/options.py",
    "serving/app.py",
    "support/cli.py",
    "support/flags.py",
)
SET = "synthetic:60x80x900"


@pytest.mark.parametrize(
    "text, written",
    [
        ("`hidden` is 0: it must be", "--hidden is 0: it must be"),
        ("a smaller `batch_size`, or `kernel=dense`", "a smaller --batch-size, or --kernel dense"),
        ("(`lr` is True)", "(--lr is True)"),
        ("`n` is 0", "-n is 0"),
        ("say `columns='user=a b,item=c'`; else", "say --columns 'user=a b,item=c'; else"),
        (
            "stopped; go on with `train_model(resume=a (1)/b)`, as before",
            "stopped; go on with python -m d2l_autorec.run --resume a (1)/b, as before",
        ),
        # what is no parameter of ours
        ("see `ip address`, or ulimit -n", "see `ip address`, or ulimit -n"),
        ("a/`out`/b: no such file", "a/`out`/b: no such file"),
        ("column '`user`' is empty", "column '`user`' is empty"),
        ("one ` alone and `another", "one ` alone and `another"),
        ("lr=0 and hidden", "lr=0 and hidden"),
    ],
)
def test_parameters_become_options(text, written):
    assert with_flags(text) == written


def test_flag():
    assert [flag("lr"), flag("batch_size"), flag("n")] == ["--lr", "--batch-size", "-n"]


@pytest.mark.parametrize("kind", [d2l.ConfigError, d2l.DataError, d2l.NumericalError])
def test_a_command_writes_options(capsys, kind):
    def command(argv):
        warnings.warn("`duplicates=last` was chosen", d2l.DataWarning, stacklevel=2)
        raise kind("`lr_step` is 0")

    run_command("name", command)
    assert capsys.readouterr().err.splitlines() == [
        "warning: --duplicates last was chosen",
        "name: error: --lr-step is 0",
    ]


def test_only_commands_name_options():
    """Of the folders below the commands; docstrings are strings too."""
    found = []
    for path in sorted([*PACKAGE.glob("*/**/*.py"), PACKAGE / "chapter.py"]):
        if path.relative_to(PACKAGE).as_posix().startswith(MAY_NAME_OPTIONS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and OPTION.search(str(node.value)):
                found.append(f"{path}:{node.lineno}: {node.value}")
    assert not found


@pytest.fixture(scope="module")
def ratings():
    return d2l.load_ratings(SET)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("flags") / "run")


CONFIGS = [
    (d2l.AutoRecConfig, dict(hidden=0), "`hidden` is 0: it must be whole numbers of at least 1"),
    (d2l.AutoRecConfig, dict(hidden="x"), "`hidden` is 'x': it must be a whole number"),
    (d2l.AutoRecConfig, dict(lr=float("nan")), "`lr` is nan: it must be a finite number"),
    (d2l.AutoRecConfig, dict(based="row"), "`based` is row: it must be one of item, user"),
    (d2l.AutoRecConfig, dict(optimizer=""), "`optimizer` is '', which is empty"),
    (d2l.AutoRecConfig, dict(refit=True), "`refit` needs validation ratings: add `val_ratio=0.1`"),
    (d2l.AutoRecConfig, dict(lr_schedule="plateau"), "`lr_schedule=plateau` needs validation"),
    (d2l.AutoRecConfig, dict(tied=True, hidden=(8, 4)), "`tied` needs .* but `hidden` is 8,4"),
    (d2l.AutoRecConfig, dict(wd=1.0, regularization=1.0), "`wd=1` and `regularization=1` exclude"),
    (d2l.AutoRecConfig, dict(gpus="0", cpus=2), "`gpus=0` and `cpus=2` exclude each other"),
    (d2l.AutoRecConfig, dict(train="a"), "`train`: give either `ratings=FILE`"),
    (d2l.AutoRecConfig, dict(split="u1", ratings="a"), "`split=u1` is .*: leave out `ratings`"),
    (d2l.AutoRecConfig, dict(split="k-fold", fold=9), "`fold` is 9: .* from 1 to `folds=5`"),
    (d2l.AutoRecConfig, dict(scale="5,1", ratings="a"), "`scale` is 5,1: it must be the lowest"),
    (d2l.AutoRecConfig, dict(columns="a"), "`columns` has no effect: .* name one with `ratings`"),
    (d2l.MFConfig, dict(split="held-out-rows"), "`split=held-out-rows` and `model=mf` exclude"),
    (d2l.MFConfig, dict(kvstore="dist_async", lr_schedule="step"), "and `lr_schedule=step` excl"),
    (d2l.MultVAEConfig, dict(dropout=(0.1, 0.2)), "`dropout` has 2 values, but `hidden=600,200`"),
    (d2l.MultVAEConfig, dict(search_beta=True, anneal="constant"), "choose `anneal=original` or"),
    (d2l.EASEConfig, dict(heldout_users=0.5), "`heldout_users` is 0.5: it must be a number"),
]


@pytest.mark.parametrize("config, options, text", CONFIGS)
def test_a_configuration_names_parameters(config, options, text):
    with pytest.raises(d2l.ConfigError, match=text) as caught:
        config(**options)
    assert not OPTION.search(str(caught.value))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"model": "nn"}, "`model` is nn: it must be one of"),
        ({"model": "mf", "preset": "paper"}, "`preset=paper` is not for `model=mf`"),
        ({"model": "mf", "hidden": 3}, "`hidden` is an option of `model=autorec` and mult-dae"),
        ({"model": "mean", "lr": 1.0}, "`lr` has no effect: `model=mean` is computed at once"),
        ({"lr_step": 3}, "`lr_schedule=constant` has no use for it; .* add `lr_schedule=step`"),
    ],
)
def test_make_config_names_parameters(options, text):
    with pytest.raises(d2l.ConfigError, match=text) as caught:
        d2l.make_config(options)
    assert not OPTION.search(str(caught.value))


FILES = [
    ("a,b,c\n1,10,4\n2,20,3\n", {}, "say which is which with `columns=user=a,item=b,rating=c`"),
    ("1\n2\n", {}, "name another separator with `separator`"),
    ("1;2;3,4,5\n1;2;3,4,5\n", {}, "say which with `separator=,`"),
    ("1,10,4\n", dict(separator="x"), "`separator` is 'x': it must be a character"),
    ("user,item,rating\n1,10,4\n", dict(columns="user"), "`columns` is 'user': it must be like"),
    ("1,10,4\n", dict(columns="user=0"), "`columns=user=0` does not say which"),
    ("1,10,4\n1,10,3\n", {}, "choose `duplicates=last` or mean"),
    ("1,10,4\n2,20,9\n", dict(scale=(1, 5)), "outside the scale 1,5; .* correct them or `scale`"),
    ("1,10,1400000000\n2,20,1500000000\n", {}, "if they are times, say `columns="),
    ('{"user": 1, "item": 2, "rating": 3}\n', dict(separator=","), "leave `separator` out"),
]


@pytest.mark.parametrize("content, options, text", FILES)
def test_a_file_names_parameters(tmp_path, content, options, text):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(d2l.UserError, match=text) as caught:
        d2l.read_ratings(path, **options)
    assert not OPTION.search(str(caught.value))


def frame_of(users, values):
    return pd.DataFrame({"user": users, "item": range(len(users)), "rating": values})


CALLS = {
    "data set": (lambda **_: d2l.load_ratings("ml-7"), "your own file with `ratings`"),
    "shape": (lambda **_: d2l.load_ratings("synthetic:9"), "`dataset` is synthetic:9"),
    "times": (
        lambda ratings, **_: d2l.seq_aware_split(replace(ratings, timestamps=None)),
        "split=random",
    ),
    "repeated": (
        lambda **_: d2l.Ratings.from_frame(
            pd.DataFrame({"user": [1, 1], "item": [2, 2], "rating": [3, 4]})
        ),
        "choose `duplicates=last` or mean",
    ),
    "ids for ratings": (
        lambda **_: d2l.Ratings.from_frame(frame_of([1, 2], [5000, 6000])),
        "say `scale=5000,6000` if they are meant so",
    ),
    "folds": (
        lambda ratings, **_: d2l.k_folds(ratings, 1),
        "`folds` is 1: it must be a whole number",
    ),
    "no clicks": (lambda ratings, **_: d2l.prepare_clicks(ratings, 9.0), "`threshold=9.0`"),
    "held out": (
        lambda ratings, **_: d2l.prepare_clicks(ratings, 1.0, 1, heldout_users=500),
        "`heldout_users=500` takes 500 users",
    ),
    "part of a user": (
        lambda ratings, **_: d2l.prepare_clicks(ratings, 1.0, 1, heldout_users=2.5),
        "`heldout_users` is 2.5",
    ),
    "n": (
        lambda model, **_: model.recommend(1, n=0),
        "`n` is 0: it must be a whole number, at least 1",
    ),
    "new user": (lambda model, **_: model.recommend_new_user({1: 3}, n=-1), "`n` is -1"),
    "similar": (lambda model, **_: model.similar_items(1, n=0), "`n` is 0"),
    "full folder": (lambda model, **_: model.save(model.path), "another folder with `folder`"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_name_parameters(ratings, model, name):
    call, text = CALLS[name]
    with pytest.raises(d2l.UserError, match=text) as caught:
        call(ratings=ratings, model=model)
    assert not OPTION.search(str(caught.value))


TRAININGS = [
    (dict(gpus="9"), "`gpus=9`: 0 GPUs are visible"),
    (dict(gpus="x"), "`gpus` is 'x': it must be GPU numbers"),
    (dict(cpus=2, kvstore="none"), "`kvstore=none` is for one device, .* or `cpus=1`"),
    (dict(cpus=2, loss="root"), "`loss=root` is one number"),
    (dict(hidden=10**9), "choose a smaller `hidden`"),
    (dict(cpus=1, kvstore="dist_sync"), "`kvstore=dist_sync` needs MXNet's parameter server"),
]


@pytest.mark.parametrize("options, text", TRAININGS)
def test_a_training_names_parameters(ratings, options, text):
    train, test = d2l.random_split(ratings)
    with pytest.raises(d2l.UserError, match=text) as caught:
        d2l.train_model(d2l.AutoRecConfig(**{"epochs": 1, "quiet": True, **options}), train, test)
    assert not OPTION.search(str(caught.value))


def test_a_loss_that_is_not_finite_names_the_rate(ratings):
    train, test = d2l.random_split(ratings)
    config = d2l.AutoRecConfig(hidden=4, epochs=2, lr=1e30, quiet=True, cpus=1)
    with pytest.raises(d2l.NumericalError, match="try `lr` ten times lower"):
        d2l.train_model(config, train, test)


def test_an_unfinished_run_says_how_to_go_on(model, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(model.path, run)
    (run / "result.json").unlink()
    with pytest.raises(d2l.DataError, match=r"finish it with `train_model\(resume=.*\)`$"):
        d2l.load_run(run)

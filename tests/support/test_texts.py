"""How numbers are written, and options: the library names parameters, a command its options."""

import ast
import math
import re
import shutil
import warnings

import pytest
from helpers import PACKAGE, finish
from hypothesis import given
from hypothesis import strategies as st

import d2l_autorec as d2l
from d2l_autorec.support.cli import run_command
from d2l_autorec.support.texts import seconds_shown, significant, with_flags

OPTION = re.compile("--[a-z]")
MAY_NAME_OPTIONS = (
    "models",
    "runs/options.py",
    "serving/filters.py",
    "serving/middleware.py",
    "serving/production.py",
    "support/cli.py",
    "support/texts.py",
    "support/machine.py",
)
SET = "synthetic:60x80x900"


@pytest.mark.parametrize(
    "shown, given",
    [
        ("0.00312", [0.0031249]),
        ("0.0210", [0.0210]),
        ("61.4", [61.44]),
        ("337,000", [336922.7]),
        ("0.00", [0.0]),
        ("1.23e-05", [0.00001234]),
        ("nan", [math.nan]),
        ("inf", [math.inf]),
        *((shown, [4.5678, digits]) for digits, shown in {1: "5", 2: "4.6", 4: "4.568"}.items()),
    ],
)
def test_three_digits_or_others(shown, given):
    assert significant(*given) == shown


@given(st.floats(1e-12, 1e15), st.integers(1, 6))
def test_what_is_shown_is_the_number(value, digits):
    """To half a unit in the last digit that counts."""
    shown = float(significant(value, digits).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.5001 * 10 ** (1 - digits))


def test_a_time_of_no_account():
    shown = [seconds_shown(seconds) for seconds in (0.000156, 0.657, 3600.4)]
    assert shown == ["<0.1", "0.657", "3,600"]


@pytest.mark.parametrize(
    "text, written",
    [
        ("`hidden` is 0: it must be", "--hidden is 0: it must be"),
        ("a smaller `batch_size`, or `kernel=dense`", "a smaller --batch-size, or --kernel dense"),
        ("(`lr` is True)", "(--lr is True)"),
        ("`n` is 0", "-n is 0"),
        ("else say `scale=-1,10`", "else say --scale=-1,10"),
        ("say `columns='user=a b,item=c'`; else", "say --columns 'user=a b,item=c'; else"),
        ("go on by `resume=a b/$c`, or", "go on by --resume 'a b/$c', or"),
        (
            "stopped; go on with `train_model(resume=a (1)/b)`, as before",
            "stopped; go on with python -m d2l_autorec.run --resume 'a (1)/b', as before",
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


REFUSED = {
    "`hidden` is 0: it must be whole numbers from 1": lambda r, m: d2l.AutoRecConfig(hidden=0),
    "`refit` needs validation ratings: add `val_ratio=": lambda r, m: d2l.AutoRecConfig(refit=True),
    "`split=u1` and `train=a` excl": lambda r, m: d2l.MFConfig(split="u1", train="a", test="b"),
    "your own file with `ratings`": lambda r, m: d2l.load_ratings("ml-7"),
    "`folds` is 1: it must be a whole number": lambda r, m: d2l.k_folds(r, 1),
    "`n` is 0: it must be a whole number, at least 1": lambda r, m: m.recommend(1, n=0),
    "another folder with `folder`": lambda r, m: m.save(m.path),
    "`kvstore=none` is for one device, .* or `cpus=1`": (
        lambda r, m: d2l.train_model(d2l.AutoRecConfig(cpus=2, kvstore="none"), r)
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_the_library_names_parameters(ratings, model, text):
    with pytest.raises(d2l.UserError, match=text) as caught:
        REFUSED[text](ratings, model)
    assert not OPTION.search(str(caught.value))


def test_an_unfinished_run_says_how_to_go_on(model, tmp_path):
    run = shutil.copytree(model.path, tmp_path / "run")
    (run / "result.json").unlink()
    with pytest.raises(d2l.DataError, match=r"finish it with `train_model\(resume=.*\)`$"):
        d2l.load_run(run)

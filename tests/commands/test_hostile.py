"""Commands as a hostile user or a failing disk gives them, drawn at random.

Whatever comes: an exit code that is documented, at most one error line beside warnings, no
traceback, no file left half written.
"""

import contextlib
import importlib
import io
import json
import shutil

import pytest
from helpers import finish
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from d2l_autorec.support.cli import run_command

EXIT_CODES = {0, 2, 3, 130, 143}
NUMBERS = ["0", "-1", "2", "inf", "nan", "1e300", "1e-300", "9" * 30, "", "x", "8,", "\udcff"]
OPTIONS = ["lr", "wd", "epochs", "batch-size", "dropout", "seed", "test-ratio", "val-ratio"]
OPTIONS += ["patience", "eval-every", "hidden", "threads", "cpus", "gpus", "scale", "fold"]
JSON_VALUES = st.sampled_from([None, True, -1, 0, 1e308, "x", "", [], {}, [[]], "\ud800", 10**30])
TIMES = dict(suppress_health_check=[HealthCheck.function_scoped_fixture])
SMALL = ["--dataset", "synthetic:20x30x200", "--quiet"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run to damage copies of."""
    return finish(tmp_path_factory.mktemp("run") / "run", dataset="synthetic:20x30x200").path


def answered(verb, *arguments):
    """Run a command, hold its answer to the rules, and return its exit code and stderr."""
    out, err = io.StringIO(), io.StringIO()
    main = importlib.import_module(f"d2l_autorec.{verb}").main
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(f"d2l_autorec.{verb}", main, list(arguments))
    text = err.getvalue()
    errors = [line for line in text.splitlines() if line.startswith(f"d2l_autorec.{verb}: ")]
    assert code in EXIT_CODES, text
    assert len(errors) == (code != 0), text
    assert "Traceback" not in text + out.getvalue()
    return code, text


def hold_run_with(folder, name, value):
    shutil.rmtree(folder / "out", ignore_errors=True)
    sized = [] if name == "hidden" else ["--hidden", "4"]
    code, _ = answered("run", *SMALL, *sized, f"--{name}={value}", "--out", str(folder / "out"))
    assert list(folder.rglob(".part-*")) == []
    if code == 2:
        assert not (folder / "out" / "result.json").exists()


@given(name=st.sampled_from(OPTIONS), value=st.sampled_from(NUMBERS))
@settings(max_examples=40, **TIMES)
def test_option_values(tmp_path, name, value):
    hold_run_with(tmp_path, name, value)


def hold_damaged(run_folder, folder, name, damage):
    """Serve, compare and resume a copy of the run, of which `damage` has changed one file."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run_folder, copy)
    (copy / name).write_bytes(damage((copy / name).read_bytes()))
    before = {path.name for path in copy.iterdir()}
    answered("recommend", str(copy), "--user", "1", "-n", "3", "--json", "--quiet")
    answered("compare", str(copy))
    answered("run", "--resume", str(copy), "--quiet")
    assert {path.name for path in copy.iterdir()} <= before | {".lock"}


def edited(key, value):
    """Put `value` in the place of a key, of any depth, that `key` from 0 to 1 points at."""

    def damage(content):
        document = json.loads(content)
        inner = [value for value in document.values() if isinstance(value, dict)]
        places = [(holder, name) for holder in (document, *inner) for name in holder]
        holder, name = places[int(key * len(places))]
        holder[name] = value
        return json.dumps(document).encode()

    return damage


@given(
    name=st.sampled_from(["config.json", "result.json"]),
    key=st.floats(0, 1, exclude_max=True),
    value=JSON_VALUES,
)
@example(name="result.json", key=0.34375, value=None)
@settings(max_examples=40, **TIMES)
def test_edited_json(run_folder, tmp_path, name, key, value):
    hold_damaged(run_folder, tmp_path, name, edited(key, value))


@pytest.mark.parametrize("name", ["config.json", "result.json"])
@pytest.mark.parametrize("text", [b"[" * 100_000, b"", b"[]", b"\xff", b"{}"])
def test_what_is_no_object(run_folder, tmp_path, name, text):
    hold_damaged(run_folder, tmp_path, name, lambda content: text)

"""Damaged and edited run folders: one line that names the file; no traceback, no silence."""

import functools
import shutil

import mxnet as mx
import pytest
from helpers import SMALL, assert_user_error, train_into, values_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from d2l_autorec.compare import read_run
from d2l_autorec.runs import checkpoints
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.support.errors import ConfigError, DataError
from d2l_autorec.support.files import read_json, write_json
from d2l_autorec.trained_model import load_run

pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
RATINGS = {**SMALL, "dataset": "synthetic:30x40x300", "epochs": 2, "hidden": (4,)}
CLICKS = dict(
    model="mult-dae",
    dataset="synthetic:60x40x900",
    heldout_users=8,
    quiet=True,
    cpus=1,
    hidden=(4,),
    epochs=2,
)
OPTIONS = {"rating": RATINGS, "ranking": CLICKS}
DATA = {"rating": "ratings.npz", "ranking": "clicks.npz"}
FILES = ("config.json", "result.json", "metrics.csv", "model.params", "DATA")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A finished run of each kind."""
    parent = tmp_path_factory.mktemp("runs")
    for kind, options in OPTIONS.items():
        train_into(parent / kind, **options)
    return {kind: parent / kind for kind in OPTIONS}


def content_of(folder):
    """All that a loaded run consists of."""
    run, record = load_run(folder), RunFolder.read(folder)
    parameters = {name: value.tobytes() for name, value in values_of(run.net).items()}
    return parameters, run.ratings.fingerprint, run.config, record.result, record.about


original_of = functools.cache(content_of)  # before it is damaged


class Damaged:
    """Another content of a file, in the block."""

    def __init__(self, path, content):
        self.path, self.content, self.before = path, content, path.read_bytes()

    def __enter__(self):
        self.path.write_bytes(self.content)

    def __exit__(self, *_):
        self.path.write_bytes(self.before)


def flipped(content, position, bit):
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


def assert_told(folder, name, original):
    """One line that names the file; result.json has no digest, but what it says of others counts.

    No damage of it changes what is loaded.
    """
    try:
        found = content_of(folder)
        read_run(folder)
    except DataError as error:
        assert "\n" not in str(error) and (name in str(error) or name == "result.json")
    else:
        assert name == "result.json"
        parameters, fingerprint, config, _, about = original
        assert found[:3] == (parameters, fingerprint, config) and found[4] == about


@settings(max_examples=120)
@given(data=st.data())
def test_damage_anywhere_is_told(folders, data):
    """Any bit, a truncation, an insertion, of any file."""
    kind = data.draw(st.sampled_from(sorted(OPTIONS)))
    name = data.draw(st.sampled_from(FILES)).replace("DATA", DATA[kind])
    folder = folders[kind]
    original, content = original_of(folder), (folder / name).read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    damage = data.draw(st.sampled_from(["flip", "cut", "insert", "zero"]))
    changed = {
        "flip": flipped(content, position, data.draw(st.integers(0, 7))),
        "cut": content[:position],
        "insert": content[:position] + b"7" + content[position:],
        "zero": content[:position] + bytes(len(content) - position),
    }[damage]
    assume(changed != content)
    with Damaged(folder / name, changed):
        assert_told(folder, name, original)


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("file", FILES)
def test_missing_files_are_told(folders, kind, file, tmp_path):
    folder, name = tmp_path / "run", file.replace("DATA", DATA[kind])
    shutil.copytree(folders[kind], folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match="not a run folder|not finished|is missing or damaged"):
        load_run(folder)


@pytest.mark.parametrize("verb", ["recommend", "export", "serve", "compare", "run"])
@pytest.mark.parametrize("file", ["metrics.csv", "model.params", "ratings.npz"])
def test_every_command_verifies(folders, in_process, verb, file):
    folder = folders["rating"]
    arguments = {
        "recommend": (str(folder), "--user", "1"),
        "compare": (str(folder),),
        "export": (str(folder),),
        "serve": (str(folder), "--port", "0"),
        "run": ("--resume", str(folder)),
    }
    content = (folder / file).read_bytes()
    with Damaged(folder / file, flipped(content, len(content) // 2, 0)):
        assert_user_error(
            in_process(verb, *arguments[verb]),
            f"{file} is missing or damaged (it is not what the run has written)",
            "restore it from a copy, or begin a new run",
        )


@pytest.mark.parametrize(
    "change, fragment",
    [
        ({"options": {}}, "config.json is missing or damaged ('model')"),
        ({"hidden": "x"}, "`hidden` is 'x': it must be a whole number"),
        ({"epochs": 2.5}, "`epochs` is 2.5: it must be a whole number"),
        ({"lr": True}, "`lr` is True: it must be a number"),
        ({"lr": -1.0}, "`lr` is -1.0: it must be above 0"),
        ({"momentum": 0.9}, "another version of d2l_autorec (momentum: AutoRecConfig has no such"),
    ],
)
def test_edited_options_are_named(folders, tmp_path, change, fragment):
    """In the folder of a run that was killed in its last epoch: no digest tells it."""
    folder = shutil.copytree(folders["rating"], tmp_path / "run")
    (folder / "result.json").unlink()
    config = read_json(folder / "config.json")
    (config if "options" in change else config["options"]).update(change)
    write_json(folder / "config.json", config)
    with pytest.raises(DataError) as caught:
        RunFolder.read(folder)
    assert fragment in str(caught.value)


def test_parameters_of_another_network(folders, tmp_path):
    run, path = load_run(folders["rating"]), tmp_path / "model.params"
    stored = mx.nd.load(str(folders["rating"] / "model.params"))
    mx.nd.save(str(path), {name: array[:-1] for name, array in stored.items()})
    with pytest.raises(DataError, match="model.params is missing or damaged"):
        checkpoints.load_parameters(run.net, path)


def test_parameters_that_mxnet_did_not_write_whole(folders, tmp_path, monkeypatch):
    """MXNet ignores that a disk is full: the file is read back before it takes its place."""
    run = load_run(folders["rating"])
    folder = RunFolder(tmp_path, run.config, {})
    checkpoints.write_parameters(folder, run.net)
    good = (tmp_path / "model.params").read_bytes()
    save = checkpoints.npx.save

    def cut(path, arrays):
        save(path, arrays)
        with open(path, "rb+") as file:
            file.truncate(len(good) - 5)

    monkeypatch.setattr(checkpoints.npx, "save", cut)
    with pytest.raises(ConfigError, match="model.params cannot be written .MXNet's file is not"):
        checkpoints.write_parameters(folder, run.net)
    assert [path.name for path in tmp_path.iterdir()] == ["model.params"]
    assert (tmp_path / "model.params").read_bytes() == good

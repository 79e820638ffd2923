"""Damaged and edited run folders: one line that names the file; no traceback, no silence."""

import json
import shutil

import mxnet as mx
import numpy as onp
import pytest
from helpers import SMALL, assert_user_error, strip_seals, train_run
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from d2l_autorec.compare import read_run
from d2l_autorec.runs import run_folder
from d2l_autorec.runs.config import make_config
from d2l_autorec.runs.run_record import read_record
from d2l_autorec.serving.trained_model import load_run
from d2l_autorec.support.errors import ConfigError, DataError, UserError
from d2l_autorec.support.files import read_json, read_sealed, write_sealed

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
        train_run(make_config({**options, "out": str(parent / kind)}))
    return {kind: parent / kind for kind in OPTIONS}


def content_of(folder):
    """All that a loaded run consists of."""
    run, record = load_run(folder), read_record(folder)
    parameters = {
        name: value.data().asnumpy().tobytes()
        for name, value in run.net._collect_params_with_prefix().items()
    }
    return parameters, run.ratings.fingerprint, run.config, record.result, record.about


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
    """One line that names the file; where the damage changes nothing, the same run."""
    try:
        found = content_of(folder)
    except DataError as error:
        assert "\n" not in str(error) and name in str(error)
    else:
        assert name == "result.json" and found == original  # the case of \u00E4, say


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("file", FILES)
def test_flipped_bits_are_told(folders, kind, file):
    """Every k-th byte of every file, one bit each."""
    folder, name = folders[kind], file.replace("DATA", DATA[kind])
    original, content = content_of(folder), (folder / name).read_bytes()
    for position in range(0, len(content), max(1, len(content) // 60)):
        with Damaged(folder / name, flipped(content, position, position % 8)):
            assert_told(folder, name, original)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_told(folders, data):
    """Any bit, a truncation, an insertion, of any file."""
    kind = data.draw(st.sampled_from(sorted(OPTIONS)))
    name = data.draw(st.sampled_from(FILES)).replace("DATA", DATA[kind])
    folder = folders[kind]
    original, content = content_of(folder), (folder / name).read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    damage = data.draw(st.sampled_from(["flip", "cut", "insert", "zero"]))
    changed = {
        "flip": flipped(content, position, data.draw(st.integers(0, 7))),
        "cut": content[:position],
        "insert": content[:position] + b"7" + content[position:],
        "zero": content[:position] + bytes(len(content) - position),
    }[damage]
    assume(changed != content)  # an .npz ends in zeros
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
        "export": (str(folder), "--format", "mxnet"),
        "serve": (str(folder), "--port", "0"),
        "run": ("--resume", str(folder)),
    }
    content = (folder / file).read_bytes()
    with Damaged(folder / file, flipped(content, len(content) // 2, 0)):
        assert_user_error(
            in_process(verb, *arguments[verb]),
            f"{file} is damaged or was edited",
            "restore it from a copy, or begin a new run",
        )


@pytest.fixture
def unfinished(folders, tmp_path):
    """A run folder without its result, as after a kill in the last epoch."""
    shutil.copytree(folders["rating"], tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["config.json", "ratings.npz"])
def test_an_unfinished_run_is_verified_before_it_goes_on(unfinished, name):
    content = (unfinished / name).read_bytes()
    for position in range(0, len(content), max(1, len(content) // 100)):
        with Damaged(unfinished / name, flipped(content, position, position % 8)):
            try:
                read_record(unfinished)
            except DataError as error:
                assert "\n" not in str(error) and name in str(error)
            else:
                raise AssertionError(f"byte {position} of {name}")


def test_an_unfinished_run_goes_on_to_the_same_parameters(unfinished, folders):
    record = read_record(unfinished)
    train_run(record.config, resume=unfinished)
    ends = [mx.nd.load(str(folder / "model.params")) for folder in (unfinished, folders["rating"])]
    for name in ends[0]:
        onp.testing.assert_array_equal(ends[0][name].asnumpy(), ends[1][name].asnumpy())


# What earlier versions wrote has no digests.


@pytest.fixture(scope="module")
def old_folders(folders, tmp_path_factory):
    """The runs without seals."""
    parent = tmp_path_factory.mktemp("old")
    for kind, folder in folders.items():
        shutil.copytree(folder, parent / kind)
        strip_seals(parent / kind)
    return {kind: parent / kind for kind in folders}


@pytest.mark.parametrize("kind", OPTIONS)
def test_runs_of_earlier_versions_load(folders, old_folders, kind):
    assert content_of(old_folders[kind]) == content_of(folders[kind])


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("file", ["config.json", "result.json", "metrics.csv", "DATA"])
def test_damage_of_an_earlier_run_is_no_traceback(old_folders, kind, file):
    """Not every change can be told there, but other ratings are."""
    folder, name = old_folders[kind], file.replace("DATA", DATA[kind])
    fingerprint, content = load_run(folder).ratings.fingerprint, (folder / name).read_bytes()
    for position in range(0, len(content), max(1, len(content) // 60)):
        with Damaged(folder / name, flipped(content, position, position % 8)):
            try:
                assert load_run(folder).ratings.fingerprint == fingerprint
                read_run(folder)
            except UserError as error:
                assert "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_edited_options_of_an_earlier_run_are_no_traceback(old_folders, data):
    folder = old_folders[data.draw(st.sampled_from(sorted(OPTIONS)))]
    config = read_json(folder / "config.json")
    if data.draw(st.booleans()):
        config["options"][data.draw(st.sampled_from(sorted(config["options"])))] = data.draw(JSON)
    else:
        config[data.draw(st.sampled_from(sorted(config)))] = data.draw(JSON)
    with Damaged(folder / "config.json", json.dumps(config).encode()):
        try:
            read_record(folder)
        except DataError as error:
            assert str(folder) in str(error)


@pytest.mark.parametrize(
    "change, fragment",
    [
        ({"options": []}, "it names no model"),
        ({"hidden": "x"}, "`hidden` is 'x': it must be a whole number"),
        ({"epochs": 2.5}, "`epochs` is 2.5: it must be a whole number"),
        ({"lr": True}, "`lr` is True: it must be a number"),
        ({"lr": -1.0}, "`lr` is -1.0: it must be above 0"),
        ({"momentum": 0.9}, "does not know (`momentum`): use the version that wrote it"),
    ],
)
def test_edited_options_are_named(old_folders, change, fragment):
    folder = old_folders["rating"]
    config = read_json(folder / "config.json")
    if "options" in change:
        config.update(change)
    else:
        config["options"].update(change)
    with Damaged(folder / "config.json", json.dumps(config).encode()):
        with pytest.raises(DataError) as caught:
            load_run(folder)
    assert fragment in str(caught.value)


@pytest.mark.parametrize("result", [{}, {"test_rmse": "x"}, {"devices": 3}, []])
def test_an_edited_result_of_an_earlier_run(old_folders, in_process, result):
    folder = old_folders["rating"]
    with Damaged(folder / "result.json", json.dumps(result).encode()):
        assert_user_error(in_process("run", "--resume", str(folder)), "result.json is ", "damaged")
        assert_user_error(in_process("compare", str(folder)), str(folder))


def test_permuted_ratings_of_an_earlier_run(old_folders):
    path = old_folders["rating"] / "ratings.npz"
    with onp.load(path) as file:
        arrays = dict(file)
    before = path.read_bytes()
    arrays["users"] = arrays["users"][::-1]
    onp.savez_compressed(path, **arrays)
    with Damaged(path, path.read_bytes()):
        with pytest.raises(DataError, match="other ratings than the run was trained on"):
            load_run(path.parent)
    path.write_bytes(before)


@pytest.mark.parametrize(
    "change, fragment",
    [
        (lambda array: array * onp.nan, "holds values that are not finite"),
        (lambda array: array + onp.inf, "holds values that are not finite"),
        (lambda array: array[:-1], "model.params is missing or damaged"),
    ],
    ids=["nan", "inf", "shape"],
)
def test_parameters_that_cannot_be(old_folders, change, fragment):
    path = old_folders["rating"] / "model.params"
    stored = {
        name: mx.nd.array(change(array.asnumpy())) for name, array in mx.nd.load(str(path)).items()
    }
    before = path.read_bytes()
    mx.nd.save(str(path), stored)
    try:
        with pytest.raises(DataError, match=fragment):
            load_run(path.parent)
    finally:
        path.write_bytes(before)


def test_the_seal_itself_cannot_be_dropped(folders, tmp_path):
    """Neither a lost key of the seal nor a result without one makes a run an earlier version's."""
    folder = tmp_path / "run"
    shutil.copytree(folders["rating"], folder)
    text = (folder / "result.json").read_text()
    for key in ("seal", "format", "files"):
        (folder / "result.json").write_text(text.replace(f'"{key}"', f'"x{key}"'))
        with pytest.raises(DataError, match="result.json is missing or damaged"):
            read_record(folder)
    (folder / "result.json").write_text(
        json.dumps(read_sealed(folders["rating"] / "result.json").content)
    )
    with pytest.raises(DataError, match="result.json is not what this run has written"):
        read_record(folder)


def test_json_of_a_later_version(tmp_path, monkeypatch):
    monkeypatch.setattr("d2l_autorec.support.files.FORMAT", 3)
    write_sealed(tmp_path / "a.json", {"x": 1}, {})
    monkeypatch.undo()
    with pytest.raises(DataError, match="a later version of d2l_autorec has written it"):
        read_sealed(tmp_path / "a.json")


def test_parameters_that_mxnet_did_not_write_whole(folders, tmp_path, monkeypatch):
    """MXNet ignores that a disk is full: the file is read back before it takes its place."""
    run = load_run(folders["rating"])
    folder = run_folder.RunFolder(tmp_path)
    folder.write_parameters(run.net)
    good = (tmp_path / "model.params").read_bytes()
    save = run_folder.npx.save

    def cut(path, arrays):
        save(path, arrays)
        with open(path, "rb+") as file:
            file.truncate(len(good) - 5)

    monkeypatch.setattr(run_folder.npx, "save", cut)
    with pytest.raises(ConfigError, match="model.params cannot be written .MXNet's file is not"):
        folder.write_parameters(run.net)
    assert [path.name for path in tmp_path.iterdir()] == ["model.params"]
    assert (tmp_path / "model.params").read_bytes() == good

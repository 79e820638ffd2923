"""The wheel that `pip wheel .` makes of the tracked files: whole, and it runs on its own."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers import ROOT


def tracked_files():
    """What a clone has: paths below the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git repository, so nothing says which files are the project's")
    return listed.stdout.rstrip("\0").split("\0")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a clone."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)

    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    build = [sys.executable, "-m", "pip", "wheel", folder / "source", *options]
    process = subprocess.run(build, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr

    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}

    package = {name for name in tracked_files() if name.startswith("d2l_autorec/")}
    assert {"d2l_autorec/py.typed", "d2l_autorec/LICENSE"} < package
    assert {name for name in held if ".dist-info/" not in name} == package
    assert held["d2l_autorec/LICENSE"].startswith(b"MIT License\n\nCopyright (c) ")
    assert [name for name in held if ".dist-info/" in name and name.endswith("LICENSE")]


@pytest.mark.slow  # some minutes of downloads; .ci/run runs it
def test_an_installed_wheel_trains_where_there_is_no_clone(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"{wheel}[cpu]"], check=True)

    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    options = ["--dataset", "synthetic", "--epochs", "2", "--out", "mine"]
    run = [python, "-m", "d2l_autorec.run", *options]
    process = subprocess.run(run, cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "test RMSE" in process.stdout
    assert (tmp_path / "mine" / "result.json").is_file()

    where = [python, "-c", "import d2l_autorec; print(d2l_autorec.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert found.stdout.startswith(str(tmp_path / "venv"))

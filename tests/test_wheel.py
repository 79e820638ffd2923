"""What `pip wheel .` makes of the tracked files holds the whole package."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT


def tracked_files() -> list[str]:
    """What a clone has: paths below the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git repository, so nothing says which files are the project's")
    return listed.stdout.rstrip("\0").split("\0")


def test_wheel_holds_the_package(tmp_path: Path):
    tracked = tracked_files()
    for name in tracked:
        copy = tmp_path / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)

    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path]
    build = [sys.executable, "-m", "pip", "wheel", tmp_path / "source", *options]
    process = subprocess.run(build, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}

    package = {name for name in tracked if name.startswith("d2l_autorec/")}
    assert {"d2l_autorec/py.typed", "d2l_autorec/LICENSE"} < package
    assert {name for name in held if ".dist-info/" not in name} == package
    assert held["d2l_autorec/LICENSE"].startswith(b"MIT License\n\nCopyright (c) ")

    (metadata,) = (name for name in held if name.endswith(".dist-info/METADATA"))
    assert b"\nLicense: MIT\n" in held[metadata]
    assert [name for name in held if ".dist-info/" in name and name.endswith("LICENSE")]

"""How MXNet and numba start: environment, threads, the cache of compiled kernels."""

import os
import shutil
import subprocess
import sys

import pytest
from helpers import PACKAGE, assert_alike, python, succeeded

from d2l_autorec.kernels import cache
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.support.errors import DataWarning
from d2l_autorec.support.machine import omp_threads


@pytest.mark.parametrize("value, number", [("600", 512), ("4,2", 4), ("x", None), (None, None)])
def test_numbers_of_threads_that_may_stand(monkeypatch, value, number):
    if value is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert omp_threads() == number


PYTHON = """
import sys
import d2l_autorec, mxnet, numba
assert numba.config.NUMBA_NUM_THREADS == 2
from d2l_autorec import AutoRecConfig
from d2l_autorec.runs.runner import run_training
for kernel in ("dense", "sparse"):
    run_training(AutoRecConfig(dataset="synthetic:300x400x9000", epochs=2, hidden=(100,),
                              threads=1, kernel=kernel, quiet=True, out=f"python-{kernel}"))
"""
COMMANDS = """
from d2l_autorec.run import main
given = "--dataset synthetic:300x400x9000 --epochs 2 --hidden 100 --threads 1 --quiet".split()
for kernel in ("dense", "sparse"):
    main([*given, "--kernel", kernel, "--out", f"command-{kernel}"])
"""


def test_threads_of_train_model_are_those_of_the_command(tmp_path):
    """To the bit, wherever the process began; and config.json has the number in force."""
    environment = dict(OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2")
    for program in (PYTHON, COMMANDS):
        succeeded(python("-c", program, folder=tmp_path, **environment))

    for kernel in ("dense", "sparse"):
        folders = [tmp_path / f"{way}-{kernel}" for way in ("python", "command")]
        assert_alike(*folders)
        assert [RunFolder.read(folder).about["threads"] for folder in folders] == [1, 1]


def triple(x):
    return 3 * x


@pytest.mark.parametrize("method", ["load", "save"])
def test_a_cache_that_fails_is_said_once(monkeypatch, tmp_path, method):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.KernelCache, method, fail)
    monkeypatch.setattr(cache, "_told", False)
    monkeypatch.setattr(cache.numba.config, "CACHE_DIR", str(tmp_path))
    with pytest.warns(DataWarning, match="compiled now.*No space left on device") as caught:
        kernel = cache.compiled()(triple)
        assert kernel(2) == 6 and kernel(2.0) == 6.0
    assert len(caught) == 1


COMPILED = """
import numpy as np
from d2l_autorec import kernels
starts, rows, _ = kernels.group_by_column(np.array([0, 1, 3]), np.array([0, 0, 1]), 2)
assert starts.tolist() == [0, 2, 3] and rows.tolist() == [0, 1, 1]
"""


def test_a_read_only_installation_without_a_home(tmp_path):
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if shutil.which("setpriv") is None or os.getuid() != 0:
        unprivileged = []
    package = tmp_path / "site" / "d2l_autorec"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (package, *package.rglob("*")):
        folder.chmod(0o555)
    environment = {
        **os.environ,
        "HOME": "/proc/nonexistent",
        "PYTHONPATH": str(package.parent),
        "MPLCONFIGDIR": str(tmp_path),
        "NUMBA_OPT": "0",  # it compiles more quickly without optimization
    }
    environment.pop("XDG_CACHE_HOME", None)
    environment.pop("NUMBA_CACHE_DIR", None)
    run = "-m d2l_autorec.run --dataset synthetic:60x80x900 --model mean --quiet --out out".split()
    try:
        for words, warned in ((["-c", COMPILED], 1), (run, 0)):
            process = subprocess.run(
                [*unprivileged, sys.executable, *words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert succeeded(process).stderr.count("their cache cannot be used") == warned
        assert (tmp_path / "out" / "result.json").exists()
    finally:
        for folder in (package, *package.rglob("*")):
            folder.chmod(0o755)

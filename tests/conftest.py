"""Shared fixtures: NumPy semantics, real data where there is any, commands as a user runs them."""

import d2l_autorec  # noqa: F401  # first, as MXNet needs what it prepares

# isort: split
import gc
import importlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import matplotlib
import mxnet as mx
import pytest
from helpers import finish, finish_own, python
from hypothesis import settings
from matplotlib.figure import Figure

from d2l_autorec import AutoRecConfig, MFConfig, MultDAEConfig, MultVAEConfig, RecVAEConfig
from d2l_autorec.runs import experiment, figures
from d2l_autorec.support.cli import run_command

matplotlib.use("Agg")
mx.npx.set_np()

# without a deadline: machines are busy, and first calls compile
settings.register_profile("untimed", deadline=None, max_examples=50)
settings.load_profile("untimed")

# A shell without job control starts what is in the background with the first two ignored, nohup
# with the third, and every process that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --no-first-run --disable-gpu --disable-quic --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()
OFFLINE = "http://127.0.0.1:9/"  # nobody listens at this port


def pytest_collection_finish():
    """Keep what is imported out of garbage collection: Gluon collects for every DataLoader."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir():
    """Folder with MovieLens files. With D2L_AUTOREC_REQUIRE_DATA, as in CI, never skipped."""
    folder = Path(os.environ.get("D2L_AUTOREC_DATA", "/nonexistent"))
    if (folder / "ml-100k" / "u.data").is_file():
        return folder
    reason = "no ml-100k/u.data in $D2L_AUTOREC_DATA (the licence forbids shipping it)"
    if os.environ.get("D2L_AUTOREC_REQUIRE_DATA"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: see setup.cfg")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def command(tmp_path):
    """Run `python -m d2l_autorec.VERB ARGS` in an empty folder, offline; returns the process."""

    def call(verb, *arguments, **environment):
        words = ("-m", f"d2l_autorec.{verb}", *arguments)
        return python(*words, folder=tmp_path, **{"D2L_AUTOREC_URL": OFFLINE, **environment})

    return call


@pytest.fixture
def in_process(tmp_path, monkeypatch, capsys):
    """Like `command`, but without the start of a new interpreter, which takes seconds."""

    def call(verb, *arguments):
        monkeypatch.chdir(tmp_path)
        if "D2L_AUTOREC_URL" not in os.environ:  # some tests have a server of their own
            monkeypatch.setenv("D2L_AUTOREC_URL", OFFLINE)
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # serve leaves its own
        monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
        module = importlib.import_module(f"d2l_autorec.{verb}")
        code = run_command(f"d2l_autorec.{verb}", module.main, list(map(str, arguments)))
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module", params=["item", "user"])
def run(request, tmp_path_factory):
    """A run by items, and one by users."""
    return finish(tmp_path_factory.mktemp(request.param) / "run", based=request.param)


@pytest.fixture(scope="module", params=["item", "user"])
def own_run(request, tmp_path_factory):
    """The same of an own file: see `finish_own`."""
    return finish_own(tmp_path_factory.mktemp("own"), request.param)


@pytest.fixture
def brief(monkeypatch):
    """Every preset trains for a moment."""
    for config in (AutoRecConfig, MFConfig):
        monkeypatch.setitem(config.presets["best"], "updates", 20)
    for config in (MultDAEConfig, MultVAEConfig):
        monkeypatch.setitem(config.presets["best"], "epochs", 2)
    monkeypatch.setattr(RecVAEConfig, "compared", {"RecVAE": {"epochs": 2}})


@pytest.fixture(scope="session", autouse=True)
def no_curves():
    """A run draws no curve, which would be most of its time; one that failed would only warn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "save_curve", lambda *_: None)
        yield


@pytest.fixture
def curves(monkeypatch):
    """In this test they are drawn, as in every process that a test starts."""
    monkeypatch.setattr(experiment, "save_curve", figures.save_curve)


@pytest.fixture
def drawn(monkeypatch, curves):
    """Every figure that the test writes, to be asked what is in it; the files are written too."""
    found = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        found.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


@pytest.fixture
def settings():
    """Matplotlib's settings, which are as before after the test."""
    with matplotlib.rc_context():
        yield matplotlib.rcParams

"""What a library imports and does not use, loaded when it is first used."""

import subprocess
import sys

import pytest

from d2l_autorec.support.deferred import deferred, distutils_of_python


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A module `used_late` that leaves a file where it is loaded, with a submodule."""
    folder = tmp_path / "used_late"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import pathlib\nANSWER = 42\npathlib.Path(__file__).with_name('loaded').touch()\n"
    )
    (folder / "part.py").write_text("HALF = 21\n")
    (tmp_path / "consumer.py").write_text("import used_late\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder / "loaded"
    for name in ("used_late", "used_late.part", "consumer"):
        sys.modules.pop(name, None)


def test_it_is_loaded_when_something_of_it_is_used(library):
    with deferred(["used_late"]):
        import consumer
    assert not library.exists()
    assert "used_late" not in sys.modules

    assert consumer.used_late.ANSWER == 42
    assert library.exists()


def test_who_imports_it_later_gets_the_module_itself(library):
    with deferred(["used_late"]):
        import consumer
    import used_late
    from used_late.part import HALF

    assert used_late.__file__ and HALF == 21
    assert consumer.used_late.ANSWER == used_late.ANSWER
    with pytest.raises(AttributeError, match="has no attribute 'QUESTION'"):
        _ = consumer.used_late.QUESTION


def test_a_submodule_can_be_imported_in_the_block(library):
    with deferred(["used_late"]):
        from used_late.part import HALF
    assert HALF == 21
    assert library.exists()


def test_what_is_loaded_or_missing_stays_so(library):
    import used_late

    with deferred(["used_late", "there_is_no_such_module"]):
        assert sys.modules["used_late"] is used_late
        assert "there_is_no_such_module" not in sys.modules
    assert sys.modules["used_late"] is used_late


def test_pythons_own_distutils_leaves_no_trace():
    sys_modules = {name for name in sys.modules if name.startswith("distutils")}
    with distutils_of_python():
        from distutils.version import LooseVersion

        assert LooseVersion("1.10") > LooseVersion("1.9")
    assert {name for name in sys.modules if name.startswith("distutils")} == sys_modules


def test_mxnet_starts_without_what_it_does_not_use():
    """And what it has in its place works: quantization's statistics, the download's requests."""
    program = """
import sys
from d2l_autorec.training.engine import UNUSED, start_mxnet
start_mxnet()
import mxnet
loaded = [name for name in (*UNUSED, "setuptools", "pandas", "distutils") if name in sys.modules]
assert not loaded, loaded
assert mxnet.contrib.quantization.stats.entropy([0.5, 0.5], [0.5, 0.5]) == 0
assert mxnet.gluon.utils.requests.__version__
import scipy.stats, setuptools
assert scipy.stats.norm.cdf(0) == 0.5
"""
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", program], stderr=-1)
    assert done.returncode == 0, done.stderr.decode()

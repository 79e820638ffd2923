"""MXNet and d2l beside libraries that have moved on."""

import subprocess
import sys

import pytest
from helpers import PACKAGE

LATE = ("numpy", "mxnet", "IPython", "d2l", "distutils", "scipy.stats", "requests", "onnx")


def run(program: str, *options: str) -> str:
    """Run a program in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_alone_loads_none_of_them():
    assert run(f"import d2l_autorec, sys; print([n for n in {LATE} if n in sys.modules])") == "[]\n"


@pytest.mark.parametrize("start", ["import mxnet", "from d2l_autorec.training import engine"])
def test_mxnet_starts_without_what_it_does_not_use(start):
    """And what it has in its place works: quantization's statistics, the download's requests."""
    run(
        f"""
import d2l_autorec, sys
{start}
if "engine" in globals():
    engine.start_mxnet()
import mxnet
unused = ("onnx", "requests", "scipy.stats", "setuptools", "pandas", "distutils", "sklearn")
loaded = [name for name in unused if name in sys.modules]
assert not loaded, loaded
assert mxnet.contrib.quantization.stats.entropy([0.5, 0.5], [0.5, 0.5]) == 0
assert mxnet.gluon.utils.requests.__version__
import requests, scipy.stats, setuptools
assert requests.get and scipy.stats.norm.cdf(0) == 0.5
""",
        "-W",
        "error::UserWarning",  # setuptools', of somebody else's distutils
    )


@pytest.mark.smoke
def test_mxnet_has_booleans():
    run("""
import d2l_autorec
from mxnet import np
assert (np.arange(3) > 1).dtype == bool
assert (np.arange(3) > 1).tolist() == [False, False, True]
assert np.arange(3)[np.arange(3) != 1].tolist() == [0, 2]
""")


@pytest.mark.smoke
def test_figures_of_d2l_are_drawn():
    run("""
import d2l_autorec
import matplotlib
matplotlib.use("Agg")
from d2l import mxnet as d2l
d2l.use_svg_display()
animator = d2l.Animator(xlim=[1, 2], legend=["train"])
animator.add(1, (0.5,))
animator.add(2, (0.25,))
[line] = animator.axes[0].get_lines()
assert line.get_ydata().tolist() == [0.5, 0.25]
""")


OTHERS = {
    "pandas": """
frame = pandas.DataFrame({"user": ["a", "b", "a"], "stars": [1.0, 2.0, 4.0]})
assert frame.groupby("user").stars.mean().to_dict() == {"a": 2.5, "b": 2.0}
assert frame.stars.gt(1).dtype == bool and frame.convert_dtypes().user[1] == "b"
""",
    "scipy.stats": """
from scipy import optimize, sparse
assert round(scipy.stats.ttest_rel([1, 2, 3.5], [0, 0, 0]).statistic, 3) == 2.982
assert (sparse.csr_matrix([[1, 0], [0, 2]]) > 1).toarray().tolist() == [[0, 0], [0, 1]]
assert abs(optimize.brentq(lambda x: x * x - 2, 0, 2) - 2**0.5) < 1e-9
""",
}


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", OTHERS)
def test_others_work_beside_mxnet(name, order):
    imports = [f"import {name}", "import mxnet"]
    if order == "after":
        imports.reverse()
    run("\n".join(["import d2l_autorec", *imports, OTHERS[name]]))

"""The chapter's names: same answers as d2l's, and its program from top to bottom."""

import ast
import re
import warnings

import mxnet as mx
import nbclient
import nbformat
import numpy as onp
import pandas as pd
import pytest
from d2l import mxnet as d2l_book
from helpers import TESTS, python, succeeded

import d2l_autorec
from d2l_autorec import chapter

LISTING = TESTS / "chapter_listing.py"
MF_LISTING = TESTS / "mf_listing.py"


def table(rows=400, users=30, items=50, seed=0):
    """Ratings with ties in time; every user from 1 to `users` occurs."""
    rng = onp.random.default_rng(seed)
    pairs = rng.permutation(users * items)[: rows - users]
    missing = [u * items for u in range(users) if u * items not in set(pairs.tolist())]
    pairs = onp.concatenate([pairs, missing]).astype("int64")
    values, times = rng.integers(1, 6, len(pairs)), rng.integers(0, 5, len(pairs))
    columns = pairs // items + 1, pairs % items + 1, values, times
    return pd.DataFrame(dict(zip(chapter.COLUMNS, columns))), users, items


def test_chapter_is_what_the_listings_call():
    """Beside `Timer` and `pd`, which are d2l's."""
    called = {
        node.attr
        for listing in (LISTING, MF_LISTING)
        for node in ast.walk(ast.parse(listing.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        if isinstance(node.value, ast.Name) and node.value.id == "d2l"
    }
    starred: dict = {}
    exec("from d2l_autorec.chapter import *", starred)
    assert starred.keys() - {"__builtins__"} == called - {"Timer", "pd"} == set(chapter.__all__)
    for name in chapter.__all__:
        assert starred[name] is getattr(chapter, name) is getattr(d2l_autorec, name)


def test_other_names_are_those_of_the_book_or_errors():
    for name in ("BPRLoss", "CTRDataset", "Timer", "evaluate_ranking", "train_ranking", "plt"):
        assert getattr(d2l_autorec, name) is getattr(d2l_book, name)
    text = "neither 'd2l_autorec' nor 'd2l.mxnet' has an attribute 'Tymer'"
    with pytest.raises(AttributeError, match=f"^{text}$"):
        _ = d2l_autorec.Tymer


def test_a_module_is_no_name_of_the_book():
    program = "from d2l_autorec import compare, data; import sys; assert 'd2l' not in sys.modules"
    succeeded(python("-c", program))


@pytest.fixture
def legacy_semantics():
    """MXNet as it starts, without `npx.set_np()`."""
    mx.npx.reset_np()
    yield
    mx.npx.set_np()


NETWORKS = {
    "AutoRec": (lambda: d2l_autorec.AutoRec(3, 4), [(2, 4)]),
    "MultDAE": (lambda: d2l_autorec.MultDAE((3, 2), 4), [(2, 4)]),
    "MultVAE": (lambda: d2l_autorec.MultVAE((3, 2), 4), [(2, 4)]),
    "MF": (lambda: d2l_autorec.MF(3, 2, 2), [(2,), (2,)]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_needs_no_set_np(name, legacy_semantics):
    make, shapes = NETWORKS[name]
    net = make()
    net.initialize()
    net.hybridize()
    assert len(net(*[mx.np.zeros(shape) for shape in shapes])) == 2


def test_the_matrix_needs_no_set_np(legacy_semantics):
    data, users, items = table()
    matrix = d2l_autorec.load_data_ml100k(data, users, items)[3]
    batch = next(iter(mx.gluon.data.DataLoader(matrix, batch_size=7)))
    assert isinstance(batch, mx.np.ndarray) and batch.shape == (7, users)


@pytest.mark.parametrize("mode", ["random", "seq-aware"])
@pytest.mark.parametrize("seed", [0, 1])
def test_split_is_the_books(mode, seed):
    data, users, items = table(seed=seed)
    mx.random.seed(seed)
    ours = d2l_autorec.split_data_ml100k(data, users, items, mode, 0.2)
    mx.random.seed(seed)
    theirs = d2l_book.split_data_ml100k(data, users, items, mode, 0.2)
    for our, their in zip(ours, theirs):
        assert len(our)
        onp.testing.assert_array_equal(our.to_numpy(), their.to_numpy())


@pytest.mark.parametrize("feedback", ["explicit", "implicit"])
def test_load_is_the_books(feedback):
    data, users, items = table()
    ours = d2l_autorec.load_data_ml100k(data, users, items, feedback)
    theirs = d2l_book.load_data_ml100k(data, users, items, feedback)
    assert [list(part) for part in ours[:3]] == [list(part) for part in theirs[:3]]
    if feedback == "implicit":
        assert ours[3] == theirs[3]
    else:
        assert type(ours[3]) is type(theirs[3])
        onp.testing.assert_array_equal(ours[3].asnumpy(), theirs[3].asnumpy())


def test_unknown_modes_are_errors():
    with pytest.raises(ValueError, match="split_mode is 'other': it must be 'random' or 'seq-"):
        d2l_autorec.split_data_ml100k(*table(), "other")
    with pytest.raises(ValueError, match="feedback is 'other': it must be 'explicit' or 'impl"):
        d2l_autorec.load_data_ml100k(*table(), feedback="other")


def test_devices_without_a_gpu():
    if mx.context.num_gpus():
        pytest.skip("this machine has a GPU")
    assert d2l_autorec.try_all_gpus() == [mx.cpu()]
    assert d2l_autorec.get_dataloader_workers() == 0


@pytest.mark.realdata
def test_read_ml_100k(data_dir):
    data, users, items = d2l_autorec.read_data_ml100k()
    assert (len(data), users, items) == (100_000, 943, 1682)
    assert data.iloc[0].tolist() == [196, 242, 3, 881250949]


class MaskInside(mx.gluon.nn.HybridBlock):
    """A network of a reader's own, with the mask where `hybridize` freezes it."""

    def __init__(self, users, masks_inside=True):
        super().__init__()
        self._masks_inside = masks_inside
        self.encoder = mx.gluon.nn.Dense(4, "sigmoid")
        self.decoder = mx.gluon.nn.Dense(users)

    def hybrid_forward(self, F, x):
        pred = self.decoder(self.encoder(x))
        if self._masks_inside and mx.autograd.is_training():
            return pred * F.np.sign(x)
        return pred


@pytest.mark.parametrize("masks_inside", [True, False])
def test_a_mask_that_hybridize_has_frozen_is_warned_of(masks_inside, capsys):
    data, users, items = table()
    train, test = (
        mx.np.array(d2l_autorec.load_data_ml100k(part, users, items)[3].asnumpy())
        for part in (data[:300], data[300:])
    )
    loaders = [mx.gluon.data.DataLoader(part, batch_size=16) for part in (train, test)]
    net = MaskInside(users, masks_inside)
    net.initialize(mx.init.Normal(0.1))
    net.hybridize()
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        given = net, loaders[0], loaders[0], mx.gluon.loss.L2Loss(), trainer, 3, [mx.cpu()]
        d2l_autorec.train_recsys_rating(*given, d2l_autorec.evaluator, inter_mat=test)
    told = [str(warning.message) for warning in caught if "every epoch" in str(warning.message)]
    assert len(told) == masks_inside
    if masks_inside:
        rmse = onp.sqrt(onp.mean(onp.square(test.asnumpy()[test.asnumpy() > 0])))
        assert told[0].startswith(f"the test RMSE is {rmse:.4f} in every epoch: ")
        assert "mask in `forward`" in told[0]


def printed_rmse(text):
    found = re.search(
        r"train loss (0\.\d+), test RMSE (\d\.\d{3})\n[\d,]+ ratings/sec on \[cpu\(0\)\]", text
    )
    assert found, text
    assert 0.01 < float(found[1]) < 0.5  # d2l prints 0.000
    return float(found[2])


# with the package's AutoRec it runs in Jupyter below
@pytest.mark.realdata
@pytest.mark.parametrize(
    "own, epochs, most", [pytest.param([], 25, 0.93, marks=pytest.mark.slow), (["--own"], 6, 1.1)]
)
def test_listing_as_a_script(data_dir, own, epochs, most):
    program = LISTING.read_text().replace("0.002, 25,", f"0.002, {epochs},")
    process = succeeded(python("-c", program, *own))
    assert 0.87 < printed_rmse(process.stdout) < most


@pytest.mark.realdata
@pytest.mark.smoke
def test_listing_in_jupyter(data_dir, tmp_path):
    source = LISTING.read_text().replace("0.002, 25,", "0.002, 6,")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    outputs = notebook.cells[0].outputs
    text = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")
    assert 0.87 < printed_rmse(text) < 1.1
    figures = [o for o in outputs if "image/svg+xml" in o.get("data", {})]
    assert len(figures) == 1  # the animation leaves its last frame
    assert "<!-- RMSE (rating units) -->" in figures[0]["data"]["image/svg+xml"]


@pytest.mark.realdata
@pytest.mark.smoke
def test_listing_of_matrix_factorization(data_dir):
    process = succeeded(python(MF_LISTING, "1"))
    rmse = re.search(r"^train loss \d[.]\d+, test RMSE (\d[.]\d+)$", process.stdout, re.MULTILINE)
    assert 1.0 < float(rmse[1]) < 3.0  # 1.05 in the book, after 20 epochs
    assert re.search(r"^score [1-5][.]\d{3}, after 0 seconds$", process.stdout, re.MULTILINE)

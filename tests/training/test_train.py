"""Training against the chapter's formulas and d2l's own loop, on one and several devices."""

import mxnet as mx
import numpy as onp
import pytest
from d2l import mxnet as d2l_book
from mxnet import autograd, gluon, np
from mxnet.gluon import nn
from scipy import sparse

import d2l_autorec
from d2l_autorec import AutoRec, evaluator
from d2l_autorec.data.sources import synthetic_ratings
from d2l_autorec.training.loaders import train_loader
from d2l_autorec.training.loop import Training, train_epoch


class PlainAutoRec(nn.Block):
    """Written from the chapter's formulas, independent of the package's block."""

    def __init__(self, num_hidden, num_users):
        super().__init__()
        self.hidden_layer = nn.Dense(num_hidden, activation="sigmoid")
        self.output_layer = nn.Dense(num_users)

    def forward(self, ratings):
        reconstruction = self.output_layer(self.hidden_layer(ratings))
        return reconstruction * np.sign(ratings) if autograd.is_training() else reconstruction


def same_start(net, plain):
    """Initialise `net` and give `plain` the same numbers."""
    mx.random.seed(3)
    net.initialize(init=mx.init.Normal(0.01))
    plain.initialize()
    plain(np.zeros((1, net.encoder.weight.shape[0])))
    plain.hidden_layer.weight.set_data(net.encoder.weight.data().T)
    plain.hidden_layer.bias.set_data(net.encoder.bias.data())
    plain.output_layer.weight.set_data(net.decoder.weight.data())
    plain.output_layer.bias.set_data(net.decoder.bias.data())


class RecordingLoss:
    def __init__(self):
        self.values, self.loss = [], gluon.loss.L2Loss()

    def __call__(self, prediction, label):
        result = self.loss(prediction, label)
        self.values.append(result)
        return result

    def means(self):
        return onp.array([v.asnumpy().mean() for v in self.values])


def test_parity_with_the_books_loop():
    """Per-step losses and final parameters equal those of d2l's own loop to 1e-5."""
    matrix = synthetic_ratings(60, 90, 1500).to_csr()
    net = AutoRec(20, matrix.shape[1], dropout=0.0)
    plain = PlainAutoRec(20, matrix.shape[1])
    same_start(net, plain)
    batches = list(train_loader(matrix, 16, seed=1)) * 3
    test = np.array(matrix[:16].toarray())
    losses = []
    for model, loop in (
        (net, d2l_autorec.train_recsys_rating),
        (plain, d2l_book.train_recsys_rating),
    ):
        trainer = gluon.Trainer(
            model.collect_params(), "adam", {"learning_rate": 0.002, "wd": 1e-5}
        )
        recorder = RecordingLoss()
        loop(model, batches, [test], recorder, trainer, 1, [mx.cpu()], evaluator, inter_mat=test)
        losses.append(recorder.means())
    onp.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for ours, theirs in (
        (net.encoder.weight.data().T, plain.hidden_layer.weight),
        (net.encoder.bias.data(), plain.hidden_layer.bias),
        (net.decoder.weight.data(), plain.output_layer.weight),
        (net.decoder.bias.data(), plain.output_layer.bias),
    ):
        difference = onp.abs(ours.asnumpy() - theirs.data().asnumpy()).max()
        assert difference <= 1e-5 * onp.abs(theirs.data().asnumpy()).max()


def dataset(rows):
    rng = onp.random.default_rng(0)
    dense = rng.integers(1, 6, (rows, 11)) * (rng.uniform(size=(rows, 11)) < 0.5)
    return sparse.csr_matrix(dense.astype("float32"))


def test_train_loss_and_rmse_are_those_of_the_definition():
    """A net that always predicts 3 (masked), learning rate 0."""

    class Three(nn.Block):
        def __init__(self):
            super().__init__()
            self.level = self.params.get("level", shape=(1,), init=mx.init.Constant(3))

        def forward(self, x):
            return self.level.data(x.ctx) * np.sign(x)

    net = Three()
    net.initialize()
    matrix = dataset(10)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.0})
    batches = [np.array(matrix[i : i + 4].toarray()) for i in (0, 4, 8)]  # the last one is short
    record = train_epoch(Training(net, batches, gluon.loss.L2Loss(), trainer, [mx.cpu()]))
    errors = matrix.data - 3
    assert record.ratings == matrix.nnz
    assert record.train_rmse == pytest.approx(onp.sqrt((errors**2).mean()), rel=1e-6)
    assert record.train_loss == pytest.approx(
        0.5 * (errors**2).sum() / matrix.shape[1] / 10, rel=1e-6
    )


def test_rollover_batches_and_epoch_seeds():
    loader = train_loader(dataset(10), batch_size=4, seed=3)
    sizes = [[len(batch) for batch in loader] for _ in range(3)]
    assert sizes == [[4, 4], [4, 4, 4], [4, 4]]  # 2 rows roll over, then 0, then 2
    again = train_loader(dataset(10), batch_size=4, seed=3)
    other = train_loader(dataset(10), batch_size=4, seed=4)
    first, second = (onp.concatenate([b.asnumpy() for b in again]) for _ in range(2))
    assert not onp.array_equal(first[:8], second[:8])  # epochs differ
    assert not onp.array_equal(first[:8], onp.concatenate([b.asnumpy() for b in other])[:8])


@pytest.mark.parametrize("kind", ["int64", "int32", "float16", "float64"])
def test_labels_of_any_type_are_ratings(capsys, kind):
    """As in the book's listing of matrix factorization, with NumPy's whole numbers."""
    ratings = synthetic_ratings(20, 15, 120)
    columns = ratings.users, ratings.items, ratings.values.astype(kind)
    batches = gluon.data.DataLoader(gluon.data.ArrayDataset(*map(np.array, columns)), 40)
    net = d2l_autorec.MF(3, 20, 15)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
    arguments = net, batches, [], gluon.loss.L2Loss(), trainer, 2, [mx.cpu()]
    d2l_autorec.train_recsys_rating(*arguments, evaluator=lambda *_: 1.0)
    assert "test RMSE 1.000" in capsys.readouterr().out

"""One process on several devices: the same numbers, whatever their count; clear errors."""

import os
from unittest.mock import patch

import mxnet as mx
import numpy as onp
import pytest
from helpers import PACKAGE, assert_user_error, cpus
from mxnet import gluon, np
from scipy import sparse

from d2l_autorec.models.autorec import AutoRec
from d2l_autorec.models.catalog.autorec import AutoRecConfig
from d2l_autorec.models.catalog.mf import MFConfig
from d2l_autorec.models.catalog.mult_vae import MultDAEConfig, MultVAEConfig
from d2l_autorec.models.mf import MF
from d2l_autorec.models.mult_vae import MultDAE, MultVAE
from d2l_autorec.runs.experiment import make_trainer
from d2l_autorec.support.errors import ConfigError
from d2l_autorec.training import devices
from d2l_autorec.training.callbacks import StepSeed
from d2l_autorec.training.loaders import BATCHES, PairRows, Pairs, train_loader
from d2l_autorec.training.loop import Training, fit
from d2l_autorec.training.losses import MaskedL2Loss, MultinomialLoss

USERS = 11


def nll():
    return MultinomialLoss(lambda: 0.3)


# options, network and loss
MODELS = {
    "autorec": (AutoRecConfig, lambda dropout: AutoRec(6, USERS, dropout), MaskedL2Loss),
    "mf": (MFConfig, lambda _: MF(3, 40, USERS), gluon.loss.L2Loss),
    "mult-vae": (MultVAEConfig, lambda dropout: MultVAE((6, 3), USERS, dropout), nll),
    "mult-dae": (MultDAEConfig, lambda dropout: MultDAE((6, 3), USERS, dropout), nll),
}


def rows_of(count):
    """A few ratings in each of `count` rows."""
    rng = onp.random.default_rng(0)
    dense = rng.integers(1, 6, (count, USERS)) * (rng.uniform(size=(count, USERS)) < 0.5)
    return sparse.csr_matrix(dense.astype("float32"))


def pairs_of(count):
    """As many ratings."""
    cells = rows_of(8).tocoo()
    return Pairs(cells.row[:count], cells.col[:count], cells.data[:count])


def trained(model, kernel, count, table, batch_size, last_batch="keep", dropout=0.0):
    """Parameters and history after two epochs on `count` contexts."""
    contexts = cpus(count)
    config, network, make_loss = MODELS[model]
    mx.random.seed(5)
    net = network(dropout)
    net.initialize(init=mx.init.Normal(0.1), ctx=contexts)
    trainer = make_trainer(net, config(lr=0.01), contexts)

    batchify = PairRows if model == "mf" else BATCHES[kernel]
    with patch.object(np.random, "normal", noise_of_the_unit):
        loader = train_loader(table, batch_size, 0, batchify, last_batch)
        training = Training(net, loader, make_loss(), trainer, contexts)
        training.predicts_ratings = make_loss is not nll
        history = fit(training, 2, [StepSeed(3)])
    return [p.data(contexts[-1]).asnumpy() for p in net.collect_params().values()], history


def noise_of_the_unit(size, ctx):
    """In place of a sample: no row has other noise on another device."""
    unit = np.array(onp.sin(1.0 + onp.arange(size[1])), dtype="float32", ctx=ctx)
    return np.broadcast_to(unit, size)


@pytest.mark.parametrize(
    "model, kernel",
    [
        (model, kernel)
        for model in MODELS
        for kernel in BATCHES
        if (model, kernel) != ("mf", "sparse")
    ],
)
@pytest.mark.parametrize("last_batch", ["keep", "rollover"])
def test_every_number_of_devices_gives_the_same_parameters(model, kernel, last_batch):
    """Batches of 6 on 2, 3 and 5 devices; 1 to 5 rows are left over, or none.

    Which device has which rows no network knows: every remainder is tried with one of them, and
    with the others one that leaves devices without a row, and one that does not.
    """
    remainders, counts = (1, 3), (2, 5)
    if (model, kernel) == ("autorec", "dense"):
        remainders, counts = range(6), (2, 3, 5)
    for left in remainders:
        table = pairs_of(12 + left) if model == "mf" else rows_of(12 + left)
        one, record = trained(model, kernel, 1, table, 6, last_batch)
        for count in counts:
            many, history = trained(model, kernel, count, table, 6, last_batch)
            for ours, theirs in zip(many, one):
                onp.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
            losses = [epoch.train_loss for epoch in record]
            assert [epoch.train_loss for epoch in history] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("kernel", ["dense", "sparse"])
def test_with_dropout_every_number_of_devices_gives_the_same_parameters(kernel):
    """Also where there are more devices than the 7 rows of a batch, and of either kernel."""
    matrix = rows_of(20)
    one, _ = trained("autorec", "dense", 1, matrix, 7, dropout=0.5)
    for count in (2, 7, 8, 40):
        many, _ = trained("autorec", kernel, count, matrix, 7, dropout=0.5)
        for ours, theirs in zip(many, one):
            onp.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5, err_msg=str(count))


def test_gpus(monkeypatch):
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 2)
    assert devices.resolve_devices("all") == [mx.gpu(0), mx.gpu(1)] == devices.resolve_devices()
    assert devices.resolve_devices("none") == [mx.cpu(0)]
    assert devices.resolve_devices("none", 2) == cpus(2)
    assert devices.resolve_devices("1") == [mx.gpu(1)]
    with pytest.raises(ConfigError, match="`gpus=0,2`: 2 GPUs are visible"):
        devices.resolve_devices("0,2")

    monkeypatch.setattr(mx.context, "num_gpus", lambda: 0)
    for asked in ("all", "0"):  # a second MXNet beside the first would overwrite it
        with pytest.raises(ConfigError, match=": 0 GPUs are visible.* pip uninstall mxnet, then"):
            devices.resolve_devices(asked)


def test_cuda_whose_driver_does_not_answer(monkeypatch, in_process):
    def fail():
        raise mx.MXNetError(
            "Traceback (most recent call last):\n  File storage.cc\nMXNetError: "
            "CUDA: driver version is insufficient for CUDA runtime version"
        )

    monkeypatch.setattr(mx.context, "num_gpus", fail)
    for arguments in ((), ("--gpus", "all")):
        assert_user_error(
            in_process("run", "--dataset", "synthetic", *arguments),
            "CUDA cannot be used (MXNetError: CUDA: driver version is insufficient "
            "for CUDA runtime version)",
            "--gpus none",
        )


def test_a_library_of_the_system_that_mxnet_lacks(tmp_path, command):
    (tmp_path / "mxnet.py").write_text("raise OSError('libgomp.so.1: cannot open: No such file')\n")
    path = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    process = command("run", "--dataset", "synthetic", PYTHONPATH=path)
    assert_user_error(process, "MXNet cannot be loaded (libgomp.so.1: cannot open", "(Debian:")

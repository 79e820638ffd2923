"""The examples of `Callback`, as they stand in its docstring, with the real packages."""

import doctest
import struct

import numpy as np
import pytest

import d2l_autorec as d2l
from d2l_autorec.training.callbacks import Callback
from d2l_autorec.training.checkpoint import parameters_of


@pytest.fixture
def example(request, tmp_path, monkeypatch):
    """The class that an example defines; its names are those that the docstring gives it."""
    monkeypatch.chdir(tmp_path)
    package, name = request.param
    pytest.importorskip(package)
    names = {"Callback": Callback}
    for one in doctest.DocTestParser().get_examples(Callback.__doc__):
        if package in one.source or f"class {name}(" in one.source:
            exec(one.source, names)
    return names[name]


def trained_with(callback, val_ratio=0.2, **options):
    train, test = d2l.random_split(d2l.load_ratings("synthetic:60x80x900"), 0.1, 0)
    usual = dict(hidden=8, epochs=3, batch_size=16, val_ratio=val_ratio, quiet=True)
    config = d2l.AutoRecConfig(**usual, **options)
    return d2l.train_model(config, train, test, callbacks=[callback])


def records_of(log):
    """The records of a TensorBoard log: length and its checksum, content and its checksum."""
    while log:
        (length,) = struct.unpack_from("<Q", log)
        yield log[12 : 12 + length]
        log = log[16 + length :]


@pytest.mark.filterwarnings("ignore::d2l_autorec.DataWarning")
@pytest.mark.parametrize("example", [("tensorboardX", "TensorBoard")], indirect=True)
def test_tensorboard(example, tmp_path):
    from tensorboardX import SummaryWriter
    from tensorboardX.proto.event_pb2 import Event

    with SummaryWriter("logs") as writer:
        model = trained_with(example(writer))
    [log] = (tmp_path / "logs").iterdir()
    events = map(Event.FromString, records_of(log.read_bytes()))
    found = {
        (value.tag, event.step): value.simple_value
        for event in events
        for value in event.summary.value
    }
    for epoch, loss, rmse in model.history[["epoch", "train_loss", "test_rmse"]].to_numpy():
        assert found["train/loss", epoch] == pytest.approx(loss)
        assert found["test/rmse", epoch] == pytest.approx(rmse)


@pytest.mark.filterwarnings("ignore::d2l_autorec.DataWarning")
@pytest.mark.parametrize("example", [("mlflow", "MLflow")], indirect=True)
def test_mlflow(example, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs more packages
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run() as run:
        model = trained_with(example())

    for name in ("train_loss", "test_rmse", "validation_rmse"):
        logged = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
        assert [one.value for one in logged] == pytest.approx(model.history[name].tolist())
        assert [one.step for one in logged] == [1, 2, 3]


class Epochs(Callback):
    """The parameters after each epoch."""

    def __init__(self):
        self.found = []

    def on_epoch_end(self, training):
        self.found.append(parameters_of(training.net))


@pytest.mark.filterwarnings("ignore::d2l_autorec.DataWarning")
@pytest.mark.parametrize("val_ratio", [0, 0.2])
def test_averaged_parameters_are_measured_and_kept_and_training_goes_on_with_its_own(val_ratio):
    """Of three epochs at n = 1, 2, 3 the averages move by 8 / (n + 7) of the way."""
    plain, averaged = Epochs(), Epochs()
    trained_with(plain, val_ratio)
    model = trained_with(averaged, val_ratio, average=True)

    best = model.metrics["best_epoch"] or 3
    for name, kept in parameters_of(model.net).items():
        values = [parameters[name] for parameters in plain.found]
        assert all(np.array_equal(one, epoch[name]) for one, epoch in zip(values, averaged.found))
        expected = values[0]
        for weight, value in list(zip((1, 8 / 9, 8 / 10), values))[:best]:
            expected = (1 - weight) * expected + weight * value
        assert kept == pytest.approx(expected, rel=1e-4, abs=1e-7)

    test = d2l.random_split(d2l.load_ratings("synthetic:60x80x900"), 0.1, 0)[1]
    assert model.evaluate(test)["test_rmse"] == pytest.approx(model.history.test_rmse[best - 1])

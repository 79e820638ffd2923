"""What a preset sets, and which one is taken where none is named."""

import pickle
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

import d2l_autorec as d2l
from d2l_autorec.models.catalog.autorec import AutoRecConfig
from d2l_autorec.models.registry import make_config, models
from d2l_autorec.runs.folder import config_of
from d2l_autorec.runs.rating import split_ratings
from d2l_autorec.support.seeds import Purpose, generator

OWN = {"ratings": "mine.csv"}
PAPER = {"preset": "paper"}
BY_RPROP = {**PAPER, "optimizer": "rprop"}
TWO_FILES = {"train": "a.csv", "test": "b.csv"}


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, "chapter"),
        ({"dataset": "ml-1m"}, "chapter"),
        (OWN, "best"),
        (TWO_FILES, "best"),
        ({**OWN, "based": "user"}, "best"),
        ({**OWN, "model": "mf"}, "best"),
        ({**OWN, "model": "bias"}, "chapter"),
        ({**OWN, "model": "mult-vae"}, "best"),
        ({**OWN, "preset": "chapter"}, "chapter"),
        ({**OWN, "decoder_activation": "sigmoid"}, "chapter"),
    ],
)
def test_own_files_get_the_best_preset_where_it_can_be_had(given, expected):
    assert make_config(given).preset == expected


@pytest.mark.parametrize(
    "given, wanted",
    [
        ({**OWN, "wd": 1e-4}, dict(wd=1e-4, regularization=None, updates=1000)),
        ({**OWN, "regularization": 5.0}, dict(regularization=5.0)),
        ({**OWN, "epochs": 7}, dict(epochs=7, updates=None)),
        ({**OWN, "updates": 50}, dict(updates=50)),
        ({**OWN, "val_ratio": 0.0}, dict(val_ratio=0.0, refit=False)),
        ({**OWN, "center": False}, dict(center=False, input_dropout=0.5)),
        (PAPER, dict(optimizer="adam", batch_size=64, lr_schedule="cosine", epochs=80)),
        ({**PAPER, "based": "user"}, dict(optimizer="adam", batch_size=64, epochs=35)),
        (BY_RPROP, dict(batch_size="all", lr_schedule="constant", epochs=90)),
        ({**BY_RPROP, "epochs": 200, "lr": 1e-3}, dict(epochs=200, lr=1e-3)),
        ({**BY_RPROP, "based": "user"}, dict(batch_size="all", regularization=100.0)),
    ],
)
def test_what_is_given_replaces_its_counterpart(given, wanted):
    """Of the paper's preset also what goes with the optimizer."""
    config = make_config(given)
    assert {name: getattr(config, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "updates, batch_size, rows, epochs, size",
    [
        (1000, 256, 2560, 100, 256),
        (1000, 256, 2561, 100, 256),  # 10.004 steps an epoch
        (1000, 256, 100, 1000, 100),  # every epoch is one step
        (1000, 256, 500_000, 10, 5000),  # at least ten epochs, of larger batches
        (5, 256, 100, 10, 100),
        (15, 10, 11, 14, 10),
        (None, 256, 2560, 25, 256),
    ],
)
def test_epochs_are_as_many_as_hold_the_updates(updates, batch_size, rows, epochs, size):
    config = AutoRecConfig(updates=updates, batch_size=batch_size)
    assert config.epochs_for(rows) == epochs
    assert config.rows_of_a_step(rows) == size


@pytest.mark.parametrize(
    "given",
    [
        {"preset": "best"},
        {"preset": "best", "epochs": 7, "lr": 0.1},
        {"preset": "paper", "based": "user"},
        OWN,
        {**OWN, "wd": 1e-4},
        {**OWN, "preset": "chapter"},
        {"model": "mf", "preset": "best"},
    ],
)
def test_a_configuration_is_the_same_however_it_is_made(given):
    """It kept the chapter's values and called itself best."""
    options = {name: value for name, value in given.items() if name != "model"}
    by_class = models()[given.get("model", "autorec")](**options)
    assert by_class == make_config(given) == make_config(**given)
    assert replace(by_class) == pickle.loads(pickle.dumps(by_class)) == by_class

    if given.get("preset") == "best":
        assert by_class.center and by_class.refit and by_class.val_ratio == 0.1


def test_stored_options_are_as_they_were(tmp_path):
    """Whatever the preset says today; an option that a version did not have has its default."""
    config = AutoRecConfig(preset="best", hidden=(4,), updates=12, quiet=True, cpus=1)
    about = {"options": asdict(replace(config, lr=0.5, patience=3))}
    del about["options"]["input_dropout"], about["options"]["center"], about["options"]["preset"]
    assert config_of(about, tmp_path) == replace(
        config, lr=0.5, patience=3, input_dropout=0.0, center=False, preset="chapter"
    )


def own_ratings():
    rng = np.random.default_rng(0)
    cells = rng.choice(40 * 30, 500, replace=False)
    frame = pd.DataFrame(
        {"user": cells // 30, "item": cells % 30, "rating": rng.integers(1, 11, 500)}
    )
    return d2l.random_split(d2l.Ratings.from_frame(frame), test_ratio=0.2, seed=0)


QUIET = dict(quiet=True, cpus=1)
SHORT = dict(epochs=2, hidden=4, **QUIET)


@pytest.mark.parametrize(
    "config, expected",
    [
        (None, "best"),
        (AutoRecConfig(**SHORT), "best"),
        (AutoRecConfig(**SHORT, decoder_activation="sigmoid"), "chapter"),
        (d2l.BiasConfig(**QUIET), "chapter"),
    ],
)
@pytest.mark.filterwarnings("ignore:no better than:d2l_autorec.DataWarning")
def test_own_ratings_get_the_best_preset_from_python_too(config, expected):
    train, test = own_ratings()
    model = d2l.train_model(config, train, test)
    assert model.config.preset == expected
    assert model.config.clip == (expected == "best")
    if config is not None and config.model != "bias":
        assert model.config.epochs == 2  # what is given stays


def test_the_first_epoch_of_the_best_preset_is_the_means_alone(tmp_path):
    """So that nothing is served that validation found worse."""
    config = make_config(
        dict(preset="best", dataset="synthetic:60x80x900", hidden=(4,), epochs=10, quiet=True)
    )
    model = d2l.train_model(config)
    first = model.history.iloc[0]
    assert first["lr"] == 0

    train, test = split_ratings(config, d2l.load_ratings("synthetic:60x80x900"))
    fitting, _ = d2l.random_split(train, 0.1, generator(config.seed, Purpose.VALIDATION))
    means = d2l.train_model(d2l.BiasConfig(clip=True, quiet=True), fitting, test)
    assert first["test_rmse"] == pytest.approx(means.metrics["test_rmse"], rel=0.01)

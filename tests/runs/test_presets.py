"""What a preset sets, and which one is taken where none is named."""

import math

import pytest
from helpers import own_file, train_run

import d2l_autorec as d2l
from d2l_autorec.runs.config import AutoRecConfig, make_config
from d2l_autorec.runs.rating_task import split_ratings
from d2l_autorec.support.errors import ConfigError
from d2l_autorec.support.streams import Purpose, generator
from d2l_autorec.training.schedules import learning_rate

OWN = {"ratings": "mine.csv"}
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
        ({**OWN, "model": "mult-vae"}, "chapter"),
        ({**OWN, "preset": "chapter"}, "chapter"),
        ({**OWN, "split": "held-out-rows"}, "chapter"),
        ({**OWN, "loss": "root"}, "chapter"),
        ({**OWN, "decoder_activation": "sigmoid"}, "chapter"),
        ({**OWN, "kvstore": "dist_async"}, "chapter"),
    ],
)
def test_own_files_get_the_best_preset_where_it_can_be_had(given, expected):
    assert make_config(given).preset == expected


@pytest.mark.parametrize(
    "given, wanted",
    [
        ({"wd": 1e-4}, dict(wd=1e-4, regularization=None, updates=1000)),
        ({"regularization": 5.0}, dict(regularization=5.0)),
        ({"epochs": 7}, dict(epochs=7, updates=None)),
        ({"updates": 50}, dict(updates=50)),
        ({"val_ratio": 0.0}, dict(val_ratio=0.0, refit=False)),
        ({"center": False}, dict(center=False, input_dropout=0.5)),
    ],
)
def test_what_is_given_replaces_its_counterpart(given, wanted):
    config = make_config({**OWN, **given})
    assert {name: getattr(config, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "given, wanted",
    [
        ({}, dict(optimizer="adam", batch_size=64, lr_schedule="cosine", epochs=80)),
        ({"based": "user"}, dict(optimizer="adam", batch_size=64, epochs=35)),
        ({"optimizer": "rprop"}, dict(batch_size="all", lr_schedule="constant", epochs=90)),
        ({"optimizer": "rprop", "epochs": 200, "lr": 1e-3}, dict(epochs=200, lr=1e-3)),
        ({"optimizer": "rprop", "based": "user"}, dict(batch_size="all", regularization=100.0)),
    ],
)
def test_the_paper_by_either_optimizer(given, wanted):
    config = make_config({"preset": "paper", **given})
    assert {name: getattr(config, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "updates, batch_size, rows, epochs",
    [
        (1000, 256, 2560, 100),
        (1000, 256, 2561, 100),  # 10.004 steps an epoch
        (1000, 256, 100, 1000),  # every epoch is one step
        (1000, 256, 500_000, 10),  # at least ten epochs
        (15, 10, 11, 14),
        (None, 256, 2560, 25),
    ],
)
def test_epochs_are_as_many_as_hold_the_updates(updates, batch_size, rows, epochs):
    config = AutoRecConfig(updates=updates, batch_size=batch_size)
    assert config.epochs_for(rows) == epochs


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(updates=10, epochs=3), "`epochs=3` and `updates=10` exclude each other"),
        (dict(center=True, loss="root"), "`center` and `loss=root` exclude each other"),
        (
            dict(center=True, decoder_activation="tanh"),
            "`center` and `decoder_activation=tanh` exclude each other",
        ),
    ],
)
def test_what_cannot_be_had_together_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        AutoRecConfig(**options)


def test_dropping_inputs_of_the_chapters_network_is_refused():
    with pytest.raises(ConfigError, match="`input_dropout` has no effect: .* add `center`"):
        make_config({"input_dropout": 0.3})


def test_a_run_on_an_own_file_says_its_preset(tmp_path):
    config = make_config(
        dict(
            ratings=str(own_file(tmp_path)),
            hidden=(4,),
            updates=12,
            quiet=True,
            cpus=1,
            out=str(tmp_path / "run"),
        )
    )
    result = train_run(config)
    assert result["preset"] == "best"
    assert d2l.load_run(tmp_path / "run").config.center


def test_a_call_without_configuration_takes_the_best_for_ratings():
    ratings = d2l.load_ratings("synthetic:40x30x300")
    model = d2l.train_model(None, *d2l.random_split(ratings, test_ratio=0.1, seed=0))
    assert model.config.preset == "best"


def test_a_rate_that_grows_before_its_cosine():
    """Two of ten epochs from 0; then half a cosine over the other eight."""
    config = AutoRecConfig(lr=1.0, lr_schedule="cosine", lr_warmup=0.2, epochs=10)
    rates = [learning_rate(config, [None] * done, 10) for done in range(10)]
    cosine = [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert rates == pytest.approx([0, 0.5, *cosine])


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

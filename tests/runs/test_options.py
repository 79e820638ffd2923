"""Values of options and their combinations: empty, repeated, mistyped, without effect, absurd."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2l_autorec.models.catalog.autorec import AutoRecConfig
from d2l_autorec.models.catalog.mf import MFConfig
from d2l_autorec.models.catalog.mult_vae import MultVAEConfig
from d2l_autorec.models.options import computing_options
from d2l_autorec.models.registry import build_config, make_config, models
from d2l_autorec.run import _parser
from d2l_autorec.runs.options import own_options
from d2l_autorec.support.errors import ConfigError, UserError
from d2l_autorec.support.texts import flag, with_flags

PARSER = _parser()
FIELDS = {spec.name: spec for config in models().values() for spec in dataclasses.fields(config)}


@pytest.mark.parametrize(
    "name", [name for name, spec in FIELDS.items() if spec.type in (str, type(None) | str)]
)
def test_an_empty_text_from_python_is_an_error(name):
    config = next(config for config in models().values() if name in config.__dataclass_fields__)
    with pytest.raises(ConfigError, match=f"^`{name}` is '', which is empty"):
        config(**{name: ""})


@pytest.mark.parametrize(
    "given",
    [
        {"preset": "best", "epochs": 25},
        {"preset": "best", "wd": 1e-5},
        {"preset": "best", "model": "mf", "epochs": 20, "penalty": 0.0},
        {"preset": "paper", "wd": 1e-5, "epochs": 3},
        {"preset": "paper", "based": "user", "lr": 5e-4, "epochs": 80},
        {"preset": "best", "ratings": "r.csv", "val_ratio": 0.0},
        {"model": "mult-vae", "preset": "best", "hidden": (600, 200), "patience": 200},
    ],
    ids=str,
)
def test_own_options_make_the_same_configuration_again(given):
    """Also where an option that was given is the class's default, which its preset overrides."""
    config = make_config(given)
    own = {**own_options(config), "preset": config.preset}
    assert computing_options(build_config(own)) == computing_options(config)
    assert None not in own.values()


WITHOUT_EFFECT = [
    ("fold", {"fold": 2}, "`split=random` has no use"),
    ("folds", {"folds": 5}, "add `split=k-fold`"),
    ("test_ratio", {"split": "k-fold", "test_ratio": 0.1}, "`split=k-fold` has no use"),
    ("test_ratio", {"split": "seq-aware", "test_ratio": 0.1}, "`split=seq-aware` has no use"),
    ("test_ratio", {"split": "u1", "test_ratio": 0.1}, "`split=u1` has no use"),
    ("test_ratio", {"model": "ease", "split": "leave-last-out", "test_ratio": 0.2}, "no use"),
    ("heldout_users", {"model": "ease", "split": "time", "heldout_users": 9}, "no use for it"),
    ("test_ratio", {"train": "a", "test": "b", "test_ratio": 0.1}, "are the split"),
    ("split", {"train": "a", "test": "b", "split": "random"}, "are the split"),
    ("lr_step", {"lr_step": 3}, "`lr_schedule=constant` has no use"),
    ("lr_factor", {"lr_factor": 0.3, "lr_schedule": "cosine"}, "`lr_schedule=cosine` has no use"),
    ("lr_step", {"preset": "best", "lr_step": 3}, "`lr_schedule=cosine` has no use"),
    ("decay", {"decay": "weights", "wd": 0.0}, "it goes with `wd`"),
    ("patience", {"patience": 3}, "add `val_ratio=0.1`"),
    ("duplicates", {"duplicates": "last"}, "name one with `ratings`"),
    ("columns", {"columns": "user=0,item=1"}, "name one with `ratings`"),
    ("kernel", {"model": "bias", "kernel": "sparse"}, "`model=bias` is computed at once"),
    ("anneal_cap", {"model": "mult-vae", "search_beta": True, "anneal_cap": 0.2}, "`search_beta`"),
    (
        "anneal_steps",
        {"model": "mult-vae", "anneal": "recotour", "anneal_steps": 2},
        "`anneal=recotour`",
    ),
    *(
        (name, {"model": model, name: FIELDS[name].default}, f"`model={model}` is computed at once")
        for model in ("mean", "bias", "popularity", "ease")
        for name in ("lr", "epochs", "optimizer", "kvstore", "hybridize")
    ),
    *(("init_sigma", {"model": model, "init_sigma": 0.1}, "at once") for model in ("mean", "bias")),
]


@pytest.mark.parametrize("name, options, fragment", WITHOUT_EFFECT)
def test_an_option_without_effect_is_refused_by_name(name, options, fragment):
    with pytest.raises(ConfigError) as caught:
        make_config(options)
    assert str(caught.value).startswith(f"`{name}` has no effect: ")
    assert fragment in str(caught.value) and "leave it out" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"split": "time", "test_ratio": 0.2},
        {"ratings": "x", "duplicates": "last", "columns": "user=0,item=1,rating=2", "scale": "1,5"},
        {"model": "mult-vae", "patience": 3, "anneal_steps": 5, "kernel": "dense"},
        {"data_dir": None, "model": "ease", "cpus": 1, "threads": 2},
        {"split": "u1", "data_dir": "x"},
        {"model": "bias", "val_ratio": 0.1, "refit": True},
        {"model": "mult-vae", "batch_size": "all"},
    ],
)
def test_an_option_with_an_effect_is_not(options):
    config = make_config(options)
    assert {name: getattr(config, name) for name in options} == options


DEEP = {"hidden": (7, 5, 3, 5, 7), "pretrain": True, "pretrain_epochs": (4, 6)}
REFUSED = [
    # folds
    ({"fold": "all"}, "`fold` has no effect: `split=random` has no use for it"),
    ({"split": "k-fold", "fold": "each"}, "`fold` is each: it must be from 1 to 1000, or all"),
    ({"split": "k-fold", "fold": 0}, "`fold` is 0: it must be from 1"),
    ({"model": "ease", "split": "k-fold", "folds": 2}, "`folds` is 2: it must be from 3"),
    (
        {"model": "ease", "split": "k-fold", "heldout_users": 5.0},
        "`heldout_users` has no effect: `split=k-fold` has no use for it",
    ),
    # what workers cannot do together
    (
        {"kvstore": "dist_sync", "pretrain": True, "hidden": (5, 3, 5)},
        "`kvstore=dist_sync` and `pretrain` exclude each other",
    ),
    (
        {"kvstore": "dist_sync", "model": "bias"},
        "`kvstore=dist_sync` and `model=bias` exclude each other",
    ),
    # what cannot be pretrained
    (
        {**DEEP, "hidden": (500,)},
        "hidden layers that mirror each other around one in the middle, as in",
    ),
    ({**DEEP, "hidden": (9, 5)}, "but `hidden` is 9,5"),
    ({**DEEP, "hidden": (9, 9)}, "but `hidden` is 9,9"),
    ({**DEEP, "kvstore": "dist_sync"}, "`kvstore=dist_sync` and `pretrain` exclude each other"),
    ({**DEEP, "pretrain_epochs": (5,)}, "`pretrain_epochs` is 5: it must be two whole numbers"),
    ({**DEEP, "pretrain": False}, "`pretrain_epochs` has no effect: it goes with `pretrain`"),
]


@pytest.mark.parametrize("options, message", REFUSED)
def test_what_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make_config(options)


HOSTILE = (
    "inf -inf nan 1e300 1e-320 -0 -0.0 0 -1 1_000 +5 0x10 1e400 None 1e . - 1, , 1,,2 1,inf .5"
)
HOSTILE = [*HOSTILE.split(), "٣", " 5", "a\x00b", "\udcff", "%s", "{0}", "9" * 5000, "x" * 300]
NUMERIC = [name for name, spec in FIELDS.items() if spec.type not in (str, bool, type(None) | str)]


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(FIELDS)),
    st.sampled_from(sorted(models())),
    st.one_of(
        st.sampled_from(HOSTILE),
        st.text(max_size=8),
        st.floats().map(str),
        st.integers().map(str),
        st.integers(-(2**70), 2**70).map(str),
    ),
)
def test_any_value_is_valid_or_one_line(name, model, value):
    """Of every option of every model; what is accepted is a finite number that float32 holds."""
    try:
        parsed = vars(PARSER.parse_args(["--model", model, f"{flag(name)}={value}"]))
        del parsed["resume"], parsed["options"]
        config = make_config(parsed)
    except UserError as error:
        text = " ".join(with_flags(str(error)).splitlines())
        assert len(text) < 1000 and ("--" in text or "ambiguous" in text)
        return
    accepted = getattr(config, name)
    for number in accepted if isinstance(accepted, tuple) else (accepted,):
        if name in NUMERIC:
            assert number == 0 or 1e-37 <= abs(number) < 2**127
            assert set(value) <= set("0123456789.,-+eE") and not value.startswith("+")


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(FIELDS)),
    st.sampled_from(sorted(models())),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=4),
        st.lists(st.one_of(st.integers(-2, 9), st.floats(), st.booleans()), max_size=3),
        st.sampled_from([10**30, -0.0, (), b"x", {}, object(), (1, "a"), 1j]),
    ),
)
def test_any_value_from_python_is_valid_or_one_line(name, model, value):
    if name not in models()[model].__dataclass_fields__:
        return
    try:
        config = make_config({"model": model, name: value})
    except UserError as error:
        assert len(str(error)) < 1000
        return
    accepted = getattr(config, name)
    assert accepted is None or isinstance(accepted, bool) == (FIELDS[name].type is bool)


@pytest.mark.parametrize("config, value", [(AutoRecConfig, 5), (MultVAEConfig, [5, 2])])
def test_one_number_or_a_list_will_do(config, value):
    expected = tuple(value) if isinstance(value, list) else (value,)
    assert config(hidden=value).hidden == expected


def test_defaults_are_accepted():
    for model, config in models().items():
        assert make_config({"model": model}) == config()
    assert MFConfig(lr=1).lr == 1


@pytest.mark.parametrize(
    "given",
    [
        dict(hidden=np.int64(20), lr=np.float32(0.25), epochs=np.int32(3), clip=np.bool_(True)),
        dict(hidden=np.array([5, 3, 5]), dropout=np.float64(0.5), preset=np.str_("best")),
        dict(hidden=(np.int16(4), 4), pretrain_epochs=[np.int64(2), 3]),
    ],
)
def test_numbers_of_numpy_become_pythons(given):
    """They passed the checks, and ended the run in json."""
    config = AutoRecConfig(**given)
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    assert AutoRecConfig(**stored) == config
    for value in dataclasses.asdict(config).values():
        parts = value if isinstance(value, tuple) else (value,)
        assert {type(part) for part in parts} <= {int, float, bool, str, type(None)}

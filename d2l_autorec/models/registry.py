"""The models by name: those of this package, in the folder catalog, and those of others.

A model is one file: a dataclass of its options, registered under the name that `--model` takes.
Every command works with it (run, tune, report, compare, recommend, export, serve), `--help` has its
options, and no other file knows it. One that is computed at once has `fit`:

    @register("own-knn")
    @dataclass(frozen=True)
    class OwnKNN(ClickModel):
        neighbours: int = option(20, "items that each is like", AT_LEAST_1, space=Span(5, 50))
        about, at_once = "item-based k-nearest neighbours", True

        def fit(self, matrix):  # csr_matrix, users x items
            cosines = ...
            return Linear(weights, biases)  # scores: row @ weights + biases

One that is trained has `network`, a Gluon block that maps rows to rows, whose layers say what they
read (`in_units`, `in_channels`). It trains dense. Layers in a sequence that ends in a Dense layer
give similar items and an export:

    @register("deep")
    @dataclass(frozen=True)
    class Deep(ClickModel):
        units: int = option(200, "hidden units", AT_LEAST_1, space=Among((100, 200, 400)))
        logits = True
        presets = {"best": {"lr": 0.01, "epochs": 50}}

        def network(self, data):  # Clicks, or Ratings
            net = nn.HybridSequential()
            net.add(nn.Dense(self.units, in_units=data.num_items, activation="tanh"))
            net.add(nn.LayerNorm(in_channels=self.units))
            net.add(nn.Dense(data.num_items, in_units=self.units))
            return net

`RatingModel` is the other base; `kinds.RunConfig` lists what else a model may say of itself: its
loss (`make_loss`), its weight decay, what it reads. Import MXNet and NumPy within the methods:
`--help` imports the file. A package offers it by an entry point; in its pyproject.toml:

    [project.entry-points."d2l_autorec.models"]
    mine = "my_package.my_models"

For a trial, `train_model(config, train, test, net=, loss=, callbacks=)` takes a network, a loss and
callbacks without a registration.
"""

import copy
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from ..support.errors import ConfigError, did_you_mean
from . import catalog
from .kinds import RunConfig
from .options import Options, check_needs

ENTRY_POINTS = "d2l_autorec.models"
TASKS = ("rating", "ranking")

_registered: dict[str, type[RunConfig]] = {}
Model = TypeVar("Model", bound=RunConfig)


def register(name: str) -> Callable[[type[Model]], type[Model]]:
    """Return a decorator that offers a dataclass of options as the model of this name."""

    def add(config: type[Model]) -> type[Model]:
        if "__dataclass_fields__" not in vars(config):
            config = dataclass(frozen=True)(config)

        spec = copy.copy(config.__dataclass_fields__["model"])
        spec.default = name
        config.__dataclass_fields__["model"] = spec
        config.model = name
        _registered[name] = config
        return config

    return add


def models(task: str | None = None) -> dict[str, type[RunConfig]]:
    """Return the models of one task or all: of ratings first, the trained ones first, by name."""
    _load()
    found = [(name, of) for name, of in sorted(_registered.items()) if task in (None, of.task)]
    return dict(sorted(found, key=lambda pair: (TASKS.index(pair[1].task), pair[1].at_once)))


def model_class(name: Any) -> type[RunConfig]:
    """Return the options of a model; raise ConfigError if there is none of this name."""
    if not isinstance(name, str) or name not in models():
        raise ConfigError(
            f"`model` is {name}: it must be one of {', '.join(models())}"
            f"{did_you_mean(str(name), models())}"
        )
    return _registered[name]


@cache
def _load() -> None:
    """Import the files of the folder catalog, and what installed packages offer."""
    for file in pkgutil.iter_modules(catalog.__path__):
        importlib.import_module(f"{catalog.__name__}.{file.name}")
    for point in metadata.entry_points(group=ENTRY_POINTS):
        point.load()


def compared_rows(task: str) -> dict[str, Options]:
    """Return the rows of a report that compares the models of a task, the baseline first."""
    found = [config for config in models(task).values() if config.compared != {}]
    found.sort(key=lambda config: config.is_baseline)
    rows: dict[str, Options] = {}
    for config in reversed(found):  # simple ones come last in the list of models
        own = config.compared or {config.model: {}}
        best = {"preset": "best"} if "best" in config.presets else {}
        rows |= {label: {"model": config.model, **best, **own[label]} for label in own}
    return rows


def make_config(given: Mapping[str, Any] | None = None, /, **options: Any) -> RunConfig:
    """Return the configuration of a model, as `AutoRecConfig` and the others make it.

    Parameters
    ----------
    given : mapping, optional
        Options, with `model` among them where it is not AutoRec.
    **options
        More of them.

    Raises
    ------
    ConfigError
        If a value or a combination is not allowed, or an option is another
        model's or has no effect. What a preset sets may have none.
    """
    options = {**(given or {}), **options}
    config = build_config(options)
    check_needs(config, [name for name, value in options.items() if value is not None])
    return config


def build_config(given: Mapping[str, Any]) -> RunConfig:
    """As `make_config`, but an option may have no effect."""
    model = given.get("model", RunConfig.model)
    config = model_class(model)

    for name in given:
        owners = [other for other, found in models().items() if has_option(found, name)]
        if owners and model not in owners:  # where nobody has it, the configuration says so
            others = " and ".join([f"`model={owners[0]}`", *owners[1:]])
            raise ConfigError(
                f"`{name}` is an option of {others}: "
                f"`model={model}` has no such thing; leave it out"
            )

    return config(**given)


def has_option(config: type[RunConfig], name: str) -> bool:
    """Return whether a model has an option of this name."""
    return name in config.__dataclass_fields__

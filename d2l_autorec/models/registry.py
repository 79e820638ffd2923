"""The models by name: those of this package, in the folder catalog, and those of others.

A model is one file: a dataclass of its options, registered under the name that `--model` takes.
Every command works with it (run, tune, report, compare, recommend, export, serve), `--help` has its
options, and no other file knows it. A model that is computed at once has the method `fit`:

    from dataclasses import dataclass

    from d2l_autorec.models.kinds import ClickModel
    from d2l_autorec.models.options import AT_LEAST_1, Among, Span, option
    from d2l_autorec.models.registry import register

    @register("together")
    @dataclass(frozen=True)
    class Together(ClickModel):
        least: int = option(2, "users that an item has to share", AT_LEAST_1, space=Span(1, 9))
        about, at_once = "items that were clicked together", True

        def fit(self, matrix):  # csr_matrix, users x items
            import numpy as np
            from d2l_autorec.models.vectors import Linear

            shared = (matrix.T @ matrix).toarray()
            np.fill_diagonal(shared, 0)
            weights = np.where(shared < self.least, 0, shared).astype("float32")
            return Linear(weights, np.zeros(len(weights), "float32"))  # row @ weights + biases

A model that is trained has the method `network`, which returns a Gluon block that maps rows to
rows; its layers must be given their input sizes (`in_units`, `in_channels`). It is trained on dense
batches. If it is a sequence of layers that ends in Dense, similar items and an export work, too:

    @register("deep")
    @dataclass(frozen=True)
    class Deep(ClickModel):
        units: int = option(200, "hidden units", AT_LEAST_1, space=Among((100, 200, 400)))
        logits = True
        presets = {"best": {"lr": 0.01, "epochs": 50}}

        def network(self, data):  # Clicks, or Ratings
            from mxnet.gluon import nn

            net = nn.HybridSequential()
            net.add(nn.Dense(self.units, in_units=data.num_items, activation="tanh"))
            net.add(nn.LayerNorm(in_channels=self.units))
            net.add(nn.Dense(data.num_items, in_units=self.units))
            return net

`RatingModel` is the base of models that predict ratings. An option of the base class gets another
default by its annotation and value, as in `epochs: int = 50`. `kinds.RunConfig` lists what else a
model may define: its loss (`make_loss`), its weight decay, what it reads. Import MXNet and NumPy
within the methods, as `--help` imports the file. A package offers its models by an entry point; in
its pyproject.toml, beside name and version:

    [project.entry-points."d2l_autorec.models"]
    mine = "my_package.my_models"

To try something out, `train_model(config, train, test, net=, loss=, callbacks=)` takes a network, a
loss and callbacks without a registration.
"""

import copy
import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..support.errors import ConfigError, did_you_mean, warn
from . import catalog
from .kinds import RunConfig
from .options import Options, brief, check_needs

ENTRY_POINTS = "d2l_autorec.models"
TASKS = ("rating", "ranking")

_registered: dict[str, type[RunConfig]] = {}
Model = TypeVar("Model", bound=RunConfig)


def register(name: str) -> Callable[[type[Model]], type[Model]]:
    """Return a decorator that registers a dataclass of options as the model of this name."""

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
    """Return the models of one task, or all, by name.

    Those for ratings come first; of each task, those that are trained; then they are sorted.
    """
    _load()
    found = [(name, of) for name, of in sorted(_registered.items()) if task in (None, of.task)]
    return dict(sorted(found, key=lambda pair: (TASKS.index(pair[1].task), pair[1].at_once)))


def model_class(name: Any) -> type[RunConfig]:
    """Return the class of a model's options; raise ConfigError if no model has this name."""
    if not isinstance(name, str) or name not in models():
        raise ConfigError(
            f"`model` is {brief(name)}: it must be one of {', '.join(models())}"
            f"{did_you_mean(str(name), models())}"
        )
    return _registered[name]


@cache
def _load() -> None:
    """Import the files of the folder catalog, and the models that installed packages offer."""
    for file in pkgutil.iter_modules(catalog.__path__):
        importlib.import_module(f"{catalog.__name__}.{file.name}")

    installed = (Path(folder).glob("*-info/entry_points.txt") for folder in sys.path)
    if not any(ENTRY_POINTS in file.read_text() for files in installed for file in files):
        return  # importlib.metadata would take a third of the time of --help to load

    from importlib import metadata

    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:  # every other model can be used
            text = f"{type(error).__name__}: {error}"
            warn(f"the models of {point.value} cannot be loaded ({text}): mend that package")


def compared_rows(task: str) -> dict[str, Options]:
    """Return the rows of a report on the models of a task, label to options, baseline first."""
    found = [config for config in models(task).values() if config.compared != {}]
    found.sort(key=lambda config: config.is_baseline)
    rows: dict[str, Options] = {}
    for config in reversed(found):  # simple models come last in the list
        own = config.compared or {config.model: {}}
        best = {"preset": "best"} if "best" in config.presets else {}
        rows |= {label: {"model": config.model, **best, **own[label]} for label in own}
    return rows


def make_config(given: Mapping[str, Any] | None = None, /, **options: Any) -> RunConfig:
    """Return the configuration of a model: an `AutoRecConfig`, `MFConfig` and so on.

    Parameters
    ----------
    given : mapping, optional
        Options by name; `model` names the model, by default AutoRec.
    **options
        More options, which override those in `given`.

    Raises
    ------
    ConfigError
        If a value or a combination is not allowed, or an option belongs to
        another model or has no effect. An option that a preset sets may have none.
    """
    options = {**options_in(given or {}), **options}
    config = build_config(options)
    check_needs(config, [name for name, value in options.items() if value is not None])
    return config


def options_in(given: Any) -> Mapping[str, Any]:
    """Return options that are given in place of a configuration; raise ConfigError for others."""
    if isinstance(given, Mapping):
        return given
    raise ConfigError(
        f"config is a {type(given).__name__}: it must be a configuration, as MFConfig(), or a dict "
        "of options; ratings are given as `train`"
    )


def build_config(given: Mapping[str, Any]) -> RunConfig:
    """Return the configuration as `make_config` does, but allow options that have no effect."""
    model = given.get("model", RunConfig.model)
    config = model_class(model)

    for name in given:
        owners = [other for other, found in models().items() if has_option(found, name)]
        if owners and model not in owners:  # an option of no model is refused by the class below
            others = " and ".join([f"`model={owners[0]}`", *owners[1:]])
            raise ConfigError(
                f"`{name}` is an option of {others}: "
                f"`model={model}` has no such thing; leave it out"
            )

    return config(**given)


def has_option(config: type[RunConfig], name: str) -> bool:
    """Return whether a model has an option of this name."""
    return name in config.__dataclass_fields__

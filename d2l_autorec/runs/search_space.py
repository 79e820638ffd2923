"""The options of each model that a search varies, and the presets that it begins with."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from ..models.kinds import RunConfig
from ..models.options import Among, Options, Shares, Span, has_effect, shown
from ..models.registry import build_config, has_option, make_config, model_class, models
from ..support.errors import ConfigError
from ..support.machine import DISTRIBUTED

NOT_SEARCHED = ("out", "quiet", "json")  # options of the search itself
DIGITS = 3  # significant digits of a number that is tried

Space: TypeAlias = Span | Among


@dataclass(frozen=True)
class Candidate:
    """A model in a search.

    Parameters
    ----------
    model : str
        The model's name.
    fixed : dict
        Options that are not searched: those that were given, and those that every trial needs.
    base : RunConfig
        The preset that the search starts from, with the fixed options.
    spaces : dict
        Name of an option to the values that are tried for it.
    """

    model: str
    fixed: Options
    base: RunConfig
    spaces: Mapping[str, Space]

    def presets(self) -> list[str]:
        """Return the presets to try first, beginning with the base."""
        others = [] if "preset" in self.fixed else self.base.preset_names()
        return list(dict.fromkeys([self.base.preset, *others]))

    def preset_parameters(self) -> dict[str, Any]:
        """Return the base as a point of the space, without options that lie outside of it."""
        point = {}
        for name, space in self.spaces.items():
            value = getattr(self.base, name)
            if isinstance(space, Among):
                if shown(value) in map(shown, space.values):
                    point[self.parameter(name)] = shown(value)
                continue

            number = value[0] if isinstance(value, tuple) else value  # a share is of one layer
            if space.low <= number <= space.high:
                point[self.parameter(name)] = number
        return point

    def parameter(self, option: str) -> str:
        """Return an option's name in the study, which tells models apart."""
        return f"{self.model}.{option}"

    def options_of(self, trial: Any, preset: str | None = None) -> Options:
        """Return the options that an `optuna.Trial` chooses, or those of a preset."""
        options = {**self.fixed, "preset": preset or self.base.preset}
        if preset not in (None, self.base.preset):
            return options

        point = self.preset_parameters()
        for name, space in self.spaces.items():
            if preset is None or self.parameter(name) in point:
                options[name] = self._suggested(trial, name, space)
        return options

    def _suggested(self, trial: Any, name: str, space: Space) -> Any:
        """Return the value that a trial chooses for an option."""
        parameter = self.parameter(name)
        if isinstance(space, Among):
            by_text = {shown(value): value for value in space.values}
            return by_text[trial.suggest_categorical(parameter, list(by_text))]

        if self.base.__dataclass_fields__[name].type is int:
            return trial.suggest_int(parameter, int(space.low), int(space.high), log=space.log)
        value = trial.suggest_float(parameter, space.low, space.high, log=space.log)
        return float(f"{value:.{DIGITS}g}")


def candidates_of(given: Mapping[str, Any], kind: str = "rating") -> list[Candidate]:
    """Return the models of a search, as the given options ask for.

    Parameters
    ----------
    given : mapping
        Options as `make_config` takes them, which are fixed. At least one of the models must have
        each. `model` may name several, separated by commas.
    kind : {'rating', 'ranking'}
        The kind of the models if `model` names none.

    Raises
    ------
    ConfigError
        If none of the models has an option, or it has an effect on none.
    """
    options = {name: value for name, value in given.items() if name not in NOT_SEARCHED}
    if options.get("kvstore") in DISTRIBUTED:
        raise ConfigError(
            f"`kvstore={options['kvstore']}` and a search exclude each other: a trial is a "
            "training of one process"
        )

    if options.get("from_"):
        raise ConfigError("`from_` and a search exclude each other: search on all ratings")

    wanted = _named(options.pop("model")) if "model" in options else searched(kind)
    found = [_candidate(model, options) for model in wanted]
    used = {name for candidate in found for name in candidate.fixed}
    for name, value in options.items():
        if name not in used:
            make_config({"model": wanted[0], name: value})  # says what is wrong with it
    return found


def searched(kind: str) -> list[str]:
    """Return the names of a kind's models that a search tries: those that a report compares."""
    return [name for name, config in models(kind).items() if config.compared != {}]


def _named(text: str) -> list[str]:
    """Return the models that a text names, separated by commas."""
    named = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if len({model_class(model).task for model in named}) > 1:
        raise ConfigError(
            f"`model={text}` names models of ratings and models of clicks: search them apart"
        )
    return named


def _candidate(model: str, given: Options) -> Candidate:
    """Return a model of a search, with those of the given options that it has."""
    config = model_class(model)
    fixed = {name: value for name, value in given.items() if has_option(config, name)}
    fixed["model"] = model
    if fixed.get("preset") not in config.preset_names():
        fixed.pop("preset", None)

    if config.task == "rating":
        fixed = {"val_ratio": 0.1, "refit": True, **fixed}
        if not fixed["val_ratio"]:
            raise ConfigError(
                "`val_ratio=0` leaves no validation ratings, which decide a search: leave it out"
            )

    base = build_config({"preset": config.best_preset(fixed), **fixed})
    fixed = {name: value for name, value in fixed.items() if has_effect(base, name)}
    return Candidate(model, fixed, base, _spaces(base, fixed))


def _spaces(base: RunConfig, fixed: Options) -> dict[str, Space]:
    """Return the search space of every option that is not fixed and has an effect."""
    closed = {*fixed, *(other for option, other in base.in_other_units.items() if option in fixed)}
    return {
        spec.name: spec.metadata["space"]
        for spec in fields(base)
        if "space" in spec.metadata
        and spec.name not in closed
        and has_effect(base, spec.name)
        and getattr(base, spec.name) is not None
        and (spec.type != Shares or len(getattr(base, spec.name)) == 1)  # not of a share a layer
    }

"""The options of a model: on the command line, with their help, and in a file of JSON."""

import argparse
import copy
import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..models.kinds import RunConfig
from ..models.options import (
    GROUPS,
    Check,
    Fields,
    Options,
    Shares,
    Sizes,
    brief,
    has_effect,
    one_of,
    shown,
)
from ..models.registry import build_config
from ..support.cli import Parser
from ..support.errors import ConfigError
from ..support.files import read_json
from ..support.texts import flag
from .folder import config_of

SOURCES = ("dataset", "ratings", "train", "test")
# options that a run does not inherit from another: the titles are with the other's ratings
OF_A_RUN = (*SOURCES, "titles", "from_", "anew")
OF_A_SOURCE = (*SOURCES, "columns", "separator", "quotes", "duplicates", "scale", "titles")
METAVARS: dict[object, str] = {int: "N", int | None: "N", float: "X", float | None: "X"}
METAVARS |= {Sizes: "N,...", Shares: "X,..."}
NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|-?inf|nan")


def check_same_options(began: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError for given options that differ from those that the run began with."""
    wrong = [
        f"`{name}={shown(value)}` (was {shown(began.get(name, 'not there'))})"
        for name, value in given.items()
        if name not in began or began[name] not in (value, (value,))  # one of several sizes
    ]
    if wrong:
        raise ConfigError(
            f"the run in {path} goes on as it began, but these differ: {', '.join(wrong)}; "
            "leave them out, or begin a new run"
        )


def own_options(config: RunConfig) -> Options:
    """Return a model, and the options, but for output, that make a configuration of its preset."""
    own: Options = {"model": config.model}
    while lost := _lost(config, own):
        own |= lost
    return own


def _lost(config: RunConfig, own: Options) -> Options:
    """Return the options of a configuration that its preset and `own` options do not make."""
    again = build_config({"preset": config.preset, **own})
    lost = {}
    for spec in dataclasses.fields(config):
        name, value = spec.name, getattr(config, spec.name)
        if spec.metadata["group"] == "output" or value == getattr(again, name):
            continue
        if value is None:  # the option in another unit displaces it
            displacing = {other: option for option, other in config.in_other_units.items()}
            name = displacing.get(name, name)
        lost[name] = getattr(config, name)
    return {name: value for name, value in lost.items() if name not in own}


def as_texts(options: Options) -> dict[str, str | bool]:
    """Return options as `as_command` takes them, without those that are None."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: v if isinstance(v, bool) else shown(v) for name, v in given.items()}


def overridden(path: Path, given: Options) -> Options:
    """Return a JSON file's options updated by those given; other ratings replace the file's.

    The file may be the config.json of a run, which is begun anew.

    Raises
    ------
    DataError
        If the file cannot be read, or holds no JSON object.
    """
    options = read_json(path, "name a file of options, as best.json of d2l_autorec.tune")
    if "options" in options:
        refuse_objects(path, options.get("given", ()))
        began = config_of(options, path)
        own = own_options(began)
        options = {name: own[name] for name in own if has_effect(began, name)}
        options["preset"] = began.preset
    if any(name in given for name in SOURCES):
        options = {name: value for name, value in options.items() if name not in OF_A_SOURCE}
    return {**options, **given}


def refuse_objects(path: Path, given: Iterable[str]) -> None:
    """Raise ConfigError if a run was given objects in Python, which no command has."""
    if names := ", ".join(given):
        raise ConfigError(f"{path}: this run was given objects in Python ({names}): go on there")


def going_on(began: RunConfig, given: Mapping[str, Any], model: str) -> RunConfig:
    """Return the options of a run that goes on from another one, updated by those given.

    Raises
    ------
    ConfigError
        If the model is another one, or the options are not possible.
    """
    if model != began.model:
        raise ConfigError(
            f"`model={model}` cannot go on from a run of `model={began.model}`: leave one out"
        )

    own = {**own_options(began), "preset": began.preset}
    displaced = {began.in_other_units.get(name) for name in given}
    left = own.keys() - {*OF_A_RUN, *displaced}
    options = {name: value for name, value in own.items() if name in left}
    if not (began.at_once or given.get("anew")):
        options |= began.warm
    return build_config({**options, **given})


def add_options(parser: Parser, configs: Mapping[str, type[RunConfig]]) -> None:
    """Add an option to `parser` for each field of any of the dataclasses, in groups.

    An option that is not given leaves no attribute: the dataclass has the default. With several
    dataclasses, --help shows the common options, and --help-all every one; with a single one,
    --help shows all of its options, and no others can be given.

    Parameters
    ----------
    parser : Parser
    configs : dict
        Model name to its dataclass; the first is the default model.
    """
    single = len(configs) == 1
    if not single:
        parser.add_help_all()
    groups = {name: parser.add_argument_group(name) for name in GROUPS}

    declared: dict[str, Fields] = {}  # option to its fields, by model
    for model, config in configs.items():
        for spec in dataclasses.fields(config):
            if all(need.met(config) for need in spec.metadata["needs"] if need.of_model):
                declared.setdefault(spec.name, {})[model] = spec
    declared["model"] = {model: _model_option(configs) for model in configs}
    declared["preset"] = {
        model: _changed(spec, check=one_of(tuple(configs[model].preset_names())))
        for model, spec in declared["preset"].items()
    }

    for name, specs in declared.items():
        spec = next(iter(specs.values()))
        action = _add_option(groups[spec.metadata["group"]], specs, len(configs))
        common = spec.metadata.get("common", "")
        if not single:
            action.brief = _help(specs, common) if common else ""
        elif name == "model":  # whose help it is
            action.brief = ""


def _model_option(configs: Mapping[str, type[RunConfig]]) -> dataclasses.Field:
    """Return the option that names a model, with a description of each model."""
    about, names = [], []
    for task, head in (("rating", ""), ("ranking", "Of clicks: ")):
        own = {name: config.about for name, config in configs.items() if config.task == task}
        names.append(", ".join(own))
        if own:
            about.append(head + "; ".join(f"{n}: {text}" if text else n for n, text in own.items()))

    return _changed(
        next(iter(configs.values())).__dataclass_fields__["model"],
        help=". ".join(about),
        common="of ratings: {}; of clicks: {}".format(*names),
        metavar="NAME",
        check=one_of(tuple(configs)),
    )


def _changed(spec: dataclasses.Field, **meta: Any) -> dataclasses.Field:
    """Return a copy of a field with other metadata."""
    spec = copy.copy(spec)
    spec.metadata = MappingProxyType({**spec.metadata, **meta})
    return spec


def model_of_help(argv: Sequence[str] | None) -> str | None:
    """Return the model whose help is asked for, as by `--model mf --help` in any order, or None."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not {"--help", "-h"} & {*words}:
        return None

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model", nargs="?")
    return parser.parse_known_args(words)[0].model


def add_option_of(parser: argparse._ActionsContainer, config: type[RunConfig], name: str) -> None:
    """Add the option of a single field to another command; its default is None."""
    _add_option(parser, {"": config.__dataclass_fields__[name]}, 1)
    parser.set_defaults(**{name: None})


def _add_option(group: argparse._ActionsContainer, specs: Fields, models: int) -> Any:
    spec = next(iter(specs.values()))
    given: dict[str, Any] = {"dest": spec.name, "default": argparse.SUPPRESS}
    if spec.type is bool:
        given["action"] = argparse.BooleanOptionalAction
    else:
        metavar = spec.metadata.get("metavar", _metavar(spec))
        given |= {"type": parser_of(spec.type), "metavar": metavar}
    help = _help(specs, _described(specs, models))
    return group.add_argument(flag(spec.name), help=help, **given)


def _help(specs: Fields, text: str) -> str:
    """Return an option's help as argparse wants it, with its defaults or allowed values."""
    spec = next(iter(specs.values()))
    text = text.replace("%", "%%")  # argparse formats it
    check = spec.metadata["check"]
    if spec.default is not None:
        return f"{text} [{_defaults(specs)}]"
    return text if check is None else f"{text}; {check.allowed}"


def _described(specs: Fields, models: int) -> str:
    """Return the description of an option, with its models if it is not for all."""
    by_text = _grouped(specs, lambda spec: spec.metadata["help"])
    if len(by_text) == 1 and len(specs) == models:
        return next(iter(by_text))
    return ". ".join(f"{', '.join(owners)}: {text}" for text, owners in by_text.items())


def _defaults(specs: Fields) -> str:
    """Return an option's defaults: '25', or '25; mf: 20' if models differ."""
    first = next(iter(specs.values())).default
    if isinstance(first, bool):
        return "yes" if first else "no"

    usual, *others = by_default = _grouped(specs, lambda spec: shown(spec.default))
    return "; ".join([usual, *(f"{', '.join(by_default[value])}: {value}" for value in others)])


def _grouped(specs: Fields, of: Callable[[dataclasses.Field], str]) -> dict[str, list[str]]:
    """Return each text that `of` gives for a model's field, with the models that have it."""
    groups: dict[str, list[str]] = {}
    for model, spec in specs.items():
        groups.setdefault(of(spec), []).append(model)
    return groups


def _metavar(spec: dataclasses.Field) -> str:
    check = spec.metadata["check"]
    if check is not None and check.choices:
        return "{" + ",".join(check.choices) + "}"
    return METAVARS.get(spec.type, "TEXT")


def parser_of(annotation: Any) -> Callable[[str], Any]:
    """Return the function by which argparse parses a value of this type."""
    if annotation == int | str:
        return lambda text: int(text) if _is_whole(text) else text
    if annotation in (Sizes, Shares):
        one = _whole_number if annotation == Sizes else _number
        return lambda text: tuple(map(one, text.split(","))) if "," in text else one(text)
    return {"N": _whole_number, "X": _number}.get(METAVARS.get(annotation, ""), str)


def whole_number(check: Check) -> Callable[[str], int]:
    """Return the function by which argparse parses a whole number that must pass `check`."""

    def parse(text: str) -> int:
        if _is_whole(text) and check.accepts(int(text)):
            return int(text)
        raise argparse.ArgumentTypeError(
            f"it is {brief(text)!r}: it must be a whole number, {check.allowed}"
        )

    return parse


def _is_whole(text: str) -> bool:
    """Return whether a text is ASCII digits; int() also takes 1_000 and digits of other scripts."""
    return re.fullmatch("-?[0-9]{1,4000}", text) is not None


def _whole_number(text: str) -> int:
    if not _is_whole(text):
        raise argparse.ArgumentTypeError(f"{brief(text)!r} is not a whole number")
    return int(text)


def _number(text: str) -> float:
    if not NUMBER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{brief(text)!r} is not a number")
    return float(text)

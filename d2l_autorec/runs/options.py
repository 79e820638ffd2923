"""The options of a model on the command line, and their help."""

import argparse
import copy
import dataclasses
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..models.kinds import RunConfig
from ..models.options import (
    GROUPS,
    Check,
    Fields,
    Need,
    OptionFields,
    Shares,
    Sizes,
    brief,
    one_of,
    shown,
)
from ..support.cli import Parser
from ..support.errors import ConfigError
from ..support.flags import flag

METAVARS: dict[object, str] = {int: "N", float: "X", Sizes: "N,...", Shares: "X,..."}
NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|-?inf|nan")


def check_same_options(began: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError for options that are not those that the run in a folder began with."""
    wrong = [
        f"`{name}={shown(value)}` (was {shown(began.get(name, 'not there'))})"
        for name, value in given.items()
        if name not in began or value != began[name]
    ]
    if wrong:
        raise ConfigError(
            f"the run in {path} goes on as it began, but these differ: {', '.join(wrong)}; "
            "leave them out, or begin a new run"
        )


def add_options(parser: Parser, configs: Mapping[str, type[RunConfig]]) -> None:
    """Give `parser` one option for each field of any of the dataclasses, in groups.

    An option that is not given leaves no attribute: the dataclass has the default. Of several
    dataclasses --help shows the common options, and --help-all every one; of a single one
    --help shows those that concern it, and no others can be given.

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
        usual = config()
        for spec in dataclasses.fields(config):
            if _concerns(usual, spec):
                declared.setdefault(spec.name, {})[model] = spec

    for name, specs in declared.items():
        if name == "model":
            specs = {model: _model_option(configs) for model in configs}
        group = _first(specs).metadata["group"]
        action = _add_option(groups[group], specs, len(configs))

        if not single:
            action.brief = _brief_help(specs)
        elif name == "model":  # whose help it is
            action.brief = ""


def _model_option(configs: Mapping[str, type[RunConfig]]) -> dataclasses.Field:
    """Return the option that names a model, with what each of them is."""
    tasks = {"rating": "", "ranking": "Of clicks: "}
    kinds = []
    for task, head in tasks.items():
        found = {name: config.about for name, config in configs.items() if config.task == task}
        about = [f"{name}: {what}" if what else name for name, what in found.items()]
        if about:
            kinds.append(head + "; ".join(about))

    of_ratings = [name for name, config in configs.items() if config.task == "rating"]
    spec = copy.copy(next(iter(configs.values())).__dataclass_fields__["model"])
    spec.metadata = MappingProxyType(
        {
            **spec.metadata,
            "help": ". ".join(kinds),
            "common": f"{', '.join(of_ratings)}: of ratings; the others: of clicks",
            "check": one_of(tuple(configs)),
        }
    )
    return spec


def _concerns(config: OptionFields, spec: dataclasses.Field) -> bool:
    """Whether an option can have an effect on a model, whatever the other options say."""
    needs: tuple[Need, ...] = spec.metadata["needs"]
    return all(need.met(config) for need in needs if need.of_model)


def model_of_help(argv: Sequence[str] | None) -> str | None:
    """The model whose help is asked for, as in `--model mf --help`, in any order."""
    if argv is None:
        argv = sys.argv[1:]
    if "--help" not in argv and "-h" not in argv:
        return None

    for word, next_word in zip(argv, [*argv[1:], None]):
        name, _, value = word.partition("=")
        if name == "--model":
            return value or next_word
    return None


def add_option_of(
    parser: argparse._ActionsContainer, config: type[OptionFields], name: str
) -> None:
    """The option of a single field, for another command; None where it is not given."""
    _add_option(parser, {"": config.__dataclass_fields__[name]}, 1)
    parser.set_defaults(**{name: None})


def _first(specs: Fields) -> dataclasses.Field:
    return next(iter(specs.values()))


def _add_option(group: argparse._ActionsContainer, specs: Fields, models: int) -> Any:
    spec = _first(specs)
    help_text = _help(specs, _described(specs, models))

    if spec.type is bool:
        return group.add_argument(
            flag(spec.name),
            action=argparse.BooleanOptionalAction,
            dest=spec.name,
            default=argparse.SUPPRESS,
            help=help_text,
        )

    action: Any = group.add_argument(  # with an attribute that only our parser knows
        flag(spec.name),
        dest=spec.name,
        type=parser_of(spec.type),
        help=help_text,
        metavar=spec.metadata.get("metavar", _metavar(spec)),
        default=argparse.SUPPRESS,
    )
    action.blank = spec.metadata.get("blank", False)
    return action


def _brief_help(specs: Fields) -> str:
    """What the first screen of the help says of an option; '' of one that is not common."""
    text = _first(specs).metadata.get("common", "")
    if not text:
        return ""
    return _help(specs, text)


def _help(specs: Fields, text: str) -> str:
    """The help of an option as argparse wants it, with its defaults or what is allowed."""
    spec = _first(specs)
    text = text.replace("%", "%%")  # argparse formats it
    check = spec.metadata["check"]
    defaults = _defaults(specs)

    if defaults:
        return f"{text} [{defaults}]"
    if check is not None and spec.type is not bool:
        return f"{text}; {check.allowed}"
    return text


def _described(specs: Fields, models: int) -> str:
    """What an option is, with the models that it is for where it is not for all."""
    by_text: dict[str, list[str]] = {}
    for model, spec in specs.items():
        by_text.setdefault(spec.metadata["help"], []).append(model)

    if len(by_text) == 1 and len(specs) == models:
        return next(iter(by_text))
    return ". ".join(f"{', '.join(owners)}: {text}" for text, owners in by_text.items())


def _defaults(specs: Fields) -> str:
    """'25', or '25; mf: 20' where models differ; '' where there is none."""
    first = _first(specs).default
    if first is None:
        return ""
    if first is True:
        return "yes"
    if first is False:
        return "no"

    others: dict[str, list[str]] = {}  # value to models
    for model, spec in specs.items():
        if spec.default != first and spec.name != "model":
            others.setdefault(shown(spec.default), []).append(model)

    listed = [f"{', '.join(models)}: {value}" for value, models in others.items()]
    return "; ".join([shown(first), *listed])


def _metavar(spec: dataclasses.Field) -> str:
    check = spec.metadata["check"]
    if check is not None and check.choices:
        return "{" + ",".join(check.choices) + "}"
    return METAVARS.get(spec.type, "TEXT")


def parser_of(annotation: object) -> Callable[[str], Any]:
    """What argparse calls for a value of this type."""
    if annotation in (int, int | None):
        return _whole_number
    if annotation in (float, float | None):
        return _number
    if annotation == int | str:
        return _whole_number_or_text
    if annotation == Sizes:
        return _whole_numbers
    if annotation == Shares:
        return _numbers
    return str


def whole_number(check: Check) -> Callable[[str], int]:
    """What argparse calls for an option that is no field of a configuration."""

    def parse(text: str) -> int:
        if not _is_whole(text) or not check.accepts(int(text)):
            raise argparse.ArgumentTypeError(
                f"it is {brief(text)!r}: it must be a whole number, {check.allowed}"
            )
        return int(text)

    return parse


def _is_whole(text: str) -> bool:
    """Digits alone: int() would also take 1_000, blanks and the digits of other scripts."""
    return re.fullmatch("-?[0-9]{1,4000}", text) is not None and text != "-0"


def _whole_number(text: str) -> int:
    if not _is_whole(text):
        raise argparse.ArgumentTypeError(f"{brief(text)!r} is not a whole number")
    return int(text)


def _whole_number_or_text(text: str) -> int | str:
    if _is_whole(text):
        return int(text)
    return text


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(_whole_number(part) for part in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split(","))


def _number(text: str) -> float:
    if not NUMBER.fullmatch(text) or text.startswith("-") and float(text) == 0:
        raise argparse.ArgumentTypeError(f"{brief(text)!r} is not a number")
    return float(text)

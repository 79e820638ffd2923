"""Fields of a configuration that are also command-line options.

A field is declared once: its default, its range, its help text and its group.
"""

import argparse
import dataclasses
from dataclasses import field
from typing import (Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union, get_args,
                    get_origin)

from .errors import ConfigError

GROUPS = ("data", "model", "training", "devices", "output")
Sizes, Shares = Tuple[int, ...], Tuple[float, ...]  # as in 500,250,500 and 0.5,0


class Check(NamedTuple):
    """A test of a value, and what is allowed in words."""

    accepts: Callable[[Any], bool]
    allowed: str


AT_LEAST_0 = Check(lambda v: v >= 0, "at least 0")
AT_LEAST_1 = Check(lambda v: v >= 1, "at least 1")
DEVICES = Check(lambda v: 1 <= v <= 64, "from 1 to 64")
THREADS = Check(lambda v: 1 <= v <= 512, "from 1 to 512")
POSITIVE = Check(lambda v: 0 < v < float("inf"), "above 0 and finite")
PENALTY = Check(lambda v: 0 <= v < float("inf"), "0 or more and finite")
RATIO = Check(lambda v: 0 < v < 1, "between 0 and 1, both excluded")
DROPOUT = Check(lambda v: len(v) == 1 and 0 <= v[0] < 1, "one number, at least 0 and below 1")
SHARES = Check(lambda v: v and all(0 <= share < 1 for share in v), "at least 0 and below 1, each")
HELD_OUT = Check(lambda v: 0 < v < 0.5 or v >= 1 and v == int(v),
                 "a number of users from 1, or a fraction below 0.5")
SIZES = Check(lambda v: v and all(size >= 1 for size in v), "whole numbers of at least 1")
SEED = Check(lambda v: 0 <= v < 2**31, "from 0 to 2147483647")


def one_of(choices: tuple) -> Check:
    """The check that a value is one of `choices`."""
    return Check(lambda v: v in choices, "one of " + ", ".join(map(str, choices)))


def option(default: Any, group: str, help: str, check: Optional[Check] = None, **meta: Any) -> Any:
    """A dataclass field that is also a command-line option."""
    return field(default=default,
                 metadata=dict(group=group, help=help, check=check, **meta))


def redefault(config: type, name: str, default: Any, source: str = "") -> Any:
    """The option `name` of `config` with another default, for a dataclass that inherits it."""
    spec = config.__dataclass_fields__[name]
    return field(default=default, metadata={**spec.metadata, "source": source})


def check_values(config: Any) -> None:
    """Raise ConfigError, one line, for the first value that is out of its range."""
    for spec in dataclasses.fields(config):
        check, value = spec.metadata["check"], getattr(config, spec.name)
        if check is not None and value is not None and not check.accepts(value):
            raise ConfigError(f"{flag(spec.name)} is {shown(value)}: it must be {check.allowed}")


def is_of(value: Any, annotation: Any) -> bool:
    """Whether a value from JSON, which has lists only, is of a field's type."""
    kinds = get_args(annotation)
    if get_origin(annotation) is Union:
        return any(is_of(value, kind) for kind in kinds)
    if get_origin(annotation) is tuple:
        return isinstance(value, list) and all(is_of(part, kinds[0]) for part in value)
    if annotation in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if annotation is float else annotation)


def flag(name: str) -> str:
    """The option of a field: num_hidden is --num-hidden."""
    return "--" + name.replace("_", "-")


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def add_options(parser: argparse.ArgumentParser, configs: Dict[str, type]) -> None:
    """Give `parser` one option for each field of any of the dataclasses, in groups.

    An option that is not given leaves no attribute: the dataclass has the default.

    Parameters
    ----------
    parser : ArgumentParser
    configs : dict
        Model name to its dataclass; the first is the default model.
    """
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    declared: Dict[str, Dict[str, dataclasses.Field]] = {}
    for model, config in configs.items():
        for spec in dataclasses.fields(config):
            declared.setdefault(spec.name, {})[model] = spec
    for specs in declared.values():
        _add_option(groups[next(iter(specs.values())).metadata["group"]], specs, len(configs))


def add_option_of(parser: argparse.ArgumentParser, config: type, name: str) -> None:
    """The option of a single field, for another command; None where it is not given."""
    _add_option(parser, {"": config.__dataclass_fields__[name]}, 1)
    parser.set_defaults(**{name: None})


def _add_option(group: Any, specs: Dict[str, dataclasses.Field], models: int) -> None:
    spec = next(iter(specs.values()))
    names = flag(spec.name)
    help_text = _help(specs, models).replace("%", "%%")  # argparse formats it
    check, defaults = spec.metadata["check"], _defaults(specs)
    if defaults:
        help_text += f" [{defaults}]"
    elif check is not None and spec.type is not bool:
        help_text += f"; {check.allowed}"
    if spec.type is bool:
        group.add_argument(names, action=argparse.BooleanOptionalAction, dest=spec.name,
                           default=argparse.SUPPRESS, help=help_text)
        return
    group.add_argument(names, dest=spec.name, type=_parser_of(spec.type), help=help_text,
                       metavar=spec.metadata.get("metavar", _metavar(spec)),
                       default=argparse.SUPPRESS)


def _help(specs: Dict[str, dataclasses.Field], models: int) -> str:
    """The help of an option, with the models that it is for where it is not for all."""
    by_text: Dict[str, List[str]] = {}
    for model, spec in specs.items():
        by_text.setdefault(spec.metadata["help"], []).append(model)
    if len(by_text) == 1 and len(specs) == models:
        return next(iter(by_text))
    return ". ".join(f"{', '.join(owners)}: {text}" for text, owners in by_text.items())


def _defaults(specs: Dict[str, dataclasses.Field]) -> str:
    """'25', or '25; mf 20' where models differ; '' where there is none."""
    first = next(iter(specs.values())).default
    if first is None:
        return ""
    if isinstance(first, bool):
        words = {True: "yes", False: "no"}
        return words[first]
    others: Dict[str, List[str]] = {}
    for model, spec in specs.items():
        if spec.default != first and spec.name != "model":
            others.setdefault(shown(spec.default), []).append(model)
    return "; ".join([shown(first), *(f"{', '.join(models)}: {value}"
                                      for value, models in others.items())])


def _metavar(spec: dataclasses.Field) -> str:
    check = spec.metadata["check"]
    if check is not None and check.allowed.startswith("one of "):
        return "{" + check.allowed[len("one of "):].replace(", ", ",") + "}"
    return {int: "N", float: "X", Sizes: "N,...", Shares: "X,..."}.get(spec.type, "TEXT")


def _parser_of(annotation: Any) -> Callable[[str], Any]:
    if annotation in (int, Optional[int]):
        return _whole_number
    if annotation in (float, Optional[float]):
        return _number
    if annotation == Sizes:
        return _whole_numbers
    if annotation == Shares:
        return _numbers
    return str


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _whole_numbers(text: str) -> Tuple[int, ...]:
    return tuple(_whole_number(part) for part in text.split(","))


def _numbers(text: str) -> Tuple[float, ...]:
    return tuple(_number(part) for part in text.split(","))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None

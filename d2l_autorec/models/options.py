"""The fields of a model that are also command-line options: defaults, ranges and help texts.

A field is declared once. This module imports neither NumPy nor argparse, so that --help is quick.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from functools import cache, partial
from numbers import Integral, Real
from typing import Any, NamedTuple, NoReturn, TypeAlias

from ..support.errors import ConfigError, can_be_heldout, did_you_mean, refuse_blank, shortened

GROUPS = ("data", "model", "training", "devices", "output")
Sizes: TypeAlias = tuple[int, ...]  # as in 500,250,500
Shares: TypeAlias = tuple[float, ...]  # as in 0.5,0
KINDS = (
    ((bool,), bool, "True or False"),  # comes before int, as True and False are ints, too
    ((int, int | None, Sizes), Integral, "a whole number"),
    ((float, float | None, Shares), Real, "a number"),
    ((str, str | None), str, "a text"),
    ((int | str,), (Integral, str), "a whole number, or a text"),
)
SECONDS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
Options: TypeAlias = dict[str, Any]
Fields = dict[str, "dataclasses.Field[Any]"]


class Check(NamedTuple):
    """A test of a value, and words for what is allowed.

    `choices` are the allowed words where they are few; `metavar` is what the help shows for a value
    of an unusual kind.
    """

    accepts: Callable[[Any], bool]
    allowed: str
    choices: tuple[str, ...] = ()
    metavar: str = ""


class Span(NamedTuple):
    """The range of numbers that a search tries for an option, perhaps on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


class Among(NamedTuple):
    """The values that a search tries for an option."""

    values: tuple[Any, ...]


class Need(NamedTuple):
    """A condition under which an option has an effect.

    `reason` says why it has none otherwise, `remedy` what would give it one. Both are format
    strings, with the configuration as {0}. `of_model` is whether the model's class alone decides.
    """

    met: Callable[[Any], bool]
    reason: str
    remedy: str = ""
    of_model: bool = False


def when(name: str, *values: Any) -> Need:
    """Return the need that the option `name` has one of `values`; without any, that it is set."""
    if not values:
        return Need(lambda c: bool(getattr(c, name)), f"it goes with `{name}`", f"add `{name}`")

    reason = f"`{name}={{0.{name}}}` has no use for it"
    return Need(lambda c: getattr(c, name) in values, reason, f"add `{name}={values[0]}`")


def within(low: int, high: int) -> Check:
    """Return the check that a number is from `low` to `high`."""
    return Check(lambda v: low <= v <= high, f"from {low} to {high}")


def one_of(choices: tuple[str, ...]) -> Check:
    """Return the check that a value is one of `choices`."""
    return Check(lambda v: v in choices, "one of " + ", ".join(choices), choices)


def or_all(check: Check) -> Check:
    """Return the check that a value is the word all, or a number that passes `check`."""
    return Check(
        lambda v: v == "all" if isinstance(v, str) else check.accepts(v),
        f"{check.allowed}, or all",
        ("all",),
        "N|all",
    )


def seconds_of(pause: str) -> float:
    """Return the number in a text like '60s'; 0 for any other text."""
    found = SECONDS.fullmatch(pause)
    return float(found[1]) if found else 0.0


# MXNet counts in 32 bits. A rate, penalty or rating above 1e30 would only overflow float32, which
# ends at 3e38.
LARGEST, STRONGEST, MOST_LAYERS = 2**31 - 1, 1e30, 32
AT_LEAST_0, AT_LEAST_1 = within(0, LARGEST), within(1, LARGEST)
POSITIVE = Check(lambda v: 0 < v <= STRONGEST, "above 0 and at most 1e30")
PENALTY = Check(lambda v: 0 <= v <= STRONGEST, "0 or more and at most 1e30")
RATING = Check(lambda v: -STRONGEST <= v <= STRONGEST, "from -1e30 to 1e30")
FRACTION = Check(lambda v: 0 <= v < 1, "at least 0 and below 1")
RATIO = Check(lambda v: 0 < v < 1, "between 0 and 1, both excluded")
SHARES = Check(lambda v: v and all(map(FRACTION.accepts, v)), "at least 0 and below 1, each")
DROPOUT = Check(lambda v: len(v) == 1 and SHARES.accepts(v), "one number, at least 0 and below 1")
HELD_OUT = Check(
    lambda v: v <= LARGEST and can_be_heldout(v),
    f"a number of users, {LARGEST} at most, or a fraction below 0.5",
    metavar="N|FRACTION",
)
PATIENCE = Check(
    lambda v: 0 < v < 1 or (AT_LEAST_1.accepts(v) and float(v).is_integer()),
    "a whole number of epochs, or a share of all above 0 and below 1",
    metavar="N|SHARE",
)
PAUSE = Check(
    lambda v: seconds_of(v) > 0 if isinstance(v, str) else AT_LEAST_1.accepts(v),
    "epochs from 1, as in 5, or seconds above 0, as in 60s",
    metavar="N|60s",
)
SIZES = Check(
    lambda v: 0 < len(v) <= MOST_LAYERS and all(map(AT_LEAST_1.accepts, v)),
    f"whole numbers from 1 to {LARGEST}, {MOST_LAYERS} of them at most",
)


TRAINED = Need(
    lambda c: not c.at_once,
    "`model={0.model}` is computed at once, without epochs",
    "choose another `model`",
    of_model=True,
)


def option(
    default: Any,
    help: str,
    check: Check | None = None,
    *needs: Need,
    group: str = "model",
    computes: bool = True,
    common: bool = False,
    **meta: Any,
) -> Any:
    """Return a dataclass field that is also a command-line option.

    Parameters
    ----------
    default, help
        Default value, and text for the help.
    check : Check, optional
        Test that a value must pass.
    *needs : Need
        Conditions. If one is not met, the option has no effect, and is refused where it is given.
    group : str
        Heading in the help, one of `GROUPS`.
    computes : bool
        Whether another value may change what a run computes.
    common : bool
        Whether --help shows the option; --help-all shows all.
    **meta
        metavar: what the help shows for a value; blank: whether a value may be white space;
        space: the values that a search tries, a `Span` or an `Among`.
    """
    if check and check.metavar:
        meta["metavar"] = check.metavar
    about = dict(group=group, help=help, check=check, needs=needs, computes=computes, **meta)
    return field(default=default, metadata={**about, "common": help if common else ""})


data_option = partial(option, group="data")
device_option = partial(option, group="devices")
output_option = partial(option, group="output", computes=False)


def training_option(
    default: Any, help: str, check: Check | None = None, *needs: Need, **meta: Any
) -> Any:
    """Return an option in the group training that has an effect only on models that are trained."""
    return option(default, help, check, TRAINED, *needs, group="training", **meta)


def redefault(default: Any, **meta: Any) -> Any:
    """Return an option of the base class with another default, and `meta` overridden."""
    return field(default=default, metadata=meta)


def computing_options(config: Any) -> dict[str, Any]:
    """Return the values of the options that may change what a run computes."""
    return {
        spec.name: getattr(config, spec.name)
        for spec in dataclasses.fields(config)
        if spec.metadata["computes"]
    }


def settle_values(config: Any) -> None:
    """Make all values plain Python ones; raise ConfigError for the first that is not allowed."""
    for spec in dataclasses.fields(config):
        value = _plain(getattr(config, spec.name))
        if spec.type in (Sizes, Shares) and isinstance(value, Real):
            value = (value,)
        object.__setattr__(config, spec.name, value)

        if value is not None or spec.default is not None:
            _check_value(spec, value)


def _plain(value: Any) -> Any:
    """Return Python's number for one of NumPy's, and a tuple for a list or an array."""
    if hasattr(value, "tolist"):  # one of NumPy's, which is not imported here
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _check_value(spec: dataclasses.Field, value: Any) -> None:
    name, check = f"`{spec.name}`", spec.metadata["check"]
    _check_type(spec, value)

    if isinstance(value, str):
        refuse_blank(name, value, spec.metadata.get("blank", False))
    elif not all(map(_in_float32, _numbers_of(value))):
        raise ConfigError(
            f"{name} is {brief(value)}: it must be a finite number, and not closer to 0 than 1e-37"
        )

    if check is not None and not check.accepts(value):
        hint = did_you_mean(str(value), check.choices)
        raise ConfigError(f"{name} is {brief(value)}: it must be {check.allowed}{hint}")


def _check_type(spec: dataclasses.Field, value: Any) -> None:
    """Raise ConfigError for a wrong type, which a call from Python or an edited file can have."""
    _, kind, words = next(known for known in KINDS if spec.type in known[0])
    values = _numbers_of(value) if spec.type in (Sizes, Shares) else (value,)
    misplaced = kind is not bool and any(isinstance(one, bool) for one in values)
    if misplaced or not all(isinstance(one, kind) for one in values):
        raise ConfigError(f"`{spec.name}` is {value!r}: it must be {words}")


def _numbers_of(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _in_float32(value: Any) -> bool:
    """Return whether a number is finite, and not so small that float32 rounds it to 0."""
    if isinstance(value, Integral):
        return True  # whatever its size, which the option's check bounds
    return value == 0 or 1e-37 <= abs(value) < math.inf


def check_needs(config: Any, given: Iterable[str]) -> None:
    """Raise ConfigError for the first option in `given` that has no effect."""
    for name in given:
        if need := _unmet(config, name):
            advice = ", or ".join(filter(None, ["leave it out", need.remedy]))
            raise ConfigError(f"`{name}` has no effect: {need.reason}; {advice}".format(config))


def has_effect(config: Any, name: str) -> bool:
    """Return whether an option has an effect beside the values of the others."""
    return _unmet(config, name) is None


def _unmet(config: Any, name: str) -> Need | None:
    needs: tuple[Need, ...] = config.__dataclass_fields__[name].metadata["needs"]
    return next((need for need in needs if not need.met(config)), None)


def exclude(config: Any, one: str, other: str, why: str) -> NoReturn:
    """Raise ConfigError for two options that exclude each other."""
    raise ConfigError(
        f"{_written(config, one)} and {_written(config, other)} exclude each other: {why}"
    )


def _written(config: Any, name: str) -> str:
    value = getattr(config, name)
    return f"`{name}`" if value is True else f"`{name}={shown(value)}`"


def shown(value: Any) -> str:
    """Return a value as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def brief(value: Any) -> str:
    """Return a value as `shown` does, cut if it is too long for a line."""
    return shortened(shown(value))


def climb(
    score: Callable[[float, float], float], first: Sequence[float], second: Sequence[float]
) -> tuple[float, float]:
    """Climb to a pair of values whose score no neighbour on the grid beats, and return it.

    The climb begins in the middle of `first` and `second`, the values in ascending order.
    """

    @cache
    def at(row: int, column: int) -> float:
        inside = 0 <= row < len(first) and 0 <= column < len(second)
        return score(first[row], second[column]) if inside else -math.inf

    best = len(first) // 2, len(second) // 2
    while True:
        row, column = best
        near = ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
        better = next((point for point in near if at(*point) > at(*best)), None)
        if better is None:
            return first[row], second[column]
        best = better

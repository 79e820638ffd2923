"""What the environment says to this package, to MXNet and to numba.

MXNet and numba crash or hang at some values: they are checked before either is imported.
"""

import os
import re
from typing import NamedTuple

from .errors import ConfigError, refuse_blank

DISTRIBUTED = ("dist_sync", "dist_async")  # kinds of MXNet's parameter server
# What resolves: letters, digits, hyphens and underscores between dots, each part at most 63 long.
HOST = r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*"
HOW_TO_START = (
    "start with python -m d2l_autorec.launch -n WORKERS -s SERVERS -- python -m "
    "d2l_autorec.run ..., or set the DMLC_* variables yourself, see the help of d2l_autorec.launch"
)
NUMBERS = {"DMLC_PS_ROOT_PORT": 65535, "DMLC_NUM_WORKER": 1024, "DMLC_NUM_SERVER": 1024}
MAX_THREADS = 512  # far more, and OpenMP crashes
ENGINES = ("NaiveEngine", "ThreadedEngine", "ThreadedEnginePerDevice")
LAYERS = ("default", "safe", "forksafe", "threadsafe", "omp", "tbb", "workqueue")
THREADS = r"[1-9]|[1-9]\d|[1-4]\d\d|50\d|51[0-2]"
GIVEN = dict(os.environ)  # before this package adds to it
FEATURE = "[+-][^,+-][^,]*"


class Rule(NamedTuple):
    """The allowed values of variables, as regular expressions, and in words."""

    names: str
    values: str
    said: str


RULES = (  # the first that fits a name; found by giving MXNet 1.9.1's variables other values
    Rule("(OMP|NUMBA)_NUM_THREADS|MXNET_.*NTHREADS", THREADS, f"from 1 to {MAX_THREADS}"),
    Rule("OMP_STACKSIZE", r"\d{1,7}[BbKk]?|\d{1,4}[Mm]|[1-8][Gg]", "at most 8G, as in 4M"),
    Rule("NUMBA_THREADING_LAYER", "|".join(LAYERS), f"one of {', '.join(LAYERS)}"),
    Rule(
        "NUMBA_CPU_FEATURES",
        f"({FEATURE}(,{FEATURE})*)?",
        "features, each after + or -, as in +avx2,-avx512f",
    ),
    Rule("MXNET_ENGINE_TYPE", "|".join(ENGINES), f"one of {', '.join(ENGINES)}"),
    Rule(
        "MXNET_(USE_OPERATOR_TUNING|.*(TYPE|BACKEND|PATH|HOME|REPO|DIR|FILE|URL|VERSION))",
        ".*",
        "text",
    ),
    Rule(
        "MXNET_(DISABLE_MKLDNN_(FUSE_FC|QEM|QFC|QTRANSFORMER)_.*|ELIMINATE_COMMON_EXPR|"
        "ENGINE_INFO|EXEC_BULK_EXEC_TRAIN|.*VERBOSE_LOGGING|KVSTORE_LOGTREE|"
        "MKLDNN_(DEBUG|ENABLED|FORCE_FC_AB_FORMAT)|OUTPUT_TUNING_DATA|VERBOSE_TUNING_INFO)",
        "[01]",
        "0 or 1",
    ),
    Rule("MXNET_.*(THREADS|_COPY|_SIZE)", r"\d{1,9}", "a whole number, at least 0"),
    Rule("MXNET_.*(SCALE|PENALTY|FRACTION)", r"-?\d{1,9}([.]\d+)?", "a number"),
    Rule("MXNET_.*", r"-?\d{1,9}", "a whole number"),
)


def check_environment(*prefixes: str) -> None:
    """See what the variables that begin so say.

    Raises
    ------
    ConfigError
        If one of them is not what its rule allows.
    """
    for name, text in sorted(os.environ.items()):
        if not name.startswith(prefixes):
            continue

        rule = next((rule for rule in RULES if re.fullmatch(rule.names, name)), None)
        if rule and not re.fullmatch(rule.values, text, re.ASCII | re.DOTALL):
            raise ConfigError(f"{name} is {text!r}: it must be {rule.said}; correct or unset it")


def variables(prefixes: tuple[str, ...]) -> str:
    """Those that were set at the start and begin so, as NAME=VALUE, for a message."""
    begin_so = sorted(name for name in GIVEN if name.startswith(prefixes))
    return ", ".join(f"{name}={GIVEN[name]}" for name in begin_so)


def omp_threads() -> int | None:
    """OMP_NUM_THREADS, None where it is not set; see `check_environment` for errors."""
    check_environment("OMP_NUM_THREADS")

    text = os.environ.get("OMP_NUM_THREADS")
    if text is None:
        return None
    return int(text)


def variable(name: str) -> str | None:
    """The value of a variable, None where it is not set.

    Raises
    ------
    ConfigError
        If it is set and empty: something else would be chosen silently.
    """
    value = os.environ.get(name)
    if value is not None:
        refuse_blank(name, value)
    return value


def is_host(text: str) -> bool:
    """Whether a text can be a machine's name or IPv4 address."""
    return re.fullmatch(HOST, text) is not None


def check_role() -> None:
    """Raise ConfigError where MXNet would not train, but serve, as soon as it is imported."""
    role = os.environ.get("DMLC_ROLE", "worker")
    if role != "worker":
        raise ConfigError(
            f"DMLC_ROLE is {role!r}: it must be worker, or not be set; a server or "
            "scheduler is python -c 'import mxnet'"
        )


def check_parameter_server(kvstore: str) -> None:
    """Check what MXNet reads, without a check of its own, when it joins a parameter server.

    Parameters
    ----------
    kvstore : str
        Which store asks for it.

    Raises
    ------
    ConfigError
        If a variable is missing, or is nothing that MXNet can use; names variable and value.
    """
    for name in ("DMLC_ROLE", "DMLC_PS_ROOT_URI", *NUMBERS):
        if name not in os.environ:
            raise ConfigError(
                f"`kvstore={kvstore}` needs MXNet's parameter server, and {name} is "
                f"not set: {HOW_TO_START}"
            )

    check_role()

    for name, highest in NUMBERS.items():
        value = os.environ[name]
        if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= highest:
            raise ConfigError(f"{name} is {value!r}: it must be a whole number from 1 to {highest}")

    for name in ("DMLC_PS_ROOT_URI", "DMLC_NODE_HOST"):  # the second need not be set
        value = os.environ.get(name, "localhost")
        if not is_host(value):
            raise ConfigError(f"{name} is {value!r}: it must be a machine's name or address")

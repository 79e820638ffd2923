"""What the environment says to this package, and to MXNet's parameter server."""

import os
import re

from .errors import ConfigError, refuse_blank

DISTRIBUTED = ("dist_sync", "dist_async")  # kinds of MXNet's parameter server
# What resolves: letters, digits, hyphens and underscores between dots, each part at most 63 long.
HOST = r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*"
HOW_TO_START = "start with python -m d2l_autorec.launch, or set the DMLC_* variables yourself"
NUMBERS = {"DMLC_PS_ROOT_PORT": 65535, "DMLC_NUM_WORKER": 1024, "DMLC_NUM_SERVER": 1024}
MAX_THREADS = 512  # far more, and OpenMP crashes


def omp_threads() -> int | None:
    """Return the number of OMP_NUM_THREADS, the first of several; None where it is not set.

    Raises
    ------
    ConfigError
        If it is no number of threads that OpenMP can start.
    """
    text = os.environ.get("OMP_NUM_THREADS")
    if text is None:
        return None

    first = text.split(",")[0].strip()
    if first.isdecimal() and 1 <= int(first) <= MAX_THREADS:
        return int(first)
    raise ConfigError(
        f"OMP_NUM_THREADS is {text!r}: it must be from 1 to {MAX_THREADS}; correct or unset it"
    )


def variable(name: str) -> str | None:
    """Return the value of a variable, None where it is not set.

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
    """Return whether a text can be a machine's name or IPv4 address."""
    return re.fullmatch(HOST, text) is not None


def check_role() -> None:
    """Raise ConfigError where MXNet would not train, but serve, as soon as it is imported."""
    role = os.environ.get("DMLC_ROLE", "worker")
    if role != "worker":
        raise ConfigError(
            f"DMLC_ROLE is {role!r}: it must be worker, or not be set; python -c 'import "
            "d2l_autorec, mxnet' is a server or scheduler"
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
                f"`kvstore={kvstore}` needs MXNet's parameter server, and {name} is not set: "
                f"{HOW_TO_START}"
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

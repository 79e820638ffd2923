"""How much memory a process may have, and the refusal of what cannot fit."""

import resource
from pathlib import Path

from .control_groups import groups_of
from .errors import ConfigError

PROC = Path("/proc")
# A control group's names of limit, usage and file cache, in version 2 and in version 1.
COUNTERS = (
    ("memory.max", "memory.current", "file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
)
UNLIMITED = 2**60  # what version 1 of control groups says where there is no limit is above it
GIB = 2**30


def check_fits(needed: int, available: int | None, what: str, way_out: str) -> None:
    """Raise ConfigError, before anything is allocated, for what cannot fit.

    Parameters
    ----------
    needed : int
        Bytes.
    available : int or None
        Bytes; None is no known limit.
    what, way_out : str
        Subject of the message, and its advice.
    """
    if available is not None and needed > available:
        raise ConfigError(
            f"{what} needs {needed / GIB:.1f} GiB, and {available / GIB:.1f} GiB are "
            f"available{way_out}"
        )


def available_memory() -> int | None:
    """Bytes that this process can still have; None where nothing says.

    The least of what the machine, its control group (a container's limit) and
    `ulimit -v` leave.
    """
    limits = (_left_on_the_machine(), _left_in_the_control_group(), _left_of_the_address_space())
    return min((limit for limit in limits if limit is not None), default=None)


def _left_on_the_machine() -> int | None:
    return _kilobytes(PROC / "meminfo", "MemAvailable")


def _left_in_the_control_group() -> int | None:
    """Of the group of this process and of all groups above it."""
    limits = [_left_in(group, *names) for group in groups_of("memory") for names in COUNTERS]
    return min((limit for limit in limits if limit is not None), default=None)


def _left_in(group: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        most = int((group / limit).read_text())  # 'max' where there is none
        used = int((group / usage).read_text())
        freeable = _words(group / "memory.stat").get(cache, "0")
    except (OSError, ValueError):
        return None

    if most >= UNLIMITED:
        return None
    return max(most - used + int(freeable), 0)


def _left_of_the_address_space() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _kilobytes(PROC / "self/status", "VmSize")

    if limit == resource.RLIM_INFINITY or used is None:
        return None
    return max(limit - used, 0)


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        return int(_words(path)[f"{name}:"]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _words(path: Path) -> dict[str, str]:
    """First and second word of each line of a file."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return {words[0]: words[1] for words in lines if len(words) > 1}

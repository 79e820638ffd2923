"""CPUs and memory that this process may use, a container's limits included."""

import math
import os
import resource
from pathlib import Path

from .errors import ConfigError

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
GIB = 2**30


def available_threads() -> int:
    """Return the CPUs that this process may run on, at most as many as its container allows."""
    count = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def cpu_quota() -> float | None:
    """Return the CPUs' worth of time that a container allows; None where there is no limit."""
    quotas = []
    for group in _control_groups("cpu"):
        words = _words(group / "cpu.max") or [  # of version 2, and of version 1
            *_words(group / "cpu.cfs_quota_us"),
            *_words(group / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and all(word.isdecimal() for word in words):  # else no limit
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def idle_cpus() -> int | None:
    """Return the CPUs on which no other thread computes now; None where nothing says."""
    running = _number(PROC / "stat", "procs_running")  # this thread among them
    if running is None:
        return None
    return max(0, (os.cpu_count() or 1) - (running - 1))


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
    """Return the bytes that this process can still have; None where nothing says.

    The least of what the machine, the control groups (a container's limit) and `ulimit -v` leave.
    """
    limits = [_number(PROC / "meminfo", "MemAvailable:", 1024)]
    limits += map(_left_in, _control_groups("memory"))

    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _number(PROC / "self/status", "VmSize:", 1024)
    if space != resource.RLIM_INFINITY and used is not None:
        limits.append(max(0, space - used))
    return min((limit for limit in limits if limit is not None), default=None)


def _left_in(group: Path) -> int | None:
    """Return what a control group leaves; what it caches of files can be freed."""
    most = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
    used = _words(group / "memory.current") or _words(group / "memory.usage_in_bytes")
    if not used or not most or most == ["max"]:
        return None

    stat = group / "memory.stat"
    cached = _number(stat, "file") or _number(stat, "total_cache") or 0
    return max(0, int(most[0]) - int(used[0]) + cached)


def _control_groups(controller: str) -> list[Path]:
    """Return the folders of the control groups of this process, and of all above them.

    Of version 2's one hierarchy, and of version 1's that has `controller`. None need be there.
    """
    folders = []
    for line in _words(PROC / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue

        root = CGROUPS / controller if controllers else CGROUPS
        group = root / path.lstrip("/")
        folders += [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return folders


def _number(path: Path, name: str, unit: int = 1) -> int | None:
    """Return the number behind a name in a file of the kernel's; None where it is not there."""
    words = _words(path)
    if name not in words[:-1]:
        return None
    return int(words[words.index(name) + 1]) * unit


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []

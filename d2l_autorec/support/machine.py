"""What this process may use: CPUs, threads and memory, a container's limits included."""

import math
import os
from pathlib import Path

from .errors import ConfigError

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
GIB = 2**30
DISTRIBUTED = ("dist_sync",)  # values of `kvstore` that need MXNet's parameter server
WORKER = "D2L_AUTOREC_WORKER"  # a worker's number; MXNet's own depends on who arrives first
NUMBERS = ("DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER", "DMLC_NUM_SERVER")
MAX_THREADS = 512  # OpenMP crashes with far more


def omp_threads() -> int | None:
    """Return the first number of OMP_NUM_THREADS, from 1 to `MAX_THREADS`; None without one."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(max(1, int(first)), MAX_THREADS) if first.isdecimal() else None


def check_role() -> None:
    """Raise ConfigError where importing MXNet would make this process a server, not a worker."""
    role = os.environ.get("DMLC_ROLE", "worker")
    if role != "worker":
        raise ConfigError(f"DMLC_ROLE is {role!r}: it must be worker, or not be set")


def check_parameter_server(kvstore: str) -> None:
    """Raise ConfigError unless all variables are set that MXNet's parameter server needs."""
    for name in ("DMLC_ROLE", "DMLC_PS_ROOT_URI", *NUMBERS):
        value = os.environ.get(name, "")
        if not value or (name in NUMBERS and not value.isdecimal()):
            raise ConfigError(
                f"`kvstore={kvstore}` needs MXNet's parameter server, but {name} is {value!r}: "
                "start with python -m d2l_autorec.launch"
            )
    check_role()


def available_threads() -> int:
    """Return how many CPUs this process may run on, at most as many as its container allows."""
    counts = [len(os.sched_getaffinity(0))]
    for group in _control_groups():
        quota, *period = _words(group / "cpu.max") or [""]
        if quota.isdecimal():
            counts.append(math.ceil(int(quota) / int(period[0])))
    return max(1, min(counts))


def idle_cpus() -> int | None:
    """Return on how many CPUs no other thread computes now; None where that is unknown."""
    running = _number(PROC / "stat", "procs_running")  # this thread is one of them
    return None if running is None else max(0, (os.cpu_count() or 1) - (running - 1))


def check_fits(needed: int, available: int | None, what: str, way_out: str) -> None:
    """Raise ConfigError, before anything is allocated, for what cannot fit into memory.

    Parameters
    ----------
    needed : int
        Bytes that are needed.
    available : int or None
        Bytes that are available; None where no limit is known.
    what, way_out : str
        Subject of the message, and its advice.
    """
    if available is not None and needed > available:
        raise ConfigError(
            f"{what} needs {needed / GIB:.1f} GiB, and {available / GIB:.1f} GiB are "
            f"available{way_out}"
        )


def available_memory() -> int | None:
    """Return the bytes that this process can still have; None where that is unknown.

    This is the least of what the machine and its control groups (a container's limit) leave.
    """
    limits = [_number(PROC / "meminfo", "MemAvailable:", 1024), *map(_left_in, _control_groups())]
    return min((limit for limit in limits if limit is not None), default=None)


def _left_in(group: Path) -> int | None:
    """Return the bytes that a control group leaves, or None; cached files count as free."""
    most, used = _words(group / "memory.max"), _words(group / "memory.current")
    if not used or not most or most == ["max"]:
        return None

    cached = _number(group / "memory.stat", "file") or 0
    return max(0, int(most[0]) - int(used[0]) + cached)


def _control_groups() -> list[Path]:
    """Return the folders of this process's control group (version 2) and of all above it."""
    paths = [word[3:] for word in _words(PROC / "self/cgroup") if word.startswith("0::")]
    folders = [CGROUPS / path.lstrip("/") for path in paths]
    return [up for group in folders for up in (group, *group.parents) if up.is_relative_to(CGROUPS)]


def _number(path: Path, name: str, unit: int = 1) -> int | None:
    """Return the number behind a name in a file of the system's, times `unit`, or None."""
    words = _words(path)
    return int(words[words.index(name) + 1]) * unit if name in words[:-1] else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []

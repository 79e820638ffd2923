"""How many CPUs a process may use."""

import math
import os
import sys
from pathlib import Path

from .control_groups import groups_of

STAT = Path("/proc/stat")


def available_threads() -> int:
    """CPUs that this process may run on, at most as many as its control group has time for."""
    if sys.platform == "linux":
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1

    quota = cpu_quota()
    if quota is None:
        return count
    return max(1, min(count, math.ceil(quota)))


def idle_cpus() -> int | None:
    """CPUs of this machine on which no other thread computes now; None where nothing says."""
    try:
        words = STAT.read_text().split()
        running = int(words[words.index("procs_running") + 1])  # this thread among them
    except (OSError, ValueError, IndexError):
        return None

    return max(0, (os.cpu_count() or 1) - (running - 1))


def cpu_quota() -> float | None:
    """CPUs' worth of time that a container allows; None where there is no limit.

    The least of the control group of this process and of all groups above it.
    """
    quotas = [_quota_of(group) for group in groups_of("cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(group: Path) -> float | None:
    """Of one group, in the file of version 2, or in the two files of version 1."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        share = float(quota) / float(period)  # 'max', or -1 in version 1: no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None

    if share <= 0:
        return None
    return share

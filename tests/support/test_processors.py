"""CPUs: as many as the process may run on, and as a container's quota allows."""

import os

import pytest

from d2l_autorec.support import machine
from d2l_autorec.support.machine import available_threads, cpu_quota


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A machine of eight CPUs; returns a function that writes its files."""

    def write(cgroup, **files):
        (tmp_path / "self").mkdir(exist_ok=True)
        (tmp_path / "self/cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cg")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))
    return write


@pytest.mark.parametrize(
    "text, quota, threads",
    [
        ("max 100000\n", None, 8),
        ("200000 100000\n", 2.0, 2),
        ("150000 100000\n", 1.5, 2),  # rounded up
        ("10000 100000\n", 0.1, 1),
        ("1600000 100000\n", 16.0, 8),  # more than there are
        ("nonsense", None, 8),
    ],
)
def test_the_quota_of_a_container(container, text, quota, threads):
    container("0::/a\n", cg__a__cpu_DOT_max=text)
    assert cpu_quota() == quota
    assert available_threads() == threads


def test_an_outer_group_has_the_smaller_quota(container):
    container(
        "0::/a/b\n", cg__a__b__cpu_DOT_max="600000 100000", cg__a__cpu_DOT_max="300000 100000"
    )
    assert available_threads() == 3


@pytest.mark.parametrize("quota, threads", [("-1", 8), ("250000", 3), ("x", 8)])
def test_the_first_version_of_control_groups(container, quota, threads):
    container(
        "9:cpu,cpuacct:/z\n8:memory:/y\n",
        cg__cpu__z__cpu_DOT_cfs_quota_us=quota,
        cg__cpu__z__cpu_DOT_cfs_period_us="100000",
    )
    assert available_threads() == threads


def test_nothing_says(container):
    container("")
    assert cpu_quota() is None
    assert available_threads() == 8


def test_the_affinity_of_this_process():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_threads() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    "text, idle",
    [
        ("cpu 1 2\nprocs_running 1\nprocs_blocked 0\n", 4),
        ("procs_running 3\n", 2),
        ("procs_running 9\n", 0),
        ("procs_running\n", None),
        ("cpu 1 2\n", None),
    ],
)
def test_idle_cpus(tmp_path, monkeypatch, text, idle):
    """Of 4, this thread's own among them."""
    (tmp_path / "stat").write_text(text)
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    assert machine.idle_cpus() == idle

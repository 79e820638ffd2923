"""The start of MXNet, which reads its CPU threads and its engine once, when it is imported."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import kernels
from ..support.errors import MXNET_IS_MISSING, ConfigError
from ..support.machine import DISTRIBUTED, available_threads, check_role, omp_threads
from ..support.terminal import discard

CPU = 1  # MXNet's number for this kind of device
SPINS = "10000"  # they take half a millisecond, or less


def start_mxnet(threads: int | None = None, one_cpu: bool = False, cpus: int = 1) -> None:
    """Give MXNet and the sparse kernels `threads` CPU threads, and import MXNet.

    By default MXNet would use half of the CPUs. Both thread pools are OpenMP's and work in
    turn, never at the same time. Idle threads spin for about the time between two steps,
    and then sleep, unless OMP_WAIT_POLICY or GOMP_SPINCOUNT says otherwise: a thread that spins
    takes a CPU that another process needs, and one that sleeps is late.
    The last bits of sums depend on the number of threads. If MXNet is imported already, only the
    threads of MXNet and of the kernels are changed.

    Parameters
    ----------
    threads : int, optional
        Number of threads; by default OMP_NUM_THREADS if it is set, else `available_threads()`.
    one_cpu : bool
        Whether training will be on a single CPU context. MXNet then runs each operator
        in the calling thread (its NaiveEngine), unless MXNET_ENGINE_TYPE says
        otherwise: steps are short, and handing each operator to another thread
        took a third of their time.
    cpus : int
        Number of CPU contexts that will be used. Each has a thread of MXNet's, with a
        number of OpenMP threads of its own.

    Raises
    ------
    ConfigError
        If DMLC_ROLE is not that of a worker, or MXNet cannot be loaded.
    """
    count = threads or omp_threads() or available_threads()
    kernels.set_threads(count)

    if "mxnet" in sys.modules:
        _set_omp_threads(count, cpus)
        return

    check_role()

    os.environ["OMP_NUM_THREADS"] = str(count)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if threads is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    os.environ.setdefault("NUMBA_NUM_THREADS", str(count))
    if one_cpu:
        os.environ.setdefault("MXNET_ENGINE_TYPE", "NaiveEngine")

    _import_mxnet()


def _import_mxnet() -> None:
    try:
        # the engine prints a line about itself to stderr
        with _without_stderr():
            import mxnet

            mxnet.nd.zeros(1).wait_to_read()
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise
        raise ConfigError(MXNET_IS_MISSING) from error
    except OSError as error:
        raise ConfigError(
            f"MXNet cannot be loaded ({error}): install the system's package of that library "
            "(Debian: libgomp1), or where it is CUDA's the NVIDIA driver, or MXNet for the CPU: "
            "pip uninstall the one with CUDA, then pip install 'd2l_autorec[cpu]'"
        ) from error


def _set_omp_threads(count: int, cpus: int) -> None:
    """Set the number of threads in each thread of MXNet's engine and in this one."""
    from mxnet import npx
    from mxnet.base import _LIB, check_call

    def set_here(*_: Any) -> None:
        _LIB.MXSetNumOMPThreads(ctypes.c_int(count))

    set_here()

    work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(set_here)
    for number in range(cpus):
        context = (ctypes.c_int * 3)(CPU, number, 0)
        check_call(
            _LIB.MXEnginePushSync(
                work, None, None, context, None, 0, None, 0, None, ctypes.c_int(0), b"threads"
            )
        )

    npx.waitall()


def has_gpu() -> bool:
    """Return whether an NVIDIA driver shows a device, which is a guess that needs no MXNet."""
    return Path("/dev/nvidiactl").exists()


def on_one_cpu(gpus: str | None, cpus: int | None, kvstore: str) -> bool:
    """Return whether these options of a run make it train on a single CPU context."""
    if kvstore in DISTRIBUTED:  # MXNet then sends and receives in other threads
        return False
    if cpus:
        return cpus == 1
    return gpus == "none" or not has_gpu()


@contextmanager
def _without_stderr() -> Iterator[None]:
    sys.stderr.flush()
    saved = os.dup(2)
    discard(2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)

"""How MXNet starts: CPU threads and engine, which it reads once, when it is imported."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

from .environment import check_role
from .errors import ConfigError


def available_threads() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def start_mxnet(threads: Optional[int] = None, one_cpu: bool = False) -> None:
    """Import MXNet with `threads` CPU threads, for it and for the sparse kernels.

    Left alone, MXNet takes half of the CPUs, 1 of 2. Both thread pools are OpenMP's and work in
    turn, never at once. Does nothing where MXNet is imported already.

    Parameters
    ----------
    threads : int, optional
        By default OMP_NUM_THREADS where it is set, else `available_threads()`.
    one_cpu : bool
        Training will be on a single CPU context. MXNet then runs each operator
        in the calling thread (its NaiveEngine), unless MXNET_ENGINE_TYPE says
        otherwise: steps are short, and handing each operator to another thread
        took a third of their time.
    """
    if "mxnet" in sys.modules:
        return
    check_role()
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    count = os.environ.setdefault("OMP_NUM_THREADS", str(available_threads()))
    if not count.isdecimal() or not 1 <= int(count) <= 512:
        raise ConfigError(f"OMP_NUM_THREADS is {count!r}: it must be from 1 to 512")
    os.environ.setdefault("NUMBA_NUM_THREADS", count)
    if one_cpu:
        os.environ.setdefault("MXNET_ENGINE_TYPE", "NaiveEngine")
    try:
        with _without_stderr():  # the engine announces itself there
            import mxnet
            mxnet.nd.zeros(1).wait_to_read()
    except OSError as error:  # a CUDA build where libcuda.so.1, the driver's, is not there
        raise ConfigError(f"MXNet cannot be loaded ({error}): install the NVIDIA driver if this "
                          "is a CUDA build, or the CPU build, pip install 'd2l_autorec[cpu]'"
                          ) from error


def has_gpu() -> bool:
    """Whether an NVIDIA driver shows a device: a guess that does not need MXNet."""
    return Path("/dev/nvidiactl").exists() or sys.platform == "win32"


@contextmanager
def _without_stderr() -> Iterator[None]:
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)

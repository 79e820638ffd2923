"""CPU threads; must be settled before MXNet is imported, and so imports nothing."""

import os
from typing import Optional


def available_threads() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def set_threads(threads: Optional[int] = None) -> int:
    """Have MXNet use `threads` CPU threads, once it is imported.

    MXNet reads OMP_NUM_THREADS when it is imported and never again. Left
    alone it takes half of the CPUs, 1 of 2.

    Parameters
    ----------
    threads : int, optional
        By default OMP_NUM_THREADS where it is set, else `available_threads()`.

    Returns
    -------
    int
    """
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    return int(os.environ.setdefault("OMP_NUM_THREADS", str(available_threads())))

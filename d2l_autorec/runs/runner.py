"""One run from its options to its folder."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mxnet as mx

from ..models.kinds import RunConfig
from ..training.engine import start_mxnet
from ..training.parameter_server import connect
from .experiment import Experiment
from .folder import RunFolder
from .ranking import RankingExperiment
from .rating import RatingExperiment

KINDS: dict[str, type[Experiment]] = {"rating": RatingExperiment, "ranking": RankingExperiment}


def run_training(
    config: RunConfig,
    data: Any = None,
    devices: Sequence[mx.Context] | None = None,
    resume: Path | None = None,
    in_runs: bool = True,
) -> Experiment:
    """Train, into a folder or without one.

    Switches MXNet to NumPy semantics (`npx.set_np()`), and gives it and the
    sparse kernels `config.threads` CPU threads, or those that the run began with.

    Parameters
    ----------
    config : RunConfig
    data, devices : optional
        See `Experiment`.
    resume : Path, optional
        The folder of a run to go on with.
    in_runs : bool
        Where `config.out` names no folder: write a new one in runs/, or nothing.

    Returns
    -------
    Experiment
        Without a result in every worker but the first.

    Raises
    ------
    UserError
        If data, devices or folder cannot be used; nothing is written then.
    NumericalError
        If the training diverges; the last good parameters are kept.
    Interrupted
        If SIGINT or SIGTERM asked to stop.
    """
    mx.npx.set_np()
    threads = RunFolder.read(resume).threads if resume else config.threads
    start_mxnet(threads, cpus=len(devices or ()) or config.cpus or 1)

    with connect(config.kvstore) as workers:
        experiment = KINDS[config.task](config, data, devices, workers)
        is_done = workers.agree(resume is not None and (resume / "result.json").exists())
        if workers.rank:
            if not is_done:
                experiment.train()
        elif is_done and resume:
            experiment.take_result(resume)
            print(f"{resume} is finished already", file=sys.stderr)
        elif resume:
            experiment.resume(resume)
        elif config.out:
            experiment.train(Path(config.out))
        elif in_runs:
            experiment.train(new_folder(f"{config.model}-{experiment.train_data.name}"))
        else:
            experiment.train()
    return experiment


def new_folder(begins: str) -> Path:
    """Make a new folder in runs/ with the time in its name."""
    name = f"{begins}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path("runs", name)
    number = 1

    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # of a run that began in the same second
            number += 1
            path = Path("runs", f"{name}-{number}")
        except OSError:
            return path  # locked says what is wrong
        else:
            return path

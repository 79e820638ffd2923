"""Runs from their options to their folders: a single one, and those of all folds."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mxnet as mx

from ..models.kinds import RunConfig
from ..support.errors import ConfigError, stopped_with
from ..support.files import locked, write_json
from ..support.machine import DISTRIBUTED
from ..training.engine import start_mxnet
from ..training.parameter_server import connect
from .experiment import Experiment
from .folder import FOLDS, RunFolder, new_folder
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
    threads = RunFolder.read(resume).about["threads"] if resume else config.threads
    start_mxnet(threads, cpus=len(devices or ()) or config.cpus or 1)

    with connect(config.kvstore) as workers:
        experiment = KINDS[config.task](config, data, devices, workers)
        path = resume
        if config.out and not resume:
            path = Path(config.out)
        elif not resume and in_runs and not workers.rank:
            path = new_folder(f"{config.model}-{experiment.train_data.name}")
        experiment.train(path, resumed=resume is not None)
    return experiment


def train_folds(config: RunConfig, folder: Path, resumed: bool = False) -> dict[str, Any]:
    """Train on each fold's training part; what is finished is not trained again.

    Parameters
    ----------
    config : RunConfig
        With `fold=all`.
    folder : Path
        It will hold fold-1, fold-2, ... and folds.json.
    resumed : bool
        Whether the folder is one to go on with.

    Returns
    -------
    dict
        'folds', the result of each, and mean (`test_rmse`) and standard deviation
        (`test_rmse_sd`) over them of each figure of the test and of the baseline; 'run', the
        folder.

    Raises
    ------
    UserError, NumericalError, Interrupted
        As `run_training`.
    """
    if config.kvstore in DISTRIBUTED:
        raise ConfigError(
            f"`fold=all` and `kvstore={config.kvstore}` exclude each other: workers are started "
            "for one run; train the folds one by one"
        )

    with locked(folder, new=not resumed):
        if not resumed:
            write_json(folder / FOLDS, {"options": asdict(config)})

        with stopped_with(f"go on with `train_model(resume={folder})`"):
            results = [_train_fold(config, folder, k) for k in range(1, config.folds + 1)]

        summary = {"folds": results, **_over_folds(results)}
        write_json(folder / FOLDS, {"options": asdict(config), "result": summary})
    return {**summary, "run": str(folder)}


def _train_fold(config: RunConfig, folder: Path, number: int) -> dict[str, Any]:
    path = folder / f"fold-{number}"
    if not config.quiet and not config.json:
        print(f"fold {number} of {config.folds}", file=sys.stderr, flush=True)

    resume = path if (path / "config.json").exists() else None
    return run_training(replace(config, fold=number, out=str(path)), resume=resume).told


def _over_folds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means and standard deviations (n - 1) of the figures of several results."""
    found = {name: results[0][name] for name in ("baseline",) if name in results[0]}
    for name in results[0]:
        values: list[Any] = [result.get(name) for result in results]
        is_figure = name.startswith(("test_", "baseline_test_"))
        if is_figure and all(isinstance(value, float) for value in values):
            found |= {name: statistics.fmean(values), f"{name}_sd": statistics.stdev(values)}
    return found

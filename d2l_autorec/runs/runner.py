"""Runs from their options to their folders: a single one, and those of several folds or seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mxnet as mx

from ..models.kinds import RunConfig
from ..support.errors import ConfigError, stopped_with
from ..support.files import locked, write_json
from ..support.machine import DISTRIBUTED
from ..support.terminal import remark
from ..training.engine import start_mxnet
from ..training.parameter_server import connect
from .experiment import Experiment, given_in_python
from .folder import REPEATS, RunFolder, new_folder
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
    """Train a run, in a folder or without one, and return it.

    This switches MXNet to NumPy semantics (`npx.set_np()`), and gives it and the
    sparse kernels `config.threads` CPU threads, or as many as the run began with.

    Parameters
    ----------
    config : RunConfig
        The options.
    data, devices : optional
        See `Experiment`.
    resume : Path, optional
        The folder of a run to go on with.
    in_runs : bool
        Whether to make a new folder in runs/ if `config.out` names none; otherwise nothing is
        written.

    Returns
    -------
    Experiment
        The run; in every worker but the first it has no result.

    Raises
    ------
    UserError
        If data, devices or folder cannot be used; nothing is written then.
    NumericalError
        If the training diverges; the best parameters, or the last checkpoint, are kept.
    Interrupted
        If SIGINT or SIGTERM asked to stop.
    """
    config.check_single()
    mx.npx.set_np()
    threads = config.threads
    if resume:
        began = RunFolder.read(resume).about
        threads, given = began["threads"], given_in_python(config, data)
        if missing := [f"{name}=..." for name in began["given"] if name not in given]:
            raise ConfigError(
                f"the run in {resume} was trained in Python on objects of your own: give them "
                f"again, as in train_model(resume=..., {', '.join(missing)})"
            )

    start_mxnet(threads, cpus=len(devices or ()) or config.cpus or 1)

    with connect(config.kvstore) as workers:
        experiment = KINDS[config.task](config, data, devices, workers)
        path = resume or (Path(config.out) if config.out else None)
        if path is None and in_runs and not workers.rank:
            path = new_folder(f"{config.model}-{experiment.train_data.name}")
        experiment.train(path, resumed=resume is not None)
    return experiment


def run_in(path: Path, config: RunConfig) -> dict[str, Any]:
    """Return the result of a run in a folder, which is resumed or begun if it has not finished.

    The result is the content of result.json, and the folder as 'run'.
    """
    if (path / "result.json").exists():
        return {**RunFolder.read(path).finished(), "run": str(path)}

    resume = path if (path / "config.json").exists() else None
    return run_training(replace(config, out=str(path)).with_own(config.own), resume=resume).told


def train_several(config: RunConfig, folder: Path, resumed: bool = False) -> dict[str, Any]:
    """Train a run for each fold, or each seed; finished ones are not trained again.

    Parameters
    ----------
    config : RunConfig
        The options, with `fold=all` or several `seeds`.
    folder : Path
        The folder for fold-1, fold-2, ..., or seed-0, seed-1, ..., and runs.json.
    resumed : bool
        Whether the folder is one to go on with.

    Returns
    -------
    dict
        The result of each under 'folds' or 'seeds'; for each number of the test and the baseline
        the mean (`test_rmse`) and standard deviation (`test_rmse_sd`) over them; and the folder as
        'run'.

    Raises
    ------
    UserError, NumericalError, Interrupted
        For the reasons of `run_training`.
    """
    word, values = config.repeats
    if config.kvstore in DISTRIBUTED:
        several = "fold=all" if word == "fold" else f"seeds={config.seeds}"
        raise ConfigError(
            f"`{several}` and `kvstore={config.kvstore}` exclude each other: train the {word}s "
            "one by one"
        )

    with locked(folder, new=not resumed):
        if not resumed:
            write_json(folder / REPEATS, {"options": asdict(config)})

        results: list[dict[str, Any]] = []
        with stopped_with(f"go on with `train_model(resume={folder})`"):
            for number in values:
                if not config.quiet and not config.json:
                    remark(f"{word} {number}, run {len(results) + 1} of {len(values)}")
                changed: dict[str, Any] = {"seeds": 1, word: number}
                one = replace(config, **changed).with_own(config.own)
                results.append(run_in(folder / f"{word}-{number}", one))

        summary = {f"{word}s": results, **_over_runs(results)}
        write_json(folder / REPEATS, {"options": asdict(config), "result": summary})
    return {**summary, "run": str(folder)}


def _over_runs(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means and standard deviations (n - 1) of the numbers in several results."""
    found = {"baseline": results[0]["baseline"]} if "baseline" in results[0] else {}
    for name in results[0]:
        values: list[Any] = [result.get(name) for result in results]
        is_figure = name.startswith(("test_", "baseline_test_"))
        if is_figure and all(isinstance(value, float) for value in values):
            found |= {name: statistics.fmean(values), f"{name}_sd": statistics.stdev(values)}
    return found

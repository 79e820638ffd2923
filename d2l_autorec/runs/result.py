"""What result.json holds, and what is said of it."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..support.flags import with_flags
from ..training.history import EpochRecord, best_epoch
from ..training.progress import label_of
from .config import CLOSED_FORM, AutoRecConfig, RunConfig
from .experiment import TASKS, Experiment


def describe(
    experiment: Experiment,
    phases: Mapping[str, Sequence[EpochRecord]],
    report: dict[str, Any],
) -> dict[str, Any]:
    """What result.json holds; `report` are the test metrics."""
    config = experiment.config
    metric = config.score.metric
    epochs = [record for history in phases.values() for record in history]
    seconds = sum(record.seconds for record in epochs)
    ratings = sum(record.ratings for record in epochs)

    search = phases["search"]
    history = list(phases.values())[-1]
    deciding = search  # a refit has no validation
    if history[-1].validation:
        deciding = history

    best = best_epoch(deciding, config.score)
    validation = None
    if best:
        validation = deciding[best - 1].validation[metric]

    best_beta = {}
    best_of_search = best_epoch(search, config.score)
    if deciding[-1].beta is not None and best_of_search:
        best_beta["best_beta"] = search[best_of_search - 1].beta

    served = history[(best_epoch(history, config.score) or len(history)) - 1]
    train_rmse = {}
    if served.train_rmse is not None:
        train_rmse["train_rmse"] = served.train_rmse

    return {
        "model": config.model,
        "preset": config.preset,
        "dataset": experiment.task.train.name,
        **experiment.task.describe(),
        "kernel": experiment.kernel,
        "devices": experiment.device_names(),
        "epochs": len(history),
        "best_epoch": best,
        "most_epochs": experiment.task.epochs,
        f"validation_{metric}": validation,
        **best_beta,
        "train_loss": served.train_loss,
        **train_rmse,
        **report,
        "train_seconds": seconds,
        "ratings_per_second": ratings / max(seconds, 1e-9),
    }


def tell(config: RunConfig, result: dict[str, Any]) -> None:
    """Print a result, in words or as JSON; what else is to be said goes to stderr.

    Parameters
    ----------
    config : RunConfig
    result : dict
        What result.json holds, and 'run', the folder.
    """
    task = TASKS[config.model]
    text = task.summary(result)
    if config.json:
        text = json.dumps(result)
    print(text)

    if result["best_epoch"] and result["train_loss"] is not None:
        print(_about_best(config, result), file=sys.stderr)
    for remark in [*_about_length(config, result), *task.remarks(result)]:
        print(with_flags(remark), file=sys.stderr)
    print(f"run folder: {result['run']}", file=sys.stderr)


def _about_length(config: RunConfig, result: dict[str, Any]) -> list[str]:
    """Whether more epochs may be better."""
    if not result["best_epoch"] or result["best_epoch"] != result.get("most_epochs"):
        return []
    if config.model in CLOSED_FORM or config.eval_every >= result["best_epoch"]:
        return []  # a single evaluation is the best and the last, and shows no trend

    name = "epochs"
    if isinstance(config, AutoRecConfig) and config.updates is not None:
        name = "updates"
    return [
        f"the validation {label_of(config.score.metric)} was still improving at epoch "
        f"{result['best_epoch']}, the last: raise `{name}`"
    ]


def _about_best(config: RunConfig, result: dict[str, Any]) -> str:
    metric = config.score.metric
    parameters = "parameters of that epoch"
    if "refit" in config.phases:
        parameters = "parameters refitted on all training ratings"

    validation = result[f"validation_{metric}"]
    return (
        f"best epoch {result['best_epoch']}, validation {label_of(metric)} {validation:.4f}; "
        f"{parameters}"
    )

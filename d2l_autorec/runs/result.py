"""What result.json holds, and what is said of it."""

import json
import sys
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from ..support.flags import with_flags
from ..support.numbers import seconds_shown, significant
from ..support.steps import remark
from ..support.text_table import aligned
from ..training.history import EpochRecord, best_epoch
from ..training.progress import label_of
from .config import CLOSED_FORM, AutoRecConfig, RunConfig
from .experiment import TASKS, Experiment
from .task import Block


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
    for text in [*_about_length(config, result), *task.remarks(result)]:
        remark(with_flags(text))

    if config.json:
        print(f"run folder: {result['run']}", file=sys.stderr)
        print(json.dumps(result))
        return

    table = task.table(result)
    if table:
        print(f"{table}\n")

    block = [*task.summary(result), *_about_training(config, result), ("run folder", result["run"])]
    print(closing_block(block, next_command(config, result, result["run"])))


def closing_block(block: Block, command: str) -> str:
    """Labels and what they are of, aligned; last a command to go on with, where there is one."""
    if command:
        block = [*block, ("next", command)]
    return aligned(block, left=2)


def next_command(config: RunConfig, result: dict[str, Any], folder: str) -> str:
    """A command that shows what the run in a folder recommends; '' of --quiet."""
    if config.quiet:
        return ""

    asked = "--all recommended.csv"  # an earlier version did not note a user
    if "example_user" in result:
        user = str(result["example_user"])
        asked = f"--user {quote(user)}"
        if user.startswith("-"):  # behind a blank it would be an option
            asked = f"--user={quote(user)}"
    return f"python -m d2l_autorec.recommend {quote(folder)} {asked}"


def _about_training(config: RunConfig, result: dict[str, Any]) -> Block:
    """How long and how fast it was trained, and which epoch is kept."""
    devices = ", ".join(result["devices"])
    if result["train_loss"] is None:
        seconds = seconds_shown(result["train_seconds"])
        return [("trained", f"in closed form, {seconds} s on {devices}")]

    epochs = "1 epoch"
    if result["epochs"] > 1:
        epochs = f"{result['epochs']:,} epochs"
    rate = f"{significant(result['ratings_per_second'])} {TASKS[config.model].counted}/sec"
    loss = f"train loss {significant(result['train_loss'])}"
    block = [("trained", f"{epochs} on {devices}, {rate}, {loss}")]

    if result["best_epoch"]:
        block.append(("best epoch", _about_best(config, result)))
    return block


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
        parameters = "refitted on all training ratings"

    validation = significant(result[f"validation_{metric}"], 4)
    return f"{result['best_epoch']}, validation {label_of(metric)} {validation}; {parameters}"

"""Every fold of a k-fold split in turn: a run folder for each, and what they come to."""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..models.kinds import RunConfig
from ..support.environment import DISTRIBUTED
from ..support.errors import ConfigError, stopped_with
from ..support.files import locked, write_json
from ..support.flags import with_flags
from ..support.terminal import remark
from ..support.text_table import aligned
from ..training.progress import label_of
from .experiment import against_baseline
from .folder import FOLDS
from .result import closing_block, final_command, next_command
from .runner import KINDS, run_training


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
        (`test_rmse_sd`) over them of each figure of the test and of the baseline.

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

        summary = {"folds": results, **over_folds(results)}
        write_json(folder / FOLDS, {"options": asdict(config), "result": summary})
    return {**summary, "run": str(folder)}


def _train_fold(config: RunConfig, folder: Path, number: int) -> dict[str, Any]:
    path = folder / f"fold-{number}"
    resume = None
    if (path / "config.json").exists():
        resume = path

    of_fold = replace(config, fold=number, out=str(path))
    if not config.quiet and not config.json:
        print(f"fold {number} of {config.folds}", file=sys.stderr, flush=True)
    return run_training(of_fold, resume=resume).told


def over_folds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and standard deviations (n - 1) of the figures of several results."""
    found: dict[str, Any] = {}
    for name, value in results[0].items():
        values: list[Any] = [result.get(name) for result in results]
        numbers = all(isinstance(one, (int, float)) for one in values)
        if not name.startswith(("test_", "baseline_test_")) or not numbers:
            continue

        if isinstance(value, float):
            found[name] = statistics.fmean(values)
            found[f"{name}_sd"] = statistics.stdev(values)
    if "baseline" in results[0]:
        found["baseline"] = results[0]["baseline"]
    return found


def tell_folds(config: RunConfig, summary: dict[str, Any]) -> None:
    """Print what the folds came to, in words or as JSON; remarks go to stderr."""
    kind = KINDS[config.task]
    for text in kind.remarks(_as_result(summary)):
        remark(with_flags(text))

    if config.json:
        print(f"run folders: {summary['run']}", file=sys.stderr)
        print(json.dumps(summary))
        return

    first = summary["folds"][0]
    data, *_ = kind.summary(first)
    block = [data, _mean(config, summary), ("run folders", summary["run"])]
    print(f"{_table(config, summary)}\n")
    command = next_command(config, first, f"{summary['run']}/fold-1")
    print(closing_block(block, command, final_command(config, first)))


def _table(config: RunConfig, summary: dict[str, Any]) -> str:
    metric = f"test_{config.score.metric}"
    head = ["fold", f"test {label_of(config.score.metric)}"]
    columns = [metric]
    if "baseline" in summary:
        head.append(summary["baseline"])
        columns.append(f"baseline_{metric}")

    lines = [
        [str(number), *(f"{result[name]:.4f}" for name in columns)]
        for number, result in enumerate(summary["folds"], 1)
    ]
    return aligned([head, *lines], left=1)


def _mean(config: RunConfig, summary: dict[str, Any]) -> tuple[str, str]:
    """Return the mean over the folds, with its standard deviation, beside that of the baseline."""
    metric = config.score.metric
    mean = f"{summary[f'test_{metric}']:.4f} ± {summary[f'test_{metric}_sd']:.4f}"
    compared = against_baseline(summary, metric)
    return f"test {label_of(metric)}", f"{mean} over {len(summary['folds'])} folds{compared}"


def _as_result(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the mean as a result, of which there are remarks; ratings that are cold were told."""
    first = summary["folds"][0]
    counted = {"cold_test_ratings": 0, "test_users_without_held_out": 0}
    return {**first, **summary, **counted}

"""Compare finished runs: a table on stdout and, with --figure, their test errors over epochs.

Says so where runs had different data.

examples:
  python -m d2l_autorec.compare runs/*
  python -m d2l_autorec.compare runs/a runs/b --figure compare.png
"""

import csv
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .runs.figures import (
    RECONSTRUCTION,
    draw_runs,
    format_of,
    formats,
    is_reconstruction,
    look_of,
    series_of_run,
    value_label,
    warning_of_figure,
)
from .runs.folder import RunFolder
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, DataError, DataWarning
from .support.numbers import seconds_shown
from .support.terminal import show_steps, step
from .support.text_table import aligned

COLUMNS = {
    "run": "run",
    "model": "model",
    "dataset": "dataset",
    "epochs": "epochs",
    "test_rmse": "test RMSE",
    "test_mae": "MAE",
    "test_ndcg@100": "test NDCG@100",
    "test_recall@20": "Recall@20",
    "test_recall@50": "Recall@50",
    "train_seconds": "seconds",
}
TEXTS = 3  # run, model and dataset, which every run has; numbers follow
METRICS = ("test_rmse", "test_ndcg@100")  # a run has one of them; it is what the figure shows
DATA_KEYS = ("train_sha256", "test_sha256")


class FinishedRun(NamedTuple):
    """What a comparison reads of a run folder; `curve` is (epoch, value of `metric`) pairs.

    Without a test part `metric` is '' and the curve empty.
    """

    path: str
    result: dict[str, Any]
    data: tuple[str, ...]
    curve: list[tuple[int, float]]
    metric: str

    def row(self) -> dict[str, Any]:
        """Return the run's line of the table, by `COLUMNS`; raise KeyError where one is missing."""
        model = self.result["model"]
        if "based" in self.result:
            model += f" ({self.result['based']}-based)"
        if is_reconstruction(self.result):
            model += f", {RECONSTRUCTION}"

        known = {**self.result, "run": self.path, "model": model}
        needed = {"dataset", "epochs", "train_seconds", self.metric} - {""}
        return {key: known[key] for key in COLUMNS if key in known or key in needed}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and print the comparison."""
    options = _parser().parse_args(argv)
    show_steps(not options.json)
    step("reading the runs")
    runs = [read_run(Path(path)) for path in options.runs]
    warn_of_different_data(runs)

    if options.figure:
        step("drawing the figure")
        with warning_of_figure(Path(options.figure)):
            draw(runs, Path(options.figure))
            print(f"figure: {options.figure}", file=sys.stderr)

    rows = [run.row() for run in runs]
    print(json.dumps(rows, indent=2) if options.json else table(rows))


def _parser() -> Parser:
    parser = Parser("d2l_autorec.compare", __doc__, "RUN_DIR ... [options]")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN_DIR", help="folders that d2l_autorec.run has written"
    )
    parser.add_argument(
        "--figure", metavar="FILE", help="draw the curves into this png, svg or pdf file"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def read_run(path: Path) -> FinishedRun:
    """Read result.json, config.json and metrics.csv of a run folder.

    Raises
    ------
    DataError
        If one of them is missing or damaged.
    """
    record = RunFolder.read(path)
    result = record.finished()
    data = record.about["data"]
    digests = tuple(str(data[key]) for key in DATA_KEYS)  # the record was checked for them
    metric = next((name for name in METRICS if name in result), "")
    try:
        curve = _read_curve(path / "metrics.csv", metric) if metric else []
        run = FinishedRun(str(path), result, digests, curve, metric)
        table([run.row()])  # raises where something is missing, or no number
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise DataError(
            f"{path} is not the folder of a finished run ({reason}): name one that "
            "python -m d2l_autorec.run has written"
        ) from error

    if not metric:
        warnings.warn(f"{path} was trained without a test part", DataWarning, stacklevel=2)
    return run


def _read_curve(path: Path, metric: str) -> list[tuple[int, float]]:
    """Return (epoch, metric) of the last phase's evaluated epochs: of a refit run, the refit's."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return [
        (int(line["epoch"]), float(line[metric]))
        for line in lines
        if line["phase"] == lines[-1]["phase"] and line[metric]
    ]


def warn_of_different_data(runs: Sequence[FinishedRun]) -> None:
    """Warn if the runs were not trained and tested on the same ratings."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run.path)

    if len(groups) > 1:
        listed = "; ".join(", ".join(paths) for paths in groups.values())
        warnings.warn(
            f"the runs had {len(groups)} different pairs of training and test ratings, "
            f"so their errors are not comparable: {listed}",
            DataWarning,
            stacklevel=2,
        )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as aligned text; numbers to the right."""
    keys = [key for key in COLUMNS if any(key in row for row in rows)]
    head = [COLUMNS[key] for key in keys]
    lines = [[_shown(key, row[key]) if key in row else "" for key in keys] for row in rows]
    return aligned([head, *lines], TEXTS)


def _shown(key: str, value: Any) -> str:
    if key.startswith("test_"):
        return f"{value:.4f}"
    return seconds_shown(value) if key == "train_seconds" else str(value)


def draw(runs: Sequence[FinishedRun], path: Path) -> None:
    """Draw test RMSE, or NDCG@100, against epochs: a line for each run, level in closed form.

    Raises
    ------
    ConfigError
        If the file cannot be written, its ending is no format of figures, or the runs have no
        metric in common.
    """
    runs = [run for run in runs if run.metric]
    metrics = {run.metric for run in runs}
    if len(metrics) != 1:
        raise ConfigError(
            "--figure: the runs have no metric in common: draw them apart (some predict ratings "
            "and some rank clicks, or none had a test part)"
        )
    if format_of(path) not in formats():
        raise ConfigError(f"--figure {path}: name a file that ends in .png, .svg or .pdf")

    results = [run.result for run in runs]
    series = [
        series_of_run(name, run.curve, look_of(place), run.result)
        for place, (name, run) in enumerate(zip(_names_of(runs), runs))
    ]
    value = value_label(metrics.pop().removeprefix("test_"), results)
    if not value.startswith(RECONSTRUCTION):
        value = f"test {value}"

    data = ", ".join(dict.fromkeys(str(result["dataset"]) for result in results))
    notes = ["the runs had different ratings: their errors are not comparable"]
    is_same = len({run.data for run in runs}) == 1
    draw_runs(series, path, f"{len(runs)} runs on {data}", value, [] if is_same else notes)


def _names_of(runs: Sequence[FinishedRun]) -> list[str]:
    """Return what tells the runs apart: their paths from the folder that all of them lie in."""
    paths = [Path(run.path).absolute() for run in runs]
    root = os.path.commonpath([path.parent for path in paths])
    marked = [is_reconstruction(run.result) for run in runs]  # of all, the axis says it
    return [
        f"{os.path.relpath(path, root)}{f' ({RECONSTRUCTION})' if mark and not all(marked) else ''}"
        for path, mark in zip(paths, marked)
    ]


if __name__ == "__main__":
    leave(run_command("d2l_autorec.compare", main))

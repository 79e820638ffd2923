"""Compare finished runs: a table on stdout and, with --figure, their test errors over epochs.

Says so where runs had different data.

for example:
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
from .runs.tables import METRICS
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, DataWarning
from .support.files import telling_damage
from .support.terminal import show_steps, step
from .support.texts import aligned, seconds_shown

TEXT_COLUMNS = ("run", "model", "dataset")  # every run has them; numbers follow
COLUMNS = {
    **{name: name for name in (*TEXT_COLUMNS, "epochs")},
    **METRICS["rating"],
    **METRICS["ranking"],
    "train_seconds": "seconds",
}
DRAWN = ("test_rmse", "test_ndcg@100")  # a run has one of them


class FinishedRun(NamedTuple):
    """What a comparison reads of a run folder; `curve` is (epoch, value of `metric`) pairs.

    Without a test part `metric` is '' and the curve empty.
    """

    path: Path
    result: dict[str, Any]
    data: tuple[str, str]  # digests of its training and test ratings
    metric: str
    curve: list[tuple[int, float]]

    def row(self) -> dict[str, Any]:
        """Return the run's line of the table, by `COLUMNS`."""
        model = self.result["model"]
        if "based" in self.result:
            model += f" ({self.result['based']}-based)"
        if is_reconstruction(self.result):
            model += f", {RECONSTRUCTION}"

        known = {**self.result, "run": str(self.path), "model": model}
        return {key: known[key] for key in COLUMNS if key in known}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and print the comparison."""
    options = _parser().parse_args(argv)
    show_steps(not options.json)
    step("reading the runs")
    runs = [read_run(Path(path)) for path in options.runs]
    warn_of_different_data(runs)

    if options.figure:
        step("drawing the figure")
        path = Path(options.figure)
        with warning_of_figure(path):
            draw(runs, path)
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
    result, data = record.finished(), record.about["data"]
    metric = next((name for name in DRAWN if name in result), "")

    with telling_damage(path):
        curve = _read_curve(path / "metrics.csv", metric) if metric else []
        run = FinishedRun(path, result, (data["train_sha256"], data["test_sha256"]), metric, curve)
        table([run.row()])  # raises where something is no number

    if not metric:
        warnings.warn(f"{path} was trained without a test part", DataWarning, stacklevel=2)
    return run


def _read_curve(path: Path, metric: str) -> list[tuple[int, float]]:
    """Return (epoch, metric) of the last phase's evaluated epochs: of a refit run, the refit's."""
    with path.open(newline="", encoding="utf-8") as file:
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
        groups.setdefault(run.data, []).append(str(run.path))

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
    return aligned([head, *lines], len(TEXT_COLUMNS))


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
    is_same = len({run.data for run in runs}) == 1
    notes = [] if is_same else ["the runs had different ratings: their errors are not comparable"]
    draw_runs(series, path, f"{len(runs)} runs on {data}", value, notes)


def _names_of(runs: Sequence[FinishedRun]) -> list[str]:
    """Return what tells the runs apart: their paths from the folder that all of them lie in."""
    root = os.path.commonpath([run.path.absolute().parent for run in runs])
    marks = [f" ({RECONSTRUCTION})" if is_reconstruction(run.result) else "" for run in runs]
    return [os.path.relpath(run.path, root) + mark for run, mark in zip(runs, marks)]


if __name__ == "__main__":
    leave(run_command("d2l_autorec.compare", main))

"""Compare finished runs: a table on stdout and, with --figure, their test errors over epochs.

It warns where the runs had different data.

for example:
  python -m d2l_autorec.compare runs/*
  python -m d2l_autorec.compare runs/a runs/b --figure compare.png
"""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .runs import figures
from .runs.folder import RunFolder
from .runs.tables import METRICS, Difference, behind
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, warn
from .support.files import telling_damage
from .support.terminal import remark, show_steps, step
from .support.texts import aligned, seconds_shown
from .training.history import label_of

TEXT_COLUMNS = ("run", "model", "dataset")  # every run has them; numbers follow
COLUMNS = {
    **{name: name for name in (*TEXT_COLUMNS, "epochs")},
    **METRICS["rating"],
    **METRICS["ranking"],
    "train_seconds": "seconds",
    "behind": "behind the best",
}
BEHIND = (
    "behind the best: mean difference of the users' {} ± its standard error; "
    "~ where 95 % do not tell the two apart"
)
FORMATS = (".png", ".svg", ".pdf")  # how a figure's name may end
DRAWN = ("test_rmse", "test_ndcg@100")  # a run with a test part has one of them


class FinishedRun(NamedTuple):
    """A run as a comparison reads it from its folder; `curve` is (epoch, value of `metric`) pairs.

    Without a test part `metric` is '' and the curve empty.
    """

    path: Path
    result: dict[str, Any]
    data: tuple[str, str]  # digests of the run's training and test ratings
    metric: str
    curve: list[tuple[int, float]]
    by_user: list[float]  # the metric of each test user, in the order of their rows

    def row(self) -> dict[str, Any]:
        """Return the run's row of the table: a name in `COLUMNS` to its value."""
        model = self.result["model"]
        if "based" in self.result:
            model += f" ({self.result['based']}-based)"

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
        with figures.warning_of_figure(path):
            draw(runs, path)
            remark(f"figure: {options.figure}")

    rows = [run.row() for run in runs]
    found = differences(runs)
    for row, behind_best in zip(rows, found):
        row["behind"] = behind_best and behind_best._asdict()
    print(json.dumps(rows, indent=2) if options.json else table(rows))
    if found and not options.json:
        print(f"\n{BEHIND.format(label_of(runs[0].metric.removeprefix('test_')))}")


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
    """Read result.json, config.json, metrics.csv and users.csv in a run folder.

    Raises
    ------
    DataError
        If one of them is missing or damaged.
    """
    record = RunFolder.read(path)
    result, data = record.finished(), record.about["data"]
    metric = next((name for name in DRAWN if name in result), "")

    with telling_damage(path):
        curve, by_user = [], []
        if metric:
            epochs, name = _rows(path / "metrics.csv"), metric.removeprefix("test_")
            last = [row for row in epochs if row["phase"] == epochs[-1]["phase"]]  # as of a refit
            curve = [(int(row["epoch"]), float(row[metric])) for row in last if row[metric]]
            by_user = [float(row[name]) for row in _rows(path / "users.csv")]
        digests = data["train_sha256"], data["test_sha256"]
        run = FinishedRun(path, result, digests, metric, curve, by_user)
        table([run.row()])  # raises an error where something is no number

    if not metric:
        warn(f"{path} was trained without a test part")
    return run


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a csv file."""
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def differences(runs: Sequence[FinishedRun]) -> list[Difference | None]:
    """Return how far each run is behind the best, paired over users; [] if data differ."""
    alike = len({(run.data, run.metric) for run in runs}) == 1 < len(runs)
    if not alike or min(len(run.by_user) for run in runs) < 2:
        return []
    return behind([run.by_user for run in runs], -1 if runs[0].metric == "test_rmse" else 1)


def warn_of_different_data(runs: Sequence[FinishedRun]) -> None:
    """Warn if the runs were not trained and tested on the same ratings."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(str(run.path))

    if len(groups) > 1:
        listed = "; ".join(", ".join(paths) for paths in groups.values())
        warn(
            f"the runs had {len(groups)} different pairs of training and test ratings, "
            f"so their errors are not comparable: {listed}"
        )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as aligned text, with numbers to the right."""
    keys = [key for key in COLUMNS if any(key in row for row in rows)]
    head = [COLUMNS[key] for key in keys]
    lines = [[_shown(key, row[key]) if key in row else "" for key in keys] for row in rows]
    return aligned([head, *lines], len(TEXT_COLUMNS))


def _shown(key: str, value: Any) -> str:
    if key == "behind":
        sign = "" if not value or value["is_sure"] else "~ "
        return f"{sign}{value['mean']:+.4f} ± {value['error']:.4f}" if value else ""
    if key.startswith("test_"):
        return f"{value:.4f}"
    return seconds_shown(value) if key == "train_seconds" else str(value)


def draw(runs: Sequence[FinishedRun], path: Path) -> None:
    """Draw test RMSE, or NDCG@100, against epochs, with a line for each run.

    The line of a run without epochs is level.

    Raises
    ------
    ConfigError
        If the file cannot be written, its name does not end in one of `FORMATS`, or the runs have
        no metric in common.
    """
    runs = [run for run in runs if run.metric]
    metrics = {run.metric for run in runs}
    if len(metrics) != 1:
        raise ConfigError(
            "--figure: the runs have no metric in common: draw them apart (some predict ratings "
            "and some rank clicks, or none had a test part)"
        )
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--figure {path}: name a file that ends in .png, .svg or .pdf")

    results = [run.result for run in runs]
    series = [
        figures.series_of_run(name, run.curve, figures.look_of(place), run.result)
        for place, (name, run) in enumerate(zip(_names_of(runs), runs))
    ]
    value = f"test {figures.value_label(metrics.pop().removeprefix('test_'))}"
    data = ", ".join(dict.fromkeys(str(result["dataset"]) for result in results))
    is_same = len({run.data for run in runs}) == 1
    notes = [] if is_same else ["the runs had different ratings: their errors are not comparable"]
    figures.draw_runs(series, path, f"{len(runs)} runs on {data}", value, notes)


def _names_of(runs: Sequence[FinishedRun]) -> list[str]:
    """Return names of the runs: their paths from the innermost folder that holds them all."""
    root = os.path.commonpath([run.path.absolute().parent for run in runs])
    return [os.path.relpath(run.path, root) for run in runs]


if __name__ == "__main__":
    leave(run_command("d2l_autorec.compare", main))

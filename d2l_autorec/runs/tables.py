"""The tables of a report: their runs, the published values, and the conclusions.

published.json holds the tables of the book and the papers: a row is a label, the options of its
runs and, if there is one, the published value.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..models.kinds import RatingModel
from ..models.registry import compared_rows
from ..support.texts import markdown

SURE = 0.95  # confidence with which a difference is reported as one
NONE = 5e-5  # a difference below it is shown as 0.0000

METRICS = {  # for each task, names in result.json and in tables; the first metric decides
    "rating": {"test_rmse": "test RMSE", "test_mae": "MAE"},
    "ranking": {
        "test_ndcg@100": "test NDCG@100",
        "test_recall@20": "Recall@20",
        "test_recall@50": "Recall@50",
        "test_coverage@10": "Coverage@10",
        "test_novelty@10": "Novelty@10",
        "test_diversity@10": "Diversity@10",
        "test_gini@10": "Gini@10",
    },
}


@dataclass(frozen=True)
class Row:
    """One model of a table.

    Parameters
    ----------
    label : str
        The name of the model.
    options : mapping
        The options of its runs, beside the table's.
    published : str
        The published value, in words.
    value : float, optional
        The published value of the table's first metric.
    """

    label: str
    options: Mapping[str, Any]
    published: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Models that are compared on the same data.

    Parameters
    ----------
    name, title, data : str
        Name of its files; heading; a text on the data and what varies between runs.
    options : mapping
        The options of every run.
    rows : sequence of Row
        The models.
    vary : str
        The option that differs between the runs of a row.
    values : sequence
        The values of that option.
    task : {'rating', 'ranking'}
        What the models do.
    reference : str
        The source of the published values.
    """

    name: str
    title: str
    data: str
    options: Mapping[str, Any]
    rows: Sequence[Row]
    vary: str = "seed"
    values: Sequence[Any] = (0, 1, 2)
    task: str = "rating"
    reference: str = "published"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names, in result.json, of the metrics that are columns; the first decides."""
        return tuple(METRICS[self.task])

    @property
    def is_of_own_data(self) -> bool:
        """Whether the table compares models on a user's own data."""
        return self.name == "models"

    @property
    def metric_label(self) -> str:
        """The name of the first metric for people."""
        return METRICS[self.task][self.metrics[0]]

    @property
    def sign(self) -> int:
        """The factor, 1 or -1, that makes a higher first metric better."""
        return 1 if self.task == "ranking" else -1


@cache
def published_tables() -> dict[str, Table]:
    """Return the tables of the book and the papers by name."""
    stored = json.loads(Path(__file__).with_name("published.json").read_bytes())
    tables = [Table(**{**table, "rows": [Row(**row) for row in table["rows"]]}) for table in stored]
    return {table.name: table for table in tables}


def models_table(task: str, data: Mapping[str, Any], source: str) -> Table:
    """Return the table that compares the models of a task on folds of some data, or on one split.

    Parameters
    ----------
    task : {'rating', 'ranking'}
        What the models do.
    data : mapping
        Options that name the data and their split, by default into 5 folds.
    source : str
        The name of the data.
    """
    options = {"split": "k-fold", **data}
    vary, values, splits = "split", [options["split"]], f"{options['split']} split"
    if options["split"] == "k-fold":
        folds = options.setdefault("folds", RatingModel.folds)
        vary, values, splits = "fold", [*range(1, folds + 1)], f"{folds} folds"
    return Table(
        "models",
        f"Which model for {source}",
        f"The same {splits} for every model; each chooses its epochs, where it has any, on "
        "validation data of its own.",
        options,
        [Row(label, own) for label, own in compared_rows(task).items()],
        vary,
        values,
        task,
    )


class Line(NamedTuple):
    """A row of a table, with the content of result.json for each of its runs."""

    row: Row
    results: list[dict[str, Any]]

    def values(self, metric: str) -> list[float]:
        """Return the metric of each run."""
        return [result[metric] for result in self.results]

    def mean(self, metric: str) -> float:
        """Return the mean over the runs."""
        return sum(self.values(metric)) / len(self.results)

    def deviation(self, metric: str) -> float | None:
        """Return the standard deviation over the runs (n - 1); None for a single run."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def shown(self, metric: str) -> str:
        """Return a text like '0.9067 ± 0.0050', for rankings with a standard error over users."""
        text = f"{self.mean(metric):.4f}"
        if (deviation := self.deviation(metric)) is not None:
            text += f" ± {deviation:.4f}"
        if f"{metric}_se" in self.results[0]:
            text += f" ({self.mean(f'{metric}_se'):.4f})"
        return text


def section(table: Table, lines: Sequence[Line]) -> str:
    """Return a section of the report: the table in Markdown, and for own data a conclusion."""
    cells = [[line.row.label, *map(line.shown, table.metrics)] for line in lines]
    head = ["model", *METRICS[table.task].values()]
    if not table.is_of_own_data:
        head += ["runs", table.reference]
        for row, line in zip(cells, lines):
            row += [str(len(line.results)), line.row.published]
    elif table.vary == "fold":
        head.append("difference to the best ± its standard error")
        for row, apart in zip(cells, behind_best(table, lines)):
            row.append(f"{apart.mean:+.4f} ± {apart.error:.4f}" if apart else "")

    blocks = [f"## {table.title}", table.data, markdown([head, *cells])]
    if table.is_of_own_data:
        blocks.append(conclusion(table, lines))
    blocks.append(f"![{table.title}]({table.name}.png)")
    return "\n\n".join(blocks) + "\n"


def behind_best(table: Table, lines: Sequence[Line]) -> "list[Difference | None]":
    """Return how far each model is behind the best; None for the best."""
    return behind([line.values(table.metrics[0]) for line in lines], table.sign)


def behind(values: Sequence[Sequence[float]], sign: int) -> "list[Difference | None]":
    """Return each model's paired difference to the model with the best mean; None for that one.

    Parameters
    ----------
    values : sequence of sequence of float
        A metric on the same folds, or for the same users, for each model.
    sign : {1, -1}
        1 if a higher metric is better, -1 if a lower one is.
    """
    best = max(range(len(values)), key=lambda place: sign * statistics.fmean(values[place]))
    return [None if k == best else difference(one, values[best]) for k, one in enumerate(values)]


def rows_of(table: Table, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return a table for programs, with every digit: TABLE.csv.

    Returns
    -------
    list of dict
        The columns are `model`; `dataset`; `options`, those of the runs (JSON, as a file of options
        for `run`); `runs`; for each metric the mean, the standard deviation over runs (`_sd`) and,
        for rankings, the standard error over users (`_se`); for the first metric the value of
        each run (`_of_runs`); `published`, in words, and `published_value`. An empty cell is None.
    """
    first = table.metrics[0]
    rows = []
    for line in lines:
        row: dict[str, Any] = {
            "model": line.row.label,
            "dataset": line.results[0]["dataset"],
            "options": json.dumps({**table.options, **line.row.options}),
            "runs": len(line.results),
        }
        for metric in table.metrics:
            row |= {metric: line.mean(metric), f"{metric}_sd": line.deviation(metric)}
            if f"{metric}_se" in line.results[0]:
                row[f"{metric}_se"] = line.mean(f"{metric}_se")

        row |= {
            f"{first}_of_runs": " ".join(map(repr, line.values(first))),
            "published": line.row.published,
            "published_value": line.row.value,
        }
        rows.append(row)
    return rows


class Difference(NamedTuple):
    """A paired difference over folds or users: its mean, standard error, and whether it is sure."""

    mean: float
    error: float
    is_sure: bool


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Return the paired difference of `one` and `other` over folds, or users.

    The standard error is that of independent differences. Folds share training data, so that it is
    rather too small (Nadeau and Bengio, Inference for the generalization error, 2003).
    """
    differences = [a - b for a, b in zip(one, other, strict=True)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))

    from scipy import stats  # imported here, as it is slow to load

    quantile = float(stats.t.ppf((1 + SURE) / 2, len(differences) - 1))
    return Difference(mean, error, abs(mean) > max(quantile * error, NONE))


def unmeasured(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a remark if test users of some runs have no held-out click."""
    names = "heldout_users", "test_users_without_held_out"
    users, without = (sum(result.get(name, 0) for result in results) for name in names)
    if not without:
        return []
    return [f"{without} of {users} test users have no held-out click and are not measured"]


def conclusion(table: Table, lines: Sequence[Line]) -> str:
    """Return the conclusion in a few sentences; the first line is the baseline."""
    said = ". ".join([_conclusion(table, lines), *unmeasured(lines[0].results)])
    return f"{said}."


def _conclusion(table: Table, lines: Sequence[Line]) -> str:
    best = max(lines, key=lambda line: table.sign * line.mean(table.metrics[0]))
    figure = f"{table.metric_label} {best.mean(table.metrics[0]):.4f}"
    text = f"{best.row.label} is best ({figure})"
    if best is lines[0]:
        text = f"No model beats {best.row.label} ({figure}) on these data"
    if table.vary != "fold":
        return f"{text}; one split does not say how sure that is"

    others = [(line.row.label, d) for line, d in zip(lines, behind_best(table, lines)) if d]
    if unsure := [label for label, apart in others if not apart.is_sure]:
        return f"{text}, but these folds do not tell it from {', '.join(unsure)}"

    nearest, apart = min(others, key=lambda pair: abs(pair[1].mean))
    return (
        f"{text}; the next, {nearest}, is behind by {abs(apart.mean):.4f} ± {apart.error:.4f} "
        "(standard error over folds)"
    )

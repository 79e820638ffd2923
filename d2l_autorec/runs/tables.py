"""Tables of the report: which runs, what was published, and what the figures bear out.

published.json holds the tables of the book and the papers: a row is a label, the options of its
runs and, where there is one, the published value.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..models.registry import compared_rows
from ..support.texts import markdown

SURE = 0.95  # of a difference that is called one
METRICS = {  # of a task, as result.json and as a table name them; the first decides
    "rating": {"test_rmse": "test RMSE", "test_mae": "MAE"},
    "ranking": {
        "test_ndcg@100": "test NDCG@100",
        "test_recall@20": "Recall@20",
        "test_recall@50": "Recall@50",
    },
}


@dataclass(frozen=True)
class Row:
    """One model of a table.

    Parameters
    ----------
    label : str
    options : mapping
        Of its runs, beside the table's.
    published : str
        What was published, in words.
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
        File name; heading; what the data are and what varies.
    options : mapping
        Of every run.
    rows : sequence of Row
    vary : str
        The option that differs between the runs of a row.
    values : sequence
        Its values.
    task : {'rating', 'ranking'}
    reference : str
        Whose figures the published ones are.
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
        """The metrics of its columns, as result.json names them; the first decides."""
        return tuple(METRICS[self.task])

    @property
    def metric_label(self) -> str:
        """The first metric in words."""
        return METRICS[self.task][self.metrics[0]]

    @property
    def sign(self) -> int:
        """What a difference of two metrics is multiplied by, for more to be better."""
        return 1 if self.task == "ranking" else -1


@cache
def published_tables() -> dict[str, Table]:
    """Return the tables of the book and the papers by name."""
    stored = json.loads(Path(__file__).with_name("published.json").read_bytes())
    tables = [Table(**{**table, "rows": [Row(**row) for row in table["rows"]]}) for table in stored]
    return {table.name: table for table in tables}


def models_table(task: str, data: Mapping[str, Any], folds: int, source: str) -> Table:
    """Return the table that compares the models of a task on the folds of some data.

    Parameters
    ----------
    task : {'rating', 'ranking'}
    data : mapping
        Options that say what the data are.
    folds : int
    source : str
        What the data are called.
    """
    return Table(
        "models",
        f"Which model for {source}",
        f"The same {folds} folds for every model; each chooses its epochs, where it has any, on "
        "validation data of its own.",
        {**data, "split": "k-fold", "folds": folds},
        [Row(label, options) for label, options in compared_rows(task).items()],
        "fold",
        range(1, folds + 1),
        task,
    )


class Line(NamedTuple):
    """A row of a table with what result.json holds of each of its runs."""

    row: Row
    results: list[dict[str, Any]]

    def values(self, metric: str) -> list[float]:
        """Return the metric of each run."""
        return [result[metric] for result in self.results]

    def mean(self, metric: str) -> float:
        """Return the mean over the runs."""
        return sum(self.values(metric)) / len(self.results)

    def deviation(self, metric: str) -> float | None:
        """Return the standard deviation over the runs (n - 1); None for a single one."""
        count = len(self.results)
        if count < 2:
            return None
        mean = self.mean(metric)
        return math.sqrt(sum((value - mean) ** 2 for value in self.values(metric)) / (count - 1))

    def shown(self, metric: str) -> str:
        """Return '0.9067 ± 0.0050', and in parentheses the standard error over users."""
        text = f"{self.mean(metric):.4f}"
        deviation = self.deviation(metric)
        if deviation is not None:
            text += f" ± {deviation:.4f}"
        if f"{metric}_se" in self.results[0]:
            text += f" ({self.mean(f'{metric}_se'):.4f})"
        return text


def section(table: Table, lines: Sequence[Line]) -> str:
    """Return a table in Markdown; compared models end with a conclusion."""
    titles = METRICS[table.task].values()
    if table.vary == "fold":
        head, apart = ["difference to the best ± its standard error"], behind_best(table, lines)
        cells = [[f"{d.mean:+.4f} ± {d.error:.4f}" if d else ""] for d in apart]
    else:
        head = ["runs", table.reference]
        cells = [[str(len(line.results)), line.row.published] for line in lines]

    figures = [
        [line.row.label, *map(line.shown, table.metrics), *more]
        for line, more in zip(lines, cells, strict=True)
    ]
    blocks = [f"## {table.title}", table.data, markdown([["model", *titles, *head], *figures])]
    if table.vary == "fold":
        blocks.append(conclusion(table, lines))
    blocks.append(f"![{table.title}]({table.name}.png)")
    return "\n\n".join(blocks) + "\n"


def behind_best(table: Table, lines: Sequence[Line]) -> "list[Difference | None]":
    """Return how far each model is behind the best; None for this itself."""
    best, metric = best_of(table, lines), table.metrics[0]
    of_best = best.values(metric)
    return [None if line == best else difference(line.values(metric), of_best) for line in lines]


def rows_of(table: Table, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return a table for programs, with every digit: TABLE.csv.

    Returns
    -------
    list of dict
        `model`; `dataset` and `options`, with which it was run (JSON, as a file of options for
        `run`); `runs`; of each metric the mean, the standard deviation over runs (`_sd`) and, of
        rankings, the standard error over users (`_se`); of the first metric the value of
        each run (`_of_runs`); `published`, in words, and `published_value`.
        None where there is nothing to say.
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
    """A paired difference over folds: its mean, standard error, and whether it is one."""

    mean: float
    error: float
    is_sure: bool


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Return the paired difference of `one` and `other` over folds.

    The standard error is that of independent folds. They share training data, so that it is
    rather too small (Nadeau and Bengio, Inference for the generalization error, 2003).
    """
    differences = [a - b for a, b in zip(one, other, strict=True)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))

    from scipy import stats  # here: it is slow to load

    quantile = float(stats.t.ppf((1 + SURE) / 2, len(differences) - 1))
    return Difference(mean, error, abs(mean) > quantile * error)


def best_of(table: Table, lines: Sequence[Line]) -> Line:
    """Return the model with the best mean; the first of equal ones."""
    return max(lines, key=lambda line: table.sign * line.mean(table.metrics[0]))


def conclusion(table: Table, lines: Sequence[Line]) -> str:
    """Return the conclusion in a sentence or two; the first line is the baseline."""
    best, baseline = best_of(table, lines), lines[0].row.label
    labels = [line.row.label for line in lines]
    behind = {label: d for label, d in zip(labels, behind_best(table, lines)) if d}

    figure = f"{table.metric_label} {best.mean(table.metrics[0]):.4f}"
    text = f"{best.row.label} is best ({figure})"
    if best.row.label == baseline:
        text = f"No model beats {baseline} ({figure}) on these data"

    unsure = [name for name, apart in behind.items() if not apart.is_sure]
    if unsure:
        return f"{text}, but these folds do not tell it from {', '.join(unsure)}."

    nearest = min(behind, key=lambda name: abs(behind[name].mean))
    apart = behind[nearest]
    return (
        f"{text}; the next, {nearest}, is behind by {abs(apart.mean):.4f} ± {apart.error:.4f} "
        "(standard error over folds)."
    )

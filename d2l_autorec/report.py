"""`python -m d2l_autorec.report`: the published tables run here, or models compared on your data.

tables -> runs (each once, resumed if stopped) -> means and deviations -> report.md; of each table
a csv and a figure
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .runs.config import AutoRecConfig, RankingConfig, RatingConfig, RunConfig, make_config
from .runs.figures import draw_table, warning_of_figure
from .runs.model_tables import ROWS, Compared, best_of, conclusion, difference, models_table
from .runs.options import AT_LEAST_1, add_option_of, computing_options, whole_number, within
from .runs.paper_tables import TABLES, Line, Row, Table
from .runs.run_record import read_record
from .runs.search_space import candidates_of, check_kind
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, did_you_mean
from .support.files import digest_of, write_atomically
from .support.flags import flag, with_flags
from .support.numbers import seconds_shown
from .support.steps import show_steps, step
from .support.text_table import csv_text, markdown
from .training.engine import has_gpu, start_mxnet

SEEDS = within(1, 1000)  # each is hours of training
TITLE = "# Reproduction report"
# What a run computes hangs on these in its last bits: a report's figures do not, no table sets
# them, and a run that was begun with fewer threads is gone on with.
UNNAMED = ("threads", "kvstore")
DATA = (  # what names and describes a reader's own data
    "ratings",
    "dataset",
    "columns",
    "separator",
    "duplicates",
    "scale",
    "threshold",
    "min_user_clicks",
    "min_item_clicks",
    "task",
    "folds",
)
TRIALS = 20  # of a search, by default
QUICK = dict(dataset="synthetic:200x300x6000", epochs=2)
EXAMPLES = """examples:
  python -m d2l_autorec.report                     every table; hours on 2 cores
  python -m d2l_autorec.report --table chapter     some minutes
  python -m d2l_autorec.report --quick             a smoke run on generated data
  python -m d2l_autorec.report --ratings mine.csv  which model for your ratings
  python -m d2l_autorec.report --ratings clicks.csv --task ranking --tune

Stopped with Ctrl-C or killed, the same command goes on where it was.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, run what is not there yet, print and write the report."""
    options = _parser().parse_args(argv)
    given = {name: getattr(options, name) for name in DATA if getattr(options, name) is not None}
    if "ratings" in given or "dataset" in given:
        tables = [_models_table(options, given)]
    else:
        _check_published(options, given)
        tables = _tables(options.table or ",".join(TABLES))
    if options.seeds is not None:
        _check_seeds(tables, options.quick)
    configs = {
        (table.name, row.label): configs_of(table, row, options)
        for table in tables
        for row in table.rows
    }

    _step("loading MXNet")
    start_mxnet(options.threads, one_cpu=not has_gpu())
    out = _folder(options, configs)
    check_out(out, tables)

    sections = []
    for table in tables:
        lines = []
        for row in table.rows:
            label = f"{table.name}: {row.label}"
            results = [
                run_once(_chosen(config, table, row, options, out), out, label)
                for config in configs[table.name, row.label]
            ]
            lines.append(Line(row, results))

        sections.append(section(table, lines, options.quick))
        print(sections[-1], flush=True)
        text = "\n".join([heading(options.quick), *sections])
        write_atomically(out / "report.md", text.encode())

        _write_table(table, lines, out, options.quick)

    print(f"report: {out / 'report.md'}", file=sys.stderr)


def _write_table(table: Table, lines: Sequence[Line], out: Path, quick: bool) -> None:
    """Write a table as csv and as a figure."""
    rows = rows_of(table, lines, quick)
    write_atomically(out / f"{table.name}.csv", csv_text(rows).encode())

    figure = out / f"{table.name}.png"
    with warning_of_figure(figure):
        draw_table(table, lines, figure)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m d2l_autorec.report",
        epilog=EXAMPLES,
        description=(
            "Reproduce the published tables: train every model of each, several times, and print "
            "means, standard deviations and the published figures."
        ),
    )
    parser.add_argument(
        "--table",
        metavar="LIST",
        help=f"which tables, separated by commas [{','.join(TABLES)}]",
    )
    parser.add_argument(
        "--seeds",
        type=whole_number(SEEDS),
        metavar="N",
        help="runs of each model, where a table has no folds (default: as each table says)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two epochs, one run each, on "
        "generated ratings: shows that it works, and nothing else",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where runs, report.md, tables as csv and figures go [runs/report; of your own data "
        "runs/report-NAME]",
    )
    for name in ("data_dir", "threads"):
        add_option_of(parser, RunConfig, name)

    models = parser.add_argument_group("which model for your data")
    for name in ("ratings", "dataset", "columns", "separator", "duplicates", "scale"):
        add_option_of(models, RunConfig, name)
    add_option_of(models, RatingConfig, "folds")
    for name in ("threshold", "min_user_clicks", "min_item_clicks"):
        add_option_of(models, RankingConfig, name)
    models.add_argument(
        "--task",
        metavar="{" + ",".join(ROWS) + "}",
        help="rating: means, matrix factorization and AutoRec, item- and user-based; ranking: "
        "popularity, EASE, Mult-DAE and Mult-VAE, of clicks [rating]",
    )
    models.add_argument(
        "--tune",
        action="store_true",
        help="search for each model's options on the training part of each fold",
    )
    models.add_argument(
        "--trials",
        type=whole_number(AT_LEAST_1),
        metavar="N",
        help="of such a search, for each model and fold [20]",
    )
    return parser


def _models_table(options: argparse.Namespace, given: dict[str, Any]) -> Table:
    """The table of models on the data that the options name."""
    refused = {"--table": options.table, "--quick": options.quick}
    for name, value in refused.items():
        if value:
            raise ConfigError(
                f"{name} is of the published tables: leave it out, or --ratings and --dataset"
            )
    if options.trials is not None and not options.tune:
        raise ConfigError("--trials has no effect: there is no search; add --tune")

    kind = options.task or "rating"
    check_kind(kind)
    data = {name: value for name, value in given.items() if name not in ("task", "folds")}
    source = given.get("dataset") or Path(given["ratings"]).name
    return models_table(kind, data, options.folds or RatingConfig.folds, source)


def _check_published(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Raise ConfigError for an option that is of a reader's own data alone."""
    own = {**given, "tune": options.tune or None, "trials": options.trials}
    for name, value in own.items():
        if value is not None:
            raise ConfigError(
                f"{flag(name)} has no effect on the published tables: add --ratings FILE, or leave "
                "it out"
            )


def _folder(options: argparse.Namespace, configs: dict[tuple[str, str], list[RunConfig]]) -> Path:
    if options.out is not None:
        return Path(options.out)
    if options.ratings is None and options.dataset is None:
        return Path("runs/report")

    [config, *_] = next(iter(configs.values()))
    return Path("runs", f"report-{config.source_name()}")


def _chosen(
    config: RunConfig, table: Table, row: Row, options: argparse.Namespace, out: Path
) -> RunConfig:
    """The configuration, or what a search makes of it on the training part of its fold."""
    if not options.tune:
        return config

    given = {**table.options, **row.options, table.vary: getattr(config, table.vary)}
    given |= {"data_dir": options.data_dir, "threads": options.threads}
    candidates = candidates_of({name: v for name, v in given.items() if v is not None})
    if not candidates[0].spaces:
        return config

    from .runs.tuning import Limits, Search

    limits = Limits(options.trials or TRIALS, None)
    name = name_of(config)
    search = Search(
        candidates,
        say=lambda line: print(f"{name}, {with_flags(line)}", file=sys.stderr, flush=True),
    )
    tuned = search.run(limits, out / "searches" / name)
    return dataclasses.replace(tuned.config, quiet=True)


def _step(what: str) -> None:
    """Say what begins; the steps within a training would be too many."""
    show_steps(True)
    step(what)
    show_steps(False)


def _tables(text: str) -> list[Table]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in TABLES:
            raise ConfigError(
                f"--table {text}: {name!r} is none of {', '.join(TABLES)}"
                f"{did_you_mean(name, TABLES)}"
            )
    return [TABLES[name] for name in names]


def _check_seeds(tables: Sequence[Table], quick: bool) -> None:
    """Raise ConfigError where the number of seeds has no effect."""
    if quick:
        raise ConfigError("--seeds has no effect: --quick is one run each; leave it out")
    if all(table.vary != "seed" for table in tables):
        raise ConfigError(
            "--seeds has no effect: the runs of this --table are folds, not seeds; leave it out"
        )


def check_out(out: Path, tables: Sequence[Table]) -> None:
    """Raise ConfigError if files in `out` that no report has left would be replaced."""
    names = ["report.md"]
    for table in tables:
        names += [f"{table.name}.csv", f"{table.name}.png"]
    there = [name for name in names if os.path.lexists(out / name)]

    report = out / "report.md"
    try:
        ours = report.is_file() and report.read_bytes().startswith(TITLE.encode())
    except OSError:
        ours = False

    if there and not ours:
        raise ConfigError(
            f"{out} holds {', '.join(there)}, which no report has written: name "
            "another folder with --out"
        )


def configs_of(table: Table, row: Row, options: argparse.Namespace) -> list[RunConfig]:
    """The configurations of a row: one for each seed, or fold."""
    values = table.values
    if table.vary == "seed" and options.seeds is not None:
        values = range(options.seeds)
    if options.quick:
        values = values[:1]

    changed: dict[str, Any] = {
        "data_dir": options.data_dir,
        "threads": options.threads,
        "quiet": True,
    }
    if options.quick:
        changed.update(_quick_options(table))

    configs = [make_config({**table.options, **row.options, table.vary: v}) for v in values]
    return [_with_options(config, changed) for config in configs]


def _with_options(config: RunConfig, changed: dict[str, Any]) -> RunConfig:
    """The configuration with other options; epochs that are given replace its updates."""
    if "epochs" in changed and isinstance(config, AutoRecConfig):
        changed = {**changed, "updates": None}
    return dataclasses.replace(config, **changed)


def _quick_options(table: Table) -> dict[str, Any]:
    """What a smoke run has instead of a table's data and epochs."""
    options: dict[str, Any] = dict(QUICK)
    if table.vary == "split":
        options["split"] = "random"
    if "heldout_users" in table.options:
        options["heldout_users"] = 20
    return options


def run_once(config: RunConfig, out: Path, label: str) -> dict[str, Any]:
    """The result of a configuration: read if the run has finished, resumed or begun if not."""
    from .runs.runner import run_training

    folder = out / "runs" / name_of(config)
    begun = (folder / "config.json").exists()
    if begun:
        record = read_record(folder)
        if record.result is not None:
            return record.result

    _step(f"{label}: training {folder.name}")
    started = time.perf_counter()
    if begun:
        kept = dataclasses.replace(record.config, data_dir=config.data_dir)
        trained = run_training(kept, resume=folder)
    else:
        trained = run_training(dataclasses.replace(config, out=str(folder)))

    if trained is None:
        raise ConfigError("a report is made by one process: start it without d2l_autorec.launch")
    seconds = time.perf_counter() - started
    print(f"{label}: {folder.name}, {seconds_shown(seconds)} s", file=sys.stderr, flush=True)
    return trained.result


def name_of(config: RunConfig) -> str:
    """A folder name that tells configurations apart; tables share the runs they share."""
    options = computing_options(config)
    for name in UNNAMED:
        del options[name]

    for name in config.own_files():  # the content counts, not where it lies
        options[name] = digest_of(Path(options[name]))

    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:10]
    return f"{config.model}-{config.source_name()}-{digest}-seed{config.seed}"


def section(table: Table, lines: Sequence[Line], quick: bool = False) -> str:
    """A table in Markdown; whether its claims hold, and a remark for what was not reached."""
    titles = [table.heads.get(metric, metric) for metric in table.metrics]
    if table.vary == "fold":
        return _section_of_models(table, lines, titles)
    head = ["model", *titles, "runs", table.reference, "reached"]

    rows = []
    for line in lines:
        reached = ""
        if not quick:
            reached = verdict(table, line)
        figures = [line.shown(metric) for metric in table.metrics]
        runs = str(len(line.results))
        rows.append([line.row.label, *figures, runs, line.row.published, reached])

    blocks = [f"## {table.title}", table.data, markdown([head, *rows])]
    remarks = []
    if not quick:
        remarks = _remarks(table, lines)
    if remarks:
        blocks.append("\n".join(remarks))
    blocks.append(f"![{table.title}]({table.name}.png)")
    return "\n\n".join(blocks) + "\n"


def rows_of(table: Table, lines: Sequence[Line], quick: bool = False) -> list[dict[str, Any]]:
    """A table for programs, with every digit: TABLE.csv.

    Parameters
    ----------
    table : Table
    lines : sequence of Line
    quick : bool
        Whether the runs are of a smoke test, which reaches no aim.

    Returns
    -------
    list of dict
        `model`; `dataset` and `options`, with which it was run (JSON, as a file for `run
        --options`); `runs`; of each metric the mean, the standard deviation over runs (`_sd`)
        and, of rankings, the standard error over users (`_se`); of the first metric the value of
        each run (`_of_runs`); `published`, in words, and `published_value`; `aim` and `reached`.
        None where there is nothing to say.
    """
    rows = []
    for line in lines:
        row: dict[str, Any] = {
            "model": line.row.label,
            "dataset": line.results[0]["dataset"],
            "options": json.dumps({**table.options, **line.row.options}),
            "runs": len(line.results),
        }
        for metric in table.metrics:
            row |= _columns_of(line, metric)

        first = table.metrics[0]
        row[f"{first}_of_runs"] = " ".join(repr(result[first]) for result in line.results)
        row |= {"published": line.row.published, "published_value": line.row.value}

        row |= {"aim": None, "reached": None}
        if line.row.aim is not None and not quick:
            row |= {"aim": line.row.aim, "reached": lead_over_aim(table, line, line.row.aim) >= 0}
        rows.append(row)
    return rows


def _columns_of(line: Line, metric: str) -> dict[str, Any]:
    """A metric's mean and what it is uncertain by."""
    columns = {metric: line.mean(metric), f"{metric}_sd": line.deviation(metric)}

    standard_error = f"{metric}_se"
    if standard_error in line.results[0]:
        columns[standard_error] = line.mean(standard_error)
    return columns


def _section_of_models(table: Table, lines: Sequence[Line], titles: Sequence[str]) -> str:
    """Models on the same folds: what each is behind the best, and what that bears out."""
    metric = table.metrics[0]
    compared = [
        Compared(line.row.label, [result[metric] for result in line.results]) for line in lines
    ]
    best = best_of(compared, table.higher_is_better)

    rows = []
    for line, one in zip(lines, compared):
        behind = ""
        if one != best:
            apart = difference(one.values, best.values)
            behind = f"{apart.mean:+.4f} ± {apart.error:.4f}"
        rows.append([line.row.label, *map(line.shown, table.metrics), behind])

    head = ["model", *titles, "difference to the best ± its standard error"]
    verdict_of_models = conclusion(compared, table.higher_is_better, lines[0].row.label, titles[0])
    blocks = [
        f"## {table.title}",
        table.data,
        markdown([head, *rows]),
        verdict_of_models,
        f"![{table.title}]({table.name}.png)",
    ]
    return "\n\n".join(blocks) + "\n"


def _remarks(table: Table, lines: Sequence[Line]) -> list[str]:
    """Whether the claims hold, and what was tried where an aim was missed."""
    claims = [claim(table, lines, better, worse) for better, worse in table.claims]
    missed = [
        f"- {line.row.label}, not reached: {line.row.tried}"
        for line in lines
        if line.row.tried and "missed" in verdict(table, line)
    ]
    return claims + missed


def claim(table: Table, lines: Sequence[Line], better: str, worse: str) -> str:
    """Whether the first of two rows is better, on average and run by run."""
    metric = table.metrics[0]
    by_label = {line.row.label: line for line in lines}
    first = by_label[better]
    second = by_label[worse]

    lead = table.sign * (first.mean(metric) - second.mean(metric))
    answer = "no"
    if lead > 0:
        answer = "yes"

    pairs = zip(first.results, second.results)
    wins = sum(table.sign * (one[metric] - other[metric]) > 0 for one, other in pairs)
    return (
        f"- {better} better than {worse}: {answer}, by {lead:.4f} "
        f"({wins} of {len(first.results)} runs)"
    )


def verdict(table: Table, line: Line) -> str:
    """'yes', or by how much the aim is missed; '' without one."""
    if line.row.aim is None:
        return ""

    side = "at most"
    if table.higher_is_better:
        side = "at least"

    lead = lead_over_aim(table, line, line.row.aim)
    if lead >= 0:
        return f"yes ({side} {line.row.aim:.3f})"
    return f"missed by {-lead:.4f} ({side} {line.row.aim:.3f})"


def lead_over_aim(table: Table, line: Line, aim: float) -> float:
    """How much better than its aim a row is; negative where it is worse."""
    return table.sign * (line.mean(table.metrics[0]) - aim)


def heading(quick: bool) -> str:
    """Date, machine and versions."""
    from .runs.run_folder import versions

    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    warning = ""
    if quick:
        warning = (
            "\n**A smoke run: two epochs on generated ratings. No figure here is a result.**\n"
        )
    return (
        f"{TITLE}\n{warning}\n"
        f"{time.strftime('%Y-%m-%d')}, {processor()}; {listed}. Mean ± standard deviation "
        "over runs; in parentheses, of rankings, the standard error over users.\n"
    )


def processor() -> str:
    """What the figures were computed on."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    leave(run_command("d2l_autorec.report", main))

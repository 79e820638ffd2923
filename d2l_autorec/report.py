"""Reproduce the published tables, or compare models on your data.

Trains every model of each table, several times, and prints means, standard deviations and the
published figures.

examples:
  python -m d2l_autorec.report                     every table; hours on 2 cores
  python -m d2l_autorec.report --table chapter     some minutes
  python -m d2l_autorec.report --quick             a smoke run on generated data
  python -m d2l_autorec.report --ratings mine.csv  which model for your ratings
  python -m d2l_autorec.report --ratings clicks.csv --task ranking --tune

Stopped with Ctrl-C or killed, the same command goes on where it was.
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
from typing import Any, TypeAlias

from .models.kinds import ClickModel, RatingModel, RunConfig
from .models.options import AT_LEAST_1, computing_options, shown, within
from .models.registry import TASKS, build_config, make_config
from .runs.figures import draw_table, warning_of_figure
from .runs.folder import RunFolder
from .runs.options import add_option_of, whole_number
from .runs.search_space import candidates_of
from .runs.tables import (
    Line,
    Row,
    Table,
    models_table,
    published_tables,
    rows_of,
    section,
)
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, did_you_mean, stopped_with
from .support.files import digest_of, write_atomically
from .support.flags import as_command, flag, with_flags
from .support.numbers import seconds_shown
from .support.terminal import show_steps, step
from .support.text_table import csv_text
from .training.engine import has_gpu, start_mxnet

SEEDS = within(1, 1000)  # each is hours of training
TITLE = "# Reproduction report"
# The last bits of a run depend on these; no table sets them, and a run that was begun with fewer
# threads is gone on with.
UNNAMED = ("threads", "kvstore")
# What names and describes a reader's own data.
OF_FILES = ("ratings", "dataset", "columns", "separator", "quotes", "duplicates", "scale")
OF_CLICKS = ("threshold", "min_user_clicks", "min_item_clicks")
DATA = (*OF_FILES, *OF_CLICKS, "task", "folds")
TRIALS = 20  # of a search, by default
Configs: TypeAlias = dict[tuple[str, str], list[RunConfig]]  # by table and row
SMOKE = "**A smoke run: two epochs on generated ratings. No figure here is a result.**"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, run what is not there yet, print and write the report."""
    options = _parser().parse_args(argv)
    tables = _tables(options)
    configs = {
        (table.name, row.label): configs_of(table, row, options)
        for table in tables
        for row in table.rows
    }
    [first, *_] = next(iter(configs.values()))
    own = "" if options.ratings is None and options.dataset is None else f"-{first.source_name()}"
    out = Path(options.out or f"runs/report{own}")
    check_out(out, tables)

    _step("loading MXNet")
    start_mxnet(options.threads, one_cpu=not has_gpu())

    words = sys.argv[1:] if argv is None else argv
    with stopped_with(f"go on with {as_command('report', *words)}"):
        _report(tables, configs, options, out)
    print(f"report: {out / 'report.md'}", file=sys.stderr)


def _report(tables: Sequence[Table], configs: Configs, options: Any, out: Path) -> None:
    """Run what is not there yet, table by table, and write the report."""
    begun, total = 0, sum(map(len, configs.values()))
    sections = [heading(options.quick)]
    for table in tables:
        lines = []
        for row in table.rows:
            results = []
            for config in configs[table.name, row.label]:
                begun += 1
                if options.tune:
                    given = {**table.options, **row.options}
                    given[table.vary] = getattr(config, table.vary)
                    config = _tuned(config, given, options, out)
                label = f"{begun} of {total}: {table.name}, {row.label}"
                results.append(run_once(config, out, label))
            lines.append(Line(row, results))

        sections.append(section(table, lines))
        print(sections[-1], flush=True)
        write_atomically(out / "report.md", "\n".join(sections).encode())
        write_atomically(out / f"{table.name}.csv", csv_text(rows_of(table, lines)).encode())
        with warning_of_figure(out / f"{table.name}.png"):
            draw_table(table, lines, out / f"{table.name}.png")


def _parser() -> Parser:
    parser = Parser("d2l_autorec.report", __doc__)
    parser.add_argument(
        "--table",
        metavar="LIST",
        help=f"which tables, separated by commas [{','.join(published_tables())}]",
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
    for name in OF_FILES:
        add_option_of(models, RunConfig, name)
    add_option_of(models, RatingModel, "folds")
    for name in OF_CLICKS:
        add_option_of(models, ClickModel, name)
    models.add_argument(
        "--task",
        choices=TASKS,
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


def _tables(options: argparse.Namespace) -> list[Table]:
    """Return the tables that the options ask for; raise ConfigError for one without effect."""
    given = {name: getattr(options, name) for name in DATA if getattr(options, name) is not None}
    if options.trials is not None and not options.tune:
        raise ConfigError("--trials has no effect: there is no search; add --tune")

    own = "ratings" in given or "dataset" in given
    idle = ["table", "quick", "seeds"] if own else [*given, "tune"]
    for name in idle:
        if getattr(options, name) not in (None, False):
            where = "your own data" if own else "the published tables: add --ratings FILE"
            raise ConfigError(f"{flag(name)} has no effect on {where}, or leave it out")
    if not own:
        return _published_tables(options)

    kind = options.task or "rating"
    data = {name: value for name, value in given.items() if name not in ("task", "folds")}
    source = given.get("dataset") or Path(given["ratings"]).name
    return [models_table(kind, data, options.folds or RatingModel.folds, source)]


def _published_tables(options: argparse.Namespace) -> list[Table]:
    """Return the published tables that the options name, by default all."""
    known = published_tables()
    names = [name.strip() for name in (options.table or ",".join(known)).split(",")]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--table {options.table}: {name!r} is none of {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )

    tables = [known[name] for name in names]
    by_seed = any(table.vary == "seed" for table in tables)
    if options.seeds is not None and (options.quick or not by_seed):
        why = "--quick is one run each" if options.quick else "the runs of this --table are folds"
        raise ConfigError(f"--seeds has no effect: {why}; leave it out")
    return [_smoke_version(table) for table in tables] if options.quick else tables


def _smoke_version(table: Table) -> Table:
    """Return a table with one short run a row, on generated ratings."""
    short: dict[str, Any] = {"dataset": "synthetic:200x300x6000", "epochs": 2}
    if "heldout_users" in table.options:
        short["heldout_users"] = 20

    rows = [dataclasses.replace(row, options={**row.options, **short}) for row in table.rows]
    return dataclasses.replace(table, rows=rows, vary="seed", values=(0,))


def _tuned(
    config: RunConfig, given: dict[str, Any], options: argparse.Namespace, out: Path
) -> RunConfig:
    """Return what a search makes of a configuration on the training part of its fold."""
    given |= {"data_dir": options.data_dir, "threads": options.threads}
    candidates = candidates_of({name: v for name, v in given.items() if v is not None})
    if not candidates[0].spaces:
        return config

    from .runs.tuning import Limits, Search

    name = name_of(config)
    search = Search(
        candidates,
        say=lambda line: print(f"{name}, {with_flags(line)}", file=sys.stderr, flush=True),
    )
    tuned = search.run(Limits(options.trials or TRIALS), out / "searches" / name)
    return dataclasses.replace(tuned.config, quiet=True)


def check_out(out: Path, tables: Sequence[Table]) -> None:
    """Raise ConfigError if files in `out` that no report has left would be replaced."""
    names = [f"{table.name}.{ending}" for table in tables for ending in ("csv", "png")]
    there = [name for name in ["report.md", *names] if os.path.lexists(out / name)]

    ours = False
    with contextlib.suppress(OSError):
        ours = (out / "report.md").read_bytes().startswith(TITLE.encode())

    if there and not ours:
        raise ConfigError(
            f"{out} holds {', '.join(there)}, which no report has written: name "
            "another folder with --out"
        )


def configs_of(table: Table, row: Row, options: argparse.Namespace) -> list[RunConfig]:
    """Return the configurations of a row: one for each seed, or fold."""
    values = table.values
    if table.vary == "seed" and options.seeds is not None:
        values = range(options.seeds)

    make = build_config if options.quick else make_config  # of a closed form it has no effect
    configs = [make({**table.options, **row.options, table.vary: value}) for value in values]
    return [
        dataclasses.replace(config, data_dir=options.data_dir, threads=options.threads, quiet=True)
        for config in configs
    ]


def run_once(config: RunConfig, out: Path, label: str) -> dict[str, Any]:
    """Return the result of a configuration: read if it has finished, resumed or begun if not."""
    from .runs.runner import run_training

    folder = out / "runs" / name_of(config)
    begun = (folder / "config.json").exists()
    if begun:
        record = RunFolder.read(folder)
        _check_options(config, record)
        if record.result is not None:
            return record.result

    _step(f"{label}: training {folder.name}")
    started = time.perf_counter()
    if begun:
        kept = dataclasses.replace(record.config, data_dir=config.data_dir)
        experiment = run_training(kept, resume=folder)
    else:
        experiment = run_training(dataclasses.replace(config, out=str(folder)))

    if experiment.workers.rank:
        raise ConfigError("a report is made by one process: start it without d2l_autorec.launch")
    seconds = seconds_shown(time.perf_counter() - started)
    print(f"{label}: {folder.name}, {seconds} s", file=sys.stderr, flush=True)
    return experiment.result


def _step(what: str) -> None:
    """Say what begins; the steps within a training would be too many."""
    show_steps(True)
    step(what)
    show_steps(False)


def _check_options(config: RunConfig, record: RunFolder) -> None:
    """Raise ConfigError unless a run in a folder of the expected name is the one that is wanted."""
    found = _naming(record.config)
    for name, wanted in _naming(config).items():
        if found.get(name) != wanted and name not in config.own_files():
            raise ConfigError(
                f"{record.path} holds another run than its name says ({name} is "
                f"{shown(found.get(name))}, and {shown(wanted)} is wanted): move it away, or name "
                "another folder with `out`"
            )


def _naming(config: RunConfig) -> dict[str, Any]:
    """Return the options that tell runs apart."""
    options = computing_options(config)
    return {name: value for name, value in options.items() if name not in UNNAMED}


def name_of(config: RunConfig) -> str:
    """Return a folder name that tells configurations apart; tables share the runs they share."""
    options = _naming(config)
    for name in config.own_files():  # the content counts, not where it lies
        options[name] = digest_of(Path(options[name]))

    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:10]
    return f"{config.model}-{config.source_name()}-{digest}-seed{config.seed}"


def heading(quick: bool) -> str:
    """Return the date, the machine and the versions."""
    from .runs.experiment import versions

    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    warning = f"\n{SMOKE}\n" if quick else ""
    return (
        f"{TITLE}\n{warning}\n"
        f"{time.strftime('%Y-%m-%d')}, {processor()}; {listed}. Mean ± standard deviation "
        "over runs; in parentheses, of rankings, the standard error over users.\n"
    )


def processor() -> str:
    """Return the name of the processor that the figures were computed on."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    leave(run_command("d2l_autorec.report", main))

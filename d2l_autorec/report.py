"""Reproduce the published tables, or compare models on your data.

It trains every model of each table several times, and prints means, standard deviations and the
published figures.

for example:
  python -m d2l_autorec.report                     every table; hours on 2 cores
  python -m d2l_autorec.report --table chapter     some minutes
  python -m d2l_autorec.report --quick             a smoke run on generated data
  python -m d2l_autorec.report --ratings mine.csv  which model for your ratings
  python -m d2l_autorec.report --ratings clicks.csv --task ranking --tune

After Ctrl-C or a kill, the same command goes on where it was.
"""

import argparse
import dataclasses
import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .models.kinds import ClickModel, RatingModel, RunConfig
from .models.options import AT_LEAST_1, computing_options, within
from .models.registry import TASKS, build_config, compared_rows, make_config
from .runs.figures import draw_table, warning_of_figure
from .runs.folder import RunFolder
from .runs.options import add_option_of, whole_number
from .runs.search_space import candidates_of
from .runs.tables import Line, Row, Table, models_table, published_tables, rows_of, section
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, did_you_mean, stopped_with
from .support.files import digest_of, write_atomically
from .support.terminal import remark, show_steps, step
from .support.texts import as_command, csv_text, flag, seconds_shown, with_flags
from .training.engine import has_gpu, start_mxnet

# The last bits of a run depend on these, but the name of its folder does not: no table sets them,
# and a run that was begun with fewer threads is continued.
UNNAMED = ("threads", "kvstore")
# Options that name and describe a user's own data.
OF_FILES = ("ratings", "dataset", "columns", "separator", "quotes", "duplicates", "scale")
OF_CLICKS = ("threshold", "min_user_clicks", "min_item_clicks")
OF_DATA = (*OF_FILES, *OF_CLICKS, "split", "folds", "test_ratio")
OF_OWN_DATA = (*OF_DATA, "task", "tune")
Plan: TypeAlias = list[tuple[Table, list[list[RunConfig]]]]  # the configurations of each row
SMOKE = "**A smoke run: two epochs on generated ratings. No figure here is a result.**"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, train what is not there yet, print and write the report."""
    options = _parser().parse_args(argv)
    tables = _tables(options)
    plan = [(table, [configs_of(table, row, options) for row in table.rows]) for table in tables]
    first = plan[0][1][0][0]
    own = f"-{first.source_name()}" if options.ratings or options.dataset else ""
    out = Path(options.out or f"runs/report{own}")

    _step("loading MXNet")
    start_mxnet(options.threads, one_cpu=not has_gpu())

    words = sys.argv[1:] if argv is None else argv
    with stopped_with(f"go on with {as_command('report', *words)}"):
        _report(plan, options, out)
    remark(f"report: {out / 'report.md'}")


def _report(plan: Plan, options: argparse.Namespace, out: Path) -> None:
    """Train what is not there yet, table by table, and print and write each section."""
    begun, total = 0, sum(len(configs) for _, rows in plan for configs in rows)
    sections = [heading(options.quick)]
    for table, rows in plan:
        lines = []
        for row, configs in zip(table.rows, rows):
            results = []
            for config in configs:
                begun += 1
                value = getattr(config, table.vary)
                if options.tune:
                    given = {**table.options, **row.options, table.vary: value}
                    config = _tuned(config, given, options, out)
                label = f"{begun} of {total}: {table.name}, {row.label}, {table.vary} {value}"
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
        type=_published,
        metavar="LIST",
        help=f"which tables, separated by commas [{', '.join(published_tables())}]",
    )
    parser.add_argument(
        "--seeds",
        type=whole_number(within(1, 1000)),
        metavar="N",
        help="runs of each model, where a table has no folds (default: as each table says)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two epochs, one run each, on generated ratings: shows that it works, no more",
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
    for name in (*OF_CLICKS, "test_ratio"):
        add_option_of(models, ClickModel, name)
    models.add_argument(
        "--split",
        metavar="NAME",
        help="a split of run, as time, in place of folds",
    )
    compared = "; ".join(f"{task}: {', '.join(compared_rows(task))}" for task in TASKS)
    models.add_argument("--task", choices=TASKS, help=f"{compared} [rating]")
    models.add_argument(
        "--tune",
        action="store_true",
        help="search for each model's options on the training part of each fold",
    )
    models.add_argument(
        "--trials",
        type=whole_number(AT_LEAST_1),
        metavar="N",
        help="trials of --tune for each model and fold [20]",
    )
    return parser


def _published(text: str) -> list[Table]:
    """Parse the names of published tables, separated by commas."""
    known = published_tables()
    names = text.split(",")
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}{hint}")
    return [known[name] for name in names]


def _tables(options: argparse.Namespace) -> list[Table]:
    """Return the tables that the options ask for; raise ConfigError for one without effect."""
    given = {name: value for name, value in vars(options).items() if value not in (None, False)}
    if "trials" in given and not options.tune:
        raise ConfigError("--trials has no effect: there is no search; add --tune")

    own = "ratings" in given or "dataset" in given
    for name in ("table", "quick", "seeds") if own else OF_OWN_DATA:
        if name in given:
            where = "your own data:" if own else "the published tables: add --ratings FILE, or"
            raise ConfigError(f"{flag(name)} has no effect on {where} leave it out")

    if own:
        data = {name: given[name] for name in OF_DATA if name in given}
        source = given.get("dataset") or Path(given["ratings"]).name
        return [models_table(given.get("task", "rating"), data, source)]

    tables = options.table or [*published_tables().values()]
    if "seeds" in given and (options.quick or all(table.vary != "seed" for table in tables)):
        raise ConfigError("--seeds has no effect: --quick is one run each, and folds have no seeds")
    return [_smoke_version(table) for table in tables] if options.quick else tables


def _smoke_version(table: Table) -> Table:
    """Return the table with one short run for each row, on generated ratings."""
    short: dict[str, Any] = {"dataset": "synthetic:200x300x6000", "epochs": 2}
    if "heldout_users" in table.options:
        short["heldout_users"] = 20

    rows = [Row(row.label, {**row.options, **short}) for row in table.rows]
    title = f"Generated ratings in place of {table.title}"
    return dataclasses.replace(table, title=title, rows=rows, vary="seed", values=(0,))


def _tuned(
    config: RunConfig, given: dict[str, Any], options: argparse.Namespace, out: Path
) -> RunConfig:
    """Return a configuration whose options a search has found on the training part of its fold."""
    given |= {"data_dir": options.data_dir, "threads": options.threads}
    candidates = candidates_of({name: v for name, v in given.items() if v is not None})
    if not candidates[0].spaces:
        return config

    from .runs.tuning import Search

    name = name_of(config)
    search = Search(candidates)
    search.say = lambda line: remark(f"{name}, {with_flags(line)}")
    tuned = search.run(out / "searches" / name, options.trials or 20)
    return dataclasses.replace(tuned.config, quiet=True)


def configs_of(table: Table, row: Row, options: argparse.Namespace) -> list[RunConfig]:
    """Return the configurations of a row: one for each seed or fold."""
    values = table.values
    if table.vary == "seed" and options.seeds is not None:
        values = range(options.seeds)

    make = build_config if options.quick else make_config  # some models have no use for epochs
    given = {**table.options, **row.options}
    given |= {"data_dir": options.data_dir, "threads": options.threads, "quiet": True}
    return [make({**given, table.vary: value}) for value in values]


def run_once(config: RunConfig, out: Path, label: str) -> dict[str, Any]:
    """Return the result of a configuration: read if its run has finished, else trained."""
    from .runs.runner import run_in

    folder = out / "runs" / name_of(config)
    if (folder / "config.json").exists():
        began = RunFolder.read(folder)
        if began.result:
            return began.result
        config = dataclasses.replace(began.config, data_dir=config.data_dir)  # its threads, too

    _step(f"{label}: training")
    started = time.perf_counter()
    result = run_in(folder, config)
    seconds = seconds_shown(time.perf_counter() - started)
    remark(f"{label}: {folder.name}, {seconds} s")
    return result


def _step(what: str) -> None:
    """Print what begins, but not the steps within a training, which would be too many."""
    show_steps(True)
    step(what)
    show_steps(False)


def name_of(config: RunConfig) -> str:
    """Return a folder name that tells configurations apart; two tables may share a run."""
    options = computing_options(config)
    for name in config.own_files():  # the content counts, not where it lies
        options[name] = digest_of(Path(options[name]))

    named = {name: value for name, value in options.items() if name not in UNNAMED}
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:10]
    return f"{config.model}-{config.source_name()}-{digest}-seed{config.seed}"


def heading(quick: bool) -> str:
    """Return the report's heading: the date, the machine and the versions."""
    from .runs.experiment import versions

    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    named = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    processor = named[1] if named else platform.machine()
    warning = f"\n{SMOKE}\n" if quick else ""
    return (
        f"# Reproduction report\n{warning}\n"
        f"{time.strftime('%Y-%m-%d')}, {processor}; {listed}. Mean ± standard deviation "
        "over runs; in parentheses, of rankings, the standard error over users.\n"
    )


if __name__ == "__main__":
    leave(run_command("d2l_autorec.report", main))

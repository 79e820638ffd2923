"""Search for the options that suit your data, and train the best.

The search begins with the presets and goes by validation ratings, or validation users. Only the
winner is trained anew and tested.

for example:
  python -m d2l_autorec.tune --ratings mine.csv --minutes 10
  python -m d2l_autorec.tune --ratings mine.csv --model autorec --trials 50
  python -m d2l_autorec.tune --ratings clicks.csv --task ranking

The same command with the same --out goes on after a kill or with more trials;
several of them at the same time share the work. Options that you give are
fixed, all others are searched.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .models.registry import TASKS, make_config, models
from .runs.figures import draw_trials, warning_of_figure
from .runs.folder import new_folder
from .runs.options import add_options, as_texts, model_of_help, parser_of
from .runs.search_space import candidates_of, searched
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, stopped_with
from .support.files import write_atomically, write_json
from .support.terminal import remark, show_steps, step, wrapped
from .support.texts import as_command, as_words, seconds_shown, with_flags
from .training.engine import on_one_cpu, start_mxnet
from .training.history import Score, label_of

if TYPE_CHECKING:
    from .runs.tuning import Search, Tuned

BEGIN = time.monotonic()  # --minutes counts from here, as most of the imports follow
SHOWN = 10  # trials in the table


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, search, train the winner, and print what was found."""
    given = vars(_parser(model_of_help(argv)).parse_args(argv))
    trials, minutes, task = (given.pop(name) for name in ("trials", "minutes", "task"))
    out, quiet, as_json = (given.pop(name, None) for name in ("out", "quiet", "json"))
    if "model" in given and task:
        raise ConfigError("--task has no effect: --model says what is searched; leave it out")

    candidates = candidates_of(given, task or "rating")
    base = candidates[0].base
    hidden = bool(quiet or as_json)

    show_steps(not hidden)
    step("loading MXNet")
    start_mxnet(base.threads, on_one_cpu(base.gpus, base.cpus, base.kvstore))
    from .runs.tuning import Search, limits_of

    limits = limits_of(trials, minutes, BEGIN)
    step("reading the data")
    search = Search(candidates)
    step("searching: a line for each trial")
    folder = Path(out) if out else new_folder(f"tune-{base.source_name()}")
    with nullcontext() if hidden else _telling(search, limits[0], minutes):
        tuned = search.run(folder, *limits)

    step("drawing the trials")
    _write(tuned, folder, search.score)
    if tuned.is_last:
        _train_winner(tuned, folder, hidden, bool(as_json))
    else:
        remark(f"other processes are still searching in {folder}: the last one trains the winner")


@contextmanager
def _telling(search: "Search", trials: float, minutes: float | None) -> Iterator[None]:
    """Print a line for each trial in the block; in a terminal, also a bar with the best so far."""
    from tqdm import tqdm

    bar = tqdm(
        desc=f"within {minutes:g} min" if minutes else None,
        total=None if minutes else trials,
        unit=" trials",
        disable=None,  # tqdm then disables it where stderr is no terminal
        dynamic_ncols=True,
        leave=False,
    )

    def say(line: str) -> None:
        bar.clear()
        remark(with_flags(line))
        bar.n, best = search.so_far()
        label = label_of(search.score.metric)
        bar.set_postfix_str("" if best is None else f"best {label} {best:.4f}")

    search.say = say
    with bar:
        yield


def _parser(names: str | None = None) -> Parser:
    """Return the parser with the options of every model, or of those whose help is asked for."""
    configs = models()
    if names is not None:
        configs = {found.model: type(found.base) for found in candidates_of({"model": names})}
    parser = Parser("d2l_autorec.tune", __doc__)
    parser.add_argument(
        "--trials",
        type=parser_of(int),
        metavar="N",
        help="number of trials, over all processes [30]",
    )
    parser.add_argument(
        "--minutes",
        type=parser_of(float),
        metavar="M",
        help="instead of --trials: how long to search, the winner's training included",
    )
    listed = "; ".join(f"{task}: {', '.join(searched(task))}" for task in TASKS)
    parser.add_argument(
        "--task",
        choices=TASKS,
        help=f"which models to search if --model names none: {listed} [rating]",
    )
    add_options(parser, configs)
    return parser


def _write(tuned: "Tuned", folder: Path, score: "Score") -> None:
    """Write best.json, trials.csv and the figure of the trials."""
    write_json(folder / "best.json", tuned.options)

    table = tuned.trials.assign(options=tuned.trials["options"].map(json.dumps))
    write_atomically(folder / "trials.csv", table.to_csv(index=False).encode())

    path = folder / "history.png"
    with warning_of_figure(path):
        draw_trials(tuned.trials, score, tuned.config.source_name(), path)


def _train_winner(tuned: "Tuned", folder: Path, hidden: bool, as_json: bool) -> None:
    """Train the winner, or go on with its training, and print what was found."""
    from .runs.result import tell
    from .runs.runner import run_in

    path = folder / f"winner-trial-{tuned.trial}"
    config = make_config({**tuned.options, "quiet": True, "json": as_json})
    if not hidden and not (path / "result.json").exists():
        remark(f"training trial {tuned.trial} on all training ratings")
    with stopped_with(f"the same command with `out={folder}` goes on"):
        told = run_in(path, config)

    if as_json:
        found = {"options": tuned.options, "trials": len(tuned.trials), "result": told}
        print(json.dumps(found))
        return

    print(table_of(tuned))
    best = " ".join(as_words(as_texts(tuned.options)))
    print(wrapped(f"best: {best}", sys.stdout, indent=6))
    tell(replace(config, quiet=hidden), told)
    remark(f"again: {as_command('run', options=str(folder / 'best.json'))}")


def table_of(tuned: "Tuned") -> str:
    """Return the best trials as aligned text."""
    complete = tuned.trials[tuned.trials.state == "complete"]
    rising = not tuned.config.score.higher_is_better
    best = complete.sort_values("validation", ascending=rising, kind="stable").head(SHOWN)

    table = best[["model", "preset", "trial", "validation", "best_epoch", "epochs", "seconds"]]
    table = table.fillna({"preset": ""}).astype({"best_epoch": int, "epochs": int})
    return table.to_string(
        index=False, formatters={"validation": "{:.4f}".format, "seconds": seconds_shown}
    )


class _Command(ModuleType):
    """The type of this module, which can be called: importing it hides the function `tune`."""

    def __call__(self, *args: Any, **kwargs: Any) -> "Tuned":
        from .runs.tuning import tune

        return tune(*args, **kwargs)


if __name__ == "__main__":
    leave(run_command("d2l_autorec.tune", main))
else:
    sys.modules[__name__].__class__ = _Command

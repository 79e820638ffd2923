"""Train AutoRec or another model into a run folder.

Defaults are in [brackets].

for example:
  python -m d2l_autorec.run                      the chapter's model, 25 epochs
  python -m d2l_autorec.run --ratings mine.csv   your own file, --preset best
  python -m d2l_autorec.run --dataset synthetic  without any file or internet

exit codes: 0 done; 2 user error; 3 training diverged; 129 to 143 by a signal
"""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .models.kinds import ALL, RunConfig
from .models.options import check_needs, computing_options
from .models.registry import make_config, model_class, models
from .runs.folder import RunFolder, new_folder, read_folds
from .runs.options import (
    add_options,
    check_same_options,
    model_of_help,
    overridden,
    read_options,
)
from .support.cli import Parser, leave, run_command
from .support.terminal import show_steps, step
from .training.engine import on_one_cpu, start_mxnet


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, and train or resume."""
    configs = models()
    model = model_of_help(argv)
    if model is not None:
        configs = {model: model_class(model)}

    given = vars(_parser(configs).parse_args(argv))
    folder = given.pop("resume")
    file = given.pop("options")
    if file is not None:
        given = overridden(read_options(file), given)

    if folder is None:
        config = make_config(given)
        threads = config.threads
    elif folds := read_folds(folder):
        config = resumed_config(folds, folder, given)
        threads = config.threads
    else:
        record = RunFolder.read(folder)
        config = resumed_config(record.config, folder, given)
        threads = record.about["threads"]  # sums depend on their number, in the last bits

    show_steps(not config.quiet and not config.json)
    step("loading MXNet")
    start_mxnet(threads, on_one_cpu(config.gpus, config.cpus, config.kvstore))
    from .runs.result import tell
    from .runs.runner import run_training

    # The libraries are there to stay: MXNet's loader, whenever one is made, collects garbage.
    gc.freeze()

    if config.fold == ALL:
        _train_folds(config, folder)
        return

    experiment = run_training(config, resume=folder)
    if not experiment.workers.rank:
        tell(config, experiment.told)


def _train_folds(config: RunConfig, folder: Path | None) -> None:
    """Train the folds in a new folder, or go on with those in `folder`."""
    from .runs.result import tell_folds
    from .runs.runner import train_folds

    name = f"{config.model}-{config.source_name()}-folds"
    path = folder or Path(config.out or new_folder(name))
    tell_folds(config, train_folds(config, path, resumed=folder is not None))


def _parser(configs: Mapping[str, type[RunConfig]] | None = None) -> Parser:
    parser = Parser("d2l_autorec.run", __doc__)
    add_options(parser, configs or models())
    parser.add_argument("--resume", type=Path, metavar="RUN_DIR", help="go on with a stopped run")
    parser.add_argument(
        "--options", type=Path, metavar="FILE", help="a file of them, as tune's best.json"
    )
    return parser


def resumed_config(recorded: RunConfig, path: Path, given: dict[str, Any]) -> RunConfig:
    """Return the options of the run in a folder; `given` may repeat, but not change them.

    Raises
    ------
    ConfigError
        If `given` contradicts them.
    """
    began = asdict(recorded)
    fixed = {*computing_options(recorded), "out"}  # the run stays in its folder
    free = {name: given[name] for name in given if name in began and name not in fixed}

    check_same_options(began, {name: given[name] for name in given if name not in free}, path)
    resumed = replace(recorded, **free)
    check_needs(resumed, given)
    return resumed


if __name__ == "__main__":
    leave(run_command("d2l_autorec.run", main))

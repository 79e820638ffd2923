"""Train AutoRec or another model into a run folder.

Defaults are in [brackets].

for example:
  python -m d2l_autorec.run                      the chapter's model, 25 epochs
  python -m d2l_autorec.run --ratings mine.csv   your own file, --preset best
  python -m d2l_autorec.run --dataset synthetic  without any file or internet

exit codes: 0 done; 2 a mistake; 3 diverged; 129, 130, 131, 143: by a signal
"""

import gc
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .models.kinds import Own, RunConfig
from .models.options import check_needs, computing_options
from .models.registry import make_config, model_class, models
from .runs import options
from .runs.folder import RunFolder, new_folder, read_repeats
from .support.cli import Parser, leave, run_command
from .support.terminal import show_steps, step
from .training.engine import on_one_cpu, start_mxnet


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, and train or resume."""
    given = vars(_parser(options.model_of_help(argv)).parse_args(argv))
    folder = given.pop("resume")
    file = given.pop("options")
    if file is not None:
        given = options.overridden(file, given)

    threads = None
    if folder is None:
        config = _new_config(given)
    elif several := read_repeats(folder):
        config = resumed_config(several, folder, given)
    else:
        record = RunFolder.read(folder)
        config = resumed_config(record.config, folder, given)
        threads = record.about["threads"]  # sums depend on their number, in the last bits

    show_steps(not config.quiet and not config.json)
    step("loading MXNet")
    start_mxnet(threads or config.threads, on_one_cpu(config.gpus, config.cpus, config.kvstore))
    from .runs.result import tell
    from .runs.runner import run_training

    # MXNet's loaders collect garbage whenever one is made, and need not search the libraries.
    gc.freeze()

    if config.from_:
        from .trained_model import load_run

        config = config.with_own(Own(start=load_run(config.from_)))
    if len(config.repeats[1]) > 1:
        _train_several(config, folder)
        return

    experiment = run_training(config, resume=folder)
    if not experiment.workers.rank:
        tell(experiment.config, experiment.told)


def _new_config(given: dict[str, Any]) -> RunConfig:
    """Return the options of a new run, which begins anew or goes on from another by `from_`."""
    if "from_" not in given:
        return make_config(given)
    record = RunFolder.read(Path(given["from_"]))
    options.refuse_objects(record.path, {*record.about["given"]} - {"train"})
    began = record.config
    config = options.going_on(began, given, given.get("model", began.model))
    check_needs(config, given)
    return config


def _train_several(config: RunConfig, folder: Path | None) -> None:
    """Train for each fold or seed in a new folder, or go on with those in `folder`."""
    from .runs.result import tell_several
    from .runs.runner import train_several

    name = f"{config.model}-{config.source_name()}-{config.repeats[0]}s"
    path = folder or Path(config.out or new_folder(name))
    tell_several(config, train_several(config, path, resumed=folder is not None))


def _parser(model: str | None = None) -> Parser:
    """Return the parser with the options of every model, or of the one whose help is asked for."""
    parser = Parser("d2l_autorec.run", __doc__)
    options.add_options(parser, models() if model is None else {model: model_class(model)})
    parser.add_argument("--resume", type=Path, metavar="RUN_DIR", help="go on with a stopped run")
    parser.add_argument(
        "--options", type=Path, metavar="FILE", help="tune's best.json or a run's config.json"
    )
    return parser


def resumed_config(recorded: RunConfig, path: Path, given: dict[str, Any]) -> RunConfig:
    """Return the options with which to resume the run in a folder.

    `given` may repeat the options that decide what is computed, but not change them; it may
    change others, such as `quiet`.

    Raises
    ------
    ConfigError
        If `given` contradicts the run's options.
    """
    began = asdict(recorded)
    fixed = {*computing_options(recorded), "out"}  # the run stays in its folder
    free = {name: given[name] for name in given if name in began and name not in fixed}
    repeated = {name: given[name] for name in given if name not in free}
    options.check_same_options(began, repeated, path)
    resumed = replace(recorded, **free)
    check_needs(resumed, given)
    return resumed


if __name__ == "__main__":
    leave(run_command("d2l_autorec.run", main))

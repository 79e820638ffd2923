"""Write a finished run as files that load without this package.

model.onnx is the network, and is written after its outputs have been compared with the run's;
tables.npz is what d2l_autorec.serve answers from; metadata.json has ids, titles, and what to do
before and after the network.

for example:
  python -m d2l_autorec.export runs/mine           into runs/mine/export
  python -m d2l_autorec.export runs/mine --out mine
"""

from collections.abc import Sequence
from pathlib import Path

from .support.cli import Parser, leave, run_command
from .support.terminal import remark, show_steps, step
from .training.engine import start_mxnet


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, export and print what was written."""
    options = _parser().parse_args(argv)
    folder = Path(options.out or Path(options.run, "export"))
    show_steps(True)
    step("loading MXNet")
    start_mxnet(one_cpu=True)
    from .serving.export import export_run
    from .trained_model import load_run

    step(f"opening {options.run}")
    run = load_run(options.run)

    step("writing the files, and comparing them with the network")
    for path in export_run(run, folder, given="out"):
        print(path)
    if run.config.maps_rows and run.config.based == "item":
        remark(
            "model.onnx reads an item's ratings by all users: for new users export a run of "
            "--based user; tables.npz has what known ones need, see metadata.json"
        )


def _parser() -> Parser:
    parser = Parser("d2l_autorec.export", __doc__, "RUN_DIR [options]")
    parser.add_argument("run", metavar="RUN_DIR", help="folder that d2l_autorec.run has written")
    parser.add_argument("--out", metavar="DIR", help="folder to write [RUN_DIR/export]")
    return parser


if __name__ == "__main__":
    leave(run_command("d2l_autorec.export", main))

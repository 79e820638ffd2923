"""Answer over HTTP what a finished run recommends, and show a page to try it on.

Nothing is written, and only this machine is answered unless --host says otherwise. With an export
in RUN_DIR, as d2l_autorec.export leaves it, it starts quicker and needs no MXNet.

for example:
  python -m d2l_autorec.serve runs/mine                http://127.0.0.1:8000
  python -m d2l_autorec.serve runs/mine --workers 4    processes share the model
  curl 'http://127.0.0.1:8000/recommend?user=196&n=5'  /docs describes the API
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .models.options import within
from .runs.options import whole_number
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, DataError, DataWarning
from .support.terminal import show_steps, step
from .support.texts import as_command

if TYPE_CHECKING:
    from .serving.predictor import Predictor


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, load the model and answer until a signal says stop."""
    options = _parser().parse_args(argv)
    show_steps(True)
    step(f"loading {options.run}")

    if "numpy" not in sys.modules:  # it gets one thread: other workers have the other CPUs
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from .serving.app import Answers, make_app
        from .serving.server import reserve, serve, url_of
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"serving needs {error.name}: pip install 'd2l_autorec[serve]'"
        ) from error

    with reserve(options.host, options.port) as reserved:
        url = url_of(reserved)
        predictor, result = load(Path(options.run))
        hosts = [options.host, *options.allowed_host]
        app = make_app(Answers(predictor, result), options.timeout, hosts)

        def when_ready() -> None:
            what = f"{predictor.config.model} of {predictor.ratings.name}"
            print(f"{url} serves {what}; Ctrl+C stops it", flush=True)

        serve(app, reserved, options.workers, options.timeout, when_ready)


def load(run: Path) -> tuple["Predictor", dict[str, Any]]:
    """Open a run folder by its export, or else by one that is made for this start."""
    from .serving.tables import NotExportedError, load_served

    try:
        return load_served(run)
    except NotExportedError as error:
        lasting = as_command("export", str(run))
        warnings.warn(
            f"{error}: MXNet makes an export for this start, in a process of its own; "
            f"{lasting} makes one that stays",
            DataWarning,
            stacklevel=2,
        )

    step("exporting")
    with tempfile.TemporaryDirectory(prefix="d2l_autorec-") as folder:
        command = [sys.executable, "-m", "d2l_autorec.export", str(run), "--out", folder]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            reason = process.stderr.strip().rpartition("d2l_autorec.export: error: ")[2]
            raise DataError(f"{run} cannot be exported: {reason or 'it says nothing'}")
        return load_served(run, folder)


def _parser() -> Parser:
    parser = Parser("d2l_autorec.serve", __doc__, "RUN_DIR [options]")
    parser.add_argument("run", metavar="RUN_DIR", help="folder that d2l_autorec.run has written")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that this server is called by, beside localhost; may be repeated",
    )
    numbers = (
        ("--port", within(0, 65535), 8000, "to listen on; 0 takes a free one"),
        ("--workers", within(1, 64), 1, "processes that answer; they share the model's memory"),
        ("--timeout", within(1, 3600), 30, "seconds after which a request is given up"),
    )
    for option, allowed, default, text in numbers:
        parser.add_argument(
            option,
            type=whole_number(allowed),
            default=default,
            metavar="N",
            help=f"{text} [{default}]",
        )
    return parser


if __name__ == "__main__":
    leave(run_command("d2l_autorec.serve", main))

"""Serve the recommendations of a finished run over HTTP, with a page to try them on.

Only this machine is answered unless --host says otherwise. With an export in RUN_DIR, as
d2l_autorec.export leaves it, the server starts quicker and needs no MXNet. A newer run at RUN_DIR
is served as soon as it can be loaded, without losing a request.

for example:
  python -m d2l_autorec.serve runs/mine                http://127.0.0.1:8000
  python -m d2l_autorec.serve runs/mine --workers 4    processes share the model
  python -m d2l_autorec.serve runs/mine --titles items.csv --min-ratings 20
  python -m d2l_autorec.serve runs                     the latest run in it
  curl 'http://127.0.0.1:8000/recommend?user=196&n=5'  /docs describes the API

systemd, nginx, containers, Prometheus:
  python -m pydoc d2l_autorec.serving.production
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .models.options import within
from .runs.options import whole_number
from .serving.filters import add_filters, selection_of
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, DataError, warn
from .support.terminal import show_steps, step
from .support.texts import as_command

if TYPE_CHECKING:
    from .serving.predictor import Predictor


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, load the model and answer until a signal says stop."""
    options = _parser().parse_args(argv)
    show_steps(True)
    step(f"loading {options.run}")

    if "numpy" not in sys.modules:  # NumPy gets one thread: other workers have the other CPUs
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="d2l_autorec-") as shared:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # prometheus_client reads it at its import
        _serve(options, Path(shared))


def _serve(options: argparse.Namespace, shared: Path) -> None:
    """Answer until a signal says stop; the processes share the folder `shared`."""
    try:
        from .serving.app import Answers, make_app, use
        from .serving.renewal import Renewal, newest_run
        from .serving.server import reserve, serve, url_of
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"serving needs {error.name}: pip install 'd2l_autorec[serve]'"
        ) from error

    def load_answers(run: Path) -> Answers:
        predictor, result = load(run)
        predictor.ratings = predictor.ratings.with_titles(options.titles)
        predictor.withheld = predictor.hidden(selection_of(options, predictor.items))
        finished = (run / "result.json").stat().st_mtime
        return Answers(predictor, result, options.fallback, finished)

    for host in options.allowed_host:
        if not re.fullmatch(r"[\w.-]+(:\d+)?", host):
            raise ConfigError(f"--allowed-host {host!r}: it must be a name, as rec.example.com")

    path = Path(options.run)
    hosts = [options.host, *options.allowed_host]
    with reserve(options.host, options.port) as reserved:
        renewal = Renewal(path, load_answers, lambda answers: use(app, answers), shared / "model")
        run = newest_run(path)
        app = make_app(load_answers(run), options.timeout, hosts)
        greeting = f"{url_of(reserved)} serves {run}; Ctrl+C stops it"
        serve(app, reserved, renewal, greeting, options)


def load(run: Path) -> tuple["Predictor", dict[str, Any]]:
    """Return the predictor and result of a run folder, by its export or one made for this start.

    Raises
    ------
    DataError
        If the run cannot be read or exported.
    """
    from .serving.tables import NotExportedError, load_served

    try:
        return load_served(run)
    except NotExportedError as error:
        if (run / "export").exists():
            warn(f"{error}: make a new one by {as_command('export', str(run))}")

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
    parser.add_argument("run", metavar="RUN_DIR", help="run folder, or a folder of them")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that this server is called by, beside localhost; may be repeated",
    )
    parser.add_argument(
        "--titles", metavar="FILE", help="the items' titles, instead of the run's: columns id,title"
    )
    add_filters(parser)
    parser.add_argument(
        "--access-log", action="store_true", help="write a line to stdout for each request"
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

r"""Start this machine's servers of MXNet's parameter server, and the workers that use them.

Like torchrun, it starts processes of this machine only; a cluster's own scheduler starts it on
each machine. When one process fails, all others of the machine are ended.

for example:
  python -m d2l_autorec.launch -n 2 -s 1 -- \
      python -m d2l_autorec.run --kvstore dist_sync
on each of two machines, with --node 1 on the second:
  python -m d2l_autorec.launch --nodes 2 --node 0 --scheduler 10.0.0.1:9100 \
      -n 1 -s 1 -- python -m d2l_autorec.run --kvstore dist_sync
Slurm: srun --ntasks-per-node 1 --kill-on-bad-exit=1 sh -c '... --node \
      $SLURM_NODEID --scheduler $(scontrol show hostnames | head -1):9100 ...'
Kubernetes, an indexed Job with a headless service: --node \
      $JOB_COMPLETION_INDEX --scheduler JOB-0.SERVICE:9100

Worker 0 reads and writes the run folder; every machine needs the data. Give
--threads the CPUs of a machine divided by its workers. When a process fails,
let the cluster end those of other machines, and start again with --resume.
MXNet's parameter servers unpickle what reaches their port, without
authentication: use a private network.

exit codes: 0 when every process ends with 0; else that of the first one that
failed (128 + signal where one killed it); 129, 130, 143 stopped by a signal
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, TypeAlias

from .models.options import within
from .runs.options import whole_number
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError, stopped_with
from .support.machine import WORKER
from .support.terminal import show_steps, step

GRACE = 5.0  # seconds from SIGTERM to SIGKILL
Job: TypeAlias = tuple[str, int, Sequence[str]]  # role, rank among those of the role, command


class Process:
    """A process that is started, and whose lines are printed after its role and rank."""

    _printing = threading.Lock()

    def __init__(self, job: Job, settings: dict[str, str]) -> None:
        self.role, rank, command = job
        self.name = f"{self.role} {rank}"
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **settings, "DMLC_ROLE": self.role, WORKER: str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        pipes = (self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr)
        self._pumps = [threading.Thread(target=self._pump, args=p, daemon=True) for p in pipes]
        for pump in self._pumps:
            pump.start()

    def _pump(self, pipe: IO[str], sink: IO[str]) -> None:
        for line in pipe:
            with self._printing:
                print(f"[{self.name}] {line.rstrip()}", file=sink, flush=True)

    def exit_code(self) -> int | None:
        """Return the exit code: None while the process runs, 128 + signal where one killed it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and those that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def end(self) -> None:
        """Kill the process and those that it started, and wait for its last lines."""
        self.send(signal.SIGKILL)
        self._process.wait()
        for pump in self._pumps:
            pump.join(timeout=1)  # a process that has left the group may hold the pipe open


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, start this machine's processes, and wait for them."""
    options = _parser().parse_args(argv)
    jobs, settings = plan(options), settings_of(options)

    show_steps(True)
    names = [f"{role} {rank}" for role, rank, _ in jobs]
    step(f"starting {len(jobs)} processes: {', '.join(names)}")
    sys.exit(run(jobs, settings, wait_for_servers=options.nodes > 1))


def _parser() -> Parser:
    parser = Parser("d2l_autorec.launch", __doc__, "-n N -s N [options] -- COMMAND ...")
    count = whole_number(within(1, 64))  # more is a slip, which would swamp a machine

    parser.add_argument("-n", "--workers", type=count, required=True, help="workers on a machine")
    parser.add_argument("-s", "--servers", type=count, required=True, help="servers on a machine")
    parser.add_argument("--nodes", type=count, default=1, help="how many machines take part [1]")
    node = whole_number(within(0, 63))
    parser.add_argument(
        "--node", type=node, default=0, help="this machine's number; 0 has the scheduler, too [0]"
    )
    parser.add_argument(
        "--scheduler",
        metavar="HOST:PORT",
        default="127.0.0.1:0",
        help="machine 0's address, and a free port there [this machine, any free port]",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="what a worker runs"
    )
    return parser


def plan(options: argparse.Namespace) -> list[Job]:
    """Return the processes to start on this machine.

    Raises
    ------
    ConfigError
        If there is no command, or this machine's number is too high.
    """
    command = options.command[options.command[:1] == ["--"] :]
    node, servers, workers = options.node, options.servers, options.workers
    if not command:
        raise ConfigError("there is no command for the workers: put it behind --, see --help")
    if node >= options.nodes:
        raise ConfigError(f"--node is {node}: it must be below --nodes {options.nodes}")

    # by its role, MXNet serves during the import, and then exits
    serve = [sys.executable, "-c", "import d2l_autorec, mxnet"]
    return [
        *([("scheduler", 0, serve)] if node == 0 else []),
        *(("server", node * servers + k, serve) for k in range(servers)),
        *(("worker", node * workers + k, command) for k in range(workers)),
    ]


def settings_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment variables that MXNet reads in a process of any role.

    Raises
    ------
    ConfigError
        If the scheduler's address is none, or not reachable from other machines.
    """
    host, _, port = options.scheduler.rpartition(":")
    try:
        address, number = socket.gethostbyname(host), int(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, number))  # this sends nothing
            own_address, _ = probe.getsockname()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"--scheduler is {options.scheduler!r}: it must be HOST:PORT, as in 10.0.0.1:9100"
        ) from error
    if options.nodes > 1 and address.startswith(("127.", "0.")):
        raise ConfigError(
            f"--scheduler is {options.scheduler}, which other machines cannot reach: several "
            "--nodes need machine 0's address"
        )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free_port = probe.getsockname()[1]

    return {
        "DMLC_PS_ROOT_URI": address,
        "DMLC_PS_ROOT_PORT": str(number or free_port),
        "DMLC_NUM_WORKER": str(options.nodes * options.workers),
        "DMLC_NUM_SERVER": str(options.nodes * options.servers),
        "DMLC_NODE_HOST": own_address,
        "PYTHONUNBUFFERED": "1",  # lines are passed on as they are written
    }


def run(jobs: Sequence[Job], settings: dict[str, str], wait_for_servers: bool) -> int:
    """Start `jobs` and wait until they are done, or one process fails.

    Parameters
    ----------
    jobs : sequence of Job
    settings : dict
        Environment variables of every process.
    wait_for_servers : bool
        Whether workers of other machines may still need this one's servers.

    Returns
    -------
    int
        0, or the exit code of the first process that failed.

    Raises
    ------
    Interrupted
        If a signal comes that was not ignored at the start; every process is ended first.
    ConfigError
        If the command cannot be found.
    """
    processes: list[Process] = []
    try:
        with stopped_with("every process was ended"):
            for job in jobs:
                processes.append(Process(job, settings))
            failed = _wait(processes, wait_for_servers)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{error.filename} cannot be started: see the command behind --"
        ) from None
    finally:
        _end(processes)

    if failed is None:
        return 0
    code = failed.exit_code()
    print(f"d2l_autorec.launch: error: {failed.name} ended with exit code {code}", file=sys.stderr)
    return code or 0


def _wait(processes: Sequence[Process], wait_for_servers: bool) -> Process | None:
    """Wait; return the first process that failed, or None once the awaited ones are done.

    A server or scheduler ends with 0 when it has heard that every worker is done.
    """
    awaited = [process for process in processes if wait_for_servers or process.role == "worker"]
    while True:
        is_over = all(process.exit_code() is not None for process in awaited)
        failed = next((process for process in processes if process.exit_code()), None)
        if failed or is_over:
            return failed
        time.sleep(0.05)


def _end(processes: Sequence[Process]) -> None:
    """End the processes that still run; workers get time to print how to go on."""
    workers = [process for process in processes if process.role == "worker"]
    for worker in workers:
        worker.send(signal.SIGTERM)

    try:
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(p.exit_code() is None for p in workers):
            time.sleep(0.05)
    finally:  # also after a second signal, which ends the waiting
        for process in processes:
            process.end()


if __name__ == "__main__":
    leave(run_command("d2l_autorec.launch", main))

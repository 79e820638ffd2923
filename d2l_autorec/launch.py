"""Start this machine's servers of MXNet's parameter server, and the workers that use them.

Like torchrun, it starts processes of this machine only; a cluster's own scheduler starts it on
each machine. When one process fails, all others of the machine are ended.

examples:
  python -m d2l_autorec.launch -n 2 -s 1 -- \\
      python -m d2l_autorec.run --kvstore dist_sync
on each of two machines, with --node 1 on the second:
  python -m d2l_autorec.launch --nodes 2 --node 0 --scheduler 10.0.0.1:9100 \\
      -n 1 -s 1 -- python -m d2l_autorec.run --kvstore dist_sync
Slurm: srun --ntasks-per-node 1 --kill-on-bad-exit=1 sh -c '... --node \\
      $SLURM_NODEID --scheduler $(scontrol show hostnames | head -1):9100 ...'
Kubernetes, an indexed Job with a headless service: --node \\
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
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, TypeAlias

from .models.options import within
from .runs.options import whole_number
from .support.cli import Parser, leave, run_command
from .support.environment import DISTRIBUTED, is_host
from .support.errors import ConfigError, Interrupted
from .support.signals import SIGNALS
from .support.terminal import show_steps, step

WORKER = "D2L_AUTOREC_WORKER"  # MXNet numbers the workers as they arrive: never the same twice
RUN = re.compile(r"-m d2l_autorec[. ]run( |$)")
TOGETHER = re.compile(r"--kvstore[ =]dist_|--resume")
GRACE = 5.0  # seconds from SIGTERM to SIGKILL
LAST_LINES = 20
PR_SET_PDEATHSIG = 1  # of prctl: the signal that a process gets when its parent dies
LIBC = ctypes.CDLL(None)
Job: TypeAlias = tuple[str, int, Sequence[str]]
Settings: TypeAlias = dict[str, str]


class Process:
    """A started process, whose lines are passed on behind its role and rank."""

    _printing = threading.Lock()

    def __init__(self, role: str, rank: int, command: Sequence[str], settings: Settings) -> None:
        self.role, self.name = role, f"{role} {rank}"
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._pumps: list[threading.Thread] = []
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **settings, "DMLC_ROLE": role, WORKER: str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            # no thread runs yet: see `pass_on`
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )

    def pass_on(self) -> None:
        """Print what it prints, from now on."""
        pipes = (self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr)
        self._pumps = [threading.Thread(target=self._pump, args=p, daemon=True) for p in pipes]
        for pump in self._pumps:
            pump.start()

    def _pump(self, pipe: IO[str], sink: IO[str]) -> None:
        for line in pipe:
            text = line.rstrip("\r\n")
            self.last_lines.append(text)
            with self._printing:
                print(f"[{self.name}] {text}", file=sink, flush=True)

    def exit_code(self) -> int | None:
        """Return None while it runs, and 128 + signal where one killed it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and those that it started."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        """Wait for its end, and for its last lines."""
        self._process.wait()
        for pump in self._pumps:
            pump.join(timeout=1)  # a process that left the group may hold the pipe open

    def failure(self) -> str:
        """Say how it ended."""
        code = self.exit_code()
        names = {128 + number: number.name for number in signal.Signals}
        ending = f"was killed by {names[code]}" if code in names else f"ended with exit code {code}"

        lines = "".join(f"\n  {line}" for line in self.last_lines)
        return f"{self.name} {ending}" + (f"; its last lines:{lines}" if lines else "")


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
        help="machine 0's address, and a free port there [this machine, any free port]",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="what a worker runs"
    )
    return parser


def plan(options: argparse.Namespace) -> list[Job]:
    """Return what to start on this machine: role, rank among those of the role, and command.

    Raises
    ------
    ConfigError
        If the options would fail on the way, or start what does not belong together.
    """
    command = _command(options.command)
    node, servers, workers = options.node, options.servers, options.workers
    if node >= options.nodes:
        raise ConfigError(f"--node is {node}: it must be below --nodes {options.nodes}")

    # it serves inside the import, and then exits
    serve = [sys.executable, "-c", "import d2l_autorec, mxnet"]
    return [
        *([("scheduler", 0, serve)] if node == 0 else []),
        *(("server", node * servers + k, serve) for k in range(servers)),
        *(("worker", node * workers + k, command) for k in range(workers)),
    ]


def settings_of(options: argparse.Namespace) -> Settings:
    """Return what MXNet reads from the environment, of whatever role; raise ConfigError."""
    host, port = _scheduler(options)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))  # sends nothing
        own_address, _ = probe.getsockname()

    return {
        "DMLC_PS_ROOT_URI": host,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(options.nodes * options.workers),
        "DMLC_NUM_SERVER": str(options.nodes * options.servers),
        "DMLC_NODE_HOST": own_address,
        "PYTHONUNBUFFERED": "1",  # lines are passed on as they are written
    }


def _command(words: Sequence[str]) -> Sequence[str]:
    """Return what a worker runs; raise ConfigError if it is nothing, or a run by itself."""
    command = words[1:] if words[:1] == ["--"] else words
    if not command:
        raise ConfigError("there is no command for the workers: put it behind --, see --help")

    text = " ".join(command)
    if RUN.search(text) and not TOGETHER.search(text):
        raise ConfigError(
            "every worker would do the whole run by itself, and all in one folder: "
            f"add --kvstore {' or '.join(DISTRIBUTED)} to the command"
        )
    return command


def _scheduler(options: argparse.Namespace) -> tuple[str, int]:
    """Return the scheduler's IPv4 address and port."""
    given = options.scheduler
    if given is None:
        if options.nodes > 1:
            raise ConfigError("several --nodes need --scheduler HOST:PORT, machine 0's address")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()

    host, _, port = given.rpartition(":")
    if not is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ConfigError(f"--scheduler is {given!r}: it must be HOST:PORT, as in 10.0.0.1:9100")

    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise ConfigError(f"--scheduler {given}: {host} has no IPv4 address ({error})") from error
    if options.nodes > 1 and address.startswith("127."):
        raise ConfigError(f"--scheduler {given}: other machines cannot reach {address}")
    return address, int(port)


def run(jobs: Sequence[Job], settings: Settings, wait_for_servers: bool) -> int:
    """Start `jobs` and wait until they are done, or one process fails.

    Parameters
    ----------
    jobs : sequence of (role, rank, command)
    settings : dict
        Variables of the environment, of every process.
    wait_for_servers : bool
        Whether workers of other machines may still need this one's servers.

    Returns
    -------
    int
        0, or the exit code of the first process that failed.

    Raises
    ------
    Interrupted
        By a signal that was not ignored at the start; every process is ended then.
    """
    processes: list[Process] = []
    try:
        for job in jobs:
            processes.append(Process(*job, settings))
        for process in processes:
            process.pass_on()
        failed = _wait(processes, wait_for_servers)
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be started ({error.strerror}): see the command behind --"
        ) from error
    except Interrupted as error:
        raise Interrupted(error.exit_code - 128, "every process was ended") from None
    finally:
        usual = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
        _end(processes)  # takes GRACE + 1 seconds at most
        for number, handler in usual.items():
            signal.signal(number, handler)

    if failed is None:
        return 0
    print(f"d2l_autorec.launch: error: {failed.failure()}", file=sys.stderr)
    return failed.exit_code() or 0


def _wait(processes: Sequence[Process], wait_for_servers: bool) -> Process | None:
    """Return the first process that failed, or None once all that is waited for is done.

    A server or scheduler ends, with 0, when it has heard that every worker is done.
    """
    awaited = [process for process in processes if wait_for_servers or process.role == "worker"]
    while True:
        for process in processes:
            if process.exit_code():
                return process
        if all(process.exit_code() == 0 for process in awaited):
            return None

        time.sleep(0.05)


def _end(processes: Sequence[Process]) -> None:
    """End what still runs: workers first, as they may want to say how to go on."""
    workers = [process for process in processes if process.role == "worker"]
    if workers and all(process.exit_code() == 0 for process in workers):
        _settle(processes, 2.0)  # scheduler and servers follow the workers

    for some, seconds in ((workers, GRACE), (processes, 1.0)):
        for process in some:
            process.send(signal.SIGTERM)
        _settle(some, seconds)

    for process in processes:
        process.send(signal.SIGKILL)
        process.close()


def _settle(processes: Sequence[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(p.exit_code() is None for p in processes):
        time.sleep(0.05)


if __name__ == "__main__":
    leave(run_command("d2l_autorec.launch", main))

"""`python -m d2l_autorec.launch`: MXNet's scheduler, servers and workers, here or over ssh.

    launch -> one sh a process (ssh HOST sh) -> guard in the background, and the command itself

The guard waits until its standard input ends, and then ends its whole process
group. Its other end is held by the launcher alone, so that everything ends
when the launcher does, however that ends, here and on other machines.
"""

import argparse
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from .runs.options import brief, whole_number, within
from .support.cli import Parser, leave, run_command
from .support.environment import DISTRIBUTED, HOST, is_host
from .support.errors import ConfigError, Interrupted
from .support.steps import show_steps, step

WORKER = "D2L_AUTOREC_WORKER"  # MXNet numbers the workers as they arrive: never the same twice
FORWARDED = ("DMLC_", "D2L_AUTOREC_", "MXNET_", "PS_", "OMP_", "NUMBA_", "CUDA_", "PYTHONPATH")
SSH = "ssh -o BatchMode=yes -o ServerAliveInterval=2 -o ServerAliveCountMax=2"
PROCESSES = within(1, 64)  # of a role; more is a slip, which would swamp a machine
MOST_BYTES = 100_000  # of a hosts file
USER_AT_HOST = re.compile(rf"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?{HOST}")
RUN = re.compile(r"d2l_autorec[. ]run( |$)")  # the words behind python -m
GRACE = 5.0  # seconds from SIGTERM to SIGKILL
LAST_LINES = 20
# `cat` returns when the launcher closes the pipe, or is dead.
GUARD = (
    "exec 3<&0 </dev/null; "
    "(trap '' TERM INT HUP; cat <&3; kill -TERM 0; n=0; "
    f"while kill -0 $$ && [ $n -lt {GRACE * 10:.0f} ]; do sleep 0.1; n=$((n+1)); done; "
    "kill -KILL 0) >/dev/null 2>&1 & "
    "exec 3<&-; "
)
EXAMPLES = """examples:
  python -m d2l_autorec.launch -n 2 -s 1 -- \\
      python -m d2l_autorec.run --kvstore dist_sync
  python -m d2l_autorec.launch -n 4 -s 2 --hosts hosts.txt -- \\
      python -m d2l_autorec.run --kvstore dist_sync

A hosts file has one line a machine: what ssh calls it and, where that is no
address that the others can reach, its address. Workers and servers are dealt
round, worker 0 to the first line; the scheduler stays on this machine. The
folder that this is called in must exist on every machine, with the data, and
the run folder must be one that all can see. Give --threads the CPUs of a
machine divided by its workers. MXNet's parameter servers unpickle what reaches
their port, without authentication: use a private network.

By hand, for Kubernetes or Slurm: give every process DMLC_PS_ROOT_URI and
DMLC_PS_ROOT_PORT (the scheduler's address, a free port), DMLC_NUM_WORKER,
DMLC_NUM_SERVER and DMLC_NODE_HOST (its own address), and start
  DMLC_ROLE=scheduler python -c 'import mxnet'     one
  DMLC_ROLE=server python -c 'import mxnet'        one or more
  DMLC_ROLE=worker D2L_AUTOREC_WORKER=0 python -m d2l_autorec.run \\
      --kvstore dist_sync                          worker 0, 1, ...
When one fails, end all (srun --kill-on-bad-exit=1), and start again with
--resume.

exit codes: 0 when every worker ends with 0; else that of the first process that
failed (128 + signal where one killed it); 129, 130, 143 stopped by a signal
"""


@dataclass(frozen=True)
class Host:
    """A machine: its name for ssh (None: this one) and the address the others reach it by."""

    name: str | None
    address: str


@dataclass(frozen=True)
class Job:
    """One process to start."""

    role: str
    rank: int
    host: Host
    environment: dict[str, str]
    command: Sequence[str]

    def argv(self, ssh: str) -> list[str]:
        """The arguments that start it, under its guard."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        script = GUARD + "exec " + shlex.join(["env", *variables, *self.command])
        if self.host.name is None:
            return ["sh", "-c", script]

        script = f"cd {shlex.quote(os.getcwd())} || exit; {script}"
        return [*shlex.split(ssh), "--", self.host.name, shlex.join(["sh", "-c", script])]


class Process:
    """A started job, whose lines are passed on behind its role and rank."""

    _printing = threading.Lock()

    def __init__(self, job: Job, ssh: str) -> None:
        self.role = job.role
        self.name = f"{job.role} {job.rank}"
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

        self._process = subprocess.Popen(
            job.argv(ssh),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

        self._pumps = [
            threading.Thread(target=self._pump, args=pipe, daemon=True)
            for pipe in ((self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr))
        ]
        for pump in self._pumps:
            pump.start()

    def _pump(self, pipe: BinaryIO, sink: Any) -> None:
        for line in pipe:
            text = line.decode(errors="replace").rstrip("\r\n")
            self.last_lines.append(text)
            with self._printing:
                print(f"[{self.name}] {text}", file=sink, flush=True)

    def exit_code(self) -> int | None:
        """None while it runs; 128 + signal where one killed it."""
        code = self._process.poll()
        if code is not None and code < 0:
            return 128 - code
        return code

    def terminate(self) -> None:
        """Let the guard send SIGTERM and, after a while, SIGKILL."""
        if self._process.stdin is not None:  # it is a pipe: see Popen above
            self._process.stdin.close()

    def kill(self) -> None:
        """Leave nothing of its process group on this machine; pass on its last lines."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

        self._process.wait()
        for pump in self._pumps:
            pump.join(timeout=1)  # a process that left the group may hold the pipe open

    def failure(self) -> str:
        """How it ended, in words."""
        code = self.exit_code()
        names = {128 + number: number.name for number in signal.Signals}

        ending = f"{self.name} ended with exit code {code}"
        if code in names:
            ending = f"{self.name} was killed by {names[code]}"

        if not self.last_lines:
            return ending
        lines = "".join(f"\n  {line}" for line in self.last_lines)
        return f"{ending}; its last lines:{lines}"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv`, start everything, and wait for it."""
    options = _parser().parse_args(argv)
    command = options.command
    if command[:1] == ["--"]:
        command = command[1:]

    if not command:
        raise ConfigError(
            "there is no command for the workers: put it behind --, as in "
            "-n 2 -s 1 -- python -m d2l_autorec.run --kvstore dist_sync"
        )
    _check_options(options, command)

    hosts = read_hosts(options.hosts)
    jobs = plan(options.workers, options.servers, hosts, options.address, command)

    show_steps(True)
    step(f"starting {len(jobs)} processes: a scheduler, servers and workers")
    code = run(jobs, options.ssh or SSH)
    if code:
        sys.exit(code)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m d2l_autorec.launch",
        usage="%(prog)s -n N -s N [options] -- COMMAND ...",
        epilog=EXAMPLES,
        description=(
            "Start MXNet's parameter server (a scheduler and servers) and the workers that use it; "
            "when one process fails, end all others."
        ),
    )
    count = whole_number(PROCESSES)

    parser.add_argument("-n", "--workers", type=count, required=True, help="how many workers")
    parser.add_argument("-s", "--servers", type=count, required=True, help="how many servers")
    parser.add_argument(
        "--hosts",
        type=Path,
        metavar="FILE",
        help="machines to spread them over [all run on this one]",
    )
    parser.add_argument(
        "--ssh",
        metavar="COMMAND",
        help=f"with --hosts: called with --, a host and one line of shell [{SSH}]",
    )
    parser.add_argument(
        "--address", help="where other machines reach this one [its address towards the first host]"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="what a worker runs"
    )
    return parser


def _check_options(options: argparse.Namespace, command: Sequence[str]) -> None:
    """Raise ConfigError for what would fail on the way, or start what does not belong together."""
    if options.ssh is not None and options.hosts is None:
        raise ConfigError(
            "--ssh has no effect: everything runs on this machine; leave it out, or "
            "name others with --hosts"
        )

    try:
        shlex.split(options.ssh or SSH)
    except ValueError as error:
        raise ConfigError(f"--ssh is {options.ssh!r}: it must be a command ({error})") from error

    if options.address is not None and not is_host(options.address):
        raise ConfigError(
            f"--address is {options.address!r}: it must be a machine's name or address"
        )

    if not _is_distributed(command):
        raise ConfigError(
            "every worker would do the whole run by itself, and all in one folder: "
            f"add --kvstore {' or '.join(DISTRIBUTED)} to the command, or start it "
            "without d2l_autorec.launch"
        )


def _is_distributed(command: Sequence[str]) -> bool:
    """False for this package's own run without a parameter server; nothing is said of others."""
    places = [place for place, word in enumerate(command) if word == "-m"]
    modules = [" ".join(command[place + 1 : place + 3]) for place in places]
    if not any(map(RUN.match, modules)):
        return True

    words = [part for word in command for part in word.split("=", 1)]
    stores = [word for flag, word in zip(words, words[1:]) if flag == "--kvstore"]
    return "--resume" in words or any(store in DISTRIBUTED for store in stores)


def read_hosts(path: Path | None) -> list[Host]:
    """The machines that a file names; without one this machine alone.

    Raises
    ------
    ConfigError
        If the file cannot be read, is empty or too long, or names what is no
        machine or has no address that the others can reach.
    """
    if path is None:
        return [Host(None, "127.0.0.1")]

    lines = [line.split() for line in _read_text(path).splitlines()]
    named = [words for words in lines if words and not words[0].startswith("#")]
    if not named:
        raise ConfigError(f"--hosts {path} names no machine: write one a line")
    if not PROCESSES.accepts(len(named)):
        raise ConfigError(
            f"--hosts {path} names {len(named)} machines: name at most 64, as there "
            "are at most 64 workers"
        )

    hosts = [_host(words, path) for words in named]
    local = [host for host in hosts if host.address.startswith("127.")]
    if local and len(local) < len(hosts):
        raise ConfigError(
            f"--hosts {path}: {local[0].name} is {local[0].address}, which other "
            f"machines cannot reach: write '{local[0].name} ADDRESS'"
        )
    return hosts


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")  # a pipe might keep its reader waiting for ever

        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise OSError(f"it is longer than {MOST_BYTES} bytes")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--hosts {path} cannot be read ({error}): name a text file with one machine a line"
        ) from error


def _host(words: Sequence[str], path: Path) -> Host:
    name = words[0]
    address = words[-1].rpartition("@")[2]

    if len(words) > 2 or not USER_AT_HOST.fullmatch(name) or not is_host(address):
        raise ConfigError(
            f"--hosts {path}: {brief(' '.join(words))!r} must be a machine and, if "
            "need be, its address, of letters, digits, dots, hyphens and "
            "underscores"
        )

    try:
        return Host(name, socket.gethostbyname(address))
    except OSError as error:
        raise ConfigError(
            f"--hosts {path}: {address} has no IPv4 address ({error}): write '{name} ADDRESS'"
        ) from error


def plan(
    workers: int, servers: int, hosts: Sequence[Host], address: str | None, command: Sequence[str]
) -> list[Job]:
    """What to start, and where: scheduler, servers, workers.

    Raises
    ------
    ConfigError
        If `address` is not one of this machine's.
    """
    here = Host(None, address or _address_towards(hosts[0].address))
    common = {
        "DMLC_PS_ROOT_URI": here.address,
        "DMLC_PS_ROOT_PORT": str(_free_port(here.address)),
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
    }

    python = sys.executable
    if Path(command[0]).name.startswith("python"):
        python = command[0]
    # a scheduler or server serves inside the import, and then exits
    serve = [python, "-c", "import mxnet"]
    commands = {"scheduler": serve, "server": serve, "worker": command}

    places = [
        ("scheduler", 0, here),
        *_deal("server", servers, hosts),
        *_deal("worker", workers, hosts),
    ]
    return [
        Job(role, rank, host, {**_environment(role, rank, host), **common}, commands[role])
        for role, rank, host in places
    ]


def _deal(role: str, count: int, hosts: Sequence[Host]) -> Iterator[tuple[str, int, Host]]:
    """Ranks 0 to `count` - 1 dealt round the hosts."""
    return ((role, rank, hosts[rank % len(hosts)]) for rank in range(count))


def _environment(role: str, rank: int, host: Host) -> dict[str, str]:
    own = {
        "DMLC_ROLE": role,
        "DMLC_NODE_HOST": host.address,
        "PYTHONUNBUFFERED": "1",  # lines are passed on as they are written
    }
    if role == "worker":
        own[WORKER] = str(rank)

    if host.name is None:
        return own

    forwarded = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
    return {**forwarded, **own}


def _address_towards(address: str) -> str:
    """This machine's address on the way to another; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError as error:
            raise ConfigError(
                f"there is no way to {address} ({error.strerror}): correct the "
                "hosts file, or give --address"
            ) from error
        return probe.getsockname()[0]


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise ConfigError(
                f"--address {address} is no address of this machine "
                f"({error.strerror}): see `ip address`"
            ) from error
        return probe.getsockname()[1]


def run(jobs: Sequence[Job], ssh: str = SSH) -> int:
    """Start `jobs` and wait until the workers are done, or one process fails.

    Returns
    -------
    int
        0, or the exit code of the first process that failed.

    Raises
    ------
    Interrupted
        By SIGINT, SIGTERM or SIGHUP; every process is ended then.
    """
    processes: list[Process] = []

    with _on_signals(_interrupt):
        try:
            for job in jobs:
                processes.append(_start(job, ssh))
            failed = _wait(processes)
        finally:
            with _on_signals(signal.SIG_IGN):  # ending takes GRACE + 1 seconds at most
                _end(processes)

    if failed is None:
        return 0

    print(f"d2l_autorec.launch: error: {failed.failure()}", file=sys.stderr)
    return failed.exit_code() or 0


@contextmanager
def _on_signals(handler: Any) -> Iterator[None]:
    usual = {
        number: signal.signal(number, handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }

    try:
        yield
    finally:
        for number, was in usual.items():
            signal.signal(number, was)


def _start(job: Job, ssh: str) -> Process:
    try:
        return Process(job, ssh)
    except OSError as error:
        raise ConfigError(
            f"{job.argv(ssh)[0]} cannot be started ({error.strerror}): give another one with --ssh"
        ) from error


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number, "every process was ended")


def _wait(processes: Sequence[Process]) -> Process | None:
    """The first process that failed, or None once all workers have ended with 0.

    A server or scheduler that ends with 0 has heard that every worker is done.
    """
    while True:
        codes = [process.exit_code() for process in processes]
        failed = [process for process, code in zip(processes, codes) if code]
        if failed:
            return failed[0]

        workers = [code for process, code in zip(processes, codes) if process.role == "worker"]
        if all(code == 0 for code in workers):
            return None

        time.sleep(0.05)


def _end(processes: Sequence[Process]) -> None:
    """End what still runs: workers first, as they may want to say how to go on."""
    workers = [process for process in processes if process.role == "worker"]
    if workers and all(process.exit_code() == 0 for process in workers):
        _settle(processes, 2.0)  # scheduler and servers follow the workers

    for some, seconds in ((workers, GRACE), (processes, 1.0)):
        for process in some:
            process.terminate()
        _settle(some, seconds)

    for process in processes:
        process.kill()


def _settle(processes: Sequence[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(p.exit_code() is None for p in processes):
        time.sleep(0.05)


if __name__ == "__main__":
    leave(run_command("d2l_autorec.launch", main))

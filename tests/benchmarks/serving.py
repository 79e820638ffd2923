"""Requests a second of `python -m d2l_autorec.serve`, against Cornac's serving app.

    pip install -e '.[cpu,test]'                       and wrk, of Debian
    python -m venv peer && peer/bin/pip install cornac flask gunicorn
    D2L_AUTOREC_DATA=... python tests/benchmarks/serving.py --cornac-python peer/bin/python
        [--sets ml-100k,ml-1m] [--connections 1,8,32] [--seconds 5] [--rounds 3] [--flat 50000]

Both serve matrix factorization of the same ratings with as many factors, by as many processes,
on the loopback address of one machine, in turn. Ours is asked for what a new user would like: it
fits them a vector, and says for each item which ratings speak for it. Cornac's app knows users of
the training data alone, and is asked for the items that one has not seen. It runs as its
documentation says, `flask run`, and also by gunicorn.

Prints requests a second and the median and 99th percentile of the latency in ms; exits with 1
where an answer is an error, where ours is slower at the median of the rounds than Cornac's app as
documented, or where memory grows over the requests of --flat.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import d2l_autorec as d2l

PEER = Path(__file__).with_name("cornac_program.py")
FACTORS, RATED, CLIENTS, WORKERS = 50, 20, 100, 2
OURS, DOCUMENTED = "d2l_autorec", "Cornac, flask run"
MAY_GROW = 2**21  # bytes, over the requests of --flat
REPORT = """
done = function(summary, latency)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format('{"requests": %d, "seconds": %f, "errors": %d, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.duration / 1e6, failed + summary.errors.status
    + summary.errors.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
NEXT = """
local turn = 0
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk reports."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def script(path: Path, formatted: list[str]) -> Path:
    """A program of wrk that sends these requests in turn."""
    path.write_text(
        "init = function()\n  requests = {\n    "
        + ",\n    ".join(formatted)
        + "}\nend\n"
        + NEXT
        + REPORT
    )
    return path


def new_users(ratings: d2l.Ratings, path: Path) -> Path:
    """Requests of ours: some ratings of people, as if of new users."""
    rng = np.random.default_rng(0)
    counts, _ = ratings.counts()
    people = rng.choice(np.flatnonzero(counts >= RATED), CLIENTS, replace=False)

    requests = []
    for person in people:
        mine = rng.choice(np.flatnonzero(ratings.users == person), RATED, replace=False)
        items = ratings.item_ids[ratings.items[mine]].tolist()
        rated = dict(zip(map(str, items), ratings.values[mine].tolist()))
        body = json.dumps({"ratings": rated, "n": 10})
        headers = '{["content-type"] = "application/json"}'
        requests.append(f'wrk.format("POST", "/recommend", {headers}, [[{body}]])')
    return script(path, requests)


def known_users(ratings: d2l.Ratings, path: Path) -> Path:
    """Requests of Cornac's app."""
    people = np.random.default_rng(0).choice(ratings.user_ids, CLIENTS, replace=False).tolist()
    address = "/recommend?uid={}&k=10&remove_seen=true"
    return script(path, [f'wrk.format("GET", "{address.format(person)}")' for person in people])


def load(url: str, program: Path, connections: int, seconds: float) -> Load:
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(program), url],
        check=True,
        capture_output=True,
        text=True,
    )
    return Load(**json.loads(done.stdout.splitlines()[-1]))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str], url: str, **environment: str) -> Iterator[subprocess.Popen]:
    """A server, once it answers."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        wait_for(url, process)
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nobody answers at {url}")


def train(name: str, folder: Path, peer: str) -> tuple[d2l.Ratings, Path, str]:
    """Ratings, the folder of our model, and that of Cornac's."""
    ratings = d2l.load_ratings(name)
    part, test = d2l.random_split(ratings, test_ratio=0.1, seed=0)
    config = d2l.MFConfig(factors=FACTORS, epochs=2, quiet=True)
    model = d2l.train_model(config, part, test, out=str(folder / "ours"))
    model.export(folder / "ours" / "export")

    users, items = part.user_ids[part.users], part.item_ids[part.items]
    rows = (f"{user},{item},{value:g}" for user, item, value in zip(users, items, part.values))
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    done = subprocess.run(
        [peer, str(PEER), str(folder / "train.csv"), str(folder / "cornac"), str(FACTORS), "2"],
        check=True,
        capture_output=True,
        text=True,
    )
    return part, folder / "ours", done.stdout.splitlines()[-1]


@contextlib.contextmanager
def contender(name: str, ours: Path, theirs: str, peer: str, user: object) -> Iterator[str]:
    """The address of a server."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    cornac = {
        "FLASK_APP": "cornac.serving.app",
        "MODEL_PATH": theirs,
        "MODEL_CLASS": "cornac.models.MF",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    commands = {
        OURS: [sys.executable, "-m", "d2l_autorec.serve", str(ours), "--workers", str(WORKERS)],
        DOCUMENTED: [peer, "-m", "flask", "run", "--host", "127.0.0.1"],
        "Cornac, gunicorn": [peer, "-m", "gunicorn", "cornac.serving.app:app", "--preload"],
    }
    command = [*commands[name], "--port", port]
    if name == "Cornac, gunicorn":
        command = [*commands[name], "-w", str(WORKERS), "-b", f"127.0.0.1:{port}"]

    if name == OURS:
        with running(command, f"{url}/health"):
            yield url
    else:
        with running(command, f"{url}/recommend?uid={user}&k=10", **cornac):
            yield url


def compare(options: argparse.Namespace, name: str, folder: Path) -> bool:
    """Print the table of a data set; whether ours is nowhere slower, and never failed."""
    ratings, ours, theirs = train(name, folder, options.cornac_python)
    programs = dict.fromkeys(
        (DOCUMENTED, "Cornac, gunicorn"), known_users(ratings, folder / "theirs.lua")
    )
    programs = {OURS: new_users(ratings, folder / "ours.lua"), **programs}
    user = ratings.user_ids[0]
    connections = [int(count) for count in options.connections.split(",")]
    found: dict[tuple[str, int], list[Load]] = {}

    for _ in range(options.rounds):
        for who, program in programs.items():
            with contender(who, ours, theirs, options.cornac_python, user) as url:
                load(url, program, max(connections), 1)  # to warm up
                for count in connections:
                    one = load(url, program, count, options.seconds)
                    found.setdefault((who, count), []).append(one)

    good = True
    for count in connections:
        for who in programs:
            loads = found[who, count]
            ratio = statistics.median(
                mine.rate / their.rate for mine, their in zip(found[OURS, count], loads)
            )
            errors = sum(one.errors for one in loads)
            good &= who != OURS or errors == 0
            good &= who != DOCUMENTED or ratio >= 1
            print(
                f"{name}  {count:3} connections  {who:18} "
                f"{statistics.median(one.rate for one in loads):7.0f}/s  "
                f"p50 {statistics.median(one.p50 for one in loads):7.2f} ms  "
                f"p99 {statistics.median(one.p99 for one in loads):7.2f} ms  "
                f"ours is {ratio:.2f} times as fast; {errors} errors"
            )
    return good & stays_flat(options, ours, programs[OURS])


def stays_flat(options: argparse.Namespace, ours: Path, program: Path) -> bool:
    """Whether no request fails, and memory does not grow."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "d2l_autorec.serve", str(ours), "--workers", str(WORKERS)]

    with running([*command, "--port", str(port)], f"{url}/health") as process:
        load(url, program, 8, 5)  # until every part of a worker has run
        processes = [process.pid, *children(process.pid)]
        before = memory_of(processes)

        requests = errors = 0
        while requests < options.flat:
            one = load(url, program, 8, 10)
            requests += one.requests
            errors += one.errors
        growth = memory_of(processes) - before

    print(f"{requests} requests: {errors} errors, memory grew by {growth / 2**20:.1f} MiB")
    return errors == 0 and growth < MAY_GROW


def children(parent: int) -> list[int]:
    return [
        int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ]


def memory_of(pids: list[int]) -> int:
    """Bytes of all these processes, each page that they share counted once."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += 1024 * int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0])
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cornac-python", required=True, help="interpreter with cornac and flask")
    parser.add_argument("--sets", default="ml-100k,ml-1m")
    parser.add_argument("--connections", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flat", type=int, default=50_000)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed")

    good = True
    for name in options.sets.split(","):
        with tempfile.TemporaryDirectory() as folder:
            good &= compare(options, name, Path(folder))
    sys.exit(not good)


if __name__ == "__main__":
    main()

"""How long `python -m d2l_autorec.serve` takes to its first answer, and its memory, both ways.

    pip install -e '.[cpu,test]'
    python -m d2l_autorec.run --dataset ml-100k --preset best --out runs/mine
    python -m d2l_autorec.export runs/mine
    python tests/benchmarks/serving_start.py runs/mine [--workers 1,4] [--rounds 3]

By the export, as the command does, or with MXNet and the network in the serving process. Prints
the medians of the seconds until /health is answered and of the CPU seconds until the end, and
then, after some answers: the peak of the process that loads, the memory of all processes in
which each shared page counts once, and what a worker shares with none.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

WITH_MXNET = """
import sys
from d2l_autorec.training.engine import start_mxnet
start_mxnet(one_cpu=True)
from d2l_autorec import serve
from d2l_autorec.trained_model import load_run
from d2l_autorec.support.cli import run_command
serve.load = load_run
sys.exit(run_command("d2l_autorec.serve", serve.main))
"""
WAYS = {"export": ("-m", "d2l_autorec.serve"), "MXNet": ("-c", WITH_MXNET)}
ANSWERS, MIB = 20, 1024  # KiB


class Start(NamedTuple):
    """Seconds, and MiB."""

    wall: float
    cpu: float
    peak: float
    all_processes: float
    worker: float


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kib(path: str, name: str) -> int:
    """The sum of the lines of a /proc file that begin so."""
    return sum(map(int, re.findall(rf"^{name}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)))


def start(way: str, run: str, workers: int) -> Start:
    before, began = cpu_of_children(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *WAYS[way], run, "--port", "0", "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    url = process.stdout.readline().split()[0]
    urllib.request.urlopen(f"{url}/health").read()
    wall = time.perf_counter() - began

    ask(url)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    everyone = [str(process.pid), *children]
    peak = kib(f"/proc/{process.pid}/status", "VmHWM")
    together = sum(kib(f"/proc/{pid}/smaps_rollup", "Pss") for pid in everyone)
    alone = max(kib(f"/proc/{pid}/smaps_rollup", r"Private_\w+") for pid in children)

    process.terminate()
    process.wait()
    cpu = cpu_of_children() - before
    return Start(wall, cpu, peak / MIB, together / MIB, alone / MIB)


def ask(url: str) -> None:
    """Some new users' recommendations, so that every part of a worker has run."""
    items = json.load(urllib.request.urlopen(f"{url}/items"))["items"]
    about = json.load(urllib.request.urlopen(f"{url}/model"))
    ratings: object = [row["item"] for row in items]
    if about["kind"] == "rating":
        ratings = {str(row["item"]): about["scale"][1] for row in items}

    body = json.dumps({"ratings": ratings}).encode()
    request = urllib.request.Request(f"{url}/recommend", body, {"content-type": "application/json"})
    for _ in range(ANSWERS):
        urllib.request.urlopen(request).read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN_DIR", help="an exported run")
    parser.add_argument("--workers", default="1,4")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    for workers in map(int, options.workers.split(",")):
        for way in WAYS:
            found = [start(way, options.run, workers) for _ in range(options.rounds)]
            wall, cpu, peak, together, alone = map(statistics.median, zip(*found))
            print(
                f"{way:6} {workers} workers: answers after {wall:.2f} s, {cpu:.2f} s of CPU; "
                f"peak {peak:.0f} MiB, all processes {together:.0f} MiB, a worker alone "
                f"{alone:.0f} MiB"
            )


if __name__ == "__main__":
    main()

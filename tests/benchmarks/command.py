"""The whole command against a PyTorch program, and what it does beside its training.

    pip install -e '.[cpu,test,bench]'
    D2L_AUTOREC_DATA=... python tests/benchmarks/command.py [--rounds 5] [--only ml-100k,...]

Contenders run in turn, each in a process of its own, with the threads that they take by
themselves. An epoch of the command is the difference of a run of many epochs and a run of one,
divided by their number, so that nothing it does is left out. Prints the median of the rounds'
ratios and whether it reaches the aim; exits with 1 if one does not.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PEER = Path(__file__).with_name("torch_program.py")
PEER_VAE = Path(__file__).with_name("torch_vae_program.py")
LISTING = Path(__file__).parents[1] / "chapter_listing.py"
RUN = (sys.executable, "-m", "d2l_autorec.run", "--quiet")
GIB = 2**30

SMALL_BATCHES = ("--hidden", "200", "--lr", "1e-3", "--dropout", "0", "--batch-size", "32")
TWENTY_MILLION = "synthetic:138493x26744x20000000"
NETFLIX = "synthetic:480189x17770x100000000"


@dataclass(frozen=True)
class Finished:
    """A process that has come to its end.

    Parameters
    ----------
    seconds : float
        From its start to its end.
    peak : int
        Bytes.
    output : str
    """

    seconds: float
    peak: int
    output: str


def finished(*command: str) -> Finished:
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start

        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")

        output.seek(0)
        return Finished(seconds, usage.ru_maxrss * 1024, output.read().decode())


class Bench:
    """Where contenders find their data, and leave their runs.

    Parameters
    ----------
    folder : Path
        A temporary one.
    peer : str
        The interpreter that has torch.
    """

    def __init__(self, folder: Path, peer: str) -> None:
        self._folder = folder
        self._peer = peer
        self._runs = 0

    def command(self, *options: str) -> tuple[Finished, Path]:
        """A run of the command, and its folder."""
        self._runs += 1
        folder = self._folder / str(self._runs)
        return finished(*RUN, *options, "--out", str(folder)), folder

    def epoch(self, epochs: int, *options: str) -> float:
        """Seconds that an epoch adds to the command."""
        many, _ = self.command(*options, "--epochs", str(epochs + 1))
        one, _ = self.command(*options, "--epochs", "1")
        return (many.seconds - one.seconds) / epochs

    def program(self, dataset: str, *options: str, program: Path = PEER) -> Finished:
        """A run of a PyTorch program."""
        return finished(self._peer, str(program), str(self.ratings(dataset)), *options)

    def ratings(self, dataset: str) -> Path:
        """The ratings as user, item and rating with tabs between; made once."""
        path = self._folder / f"{dataset}.tsv"
        if not path.exists():
            from d2l_autorec import load_ratings

            ratings = load_ratings(dataset)
            table = np.stack([ratings.users, ratings.items, ratings.values], axis=1)
            np.savetxt(path, table, fmt="%g", delimiter="\t")
        return path


def seconds_of(program: Finished) -> float:
    """Of an epoch of the PyTorch program, which says so in its last line."""
    return float(program.output.split()[-1])


def of_an_epoch(dataset: str, epochs: int, ours: tuple[str, ...], theirs: tuple[str, ...]):
    """Times that the command's epoch is quicker than the program's."""

    def ratio(bench: Bench) -> float:
        program = bench.program(dataset, "--epochs", "5", *theirs)
        return seconds_of(program) / bench.epoch(epochs, "--dataset", dataset, *ours)

    return ratio


def of_a_vae(bench: Bench) -> float:
    """Times that an epoch of the command's Mult-VAE, evaluated, is quicker than the program's."""
    program = bench.program("ml-1m", program=PEER_VAE)
    words = ("--model", "mult-vae", "--threshold", "4", "--heldout-users", "500")
    return seconds_of(program) / bench.epoch(10, "--dataset", "ml-1m", *words)


def of_the_chapter(bench: Bench) -> float:
    """Times that the command is quicker than the chapter's script, repaired so that it runs."""
    script = finished(sys.executable, str(LISTING), "--book")
    command, _ = bench.command("--dataset", "ml-100k", "--epochs", "25")
    return script.seconds / command.seconds


def of_a_process(bench: Bench) -> float:
    """Times that the command is quicker than the program, from start to end."""
    program = bench.program("ml-100k", "--epochs", "25")
    command, _ = bench.command("--dataset", "ml-100k", "--epochs", "25")
    return program.seconds / command.seconds


def beside_two_busy_processes(bench: Bench) -> float:
    """Time of an epoch with the usual threads, in times of that with one."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        usual = bench.epoch(200, "--dataset", "ml-100k")
        return usual / bench.epoch(200, "--dataset", "ml-100k", "--threads", "1")
    finally:
        for process in busy:
            process.kill()
            process.wait()


def outside_training(bench: Bench, *options: str) -> tuple[float, float, Finished]:
    """Seconds of the command outside its training epochs, and in them."""
    command, folder = bench.command(*options)
    with open(folder / "metrics.csv", newline="") as file:
        training = sum(float(row["seconds"]) for row in csv.DictReader(file))
    return command.seconds - training, training, command


def generation(dataset: str) -> float:
    """Seconds to generate a data set."""
    code = f"import d2l_autorec, time; d2l_autorec.load_ratings({dataset!r})"
    return finished(sys.executable, "-c", code).seconds


def beside_twenty_million(bench: Bench) -> float:
    """Seconds outside generation and training; says the peak, too."""
    rest, training, command = outside_training(bench, "--dataset", TWENTY_MILLION, "--epochs", "2")
    print(f"    training {training:.1f} s, peak {command.peak / GIB:.2f} GiB")
    if command.peak > 4.0e9:
        raise AssertionError(f"peak memory {command.peak / 1e9:.2f} GB is above 4.0 GB")
    return rest - generation(TWENTY_MILLION)


def of_the_size_of_netflix(bench: Bench) -> float:
    """Peak memory in GB; says the seconds, too."""
    rest, training, command = outside_training(bench, "--dataset", NETFLIX, "--epochs", "1")
    print(f"    training {training:.1f} s, generation and all else {rest:.1f} s")
    return command.peak / 1e9


def beside_a_large_vae(bench: Bench) -> float:
    """Share of a run of one epoch outside generation and the epoch, evaluated; says the peak.

    The epoch is the difference of two and one, as in the rows above.
    """
    options = ("--dataset", TWENTY_MILLION, "--model", "mult-vae", "--threshold", "4")
    two, _ = bench.command(*options, "--epochs", "2")
    one, _ = bench.command(*options, "--epochs", "1")

    epoch = two.seconds - one.seconds
    whole = one.seconds - generation(TWENTY_MILLION)
    print(f"    an epoch {epoch:.1f} s, a run of one {whole:.1f} s, peak {two.peak / 1e9:.2f} GB")
    if two.peak > 3.0e9:
        raise AssertionError(f"peak memory {two.peak / 1e9:.2f} GB is above 3.0 GB")
    return (whole - epoch) / whole


@dataclass(frozen=True)
class Row:
    """A line of the table: what is measured, its aim, and whether more is better."""

    what: str
    measure: Callable[[Bench], float]
    aim: float
    more_is_better: bool = True
    is_large: bool = False

    def holds(self, value: float) -> bool:
        if self.more_is_better:
            return value >= self.aim
        return value <= self.aim


ROWS = {
    "ml-100k": Row("ML-100K, an epoch: PyTorch / command", of_an_epoch("ml-100k", 25, (), ()), 3.0),
    "process": Row("ML-100K, 25 epochs, whole process: PyTorch / command", of_a_process, 1.7),
    "chapter": Row("ML-100K, whole process: the chapter's script / command", of_the_chapter, 3.0),
    "ml-1m": Row("ML-1M, an epoch: PyTorch / command", of_an_epoch("ml-1m", 10, (), ()), 6.0),
    "small-batches": Row(
        "ml-latest-small, batches of 32, an epoch: PyTorch / command",
        of_an_epoch("ml-latest-small", 10, SMALL_BATCHES, SMALL_BATCHES),
        1.5,
    ),
    "mult-vae": Row("ML-1M, Mult-VAE, an epoch: PyTorch / command", of_a_vae, 1.0),
    "busy": Row(
        "ML-100K beside two busy processes: usual threads / --threads 1",
        beside_two_busy_processes,
        1.3,
        more_is_better=False,
    ),
    "20m": Row(
        "20 million ratings, 2 epochs: seconds beside generation and training",
        beside_twenty_million,
        15.0,
        more_is_better=False,
        is_large=True,
    ),
    "netflix": Row(
        "Netflix's size, an epoch: peak memory in GB",
        of_the_size_of_netflix,
        14.0,
        more_is_better=False,
        is_large=True,
    ),
    "vae": Row(
        "Mult-VAE of ML-20M's size: share of time beside generation and the evaluated epoch",
        beside_a_large_vae,
        0.1,
        more_is_better=False,
        is_large=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each row but the large ones")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas between")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch")
    options = parser.parse_args()

    missed = False
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.torch_python)
        bench.command("--dataset", "ml-100k", "--epochs", "1")  # the kernels are compiled once

        for name in options.only.split(","):
            row = ROWS[name]
            rounds = options.rounds
            if row.is_large:
                rounds = 1

            values = [row.measure(bench) for _ in range(rounds)]
            value = statistics.median(values)
            verdict = "holds"
            if not row.holds(value):
                verdict = "MISSED"
                missed = True

            shown = ", ".join(f"{value:.3g}" for value in sorted(values))
            print(f"{row.what}: {value:.3g} (aim {row.aim:g}): {verdict} [{shown}]", flush=True)

    sys.exit(missed)


if __name__ == "__main__":
    main()

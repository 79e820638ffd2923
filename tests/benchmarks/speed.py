"""Seconds an epoch: the chapter's loop, PyTorch, and this package dense and sparse.

    pip install -e '.[cpu,test,bench]'
    D2L_AUTOREC_DATA=... python tests/benchmarks/speed.py [--rounds 5] [--only ml-100k,...]

Every contender trains 500 hidden units in batches of 256 in a process of its own, in turn, with
the same number of threads; the table has the median of the rounds. What is too large to be held
dense is densified a batch at a time, and a dense epoch there is extrapolated from five batches.
The floor is the arithmetic over observed ratings, 5 x 2 x hidden x ratings FLOP, at this
machine's measured sgemm rate. Prints whether each claim holds and exits with 1 if one does not.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

HIDDEN, BATCH, DENSE_LIMIT = 500, 256, 10**8
SETS = [
    "ml-100k",
    "ml-1m",
    *(f"synthetic:138493x26744x{n}" for n in (1_000_000, 5_000_000, 10_000_000, 20_000_000)),
]
CONTENDERS = ["chapter", "torch", "dense", "sparse"]
# set: (slower, faster, at least this many times)
CLAIMS = {
    "ml-100k": [("chapter", 10), ("torch", 3)],
    "ml-1m": [("torch", 3), ("dense", 3)],
    SETS[-1]: [("torch", 8), ("dense", 10)],
}


def prepare(name: str, folder: Path) -> None:
    """Save the training and test matrices of a data set."""
    from d2l_autorec.data.movielens import load_ratings
    from d2l_autorec.data.splits import random_split

    parts = random_split(load_ratings(name), 0.1, np.random.default_rng(0))
    for part, ratings in zip(("train", "test"), parts):
        sparse.save_npz(folder / f"{part}.npz", ratings.to_csr(), compressed=False)


def measure_torch(matrix: Any, test: Any, epochs: int, threads: int) -> tuple[float, float]:
    import peer_torch

    dense = matrix.shape[0] * matrix.shape[1] < DENSE_LIMIT
    net, optimizer, loader = peer_torch.prepare(matrix, threads, dense)
    times, evaluations = [], []
    for _ in range(epochs if dense else 1):
        steps = list(
            itertools.islice(peer_torch.train_steps(net, optimizer, loader), None if dense else 6)
        )
        times.append(steps[-1] if dense else np.median(np.diff(steps)) * matrix.shape[0] / BATCH)
        start = time.perf_counter()
        if dense:
            peer_torch.evaluate(net, matrix, test)
        evaluations.append(time.perf_counter() - start)
    return statistics.median(times), statistics.median(evaluations)


def measure_package(matrix: Any, test: Any, epochs: int, kernel: str) -> tuple[float, float]:
    import mxnet as mx

    from d2l_autorec.evaluation.rating import predict_at
    from d2l_autorec.models.autorec import AutoRec
    from d2l_autorec.runs.config import AutoRecConfig
    from d2l_autorec.runs.phases import make_trainer
    from d2l_autorec.training.loaders import BATCHES, eval_loader, train_loader
    from d2l_autorec.training.loop import Training, train_epoch
    from d2l_autorec.training.losses import MaskedL2Loss

    mx.npx.set_np()
    net = AutoRec(HIDDEN, matrix.shape[1])
    net.initialize(init=mx.init.Normal(0.01))
    net.hybridize()
    trainer = make_trainer(net, AutoRecConfig(), [mx.cpu()])
    whole = kernel == "sparse" or matrix.shape[0] * matrix.shape[1] < DENSE_LIMIT
    loader = train_loader(matrix, BATCH, 0, BATCHES[kernel])
    check = eval_loader(matrix, batchify=BATCHES[kernel])
    times, evaluations = [], []
    loss = MaskedL2Loss()
    for _ in range(epochs if whole else 1):
        batches = loader if whole else list(itertools.islice(loader, 6))
        if not whole:
            train_epoch(Training(net, batches[:1], loss, trainer, [mx.cpu()]))
            batches = batches[1:]
        seconds = train_epoch(Training(net, batches, loss, trainer, [mx.cpu()])).seconds
        times.append(seconds if whole else seconds / len(batches) * matrix.shape[0] / BATCH)
        start = time.perf_counter()
        if whole:
            predict_at(net, check, test, [mx.cpu()])
        evaluations.append(time.perf_counter() - start)
    skip = int(len(times) > 1)  # the first epoch loads the compiled kernels
    return statistics.median(times[skip:]), statistics.median(evaluations[skip:])


def measure_chapter(matrix: Any, test: Any, epochs: int) -> tuple[float, float]:
    """The book's own loop, evaluator and four workers; evaluation is in its time."""
    import matplotlib

    matplotlib.use("Agg")
    import mxnet as mx
    from d2l import mxnet as d2l
    from mxnet import autograd, gluon
    from mxnet import np as mnp
    from mxnet.gluon import nn

    mx.npx.set_np()

    class AutoRec(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Dense(HIDDEN, activation="sigmoid")
            self.decoder = nn.Dense(matrix.shape[1])
            self.dropout = nn.Dropout(0.05)

        def forward(self, x: Any) -> Any:
            prediction = self.decoder(self.dropout(self.encoder(x)))
            return prediction * mnp.sign(x) if autograd.is_training() else prediction

    def evaluator(network: Any, rows: Any, truth: Any, devices: list[Any]) -> float:
        parts = []
        for values in rows:
            for shard in gluon.utils.split_and_load(values, devices, even_split=False):
                parts.extend(network(shard).asnumpy())
        error = truth - mnp.sign(truth) * mnp.array(parts)
        return float(mnp.sqrt(mnp.sum(error**2) / mnp.sum(mnp.sign(truth))))

    rows, truth = mnp.array(matrix.toarray()), mnp.array(test.toarray())
    workers = d2l.get_dataloader_workers()
    train = gluon.data.DataLoader(
        rows, BATCH, shuffle=True, last_batch="rollover", num_workers=workers
    )
    check = gluon.data.DataLoader(rows, 1024, last_batch="keep", num_workers=workers)
    net = AutoRec()
    net.initialize(init=mx.init.Normal(0.01))
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.002, "wd": 1e-5})
    start = time.perf_counter()
    d2l.train_recsys_rating(
        net,
        train,
        check,
        gluon.loss.L2Loss(),
        trainer,
        epochs,
        [mx.cpu()],
        evaluator,
        inter_mat=truth,
    )
    return (time.perf_counter() - start) / epochs, 0.0


def measure(contender: str, folder: Path, epochs: int, threads: int) -> None:
    """One contender in this process; prints a line of JSON."""
    if contender != "torch":
        from d2l_autorec.training.engine import start_mxnet

        start_mxnet(threads, one_cpu=contender == "sparse")
    matrix, test = (sparse.load_npz(folder / f"{part}.npz") for part in ("train", "test"))
    if contender == "torch":
        seconds, evaluation = measure_torch(matrix, test, epochs, threads)
    elif contender == "chapter":
        seconds, evaluation = measure_chapter(matrix, test, epochs)
    else:
        seconds, evaluation = measure_package(matrix, test, epochs, contender)
    print(
        "\n"
        + json.dumps(
            {
                "epoch": seconds,
                "evaluation": evaluation,
                "ratings": matrix.nnz,
                "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2,
            }
        )
    )


def sgemm_rate() -> float:
    """FLOP a second of a float32 matrix product."""
    a = np.ones((2048, 2048), dtype=np.float32)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / statistics.median(times)


def compare(name: str, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Every contender in turn, `rounds` times; medians.

    A dense epoch depends on users x items alone, so of the generated sets only
    the largest is trained dense.
    """
    small = not name.startswith("synthetic")
    contenders = CONTENDERS[1:] if small or name == SETS[-1] else ["sparse"]
    contenders = CONTENDERS if name == "ml-100k" else contenders
    found: dict[str, list[dict[str, float]]] = {c: [] for c in contenders}
    with tempfile.TemporaryDirectory() as folder:
        prepare(name, Path(folder))
        for _ in range(rounds):
            for contender in contenders:
                epochs = (25 if name == "ml-100k" else 4) if small else 1
                command = [
                    sys.executable,
                    __file__,
                    "--measure",
                    contender,
                    "--folder",
                    folder,
                    "--epochs",
                    str(epochs),
                    "--threads",
                    str(threads),
                ]
                output = subprocess.run(
                    command,
                    check=True,
                    capture_output=True,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                )
                found[contender].append(json.loads(output.stdout.splitlines()[-1]))
    return {
        c: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for c, runs in found.items()
    }


def report(name: str, result: dict[str, dict[str, float]], rate: float) -> bool:
    """Print a data set's rows; True if its claims hold. Times are training plus evaluation."""
    best = sum(result["sparse"][key] for key in ("epoch", "evaluation"))
    floor = 5 * 2 * HIDDEN * result["sparse"]["ratings"] / rate
    holds = True
    for contender, row in result.items():
        seconds = row["epoch"] + row["evaluation"]
        print(
            f"| {name} | {contender} | {row['epoch']:.3f} | {row['evaluation']:.3f} | "
            f"{row['ratings'] / row['epoch']:.3g} | {row['gigabytes']:.2f} | {floor:.3f} | "
            f"{seconds / best:.2f} |",
            flush=True,
        )
    for slower, times in CLAIMS.get(name, []):
        key = "epoch" if name != "ml-100k" else None
        ratio = (
            result[slower]["epoch"] / result["sparse"]["epoch"]
            if key
            else sum(result[slower][k] for k in ("epoch", "evaluation")) / best
        )
        holds &= ratio >= times
        print(
            f"  {name}: sparse is {ratio:.2f} times as fast as {slower}; claim {times}: "
            f"{'holds' if ratio >= times else 'MISSED'}",
            flush=True,
        )
    return holds


def plot(results: dict[str, dict[str, dict[str, float]]], path: Path) -> bool:
    """Time against ratings, users and items fixed; True if within 20 % of a straight line."""
    from matplotlib.figure import Figure

    rows = [result["sparse"] for name, result in results.items() if name.startswith("synthetic")]
    if len(rows) < 3:
        return True
    ratings, seconds = (np.array([row[key] for row in rows]) for key in ("ratings", "epoch"))
    slope, constant = np.polyfit(ratings, seconds, 1, w=1 / seconds)
    worst = np.abs(seconds / (slope * ratings + constant) - 1).max()
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.loglog(ratings, seconds, "o-", label="sparse")
    for contender in results[SETS[-1]] if SETS[-1] in results else ():
        if contender != "sparse":
            axes.axhline(results[SETS[-1]][contender]["epoch"], ls="--", color="grey")
            axes.annotate(contender, (ratings[0], results[SETS[-1]][contender]["epoch"]))
    axes.loglog(ratings, slope * ratings + constant, "k:", label="line + constant")
    axes.set(xlabel="ratings", ylabel="seconds an epoch", title="138,493 users x 26,744 items")
    axes.legend()
    figure.savefig(path, dpi=120)
    print(
        f"sparse seconds = {slope * 1e6:.3f} per million ratings + {constant:.2f}; "
        f"at most {worst:.1%} off (claim 20 %)"
    )
    return bool(worst <= 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--figure", type=Path, default=Path("speed.png"))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.folder, arguments.epochs, arguments.threads)
        return
    rate = sgemm_rate()
    print(
        f"{arguments.threads} threads, median of {arguments.rounds}; sgemm {rate / 1e9:.0f} "
        "GFLOP/s\n| data | contender | epoch s | evaluation s | ratings/s | peak GB | floor s | "
        "time / sparse |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    results, holds = {}, True
    for name in arguments.only.split(","):
        results[name] = compare(name, arguments.rounds, arguments.threads)
        holds &= report(name, results[name], rate)
    holds &= plot(results, arguments.figure)
    sys.exit(not holds)


if __name__ == "__main__":
    main()

"""Mult-VAE on clicks of ML-20M's size: memory, and seconds an epoch beside a dense PyTorch one.

    pip install -e '.[cpu,test,bench]'
    python tests/benchmarks/vae_speed.py [--quick] [--rounds 3] [--batches 20]

Generated clicks, 116,677 users x 20,108 items, 8.5 million; popular items and active users have
most. Both train items -> 600 -> 200 -> 600 -> items in batches of 500, with dropout, noise and
Adam, each in a process of its own, in turn, with the same number of threads. Seconds an epoch are
extrapolated from `--batches` batches after two that do not count. Then this package trains one
epoch (all its batches) and ranks for 10,000 users, as a run does, and its peak memory is taken;
that peak holds the data too. `--quick` is a tenth of users, items and clicks, and claims nothing
of the time. Prints whether each claim holds and exits with 1 if one does not.
"""

import argparse
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

import d2l_autorec  # noqa: F401  # MXNet needs what it prepares

USERS, ITEMS, CLICKS, HELD_OUT = 116_677, 20_108, 8_538_846, 10_000
HIDDEN, BATCH, WARM_UP = (600, 200), 500, 2
GIGABYTES = 8
ROLES = {"torch": "PyTorch, dense", "package": "d2l_autorec"}


def generate(users: int, items: int, clicks: int, seed: int = 0) -> sparse.csr_matrix:
    """Clicks with long tails of users and items, users x items; every user has at least 5."""
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0, 1.0, users)
    popularity = np.arange(1, items + 1) ** -0.8
    counts = np.clip(activity / activity.sum() * clicks * 1.25, 8, items / 4).astype(int)
    edges = np.cumsum(popularity) / popularity.sum()
    drawn = np.minimum(np.searchsorted(edges, rng.random(counts.sum())), items - 1)
    matrix = sparse.csr_matrix(
        (np.ones(len(drawn), dtype=np.float32), (np.repeat(np.arange(users), counts), drawn)),
        (users, items),
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return _thinned(matrix, clicks, rng)


def _thinned(matrix: sparse.csr_matrix, clicks: int, rng: np.random.Generator) -> sparse.csr_matrix:
    """The same with at most so many clicks, at random."""
    surplus = matrix.nnz - clicks
    if surplus > 0:
        matrix.data[rng.choice(matrix.nnz, surplus, replace=False)] = 0
        matrix.eliminate_zeros()
    return matrix


def prepare(folder: Path, scale: int) -> None:
    """Save training clicks, and fold-in and held-out clicks of other users."""
    users, held_out = USERS // scale, HELD_OUT // scale
    matrix = generate(users + held_out, ITEMS // scale, (CLICKS + CLICKS // 12) // scale)
    of_test, rng = matrix[users:], np.random.default_rng(1)
    hidden = rng.random(of_test.nnz) < 0.2
    parts = {"train": matrix[:users]}
    for name, chosen in (("fold_in", ~hidden), ("held_out", hidden)):
        part = of_test.copy()
        part.data = part.data * chosen
        part.eliminate_zeros()
        parts[name] = part
    for name, part in parts.items():
        sparse.save_npz(folder / f"{name}.npz", part, compressed=False)


def package_parts(matrix: Any) -> tuple[Any, ...]:
    """Network, trainer, loss and loader as `python -m d2l_autorec.run --model mult-vae` has."""
    import mxnet as mx

    from d2l_autorec.models.catalog.mult_vae import MultVAEConfig
    from d2l_autorec.models.mult_vae import MultVAE
    from d2l_autorec.runs.experiment import make_trainer
    from d2l_autorec.training.history import anneal_schedule
    from d2l_autorec.training.loaders import BATCHES, train_loader
    from d2l_autorec.training.losses import MultinomialLoss

    mx.npx.set_np()
    mx.random.seed(0)
    net = MultVAE(HIDDEN, matrix.shape[1], 0.5)
    net.initialize(ctx=[mx.cpu()])
    net.hybridize()
    trainer = make_trainer(net, MultVAEConfig(), [mx.cpu()])
    schedule = anneal_schedule("original", 0.2)
    loss = MultinomialLoss(lambda: schedule(trainer.optimizer.num_update))
    return net, trainer, loss, train_loader(matrix, BATCH, 0, BATCHES["sparse"], "keep")


def time_package(folder: Path, batches: int) -> dict[str, float]:
    """Seconds an epoch, from some batches."""
    import itertools

    import mxnet as mx

    from d2l_autorec.training.loop import Training, train_epoch

    matrix = sparse.load_npz(folder / "train.npz")
    net, trainer, loss, loader = package_parts(matrix)
    chosen = list(itertools.islice(loader, WARM_UP + batches))
    train_epoch(Training(net, chosen[:WARM_UP], loss, trainer, [mx.cpu()]))
    timed = chosen[WARM_UP:]
    seconds = train_epoch(Training(net, timed, loss, trainer, [mx.cpu()])).seconds
    return {"epoch": seconds / sum(map(len, timed)) * matrix.shape[0]}


def whole_package(folder: Path, batches: int) -> dict[str, float]:
    """One whole epoch and one evaluation, and the peak memory of both."""
    import mxnet as mx

    from d2l_autorec.evaluation.ranking import RankingEvaluation
    from d2l_autorec.training.loaders import BATCHES
    from d2l_autorec.training.loop import Training, train_epoch

    net, trainer, loss, loader = package_parts(sparse.load_npz(folder / "train.npz"))
    record = train_epoch(Training(net, loader, loss, trainer, [mx.cpu()]))
    start = time.perf_counter()
    parts = [sparse.load_npz(folder / f"{name}.npz") for name in ("fold_in", "held_out")]
    ndcg = RankingEvaluation(*parts, [mx.cpu()], BATCHES["sparse"])(net)["ndcg@100"]
    return {
        "epoch": record.seconds,
        "evaluation": time.perf_counter() - start,
        "ndcg@100": ndcg,
        "users": parts[0].shape[0],
    }


def time_torch(folder: Path, batches: int) -> dict[str, float]:
    """Seconds an epoch of a dense Mult-VAE, from some batches that are densified as they come."""
    import peer_torch_vae

    matrix = sparse.load_npz(folder / "train.npz")
    order = np.random.default_rng(0).permutation(matrix.shape[0])
    rows = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    rows = rows[: WARM_UP + batches]
    ends = list(peer_torch_vae.train_steps(matrix, rows, HIDDEN))
    warm = min(WARM_UP, len(rows) - 1)
    return {"epoch": (ends[-1] - ends[warm - 1]) / sum(map(len, rows[warm:])) * matrix.shape[0]}


MEASURES = {"package": time_package, "torch": time_torch, "whole": whole_package}


def measure(what: str, folder: Path, batches: int, threads: int) -> None:
    """One measurement in this process; prints a line of JSON."""
    if what == "torch":
        import torch

        torch.set_num_threads(threads)
    else:
        from d2l_autorec.training.engine import start_mxnet

        start_mxnet(threads, one_cpu=True)
    found = MEASURES[what](folder, batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print("\n" + json.dumps({**found, "gigabytes": peak}))


def in_process(what: str, folder: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The measurement `what` in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        what,
        "--folder",
        folder,
        "--batches",
        str(arguments.batches),
        "--threads",
        str(arguments.threads),
    ]
    output = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
    )
    return json.loads(output.stdout.splitlines()[-1])


def report(times: dict[str, list[dict[str, float]]], whole: dict[str, float], quick: bool) -> bool:
    """Print the figures; True if the claims hold."""
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in times.items()
    }
    for name, row in medians.items():
        print(f"| {ROLES[name]} | {row['epoch']:.1f} | {row['gigabytes']:.2f} |")
    print(
        f"one whole epoch {whole['epoch']:.1f} s, evaluation of {whole['users']} users "
        f"{whole['evaluation']:.1f} s, peak {whole['gigabytes']:.2f} GB"
    )
    ratio = medians["torch"]["epoch"] / medians["package"]["epoch"]
    claims = [(f"under {GIGABYTES} GB", whole["gigabytes"] < GIGABYTES)]
    claims += [] if quick else [("at least as fast as PyTorch", ratio >= 1)]
    for claim, holds in claims:
        print(f"  {claim}: {'holds' if holds else 'MISSED'}")
    print(f"  PyTorch takes {ratio:.2f} times as long")
    return all(holds for _, holds in claims)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.folder, arguments.batches, arguments.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), 10 if arguments.quick else 1)
        data = sparse.load_npz(Path(folder) / "train.npz")
        print(
            f"{data.shape[0]} users x {data.shape[1]} items, {data.nnz} clicks; "
            f"{arguments.threads} threads, median of {arguments.rounds}, epochs extrapolated "
            f"from {arguments.batches} batches of {BATCH}\n"
            "| Mult-VAE 600-200 | epoch s | peak GB |\n|---|---|---|",
            flush=True,
        )
        times: dict[str, list[dict[str, float]]] = {name: [] for name in ROLES}
        for _ in range(arguments.rounds):
            for name, found in times.items():
                found.append(in_process(name, folder, arguments))
        whole = in_process("whole", folder, arguments)
    sys.exit(not report(times, whole, arguments.quick))


if __name__ == "__main__":
    main()

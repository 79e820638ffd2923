"""Epoch time on CPU contexts and with workers, and where it goes: `python devices.py`.

Trains the chapter's AutoRec on ml-1m, dense and sparse, in processes of their own: 1, 2 and 3 CPU
contexts, and 1 and 2 workers of dist_sync with one server. Every process has --threads CPU
threads. The parts are measured in epochs of their own, in which MXNet is waited for after every
part; an epoch without these waits is somewhat shorter than their sum. 'gradients' is their sum
over contexts (local) or by way of the server (push and pull).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import d2l_autorec  # noqa: F401  # MXNet needs what it prepares

LAYOUTS = [("contexts", 1), ("contexts", 2), ("contexts", 3), ("workers", 1), ("workers", 2)]
PARTS = ("forward and backward", "gradients", "update", "evaluation")


def timed(call: Any, times: dict[str, float], part: str) -> Any:
    """`call`, with its time until MXNet is done added to `times`."""
    import mxnet as mx

    def wrapped(*arguments: Any, **options: Any) -> Any:
        mx.npx.waitall()
        start = time.perf_counter()
        result = call(*arguments, **options)
        mx.npx.waitall()
        times[part] = times.get(part, 0.0) + time.perf_counter() - start
        return result

    return wrapped


def measure(kernel: str, contexts: int, kvstore: str, epochs: int) -> None:
    """One layout; worker 0 prints a line of JSON."""
    from d2l_autorec.training.engine import start_mxnet

    start_mxnet(None, one_cpu=kvstore == "auto" and contexts == 1)
    import mxnet as mx

    from d2l_autorec.models.catalog.autorec import AutoRecConfig
    from d2l_autorec.runs.rating import RatingExperiment
    from d2l_autorec.training.loop import train_epoch
    from d2l_autorec.training.parameter_server import connect

    mx.npx.set_np()
    config = AutoRecConfig(dataset="ml-1m", kernel=kernel, cpus=contexts, kvstore=kvstore)
    with connect(kvstore) as workers:
        experiment = RatingExperiment(config, workers=workers)
        evaluation = experiment.evaluations("search")["test"]
        experiment._begin_phase()
        training = experiment._training()
        net, trainer = training.net, training.trainer

        def epoch() -> float:
            return train_epoch(training).seconds

        plain = [epoch() for _ in range(epochs + 1)][1:]
        times: dict[str, float] = {}
        start = time.perf_counter()
        if workers.rank == 0:
            evaluation(net)
        evaluated = time.perf_counter() - start
        trainer._allreduce_grads = timed(trainer._allreduce_grads, times, "gradients")
        trainer._update = timed(trainer._update, times, "update")
        whole = epoch()
        if workers.rank == 0:
            parts = {
                **times,
                "evaluation": evaluated,
                "forward and backward": whole - sum(times.values()),
            }
            print(json.dumps({"epoch": statistics.median(plain), **parts}))


def command_of(layout: str, count: int, kernel: str, epochs: int) -> list[str]:
    """What starts one measurement."""
    own = [sys.executable, __file__, "--kernel", kernel, "--epochs", str(epochs)]
    if layout == "contexts":
        return [*own, "--measure", str(count)]
    launch = [sys.executable, "-m", "d2l_autorec.launch", "-n", str(count), "-s", "1", "--"]
    return [*launch, *own, "--measure", "1", "--kvstore", "dist_sync"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--kernel", default="sparse,dense")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--kvstore", default="auto", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.kernel, arguments.measure, arguments.kvstore, arguments.epochs)
        return
    print(
        f"{os.cpu_count()} CPUs, {arguments.threads} thread(s) a process\n"
        f"| kernel | layout | epoch s | {' | '.join(PARTS)} |\n|{'---|' * (3 + len(PARTS))}",
        flush=True,
    )
    for kernel in arguments.kernel.split(","):
        for layout, count in LAYOUTS:
            output = subprocess.run(
                command_of(layout, count, kernel, arguments.epochs),
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
            ).stdout
            found = json.loads(output[output.index("{") :])
            shown = " | ".join(f"{found.get(part, 0.0):.3f}" for part in PARTS)
            print(f"| {kernel} | {count} {layout} | {found['epoch']:.3f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()

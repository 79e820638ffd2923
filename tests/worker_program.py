"""What the tests of the launcher run as a worker: `python worker_program.py TASK [FOLDER]`."""

import d2l_autorec  # noqa: F401  # first, as MXNet needs what it prepares

# isort: split
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as onp
from mxnet import autograd, gluon, np

from d2l_autorec.training.devices import split_and_load
from d2l_autorec.training.parameter_server import connect

ROWS, BATCH = 37, 10  # 7 rows in the last batch; 1 with BATCH 12, fewer than workers


def train(workers, contexts=1, batch=BATCH, optimizer="adam"):
    """Three epochs of a small net on the workers' shares; its parameters as one vector."""
    rng = onp.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, 11)), rng.normal(size=(ROWS, 3))
    devices = [mx.cpu(i) for i in range(contexts)]
    mx.random.seed(5)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(7, activation="sigmoid", in_units=11), gluon.nn.Dense(3, in_units=7))
    net.initialize(mx.init.Normal(0.3), ctx=devices)
    net.hybridize()
    trainer = gluon.Trainer(
        net.collect_params(),
        optimizer,
        {"learning_rate": 0.01},
        kvstore=workers.store or "device",
        update_on_kvstore=False,
    )
    mx.kept = trainer  # to the interpreter's end; the store must end before
    workers.begin(trainer)
    for begin in [*range(0, ROWS, batch)] * 3:
        whole = [np.array(part[begin : begin + batch], dtype="float32") for part in (x, y)]
        share, weight = workers.share(whole)
        with autograd.record():
            losses = [
                np.square(net(shard.arrays[0]) - shard.arrays[1]).sum() * shard.weight * weight
                for shard in split_and_load(share, devices)
            ]
        autograd.backward(losses)
        trainer.step(len(whole[0]))
    return onp.concatenate(
        [p.list_data()[-1].asnumpy().ravel() for p in net.collect_params().values()]
    )


def main(task, folder=None):
    with connect("dist_sync") as workers:
        perform(workers, task, folder and Path(folder))


def perform(workers, task, folder):
    if task.startswith("train"):
        contexts, batch = map(int, task.split("-")[1:])
        onp.save(folder / f"{workers.rank}.npy", train(workers, contexts, batch))
    elif task == "raise":
        if workers.rank == 1:
            raise RuntimeError("the second worker fails")
    else:  # a grandchild and steps without end
        subprocess.Popen(["sleep", "1000"])
        (folder / f"ready-{workers.rank}").touch()
        while True:
            workers.sum([1.0])
            time.sleep(0.01)


if __name__ == "__main__":
    mx.npx.set_np()
    main(*sys.argv[1:])

"""What several test modules share: finished runs, what is left of them, the launcher."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import mxnet as mx
import numpy as onp
from matplotlib.text import Text

import d2l_autorec
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.runner import run_training
from d2l_autorec.support.files import read_json
from d2l_autorec.trained_model import load_run
from d2l_autorec.training.callbacks import Callback
from d2l_autorec.training.history import EpochRecord

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGE = Path(d2l_autorec.__file__).parent

SMALL = dict(epochs=3, hidden=(8,), batch_size=16, quiet=True, cpus=1, init_sigma=0.3)


def train_run(config, resume=None):
    """What `python -m d2l_autorec.run` does: result.json, and 'run', the folder."""
    return run_training(config, resume=resume).told


def train_into(out, **options):
    """Train with these options into a folder; what its result.json holds."""
    return train_run(make_config({**options, "out": str(out)}))


def finish(out, **options):
    """Train a small run into `out` and load it."""
    train_into(out, **{"dataset": "synthetic:60x80x900", **SMALL, **options})
    return load_run(out)


def cpus(count):
    """So many contexts of MXNet on the CPU."""
    return [mx.cpu(number) for number in range(count)]


def items_in(rows):
    """The items of recommendations, of the library or of JSON, in their order."""
    return [row["item"] if isinstance(row, dict) else row.item for row in rows]


class StopAfter(Callback):
    """Ends a training after so many epochs, as Ctrl-C does."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, training):
        if len(training.history) == self.epochs:
            raise KeyboardInterrupt


def words_in(figure):
    """Every line of text in a figure, those of ticks left out."""
    ticks = {
        text
        for axes in figure.axes
        for text in [*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both")]
    }
    texts = [text.get_text() for text in figure.findobj(Text) if text not in ticks]
    return [line for text in texts for line in text.splitlines()]


def own_file(folder, zero=False):
    """Ratings by users u0.. of items named 'a,0'..; 0..4 if `zero`, else 1..5.

    Users and items have means of their own: in noise alone these are found only slowly.
    """
    rng = onp.random.default_rng(3)
    user, item = onp.divmod(rng.choice(30 * 20, 300, replace=False), 20)
    values = user % 3 + item % 2 + rng.integers(2, size=300) + (not zero)
    lines = [f'u{u},"a,{i}",{value}\n' for u, i, value in zip(user, item, values)]
    return written(folder, "user,item,rating\n" + "".join(lines))


def written(folder, content, name="mine.csv"):
    """A file of this content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def finish_own(folder, based):
    """A run of the ratings of `own_file`: string ids, a scale with 0, clipped."""
    ratings = str(own_file(folder, zero=True))
    given = dict(dataset="auto", preset="chapter", ratings=ratings, clip=True, scale="0,4")
    return finish(folder / "run", based=based, **given)


def by_hand(run):
    """Unclipped predictions of the whole matrix, users x items: plain NumPy over the parameters."""
    ratings, item_based = run.inputs, run.config.based == "item"
    table = onp.zeros((ratings.num_users, ratings.num_items))
    table[ratings.users, ratings.items] = ratings.values + ratings.offset
    x = table.T if item_based else table
    v, mu, w, b = (
        parameter.data().asnumpy().astype(float)
        for layer in (run.net.encoder, run.net.decoder)
        for parameter in (layer.weight, layer.bias)
    )
    out = 1 / (1 + onp.exp(-(x @ v + mu))) @ w.T + b
    out = out.T if item_based else out
    rated = table > 0
    for user, item in onp.ndindex(out.shape):
        if not rated[user].any() or not rated[:, item].any():
            known = onp.concatenate(
                [table[user], table[:, item]]
            )  # one of them, or both, are all 0
            out[user, item] = known[known > 0].mean() if known.any() else table[rated].mean()
    return out - ratings.offset


def ids_of(ratings):
    """The ids of each rating's user and item."""
    return ratings.user_ids[ratings.users], ratings.item_ids[ratings.items]


def python(*words, folder=None, **environment):
    """The interpreter with these words, run to its end."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def started(folder, verb, *arguments, **options):
    """`python -m d2l_autorec.VERB ARGUMENTS` in a folder, as a process whose output can be read."""
    words = [sys.executable, "-m", f"d2l_autorec.{verb}", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=folder, stdout=pipe, stderr=pipe, text=True, **options)


def succeeded(process):
    """The same process, whose exit code is 0."""
    assert process.returncode == 0, process.stderr
    return process


def assert_user_error(process, *fragments):
    """One line on stderr with every fragment, exit code 2, no output, no traceback."""
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1, process.stderr
    assert process.stdout == ""
    for fragment in fragments:
        assert fragment in process.stderr, process.stderr


def parameters(folder):
    arrays = mx.nd.load(str(folder / "model.params"))
    return {name: array.asnumpy() for name, array in arrays.items()}


def assert_alike(one, other, atol=0.0):
    """Two folders have the same parameters: to the bit, or nearly."""
    found, expected = parameters(one), parameters(other)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        onp.testing.assert_allclose(found[name], values, rtol=0, atol=atol)


def values_of(net):
    """The parameters of a network, by the names that they have in a file."""
    named = net._collect_params_with_prefix().items()
    return {name: parameter.data().asnumpy() for name, parameter in named}


def epochs_of(folder, phase=None):
    """The rows of metrics.csv, of one phase or of all."""
    rows = list(csv.DictReader(open(folder / "metrics.csv")))
    return [row for row in rows if phase in (None, row["phase"])]


def history_of(scores, metric="rmse"):
    """Epochs with these validation scores, None where there was no evaluation."""
    return [
        EpochRecord(k + 1, 0.0, None, 1, 0.0, validation={} if s is None else {metric: s})
        for k, s in enumerate(scores)
    ]


def outcome(folder):
    """Parameters and metrics of a finished run, without its times."""
    values = {name: array.tobytes() for name, array in parameters(folder).items()}
    rows = epochs_of(folder)
    for row in rows:
        del row["seconds"]
    result = read_json(folder / "result.json")
    for name in ("train_seconds", "ratings_per_second", "files"):
        result.pop(name, None)
    return values, rows, result


# The launcher and what it starts.

# batches of 32 of 90 items roll over; the last one of mult-dae is short
RATINGS = {"dataset": "synthetic:70x90x1500", "epochs": 3, "val_ratio": 0.1}
CASES = {
    "sparse": {**RATINGS, "hidden": (8,), "dropout": (0.0,), "batch_size": 32, "kernel": "sparse"},
    "dense": {**RATINGS, "hidden": (8,), "dropout": (0.0,), "batch_size": 32, "kernel": "dense"},
    "mf": {**RATINGS, "model": "mf", "batch_size": 100, "lr": 0.01},
    "mult-dae": {
        "model": "mult-dae",
        "dataset": "synthetic:70x90x1500",
        "threshold": 3.0,
        "heldout_users": 10.0,
        "hidden": (8, 4),
        "dropout": (0.0,),
        "batch_size": 49,
        "epochs": 3,
    },
}


def words(options):
    """Options as they are written on the command line."""
    return [
        word
        for name, value in options.items()
        for word in (
            "--" + name.replace("_", "-"),
            ",".join(map(str, value)) if isinstance(value, tuple) else str(value),
        )
    ]


def launch(tmp_path, *arguments, **environment):
    """The finished launcher; whatever it started carries the folder in its environment."""
    process = start_launcher(tmp_path, *arguments, **environment)
    out, err = process.communicate(timeout=300)
    assert survivors(tmp_path) == []
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def start_launcher(tmp_path, *arguments, within=(), **environment):
    """The launcher, started by the command `within`, such as one that enters a namespace."""
    return subprocess.Popen(
        [*within, sys.executable, "-m", "d2l_autorec.launch", *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "D2L_AUTOREC_TEST": str(tmp_path),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PACKAGE.parent),
            **environment,
        },
    )


def survivors(tmp_path):
    """Processes that the launcher of this test left: none, a moment after it ended."""
    return remaining(tmp_path, 10)


def remaining(tmp_path, seconds):
    """Processes with this test's environment that do not end within some seconds."""
    deadline = time.monotonic() + seconds
    while (found := marked(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def marked(tmp_path, *variables):
    """Numbers of the live processes with this test's environment, less zombies."""
    wanted = [f"D2L_AUTOREC_TEST={tmp_path}", *variables]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if set(wanted) <= set(environment):  # a zombie's is empty
            found.append(int(folder.name))
    return found


def main_process(tmp_path, *variables):
    """The one of them that its guard and its own children have as group leader."""
    return next(pid for pid in marked(tmp_path, *variables) if os.getpgid(pid) == pid)


# A server, in an environment that has no MXNet.

WITHOUT_MXNET = """
import runpy, sys

class Hidden:
    def find_spec(self, name, *rest):
        package = name.partition(".")[0]
        if package == "mxnet":
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)

sys.meta_path.insert(0, Hidden())
runpy.run_module("d2l_autorec.serve", run_name="__main__", alter_sys=True)
"""


class Server:
    """`python -m d2l_autorec.serve`, at a free port of the loopback address; a context manager.

    Parameters
    ----------
    run : Path
    *arguments : str
    program : sequence of str
        How the interpreter begins; by default without MXNet.

    Attributes
    ----------
    process : Popen
    url : str
    client : httpx.Client
    log : Path
        What it wrote to stderr.
    """

    def __init__(self, run, *arguments, program=("-c", WITHOUT_MXNET)):
        self.log = Path(f"{run}-{os.getpid()}-{time.monotonic_ns()}.log")
        with open(self.log, "w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(run), "--port", "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "PYTHONPATH": f"{PACKAGE.parent}:{os.getenv('PYTHONPATH', '')}"},
            )

        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.url = line.split()[0]
        # without connections that are kept: each request may reach another worker
        self.client = httpx.Client(base_url=self.url, headers={"connection": "close"})

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def stop(self, number=signal.SIGTERM):
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        assert "Traceback" not in self.log.read_text()


def wait_until(reached, seconds=60):
    """Wait until `reached()`; fail where it is not in time."""
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert reached()


# For programs that a test starts. Not ru_maxrss: a new process inherits that of the process that
# started it, so that it tells how large the test suite was.
PEAK = """
import re
from pathlib import Path

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""

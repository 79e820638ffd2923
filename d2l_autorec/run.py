"""`python -m d2l_autorec.run`: train a model, print its test RMSE, leave a run folder."""

import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from .cli import Parser, run_command
from .config import AutoRecConfig, add_options
from .threads import set_threads

EXAMPLES = """examples:
  python -m d2l_autorec.run                                  the chapter's model, 25 epochs
  python -m d2l_autorec.run --gpus 0,1 --batch-size 512      on two GPUs
  python -m d2l_autorec.run --dataset synthetic --epochs 5   without any file or internet
"""


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Parse `argv` and train."""
    parser = Parser(prog="python -m d2l_autorec.run", epilog=EXAMPLES, description=(
        "Train AutoRec as in Dive into Deep Learning, print its test RMSE and write a run folder. "
        "Defaults stand in [brackets]."))
    add_options(parser, AutoRecConfig)
    config = AutoRecConfig(**vars(parser.parse_args(argv)))
    set_threads(config.threads)
    train_model(config)


def train_model(config: AutoRecConfig) -> Dict[str, Any]:
    """Train as `config` says, print the result and write the run folder.

    Switches MXNet to NumPy semantics (`npx.set_np()`). CPU threads are the
    command's to set, before MXNet is imported.

    Returns
    -------
    dict
        What result.json holds.

    Raises
    ------
    UserError
        If data or devices cannot be used; nothing is written then.
    """
    import mxnet as mx

    from .datasets import load_ratings
    from .devices import resolve_devices
    from .run_folder import RunFolder
    from .train import summary
    mx.npx.set_np()
    devices = resolve_devices(config.gpus, config.cpus)
    ratings = load_ratings(config.dataset, config.data_dir, config.seed, not config.quiet)
    train, test = split_ratings(config, ratings)
    folder = RunFolder(Path(config.out or f"runs/autorec-{ratings.name}-"
                            f"{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.write_config(config, ratings, devices)
    net, history = train_autorec(config, train, test, devices)
    result = {"model": "autorec", "dataset": ratings.name, "data_sha256": ratings.fingerprint,
              "comparable_with_chapter": ratings.name == "ml-100k" and config.split == "random",
              "train_ratings": len(train), "test_ratings": len(test),
              "devices": [str(device) for device in devices]}
    result = folder.finish(net, history, result)
    print(summary(history, devices))
    print(f"run folder: {folder.path}", file=sys.stderr)
    return result


def split_ratings(config: AutoRecConfig, ratings: Any) -> Any:
    """The training and test parts that `--split` asks for."""
    import numpy as np

    from .splits import random_split, seq_aware_split
    if config.split == "seq-aware":
        return seq_aware_split(ratings)
    return random_split(ratings, config.test_ratio, np.random.default_rng(config.seed))


def train_autorec(config: AutoRecConfig, train: Any, test: Any, devices: List[Any]) -> Any:
    """Make AutoRec and its trainer, and fit; returns the net and its history."""
    import mxnet as mx

    from .evaluate import rating_metrics
    from .loaders import eval_loader, train_loader
    from .models.autorec import AutoRec
    from .progress import Bar
    from .train import fit
    train_matrix, test_matrix = train.to_csr(), test.to_csr()
    mx.random.seed(config.seed)
    net = AutoRec(config.num_hidden, train.num_users, config.dropout)
    net.initialize(init=mx.init.Normal(config.init_sigma), ctx=devices)
    net.hybridize(config.hybridize)
    trainer = mx.gluon.Trainer(net.collect_params(), config.optimizer,
                               {"learning_rate": config.lr, "wd": config.wd})
    train_iter = train_loader(train_matrix, config.batch_size, config.seed)
    test_iter = eval_loader(train_matrix)
    with Bar(config.epochs, disable=config.quiet) as bar:
        history = fit(net, train_iter, mx.gluon.loss.L2Loss(), trainer, config.epochs, devices,
                      lambda: rating_metrics(net, test_iter, test_matrix, devices),
                      bar.update, config.seed)
    return net, history


if __name__ == "__main__":
    sys.exit(run_command("d2l_autorec.run", main))

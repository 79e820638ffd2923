"""`python -m d2l_autorec.run`: train a model, print its test RMSE, leave a run folder."""

import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .cli import Parser, run_command
from .config import AutoRecConfig, RunConfig, add_options
from .engine import has_gpu, start_mxnet
from .errors import ConfigError

EXAMPLES = """examples:
  python -m d2l_autorec.run                                  the chapter's model, 25 epochs
  python -m d2l_autorec.run --ratings mine.csv --based user  on your own file
  python -m d2l_autorec.run --dataset synthetic --epochs 5   without any file or internet
"""


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Parse `argv` and train."""
    parser = Parser(prog="python -m d2l_autorec.run", epilog=EXAMPLES, description=(
        "Train AutoRec as in Dive into Deep Learning, print its test RMSE and write a run folder. "
        "Defaults stand in [brackets]."))
    add_options(parser, AutoRecConfig)
    config = AutoRecConfig(**vars(parser.parse_args(argv)))
    start_mxnet(config.threads, config.cpus == 1 or (not config.cpus and not has_gpu()))
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

    from .devices import resolve_devices
    from .evaluate import RatingEvaluation
    from .loaders import BATCHES
    from .models.autorec import AutoRec
    from .run_folder import RunFolder
    from .sparse import choose_kernel
    from .train import summary
    mx.npx.set_np()
    devices = resolve_devices(config.gpus, config.cpus)
    if config.loss == "root" and len(devices) > 1:
        raise ConfigError(f"--loss root is one number for a whole batch, but there are "
                          f"{len(devices)} devices: choose one with --cpus 1 or --gpus 0")
    kernel, why = choose_kernel(config.kernel, AutoRec, devices)
    train, test = load_and_split(config)
    evaluation = RatingEvaluation(train, test, devices, config.based, config.clip,
                                  BATCHES[kernel], config.split == "held-out-rows")
    folder = RunFolder(Path(config.out or f"runs/autorec-{train.name}-"
                            f"{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.write_config(config, train, test, devices, {"chosen": kernel, "why": why})
    net, history = train_autorec(config, train, evaluation, devices, kernel)
    result = folder.finish(net, history, {
        "model": "autorec", "dataset": train.name, "based": config.based,
        "comparable_with_chapter": (train.name, config.split) == ("ml-100k", "random"),
        "train_ratings": len(train), "test_ratings": len(test), "kernel": kernel,
        "devices": [str(device) for device in devices], **evaluation.report(net)})
    print(summary(history, devices))
    tell_cold(result)
    print(f"run folder: {folder.path}", file=sys.stderr)
    return result


def tell_cold(result: Dict[str, Any]) -> None:
    """One line on stderr about test ratings that the fallback predicted, if there are any."""
    if result["cold_test_ratings"]:
        print(f"{result['cold_test_ratings']} of {result['test_ratings']} test ratings are of a "
              "user or item without training ratings and were predicted by a mean; test RMSE "
              f"without them {result['test_without_cold_rmse']:.3f}", file=sys.stderr)


def load_and_split(config: RunConfig) -> Tuple[Any, Any]:
    """The training and test `Ratings` that the options ask for."""
    from .datasets import load_official_fold, load_ratings
    from .readers import read_ratings, read_train_and_test
    from .splits import OFFICIAL_FOLDS
    layout = (config.columns, config.separator, config.duplicates, config.rating_scale())
    if config.train:
        return read_train_and_test(Path(config.train), Path(config.test), *layout)
    if config.split in OFFICIAL_FOLDS:
        return load_official_fold(config.split, config.data_dir, not config.quiet)
    if config.ratings:
        return split_ratings(config, read_ratings(config.ratings, *layout))
    return split_ratings(config, load_ratings(config.dataset, config.data_dir, config.seed,
                                              not config.quiet))


def split_ratings(config: RunConfig, ratings: Any) -> Tuple[Any, Any]:
    """The training and test parts that `--split` asks for."""
    import numpy as np

    from . import splits
    rng = np.random.default_rng(config.seed)
    if config.split == "seq-aware":
        return splits.seq_aware_split(ratings)
    if config.split == "time":
        return splits.time_split(ratings, config.test_ratio)
    if config.split == "k-fold":
        return splits.k_folds(ratings, config.folds, rng)[config.fold - 1]
    if config.split == "held-out-rows":
        return splits.held_out_rows_split(ratings, config.test_ratio, rng, config.based)
    return splits.random_split(ratings, config.test_ratio, rng)


def train_autorec(config: AutoRecConfig, train: Any, evaluation: Any, devices: List[Any],
                  kernel: str) -> Tuple[Any, List[Any]]:
    """Make AutoRec and its trainer, and fit; returns the net and its history."""
    import mxnet as mx

    from .loaders import BATCHES, train_loader
    from .losses import MaskedL2Loss, MaskedRootLoss
    from .models import build
    from .progress import Bar
    from .train import fit
    matrix = train.to_csr(config.based)
    mx.random.seed(config.seed)
    net = build(config, matrix.shape[1])
    net.initialize(init=mx.init.Normal(config.init_sigma), ctx=devices)
    net.hybridize(config.hybridize)
    loss = MaskedRootLoss() if config.loss == "root" else MaskedL2Loss()
    loader = train_loader(matrix, config.batch_size, config.seed, BATCHES[kernel])
    with Bar(config.epochs, disable=config.quiet) as bar:
        history = fit(net, loader, loss, make_trainer(net, config, devices, kernel),
                      config.epochs, devices, lambda: evaluation(net), bar.update, config.seed)
    return net, history


def make_trainer(net: Any, config: RunConfig, devices: List[Any], kernel: str) -> Any:
    """A gluon.Trainer with the optimizer that `config` names.

    Adam is fused with the sparse gradients on a single device; several sum
    their gradients first, and so need them written out.
    """
    from mxnet import gluon

    from .sparse import FusedAdam
    options = {"learning_rate": config.lr, "wd": config.wd}
    if kernel == "sparse" and config.optimizer == "adam" and len(devices) == 1:
        return gluon.Trainer(net.collect_params(), FusedAdam(net.sparse_weights(), **options))
    return gluon.Trainer(net.collect_params(), config.optimizer, options)


if __name__ == "__main__":
    sys.exit(run_command("d2l_autorec.run", main))

"""The functions that the chapter's listing calls, with the same names, arguments and results.

With them it runs on `import d2l_autorec as d2l`, or on `from d2l_autorec.chapter import *`:

    read -> split -> load -> DataLoader -> AutoRec -> train_recsys_rating, by evaluator
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mxnet as mx
import numpy as onp
import pandas as pd
from mxnet import gluon, np, npx

from .data.sources import DATASETS, fetch
from .data.splits import latest_of_each
from .evaluation.rating import evaluator
from .models.autorec import AutoRec
from .support.errors import ConfigError, warn
from .support.texts import significant
from .training.callbacks import Evaluation
from .training.devices import try_all_gpus
from .training.loop import Training, fit
from .training.progress import Bar, Curve, in_notebook

__all__ = [
    "AutoRec",
    "evaluator",
    "get_dataloader_workers",
    "load_data_ml100k",
    "read_data_ml100k",
    "split_and_load_ml100k",
    "split_data_ml100k",
    "train_recsys_rating",
    "try_all_gpus",
]

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]
LoadedData = tuple[list[int], list[int], list[int], np.ndarray | dict[int, list[int]]]


def read_data_ml100k() -> tuple[pd.DataFrame, int, int]:
    """Read MovieLens 100K as a frame, with its numbers of users and items.

    d2l's function always downloads the file; this one first looks in $D2L_AUTOREC_DATA, or else
    in a cache.

    Returns
    -------
    data : DataFrame
        Columns user_id, item_id (both from 1), rating, timestamp; rows in file order.
    num_users, num_items : int
        How many users and items have a rating.

    Raises
    ------
    DataError
        If the file is not at hand and cannot be downloaded.
    """
    path = fetch(DATASETS["ml-100k"])
    data = pd.read_csv(path, sep="\t", names=COLUMNS, dtype="int64")
    return data, data.user_id.nunique(), data.item_id.nunique()


def split_data_ml100k(
    data: pd.DataFrame,
    num_users: int,
    num_items: int,
    split_mode: str = "random",
    test_ratio: float = 0.1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a frame of ratings into a training and a test part.

    The rows of both are those that d2l's function chooses, given the same MXNet seed.

    Parameters
    ----------
    data : DataFrame
        A frame with user, item, rating and timestamp in its first four columns.
    num_users, num_items : int
        Not used; d2l's function takes them.
    split_mode : {'random', 'seq-aware'}
        'random': each row is a test row with probability `test_ratio`.
        'seq-aware': each user's latest row is a test row; of equal times, the first.
    test_ratio : float
        Share of test rows in random mode.

    Returns
    -------
    train, test : DataFrame
        In seq-aware mode the training rows are sorted by user and time. The
        column names are those of `data`; d2l replaces them by 0..3.

    Raises
    ------
    ValueError
        If `split_mode` is neither of the two; d2l takes anything else as random.
    """
    if split_mode == "random":
        is_train = np.random.uniform(0, 1, (len(data),)).asnumpy() < 1 - test_ratio
        return data[is_train], data[~is_train]

    if split_mode != "seq-aware":
        raise ValueError(f"split_mode is {split_mode!r}: it must be 'random' or 'seq-aware'")

    users = data.iloc[:, 0].to_numpy()
    times = data.iloc[:, 3].to_numpy()
    is_test = latest_of_each(users, times)

    by_user_and_time = onp.lexsort((times, users))
    train = data.iloc[by_user_and_time][~is_test[by_user_and_time]].reset_index(drop=True)

    latest = data[is_test].set_index(data.columns[0])
    test = latest.loc[pd.unique(users)].reset_index()  # users in the order of the file
    return train, test


def load_data_ml100k(
    data: pd.DataFrame, num_users: int, num_items: int, feedback: str = "explicit"
) -> LoadedData:
    """Return lists of users, items and scores, and the interactions of users and items.

    Parameters
    ----------
    data : DataFrame
        A frame with user, item (both from 1) and rating in its first three columns.
    num_users, num_items : int
        Size of the matrix.
    feedback : {'explicit', 'implicit'}
        Whether a score is the rating, or 1.

    Returns
    -------
    users, items, scores : list of int
        One of each for a row of `data`; users and items from 0.
    inter : ndarray of float32, shape (num_items, num_users), or dict
        Explicit: a matrix of ratings, 0 where there is none. Implicit: user to the list
        of items, in row order.

    Raises
    ------
    ValueError
        If `feedback` is neither of the two; d2l takes anything else as implicit.

    Notes
    -----
    d2l's function writes the matrix entry by entry, which takes seconds for 100,000 ratings; this
    one writes it at once. It switches MXNet to NumPy semantics (`npx.set_np()`), which the loaders
    over the matrix need.
    """
    npx.set_np()
    users = data.iloc[:, 0].to_numpy(dtype=onp.int64) - 1
    items = data.iloc[:, 1].to_numpy(dtype=onp.int64) - 1

    if feedback == "explicit":
        scores = data.iloc[:, 2].to_numpy(dtype=onp.int64)
        dense = onp.zeros((num_items, num_users), dtype=onp.float32)
        dense[items, users] = scores
        return users.tolist(), items.tolist(), scores.tolist(), np.array(dense)

    if feedback != "implicit":
        raise ValueError(f"feedback is {feedback!r}: it must be 'explicit' or 'implicit'")

    inter: dict[int, list[int]] = {}
    for user, item in zip(users.tolist(), items.tolist()):
        inter.setdefault(user, []).append(item)

    return users.tolist(), items.tolist(), [1] * len(users), inter


def split_and_load_ml100k(
    split_mode: str = "seq-aware",
    feedback: str = "explicit",
    test_ratio: float = 0.1,
    batch_size: int = 256,
) -> tuple[int, int, gluon.data.DataLoader, gluon.data.DataLoader]:
    """Read, split and load MovieLens 100K by the chapter's other functions.

    Parameters
    ----------
    split_mode, test_ratio
        As for `split_data_ml100k`.
    feedback
        As for `load_data_ml100k`.
    batch_size : int
        Rows in a batch.

    Returns
    -------
    num_users, num_items : int
        How many users and items there are.
    train_iter, test_iter : DataLoader
        Loaders of batches of users, items (both from 0) and scores.

    Raises
    ------
    DataError
        If the file is not at hand and cannot be downloaded.
    ValueError
        If `split_mode` or `feedback` has another value.
    """
    data, num_users, num_items = read_data_ml100k()
    parts = split_data_ml100k(data, num_users, num_items, split_mode, test_ratio)

    loaded = [load_data_ml100k(part, num_users, num_items, feedback)[:3] for part in parts]
    train, test = (gluon.data.ArrayDataset(*map(np.array, columns)) for columns in loaded)
    train_iter = gluon.data.DataLoader(train, batch_size, shuffle=True, last_batch="rollover")
    return num_users, num_items, train_iter, gluon.data.DataLoader(test, batch_size)


def get_dataloader_workers() -> int:
    """Return the number of worker processes for a DataLoader over a matrix in memory: 0.

    d2l's function returns 4. For data that is already in memory, workers only
    add the time to start them and to copy each batch between processes, and
    they print a traceback when the interpreter exits before the loader.
    """
    return 0


def train_recsys_rating(  # noqa: PLR0913  # the chapter's parameters
    net: Any,
    train_iter: Iterable,
    test_iter: Iterable,
    loss: Callable,
    trainer: Any,
    num_epochs: int,
    devices: Sequence[mx.Context] | None = None,
    evaluator: Callable | None = None,
    **kwargs: Any,
) -> None:
    """Train, draw train and test RMSE for each epoch, and print the result.

    Parameters
    ----------
    net : Block
        The network to train, initialised on `devices`.
    train_iter, test_iter : iterable
        Batches: an ndarray, or a list of features and, last, the label.
    loss : callable
        (prediction, label) to one number for each row.
    trainer : gluon.Trainer
        The optimizer of the network's parameters.
    num_epochs : int
        How often to pass over `train_iter`.
    devices : sequence of Context, optional
        By default what `try_all_gpus()` returns at the call.
    evaluator : callable
        (net, test_iter, devices) to the test RMSE; with `inter_mat`
        (net, test_iter, inter_mat, devices). The signature has a default, but it must be given.
    **kwargs
        `inter_mat`: test interaction matrix.

    Raises
    ------
    ConfigError
        If `evaluator` is not given.

    Notes
    -----
    This function differs from d2l 1.0.3 in a few points. The train loss is the mean of
    the loss over the rows of the last epoch; d2l adds up the last batch of each
    device, divides by the number of batches and then by the rows, and so
    prints 0.000. The curve shows the train RMSE over observed ratings, which
    has the unit of the test RMSE beside it. The number of rows need not be a multiple of the
    number of devices. "ratings/sec" counts the observed ratings of all epochs; d2l counts every
    entry of the matrix, and of one epoch only. In a notebook the curve is
    d2l's Animator; elsewhere a progress bar takes its place, as nobody sees
    a figure there.
    """
    if evaluator is None:
        raise ConfigError("train_recsys_rating needs an evaluator: it draws the test RMSE")
    test_rmse = evaluator  # of the chapter's signature

    if devices is None:
        devices = try_all_gpus()
    arguments = [devices]
    if kwargs:
        arguments = [kwargs["inter_mat"], devices]

    def metrics(net: Any) -> dict[str, dict[str, float]]:
        return {"test": {"rmse": test_rmse(net, test_iter, *arguments)}}

    training = Training(net, train_iter, loss, trainer, devices)
    with Curve(num_epochs) if in_notebook() else Bar(num_epochs) as shown:
        history = fit(training, num_epochs, [Evaluation(metrics), shown])

    _warn_of_a_frozen_mask([record.test["rmse"] for record in history])
    last = history[-1]
    seconds = sum(record.seconds for record in history)
    rate = sum(record.ratings for record in history) / max(seconds, 1e-9)
    print(f"train loss {significant(last.train_loss or 0)}, test RMSE {last.test['rmse']:.3f}")
    print(f"{significant(rate)} ratings/sec on [{', '.join(map(str, devices))}]")


def _warn_of_a_frozen_mask(test_rmse: Sequence[float]) -> None:
    """Warn if the test RMSE is the same in every epoch: test ratings are then predicted as 0."""
    if len(test_rmse) > 1 and len(set(test_rmse)) == 1:
        warn(
            f"the test RMSE is {test_rmse[0]:.4f} in every epoch: where the network masks its "
            "predictions in `hybrid_forward`, `hybridize` has frozen `if autograd.is_training()` "
            "at its first call: mask in `forward`, or leave `hybridize` out"
        )

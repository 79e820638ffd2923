"""Where ratings come from: MovieLens 100K, downloaded and cached, or a generated set."""

import os
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Optional, Union

import numpy as np
import pandas as pd

from .errors import DataError, DataWarning
from .ratings import Ratings

BASE_URL = "https://files.grouplens.org/datasets/movielens/"
ML_100K_SHA256 = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
CONNECT_TIMEOUT, READ_TIMEOUT = 3.05, 10  # seconds; an offline machine goes on soon
COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


def default_data_dir() -> Path:
    """$D2L_AUTOREC_DATA, else a cache folder of the user's."""
    if os.environ.get("D2L_AUTOREC_DATA"):
        return Path(os.environ["D2L_AUTOREC_DATA"])
    import pooch
    return Path(pooch.os_cache("d2l_autorec"))


def load_ratings(dataset: str = "auto", data_dir: Union[str, Path, None] = None,
                 seed: int = 0, progress: bool = False) -> Ratings:
    """The ratings of a data set.

    Parameters
    ----------
    dataset : {'auto', 'ml-100k', 'synthetic'}
        'auto' is ml-100k if it is in `data_dir` or can be downloaded, else
        the generated set, with a DataWarning that says why.
    data_dir : path, optional
        By default `default_data_dir()`.
    seed : int
        For the generated set.
    progress : bool
        Whether a download draws a progress bar.

    Raises
    ------
    DataError
        If ml-100k was asked for and cannot be had.
    """
    if dataset == "synthetic":
        return synthetic_ratings(seed=seed)
    folder = Path(data_dir) if data_dir else default_data_dir()
    try:
        return read_ml_100k(fetch_ml_100k(folder, progress))
    except DataError as error:
        if dataset != "auto":
            raise
        warnings.warn(f"{error}. GENERATED ratings of the same shape are used instead: the test "
                      "RMSE is NOT comparable with the chapter's", DataWarning, stacklevel=2)
        return synthetic_ratings(seed=seed)


def fetch_ml_100k(folder: Path, progress: bool = False) -> Path:
    """The path of u.data, after download and unpacking where needed.

    Nothing half done is ever taken for the data: the zip file is renamed into
    place once its hash is right, the folder once everything is unpacked.
    """
    target = folder / "ml-100k"
    if (target / "u.data").is_file():
        return target / "u.data"
    try:
        archive = _download(folder, progress)
        _unpack(archive, target)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"ml-100k is not in {folder} and could not be downloaded ({reason}); "
                        f"put ml-100k/u.data or ml-100k.zip into a folder and name it with "
                        "--data-dir or D2L_AUTOREC_DATA") from error
    return target / "u.data"


def _download(folder: Path, progress: bool) -> Path:
    import pooch
    fetch = pooch.HTTPDownloader(progressbar=progress, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    pooch.get_logger().setLevel("WARNING")
    url = os.environ.get("D2L_AUTOREC_URL", BASE_URL) + "ml-100k.zip"
    return Path(pooch.retrieve(url, "sha256:" + ML_100K_SHA256, "ml-100k.zip", folder,
                               downloader=fetch))


def _unpack(archive: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as scratch:
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(scratch)
        if not (Path(scratch) / target.name / "u.data").is_file():
            raise OSError(f"{archive} does not contain {target.name}/u.data")
        if target.exists():  # a folder without u.data: keep what is in it
            files = (Path(scratch) / target.name).iterdir()
            for path in sorted(files, key=lambda path: path.name == "u.data"):  # u.data last
                os.replace(path, target / path.name)
        else:
            os.replace(Path(scratch) / target.name, target)


def read_table(path: Path) -> pd.DataFrame:
    """u.data as a frame of int64: user_id, item_id, rating, timestamp."""
    return pd.read_csv(path, sep="\t", names=COLUMNS, dtype="int64")


def read_ml_100k(path: Path) -> Ratings:
    """Parse u.data; ids become positions in the ascending ids."""
    frame = read_table(path)
    user_ids, users = np.unique(frame["user_id"].to_numpy(), return_inverse=True)
    item_ids, items = np.unique(frame["item_id"].to_numpy(), return_inverse=True)
    return Ratings(users, items, frame["rating"], user_ids, item_ids, frame["timestamp"],
                   scale=(1.0, 5.0), name="ml-100k")


def synthetic_ratings(num_users: int = 943, num_items: int = 1682, num_ratings: int = 100_000,
                      seed: int = 0) -> Ratings:
    """Generated ratings 1..5 with the shape of a real data set; ids are 1..n.

    A rating is mean + user bias + item bias + a low-rank product + noise,
    rounded and clipped. Users are active and items popular with long tails;
    every user and every item has at least one rating.

    Raises
    ------
    DataError
        If the number of ratings cannot cover every user and item, or leaves
        no unobserved entry.
    """
    low, high = max(num_users, num_items), num_users * num_items // 2
    if not low <= num_ratings <= high:
        raise DataError(f"{num_ratings} generated ratings of {num_users} users and {num_items} "
                        f"items: the number must be from {low} to {high}")
    rng = np.random.default_rng(seed)
    users, items = _long_tailed_pairs(num_users, num_items, num_ratings, rng)
    values = _low_rank_values(users, items, num_users, num_items, rng)
    timestamps = 880_000_000 + rng.integers(0, 20_000_000, size=num_ratings)
    return Ratings(users, items, values, np.arange(1, num_users + 1),
                   np.arange(1, num_items + 1), timestamps, scale=(1.0, 5.0), name="synthetic")


def _long_tailed_pairs(num_users: int, num_items: int, count: int,
                       rng: np.random.Generator) -> tuple:
    """`count` different (user, item) pairs in random order."""
    activity = rng.lognormal(sigma=1.0, size=num_users)
    popularity = rng.lognormal(sigma=1.5, size=num_items)
    user_cdf = np.cumsum(activity) / activity.sum()
    item_cdf = np.cumsum(popularity) / popularity.sum()
    cover = max(num_users, num_items)  # each user and each item once
    keys = ((np.arange(cover) % num_users) * num_items
            + rng.permutation(cover) % num_items)
    keys = np.unique(keys)
    required = keys
    while len(keys) < count:
        draws = 2 * (count - len(keys)) + 1000
        users = np.searchsorted(user_cdf, rng.uniform(size=draws), side="right")
        items = np.searchsorted(item_cdf, rng.uniform(size=draws), side="right")
        keys = np.union1d(keys, np.minimum(users, num_users - 1) * num_items
                          + np.minimum(items, num_items - 1))
    optional = np.setdiff1d(keys, required, assume_unique=True)
    optional = rng.permutation(optional)[:count - len(required)]
    keys = rng.permutation(np.concatenate([required, optional]))
    return (keys // num_items).astype(np.int32), (keys % num_items).astype(np.int32)


def _low_rank_values(users: np.ndarray, items: np.ndarray, num_users: int, num_items: int,
                     rng: np.random.Generator, rank: int = 2) -> np.ndarray:
    user_factors = rng.normal(size=(num_users, rank))
    item_factors = rng.normal(size=(num_items, rank)) / np.sqrt(rank)
    values = rng.normal(scale=0.65, size=len(users)) + 3.5
    values += rng.normal(scale=0.5, size=num_users)[users]
    values += rng.normal(scale=0.5, size=num_items)[items]
    for k in range(rank):  # one rank at a time: no (n, rank) array
        values += 0.7 * user_factors[users, k] * item_factors[items, k]
    return np.clip(np.rint(values), 1, 5).astype(np.float32)

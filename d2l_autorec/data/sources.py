"""Where ratings come from: MovieLens releases, downloaded and cached, or a generated set.

F. M. Harper and J. A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015.
GroupLens' usage licence: research use, no redistribution, no commercial use without permission;
see the README in the data set.
"""

import csv
import os
import re
import tempfile
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..support.errors import DataError, DataWarning, did_you_mean
from ..support.machine import available_memory, check_fits
from ..support.seeds import Purpose, generator
from .ratings import Ratings
from .readers import read_ratings, read_train_and_test
from .rules import size_of
from .splits import Split

BASE_URL = "https://files.grouplens.org/datasets/movielens/"
CONNECT_TIMEOUT, READ_TIMEOUT = 3.05, 10  # seconds; an offline machine goes on soon
# name, folder, files of ratings and titles, lowest rating, hash of the zip file
PUBLISHED = """
ml-100k ml-100k u.data u.item 1 sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229
ml-1m ml-1m ratings.dat movies.dat 1 md5:c4d9eecfca2ab87c1945afe126590906
ml-10m ml-10M100K ratings.dat movies.dat 0.5 md5:ce571fd55effeba0271552578f2648bd
ml-20m ml-20m ratings.csv movies.csv 0.5 md5:cd245b17a1ae2cc31bb14903e1204af3
ml-25m ml-25m ratings.csv movies.csv 0.5 md5:6b51fb2759a8657d3bfcbfc42b592ada
ml-latest-small ml-latest-small ratings.csv movies.csv 0.5
"""  # noqa: E501
SEPARATORS = {".data": "\t", ".item": "|", ".dat": "::", ".csv": ","}

MOST_RATINGS = 2**31 - 1  # their numbers are int32
RANK = 2  # of the generated ratings without biases and noise
BYTES_A_RATING = 100  # while enough of them are drawn


@dataclass(frozen=True)
class DataSet:
    """A release of MovieLens.

    Parameters
    ----------
    name, folder : str
        Folder in the zip file and in the data folder.
    ratings_file, titles_file : str
    scale : (float, float)
        Lowest and highest possible rating.
    digest : str, optional
        Of the zip file; None where the publisher changes the file from time to time.
    """

    name: str
    folder: str
    ratings_file: str
    titles_file: str
    scale: tuple[float, float]
    digest: str | None = None

    @property
    def layout(self) -> tuple[str, str]:
        """The columns and the separator of the ratings file, as in `read_ratings`."""
        separator = SEPARATORS[Path(self.ratings_file).suffix]
        if separator == ",":
            return "user=userId,item=movieId,rating=rating,timestamp=timestamp", separator
        return "user=0,item=1,rating=2,timestamp=3", separator


def _data_set(line: str) -> DataSet:
    name, folder, ratings_file, titles_file, low, *digest = line.split()
    return DataSet(name, folder, ratings_file, titles_file, (float(low), 5.0), *digest)


DATASETS = {record.name: record for record in map(_data_set, PUBLISHED.strip().splitlines())}


def default_data_dir() -> Path:
    """Return $D2L_AUTOREC_DATA, else a cache folder of the user's."""
    folder: Any = os.environ.get("D2L_AUTOREC_DATA")
    if not folder:
        import pooch

        folder = pooch.os_cache("d2l_autorec")
    return Path(folder)


def load_ratings(
    dataset: str = "auto", data_dir: str | Path | None = None, seed: int = 0, progress: bool = False
) -> Ratings:
    """Return the ratings of a data set, with titles where it has any.

    Parameters
    ----------
    dataset : str
        A name in `DATASETS`; 'synthetic', the generated set, or
        'synthetic:USERSxITEMSxRATINGS'; or 'auto', which is ml-100k if it is
        in `data_dir` or can be downloaded, else the generated set, with a
        DataWarning that says why.
    data_dir : path, optional
        By default `default_data_dir()`.
    seed : int
        For the generated set.
    progress : bool
        Whether a download draws a progress bar.

    Raises
    ------
    DataError
        If the set is unknown, cannot be had, or cannot be parsed.
    """
    if dataset == "synthetic":
        return synthetic_ratings(seed=seed)
    if dataset.startswith("synthetic:"):
        shape = re.fullmatch("synthetic:([0-9]{1,18})x([0-9]{1,18})x([0-9]{1,18})", dataset)
        if shape is None:
            raise DataError(
                f"`dataset` is {dataset}: a generated set is synthetic or "
                "synthetic:USERSxITEMSxRATINGS, as in synthetic:943x1682x100000"
            )
        num_users, num_items, num_ratings = map(int, shape.groups())
        return synthetic_ratings(num_users, num_items, num_ratings, seed)

    record = DATASETS.get("ml-100k" if dataset == "auto" else dataset)
    if record is None:
        raise DataError(
            f"no data set {dataset!r}: choose auto, synthetic, {', '.join(DATASETS)}, "
            "or your own file with `ratings`"
            f"{did_you_mean(dataset, ('auto', 'synthetic', *DATASETS))}"
        )

    try:
        path = fetch(record, Path(data_dir or default_data_dir()), progress)
    except DataError as error:
        if dataset != "auto":
            raise
        warnings.warn(
            f"{error}. GENERATED ratings of the same shape are used instead: the test "
            "figures are NOT comparable with published ones",
            DataWarning,
            stacklevel=2,
        )
        return synthetic_ratings(seed=seed)

    ratings = read_ratings(path, *record.layout, scale=record.scale)
    return _named(ratings, record, path.parent)


def data_shown(name: str) -> str:
    """Return a data set's name for a result, with a word of caution for generated ratings."""
    return "GENERATED ratings (synthetic)" if name == "synthetic" else name


def load_official_fold(
    fold: str, data_dir: str | Path | None = None, progress: bool = False
) -> Split:
    """Return ml-100k as its publisher splits it: u1..u5 (folds), ua, ub (ten test ratings a user).

    Raises
    ------
    DataError
        As `load_ratings`; also if FOLD.base or FOLD.test is missing.
    """
    record = DATASETS["ml-100k"]
    folder = fetch(record, Path(data_dir or default_data_dir()), progress).parent
    files = folder / f"{fold}.base", folder / f"{fold}.test"
    train, test = read_train_and_test(*files, *record.layout, scale=record.scale)
    return _named(train, record, folder), _named(test, record, folder)


def _named(ratings: Ratings, record: DataSet, folder: Path) -> Ratings:
    return replace(
        ratings,
        name=record.name,
        origin=f"{record.name}, {ratings.origin}",
        titles=read_titles(folder / record.titles_file),
    )


def read_titles(path: Path) -> dict[int, str]:
    """Return item id to title, of u.item, movies.dat (both latin-1) or movies.csv; {} without."""
    if not path.is_file():
        return {}

    is_csv = path.suffix == ".csv"
    text = path.read_text("utf-8" if is_csv else "latin-1", errors="replace")
    lines = text.split("\n")  # splitlines() cuts at \x85 too
    rows = csv.reader(lines) if is_csv else (x.split(SEPARATORS[path.suffix]) for x in lines)
    return {int(row[0]): row[1] for row in rows if len(row) > 1 and row[0].isdecimal()}


def fetch(record: DataSet, folder: Path, progress: bool = False) -> Path:
    """Return the path of a data set's ratings file; download and unpack it where needed.

    Nothing half done is ever taken for the data: the zip file is renamed into
    place once its hash is right, the folder once everything is unpacked.

    Raises
    ------
    DataError
        If there is neither a folder nor a zip file nor a way to download.
    """
    path = folder / record.folder / record.ratings_file
    if os.path.isfile(path):  # False also where a name is too long
        return path

    # D2L_AUTOREC_URL: a mirror, for places that cannot reach GroupLens
    url = os.environ.get("D2L_AUTOREC_URL") or BASE_URL
    try:
        _unpack(_download(record, folder, url, progress), path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        import requests

        offline = isinstance(error, (requests.ConnectionError, requests.Timeout))
        reason = "no connection" if offline else str(error).split("\n")[0]
        raise DataError(
            f"{record.name} is not in {folder} and could not be downloaded ({reason}); put "
            f"{record.folder}/{record.ratings_file} or {record.name}.zip into a folder and name "
            "it with `data_dir` or D2L_AUTOREC_DATA"
        ) from error

    return path


def _download(record: DataSet, folder: Path, url: str, progress: bool) -> Path:
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    pooch.get_logger().setLevel("WARNING")

    name = f"{record.name}.zip"
    return Path(pooch.retrieve(url + name, record.digest, name, folder, downloader=downloader))


def _unpack(archive: Path, path: Path) -> None:
    """Unpack the folder of a ratings file."""
    folder = path.parent
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as scratch:
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(scratch)
        unpacked = Path(scratch) / folder.name
        if not (unpacked / path.name).is_file():
            raise OSError(f"{archive} does not contain {folder.name}/{path.name}")
        unpacked.replace(folder)


def synthetic_ratings(
    num_users: int = 943, num_items: int = 1682, num_ratings: int = 100_000, seed: int = 0
) -> Ratings:
    """Generate ratings 1..5 with the shape of a real data set; ids are 1..n.

    A rating is mean + user bias + item bias + a low-rank product + noise,
    rounded and clipped. Users are active and items popular with long tails;
    every user and every item has at least one rating.

    Raises
    ------
    DataError
        If the number of ratings cannot cover every user and item, or leaves
        no unobserved entry.
    ConfigError
        If they do not fit into memory.
    """
    low = max(num_users, num_items, 1)
    high = min(num_users * num_items // 2, MOST_RATINGS)
    if not low <= num_ratings <= high:
        raise DataError(
            f"{num_ratings} generated ratings of {num_users} users and {num_items} "
            f"items: the number must be from {low} to {high}"
        )

    what = f"a generated set of {num_ratings} ratings"
    check_fits(BYTES_A_RATING * num_ratings, available_memory(), what, ": generate fewer")

    rng = generator(seed, Purpose.GENERATED_RATINGS)
    users, items = _long_tailed_pairs(num_users, num_items, num_ratings, rng)
    values = _low_rank_values(users, items, (num_users, num_items), rng)
    timestamps = 880_000_000 + rng.integers(0, 20_000_000, size=num_ratings)

    ids = np.arange(1, num_users + 1), np.arange(1, num_items + 1)
    scale = (1.0, 5.0)
    origin = f"synthetic: generated with seed {seed}; {size_of(values, *ids, scale)}"
    return Ratings(users, items, values, *ids, timestamps, scale, name="synthetic", origin=origin)


def _long_tailed_pairs(
    num_users: int, num_items: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` different (user, item) pairs in random order; no user or item is left out."""
    activity = rng.lognormal(sigma=1.0, size=num_users)
    popularity = rng.lognormal(sigma=1.5, size=num_items)
    user_cdf = np.cumsum(activity) / activity.sum()
    item_cdf = np.cumsum(popularity) / popularity.sum()

    cover = max(num_users, num_items)  # each user and each item once
    covering_users = np.arange(cover) % num_users
    covering_items = rng.permutation(cover) % num_items
    required = np.unique(covering_users * num_items + covering_items)

    keys = required
    while len(keys) < count:
        draws = 2 * (count - len(keys)) + 1000
        users = np.searchsorted(user_cdf, rng.uniform(size=draws), side="right")
        items = np.searchsorted(item_cdf, rng.uniform(size=draws), side="right")
        users = np.minimum(users, num_users - 1)
        items = np.minimum(items, num_items - 1)
        keys = np.union1d(keys, users * num_items + items)

    optional = np.setdiff1d(keys, required, assume_unique=True)
    optional = rng.permutation(optional)[: count - len(required)]
    keys = rng.permutation(np.concatenate([required, optional]))
    return (keys // num_items).astype(np.int32), (keys % num_items).astype(np.int32)


def _low_rank_values(
    users: np.ndarray, items: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    num_users, num_items = size
    user_factors = rng.normal(size=(num_users, RANK))
    item_factors = rng.normal(size=(num_items, RANK)) / np.sqrt(RANK)

    values = rng.normal(scale=0.65, size=len(users)) + 3.5
    values += rng.normal(scale=0.5, size=num_users)[users]
    values += rng.normal(scale=0.5, size=num_items)[items]
    for k in range(RANK):  # one rank at a time: no (n, rank) array
        values += 0.7 * user_factors[users, k] * item_factors[items, k]

    return np.clip(np.rint(values), 1, 5).astype(np.float32)

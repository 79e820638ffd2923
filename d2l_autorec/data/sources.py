"""Where ratings come from: files, MovieLens releases (downloaded and cached), a generated set.

F. M. Harper and J. A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015.
GroupLens' usage licence: research use, no redistribution, no commercial use without permission;
see the README in the data set.
"""

import os
import re
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..support.errors import DataError, did_you_mean, warn
from ..support.machine import available_memory, check_fits
from ..support.seeds import Purpose, generator
from .layout import ROLES, Request, fields_of
from .ratings import Ratings, Titles, ratings_of
from .readers import read_table
from .rules import Scale, Table, size_of
from .splits import Split, check_apart

BASE_URL = "https://files.grouplens.org/datasets/movielens/"
CONNECT_TIMEOUT, READ_TIMEOUT = 3.05, 10  # seconds: an offline machine should not wait long
# name, folder, files of ratings and titles, lowest rating, hash of the zip file
PUBLISHED = """
ml-100k ml-100k u.data u.item 1 sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229
ml-1m ml-1m ratings.dat movies.dat 1 md5:c4d9eecfca2ab87c1945afe126590906
ml-10m ml-10M100K ratings.dat movies.dat 0.5 md5:ce571fd55effeba0271552578f2648bd
ml-20m ml-20m ratings.csv movies.csv 0.5 md5:cd245b17a1ae2cc31bb14903e1204af3
ml-25m ml-25m ratings.csv movies.csv 0.5 md5:6b51fb2759a8657d3bfcbfc42b592ada
ml-latest-small ml-latest-small ratings.csv movies.csv 0.5
"""  # noqa: E501

GENERATED = "synthetic:943x1682x100000"  # the shape of ml-100k
MOST_RATINGS = 2**31 - 1  # ratings are numbered with int32
RANK = 2  # rank of the generated ratings before biases and noise
BYTES_A_RATING = 100  # memory that drawing them takes


class DataSet(NamedTuple):
    """A release of MovieLens.

    Parameters
    ----------
    name, folder : str
        Name of the set, and its folder in the zip file and in the data folder.
    ratings_file, titles_file : str
        Names of the two files in that folder.
    lowest : str
        The lowest possible rating.
    digest : str, optional
        Hash of the zip file; None if the publisher changes the file from time to time.
    """

    name: str
    folder: str
    ratings_file: str
    titles_file: str
    lowest: str
    digest: str | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest possible rating."""
        return float(self.lowest), 5.0


DATASETS = {line.split()[0]: DataSet(*line.split()) for line in PUBLISHED.strip().splitlines()}


def read_ratings(  # noqa: PLR0913  # what a person may give, by name
    path: str | Path,
    columns: str | None = None,
    separator: str | None = None,
    duplicates: str | None = None,
    scale: Scale = None,
    implicit: bool = False,
    quotes: bool = True,
    titles: Titles = None,
) -> Ratings:
    """Read a csv, tsv, dat, JSON lines, Parquet or Feather file of ratings.

    A text file may be compressed by gzip, bzip2 or zstd. Each line must be one rating.
    `Ratings.origin` says how the file was understood.

    Parameters
    ----------
    path : path
        The file.
    columns : str, optional
        'user=NAME,item=NAME,rating=NAME[,timestamp=NAME]', with names from the
        header, field numbers from 0, or keys of JSON lines. By default usual names are
        recognised; a file without a header has user, item, rating and
        perhaps timestamp in its first fields. `d2l_autorec.data.layout.detect` says what
        is taken for a header.
    separator : str, optional
        The text between fields. By default it is recognised: comma, semicolon, tab, blanks, ::,
        |, || or the character 0x01.
    duplicates : {'error', 'last', 'mean'}, optional
        What becomes of several ratings of one item by one user. By default they are an error; if
        `implicit`, they stay, and `prepare_clicks` merges them. 'last' keeps the latest, and of
        equal times, or without times, the last row.
    scale : (float, float), optional
        Lowest and highest possible rating; by default those that occur.
    implicit : bool
        Whether the ratings are for a model of clicks. The file may then have no ratings: each row
        is a 1.
    quotes : bool
        Whether a '"' may enclose a field; if not, it is a character like others.
    titles : path or mapping, optional
        Titles of the items; see `Ratings.with_titles`.

    Returns
    -------
    Ratings
        The ratings in file order. An id is its text in Unicode's NFC form, without blanks around
        it; 12.0 is 12. If all are whole numbers in their plain form, they become integers. A
        missing id (an empty one, NULL, NA, nan or None) is an error.
        `d2l_autorec.data.rules.check_ratings` says which numbers can be ratings.

    Raises
    ------
    ConfigError
        If `duplicates` has another value, or `scale` is none.
    DataError
        If the file cannot be read or understood. The message is one line with the file, the line
        or column, and the remedy.
    """
    request = Request(ROLES[:2] if implicit else ROLES[:3], columns, separator, quotes=quotes)
    table = read_table(Path(path), request)
    return ratings_of(table, duplicates, scale, implicit)[0].with_titles(titles)


def read_train_and_test(
    train: Path,
    test: Path,
    duplicates: str | None = None,
    scale: Scale = None,
    titles: Titles = None,
    **layout: Any,
) -> tuple[Ratings, Ratings]:
    """Read a training and a test file; both parts have the index maps of the two together.

    See `read_ratings` for the parameters; `layout` may have columns, separator and quotes.

    Raises
    ------
    DataError
        For the reasons of `read_ratings`; also if a (user, item) pair is in both files.
    """
    import pyarrow as pa

    request = Request(ROLES[:3], **layout)
    first, second = (read_table(path, request) for path in (train, test))
    if set(first.columns) != set(second.columns):
        raise DataError(
            f"{train} and {test} differ: one has timestamps, and the other has none: leave them "
            "out, as with `columns=user=0,item=1,rating=2`"
        )

    cut = len(first)
    both = {}
    for role in first.columns:
        parts = first.columns[role], second.columns[role]
        kind = parts[0].type if parts[0].type == parts[1].type else pa.string()
        try:
            chunks = [chunk for part in parts for chunk in part.cast(kind).chunks]
        except pa.ArrowException as error:
            raise DataError(
                f"{train} and {test} differ: the {role} is {parts[0].type} in the one and "
                f"{parts[1].type} in the other: save both in one format"
            ) from error
        both[role] = pa.chunked_array(chunks, kind)

    def locate(row: int) -> str:
        return first.locate(row) if row < cut else second.locate(row - cut)

    name = f"{train.name}+{test.name}"
    table = Table(name, both, locate, f"{first.origin}; {second.origin}", first.way_out)
    ratings, rows = ratings_of(table, duplicates, scale, train_rows=cut)
    ratings = ratings.with_titles(titles)
    is_test = rows >= cut
    origin = f"{ratings.origin}; {is_test.sum():,} of them in {test.name}"
    ratings = replace(ratings, origin=origin)
    kept, held_out = ratings.part(~is_test), ratings.part(is_test)
    check_apart({"train": kept, "test": held_out})
    return kept, held_out


def load_ratings(
    dataset: str = "auto", data_dir: str | Path | None = None, seed: int = 0, progress: bool = False
) -> Ratings:
    """Return the ratings of a data set, with titles where it has any.

    Parameters
    ----------
    dataset : str
        'ml-100k', 'ml-1m', 'ml-10m', 'ml-20m', 'ml-25m' or 'ml-latest-small'; 'synthetic' or
        'synthetic:USERSxITEMSxRATINGS' for a generated set; or 'auto', which is ml-100k if it is
        in `data_dir` or can be downloaded, else the generated set.
    data_dir : path, optional
        The folder for data sets; by default $D2L_AUTOREC_DATA, or else a cache folder.
    seed : int
        Seed for the generated set.
    progress : bool
        Whether a download draws a progress bar.

    Raises
    ------
    DataError
        If the set is unknown, is neither at hand nor can be downloaded, or cannot be parsed.
    ConfigError
        If a generated set does not fit into memory.

    Warns
    -----
    DataWarning
        If 'auto' generates ratings.
    """
    if dataset.startswith("synthetic"):
        wanted = GENERATED if dataset == "synthetic" else dataset
        shape = re.fullmatch("synthetic:([0-9]{1,18})x([0-9]{1,18})x([0-9]{1,18})", wanted)
        if shape is None:
            raise DataError(
                f"`dataset` is {dataset}: a generated set is synthetic or "
                f"synthetic:USERSxITEMSxRATINGS, as in {GENERATED}"
            )
        num_users, num_items, num_ratings = map(int, shape.groups())
        return synthetic_ratings(num_users, num_items, num_ratings, seed)

    record = DATASETS.get("ml-100k" if dataset == "auto" else dataset)
    if record is None:
        known = ("auto", "synthetic", *DATASETS)
        raise DataError(
            f"no data set {dataset!r}: choose {', '.join(known)}, or your own file with `ratings`"
            f"{did_you_mean(dataset, known)}"
        )

    try:
        path = fetch(record, data_dir, progress)
    except DataError as error:
        if dataset != "auto":
            raise
        warn(
            f"{error}. GENERATED ratings of the same shape are used instead: the test "
            "figures are NOT comparable with published ones",
            level=3,
        )
        return synthetic_ratings(seed=seed)

    return _named(read_ratings(path, scale=record.scale), record, path.parent)


def data_shown(name: str) -> str:
    """Return a data set's name for people to read; generated ratings are marked as such."""
    return "GENERATED ratings (synthetic)" if name == "synthetic" else name


def load_official_fold(
    fold: str, data_dir: str | Path | None = None, progress: bool = False
) -> Split:
    """Return ml-100k as its publisher splits it.

    u1 to u5 are folds; ua and ub have ten test ratings for each user.

    Raises
    ------
    DataError
        If the set is neither at hand nor can be downloaded, or FOLD.base or FOLD.test is missing.
    """
    record = DATASETS["ml-100k"]
    folder = fetch(record, data_dir, progress).parent
    files = folder / f"{fold}.base", folder / f"{fold}.test"
    train, test = read_train_and_test(*files, scale=record.scale)
    return _named(train, record, folder), _named(test, record, folder)


def _named(ratings: Ratings, record: DataSet, folder: Path) -> Ratings:
    titles = read_titles(folder / record.titles_file)
    origin = f"{record.name}, {ratings.origin}"
    return replace(ratings, name=record.name, origin=origin, titles=titles)


def read_titles(path: Path) -> dict[int, str]:
    """Read item id to title from u.item, movies.dat or movies.csv; {} if there is no file."""
    if not path.is_file():
        return {}

    separator = {".item": "|", ".dat": "::", ".csv": ","}[path.suffix]
    text = path.read_text("utf-8" if separator == "," else "latin-1", errors="replace")
    lines = text.split("\n")  # splitlines() cuts at \x85 too
    rows = (fields_of(line, separator, separator == ",") for line in lines)
    return {int(row[0]): row[1] for row in rows if len(row) > 1 and row[0].isdecimal()}


def fetch(record: DataSet, data_dir: str | Path | None = None, progress: bool = False) -> Path:
    """Return the path of a data set's ratings file; download and unpack it where needed.

    By default `data_dir` is $D2L_AUTOREC_DATA if it is set, else a cache folder of the user's.
    Nothing half done is ever taken for the data: the zip file is renamed into
    place once its hash is right, and the folder once everything is unpacked.

    Raises
    ------
    DataError
        If neither the folder nor the zip file is at hand, and no download succeeds.
    """
    given = data_dir or os.environ.get("D2L_AUTOREC_DATA")
    if not given:
        import pooch

        given = pooch.os_cache("d2l_autorec")
    folder = Path(given)
    path = folder / record.folder / record.ratings_file
    if os.path.isfile(path):  # False also where a name is too long
        return path

    # D2L_AUTOREC_URL names a mirror, for places that cannot reach GroupLens
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
    """Unpack the folder that `path` lies in; raise OSError if the archive lacks the file."""
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
    """Generate ratings from 1 to 5 that look like a real data set; ids are 1, 2, ...

    A rating is mean + user bias + item bias + a low-rank product + noise,
    rounded and clipped. Users are active and items popular with long tails;
    every user and every item has at least one rating.

    Raises
    ------
    DataError
        If the number of ratings cannot cover every user and item, or leaves
        no unobserved entry.
    ConfigError
        If the ratings do not fit into memory.
    """
    low = max(num_users, num_items, 1)
    high = min(num_users * num_items // 2, MOST_RATINGS)
    if not low <= num_ratings <= high:
        allowed = f"the number must be from {low} to {high}, half of all pairs at most"
        if low > high:
            allowed = f"there must be 2 or more of both, and not more than {MOST_RATINGS}"
        raise DataError(
            f"{num_ratings} generated ratings of {num_users} users and {num_items} items: {allowed}"
        )

    what = f"a generated set of {num_ratings} ratings"
    check_fits(BYTES_A_RATING * num_ratings, available_memory(), what, ": generate fewer")

    rng = generator(seed, Purpose.GENERATED_RATINGS)
    size = num_users, num_items
    users, items = _long_tailed_pairs(size, num_ratings, rng)
    values = _low_rank_values(users, items, size, rng)
    timestamps = 880_000_000 + rng.integers(0, 20_000_000, size=num_ratings)

    ids = np.arange(1, num_users + 1), np.arange(1, num_items + 1)
    scale = (1.0, 5.0)
    origin = f"synthetic: generated with seed {seed}; {size_of(values, *ids, scale)}"
    return Ratings(users, items, values, *ids, timestamps, scale, name="synthetic", origin=origin)


def _long_tailed_pairs(
    size: tuple[int, int], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` different (user, item) pairs in random order; no user or item is left out."""
    num_users, num_items = size
    weights = [rng.lognormal(sigma=sigma, size=n) for sigma, n in zip((1.0, 1.5), size)]
    bounds = [(np.cumsum(each) / each.sum())[:-1] for each in weights]  # of each user's share

    cover = max(size)  # each user and each item once
    covering_users = np.arange(cover) % num_users
    covering_items = rng.permutation(cover) % num_items
    required = np.unique(covering_users * num_items + covering_items)

    keys = required
    while len(keys) < count:
        draws = 2 * (count - len(keys)) + 1000
        users, items = (np.searchsorted(b, rng.uniform(size=draws), "right") for b in bounds)
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

"""Where ratings come from: MovieLens releases, downloaded and cached, or a generated set."""

import os
import tempfile
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from ..support.environment import variable
from ..support.errors import DataError, DataWarning, did_you_mean
from .ratings import Ratings
from .readers import read_ratings, read_train_and_test
from .splits import OFFICIAL_FOLDS, Split
from .synthetic import synthetic_ratings, synthetic_shape

BASE_URL = "https://files.grouplens.org/datasets/movielens/"

CONNECT_TIMEOUT, READ_TIMEOUT = 3.05, 10  # seconds; an offline machine goes on soon

CITATION = (
    "F. M. Harper and J. A. Konstan. The MovieLens Datasets: History and Context. "
    "ACM TiiS 5(4), 2015"
)

LICENCE = (
    "GroupLens usage licence: research use, no redistribution, no commercial use without "
    "permission; see the README in the data set"
)


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set.

    Parameters
    ----------
    name : str
    digest : str or None
        Of the zip file, 'md5:...' or 'sha256:...'; None where the publisher
        changes the file from time to time.
    folder : str
        Folder in the zip file and in the data folder.
    ratings_file, titles_file : str
    counts : (int, int, int)
        Users, items and ratings that the publisher states.
    scale : (float, float)
        Lowest and highest possible rating.
    columns : str
        As in `read_ratings`.
    separator : str
    citation, licence : str
    """

    name: str
    digest: str | None
    folder: str
    ratings_file: str
    titles_file: str
    counts: tuple[int, int, int]
    scale: tuple[float, float]
    columns: str = "user=0,item=1,rating=2,timestamp=3"
    separator: str = "::"
    citation: str = CITATION
    licence: str = LICENCE


# name, folder, files of ratings and titles, users, items, ratings, scale
PUBLISHED = """
ml-100k          ml-100k          u.data       u.item      943     1682   100000    1    5
ml-1m            ml-1m            ratings.dat  movies.dat  6040    3706   1000209   1    5
ml-10m           ml-10M100K       ratings.dat  movies.dat  69878   10677  10000054  0.5  5
ml-20m           ml-20m           ratings.csv  movies.csv  138493  26744  20000263  0.5  5
ml-25m           ml-25m           ratings.csv  movies.csv  162541  59047  25000095  0.5  5
ml-latest-small  ml-latest-small  ratings.csv  movies.csv  610     9724   100836    0.5  5
"""
DIGESTS = {  # of the zip files; ml-latest-small changes from time to time
    "ml-100k": "sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "ml-1m": "md5:c4d9eecfca2ab87c1945afe126590906",
    "ml-10m": "md5:ce571fd55effeba0271552578f2648bd",
    "ml-20m": "md5:cd245b17a1ae2cc31bb14903e1204af3",
    "ml-25m": "md5:6b51fb2759a8657d3bfcbfc42b592ada",
}
SEPARATORS = {".data": "\t", ".dat": "::", ".csv": ","}
NAMED = "user=userId,item=movieId,rating=rating,timestamp=timestamp"


def _data_set(line: str) -> DataSet:
    name, folder, ratings_file, titles_file, users, items, ratings, low, high = line.split()
    separator = SEPARATORS[Path(ratings_file).suffix]
    return DataSet(
        name,
        DIGESTS.get(name),
        folder,
        ratings_file,
        titles_file,
        (int(users), int(items), int(ratings)),
        (float(low), float(high)),
        NAMED if separator == "," else DataSet.columns,
        separator,
    )


DATASETS = {record.name: record for record in map(_data_set, PUBLISHED.strip().splitlines())}


def default_data_dir() -> Path:
    """$D2L_AUTOREC_DATA, else a cache folder of the user's."""
    folder = variable("D2L_AUTOREC_DATA")
    if folder is not None:
        return Path(folder)

    import pooch

    return Path(pooch.os_cache("d2l_autorec"))


def load_ratings(
    dataset: str = "auto", data_dir: str | Path | None = None, seed: int = 0, progress: bool = False
) -> Ratings:
    """The ratings of a data set, with titles where it has any.

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
    if dataset.split(":")[0] == "synthetic":
        return _generated(dataset, seed)

    record = DATASETS.get("ml-100k" if dataset == "auto" else dataset)
    if record is None:
        raise DataError(
            f"no data set {dataset!r}: choose auto, synthetic, {', '.join(DATASETS)}, "
            "or your own file with `ratings`"
            f"{did_you_mean(dataset, ('auto', 'synthetic', *DATASETS))}"
        )

    folder = _folder_of(data_dir)
    try:
        path = fetch(record, folder, progress)
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

    return parse(record, path)


def _generated(dataset: str, seed: int) -> Ratings:
    """The generated set of a name, 'synthetic' or 'synthetic:USERSxITEMSxRATINGS'."""
    shape = synthetic_shape(dataset)
    return synthetic_ratings(*shape, seed) if shape else synthetic_ratings(seed=seed)


def _folder_of(data_dir: str | Path | None) -> Path:
    return default_data_dir() if data_dir is None else Path(data_dir)


def data_shown(name: str) -> str:
    """A data set's name for a result, with a word of caution for generated ratings."""
    return "GENERATED ratings (synthetic)" if name == "synthetic" else name


def load_official_fold(
    fold: str, data_dir: str | Path | None = None, progress: bool = False
) -> Split:
    """ml-100k as its publisher splits it: u1..u5 (five folds), ua, ub (ten test ratings a user).

    Raises
    ------
    DataError
        As `load_ratings`; also if FOLD.base or FOLD.test is missing.
    """
    if fold not in OFFICIAL_FOLDS:
        raise DataError(f"no official fold {fold!r}: choose one of {', '.join(OFFICIAL_FOLDS)}")

    record = DATASETS["ml-100k"]
    folder = fetch(record, _folder_of(data_dir or None), progress).parent
    parts = read_train_and_test(
        folder / f"{fold}.base",
        folder / f"{fold}.test",
        record.columns,
        record.separator,
        scale=record.scale,
    )

    titles = read_titles(folder / record.titles_file)
    train, test = (
        replace(part, name="ml-100k", titles=titles, origin=f"ml-100k, {part.origin}")
        for part in parts
    )
    return train, test


def parse(record: DataSet, path: Path) -> Ratings:
    """A data set's ratings file; warns where its size is not what the publisher states."""
    ratings = read_ratings(path, record.columns, record.separator, scale=record.scale)
    found = (ratings.num_users, ratings.num_items, len(ratings))
    if found != record.counts:
        warnings.warn(
            "{} has {} users, {} items and {} ratings, but {} was published with {}, {} "
            "and {}".format(path, *found, record.name, *record.counts),
            DataWarning,
            stacklevel=2,
        )

    return replace(
        ratings,
        name=record.name,
        origin=f"{record.name}, {ratings.origin}",
        titles=read_titles(path.parent / record.titles_file),
    )


def read_titles(path: Path) -> dict[int, str]:
    """Item id to title, from u.item, movies.dat (both latin-1) or movies.csv; {} without one."""
    if not path.is_file():
        return {}

    if path.suffix == ".csv":
        import pandas as pd

        try:
            table = pd.read_csv(path, usecols=["movieId", "title"], encoding="utf-8")
        except ValueError as error:  # pandas' parser errors and bad UTF-8 are ValueErrors
            reason = str(error).split("\n")[0]
            raise DataError(
                f"{path} is damaged ({reason}): delete it, and the items have no titles, or bring "
                "it anew"
            ) from error
        return dict(zip(table["movieId"].tolist(), table["title"].astype(str)))

    separator = "|"
    if path.suffix == ".dat":
        separator = "::"

    lines = path.read_text(encoding="latin-1").split("\n")  # splitlines() cuts at \x85 too
    rows = [line.split(separator) for line in lines]
    return {int(row[0]): row[1] for row in rows if len(row) > 1 and row[0].isdecimal()}


def fetch(record: DataSet, folder: Path, progress: bool = False) -> Path:
    """The path of a data set's ratings file, after download and unpacking where needed.

    Nothing half done is ever taken for the data: the zip file is renamed into
    place once its hash is right, the folder once everything is unpacked.

    Raises
    ------
    DataError
        If there is neither a folder nor a zip file nor a way to download.
    """
    target = folder / record.folder
    if os.path.isfile(target / record.ratings_file):  # False also where a name is too long
        return target / record.ratings_file

    # D2L_AUTOREC_URL: a mirror, for places that cannot reach GroupLens
    url = variable("D2L_AUTOREC_URL") or BASE_URL
    try:
        archive = _download(record, folder, url, progress)
        _unpack(archive, target, record.ratings_file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{record.name} is not in {folder} and could not be downloaded ({_reason(error)}); put "
            f"{record.folder}/{record.ratings_file} or {record.name}.zip into a folder and name "
            "it with `data_dir` or D2L_AUTOREC_DATA"
        ) from error

    return target / record.ratings_file


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words instead of a chain of exceptions."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return str(error).split("\n")[0]


def _download(record: DataSet, folder: Path, url: str, progress: bool) -> Path:
    import pooch
    from pooch.hashes import hash_matches

    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    pooch.get_logger().setLevel("WARNING")

    archive = folder / f"{record.name}.zip"
    if archive.is_file() and record.digest and not hash_matches(archive, record.digest):
        raise OSError(f"{archive} is there, but its hash is not {record.digest}: delete it")

    source = url + archive.name
    return Path(pooch.retrieve(source, record.digest, archive.name, folder, downloader=downloader))


def _unpack(archive: Path, target: Path, ratings_file: str) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as scratch:
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(scratch)

        unpacked = Path(scratch) / target.name
        if not (unpacked / ratings_file).is_file():
            raise OSError(f"{archive} does not contain {target.name}/{ratings_file}")

        if not target.exists():
            os.replace(unpacked, target)
            return

        for path in sorted(unpacked.iterdir(), key=lambda path: path.name == ratings_file):
            os.replace(path, target / path.name)  # what else is there stays; the ratings go last

"""A ratings file to checked `Ratings`."""

from pathlib import Path
from typing import Callable, Optional, Tuple, Union

import numpy as np
import pandas as pd

from .delimited import parse_table
from .errors import DataError
from .frames import checked_numbers, deduplicated, ratings_from_frame
from .json_lines import parse_json
from .layout import detect_format
from .ratings import Ratings
from .textfile import first_lines, line_number


def read_ratings(path: Union[str, Path], columns: Optional[str] = None,
                 separator: Optional[str] = None, duplicates: str = "error",
                 scale: Optional[Tuple[float, float]] = None, implicit: bool = False) -> Ratings:
    """Read a csv, tsv, dat or JSON lines file of ratings, gzipped or not.

    Parameters
    ----------
    path : path
    columns : str, optional
        'user=NAME,item=NAME,rating=NAME[,timestamp=NAME]', names of the
        header or field numbers from 0. By default usual names are
        recognised; a file without a header has user, item, rating and
        perhaps timestamp in its first fields. Keys of JSON lines are names too.
    separator : str, optional
        By default the one of `SEPARATORS` that gives three fields or more.
    duplicates : {'error', 'last', 'mean'}
        What becomes of several ratings of one item by one user.
    scale : (float, float), optional
        Lowest and highest possible rating; by default those that occur.
    implicit : bool
        The file may do without ratings: each row is then a 1.

    Returns
    -------
    Ratings
        Rows in file order. See `ratings_from_frame` for ids.

    Raises
    ------
    DataError
        One line with file, line or column, and the remedy.
    """
    path = Path(path)
    frame, locate = read_frame(path, columns, separator, implicit)
    return ratings_from_frame(frame, path.name, duplicates, scale, locate)


def read_train_and_test(train: Path, test: Path, columns: Optional[str] = None,
                        separator: Optional[str] = None, duplicates: str = "error",
                        scale: Optional[Tuple[float, float]] = None) -> Tuple[Ratings, Ratings]:
    """Read a given split; both parts get the index maps of the two together.

    Raises
    ------
    DataError
        As `read_ratings`; also if a (user, item) pair is in both files.
    """
    frames = [deduplicated(*read_frame(path, columns, separator), duplicates)
              for path in (train, test)]
    both = pd.concat([_as_objects(frame) for frame in frames], ignore_index=True)
    leaks = int(both.duplicated(["user", "item"]).sum())
    if leaks:
        raise DataError(f"{leaks} (user, item) pairs are in both {train} and {test}: a test "
                        "rating must not be trained on; take them out of one of the files")
    whole = ratings_from_frame(both, f"{train.name}+{test.name}", "error", scale,
                               lambda row: f"{train} and {test}, row {row + 1}")
    is_test = np.arange(len(whole)) >= len(frames[0])
    return whole.part(~is_test), whole.part(is_test)


def _as_objects(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"user": object, "item": object})


def read_frame(path: Path, columns: Optional[str] = None, separator: Optional[str] = None,
               implicit: bool = False) -> Tuple[pd.DataFrame, Callable[[int], str]]:
    """A file's checked columns user, item (categories), rating (float32) and perhaps timestamp.

    Returns
    -------
    frame : DataFrame
    locate : callable
        Row number to 'FILE, line N', for errors.
    """
    is_json = first_lines(path)[0].lstrip().startswith("{")
    layout = None if is_json else detect_format(path, columns, separator, implicit)

    def locate(row: int) -> str:
        return f"{path}, line {line_number(path, row + (not is_json and layout.header))}"

    frame = (parse_json(path, columns, implicit) if is_json else parse_table(path, layout, locate))
    frame = checked_numbers(frame, locate)
    if not len(frame):
        raise DataError(f"{path} has no ratings: each line must hold a user, an item and a rating")
    for role in ("user", "item"):
        empty = frame[role].isna()
        if empty.any():
            raise DataError(f"{locate(empty.argmax())}: the {role} id is empty; "
                            f"{int(empty.sum())} lines are so: complete or delete them")
    return frame, locate

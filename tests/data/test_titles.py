"""Titles of own items: from files of every kind, and from a mapping."""

import gzip

import pandas as pd
import pyarrow as pa
import pytest
from helpers import written
from pyarrow import feather, parquet

from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.readers import read_ids, read_titles
from d2l_autorec.data.sources import read_ratings
from d2l_autorec.support.errors import DataError

FRAME = pd.DataFrame({"user": [1, 1, 2], "item": [7, 8, 7], "rating": [1.0, 5.0, 3.0]})
TITLES = {7: "Matrix, The", 8: "Amélie"}
TABLE = pa.table(
    {"genre": ["x", "y", "z"], "id": [8, 7, 9], "title": ["Amélie", "Matrix, The", "?"]}
)
FILES = {
    "items.csv": 'id,title\n7,"Matrix, The"\n8,Amélie\n9,another\n',
    "movies.csv": 'movieId,title,genres\n7,"Matrix, The",a\n8,Amélie,b\n',
    "noheader.csv": '7,"Matrix, The"\n8,Amélie\n',
    "items.tsv": "name\tid\nMatrix, The\t7.0\nAmélie\t8\n",
    "books.csv": '"ISBN";"Book-Title";"Year"\n"7";"Matrix, The";"1"\n"8";"Amélie";"2"\n',
    "items.jsonl": '{"id": 7, "title": "Matrix, The"}\n{"id": 8, "title": "Amélie"}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_text(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    ratings = Ratings.from_frame(FRAME, titles=tmp_path / name)
    assert ratings.titles == TITLES
    assert ratings.origin == "frame; 3 ratings of 2 users x 2 items, scale 1..5 (as found), " + (
        "no duplicates; 2 of 2 items have a title"
    )


def test_files_of_arrow_and_compressed_ones(tmp_path):
    parquet.write_table(TABLE, tmp_path / "items.parquet")
    feather.write_feather(TABLE, tmp_path / "items.feather")
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(FILES["items.csv"].encode()))
    for name in ("items.parquet", "items.feather", "items.csv.gz"):
        assert Ratings.from_frame(FRAME).with_titles(tmp_path / name).titles == TITLES

    feather.write_feather(pa.Table.from_pandas(FRAME), tmp_path / "mine.feather")
    ratings = read_ratings(tmp_path / "mine.feather", titles={"8": "Am\x1bélie", "x": "?"})
    assert ratings.titles == {8: "Am élie"}  # an escape of a terminal
    assert ratings.with_titles(pd.Series(TITLES)).titles == TITLES
    missing = ratings.with_titles({7: float("nan"), 8: "Amélie"})
    assert missing.titles == {8: "Amélie"} and "1 of 2 items have a title" in missing.origin
    assert ratings.origin.startswith("mine.feather: Feather; user = user (column 0), item = item")
    assert ratings.fingerprint == Ratings.from_frame(FRAME).fingerprint


ERRORS = [
    ("id,title\na,x\nb,y\n", "none of its 2 ids is an item of frame, whose ids are like 7: give"),
    ("id,title\n7,x\n8,y\n7,z\n", "line 4: id '7' has the title 'z' here, and 'x' above: keep o"),
    ("item,genre\n7,x\n", "no column for title among 'item', 'genre'; it must have the columns id"),
    ("7,x,1995\n", "3 columns .*, needed are id, title; it must have the columns id and title"),
    ("", "is empty; it must have the columns id and title"),
    (
        'id,title\n7,"x\ny"\n8,z\n',
        "line 2: a quoted field does not end in its line: correct its quotes",
    ),
    ("id,title\n,x\n7,y\n", "line 2: the id '' is missing"),
]


@pytest.mark.parametrize("content, message", ERRORS)
def test_errors(tmp_path, content, message):
    (tmp_path / "items.csv").write_text(content)
    with pytest.raises(DataError, match=f"items.csv.*{message}"):
        Ratings.from_frame(FRAME, titles=tmp_path / "items.csv")


def test_ids_keep_their_zeros(tmp_path):
    """As of H&M's articles; a number as a title is no fraction either."""
    path = written(tmp_path, "0663713001\n0663713002\n12345678901234567890\n", "ids.txt")
    assert read_ids(path) == ["0663713001", "0663713002", "12345678901234567890"]
    path = written(tmp_path, "id,title\n007,1984\n7,2001\n", "titles.csv")
    assert read_titles(path) == {"007": "1984", "7": "2001"}


def test_columns_beside_the_titles_are_not_asked_about(tmp_path, recwarn):
    path = written(tmp_path, "id,title,action\n7,x,1\n8,y,0\n")
    assert read_titles(path) == {"7": "x", "8": "y"} and not recwarn


def test_titles_in_python():
    series = pd.Series(["x", "y"], index=[7, 8])
    assert Ratings.from_frame(FRAME, titles=series).titles == {7: "x", 8: "y"}
    with pytest.raises(DataError, match="titles is a list: give a file, or a mapping of id to tit"):
        Ratings.from_frame(FRAME, titles=["x", "y"])

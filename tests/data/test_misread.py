"""Classes of files and frames that are easily misread: each is refused, or read and said."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import assert_user_error
from pyarrow import parquet

from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.readers import read_ratings
from d2l_autorec.support.errors import DataError, DataWarning


def rows(line, count=40):
    return "".join(line(k) + "\n" for k in range(count))


def head(names, *values):
    return "\n".join([names, *values]) + "\n"


WRONG = "so the column or the format is wrong: "
# name: (content, options, what the error holds)
REFUSED = {
    # roles by position
    "wide matrix": (
        head("user_id,1,2,3", "7,3,,5", "8,1,2,"),
        {},
        "no column for item among 'user_id', '1', '2', '3'; say which is which with "
        "`columns=user=user_id,item=1,rating=2`; or is it a matrix, a row a user and a column an "
        "item? Then melt it to lines user,item,rating",
    ),
    "Jester": (rows(lambda k: "99,-1.5,7.2,99,3.1,0.2", 9), {}, "6 columns without names"),
    "saved index": (
        rows(lambda k: f"{k},{k % 7},{k % 5},{1 + k % 5}"),
        {},
        "column 0 counts the rows (0, 1, ...), as a saved index does: say "
        "`columns=user=1,item=2,rating=3`; or `columns=user=0,item=1,rating=2` if these are users",
    ),
    "one known name": (
        head("user,thing,4", "ann,x,3"),
        {},
        "no column for item among 'user', 'thing', '4'; say which is which with `columns=",
    ),
    # all rows fail
    "words": (
        head("user,item,rating", "a,x,like", "b,y,dislike"),
        {},
        f"line 2: the rating 'like' is not a number; all 2 rows are affected, {WRONG}write them as "
        "4.5, or remove them; else name another column, as with `columns=user=user,"
        "item=item` for a model that ranks clicks",
    ),
    "percent": (rows(lambda k: f"{k % 7},{k},80 %"), {}, f"{WRONG}write them as 4.5"),
    "decimal commas": (rows(lambda k: f"{k % 7};{k};4,5"), {}, f"{WRONG}write them as 4.5"),
    "dates of another form": (
        head("user,item,rating,timestamp", "a,x,3,01/02/2020", "b,y,4,02/02/2020"),
        {},
        f"'01/02/2020' is not a number; all 2 rows are affected, {WRONG}write them as 1580472000, "
        "or as 2020-01-31 12:00:00, or remove them; else leave it out: say `columns=user=user,"
        "item=item,rating=rating`",
    ),
    "one date of another form": (
        head("user,item,rating,timestamp", "a,x,3,2020-01-01", "b,y,4,noon"),
        {},
        "line 3: the timestamp 'noon' is not a number; 1 of 2 rows are affected: write them as "
        "1580472000, or as 2020-01-31 12:00:00",
    ),
    # the columns to paste
    "values that repeat": (
        head(
            "review_id,who,place,points,timestamp",
            *rows(lambda k: f"r{k},{k % 3},{k % 4},5,{k}").split(),
        ),
        {},
        "say which is which with `columns=user=who,item=place,rating=points,timestamp=timestamp`",
    ),
    # ids
    **{
        f"id {text}": (
            rows(lambda k: f"u{k},i,3") + f"{text},j,3\n",
            {},
            f"line 41: the user id {text!r} is missing; 1 of 41 rows are affected",
        )
        for text in ("NULL", "\\N", "NA", "nan", "None")
    },
    "one id in two forms": (
        head("12,x,3", "12.0,x,4"),
        {},
        "line 2: user '12' rated item 'x' 4, and 3 in line 1",
    ),
    # beginnings
    "Excel": (b"PK\x03\x04\x14\0[Content_Types].xml", {}, "is an Excel file: save it as csv"),
    "HTML": (head("", "<!DOCTYPE html>", "<p>404"), {}, "is a web page, perhaps the error of a"),
    "sep=": (head("sep=;", "1;2;3"), {}, "begins with Excel's line sep=: delete this line"),
    "Git LFS": (head("version https://git-lfs.github.com/spec/v1"), {}, "is a pointer of Git LFS"),
    "JSON array": (head("[", '  {"user": 1}', "]"), {}, "is one JSON array"),
    "MatrixMarket": (
        head("%%MatrixMarket matrix coordinate", "3 3 1"),
        {},
        "as files of Matrix",
    ),
    "KONECT": (head("% sym weighted", "1 2 5"), {}, "begins with a comment, as files of"),
    "Netflix": (head("1:", "1488844,3,2005-09-06"), {}, "has Netflix's blocks"),
    # quotes
    "quotes in a field": (
        head('u1\t5" nails\t3', "u2\tbig nail\t4"),
        {},
        "line 1: a quote is not closed; each line must be one rating: correct the quotes, or say "
        "`quotes=False` if they are part of the text",
    ),
    # values
    "-1 for not rated": (
        head("user_id,anime_id,rating", *(f"{k % 7},{k},{k % 11 or -1}" for k in range(1, 40))),
        {},
        "the rating -1 is far from the others, 1..10; 3 of 39 rows are affected: remove them if "
        "they mean 'not rated'; else say `scale=-1,10`",
    ),
    "play counts": (
        rows(lambda k: f"u{k % 7},i{k},{[1, 2, 3, 50, 100000][k % 5]}"),
        {},
        "ratings up to 100000, half of them 3 or less, look like counts of plays or purchases: "
        "train a model of clicks, as `model=ease`, or write logarithms of them",
    ),
}


def written(folder, content):
    path = folder / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    content, options, fragment = REFUSED[case]
    with pytest.raises(DataError) as caught:
        read_ratings(written(tmp_path, content), **options)
    assert fragment in str(caught.value) and "\n" not in str(caught.value)


# name: (content, options, user ids, timestamps)
READ = {
    "dates": (
        head("user,item,rating,timestamp", "a,x,3,2020-01-01", "b,y,4,1970-01-02 00:00:01.5"),
        {},
        ["a", "b"],
        [1577836800, 86401],
    ),
    "dates with and without zone": (
        head("user,item,rating,timestamp", "a,x,3,1970-01-01T00:01:00Z", "b,y,4,1970-01-01T00:01"),
        {},
        ["a", "b"],
        [60, 60],
    ),
    "Yelp": (
        head("review_id,user_id,business_id,stars", "r1,u1,b1,4", "r2,u2,b1,5"),
        {},
        ["u1", "u2"],
        None,
    ),
    "Book-Crossing": (
        head('"User-ID";"ISBN";"Book-Rating"', '"7";"034545104X";"5"', '"8";"034545104X";"9"'),
        {},
        [7, 8],
        None,
    ),
    "separators at the end": (head("7,2,3,", "7,3,4,", "8,3,5,"), {}, [7, 7, 8], None),
    "two bars": (head("7||2||3", "8||3||4"), {}, [7, 8], None),
    "control character": (head("7\x012\x013", "8\x013\x014"), {}, [7, 8], None),
    "no quotes": (
        head('u1\t5" nails\t3', 'u2\t"big" nail\t4'),
        {"quotes": False},
        ["u1", "u2"],
        None,
    ),
    "counts of clicks": (
        rows(lambda k: f"7,{k},{[1, 2, 3, 50, 100000][k % 5]}", 10),
        {"implicit": True},
        [7] * 10,
        None,
    ),
}


@pytest.mark.parametrize("case", READ)
def test_read(tmp_path, case):
    content, options, users, times = READ[case]
    ratings = read_ratings(written(tmp_path, content), **options)
    assert ratings.user_ids[ratings.users].tolist() == users
    assert times is None or ratings.timestamps.tolist() == times


def test_zeros_that_may_mean_not_rated_are_said(tmp_path):
    path = written(tmp_path, rows(lambda k: f"{k % 7},{k},{[0, 0, 0, 1, 2, 3, 4, 5][k % 8]}"))
    with pytest.warns(DataWarning, match="15 of 40 ratings are 0: if 0 means 'not rated'"):
        read_ratings(path)


def test_urls():
    with pytest.raises(DataError, match="is a URL: download the file"):
        read_ratings("https://example.org/ratings.csv")


FRAME = pd.DataFrame(
    {"user": [7, 8, 7], "item": ["x", "x", "y"], "rating": [3.0, 4.5, 5.0], "when": [10, 20, 30]}
)


def test_one_rule_for_csv_json_parquet_and_frames(tmp_path):
    """The same rows give the same ratings, to the last bit of the fingerprint."""
    columns = "user=user,item=item,rating=rating,timestamp=when"
    expected = Ratings.from_frame(FRAME, timestamp="when").fingerprint

    FRAME.to_csv(tmp_path / "r.csv", index=False)
    FRAME.to_json(tmp_path / "r.json", orient="records", lines=True)
    FRAME.to_parquet(tmp_path / "r.parquet")
    with pa.output_stream(str(tmp_path / "r.csv.zst"), compression="zstd") as file:
        file.write((tmp_path / "r.csv").read_bytes())
    for name in ("r.csv", "r.json", "r.parquet", "r.csv.zst"):
        assert read_ratings(tmp_path / name, columns).fingerprint == expected, name

    floats = FRAME.astype({"user": float, "item": "category"})
    told = Ratings.from_frame(floats, timestamp="when")
    assert told.fingerprint == expected
    assert told.origin.endswith("user ids are floats, read as whole numbers")
    assert (
        Ratings.from_frame(FRAME.astype({"user": "Int64"}), timestamp="when").fingerprint
        == expected
    )
    assert Ratings.from_frame(pa.Table.from_pandas(FRAME), timestamp="when").fingerprint == expected


def test_polars(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(FRAME.to_dict("list"))
    expected = Ratings.from_frame(FRAME, timestamp="when").fingerprint
    assert Ratings.from_frame(frame, timestamp="when").fingerprint == expected


@pytest.mark.parametrize(
    "frame, options, message",
    [
        (
            FRAME[["user", "item"]],
            {},
            "must have one column of this name, but has user, item; rating=None if each",
        ),
        (FRAME.set_index(["user", "item"]), {}, r"give df.reset_index\(\), as it is in the index"),
        (pd.concat({"a": FRAME}, axis=1), {}, "one column of this name, but has .'a', 'user'."),
        (FRAME.assign(rating=True), {}, "the rating True is not a number; all 3 rows"),
        (FRAME.assign(user=[7, None, 7]), {}, "row 1: the user id None must be a text or"),
        (FRAME.assign(user=pd.array([7, None, 7], "Int64")), {}, "the user id None is missing"),
        (FRAME.assign(user=["a", "NULL", None]), {}, "row 1: the user id 'NULL' is missing; 2 of"),
        (FRAME.assign(user=[2.0**53, 8, 7]), {}, "must be a text or a whole number; 1 of 3"),
        (FRAME.assign(user=[True, False, True]), {}, "the user id True must be .* all 3 rows"),
        (FRAME.assign(user=[7.5, 8, 7]), {}, "the user id 7.5 must be a text or a whole number"),
    ],
)
def test_frames_that_are_refused(frame, options, message):
    with pytest.raises(DataError, match=message):
        Ratings.from_frame(frame, **options)


def test_clicks_of_a_frame():
    clicks = Ratings.from_frame(FRAME[["user", "item"]], rating=None)
    assert clicks.values.tolist() == [1, 1, 1]


def test_dates_of_parquet_and_a_damaged_file(tmp_path):
    path = tmp_path / "r.parquet"
    frame = FRAME.assign(timestamp=pd.to_datetime(FRAME.when, unit="s", utc=True))
    parquet.write_table(pa.Table.from_pandas(frame), path)
    assert read_ratings(path).timestamps.tolist() == [10, 20, 30]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="is a damaged Parquet file"):
        read_ratings(path)


def test_the_command_knows_files_without_quotes(in_process, tmp_path):
    path = written(tmp_path, rows(lambda k: f'u{k % 7},"i{k},{1 + k % 5}'))
    arguments = ("--model", "mean", "--ratings", str(path), "--out", str(tmp_path / "out"))
    assert_user_error(in_process("run", *arguments), "or say --no-quotes if they are part of")
    assert in_process("run", *arguments, "--no-quotes").returncode == 0


def test_a_csv_needs_no_pandas(tmp_path):
    """Reading by Arrow alone saves the half second that importing pandas takes."""
    path = written(tmp_path, rows(lambda k: f"{k % 7},{k},{1 + k % 5},{k}"))
    code = (
        "import sys; from d2l_autorec.data.readers import read_ratings; "
        f"assert 'pyarrow' not in sys.modules; read_ratings({str(path)!r}); "
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_many_rows_keep_their_order(tmp_path):
    """More than a block of lines: values and ids stay beside each other."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(900 * 900)[:400_000]
    values = rng.integers(1, 11, len(pairs)) / 2
    lines = (f"u{p // 900},i{p % 900},{v}" for p, v in zip(pairs.tolist(), values.tolist()))
    ratings = read_ratings(written(tmp_path, head(*lines)))
    assert ratings.values.tolist() == values.tolist()
    assert (ratings.user_ids[ratings.users] == [f"u{p // 900}" for p in pairs.tolist()]).all()

"""Classes of files and frames that are easily misread: each is refused, or read and said."""

import re
import shlex
import subprocess
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import assert_user_error, python, succeeded, written
from pyarrow import parquet

from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.sources import read_ratings, read_train_and_test
from d2l_autorec.support.errors import ConfigError, DataError, DataWarning


def rows(line, count=40):
    return "".join(line(k) + "\n" for k in range(count))


def head(names, *values):
    return "\n".join([names, *values]) + "\n"


NUMBERS = rows(lambda k: f"{k % 7},{k},{1 + k % 5}")
TEXTS = rows(lambda k: f"u{k % 7},i{k},{1 + k % 5}")
WRONG = "so the column or the format is wrong: "
CLICKS = (
    "` and `model=ease` (for report: `task=ranking`) if each row is a click, else add rating=COLUMN"
)
SAY = "say which is which with `columns="
# name: (content, what the error holds)
REFUSED = {
    # roles by position
    "wide matrix": (
        head("user_id,1,2,3", "7,3,,5", "8,1,2,"),
        f"no column for item among 'user_id', '1', '2', '3'; {SAY}user=user_id,item=1{CLICKS}; or "
        "is it a matrix or lists, a row a user? Then melt it to lines user,item,rating",
    ),
    "Jester": (rows(lambda k: "99,-1.5,7.2,99,3.1,0.2", 9), "6 columns without names"),
    "saved index": (
        rows(lambda k: f"{k},{k % 7},{k % 5},{1 + k % 5}"),
        "column 0 counts the rows (0, 1, ...), as a saved index does: say "
        "`columns=user=1,item=2,rating=3`; or `columns=user=0,item=1,rating=2` if these are users",
    ),
    "saved index of clicks": (
        rows(lambda k: f"{k},{k % 7},{k % 5}"),
        f"as a saved index does: say `columns=user=1,item=2{CLICKS}; or `columns=user=0,item=1,",
    ),
    "names of a frame without any": (
        head("0,1,2") + TEXTS,
        "line 1: 0, 1, ... may be the names of the columns, as a frame without any saves them: "
        "delete the line; or say `columns=user=0,item=1,rating=2` if it is a row",
    ),
    "users of Amazon for items": (
        rows(lambda k: f"B0000{k % 7:05},A{k % 5:013},{1 + k % 5}.0,13658112{k % 9}0"),
        "column 1 would be the item, and looks like users of Amazon: say "
        "`columns=item=0,user=1,rating=2,timestamp=3`; or",
    ),
    "times for users": (
        rows(lambda k: f"8812500{k:02},{k % 7},{k % 5},{1 + k % 5}"),
        f"column 0 would be the user, and looks like times; {SAY}user=1,item=2,rating=3",
    ),
    "an empty column before the items": (
        rows(lambda k: f"u{k % 7}\t\tArtist {k % 5}\t{k % 9 + 1}"),
        "item id '' is missing; all 40 rows",
    ),
    "dates for items": (
        rows(lambda k: f"{k % 7}\t2010-10-19T23:55:{k:02}Z\t30.5\t{k % 5}"),
        f"column 1 would be the item, and holds dates; {SAY}user=0,",
    ),
    # all rows fail
    "words": (
        head("user,item,rating", "a,x,like", "b,y,dislike"),
        f"line 2: the rating 'like' is not a number; all 2 rows are affected, {WRONG}write them "
        f"as 4.5, or remove them; else name another column, as with `columns=user=user,item=item"
        f"{CLICKS}",
    ),
    "dates of another form": (
        head("user,item,rating,timestamp", "a,x,3,01/02/2020", "b,y,4,02/02/2020"),
        f"{WRONG}write them as 1580472000, or as 2020-01-31 12:00:00, or remove them; else leave "
        "it out: say `columns=user=user,item=item,rating=rating`",
    ),
    # the columns to paste
    "one of many numbers": (
        head(
            "brewery_id,review_time,review_overall,palate,review_profilename,beer_style,beer_beerid",
            *(f"{k % 3},14000000{k % 9},{k % 5 + 1},2,u{k % 4},Ale,{k % 6}" for k in range(30)),
        ),
        f"{SAY}user=review_profilename,item=beer_beerid,rating=review_overall`",
    ),
    "dates and ids are no ratings": (
        head(
            "t_dat,customer_id,article_id,sales_channel_id,price",
            *(f"2018-09-20,00{k % 3},06637{k % 5},{k % 2},0.0{k % 7}" for k in range(20)),
        ),
        f"'price'; {SAY}user=customer_id,item=article_id{CLICKS}",
    ),
    "degrees are no ids": (
        rows(lambda k: f"{k % 7}\t2010-10-19T23:55:{k:02}Z\t30.23{k % 2}5\t-97.795\t{k % 5}"),
        f"5 columns without names; {SAY}user=0,item=4{CLICKS}",
    ),
    "degrees are no ratings": (
        head(
            "user,time,latitude,longitude,location_id",
            *(
                f"{k % 7},2010-10-19T23:55:{k:02}Z,30.2{k % 5},-97.7{k % 5},{k % 5}"
                for k in range(20)
            ),
        ),
        f"{SAY}user=user,item=location_id,timestamp=time{CLICKS}",
    ),
    "sessions": (
        head(
            "session,aid,ts,type", *(f"{k % 7},{k % 5},{1661724000 + k},{k % 3}" for k in range(20))
        ),
        f"{SAY}user=session,item=aid{CLICKS}",
    ),
    "zeros are no ratings": (
        rows(lambda k: f"{k % 7},g{k % 5},play,{k * 40}.5,0"),
        f"5 columns without names; {SAY}user=0,item=1{CLICKS}",
    ),
    "ids with exponents": (
        rows(lambda k: f"9.{k}5,1.{k % 9}000000e+01,2.{k % 3}000000e+00,x,2020"),
        f"5 columns without names; {SAY}user=1,item=2,rating=0`",
    ),
    "a rating stays one": (
        head("user_id,item_id,rating,who", *["NULL,x,3,ann", "NULL,y,4,ann"]),
        "name another column, as with `columns=user=who,item=item_id,rating=rating`",
    ),
    "no other column": (
        rows(lambda k: f'{{"user": {{"id": {k}}}, "item": 1, "rating": 3}}', 2),
        "the user id {'id': 0} must be a text or a whole number; all 2 rows are affected, so the "
        "column or the format is wrong: convert them to text",
    ),
    "one column of three": (
        '{"a": 1}\n',
        "no column for user among 'a'; each row must hold user, item, rating",
    ),
    "dates are no ratings": (
        head(
            "Kunde;Artikel;Bewertung;Datum",
            *(f"7;{k % 6};{k % 5};30.07.20 18:45" for k in range(9)),
        ),
        f"{SAY}user=Kunde,item=Artikel,rating=Bewertung`",
    ),
    "hours are no ratings": (
        head("customer_id,product_id,hour", *(f"7,{k},{k}" for k in range(9))),
        f"{SAY}user=customer_id,item=product_id{CLICKS}",
    ),
    "True and False are ratings": (
        head("user_id,item_id,liked", "7,1,True", "7,2,False"),
        f"{SAY}user=user_id,item=item_id,rating=liked`",
    ),
    "decimal commas behind a saved index": (
        head(";user;item;rating", *(f"{k};7;{k};4,5" for k in range(9))),
        f"write them as 4.5, or remove them; else name another column, as with `columns=user=user,"
        f"item=item{CLICKS}",
    ),
    "a time is no user": (
        rows(lambda k: f'{{"user": {{"id": {k}}}, "item": 1, "rating": 3, "timestamp": {k}}}', 2),
        f"all 2 rows are affected, {WRONG}convert them to text",
    ),
    "two users": (
        head("client,user_id,item_id,rating", "app,7,1,3", "web,8,1,4"),
        f"'client' and 'user_id' may each be the user; {SAY}user=user_id,item=item_id,rating=rat",
    ),
    "invoices are no items": (
        head(
            "InvoiceNo,StockCode,CustomerID,Country",
            *("536365,71A,7,UK", "536365,72,7,UK", "536366,71A,8,UK"),
        ),
        f"no column for item among 'InvoiceNo', 'StockCode', 'CustomerID', 'Country'; {SAY}user="
        f"CustomerID,item=StockCode{CLICKS}",
    ),
    "a matrix of films": (
        head("user,Inception,Titanic,Avatar", "7,3,,5", "8,1,2,"),
        "or is it a matrix or lists, a row a user?",
    ),
    "R's row names": (
        '"user" "item" "rating"\n' + "".join(f'"{k}" {k % 3} {k} 4\n' for k in range(1, 9)),
        "line 2: 4 fields where the first line has 3; 8 of 8 rows are affected: the first has no "
        "name: leave it out, as write.csv(row.names=FALSE) of R does",
    ),
    "times for items": (
        rows(lambda k: f"{k % 7},8812500{k:02},i{k % 9},{1 + k % 5}"),
        f"looks like times; {SAY}user=0,item=2,rating=3,timestamp=1`",
    ),
    "films of another language": (
        head("film;utilisateur;genre;note", *(f"f{k % 9};u{k % 7};x;{k % 5}" for k in range(40))),
        f"{SAY}user=utilisateur,item=film,rating=note`",
    ),
    "lists": (rows(lambda k: f'["u{k % 7}", "i{k}", 5]'), "has a list in each line: write its fie"),
    "blanks before quotes": (
        head('"user", "item", "rating"', '"1", "2", 3'),
        """has blanks before quotes: remove them: sed 's/, "/,"/g'""",
    ),
    # ids
    **{
        f"missing as {text!r}": (
            TEXTS + f"{text},j,3\n",
            f"line 41: the user id {text!r} is missing; 1 of 41 rows",
        )
        for text in ("", "NULL", "NA", "<NA>", "nan", "NaN", "None", "\\N")
    },
    "one id in two forms": (
        head("12,x,3", "12.0,x,4"),
        "line 2: user '12' rated item 'x' 4, and 3 in line 1",
    ),
    # beginnings
    "Excel": (b"PK\x03\x04\x14\0[Content_Types].xml", "is an Excel file: save it as csv"),
    "HTML": (head("", "<!DOCTYPE html>", "<p>404"), "is a web page, perhaps of a failed"),
    "sep=": (head("sep=;", "1;2;3"), "begins with Excel's line sep=: delete this line"),
    "Git LFS": (head("version https://git-lfs.github.com/spec/v1"), "is a pointer of Git LFS"),
    "JSON array": (head("[", '  {"user": 1}', "]"), "is one JSON array"),
    "JSON columns": (
        pd.DataFrame({"user": range(90), "item": 1, "rating": 3}).to_json(),
        'is one JSON object, not one a line: write df.to_json(orient="records", lines=True)',
    ),
    "JSON with commas": (
        head('{"user": 1, "item": 2, "rating": 3},', '{"user": 1, "item": 3, "rating": 3}'),
        "has commas between JSON lines: delete them, as sed 's/,$//' does",
    ),
    "MatrixMarket": (head("%%MatrixMarket matrix coordinate", "3 3 1"), "and MatrixMarket's line"),
    "Python": (head("{u'user': 'ann', u'item': 1}"), "has dicts of Python, not JSON"),
    "tar": (b"a.csv" + bytes(252) + b"ustar\x0000", "is an archive: unpack it, name a"),
    "utf-16": (NUMBERS.encode("utf-16"), "is not text in UTF-8"),
    # no row is swallowed or cut
    "quotes of a name": (
        head('u1\t"big" nail\t3', "u2\tx\t4"),
        "line 1: a quoted field does not end in its line: say `quotes=False` if quotes are part of "
        "the text, else correct its quotes",
    ),
    "stray quote": (
        TEXTS + '"u9,i99,3\n' + TEXTS.replace("i", "j"),
        "line 41: a quoted field does not end in its line",
    ),
    "field too many with :: later": (
        "1::2::3::4\n1::3::3::4\n1::9::x::3::4\n",
        "line 3: 5 fields where the first line has 4; 1 of 3 rows are affected: quote fields",
    ),
    # a header is never data, data never a header, and two candidates are asked about
    "names with blanks to paste": (
        "the user,the item,c\n1,2,3\n",
        "`columns='user=the user,item=the item,rating=c'`",
    ),
    "bad first rating, unasked": (
        "1,10,bad\n2,20,3\n3,30,4\n",
        "line 1: the rating 'bad' is not a number; 1 of 3 rows are affected",
    ),
    "two ratings": (
        "user,item,rating,score\n1,2,3,4\n",
        f"'rating' and 'score' may each be the rating; {SAY}user=user,item=item,rating=rating`",
    ),
    # ids keep their meaning
    "line separator": ("a\u2028b,x,3\nc,x,4\n", "line 1: the user id 'a\\u2028b' has a"),
    "long id": (TEXTS + "a" * 501 + ",x,3\n", "' has a control character, or more than 500 char"),
    "only blanks": ('a,x,3\n"  ",x,3\n', "line 2: the user id '  ' is missing"),
    "rounded by a spreadsheet": (
        head("user,item,rating", "1.23457E+14,x,3", "7,x,4"),
        "line 2: the user id '1.23457E+14' may be rounded, as by a spreadsheet; 1 of 2 rows are "
        "affected: export it anew, as text or without exponents",
    ),
    # values are plausible
    "two signs": ("1,10,4\n2,20,+-3\n", "line 2: the rating '+-3' is not a number"),
    "1e30": (NUMBERS + "9,9,1e30\n", "line 41: the rating 1e+30 is outside the scale 1,16777216"),
    "-1 for not rated": (
        head("user_id,anime_id,rating", *(f"{k % 7},{k},{k % 11 or -1}" for k in range(1, 40))),
        "the rating -1 is far from the others, 1..10; 3 of 39 rows are affected: remove them if "
        "they mean 'not rated'; else say `scale=-1,10`",
    ),
    "play counts": (
        rows(lambda k: f"u{k % 7},i{k},{[1, 2, 3, 50, 100000][k % 5]}"),
        "ratings up to 100000, half of them 3 or less, look like counts of plays: "
        "train a model of clicks, as `model=ease` (for report: `task=ranking`), or write log",
    ),
    "fewer play counts": (
        rows(lambda k: f"u{k % 7},i{k},{[1, 2, 3, 50, 900][k % 5]}"),
        "ratings up to 900, half of them 3 or less, look like counts of plays",
    ),
    "times before ratings": (
        "1,2,881250949,3\n1,3,881250950,4\n",
        "look like times or ids: if they are times, say "
        "`columns=user=0,item=1,rating=3,timestamp=2`",
    ),
    "ids for ratings": (
        rows(lambda k: f"1,{k},{k * 7}", 300),
        "300 different whole numbers as ratings look like times or ids",
    ),
    **{
        f"sentinel {code}": (NUMBERS + f"9,9,{code}\n", f"line 41: the rating {code} is far from")
        for code in (-9999, -9, 99, 9999)
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    content, fragment = REFUSED[case]
    with pytest.raises(DataError) as caught:
        read_ratings(written(tmp_path, content))
    error = str(caught.value)
    assert fragment in error and "\n" not in error
    assert "mine.csv" in error or "`columns=" in error


def test_urls():
    with pytest.raises(DataError, match="is a URL: download the file"):
        read_ratings("https://example.org/ratings.csv")


def test_zeros_that_may_mean_not_rated_are_said(tmp_path):
    path = written(tmp_path, rows(lambda k: f"{k % 7},{k},{[0, 0, 0, 1, 2, 3, 4, 5][k % 8]}"))
    with pytest.warns(DataWarning, match="15 of 40 ratings are 0: if 0 means 'not rated'"):
        read_ratings(path)


def test_the_advice_for_blocks_of_netflix_works(tmp_path):
    path = written(tmp_path, head("1:", "7,3,2005-09-06", "8,4,2005-09-07", "2:", "7,5,2005-09-08"))
    with pytest.raises(DataError, match="has Netflix's blocks") as caught:
        read_ratings(path)
    advice = re.search("as (awk .*) does", str(caught.value))[1]
    lines = subprocess.run([*shlex.split(advice), path], capture_output=True, check=True).stdout
    ratings = read_ratings(written(tmp_path, lines)).to_frame()
    assert ratings[["user", "item", "rating"]].values.tolist() == [[7, 1, 3], [8, 1, 4], [7, 2, 5]]


FRAME = pd.DataFrame(
    {"user": [7, 8, 7], "item": ["x", "x", "y"], "rating": [3.0, 4.5, 5.0], "when": [10, 20, 30]}
)


def saved(frame, folder):
    """Files of the frame."""
    frame.to_csv(folder / "r.csv", index=False)
    frame.to_json(folder / "r.json", orient="records", lines=True)
    frame.to_parquet(folder / "r.parquet")
    return [folder / name for name in ("r.csv", "r.json", "r.parquet")]


def test_one_rule_for_csv_json_parquet_and_frames(tmp_path):
    """The same rows give the same ratings, to the last bit of the fingerprint."""
    columns = "user=user,item=item,rating=rating,timestamp=when"
    expected = Ratings.from_frame(FRAME, timestamp="when").fingerprint

    files = [*saved(FRAME, tmp_path), tmp_path / "r.csv.zst"]
    with pa.output_stream(str(tmp_path / "r.csv.zst"), compression="zstd") as file:
        file.write((tmp_path / "r.csv").read_bytes())
    for file in files:
        assert read_ratings(file, columns).fingerprint == expected, file

    floats = FRAME.astype({"user": float, "item": "category"})
    for frame in (floats, FRAME.astype({"user": "Int64"}), pa.Table.from_pandas(FRAME)):
        assert Ratings.from_frame(frame, timestamp="when").fingerprint == expected
    assert Ratings.from_frame(floats).origin.endswith("ids are floats, read as whole numbers")


@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
def test_true_and_false_are_1_and_0(tmp_path):
    frame = FRAME.assign(rating=[True, False, True])
    for file in saved(frame, tmp_path):
        columns = "user=user,item=item,rating=rating"
        assert read_ratings(file, columns).values.tolist() == [1, 0, 1], file

    for likes in (["TRUE", "false", "True"], pd.Categorical([True, False, True]), frame.rating):
        assert Ratings.from_frame(frame.assign(rating=likes)).values.tolist() == [1, 0, 1]


def test_polars(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(FRAME.to_dict("list"))
    expected = Ratings.from_frame(FRAME, timestamp="when").fingerprint
    assert Ratings.from_frame(frame, timestamp="when").fingerprint == expected
    with pytest.raises(DataError, match="df is a LazyFrame: give a frame in memory, of pandas, po"):
        Ratings.from_frame(frame.lazy())


@pytest.mark.parametrize(
    "frame, message",
    [
        (
            FRAME[["user", "item"]],
            "must have one column of this name, but has user, item; rating=None if each",
        ),
        (FRAME.set_index(["user", "item"]), r"give df.reset_index\(\), as it is in the index"),
        (pd.concat({"a": FRAME}, axis=1), "one column of this name, but has .'a', 'user'."),
        (FRAME["user"], "df is a Series: give a frame in memory"),
        ([[1, 2, 3]], "df is a list: give a frame in memory"),
    ],
)
def test_frames_that_are_refused(frame, message):
    with pytest.raises(DataError, match=message):
        Ratings.from_frame(frame)


@pytest.mark.parametrize(
    "name, values, message",
    [
        ("rating", [True, None, False], "row 1: the rating is missing; 1 of 3 rows"),
        ("rating", ["yes", "true", "no"], "row 0: the rating 'yes' is not a number; 2"),
        ("user", [7, None, 7], "row 1: the user id None must be a text or"),
        ("user", pd.array([7, None, 7], "Int64"), "the user id None is missing"),
        ("user", ["a", "NULL", None], "row 1: the user id 'NULL' is missing; 2 of"),
        ("user", [2.0**53, 8, 7], "id 9007199254740992.0 is beyond 2.53, where double"),
        (
            "user",
            np.float32([16777217, 8, 7]),
            r"id 16777216.0 is beyond 2\^24, where float numbers are rounded; 1 of 3 rows are "
            "affected: save them as whole numbers or as text$",
        ),
        ("user", np.float16([2049, 8, 7]), "id 2048.0 is beyond 2.11, where halffloat"),
        ("user", [True, False, True], "the user id True must be .* all 3 rows"),
        ("user", [7.5, 8, 7], "the user id 7.5 must be a text or a whole number"),
        ("user", [b"\xff", b"a", b"b"], "user ids of type binary are no text of UTF-8: conv"),
        ("user", [uuid.UUID(int=k) for k in range(3)], "must be a text or a whole"),
        ("user", pd.interval_range(0, 3), "must be a text or a whole number"),
        ("user", pd.cut([1, 2, 3], 2), "user ids of type .*interval.* are no text of UTF-8"),
        ("rating", pd.cut([1, 2, 3], 2), "the rating {'left': .* is not a number"),
        ("user", [{"id": "x" * 99}] * 3, "the user id \"{'id': 'x{52}\\.\\.\\.\" must be"),
        ("rating", [b"3", b"4", b"5"], "the rating b'3' is not a number"),
        ("rating", np.array([2**63] * 3, np.uint64), "look like times or ids"),
        ("when", [True] * 3, "the timestamp .* is not a number; all 3 rows"),
        ("when", pd.to_timedelta([1, 2, 3]), "the timestamp .* is not a number; all 3 rows"),
    ],
)
def test_columns_that_are_refused(name, values, message):
    with pytest.raises(DataError, match=message):
        Ratings.from_frame(FRAME.assign(**{name: values}), timestamp="when")


@pytest.mark.parametrize(
    "scale", [(5, 1), (3, 3), (1, 2, 3), (-1e8, 1e8), (0, float("nan")), "1;5", "1", 5, "a,b"]
)
def test_scales_that_are_refused(scale):
    message = "^`scale` is .*: it must be the lowest and the highest rating, as in 1,5, from "
    with pytest.raises(ConfigError, match=message):
        Ratings.from_frame(FRAME, scale=scale)


@pytest.mark.parametrize("scale", [(1, 5), [1, 5.0], "1,5", np.array([1, 5])])
def test_forms_of_a_scale(scale):
    assert Ratings.from_frame(FRAME, scale=scale).scale == (1.0, 5.0)


def test_categories_without_a_row_are_no_ids():
    frame = FRAME.assign(user=pd.Categorical([8, 8, 8], categories=[7, 8, 9]))
    assert Ratings.from_frame(frame[1:]).user_ids.tolist() == [8]


def test_clicks_of_a_frame():
    clicks = Ratings.from_frame(FRAME[["user", "item"]], rating=None)
    assert clicks.values.tolist() == [1, 1, 1]


def test_dates_of_parquet_and_a_damaged_file(tmp_path):
    path = tmp_path / "r.parquet"
    frame = FRAME.assign(timestamp=pd.to_datetime(FRAME.when, unit="s", utc=True))
    parquet.write_table(pa.Table.from_pandas(frame), path)
    assert read_ratings(path).timestamps.tolist() == [10, 20, 30]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_ratings(path)


def test_the_command_knows_files_without_quotes(in_process, tmp_path):
    path = written(tmp_path, rows(lambda k: f'u{k % 7},"i{k},{1 + k % 5}'))
    arguments = ("--model", "mean", "--ratings", str(path), "--out", str(tmp_path / "out"))
    assert_user_error(in_process("run", *arguments), "say --no-quotes if quotes are part of")
    assert in_process("run", *arguments, "--no-quotes").returncode == 0


def test_a_csv_needs_no_pandas(tmp_path):
    """Reading by Arrow alone saves the half second that importing pandas takes."""
    path = written(tmp_path, rows(lambda k: f"{k % 7},{k},{1 + k % 5},{k}"))
    code = (
        "import sys; from d2l_autorec.data.sources import read_ratings; "
        f"assert 'pyarrow' not in sys.modules; read_ratings({str(path)!r}); "
        "assert 'pandas' not in sys.modules"
    )
    succeeded(python("-c", code))


def test_many_rows_keep_their_order(tmp_path):
    """More than a block of lines: values and ids stay beside each other."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(900 * 900)[:400_000]
    values = rng.integers(1, 11, len(pairs)) / 2
    lines = (f"u{p // 900},i{p % 900},{v}" for p, v in zip(pairs.tolist(), values.tolist()))
    ratings = read_ratings(written(tmp_path, head(*lines)))
    assert ratings.values.tolist() == values.tolist()
    assert (ratings.user_ids[ratings.users] == [f"u{p // 900}" for p in pairs.tolist()]).all()


def test_dates_beyond_those_of_pandas_and_few_days(tmp_path):
    """9999-12-31 often means never; a column of few days may be categorical."""
    text = "user,item,rating,timestamp\n" + rows(lambda k: f"{k % 7},{k},3,2020-01-0{1 + k % 9}")
    ratings = read_ratings(written(tmp_path, text + "9,9,3,9999-12-31\n9,8,3,1600-01-01\n"))
    assert ratings.timestamps.max() == 253_402_214_400  # by GNU date
    assert ratings.timestamps.min() == -11_676_096_000

    days = pd.Categorical(["2020-01-01", "2020-01-02"] * 1000)
    frame = pd.DataFrame({"user": range(2000), "item": 1, "rating": 3, "when": days})
    ratings = Ratings.from_frame(frame, timestamp="when")
    assert sorted(set(ratings.timestamps.tolist())) == [1_577_836_800, 1_577_923_200]


def test_a_train_and_a_test_file_of_other_types(tmp_path):
    """Large ids that are floats in one file are those of the other, or refused."""
    ids = [10.0**15 + 5, 10.0**15 + 6, 7.0]
    frame = pd.DataFrame({"user": ids, "item": [1, 2, 3], "rating": [3, 4, 5]})
    frame.to_parquet(tmp_path / "train.parquet")
    frame.assign(item=[3, 1, 2]).to_parquet(tmp_path / "test.parquet")
    train, test = read_train_and_test(tmp_path / "train.parquet", tmp_path / "test.parquet")
    assert set(train.user_ids[test.users]) == set(map(int, ids)) == set(train.user_ids)

    nested = '{"user": {"id": 1}, "item": 1, "rating": 3}\n'
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text(nested)
    with pytest.raises(DataError, match="user id .* must be a text or a whole number"):
        read_train_and_test(tmp_path / "train.jsonl", tmp_path / "test.jsonl")
    with pytest.raises(DataError, match="differ: the user is .* in the one and struct"):
        read_train_and_test(tmp_path / "train.parquet", tmp_path / "test.jsonl")


def test_a_column_that_may_say_which_rows_are_clicks_is_not_left_out_in_silence(tmp_path):
    path = written(tmp_path, head("user_id,item_id,target", "7,1,0", "7,2,1"))
    with pytest.warns(DataWarning) as caught:
        assert read_ratings(path, implicit=True).values.tolist() == [1, 1]
    say = "user=user_id,item=item_id,rating=target"
    [warning] = caught
    assert str(warning.message).endswith(
        f": each row is a click; if column 'target' says which rows are, say `columns={say}`"
    )
    assert read_ratings(path, say, implicit=True).values.tolist() == [0, 1]


def test_decimal_ids_are_exact(tmp_path):
    ids = pa.array([10**20, 7], pa.decimal128(38, 0))
    parquet.write_table(pa.table({"user": ids, "item": [1, 2], "rating": [3, 4]}), tmp_path / "r")
    ratings = read_ratings(tmp_path / "r")
    assert ratings.user_ids[ratings.users].tolist() == [str(10**20), "7"]

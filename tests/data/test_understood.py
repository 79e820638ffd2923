"""Input is understood or refused: what a hostile file gives, and what is said of a good one."""

import bz2
import csv
import io
import os
import unicodedata

import numpy as np
import pandas as pd
import pytest
from helpers import assert_user_error, ids_of, written
from hypothesis import example, given, settings
from hypothesis import strategies as st

from d2l_autorec.data.ids import IdMap
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.sources import read_ratings
from d2l_autorec.support.errors import DataError
from d2l_autorec.support.files import read_json

# name: (content, what the line of what was recognised holds, user ids of the rows[, options])
UNDERSTOOD = {
    "named columns": (
        "customer,product,stars\nann,x,3\nbob,y,4\n",
        "mine.csv: separated by ',', header; user = customer (column 0), item = "
        "product (column 1), rating = stars (column 2), no timestamps; 2 ratings of "
        "2 users x 2 items, scale 3..4 (as found), no duplicates",
        ["ann", "bob"],
        {"columns": "user=customer,item=product,rating=stars"},
    ),
    "Yelp": (
        "review_id,user_id,business_id,stars\nr1,u1,b1,4\nr2,u2,b1,5\n",
        "item = business_id",
        ["u1", "u2"],
    ),
    "Tenrec": (
        "user_id,item_id,click,follow,like,share\n7,2,1,0,0,0\n8,3,0,0,0,0\n",
        "rating = click (column 2), no timestamps; 2 ratings of 2 users x 2 items, scale 0..1",
        [7, 8],
        {"implicit": True},
    ),
    "Book-Crossing": (
        '"User-ID";"ISBN";"Book-Rating"\n"7";"034545104X";"5"\n"8";"034545104X";"9"\n',
        "separated by ';', header",
        [7, 8],
    ),
    "RecBole": ("user_id:token\titem_id:token\trating:float\n7\t2\t3\n8\t2\t4\n", "", [7, 8]),
    "found again below": ("a,x\na,y\nb,x\n", "no header", ["a", "a", "b"], {"implicit": True}),
    "separators at the end": ("7,2,3,\n7,3,4,\n8,3,5,\n", "no timestamps", [7, 7, 8]),
    "two bars": ("7||2||3\n8||3||4\n", "separated by '||'", [7, 8]),
    "empty field": ("7|1||3\n8|2||3\n", "2 items", [7, 8], {"columns": "user=0,item=1,rating=3"}),
    "control character": ("7\x012\x013\n8\x013\x014\n", "", [7, 8]),
    "plural": ("users,items,rating\n7,1,3\n8,1,4\n", "user = users (column 0)", [7, 8]),
    "quotes as MySQL escapes them": (
        '"user";"item";"rating"\n"\\"a\\" b";"x";"5"\n"c";"x";"9"\n',
        "header",
        ['"a" b', "c"],
    ),
    "quoted #": ('1,10,4\n"#x",20,3\n', "no header", ["1", "#x"]),
    "no quotes": ('u1\t5" nails\t3\nu2\t"big" nail\t4\n', "", ["u1", "u2"], {"quotes": False}),
    "inches": ('5" nail\tx\t3\n"6"" nail"\tx\t4\n', "", ['5" nail', '6" nail']),
    "constant": ("1,2,4\n1,3,4\n", "scale 4..4 (as found, all ratings equal)", [1, 1]),
    "given scale": ("0,0,1\n9,9,99\n", "scale 1..99 (as given)", [0, 9], {"scale": (1, 99)}),
    "zeros are a scale": ("7,1,0\n7,2,1\n7,3,2\n", "scale 0..2 (as found)", [7] * 3),
    "counts of clicks": ("7,1,1\n7,2,2\n7,3,90000\n", "1..90000", [7] * 3, {"implicit": True}),
    "beyond int64": ("9223372036854775808,x,3\n1,x,4\n", "", ["9223372036854775808", "1"]),
    "blanks around ids": ('7 ,x,3\n 7,y,4\n" 7\t",z,5\n', "of 1 users", [7, 7, 7]),
    "blanks that are not seen": ("\u00a0ann\u200b,x,3\nann,y,4\n", "of 1 users", ["ann"] * 2),
    "digits of other scripts": ("\u0663,x,3\n3,x,4\n", "of 2 users", ["\u0663", "3"]),
    "forms of Unicode": ("\u00e9,x,3\ne\u0301,y,4\n", "of 1 users", ["\u00e9", "\u00e9"]),
    "1.0 and 1_0": ("1.0,x,3\n1_0,x,4\n1,y,4\n", "as '1.0', read as '1'", ["1", "1_0", "1"]),
    "with exponents": (
        "1e3,x,3\n1.9000000e+01,x,4\n1.23E-4,x,4\n",
        "",
        ["1e3", "1.9000000e+01", "1.23E-4"],
    ),
    "1.0 in JSON": ('{"user": 1.0, "item": 1, "rating": 3}\n', "JSON lines; user = user", [1]),
    "a first item whose name is a word": ("ann,book,4\nbob,game,5\n", "no header", ["ann", "bob"]),
    "names with a comma": ("u0;Doe, Ann\nu0;Doe, Bob\n", "by ';'", ["u0"] * 2, {"implicit": True}),
    "separators at the end of rows": ("user,item,rating\n7,1,3,\n8,1,4,\n", "header", [7, 8]),
    "a primary key": ("PK,user,item,rating\n5,7,1,3\n6,8,1,4\n", "header", [7, 8]),
    "a commented header": ("#user,item,rating\n7,1,3\n8,1,4\n", "header", [7, 8]),
    "bzip2": (bz2.compress(b"7,2,3\n8,3,5\n"), "2 ratings", [7, 8]),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_understood_and_said(tmp_path, case):
    content, fragment, users, *options = UNDERSTOOD[case]
    ratings = read_ratings(written(tmp_path, content), **dict(*options))
    assert fragment in ratings.origin
    assert ratings.user_ids[ratings.users].tolist() == users


@pytest.mark.parametrize(
    "times, seconds",
    [
        (["2020-01-01", "1970-01-02 00:00:01.5"], [1577836800, 86401.5]),
        (["1970-01-01 00:00:00.000001", "1969-12-31 23:59:59.25"], [1e-6, -0.75]),
        (["1577836800.25", "1577836800.75"], [1577836800.25, 1577836800.75]),
        (["1577836800.0", "9007199254740991"], [1577836800, 2**53 - 1]),
        (["1970-01-01T00:01:00Z", "1970-01-01T00:01"], [60, 60]),
    ],
)
def test_dates(tmp_path, times, seconds):
    lines = ["user,item,rating,timestamp", *(f"{k},x,3,{time}" for k, time in enumerate(times))]
    path = written(tmp_path, "\n".join(lines))
    ratings = read_ratings(path)
    assert ratings.timestamps.tolist() == seconds
    whole = all(isinstance(time, int) for time in seconds)
    assert ratings.timestamps.dtype == (np.int64 if whole else np.float64)
    ratings.save(tmp_path / "r.npz")
    assert Ratings.load(tmp_path / "r.npz").fingerprint == ratings.fingerprint


NASTY = st.text(st.sampled_from("ab7 ,;\"'|:#\té\u0301{}\\-"), min_size=1, max_size=6)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(NASTY, NASTY), min_size=1, max_size=12, unique=True),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([",", ";", "\t", "|"]),
)
@example([("a", '"x'), ('"x', "a")], csv.QUOTE_MINIMAL, "\n", ",")
def test_what_csv_writes_is_read_back_or_refused(tmp_path_factory, pairs, quoting, end, separator):
    """Rows as Python's csv module has them: each is there, in order, or the file is refused."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=end, delimiter=separator)
    writer.writerow(["user", "item", "rating"])
    writer.writerows([(*pair, 1 + k % 5) for k, pair in enumerate(pairs)])
    path = written(tmp_path_factory.mktemp("csv"), text.getvalue())
    plain = [[unicodedata.normalize("NFC", id_).strip(" \t") for id_ in pair] for pair in pairs]
    stripped = list(map(tuple, plain))
    try:
        ratings = read_ratings(path, separator=separator, duplicates="error")
    except DataError as error:
        inside = any("\t" in id_ for pair in stripped for id_ in pair)
        comment = any(line.startswith("#") for line in text.getvalue().split("\n"))
        blank, alike = "" in sum(stripped, ()), len(set(stripped)) < len(pairs)
        assert blank or alike or inside or comment, error
        return
    found = zip(*ids_of(ratings), ratings.values)
    assert [(str(user), str(item), value) for user, item, value in found] == [
        (*pair, 1 + k % 5) for k, pair in enumerate(stripped)
    ]


@settings(max_examples=150)
@given(st.text(st.sampled_from('ab1,,"\n\n '), max_size=60))
def test_any_text_gives_a_row_a_line_or_an_error(tmp_path_factory, text):
    path = written(tmp_path_factory.mktemp("any"), "user,item,rating\n9,9,5\n" + text)
    try:
        ratings = read_ratings(path, separator=",", duplicates="error", scale=(0, 99))
    except DataError as error:
        assert "\n" not in str(error)
        return
    except Warning:
        return
    assert len(ratings) == 1 + sum(bool(line.strip()) for line in text.split("\n"))


def test_saved_ids_come_back(tmp_path):
    names = ["a", "a ", "\u00e9", "1_0", "1.5", '"', "a" * 500]
    frame = pd.DataFrame({"user": names[:1] + names[2:], "item": 7, "rating": 3})
    ratings = Ratings.from_frame(frame)
    ratings.save(tmp_path / "r.npz")
    loaded = Ratings.load(tmp_path / "r.npz")
    assert loaded.user_ids.tolist() == ratings.user_ids.tolist()
    assert loaded.origin == "" and loaded.fingerprint == ratings.fingerprint
    assert ratings.part(ratings.values > 0).origin == ratings.origin != ""


def test_ids_of_a_frame_keep_their_value():
    large = np.array([2**63, 1], dtype=np.uint64)
    ratings = Ratings.from_frame(pd.DataFrame({"user": large, "item": 7, "rating": 3}))
    assert ratings.user_ids[ratings.users].tolist() == [str(2**63), "1"]
    mixed = Ratings.from_frame(pd.DataFrame({"user": [7, "7", 8], "item": [1, 2, 3], "rating": 3}))
    assert mixed.user_ids[mixed.users].tolist() == [7, 7, 8]
    assert IdMap(mixed.user_ids, "user").find([7, "7", " 7 ", "07"]).tolist() == [0, 0, 0, -1]


def test_what_is_no_file_is_refused_and_does_not_hang(in_process, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "is no file but a pipe or a device"),
        ("/dev/zero", "is no file but a pipe or a device"),
        ("x" * 5000, "cannot be read (File name too long)"),
        (tmp_path, "cannot be read (Is a directory)"),
    ):
        assert_user_error(in_process("run", "--ratings", path), message)


@pytest.mark.parametrize("model", ["autorec", "mult-dae"])
def test_a_run_says_and_records_what_was_recognised(in_process, tmp_path, model):
    path = written(tmp_path, "".join(f"u{k % 11},i{k % 13},{1 + k % 5}\n" for k in range(143)))
    options = ["--min-user-clicks", "1", "--heldout-users", "1"] if model == "mult-dae" else []
    arguments = ["--model", model, "--ratings", str(path), *"--epochs 1 --hidden 4".split()]
    process = in_process("run", *arguments, *options, "--out", "a")
    said = (
        "mine.csv: separated by ',', no header; user = column 0 (as u0), item = column 1 (as "
        "i0), rating = column 2 (as 1), no timestamps; 143 ratings of 11 users x 13 items, scale "
        "1..5 (as found), no duplicates"
    )
    if model == "mult-dae":
        said += "; 143 rows made 56 clicks: ratings of 4 or more"
    assert process.returncode == 0 and process.stderr.count(said + "\n") == 1, process.stderr
    recorded = read_json(tmp_path / "a" / "config.json")["data"]["origin"]
    assert recorded == said
    quiet = in_process("run", *arguments, *options, "--quiet", "--out", "b")
    assert quiet.returncode == 0 and said not in quiet.stderr

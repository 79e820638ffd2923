"""Ratings files: the layouts that are recognised, and every way to get one wrong."""

import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers import assert_user_error, ids_of, written

from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.sources import read_ratings, read_train_and_test
from d2l_autorec.support.errors import DataError, DataWarning

NAMES = ["user", "item", "rating", "timestamp"]
ROWS = [("ann", "x", 4.5, 30), ("bob", "y", 1.0, 20), ("ann", "y", 3.0, 10)]
REVERSED = [row[::-1] for row in ROWS]


def triples(ratings):
    return list(zip(*ids_of(ratings), ratings.values.tolist()))


def text_of(separator, header=None, rows=ROWS):
    lines = [separator.join(header)] if header else []
    return "\n".join(lines + [separator.join(map(str, row)) for row in rows]) + "\n"


LAYOUTS = {
    "csv with header": (text_of(",", ["userId", "movieId", "rating", "timestamp"]), {}),
    "tsv": (text_of("\t"), {}),
    "dat": (text_of("::"), {}),
    "blanks": (text_of("  "), {}),
    "blank lines": (text_of(",").replace("\n", "\n\n"), {}),
    "windows line ends": (text_of(",").replace("\n", "\r\n"), {}),
    "byte order mark": ("\ufeff" + text_of(",", NAMES), {}),
    "quoted fields": (text_of(",").replace("ann", '"ann"'), {}),
    "own names": (
        text_of(",", ["who", "what", "stars!", "when"]),
        {"columns": "user=who,item=what,rating=stars!,timestamp=when"},
    ),
    "other order": (text_of(",", NAMES[::-1], REVERSED), {}),
    "numbers": (text_of(",", None, REVERSED), {"columns": "user=3,item=2,rating=1,timestamp=0"}),
    "given separator": (text_of("~"), {"separator": "~"}),
    "further columns": (text_of(",", [*NAMES, "text"], [(*row, "so so") for row in ROWS]), {}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    text, options = LAYOUTS[layout]
    ratings = read_ratings(written(tmp_path, text), **options)
    assert triples(ratings) == [row[:3] for row in ROWS]
    assert ratings.timestamps.tolist() == [30, 20, 10]
    zipped = written(tmp_path, gzip.compress(text.encode()))
    assert read_ratings(zipped, **options).fingerprint == ratings.fingerprint


@pytest.mark.parametrize(
    "ids, kind",
    [
        (["7", "12", "100000000000"], int),
        (["007", "7", "8"], str),
        (["1", "b", "2"], str),
        (["-3", "0", "5"], int),
        (["1.5", "2", "3"], str),
        (["na", "nil", "Nan"], str),
    ],
)
def test_ids_keep_their_form(tmp_path, ids, kind):
    ratings = read_ratings(written(tmp_path, "".join(f"{name},x,3\n" for name in ids)))
    assert ratings.user_ids[ratings.users].tolist() == list(map(kind, ids))


GOOD = "user,item,rating,timestamp\n1,10,4,100\n2,20,3,200\n3,10,5,300\n"
PLAIN = "1,10,4\n2,20,3\n3,10,5\n"
NUMBERED = b"".join(b"%d,%d,4\n" % (k, 7919 * k % 9973) for k in range(30000))
# name: (file content, options, what the one line must hold, ...)
MALFORMED = {
    "empty file": ("", "", "is empty", "each line must hold"),
    "only a header": ("user,item,rating", "", "no line follows the header"),
    "blanks after a header": ("user,item,rating\n\n \n", "", "no line follows the header"),
    "one column": ("1\n2\n3\n", "", "line 1: 1 column (separated by '::'), needed are user,"),
    "unknown header": ("a,b,c\n1,10,4\n", "", "line 1: no column for user", "--columns"),
    "column not in header": (
        PLAIN,
        "--columns user=who,item=1,rating=2",
        "line 1: no column 'who' for user among '1', '10', '4'",
    ),
    "a column twice": (
        "user,item,points,points\n1,2,3,4\n",
        "--columns user=user,item=item,rating=points",
        "'points' and 'points' may each be the rating; say",
        "with --columns user=user,item=item,rating=2",
    ),
    "columns without rating": (PLAIN, "--columns user=0,item=1", "user, item, rating, each once"),
    "rating is a word": (
        PLAIN + "4,2,good\n",
        "",
        "line 4: the rating 'good' is not a number; 1 of",
    ),
    "rating is nan": (PLAIN + "4,20,nan\n", "", "line 4: the rating 'nan' is not a number"),
    "line too long": (GOOD + "4,20,3,400,5\n", "", "line 5: 5 fields where the first line has 4"),
    "timestamp is a word": (GOOD + "4,20,3,noon\n", "", "line 5: the timestamp 'noon'"),
    "duplicate pair": (
        GOOD + "1,10,2,400\n",
        "",
        "line 5: user '1' rated item '10' 2, and 4 in line 2; 1 ratings are repeated, 1 of them",
        "with another value: choose --duplicates last or mean",
    ),
    "outside the scale": (PLAIN, "--scale 1,4", "line 3: the rating 5 is outside the scale 1,4"),
    "scale upside down": (PLAIN, "--scale 5,1", "--scale is 5,1"),
    "latin-1 bytes far down": (
        NUMBERED + b"Jos\xe9,20,3\n",
        "",
        "line 30001: bytes that are not UTF",
    ),
    "gzip truncated far down": (gzip.compress(NUMBERED)[:-2000], "", "is damaged", "get it anew"),
    "no timestamps for time": (PLAIN, "--split time", "has no timestamps, which a split by time"),
    "constant timestamps": ("1,10,4,0\n2,2,3,0\n", "--split time", "has no different timestamps"),
    "more folds than ratings": (PLAIN, "--split k-fold --folds 9", "fold 4 of 9 of the 3 rat"),
    "nothing to train on": (PLAIN, "--test-ratio 0.999999", "leaves 0 to train on and 3 to test"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_input_is_one_line(in_process, tmp_path, case):
    content, options, *fragments = MALFORMED[case]
    path = written(tmp_path, content, "bad.csv")
    given = ["--ratings", str(path), "--out", str(tmp_path / "out"), *options.split()]
    process = in_process("run", *given)
    assert_user_error(process, *fragments)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.csv"]


WRONG = {
    "--ratings none.csv": "none.csv cannot be read (No such file or directory)",
    "--ratings .": ". cannot be read (Is a directory)",
    "--ratings a.csv --test b.csv": "give either --ratings FILE",
    "--train a --test b --split time": "--split time and --train a exclude each other",
    "--ratings a.csv --split u1": "--split u1 and --ratings a.csv exclude each other",
    "--dataset ml-1m --split ua": "--split ua and --dataset ml-1m exclude each other",
    "--split k-fold --fold 6": "--fold is 6: it must be from 1 to --folds 5",
    "--dataset netflix": "no data set 'netflix': choose auto, synthetic, ml-100k",
    "--dataset synthetic:9": "synthetic:USERSxITEMSxRATINGS, as in synthetic:943x1682x100000",
    "--dataset synthetic:9x9x99": "99 generated ratings of 9 users and 9 items",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_combinations(in_process, tmp_path, arguments):
    assert_user_error(in_process("run", *arguments.split()), WRONG[arguments])
    assert list(tmp_path.iterdir()) == []


def test_duplicates_are_merged_and_said(tmp_path):
    path = written(tmp_path, "1,10,4,50\n2,20,3,200\n1,10,2,70\n1,10,1,50\n")
    with pytest.warns(DataWarning, match=r"2 repeated ratings .* \(`duplicates=last`\)"):
        last = read_ratings(path, duplicates="last")
    assert last.origin.endswith("2 repeated ratings merged (last)")
    assert triples(last) == [(2, 20, 3.0), (1, 10, 2.0)] and last.timestamps.tolist() == [200, 70]
    with pytest.warns(DataWarning, match="`duplicates=mean`"):
        mean = read_ratings(path, duplicates="mean")
    assert triples(mean) == [(2, 20, 3.0), (1, 10, np.float32(7 / 3))]
    path.write_text("1,10,4,50\n1,10,2,50\n")
    assert triples(read_ratings(path, duplicates="last")) == [(1, 10, 2.0)]
    untimed = read_ratings(path, "user=0,item=1,rating=2", duplicates="last")
    assert triples(untimed) == [(1, 10, 2.0)]


@pytest.mark.parametrize("low, offset", [(0, 1), (-10, 11), (-0.5, 1.5), (0.5, 0), (1, 0)])
def test_scale_with_zero_or_below_is_shifted_and_said(recwarn, low, offset):
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [low, 5]})
    ratings = Ratings.from_frame(frame)
    assert ratings.offset == offset
    assert ratings.values.tolist() == [low, 5]
    assert sorted(ratings.to_csr().data.tolist()) == [low + offset, 5 + offset]
    said = [str(w.message) for w in recwarn if w.category is DataWarning]
    assert len(said) == (offset > 0)


def test_train_and_test_files(tmp_path):
    (tmp_path / "a").write_text("ann,x,4\nbob,x,3\n")
    (tmp_path / "b").write_text("ann,y,5\neve,x,1\n")
    train, test = read_train_and_test(tmp_path / "a", tmp_path / "b")
    assert triples(train) == [("ann", "x", 4), ("bob", "x", 3)]
    assert triples(test) == [("ann", "y", 5), ("eve", "x", 1)]
    assert train.user_ids is test.user_ids or (train.user_ids == test.user_ids).all()
    (tmp_path / "b").write_text("ann,y,5\nbob,x,1\n")
    with pytest.raises(DataError, match="user 'bob' rated item 'x', and in .*; 1 .* are in both"):
        read_train_and_test(tmp_path / "a", tmp_path / "b")

    (tmp_path / "b").write_text("user,item,rating,time\nann,y,5,7\n")
    with pytest.raises(DataError, match="and the other has none: leave them out, as") as caught:
        read_train_and_test(tmp_path / "a", tmp_path / "b")
    columns = re.search("`columns=(.*)`$", str(caught.value))[1]
    _, test = read_train_and_test(tmp_path / "a", tmp_path / "b", columns=columns)
    assert triples(test) == [("ann", "y", 5)]


TEXTS = {"reviewerName": "J", "helpful": [0, 1], "reviewText": "so, so"}
AMAZON = [
    {"reviewerID": "A1", **TEXTS, "asin": "0005", "overall": 5.0, "unixReviewTime": 1203984000},
    {"reviewerID": "A2", "asin": "0005", "overall": 3, "unixReviewTime": 1203984001},
    {"overall": 1.0, "asin": "B00X", "unixReviewTime": 1203984002, "reviewerID": "A1"},
]


def json_lines(tmp_path, lines):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return written(tmp_path, "\n".join(texts) + "\n", "reviews_5.json")


def test_amazon_json_lines(tmp_path):
    path = json_lines(tmp_path, [AMAZON[0], "", *AMAZON[1:]])
    ratings = read_ratings(path)
    assert triples(ratings) == [("A1", "0005", 5), ("A2", "0005", 3), ("A1", "B00X", 1)]
    assert ratings.timestamps.tolist() == [1203984000, 1203984001, 1203984002]
    zipped = written(tmp_path, gzip.compress(path.read_bytes()))
    assert read_ratings(zipped).fingerprint == ratings.fingerprint


def test_json_lines_with_own_keys_and_without_ratings(tmp_path):
    path = json_lines(tmp_path, [{"who": 7, "what": "x"}, {"who": 8, "what": "x"}])
    with pytest.raises(DataError, match="line 1: no column for user among 'who', 'what'; say"):
        read_ratings(path)
    ratings = read_ratings(path, "user=who,item=what", implicit=True)
    assert triples(ratings) == [(7, "x", 1), (8, "x", 1)]


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"reviewerID": "A3", "asin": ', "line 3: JSON parse error: Invalid value.; fix or re"),
        ("[1, 2]", "line 3: JSON parse error: .* changed from object to array"),
        ({"reviewerID": "A3", "asin": "0005"}, "line 3: the rating is missing; 1 of 2 rows"),
        ({**AMAZON[0], "overall": "good"}, "line 3: JSON parse error: .*overall. changed from num"),
        ({**AMAZON[0], "asin": None}, "line 3: the item id None is missing"),
    ],
)
def test_malformed_json_line(tmp_path, line, message):
    path = json_lines(tmp_path, [AMAZON[1], "", line])
    with pytest.raises(DataError, match=f"reviews_5.json, {message}") as caught:
        read_ratings(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, options",
    [
        ("user,item\nann,x\nbob,y\n", {}),
        ("ann,x\nbob,y\n", {"columns": "user=0,item=1"}),
        ("ann\tx\nbob\ty\n", {"columns": "user=0,item=1"}),
        ("userId,movieId,timestamp\nann,x,3\nbob,y,4\n", {}),
        ("item,user\nx,ann\ny,bob\n", {}),
        ("x,ann\ny,bob\n", {"columns": "user=1,item=0"}),
        ("a,b\nann,x\nbob,y\n", {"columns": "user=a,item=b"}),
    ],
)
def test_implicit_layouts(tmp_path, text, options):
    path = written(tmp_path, text)
    clicks = read_ratings(path, implicit=True, **options)
    assert triples(clicks) == [("ann", "x", 1), ("bob", "y", 1)]
    with pytest.raises(DataError, match="rating"):
        read_ratings(path, **options)

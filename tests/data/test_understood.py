"""Input is understood or refused: what a hostile file gives, and what is said of a good one."""

import bz2
import csv
import io
import json
import os
import unicodedata

import numpy as np
import pandas as pd
import pytest
from helpers import assert_user_error
from hypothesis import example, given, settings
from hypothesis import strategies as st

from d2l_autorec.data.ids import IdMap
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.data.readers import read_ratings
from d2l_autorec.support.errors import DataError

NUMBERS = "".join(f"{k % 7},{k},{1 + k % 5}\n" for k in range(40))
TEXTS = "".join(f"u{k % 7},i{k},{1 + k % 5}\n" for k in range(40))
MANY = "".join(f"u{k},i{k},{1 + k % 5}\n" for k in range(90_000))  # more than one block
CLICKS = {"implicit": True}
BY_NUMBER = {"columns": "user=0,item=1,rating=2"}
AMAZON = '{"user": %s, "item": 1, "rating": 3}\n'

# name: (content, options, what the error must hold)
REFUSED = {
    # a header is never data, and data never a header
    "names with blanks to paste": (
        "the user,the item,c\n1,2,3\n",
        {},
        "`columns='user=the user,item=the item,rating=c'`",
    ),
    "bad first rating, unasked": (
        "1,10,bad\n2,20,3\n3,30,4\n",
        {},
        "line 1: the rating 'bad' is not a number; 1 of 3 rows are affected",
    ),
    # no row is swallowed or cut
    "stray quote": (
        TEXTS + '"u9,i99,3\n' + TEXTS.replace("i", "j"),
        {},
        "line 41: a quote is not closed; each line must be one rating: correct the quotes",
    ),
    "quoted line end": (
        'user,item,rating,text\n1,2,3,"a\nb"\n',
        {},
        "line 2: a quote is not closed",
    ),
    "field too many with :: later": (
        "1::2::3::4\n1::3::3::4\n1::9::x::3::4\n",
        {},
        "line 3: 5 fields where the first line has 4",
    ),
    "comment": ("# mine\n1,10,4\n", {}, "begins with a comment"),
    "mixed separators": ("1,10,4\n2,20,3\n2;30;3\n", {}, "line 3: 1 fields where the first line"),
    "thousands": (
        '1,10,"1,000"\n2,10,3\n',
        {},
        "line 1: the rating '1,000' is not a number",
    ),
    "utf-16": (NUMBERS.encode("utf-16"), {}, "is not text in UTF-8"),
    # no silent choice between candidates
    "two ratings": (
        "user,item,rating,score\n1,2,3,4\n",
        {},
        "'rating' and 'score' may each be the "
        "rating; say which is which with `columns=user=user,item=item,rating=rating`",
    ),
    "a column twice, asked": (
        "user,item,x,x\n1,2,3,4\n",
        {"columns": "user=user,item=item,rating=x"},
        "several columns 'x' for rating among 'user', 'item', 'x', 'x'; say which is which with "
        "`columns=user=user,item=item,rating=2`",
    ),
    # ids keep their meaning
    "line separator": ("a\u2028b,x,3\nc,x,4\n", {}, "line 1: the user id 'a\\u2028b' has a"),
    "long id": (
        "a,x,3\n" + "a" * 501 + ",x,3\n",
        {},
        "aaa...' has a control character, or more than 500 characters",
    ),
    "only blanks": ('a,x,3\n"  ",x,3\n', {}, "line 2: the user id '  ' is missing"),
    # values are plausible
    "1e30": (
        NUMBERS + "9,9,1e30\n",
        {},
        "line 41: the rating 1e30 is outside the scale 1,16777216",
    ),
    "times before ratings": (
        "1,2,881250949,3\n1,3,881250950,4\n",
        {},
        "if they are times, say `columns=user=0,item=1,rating=3,timestamp=2`",
    ),
    "times for ratings": (
        "1,2,881250949\n1,3,881250950\n",
        {},
        "if they are times, say `columns=user=0,item=1,timestamp=2` for a model that ranks clicks",
    ),
    "ids for ratings": (
        "".join(f"1,{k},{k * 7}\n" for k in range(300)),
        {},
        "300 different whole numbers as ratings look like times or ids",
    ),
    **{
        f"sentinel {code}": (
            NUMBERS + f"9,9,{code}\n",
            {},
            f"line 41: the rating {code} is far from the others, 1..5; 1 of 41 rows are affected",
        )
        for code in (-9999, -99, -9, -1, 99, 999, 9999)
    },
}


def written(folder, content, name="mine.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(tmp_path, case):
    content, options, fragment = REFUSED[case]
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_ratings(path, **options)
    assert fragment in str(caught.value) and "\n" not in str(caught.value)
    assert "mine.csv" in str(caught.value) or "`columns=" in str(caught.value)


# name: (content, options, what the line of what was recognised holds, user ids of the rows)
UNDERSTOOD = {
    "named columns": (
        "customer,product,stars\nann,x,3\nbob,y,4\n",
        {"columns": "user=customer,item=product,rating=stars"},
        "mine.csv: separated by ',', header; user = customer (column 0), item = "
        "product (column 1), rating = stars (column 2), no timestamps; 2 ratings of "
        "2 users x 2 items, scale 3..4 (as found), no duplicates",
        ["ann", "bob"],
    ),
    "found again below": ("ann,x\nann,y\nbob,x\n", CLICKS, "no header", ["ann", "ann", "bob"]),
    "quoted #": ('1,10,4\n"#x",20,3\n', {}, "no header", ["1", "#x"]),
    "constant": ("1,2,4\n1,3,4\n", {}, "scale 4..4 (as found, all ratings equal)", [1, 1]),
    "given scale": (NUMBERS[:12] + "9,9,99\n", {"scale": (1, 99)}, "scale 1..99 (as given)", None),
    "zeros are a scale": (NUMBERS + "9,9,0\n", {}, "scale 0..5 (as found)", None),
    "beyond int64": ("9223372036854775808,x,3\n1,x,4\n", {}, "", ["9223372036854775808", "1"]),
    "blanks around ids": ('7 ,x,3\n 7,y,4\n" 7\t",z,5\n', {}, "of 1 users", [7, 7, 7]),
    "digits of other scripts": ("\u0663,x,3\n3,x,4\n", {}, "of 2 users", ["\u0663", "3"]),
    "forms of Unicode": ("\u00e9,x,3\ne\u0301,y,4\n", {}, "of 1 users", ["\u00e9", "\u00e9"]),
    "1.0 and 1_0": (
        "1.0,x,3\n1_0,x,4\n1,y,4\n",
        {},
        "1 user ids in another form, as '1.0', read as '1'",
        ["1", "1_0", "1"],
    ),
    "1.0 in JSON": (AMAZON % "1.0", {}, "", [1]),
    "blanks that are not seen": ("\u00a0ann\u200b,x,3\nann,y,4\n", {}, "of 1 users", None),
    "bzip2": (bz2.compress(NUMBERS.encode()), {}, "40 ratings", None),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
@pytest.mark.filterwarnings("ignore:.*includes 0 or below")
def test_understood_and_said(tmp_path, case):
    content, options, fragment, users = UNDERSTOOD[case]
    ratings = read_ratings(written(tmp_path, content), **options)
    assert fragment in ratings.origin
    if users is not None:
        assert ratings.user_ids[ratings.users].tolist() == users


NASTY = st.text(st.sampled_from("ab7 ,;\"'|:#\té\u0301{}\\-"), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
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
    stripped = [
        tuple(unicodedata.normalize("NFC", id_).strip(" \t") for id_ in pair) for pair in pairs
    ]
    try:
        ratings = read_ratings(path, separator=separator, duplicates="error")
    except DataError as error:
        inside = any("\t" in id_ for pair in stripped for id_ in pair)
        comment = any(line.startswith("#") for line in text.getvalue().split("\n"))
        assert "" in sum(stripped, ()) or len(set(stripped)) < len(pairs) or inside or comment, (
            error
        )
        return
    found = zip(ratings.user_ids[ratings.users], ratings.item_ids[ratings.items], ratings.values)
    assert [(str(user), str(item), value) for user, item, value in found] == [
        (*pair, 1 + k % 5) for k, pair in enumerate(stripped)
    ]


@settings(max_examples=150, deadline=None)
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


def test_duplicates_name_their_lines_and_conflicts(tmp_path):
    path = written(tmp_path, "1,10,4\n\n2,20,3\n1,10,4\n1,10,2\n")
    with pytest.raises(
        DataError,
        match="line 4: user '1' rated item '10' 4, and 4 in line 1; 2 ratings are repeated, 1 of "
        "them with another value",
    ):
        read_ratings(path)
    with pytest.warns(UserWarning, match="2 repeated ratings"):
        ratings = read_ratings(path, duplicates="last")
    assert ratings.origin.endswith("2 repeated ratings merged (last)")


@pytest.mark.parametrize("verb", ["run", "recommend"])
def test_what_is_no_file_is_refused_and_does_not_hang(in_process, tmp_path, verb):
    from helpers import finish

    os.mkfifo(tmp_path / "pipe")
    arguments = ["--ratings"]
    if verb == "recommend":
        arguments = [str(finish(tmp_path / "run").path), "--new-user"]
    for path, message in (
        (tmp_path / "pipe", "is no file but a pipe or a device"),
        ("/dev/zero", "is no file but a pipe or a device"),
        ("x" * 5000, "cannot be read (File name too long)"),
        (tmp_path, "cannot be read (Is a directory)"),
    ):
        assert_user_error(in_process(verb, *arguments, str(path)), message)


@pytest.mark.parametrize("model", ["autorec", "mult-dae"])
def test_a_run_says_and_records_what_was_recognised(in_process, tmp_path, model):
    path = written(tmp_path, "".join(f"u{k % 11},i{k % 13},{1 + k % 5}\n" for k in range(143)))
    options = ["--min-user-clicks", "1", "--heldout-users", "1"] if model == "mult-dae" else []
    arguments = [
        "--model",
        model,
        "--ratings",
        str(path),
        "--epochs",
        "1",
        "--hidden",
        "4",
        *options,
    ]
    process = in_process("run", *arguments, "--out", str(tmp_path / "a"))
    said = (
        "mine.csv: separated by ',', no header; user = column 0, item = column 1, rating = "
        "column 2, no timestamps; 143 ratings of 11 users x 13 items, scale 1..5 (as found), no "
        "duplicates"
    )
    if model == "mult-dae":
        said += "; 143 rows made 56 clicks: ratings of 4 or more"
    assert process.returncode == 0 and process.stderr.count(said + "\n") == 1, process.stderr
    recorded = json.loads((tmp_path / "a" / "config.json").read_text())["data"]["origin"]
    assert recorded == said
    quiet = in_process("run", *arguments, "--quiet", "--out", str(tmp_path / "b"))
    assert quiet.returncode == 0 and said not in quiet.stderr

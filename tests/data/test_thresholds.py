"""Which ratings are clicks: one rule, printed, and a question where the scale does not say."""

import numpy as np
import pandas as pd
import pytest
from helpers import assert_user_error, ids_of, succeeded

from d2l_autorec.data.clicks import prepare_clicks
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.support.errors import ConfigError

LEVELS = {
    "1 to 5": ([1, 2, 3, 4, 5], 4),
    "half stars": (np.arange(0.5, 5.5, 0.5).tolist(), 4),
    "0 or 1": ([0, 1], 1),
    "every row a 1": ([1], 1),
}
UNKNOWN = {  # and what the error says
    "0 to 5": ([0, 1, 2, 3, 4, 5], "`threshold=2.5`, which half of them reach"),
    "1 to 10": (list(range(1, 11)), "`threshold=5.5`, which half of them reach"),
    "plays": ([1, 3, 250, 900], "`threshold=126.5`, which half of them reach"),
    "dislikes, mostly": ([-1, -1, 1], "`threshold=1`, the second lowest"),
    "not rated, mostly": ([0, 0, 0, 1, 2], "`threshold=1`, the second lowest"),
    "all 0": ([0], "`threshold=0`, with which each row is a click"),
}


def of_levels(levels):
    cells = [(user, item) for user in range(20) for item in range(len(levels) * 12)]
    values = [levels[(user + item) % len(levels)] for user, item in cells]
    users, items = zip(*cells)
    return pd.DataFrame({"user": users, "item": items, "rating": np.float32(values)})


@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
@pytest.mark.parametrize("name", LEVELS)
def test_what_is_a_click(name):
    levels, threshold = LEVELS[name]
    frame = of_levels(levels)
    ratings = Ratings.from_frame(frame)
    clicks = prepare_clicks(ratings, min_user_clicks=1, heldout_users=2)

    clicked = frame[frame.rating >= threshold]
    pairs = set(zip(*(ids.tolist() for ids in ids_of(clicks.interactions()))))
    assert pairs == set(zip(clicked.user, clicked.item))
    assert clicks.dropped["below the threshold"] == len(frame) - len(clicked)
    said = f"{len(frame):,} rows made {len(clicked):,} clicks"
    assert said in clicks.origin and f"{threshold:g}" in clicks.origin.split(said)[1]

    given = prepare_clicks(ratings, threshold, min_user_clicks=1, heldout_users=2)
    assert given.fingerprint == clicks.fingerprint


@pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")
@pytest.mark.parametrize("name", UNKNOWN)
def test_another_scale_is_asked_about(name):
    levels, advice = UNKNOWN[name]
    ratings = Ratings.from_frame(of_levels(levels))
    low, high = min(levels), max(levels)
    text = f"^frame: which of the ratings {low:g}..{high:g} are clicks[?] .* as in {advice}$"
    with pytest.raises(ConfigError, match=text):
        prepare_clicks(ratings)
    clicks = prepare_clicks(ratings, low, heldout_users=2)
    assert clicks.dropped["below the threshold"] == 0


def test_the_command_prints_it_and_speaks_of_clicks(tmp_path, in_process):
    of_levels([0, 1]).to_csv(tmp_path / "zero.csv", index=False)
    given = ["--model", "popularity", "--min-user-clicks", "1", "--ratings"]
    process = succeeded(in_process("run", *given, "zero.csv", "--out", "zero"))
    assert "480 rows made 240 clicks: ratings of 1 or more" in process.stderr
    assert "trained on rating" not in process.stderr
    assert "240 clicks" in process.stdout

    of_levels([1, 10]).to_csv(tmp_path / "ten.csv", index=False)
    process = in_process("run", *given, "ten.csv", "--quiet")
    assert_user_error(
        process, "which of the ratings 1..10 are clicks", "--threshold 5.5, which half"
    )

"""result.json: its documentation names all that stands in it, and nothing else."""

import json
import re

import pytest
from helpers import train_into

from d2l_autorec.data.sources import load_ratings
from d2l_autorec.run import main
from d2l_autorec.runs import result

SET = "synthetic:60x80x900"
CLICKS = dict(threshold=3.0, min_user_clicks=1, heldout_users=12, epochs=2)
WARMUP = dict(lr_schedule="cosine", lr_warmup=0.5)  # the first epoch changes nothing
KINDS = {
    "chapter": dict(epochs=1, hidden=(4,)),
    "refitted": dict(epochs=2, hidden=(4,), val_ratio=0.1, refit=True),
    "means": dict(epochs=2, val_ratio=0.1, refit=True, center=True, lr=1e-30, **WARMUP),
    "closed form": dict(model="bias"),
    "chosen": dict(model="item-knn", **{**CLICKS, "epochs": None}),
    "ranking": dict(model="mult-vae", hidden=(4,), search_beta=True, **CLICKS),
    "popularity": dict(model="popularity", **{**CLICKS, "epochs": None}),
}


@pytest.fixture(scope="module")
def documented():
    """The names in the documentation."""
    return set(re.findall(r"`([a-z][\w@]*)`", result.__doc__ or ""))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The names in the files of several kinds of runs, with K in the place of a cut-off."""
    path = tmp_path_factory.mktemp("runs")
    for kind, options in KINDS.items():
        given = {name: value for name, value in options.items() if value is not None}
        train_into(path / kind.replace(" ", "-"), dataset=SET, quiet=True, **given)

    load_ratings(SET).to_frame()[:400].to_csv(path / "newer.csv", index=False)
    for kind in ("chapter", "ranking"):
        newer = ("--ratings", str(path / "newer.csv"), "--out", str(path / f"{kind}-newer"))
        main(["--from", str(path / kind), *newer, "--quiet"])

    files = path.glob("*/result.json")
    names = {name for file in files for name in json.loads(file.read_text())}
    as_documented = {re.sub(r"@\d+", "@K", name) for name in names}
    return as_documented | {name for name in names if name.endswith("@100")}


def test_every_name_is_documented(documented, written):
    like_ndcg = {name for name in written if name.endswith("@K_se")}  # said of all of them at once
    exact = {name for name in written if "@100" in name and name.startswith("test_")}
    cut_off = {f"{name}_ndcg@K" for name in ("validation", "baseline_test", "start_test")}
    assert written - like_ndcg - exact - cut_off <= documented


def test_nothing_else_is_documented(documented, written):
    assert documented <= written

"""Small finished runs for the tests of recommend, export and compare."""

import json
from pathlib import Path

import numpy as onp

from d2l_autorec.runs.config import AutoRecConfig
from d2l_autorec.runs.runner import train_model
from d2l_autorec.serving.trained_model import TrainedModel, load_run
from d2l_autorec.support.files import read_json

SMALL = dict(epochs=3, hidden=(8,), batch_size=16, quiet=True, cpus=1, init_sigma=0.3)


def finish(out: Path, **options) -> TrainedModel:
    """Train a small run into `out` and load it."""
    given = {"dataset": "synthetic:60x80x900", **SMALL, **options}
    train_model(AutoRecConfig(out=str(out), **given))
    return load_run(out)


def strip_seals(folder: Path) -> None:
    """Make of a run folder what earlier versions wrote: JSON without seal and digests."""
    for path in folder.glob("*.json"):
        path.write_text(json.dumps(read_json(path), indent=2) + "\n")


def own_file(folder: Path, zero: bool = False) -> Path:
    """Ratings by users u0.. of items named 'a,0'..; 0..4 if `zero`, else 1..5."""
    rng = onp.random.default_rng(3)
    path = folder / "mine.csv"
    lines = [
        f'u{cell // 20},"a,{cell % 20}",{rng.integers(5) + (not zero)}'
        for cell in rng.choice(30 * 20, 300, replace=False)
    ]
    path.write_text("user,item,rating\n" + "\n".join(lines) + "\n")
    return path


def by_hand(run: TrainedModel) -> onp.ndarray:
    """Unclipped predictions of the whole matrix, users x items: plain NumPy over the parameters."""
    ratings, item_based = run.ratings, run.config.based == "item"
    table = onp.zeros((ratings.num_users, ratings.num_items))
    table[ratings.users, ratings.items] = ratings.values + ratings.offset
    x = table.T if item_based else table
    v, mu, w, b = (
        p.data().asnumpy().astype(float)
        for p in (
            run.net.encoder.weight,
            run.net.encoder.bias,
            run.net.decoder.weight,
            run.net.decoder.bias,
        )
    )
    out = 1 / (1 + onp.exp(-(x @ v + mu))) @ w.T + b
    out = out.T if item_based else out
    rated = table > 0
    for user, item in onp.ndindex(out.shape):
        of_user, of_item = table[user][rated[user]], table[:, item][rated[:, item]]
        if not len(of_user) or not len(of_item):
            out[user, item] = (
                of_item.mean()
                if len(of_item)
                else of_user.mean()
                if len(of_user)
                else table[rated].mean()
            )
    return out - ratings.offset

"""The default on a file that nobody tuned for, against means, matrix factorization and Surprise.

    pip install -e '.[cpu,test]'
    D2L_AUTOREC_DATA=... python tests/benchmarks/any_ratings.py [--sets ml-latest-small,...]
        [--seeds 3] [--surprise-python PYTHON]

Each set is split at random, 90/10, into two csv files, and every contender gets only these:
`python -m d2l_autorec.run --train a.csv --test b.csv`. Prints the mean test RMSE over seeds; exits
with 1 where AutoRec, by items or by users, does not beat the means. Surprise runs in an
interpreter of its own, where one is named.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import d2l_autorec as d2l

PEER = Path(__file__).with_name("surprise_program.py")
SETS = "ml-100k,ml-latest-small,synthetic:5000x3000x50000"
CONTENDERS = {
    "user and item means": ("--model", "bias", "--clip"),
    "matrix factorization": ("--model", "mf"),
    "AutoRec": (),
    "AutoRec by users": ("--based", "user"),
}
MEANS, *_ = CONTENDERS


def write(ratings: d2l.Ratings, path: Path) -> Path:
    users = ratings.user_ids[ratings.users]
    items = ratings.item_ids[ratings.items]
    rows = (f"{user},{item},{value:g}" for user, item, value in zip(users, items, ratings.values))
    path.write_text("\n".join(rows) + "\n")
    return path


def printed(*command: object) -> str:
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def scores_of(name: str, seed: int, folder: Path, surprise: str | None) -> dict[str, float]:
    """Test RMSE of each contender on one split."""
    ratings = d2l.load_ratings(name)
    train, test = d2l.random_split(ratings, test_ratio=0.1, seed=seed)
    files = write(train, folder / "train.csv"), write(test, folder / "test.csv")
    low, high = ratings.bounds

    scores = {}
    for contender, options in CONTENDERS.items():
        out = folder / f"{contender} {name.replace(':', ' ')} {seed}"
        result = printed(
            *(sys.executable, "-m", "d2l_autorec.run", "--train", files[0], "--test", files[1]),
            *("--columns", "user=0,item=1,rating=2", "--scale", f"{low:g},{high:g}"),
            *("--seed", seed, "--json", "--out", out, *options),
        )
        scores[contender] = json.loads(result)["test_rmse"]

    if surprise:
        for setting in ("defaults", "tuned"):
            found = printed(surprise, PEER, *files, low, high, seed, setting)
            scores[f"Surprise SVD, {setting}"] = float(found)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--surprise-python", help="interpreter with scikit-surprise")
    options = parser.parse_args()

    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets.split(","):
            runs = [
                scores_of(name, seed, Path(folder), options.surprise_python)
                for seed in range(options.seeds)
            ]
            means = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
            print(name, ", ".join(f"{key} {value:.4f}" for key, value in means.items()), flush=True)
            missed |= max(means["AutoRec"], means["AutoRec by users"]) >= means[MEANS]

    sys.exit(int(missed))


if __name__ == "__main__":
    main()

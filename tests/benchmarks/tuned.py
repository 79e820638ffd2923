"""What a search finds on a file, against the default and a matrix factorization searched as long.

    pip install -e '.[cpu,test]'
    D2L_AUTOREC_DATA=... python tests/benchmarks/tuned.py [--set ml-latest-small] [--minutes 10]
        [--aim 0.827]

The set is split at random, 90/10, into two csv files; the contenders get only these. Prints their
test RMSE and how long they took; exits with 1 where the search is not below `--aim`, is above the
matrix factorization, or misses its time by more than a fifth.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from any_ratings import printed, write

import d2l_autorec as d2l


def files_of(name: str, folder: Path) -> tuple[Path, Path, str]:
    """Training and test part as files, and the scale."""
    ratings = d2l.load_ratings(name)
    train, test = d2l.random_split(ratings, test_ratio=0.1, seed=0)
    low, high = ratings.bounds
    return write(train, folder / "train.csv"), write(test, folder / "test.csv"), f"{low:g},{high:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", default="ml-latest-small")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--aim", type=float, default=0.827)
    options = parser.parse_args()

    found, late = {}, False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, test, scale = files_of(options.set, folder)
        data = ("--train", train, "--test", test, "--scale", scale, "--json")
        data += ("--columns", "user=0,item=1,rating=2")

        run = printed(sys.executable, "-m", "d2l_autorec.run", *data, "--out", folder / "default")
        found["default"] = json.loads(run)["test_rmse"]
        for label, words in (("search", ()), ("search of mf", ("--model", "mf"))):
            begin = time.monotonic()
            tuned = printed(
                *(sys.executable, "-m", "d2l_autorec.tune", *data, *words),
                *("--minutes", options.minutes, "--out", folder / label),
            )
            minutes = (time.monotonic() - begin) / 60
            late |= abs(minutes / options.minutes - 1) > 0.2
            found[label] = json.loads(tuned)["result"]["test_rmse"]
            print(f"{label}: {minutes:.2f} minutes", flush=True)

    print(options.set, ", ".join(f"{label} {rmse:.4f}" for label, rmse in found.items()))
    worse = found["search"] > min(options.aim, found["search of mf"])
    sys.exit(int(worse or late))


if __name__ == "__main__":
    main()

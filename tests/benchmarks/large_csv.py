"""Does a csv of 20 million ratings fit? Parse, split, and iterate one epoch's batches.

    python tests/benchmarks/large_csv.py [ratings]

Generates a csv of 138,493 users x 26,744 items (the shape of ML-20M) and reads
it in a process of its own; asserts that its peak memory stays under 4 GB.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from d2l_autorec.data.sources import synthetic_ratings

READ = """
import resource, sys, time
import numpy
import d2l_autorec
from mxnet import npx
npx.set_np()
from d2l_autorec.training import loaders
from d2l_autorec.data.sources import read_ratings
from d2l_autorec.data import splits
start = time.perf_counter()
def tell(what):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 ** 2
    print(f"{what}: {time.perf_counter() - start:.1f} s, peak {peak:.2f} GB", flush=True)
    return peak
ratings = read_ratings(sys.argv[1])
tell("parsed")
train, test = splits.random_split(ratings, 0.1, numpy.random.default_rng(0))
matrix = train.to_csr()
tell("split and CSR")
seen = sum(int((batch.asnumpy() != 0).sum()) for batch in loaders.train_loader(matrix, 256, 0))
peak = tell(f"{seen} ratings in dense batches")
assert peak < 4
"""


def main(count: int = 20_000_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        ratings = synthetic_ratings(138_493, 26_744, count)
        pd.DataFrame(
            {
                "userId": ratings.user_ids[ratings.users],
                "movieId": ratings.item_ids[ratings.items],
                "rating": ratings.values,
                "timestamp": ratings.timestamps,
            }
        ).to_csv(path, index=False)
        del ratings
        print(f"{path.stat().st_size / 1e6:.0f} MB csv", flush=True)
        subprocess.run([sys.executable, "-c", READ, str(path)], check=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""How much faster is the whole command than the chapter's script, repaired so that it runs?

    D2L_AUTOREC_DATA=... python tests/benchmarks/whole_run.py [pairs]

Runs both alternately on this machine and asserts that the command takes under
a third of the script's time (median of the pairs' ratios). Both get
OMP_NUM_THREADS threads, by default one for each CPU.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LISTING = Path(__file__).parents[1] / "chapter_listing.py"


def seconds(*command: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": str(os.cpu_count()), **os.environ, "MPLBACKEND": "Agg"},
        )
        return time.perf_counter() - start


def main(pairs: int = 3) -> None:
    ratios = []
    for _ in range(pairs):
        ours = seconds(sys.executable, "-m", "d2l_autorec.run", "--dataset", "ml-100k")
        book = seconds(sys.executable, str(LISTING), "--book")
        ratios.append(ours / book)
        print(f"this package / chapter script: {ratios[-1]:.3f}")
    median = statistics.median(ratios)
    print(f"median of {pairs}: {median:.3f} (claim: under 1/3)")
    assert median < 1 / 3


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

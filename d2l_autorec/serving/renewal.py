"""The renewal of the run that is served, while every process goes on answering.

The first process watches the path that it was given, loads a newer run there and writes it to a
file; each process maps that file, so that the arrays are in memory once, and answers by it.
"""

import mmap
import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..support.files import replacing
from ..support.terminal import remark

SECONDS = 0.5  # time between two looks
ALIGNED = 64  # arrays begin at multiples of this many bytes


def newest_run(path: Path) -> Path:
    """Return the run folder at a path, or the one in it that was finished last; follow links."""
    if (path / "config.json").exists():
        return path.resolve()

    finished = [(result.stat().st_mtime_ns, result.parent) for result in path.glob("*/result.json")]
    return max(finished)[1].resolve() if finished else path


@dataclass
class Renewal:
    """A watch on a path, which takes up a newer run there.

    Parameters
    ----------
    path : Path
        A run folder, a link to one, or a folder of runs.
    load : callable
        (run folder) to the object that answers by it.
    use : callable
        (that object) to None; it is called in each process.
    shared : Path
        The file that the processes share, which does not exist yet.
    """

    path: Path
    load: Callable[[Path], Any]
    use: Callable[[Any], None]
    shared: Path

    def __post_init__(self) -> None:
        self._loaded = self._state()  # as it is before it is loaded for the first time

    def watch(self) -> None:
        """Load newer runs as they come, and say so on stderr; this is for the first process."""
        _follow(self._state, self._loaded, self._renew)

    def take_up(self) -> None:
        """Use the runs that the first process has loaded; this is for a worker."""
        _follow(lambda: _state_of([self.shared]), [], self._use_shared)

    def _state(self) -> list[tuple[Any, ...]]:
        run = newest_run(self.path)
        return _state_of([run, *run.glob("*"), *run.glob("export/*")])

    def _use_shared(self) -> None:
        self.use(load_shared(self.shared))

    def _renew(self) -> None:
        try:
            run = newest_run(self.path)
            with replacing(self.shared) as unfinished:
                save_shared(unfinished, self.load(run))
            self._use_shared()
        except Exception as error:  # whatever is wrong, the old model can answer
            remark(f"not taken up, the model before it answers on: {error}")
        else:
            remark(f"{run} is served from now on")


def _follow(state: Callable[[], Any], known: Any, renew: Callable[[], None]) -> None:
    """Call `renew` whenever a state has changed and does not change any more; never return."""
    before = known
    while True:
        time.sleep(SECONDS)
        try:
            now = state()
        except OSError:  # there is nothing yet, or it is being replaced
            continue

        if now == before != known:
            known = now
            renew()
        before = now


def _state_of(paths: Iterable[Path]) -> list[tuple[Any, ...]]:
    """Return the properties of files by which a change is noticed."""
    found = [(path, path.stat()) for path in paths]
    return [(path, seen.st_ino, seen.st_size, seen.st_mtime_ns) for path, seen in found]


def save_shared(path: Path, content: Any) -> None:
    """Write an object to a file from which `load_shared` can map its arrays."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]

    with path.open("wb") as file:
        pickle.dump((rest, [array.nbytes for array in arrays]), file)
        for array in arrays:
            file.write(bytes(-file.tell() % ALIGNED))
            file.write(array)


def load_shared(path: Path) -> Any:
    """Return the object that `save_shared` wrote, with read-only arrays mapped from the file."""
    with path.open("rb") as file:
        rest, sizes = pickle.load(file)
        start = file.tell()
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    arrays = []
    for size in sizes:
        start += -start % ALIGNED
        arrays.append(content[start : start + size])
        start += size
    return pickle.loads(rest, buffers=arrays)

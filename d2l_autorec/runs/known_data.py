"""The data of a finished run, verified; imports no MXNet."""

from typing import Any, NamedTuple

from ..data.clicks import INPUTS, Clicks
from ..data.ratings import Ratings
from ..support.errors import DataError
from .config import RankingConfig
from .run_record import RunRecord


class Known(NamedTuple):
    """What is known of a run's users: see `TrainedModel` for `ratings` and `inputs`.

    Parameters
    ----------
    ratings, inputs : Ratings
    clicks : Clicks or None
        Of a model that ranks.
    """

    ratings: Ratings
    inputs: Ratings
    clicks: Clicks | None


def read_known(record: RunRecord) -> Known:
    """Read the data of a finished run.

    Raises
    ------
    DataError
        If their file is damaged, or holds other data than the run was trained on.
    """
    if isinstance(record.config, RankingConfig):
        clicks = Clicks.load(record.path / "clicks.npz")
        check_data(record, clicks)
        return Known(clicks.interactions(), clicks.interactions(INPUTS), clicks)

    ratings, inputs = _known_ratings(record)
    return Known(ratings, inputs, None)


def _known_ratings(record: RunRecord) -> tuple[Ratings, Ratings]:
    """All known ratings, and those that are inputs."""
    path = record.path / "ratings.npz"
    ratings, is_input = Ratings.load_known(path)
    if is_input is not None:
        return ratings, ratings.part(is_input)

    check_data(record, ratings)
    return ratings, ratings


def check_data(record: RunRecord, data: Any) -> None:
    """Raise DataError unless `data` are what the run was trained on."""
    if record.about["data"]["train_sha256"] != data.fingerprint:
        raise DataError(
            f"{record.path} has other ratings than the run was trained on: restore "
            "its .npz file from a copy, or begin a new run"
        )

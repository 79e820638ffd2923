"""The data of a finished run, verified; imports no MXNet."""

import warnings
from typing import Any, NamedTuple

from ..data.clicks import INPUTS, Clicks
from ..data.ratings import Ratings
from ..support.errors import DataError, DataWarning
from .config import RankingConfig, RatingConfig
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
    config = record.config
    if isinstance(config, RatingConfig) and config.val_ratio and not config.refit:
        warnings.warn(
            f"{path} does not say which ratings are validation ratings, as it is from "
            "version 0.1.0: predictions will not be quite those that result.json "
            "measured; train anew to mend it",
            DataWarning,
            stacklevel=5,
        )

    return ratings, ratings


def check_data(record: RunRecord, data: Any) -> None:
    """Raise DataError unless `data` are what the run was trained on, also of an earlier version."""
    if record.about["data"]["train_sha256"] != data.fingerprint:
        raise DataError(
            f"{record.path} has other ratings than the run was trained on: restore "
            "its .npz file from a copy, or begin a new run"
        )

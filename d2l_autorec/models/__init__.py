"""The networks, one a file, and the one that a configuration asks for."""

from typing import Any

from ..config import RatingConfig
from ..ratings import Ratings


def build(config: RatingConfig, ratings: Ratings) -> Any:
    """The uninitialised network of a configuration, sized for training ratings."""
    users, items = ratings.num_users, ratings.num_items
    if config.model == "autorec":
        from .autorec import AutoRec
        scale = tuple(end + ratings.offset for end in ratings.scale)
        return AutoRec(config.hidden, users if config.based == "item" else items, config.dropout,
                       config.encoder_activation, config.decoder_activation, config.tied, scale)
    from .mf import MF, ClosedForm
    if config.model == "mf":
        mean = float(ratings.values.mean()) + ratings.offset if config.center else 0.0
        return MF(config.factors, users, items, mean)
    return ClosedForm(users, items, getattr(config, "damping", None))

"""The network that a configuration asks for."""

from typing import Any

from .config import RankingConfig, RunConfig


def build(config: RunConfig, ratings: Any) -> Any:
    """The uninitialised network of a configuration, sized for training ratings.

    Parameters
    ----------
    config : RunConfig
    ratings : Ratings, or Clicks for a model that ranks
    """
    if isinstance(config, RankingConfig):
        return build_ranking(config, ratings.num_items)
    users, items = ratings.num_users, ratings.num_items
    if config.model == "autorec":
        from ..models.autorec import AutoRec

        scale = tuple(end + ratings.offset for end in ratings.scale)
        return AutoRec(
            config.hidden,
            users if config.based == "item" else items,
            config.dropout[0],
            config.encoder_activation,
            config.decoder_activation,
            config.tied,
            scale,
        )
    from ..models.mf import MF, ClosedForm

    if config.model == "mf":
        mean = float(ratings.values.mean()) + ratings.offset if config.center else 0.0
        return MF(config.factors, users, items, mean)
    return ClosedForm(users, items, getattr(config, "damping", None))


def build_ranking(config: RankingConfig, items: int) -> Any:
    """The same for models that rank `items` items."""
    if config.model == "popularity":
        from ..models.baselines import Popularity

        return Popularity()
    if config.model == "ease":
        from ..models.baselines import EASE

        return EASE(config.penalty)
    from ..models.mult_vae import MultDAE, MultVAE

    dropout = config.dropout if len(config.dropout) > 1 else config.dropout[0]
    return (MultVAE if config.model == "mult-vae" else MultDAE)(config.hidden, items, dropout)

"""The network that a configuration asks for."""

from typing import TYPE_CHECKING, Any

from ..data.clicks import Clicks
from ..data.ratings import Ratings
from .config import (
    AutoRecConfig,
    BiasConfig,
    ClickAutoencoderConfig,
    EASEConfig,
    MFConfig,
    MultVAEConfig,
    RankingConfig,
    RunConfig,
)

if TYPE_CHECKING:
    from ..models.autorec import AutoRec
    from ..models.base import Model
    from ..models.deep_autorec import DeepAutoRec
    from ..models.mf import MF


def build(config: RunConfig, ratings: Ratings | Clicks) -> "Model":
    """The uninitialised network of a configuration, sized for training ratings.

    Parameters
    ----------
    config : RunConfig
    ratings : Ratings, or Clicks for a model that ranks
    """
    if isinstance(config, RankingConfig):
        return build_ranking(config, ratings.num_items)
    if not isinstance(ratings, Ratings):
        raise TypeError(f"{config.model} predicts ratings, and was given clicks")

    if isinstance(config, AutoRecConfig):
        return _build_autorec(config, ratings)
    if isinstance(config, MFConfig):
        return _build_mf(config, ratings)

    from ..models.mf import ClosedForm

    damping = None
    if isinstance(config, BiasConfig):
        damping = config.damping
    return ClosedForm(ratings.num_users, ratings.num_items, damping)


def _build_autorec(config: AutoRecConfig, ratings: Ratings) -> "AutoRec | DeepAutoRec":
    from ..models.autorec import AutoRec
    from ..models.centered_autorec import CenteredAutoRec, means_of
    from ..models.deep_autorec import DeepAutoRec

    if ratings.scale is None:
        raise TypeError(f"{ratings.name} has no rating scale: its rows are no ratings")

    columns = ratings.num_items if config.based == "user" else ratings.num_users
    dropout = config.dropout[0]
    if _is_chapters(config):
        return AutoRec(config.hidden[0], columns, dropout)

    net: DeepAutoRec
    options: Any = {"encoder_activation": config.encoder_activation, "tied": config.tied}
    if config.center:
        means = means_of(ratings.to_csr(config.based))
        net = CenteredAutoRec(
            config.hidden, columns, means, dropout, config.input_dropout, **options
        )
    else:
        low, high = ratings.scale
        scale = low + ratings.offset, high + ratings.offset
        net = DeepAutoRec(
            config.hidden,
            columns,
            dropout,
            decoder_activation=config.decoder_activation,
            scale=scale,
            **options,
        )

    net.input_scale = config.input_scale
    net.inner.collect_params().setattr("wd_mult", config.inner_share)
    return net


def _is_chapters(config: AutoRecConfig) -> bool:
    """Whether the network is the chapter's, with any number of hidden units."""
    chapter = AutoRecConfig()
    names = ("encoder_activation", "decoder_activation", "tied", "center", "input_scale")
    return len(config.hidden) == 1 and all(
        getattr(config, name) == getattr(chapter, name) for name in names
    )


def _build_mf(config: MFConfig, ratings: Ratings) -> "MF":
    from ..models.mf import MF

    mean = 0.0
    if config.center:
        mean = float(ratings.values.mean()) + ratings.offset
    return MF(config.factors, ratings.num_users, ratings.num_items, mean)


def build_ranking(config: RankingConfig, items: int) -> "Model":
    """The same for models that rank `items` items."""
    if isinstance(config, ClickAutoencoderConfig):
        return _build_click_autoencoder(config, items)

    from ..models.baselines import EASE, Popularity

    if isinstance(config, EASEConfig):
        return EASE(config.penalty)
    return Popularity()


def _build_click_autoencoder(config: ClickAutoencoderConfig, items: int) -> "Model":
    from ..models.mult_vae import MultDAE, MultVAE

    dropout: float | tuple[float, ...] = config.dropout
    if len(config.dropout) == 1:  # of the input alone
        dropout = config.dropout[0]

    if isinstance(config, MultVAEConfig):
        return MultVAE(config.hidden, items, dropout)
    return MultDAE(config.hidden, items, dropout)

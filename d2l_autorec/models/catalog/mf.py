"""Biased matrix factorization: options, preset and network."""

from dataclasses import dataclass
from typing import Any

from ..kinds import BEST, RatingModel, RunConfig
from ..options import AT_LEAST_1, PENALTY, Among, Span, option, redefault, training_option
from ..registry import register

# chosen on validation ratings of ML-100K
OWN_BEST = dict(factors=100, updates=4000, lr=2e-3, wd=0.0, penalty=0.12, init_sigma=0.1)


@register("mf")
@dataclass(frozen=True)
class MFConfig(RatingModel):
    """The options of biased matrix factorization; their defaults are the d2l chapter's settings.

    Sources: d2l, section "Matrix Factorization"; Koren, Bell, Volinsky, Matrix Factorization
    Techniques for Recommender Systems, IEEE Computer 42(8), 2009.
    """

    factors: int = option(30, "latent factors", AT_LEAST_1, space=Span(8, 256, log=True))
    center: bool = option(
        False, "begin with user and item means; the factors predict what they leave"
    )
    penalty: float = training_option(
        0.0,
        "on the squares of both vectors of factors, for each rating",
        PENALTY,
        space=Span(0.03, 0.5, log=True),
    )
    wd: float = redefault(RunConfig.wd, space=Span(1e-6, 1e-3, log=True))
    epochs: int = 20
    batch_size: int | str = redefault(512, space=Among((256, 512, 1024, 2048)))

    about = "biased matrix factorization"
    reads, sized_by, fused = "pairs", "factors", True
    compared = {"matrix factorization": {}}
    presets = {"best": {**BEST, **OWN_BEST}}

    @property
    def has_penalty(self) -> bool:
        """Whether the network returns a penalty beside the prediction."""
        return self.penalty > 0

    def network(self, data: Any) -> Any:
        """Return the factorization, which begins with the data's means if `center` says so."""
        from ..mf import MF

        means = data.means() if self.center else None
        return MF(self.factors, data.num_users, data.num_items, means, self.penalty)

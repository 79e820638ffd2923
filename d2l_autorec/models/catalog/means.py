"""User and item means, and the global mean: in closed form."""

import math
from dataclasses import dataclass
from typing import Any

from ..kinds import RatingModel
from ..options import PENALTY, option
from ..registry import register


@register("bias")
@dataclass(frozen=True)
class BiasConfig(RatingModel):
    """User and item means, shrunk towards the global mean."""

    damping: float | None = option(
        None,
        "ratings of 0 deviation that each user and item is given beside its own (default: "
        "estimated, for users and for items)",
        PENALTY,
    )

    about = "user and item means"
    reads, at_once = "pairs", True
    is_baseline = True
    compared = {"user and item means": {"clip": True}}

    def network(self, data: Any) -> Any:
        """Return the biases of a matrix factorization, which are computed."""
        from ..mf import ClosedForm

        return ClosedForm(data.num_users, data.num_items, self.damping)


@register("mean")
@dataclass(frozen=True)
class MeanConfig(RatingModel):
    """The global mean."""

    about = "the global mean"
    reads, at_once = "pairs", True
    compared = {}

    def network(self, data: Any) -> Any:
        """Return a matrix factorization of nothing but the mean."""
        from ..mf import ClosedForm

        return ClosedForm(data.num_users, data.num_items, math.inf)

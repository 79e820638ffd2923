"""User and item means, and the global mean: options of baselines that are computed at once."""

import math
from dataclasses import dataclass
from typing import Any

from ..kinds import RatingModel
from ..options import PENALTY, option
from ..registry import register


@register("bias")
@dataclass(frozen=True)
class BiasConfig(RatingModel):
    """The options of user and item means, which are shrunk towards the global mean."""

    damping: float | None = option(
        None,
        "shrinkage: ratings at the mean that are added to each user and item (default: estimated "
        "for users and for items)",
        PENALTY,
    )

    about = "user and item means"
    reads, at_once = "pairs", True
    is_baseline = True
    compared = {"user and item means": {"clip": True}}

    def network(self, data: Any) -> Any:
        """Return a matrix factorization without factors, whose biases are computed at once."""
        from ..mf import ClosedForm

        return ClosedForm(data.num_users, data.num_items, self.damping)


@register("mean")
@dataclass(frozen=True)
class MeanConfig(RatingModel):
    """The options of the global mean, which is predicted for every pair of user and item."""

    about = "the global mean"
    reads, at_once = "pairs", True
    compared = {}

    def network(self, data: Any) -> Any:
        """Return a matrix factorization whose only parameter other than 0 is the mean."""
        from ..mf import ClosedForm

        return ClosedForm(data.num_users, data.num_items, math.inf)

"""Items by number of clicks: the baseline of rankings."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..kinds import ClickModel
from ..registry import register

if TYPE_CHECKING:
    from ..vectors import Linear


@register("popularity")
@dataclass(frozen=True)
class PopularityConfig(ClickModel):
    """The options of the baseline that ranks items by their number of clicks."""

    at_once = True
    is_baseline = True

    def fit(self, matrix: Any) -> "Linear":
        """Return each item's number of clicks as its score for every user."""
        import numpy as np

        from ..vectors import Linear

        clicks = np.bincount(matrix.indices, minlength=matrix.shape[1])
        return Linear(None, clicks.astype(np.float32))

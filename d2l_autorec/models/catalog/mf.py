"""Biased matrix factorization: options, preset and network."""

from dataclasses import dataclass
from typing import Any

from ..kinds import RatingModel, RunConfig
from ..options import AT_LEAST_1, Among, Span, option, redefault
from ..registry import register


@register("mf")
@dataclass(frozen=True)
class MFConfig(RatingModel):
    """Biased matrix factorization with the settings of the d2l chapter on it."""

    factors: int = option(
        30, "latent factors (the chapter's)", AT_LEAST_1, space=Span(8, 256, log=True)
    )
    center: bool = option(False, "add the training ratings' mean to every prediction")
    wd: float = redefault(RunConfig, "wd", RunConfig.wd, space=Span(1e-6, 1e-3, log=True))
    epochs: int = redefault(RunConfig, "epochs", 20)
    batch_size: int | str = redefault(
        RunConfig, "batch_size", 512, space=Among((256, 512, 1024, 2048))
    )

    about = "biased matrix factorization"
    reads, sized_by = "pairs", "factors"
    compared = {"matrix factorization": {}}
    presets = {
        "best": dict(  # chosen on validation ratings of ML-100K
            val_ratio=0.1,
            epochs=60,
            refit=True,
            patience=3,
            factors=100,
            lr=1e-3,
            wd=1e-4,
            center=True,
            clip=True,
        )
    }

    def network(self, data: Any) -> Any:
        """Return the factorization, with the mean of the data where it is `center`ed."""
        from ..mf import MF

        mean = float(data.values.mean()) + data.offset if self.center else 0.0
        return MF(self.factors, data.num_users, data.num_items, mean)

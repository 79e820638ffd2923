"""Mult-VAE and Mult-DAE: options and networks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ...support.errors import ConfigError
from ...training.history import (
    NDCG,
    ORIGINAL_STEPS,
    SCHEDULES,
    History,
    Score,
    anneal_schedule,
    best_epoch,
)
from ..kinds import ClickModel
from ..options import (
    AT_LEAST_1,
    PENALTY,
    SHARES,
    SIZES,
    Among,
    Need,
    Shares,
    Sizes,
    Span,
    exclude,
    one_of,
    option,
    redefault,
    shown,
    training_option,
    when,
)
from ..registry import register

CAPPED = Need(lambda c: not c.search_beta, "`search_beta` anneals to 1, and then to what it found")


@dataclass(frozen=True)
class ClickAutoencoderConfig(ClickModel):
    """The options that Mult-VAE and Mult-DAE share, with the defaults of Liang et al. 2018."""

    lr: float = 1e-3
    wd: float = 0.0
    decay: str = "weights"
    epochs: int = 200
    patience: float = 200
    hidden: Sizes = option(
        (600, 200),
        "hidden units up to the code; the decoder mirrors them",
        SIZES,
        space=Among(((100,), (200,), (600,), (300, 100), (600, 200))),
    )
    dropout: Shares = option(
        (0.5,), "of the input, or of each layer's: 0.5,0,0,0", SHARES, space=Span(0.2, 0.8)
    )
    early_stopping: str = training_option(
        "ndcg@100", "the validation score that decides", one_of(("ndcg@100", "loss"))
    )

    presets = {  # chosen on validation users of ML-100K and of 500 users of ML-1M
        "best": dict(hidden=(600,), batch_size=100, patience=20)
    }
    sized_by = "hidden"
    logits = unit_rows = True

    def network(self, data: Any) -> Any:
        """Return the uninitialised network, sized for the data's items."""
        from .. import mult_vae

        dropout = self.dropout[0] if len(self.dropout) == 1 else self.dropout
        return getattr(mult_vae, self._network)(self.hidden, data.num_items, dropout)

    _network: ClassVar[str]

    @property
    def score(self) -> Score:
        """The validation score that decides on the best epoch: the loss, or NDCG@100."""
        return Score("loss", False) if self.early_stopping == "loss" else NDCG

    def _check_combinations(self) -> None:
        super()._check_combinations()

        layers = 2 * len(self.hidden)
        if len(self.dropout) not in (1, layers):
            raise ConfigError(
                f"`dropout` has {len(self.dropout)} values, but "
                f"`hidden={shown(self.hidden)}` makes {layers} layers: give one value, for "
                f"the input, or {layers}"
            )


@register("mult-vae")
@dataclass(frozen=True)
class MultVAEConfig(ClickAutoencoderConfig):
    """The options of Mult-VAE; beta is the weight of its KL divergence, and grows in training.

    Source: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, and the
    notebook that the authors published.
    """

    anneal: str = training_option(
        "original", "growth of beta; recotour: to the cap at 85 % of all updates", one_of(SCHEDULES)
    )
    anneal_cap: float = training_option(0.2, "highest beta", PENALTY, CAPPED, space=Span(0.0, 1.0))
    anneal_steps: int = training_option(
        ORIGINAL_STEPS, "updates until beta would be 1", AT_LEAST_1, when("anneal", "original")
    )
    search_beta: bool = training_option(False, "anneal to 1, then train anew to the best beta")

    has_penalty = True
    compared = {"Mult-VAE": {}}
    _network = "MultVAE"

    @property
    def phases(self) -> list[str]:
        """The names of a run's phases, in order; the last one's network is served."""
        return ["search", "best-beta"] if self.search_beta else ["search"]

    def check_data(self, data: Any) -> None:
        """Raise ConfigError if an option needs validation users and there are none."""
        super().check_data(data)
        if self.search_beta:
            self.check_validated("search_beta", data)

    def beta_schedule(self, updates: int, search: History | None) -> Callable[[int], float]:
        """Return the function from an update's number to beta.

        A search for beta anneals it to 1. The second pass, which is given the epochs of the
        `search`, goes to the best beta found, as steeply.
        """
        cap = 1.0 if self.search_beta else self.anneal_cap
        schedule = anneal_schedule(self.anneal, cap, self.anneal_steps, updates)
        if search is None:
            return schedule

        best = best_epoch(search, self.score) or len(search)
        return replace(schedule, cap=search[best - 1].beta or 0.0)

    def _check_combinations(self) -> None:
        super()._check_combinations()
        if self.search_beta and self.anneal == "constant":
            exclude(self, "search_beta", "anneal", "it needs a beta that grows")


@register("mult-dae")
@dataclass(frozen=True)
class MultDAEConfig(ClickAutoencoderConfig):
    """The options of Mult-DAE, the denoising autoencoder with a multinomial likelihood.

    The original adds 0.01 / 500 times the sum of squared weights to its loss;
    weight decay is the gradient of that, 2 x 2e-5 times a weight.

    Source: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018.
    """

    wd: float = redefault(4e-5, space=Span(1e-6, 1e-3, log=True))

    compared = {"Mult-DAE": {}}
    _network = "MultDAE"

"""RecVAE: options and network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...training.history import Anneal, History
from ..kinds import ClickModel
from ..options import (
    AT_LEAST_1,
    DROPOUT,
    PENALTY,
    SIZES,
    Among,
    Check,
    Shares,
    Sizes,
    Span,
    option,
    training_option,
)
from ..registry import register

LAYER_AND_CODE = Check(
    lambda v: len(v) == 2 and SIZES.accepts(v), "two whole numbers of at least 1"
)


@register("recvae")
@dataclass(frozen=True)
class RecVAEConfig(ClickModel):
    """The options of RecVAE, with its authors' layer sizes; four epochs here are one of theirs.

    Learning rate and batch size were chosen on validation users of ML-1M. The decoder is trained
    in one epoch of four, and has too few updates there with the authors' 5e-4 and 500: they had
    20 times the users.

    Source: Shenbin et al., RecVAE: a New Variational Autoencoder for Top-N Recommendations with
    Implicit Feedback, WSDM 2020.
    """

    lr: float = 1e-3
    wd: float = 0.0
    decay: str = "weights"
    epochs: int = 200
    patience: float = 40
    eval_every: int = 4
    batch_size: int | str = 100
    hidden: Sizes = option(
        (600, 200),
        "units of each of the encoder's layers, and of the code",
        LAYER_AND_CODE,
        space=Among(((200, 100), (400, 200), (600, 200))),
    )
    dropout: Shares = option(
        (0.5,), "share of the input that is dropped", DROPOUT, space=Span(0.2, 0.8)
    )
    gamma: float = training_option(
        0.005,
        "weight of the KL divergence, for each click of a user",
        PENALTY,
        space=Span(5e-4, 2e-2, log=True),
    )
    encoder_epochs: int = training_option(3, "epochs of the encoder alone", AT_LEAST_1)
    decoder_epochs: int = training_option(1, "epochs of the decoder alone that follow", AT_LEAST_1)

    about = "variational autoencoder with a composite prior"
    sized_by = "hidden"
    logits = unit_rows = has_penalty = True
    compared = {"RecVAE": {}}

    def network(self, data: Any) -> Any:
        """Return the uninitialised network, sized for the data's items."""
        from ..recvae import RecVAE

        turns = self.encoder_epochs, self.decoder_epochs
        return RecVAE(self.hidden, data.num_items, self.dropout[0], turns)

    def beta_schedule(self, updates: int, search: History | None) -> Callable[[int], float]:
        """Return `gamma` for every update: the network multiplies divergences by clicks."""
        return Anneal(self.gamma)

"""AutoRec: options, presets, network and loss."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...support.errors import ConfigError
from ...support.machine import DISTRIBUTED
from ..kinds import BEST, REFITTED, RatingModel, RunConfig
from ..options import (
    DROPOUT,
    FRACTION,
    PENALTY,
    POSITIVE,
    SIZES,
    Among,
    Check,
    Need,
    Options,
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

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "elu", "selu")
SEARCHED = ("sigmoid", "tanh", "relu", "identity")
PRETRAIN = "pretrain-"  # how the names of phases begin, such as pretrain-1
LENGTHS = Check(
    lambda v: len(v) == 2 and all(1 <= n <= 1_000_000 for n in v),
    "two whole numbers from 1 to 1000000",
)
DEEP = Need(lambda c: len(c.hidden) > 1, "there is one hidden layer", "add another to `hidden`")
# Sedhain et al. (2015), section 4: 500 hidden units, weights decay and biases do not, predictions
# are clipped to the scale; lambda is the authors' for ML-1M. They optimise with L-BFGS and RProp;
# here it is Adam unless RProp is asked for, as Adam's validation RMSE on ML-1M is lower (0.8335
# against 0.8378) after as many passes. Rates, epochs and batches were chosen by it, too.
PAPER = dict(dropout=(0.0,), decay="weights", clip=True, lr_schedule="cosine", regularization=100.0)
PAPER_ROWS = {
    "item": dict(lr=5e-4, batch_size=64, epochs=80),
    "user": dict(lr=1e-3, batch_size=64, epochs=35),
}
PAPER_BY_RPROP = dict(lr=1e-2, lr_schedule="constant", batch_size="all", epochs=90)
# Chosen on validation ratings of ML-100K, ML-1M, ml-latest-small and generated ratings of 5,000
# users and 3,000 items with 10 ratings by each user, item-based and user-based: see
# notebooks/measured.ipynb.
OWN_BEST = dict(
    input_dropout=0.5,
    dropout=(0.3,),
    updates=1000,
    lr=1e-3,
    regularization=70.0,
    decay="weights",
    average=True,
)


def stage_of(phase: str) -> int:
    """Return the number of a phase of pretraining, from 1; 0 for any other."""
    found = re.search(rf"{PRETRAIN}(\d+)$", phase)
    return int(found[1]) if found else 0


@register("autorec")
@dataclass(frozen=True)
class AutoRecConfig(RatingModel):
    """The options of AutoRec; their defaults are the settings of the d2l chapter.

    Sources: Sedhain et al., AutoRec: Autoencoders Meet Collaborative Filtering, WWW 2015; d2l,
    section "AutoRec: Rating Prediction with Autoencoders".
    """

    based: str = option(
        "item",
        "each row holds the ratings of an item or of a user; user: ONNX serves new users",
        one_of(("item", "user")),
        space=Among(("item", "user")),
    )
    hidden: Sizes = option(
        (500,), "layer sizes", SIZES, common=True, space=Among(((100,), (250,), (500,), (1000,)))
    )
    encoder_activation: str = option(
        "sigmoid", "of every hidden layer", one_of(ACTIVATIONS), space=Among(SEARCHED)
    )
    decoder_activation: str = option("identity", "of the predictions", one_of(ACTIVATIONS))
    tied: bool = option(False, "the decoder has the encoder's weights")
    dropout: Shares = option((0.05,), "of the first hidden layer", DROPOUT, space=Span(0.0, 0.7))
    input_dropout: float = option(
        0.0, "share of the input to hide", FRACTION, when("center"), space=Span(0.0, 0.8)
    )
    input_scale: float = option(
        1.0, "factor of the encoder's input", POSITIVE, space=Span(0.3, 30.0, log=True)
    )
    center: bool = option(False, "model the residuals of user and item means")
    regularization: float | None = training_option(
        None, "lambda: --wd times users times items", PENALTY, space=Span(2.0, 700.0, log=True)
    )
    inner_regularization: float | None = training_option(
        None, "of the weights between hidden layers", PENALTY, DEEP, when("regularization")
    )
    batch_size: int | str = redefault(256, space=Among((64, 128, 256, 512)))
    pretrain: bool = training_option(
        False, "train the hidden layers one after the other first, as autoencoders"
    )
    pretrain_epochs: Sizes = training_option(
        (140, 400), "epochs of the first layer, and of each other", LENGTHS, when("pretrain")
    )
    pretrain_lr: float | None = training_option(
        None, "learning rate of these phases", POSITIVE, when("pretrain")
    )

    sized_by, fused = "hidden", True
    warm = {**RatingModel.warm, "pretrain": False}
    presets = {"paper": PAPER, "best": {**BEST, **OWN_BEST}}
    # values that exclude the means, which `best` needs
    not_best = {"decoder_activation": ACTIVATIONS[1:]}
    in_other_units = {"wd": "regularization", "regularization": "wd", **RatingModel.in_other_units}
    compared = {"I-AutoRec": {}, "U-AutoRec": {"based": "user"}}

    @property
    def phases(self) -> list[str]:
        """The names of a run's phases, in order; the last one's network is served."""
        count = len(self.hidden) // 2 + 1 if self.pretrain else 0
        stages = [f"{PRETRAIN}{k + 1}" for k in range(count)]
        refits = [*(f"{REFITTED}{stage}" for stage in stages), "refit"] if self.refit else []
        return [*stages, "search", *refits]

    def of_phase(self, phase: str) -> "AutoRecConfig":
        """Return the options with which a phase is trained."""
        stage = stage_of(phase)
        if not stage:
            return self

        first, others = self.pretrain_epochs
        own = {"hidden": self.hidden[:1], "epochs": first} if stage == 1 else {"epochs": others}
        lr = self.pretrain_lr or self.lr
        return replace(self, lr=lr, pretrain=False, updates=None, average=False, **own)

    def weight_decay(self, data: Any, phase: str) -> float:
        """Return the optimizer's weight decay in a phase: `wd`, or one that `regularization` makes.

        The chapter's objective is the sum of squared errors over observed ratings
        plus lambda |weights|^2; its loss is half that sum divided by users x items,
        and so its weight decay is lambda divided by users x items. (The paper's equation 3
        has lambda / 2: the same penalty is twice the lambda there.) Where 1 in the network stands
        for `unit` in ratings, the errors are in that unit, and lambda is multiplied by its square.
        """
        if self.regularization is None:
            return self.wd

        rows, columns = data.num_users, data.num_items
        if self.based == "item":
            rows, columns = columns, rows
        stage, unit = stage_of(phase), 1.0
        if stage > 1:  # its rows are hidden units
            columns = self.hidden[stage - 2]
        elif self.center:
            unit = data.means().unit
        return self.regularization * unit * unit / (rows * columns)

    @classmethod
    def options_of_preset(cls, name: str, given: Mapping[str, Any]) -> Options:
        """Return the options of a preset; the paper's depend on `based` and `optimizer`."""
        if name != "paper":
            return super().options_of_preset(name, given)

        rprop = PAPER_BY_RPROP if given.get("optimizer") == "rprop" else {}
        return {**PAPER, **PAPER_ROWS.get(given.get("based", "item"), {}), **rprop}

    def network(self, data: Any) -> Any:
        """Return the chapter's network, or one that has what the chapter's lacks."""
        from ..autorec import AutoRec
        from ..centered_autorec import CenteredAutoRec
        from ..deep_autorec import DeepAutoRec

        columns = data.num_items if self.based == "user" else data.num_users
        dropout = self.dropout[0]
        if self._is_chapters():
            return AutoRec(self.hidden[0], columns, dropout)

        net: DeepAutoRec
        options: Any = {"encoder_activation": self.encoder_activation, "tied": self.tied}
        if self.center:
            options |= {"means": data.means(self.based), "input_dropout": self.input_dropout}
            net = CenteredAutoRec(self.hidden, columns, dropout=dropout, **options)
        else:
            low, high = data.bounds
            scale = low + data.offset, high + data.offset
            options |= {"decoder_activation": self.decoder_activation, "scale": scale}
            net = DeepAutoRec(self.hidden, columns, dropout, **options)

        net.input_scale = self.input_scale
        if self.inner_regularization is not None and self.regularization:
            share = self.inner_regularization / self.regularization
            net.inner.collect_params().setattr("wd_mult", share)
        return net

    def _is_chapters(self) -> bool:
        """Return whether the network is the chapter's, with any number of hidden units."""
        names = ("encoder_activation", "decoder_activation", "tied", "center", "input_scale")
        return len(self.hidden) == 1 and all(
            getattr(self, name) == getattr(type(self), name) for name in names
        )

    def check_data(self, data: Any) -> None:
        """Raise ConfigError for a decoder that is scaled to a scale of one value."""
        low, high = data.bounds
        if low == high and self.decoder_activation in ("sigmoid", "tanh"):
            raise ConfigError(
                f"`decoder_activation={self.decoder_activation}` is scaled to the rating scale, "
                f"but all ratings are {low:g}: give the `scale`, as in 1,5, or choose identity"
            )

    def _check_combinations(self) -> None:
        super()._check_combinations()
        if self.regularization is not None and self.wd != RunConfig.wd:
            exclude(self, "wd", "regularization", "they are one penalty in two units")

        if self.kvstore in DISTRIBUTED and self.pretrain:
            why = "the servers cannot begin anew with parameters of other shapes"
            exclude(self, "kvstore", "pretrain", why)

        if self.center and self.decoder_activation != AutoRecConfig.decoder_activation:
            exclude(self, "center", "decoder_activation", "what the means leave is on no scale")

        mirrored = self.hidden == self.hidden[::-1] and len(self.hidden) % 2 == 1
        if self.pretrain and not (mirrored and len(self.hidden) > 1):
            raise ConfigError(
                "`pretrain` needs hidden layers that mirror each other around one in the middle, "
                f"as in 500,250,500, but `hidden` is {shown(self.hidden)}"
            )
        if self.tied and self.hidden[0] != self.hidden[-1]:
            raise ConfigError(
                "`tied` needs a first and last hidden layer of equal size, but "
                f"`hidden` is {shown(self.hidden)}"
            )

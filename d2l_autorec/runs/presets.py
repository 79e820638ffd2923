"""Named sets of defaults; options override them, and config.json shows the outcome."""

from typing import Any

from ..support.errors import ConfigError
from .options import brief

Options = dict[str, Any]

# Sedhain et al. (2015), section 4: 500 hidden units, weights decay and biases do not, predictions
# are clipped to the scale; lambda is the authors' for ML-1M. They optimise with L-BFGS and RProp;
# here it is Adam, whose rate, epochs and batches were chosen on validation ratings of ML-1M.
PAPER: Options = dict(
    dropout=(0.0,), decay="weights", clip=True, lr=1e-3, lr_schedule="cosine", regularization=100.0
)
PAPER_ROWS: dict[str, Options] = {
    "item": dict(batch_size=256, epochs=120),
    "user": dict(batch_size=64, epochs=35),
}
# Chosen on validation ratings of ML-100K.
BEST: dict[str, Options] = {
    "autorec": dict(
        val_ratio=0.1,
        epochs=100,
        refit=True,
        lr_schedule="cosine",
        patience=100,
        wd=2e-5,
        decay="weights",
        dropout=(0.3,),
        clip=True,
    ),
    "mf": dict(
        val_ratio=0.1,
        epochs=60,
        refit=True,
        patience=3,
        factors=100,
        lr=1e-3,
        wd=1e-4,
        center=True,
        clip=True,
    ),
}
PRESETS = {
    "autorec": ("chapter", "paper", "best"),
    "mf": ("chapter", "best"),
    "bias": ("chapter",),
    "mean": ("chapter",),
}


def preset(given: Options) -> Options:
    """The defaults of the preset that `given` names, for its model.

    Raises
    ------
    ConfigError
        If the model has no such preset.
    """
    model = given.get("model", "autorec")
    name = given.get("preset", "chapter")
    known = PRESETS.get(model, ("chapter",))
    if name not in known:
        raise ConfigError(
            f"`preset={brief(name)}` is not for `model={model}`: choose one of {', '.join(known)}"
        )

    if name == "paper":
        chosen = {**PAPER, **PAPER_ROWS.get(given.get("based", "item"), {})}
    elif name == "best":
        chosen = dict(BEST[model])
    else:
        chosen = {}

    if "wd" in given:  # the same penalty in other units
        chosen.pop("regularization", None)
    if "regularization" in given:
        chosen.pop("wd", None)

    return chosen

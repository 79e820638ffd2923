"""Named sets of defaults; options override them, and config.json shows the outcome."""

from typing import Any

from ..support.errors import ConfigError
from .options import brief

Options = dict[str, Any]

# Sedhain et al. (2015), section 4: 500 hidden units, weights decay and biases do not, predictions
# are clipped to the scale; lambda is the authors' for ML-1M. They optimise with L-BFGS and RProp;
# here it is Adam unless RProp is asked for, as Adam's validation RMSE on ML-1M is lower (0.8335
# to 0.8378) after as many passes. Rates, epochs and batches were chosen on that, too.
PAPER: Options = dict(
    dropout=(0.0,), decay="weights", clip=True, lr_schedule="cosine", regularization=100.0
)
PAPER_ROWS: dict[str, Options] = {
    "item": dict(lr=5e-4, batch_size=64, epochs=80),
    "user": dict(lr=1e-3, batch_size=64, epochs=35),
}
PAPER_BY_RPROP: Options = dict(lr=1e-2, lr_schedule="constant", batch_size="all", epochs=90)
# Chosen on validation ratings of ML-100K, ML-1M, ml-latest-small and generated ratings of 5,000
# users and 3,000 items with 10 of each user, item-based and user-based: see
# notebooks/measured.ipynb.
BEST: dict[str, Options] = {
    "autorec": dict(
        center=True,
        input_dropout=0.5,
        val_ratio=0.1,
        updates=1000,
        lr=1e-3,
        refit=True,
        lr_schedule="cosine",
        lr_warmup=0.1,  # the first epoch is one of the means alone, where nothing is better
        patience=100,
        regularization=70.0,
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

# One quantity in two units: who gives the one has no use for the other.
IN_OTHER_UNITS = (
    ("wd", "regularization"),
    ("regularization", "wd"),
    ("epochs", "updates"),
    ("updates", "epochs"),
)
# Choices that a validation part, a refit or the means of `best` exclude.
ELSE_CHAPTER: dict[str, tuple[Any, ...]] = {
    "split": ("held-out-rows",),
    "loss": ("root",),
    "decoder_activation": ("sigmoid", "tanh", "relu", "elu", "selu"),
    "kvstore": ("dist_async",),
}


def preset(given: Options) -> Options:
    """The defaults of the preset that `given` names, for its model.

    Raises
    ------
    ConfigError
        If the model has no such preset.
    """
    model = given.get("model", "autorec")
    name = given.get("preset", default_preset(given))
    known = PRESETS.get(model, ("chapter",))
    if name not in known:
        raise ConfigError(
            f"`preset={brief(name)}` is not for `model={model}`: choose one of {', '.join(known)}"
        )

    if name == "paper":
        chosen = {**PAPER, **PAPER_ROWS.get(given.get("based", "item"), {})}
        if given.get("optimizer") == "rprop":
            chosen.update(PAPER_BY_RPROP)
    elif name == "best":
        chosen = dict(BEST[model])
    else:
        chosen = {}

    for option, other in IN_OTHER_UNITS:
        if option in given:
            chosen.pop(other, None)
    if given.get("val_ratio") == 0:  # nothing says when to stop, and what to refit
        chosen.pop("refit", None)

    return {"preset": name, **chosen}


def default_preset(given: Options) -> str:
    """The preset of options that name none: the book's for its data, the best for others' files."""
    if given.get("ratings") or given.get("train"):
        return best_preset(given)
    return "chapter"


def best_preset(given: Options) -> str:
    """`best` where model and options can be had with it, else the chapter's."""
    if "best" not in PRESETS.get(given.get("model", "autorec"), ()):
        return "chapter"

    for name, value in given.items():
        if value in ELSE_CHAPTER.get(name, ()):
            return "chapter"
    return "best"

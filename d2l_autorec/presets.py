"""Named sets of defaults; options override them, and config.json shows the outcome."""

from typing import Any, Dict, Tuple

from .errors import ConfigError

Options = Dict[str, Any]

# The authors' weight decay for ML-1M, on the sum of squared errors over all ratings.
LAMBDA = 100.0
# Sedhain et al. (2015), section 4: 500 hidden units, weights decay and biases do not, predictions
# are clipped to the scale. They optimise with L-BFGS and RProp; here it is Adam, whose rate, epochs
# and batches were chosen on validation ratings of ML-1M.
PAPER: Options = dict(dropout=(0.0,), decay="weights", clip=True, lr=1e-3, lr_schedule="cosine")
PAPER_ROWS: Dict[str, Options] = {"item": dict(batch_size=256, epochs=120),
                                  "user": dict(batch_size=64, epochs=35)}
# Chosen on validation ratings of ML-100K.
BEST: Dict[str, Options] = {
    "autorec": dict(val_ratio=0.1, epochs=100, refit=True, lr_schedule="cosine", patience=100,
                    wd=2e-5, decay="weights", dropout=(0.3,), clip=True),
    "mf": dict(val_ratio=0.1, epochs=60, refit=True, patience=3, factors=100, lr=1e-3, wd=1e-4,
               center=True, clip=True)}
PRESETS = {"autorec": ("chapter", "paper", "best"), "mf": ("chapter", "best"),
           "bias": ("chapter",), "mean": ("chapter",)}


def preset(given: Options) -> Options:
    """The defaults of the preset that `given` names, for its model and data.

    Raises
    ------
    ConfigError
        If the model, or for `paper` the data set, has no such preset.
    """
    model, name = given.get("model", "autorec"), given.get("preset", "chapter")
    if name not in PRESETS.get(model, ("chapter",)):
        raise ConfigError(f"--preset {name} is not for --model {model}: choose one of "
                          f"{', '.join(PRESETS.get(model, ('chapter',)))}")
    if name == "paper":
        users, items = _shape(given.get("dataset", "auto"))
        # The chapter's loss is the sum of squared errors divided by rows and columns.
        decay = LAMBDA / (users * items)
        return {**PAPER, **PAPER_ROWS.get(given.get("based", "item"), {}), "wd": decay}
    return BEST[model] if name == "best" else {}


def _shape(dataset: str) -> Tuple[int, int]:
    """Users and items of a data set that is known by name."""
    from .datasets import DATASETS
    record = DATASETS.get("ml-100k" if dataset == "auto" else dataset)
    if record is None:
        raise ConfigError(f"--preset paper scales its weight decay by the size of a MovieLens set, "
                          f"and --dataset is {dataset}: choose one of {', '.join(DATASETS)}, or "
                          "--preset best")
    return record.counts[0], record.counts[1]

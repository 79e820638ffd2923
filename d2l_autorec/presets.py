"""Named sets of defaults; options override them, and config.json shows the outcome."""

from typing import Any, Dict

from .errors import ConfigError

Options = Dict[str, Any]

# Sedhain et al. (2015), section 4: 500 hidden units, weights decay and biases do not, predictions
# clipped to the scale. They optimise with L-BFGS and RProp; here it is Adam.
_PAPER: Options = dict(dropout=0.0, decay="weights", clip=True, lr=3e-4, wd=6e-6, epochs=200)
PRESETS: Dict[str, Dict[str, Options]] = {
    "autorec": {
        "chapter": {},
        "paper": _PAPER,
        "best": dict(val_ratio=0.1, epochs=200, refit=True),
    },
    "mf": {"chapter": {}, "best": {}},
    "bias": {"chapter": {}},
    "mean": {"chapter": {}},
}


def preset(given: Options) -> Options:
    """The defaults of the preset that `given` names, for its model and data.

    Raises
    ------
    ConfigError
        If the model has no such preset.
    """
    model, name = given.get("model", "autorec"), given.get("preset", "chapter")
    if name not in PRESETS[model]:
        raise ConfigError(f"--preset {name} is not for --model {model}: choose one of "
                          f"{', '.join(PRESETS[model])}")
    return PRESETS[model][name]

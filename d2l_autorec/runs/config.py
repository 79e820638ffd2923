"""The options that a run folder holds."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..models.catalog.autorec import (  # noqa: F401  # others find them here, for now
    ACTIVATIONS,
    PRETRAIN,
    AutoRecConfig,
    stage_of,
)
from ..models.catalog.ease import EASEConfig  # noqa: F401
from ..models.catalog.means import BiasConfig, MeanConfig  # noqa: F401
from ..models.catalog.mf import MFConfig  # noqa: F401
from ..models.catalog.mult_vae import (  # noqa: F401
    ClickAutoencoderConfig,
    MultDAEConfig,
    MultVAEConfig,
)
from ..models.catalog.popularity import PopularityConfig  # noqa: F401
from ..models.kinds import (  # noqa: F401
    ALL,
    PRESETS,
    REFITTED,
    SPLITS,
    SPLITS_BY_SHARE,
    ClickModel,
    RatingModel,
    RunConfig,
    numbered,
)
from ..models.registry import build_config, make_config, model_class, models  # noqa: F401
from ..support.errors import ConfigError, DataError
from ..support.files import read_json

RankingConfig = ClickModel
RatingConfig = RatingModel
CONFIGS = models()
CLOSED_FORM = [name for name, config in CONFIGS.items() if config.at_once]


def read_config(folder: Path) -> RunConfig:
    """The options of the run in a folder.

    Raises
    ------
    DataError
        If there is none, or its config.json is damaged or was edited.
    """
    path = folder / "config.json"
    return config_of(read_begun(folder), path)


def read_begun(folder: Path) -> dict[str, Any]:
    """The config.json of a run folder; see `read_config` for errors."""
    path = folder / "config.json"
    if not os.path.isfile(path):
        raise DataError(
            f"{folder} is not a run folder: it has no config.json; name a folder that "
            "python -m d2l_autorec.run has written"
        )
    return read_json(path)


def config_of(about: dict[str, Any], path: Path) -> RunConfig:
    """The configuration that the content of a config.json, read from `path`, describes.

    Raises
    ------
    DataError
        If it describes none, as after an edit or by a later version.
    """
    options = about.get("options")
    if not isinstance(options, dict):
        options = {}

    model = options.get("model")
    if isinstance(model, str) and model not in models():
        raise DataError(
            f"{path} is of `model={model}`, which nothing here registers: install its package"
        )
    if not isinstance(model, str):
        raise DataError(
            f"{path} is missing or damaged (it names no model): restore it from a "
            "copy, or begin a new run"
        )

    known = {spec.name: spec.default for spec in fields(model_class(model))}
    unknown = [f"`{name}`" for name in options if name not in known]
    if unknown:
        raise DataError(
            f"{path} has options that this version of d2l_autorec does not know "
            f"({', '.join(unknown)}): use the version that wrote it"
        )

    try:  # an option that the version of the run had not is what it was then: no preset's
        return model_class(model)(**{**known, **options})
    except ConfigError as error:
        raise DataError(
            f"{path} was edited ({error}): restore it from a copy, or begin a new run"
        ) from error

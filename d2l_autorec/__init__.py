"""Autoencoders for recommendation in MXNet/Gluon.

Names load their module when they are first used, so importing the package is
quick. Names of the book that this package does not redefine are d2l's.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from .support import compat
from .support.errors import MXNET_IS_MISSING

__version__ = "0.2.0"

__all__ = [
    "AutoRec",
    "AutoRecConfig",
    "BiasConfig",
    "Clicks",
    "ConfigError",
    "DataError",
    "DataWarning",
    "EASEConfig",
    "Interrupted",
    "MF",
    "MFConfig",
    "MeanConfig",
    "MultDAE",
    "MultDAEConfig",
    "MultVAE",
    "MultVAEConfig",
    "NumericalError",
    "PopularityConfig",
    "Ratings",
    "Scored",
    "TrainedModel",
    "Tuned",
    "UserError",
    "anneal_schedule",
    "evaluator",
    "get_dataloader_workers",
    "held_out_rows_split",
    "k_folds",
    "load_data_ml100k",
    "load_ratings",
    "load_run",
    "make_config",
    "prepare_clicks",
    "random_split",
    "read_data_ml100k",
    "read_ratings",
    "seq_aware_split",
    "split_and_load_ml100k",
    "split_data_ml100k",
    "time_split",
    "train_model",
    "train_recsys_rating",
    "try_all_gpus",
    "tune",
    "use_style",
]

if TYPE_CHECKING:  # what the table below loads, for type checkers and editors
    from .chapter import (
        AutoRec,
        evaluator,
        get_dataloader_workers,
        load_data_ml100k,
        read_data_ml100k,
        split_and_load_ml100k,
        split_data_ml100k,
        train_recsys_rating,
        try_all_gpus,
    )
    from .data.clicks import Clicks, prepare_clicks
    from .data.movielens import load_ratings
    from .data.ratings import Ratings
    from .data.readers import read_ratings
    from .data.splits import (
        held_out_rows_split,
        k_folds,
        random_split,
        seq_aware_split,
        time_split,
    )
    from .models.catalog.autorec import AutoRecConfig
    from .models.catalog.ease import EASEConfig
    from .models.catalog.means import BiasConfig, MeanConfig
    from .models.catalog.mf import MFConfig
    from .models.catalog.mult_vae import MultDAEConfig, MultVAEConfig
    from .models.catalog.popularity import PopularityConfig
    from .models.mf import MF
    from .models.mult_vae import MultDAE, MultVAE
    from .models.registry import make_config
    from .runs.tuning import Tuned, tune
    from .serving.predictor import Scored
    from .serving.trained_model import TrainedModel, load_run, train_model
    from .support.errors import (
        ConfigError,
        DataError,
        DataWarning,
        Interrupted,
        NumericalError,
        UserError,
    )
    from .support.style import use_style
    from .training.schedules import anneal_schedule

_NAMES_OF = {
    "chapter": (
        "AutoRec",
        "evaluator",
        "get_dataloader_workers",
        "load_data_ml100k",
        "read_data_ml100k",
        "split_and_load_ml100k",
        "split_data_ml100k",
        "train_recsys_rating",
        "try_all_gpus",
    ),
    "data.clicks": ("Clicks", "prepare_clicks"),
    "data.movielens": ("load_ratings",),
    "data.ratings": ("Ratings",),
    "data.readers": ("read_ratings",),
    "data.splits": (
        "held_out_rows_split",
        "k_folds",
        "random_split",
        "seq_aware_split",
        "time_split",
    ),
    "models.catalog.autorec": ("AutoRecConfig",),
    "models.catalog.ease": ("EASEConfig",),
    "models.catalog.means": ("BiasConfig", "MeanConfig"),
    "models.catalog.mf": ("MFConfig",),
    "models.catalog.mult_vae": ("MultDAEConfig", "MultVAEConfig"),
    "models.catalog.popularity": ("PopularityConfig",),
    "models.mf": ("MF",),
    "models.mult_vae": ("MultDAE", "MultVAE"),
    "models.registry": ("make_config",),
    "runs.tuning": ("Tuned", "tune"),
    "serving.predictor": ("Scored",),
    "serving.trained_model": ("TrainedModel", "load_run", "train_model"),
    "support.errors": (
        "ConfigError",
        "DataError",
        "DataWarning",
        "Interrupted",
        "NumericalError",
        "UserError",
    ),
    "support.style": ("use_style",),
    "training.schedules": ("anneal_schedule",),
}
BOOK = "d2l.mxnet"
_EXPORTS = {name: module for module, names in _NAMES_OF.items() for name in names}

compat.install()

if sys.argv[:1] == ["-m"]:  # python -m d2l_autorec.<command>
    from .support.interrupt import quit_on_signals

    quit_on_signals(__name__)


def __getattr__(name: str) -> Any:
    is_submodule = importlib.util.find_spec(f"{__name__}.{name}") is not None
    if name.startswith("_") or (is_submodule and name not in _EXPORTS):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    home = f"{__name__}.{_EXPORTS[name]}" if name in _EXPORTS else BOOK
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise
        raise ImportError(MXNET_IS_MISSING) from error

    if not hasattr(module, name):
        raise AttributeError(f"neither {__name__!r} nor {BOOK!r} has an attribute {name!r}")

    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_EXPORTS))

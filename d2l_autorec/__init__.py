"""Autoencoders for recommendation in MXNet/Gluon.

Names load their module when they are first used, so importing the package is
quick and has no side effects. `npx.set_np()` is the caller's.
"""

import importlib
import importlib.util
import sys
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "AutoRec": "models.autorec",
    "MF": "models.mf",
    "MultVAE": "models.mult_vae",
    "MultDAE": "models.mult_vae",
    "evaluator": "evaluation.rating",
    "train_recsys_rating": "training.loop",
    "read_data_ml100k": "chapter",
    "split_data_ml100k": "chapter",
    "load_data_ml100k": "chapter",
    "get_dataloader_workers": "chapter",
    "try_all_gpus": "training.devices",
    "Ratings": "data.ratings",
    "load_ratings": "data.movielens",
    "AutoRecConfig": "runs.config",
    "make_config": "runs.config",
    "train_model": "runs.runner",
    "load_run": "runs.run_folder",
}
__all__ = sorted(_EXPORTS)

_IS_COMMAND = sys.argv[:1] == ["-m"]  # python -m d2l_autorec.<command>
if _IS_COMMAND:
    from .support.interrupt import quit_on_signals

    quit_on_signals(__name__)

if importlib.util.find_spec("mxnet") is None:
    _MISSING = (
        "d2l_autorec needs MXNet, which is a different distribution for each CUDA version: "
        "pip install 'd2l_autorec[cpu]', or [cu112], [cu116] or [cu117] for a GPU"
    )
    if _IS_COMMAND:  # a line, not a traceback
        print(_MISSING, file=sys.stderr)
        sys.exit(2)
    raise ImportError(_MISSING)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_EXPORTS))

"""Autoencoders for recommendation in MXNet/Gluon.

A name's module is loaded when the name is first used, so importing the package is quick;
`__init__.pyi` lists the names and their modules. Any other name is looked up in the book's d2l.
"""

import importlib
import importlib.util
import re
import signal
import sys
from pathlib import Path
from typing import Any

from .support import compat
from .support.errors import MXNET_IS_MISSING

__version__ = "0.3.0"

BOOK = "d2l.mxnet"
_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_EXPORTS = {
    name: f"{__name__}.{module}"
    for module, name in re.findall(r"^from \.([\w.]+) import (\w+) as \2$", _STUB, re.MULTILINE)
}
__all__ = list(_EXPORTS)

compat.install()

is_command = sys.argv[:1] == ["-m"]
if is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the command is imported


def __getattr__(name: str) -> Any:
    is_submodule = importlib.util.find_spec(f"{__name__}.{name}") is not None
    if name.startswith("_") or (is_submodule and name not in _EXPORTS):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    try:
        module = importlib.import_module(_EXPORTS.get(name, BOOK))
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

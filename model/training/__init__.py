"""The trainer: configuration, step, schedule, checkpoints, evaluation, and the controller that connects them.

What a program needs of it has a name here, loaded when it is first used: `Run` and `Callback`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clozekit.model.training.controller import Run
    from clozekit.model.training.watching.callbacks import Callback

_MODULES = {"Callback": "watching.callbacks", "Run": "controller"}
__all__ = ["Callback", "Run"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

"""Fine-tuning: labelled texts, their rows, metrics, and the run over them; `FinetuneRun` is loaded when it is first used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clozekit.model.training.finetuning.finetune import FinetuneRun

__all__ = ["FinetuneRun"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.finetune"), name)

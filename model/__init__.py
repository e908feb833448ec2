"""The public names: backbones, tasks, preprocessors, tokenizers and presets, as in the documents of KerasHub.

Each is loaded when it is first used, and TensorFlow with it: settings and `--help` need neither.
"""

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.common.import_hooks import around_import
from clozekit.tokenizers.common.quiet_libraries import load_tensorflow_quietly

if TYPE_CHECKING:
    # For type checkers and editors.
    from clozekit.model.families.albert import *
    from clozekit.model.families.bert import *
    from clozekit.model.families.deberta_v3 import *
    from clozekit.model.families.distil_bert import *
    from clozekit.model.families.electra import *
    from clozekit.model.families.modern_bert import *
    from clozekit.model.families.roberta import *
    from clozekit.model.families.xlm_roberta import *
    from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
    from clozekit.model.preprocessing.preprocessor import Preprocessor
    from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
    from clozekit.model.presets.huggingface_preset import save_huggingface
    from clozekit.model.tasks.backbone import Backbone
    from clozekit.model.tasks.masked_lm import MaskedLM
    from clozekit.model.tasks.question_answerer import QuestionAnswerer
    from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector
    from clozekit.model.tasks.task import Task
    from clozekit.model.tasks.text_classifier import TextClassifier
    from clozekit.model.tasks.text_embedder import TextEmbedder
    from clozekit.model.tasks.token_classifier import TokenClassifier
    from clozekit.tokenizers.tokenizer import Tokenizer

_OF_A_FAMILY = ("Backbone", "MaskedLM", "MaskedLMPreprocessor", "TextClassifier", "TextClassifierPreprocessor")
_MODULES = {
    **{
        f"{family.prefix}{part}": f"clozekit.model.families.{name}"
        for name, family in FAMILIES.items()
        for part in _OF_A_FAMILY
    },
    **{
        f"{family.prefix}Tokenizer": f"clozekit.tokenizers.families.{name}_tokenizer"
        for name, family in FAMILIES.items()
    },
    "Backbone": "clozekit.model.tasks.backbone",
    "MaskedLM": "clozekit.model.tasks.masked_lm",
    "MaskedLMPreprocessor": "clozekit.model.preprocessing.masked_lm_preprocessor",
    "Preprocessor": "clozekit.model.preprocessing.preprocessor",
    "QuestionAnswerer": "clozekit.model.tasks.question_answerer",
    "Task": "clozekit.model.tasks.task",
    "TextClassifier": "clozekit.model.tasks.text_classifier",
    "TextClassifierPreprocessor": "clozekit.model.preprocessing.text_classifier_preprocessor",
    "ReplacedTokenDetector": "clozekit.model.tasks.replaced_token_detector",
    "TextEmbedder": "clozekit.model.tasks.text_embedder",
    "TokenClassifier": "clozekit.model.tasks.token_classifier",
    "Tokenizer": "clozekit.tokenizers.tokenizer",
    "save_huggingface": "clozekit.model.presets.huggingface_preset",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    _register_classes()
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_classes() -> None:
    """Keras loads a file of ours (`keras.saving.load_model`) when the classes in it were imported."""
    ours = [name for name in list(sys.modules) if name.startswith("clozekit.model.")]
    if "keras" in sys.modules and not any(map(_is_being_imported, ours)):
        importlib.import_module("clozekit.model.families.family_table")


def _is_being_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    # One that imports Keras is not ready to be imported by the others.
    return bool(getattr(spec, "_initializing", False))


def _with_classes(load: Callable[[], None]) -> None:
    load()
    _register_classes()


load_tensorflow_quietly()
around_import("keras", _with_classes)
_register_classes()

"""A pytest plugin that puts our classes in the place of KerasHub's, for KerasHub's own test files.

CLOZEKIT_KERAS_HUB_SOURCE names a checkout of KerasHub, whose wheel holds no tests.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import keras_hub  # noqa: F401 - what is put aside

import clozekit.model
import clozekit.model.layers
from clozekit.tokenizers.byte_pair import BytePairTokenizer
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
from clozekit.tokenizers.wordpiece import WordPieceTokenizer

SOURCE = Path(os.environ["CLOZEKIT_KERAS_HUB_SOURCE"]) / "keras_hub/src"


def load_test_case() -> Any:
    """The checkout's own base of tests: that of a later wheel may need packages that are not there."""
    name = "keras_hub.src.tests.test_case"
    spec = importlib.util.spec_from_file_location(name, SOURCE / "tests/test_case.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def substitute() -> None:
    """Every module of KerasHub that knows a class of theirs knows ours by its name."""
    ours = {name: getattr(clozekit.model, name) for name in clozekit.model.__all__}
    ours |= {name: getattr(clozekit.model.layers, name) for name in clozekit.model.layers.__all__}
    ours |= {cls.__name__: cls for cls in (WordPieceTokenizer, BytePairTokenizer, SentencePieceTokenizer)}
    test_case = load_test_case()
    test_case.TestCase.get_test_data_dir = lambda self: str(SOURCE / "tests/test_data")
    for module in [module for name, module in sys.modules.items() if name.startswith("keras_hub.src")]:
        for name, cls in ours.items():
            if isinstance(vars(module).get(name), type):
                setattr(module, name, cls)
    _forget_how_they_run(SentencePieceTokenizer)


def _forget_how_they_run(cls: Any) -> None:
    """Theirs have two implementations, and their tests choose one by a private argument."""
    constructor = cls.__init__

    def without(self: Any, *arguments: Any, **options: Any) -> None:
        options.pop("_allow_python_workflow", None)
        constructor(self, *arguments, **options)

    cls.__init__ = without


substitute()

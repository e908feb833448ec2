"""The public surface of KerasHub's classes held against ours: what differs is listed here and in the docs, and nothing else.

docs/models-and-presets.md explains each difference under "Where it differs from KerasHub".
"""

import inspect
from typing import Any

import keras_hub
import pytest
import small_families as families

import clozekit.model
import clozekit.model.layers
from clozekit.tokenizers.byte_pair import BytePairTokenizer
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
from clozekit.tokenizers.wordpiece import WordPieceTokenizer

BASES = (WordPieceTokenizer, BytePairTokenizer, SentencePieceTokenizer)
PAIRS: dict[str, tuple[Any, Any]] = {
    **{
        name: (getattr(keras_hub.models, name), getattr(clozekit.model, name))
        for name in clozekit.model.__all__
        if hasattr(keras_hub.models, name)
    },
    **{
        name: (getattr(keras_hub.layers, name), getattr(clozekit.model.layers, name))
        # ModernBERT's are ours alone.
        for name in clozekit.model.layers.__all__
        if hasattr(keras_hub.layers, name)
    },
    **{cls.__name__: (getattr(keras_hub.tokenizers, cls.__name__), cls) for cls in BASES},
}
NEEDED = {
    "MaskedLMHead",
    "MaskedLMMaskGenerator",
    "PositionEmbedding",
    "TokenAndPositionEmbedding",
    "TransformerEncoder",
}
# Preprocessors and tokenizers are plain classes, no layers of Keras: what Keras calls of a layer they do not have.
OF_LAYERS = {"build", "call", "compute_output_spec", "compute_output_shape", "get_build_config", "load_preset_assets"}
# Of sounds and pictures.
NO_TEXT = {f"{medium}_converter{suffix}" for medium in ("audio", "image", "video") for suffix in ("", "_cls")} | {
    "image_size"
}
# Written by `save_huggingface`, for a task whole.
EXPORT = {"export_to_transformers"}
# On every instance, set by the constructor.
OF_INSTANCES = {"backbone", "token_embedding", "tokenizer"}
MISSING = {
    "Backbone": EXPORT | OF_INSTANCES,
    "MaskedLM": OF_INSTANCES,
    "TextClassifier": OF_INSTANCES,
    "TextEmbedder": OF_INSTANCES,
    "Task": OF_INSTANCES,
    "Preprocessor": OF_LAYERS | NO_TEXT | OF_INSTANCES,
    "Tokenizer": OF_LAYERS | EXPORT,
}
# Method -> arguments that have another name or none: see the docs.
ARGUMENTS = {
    # Of ELECTRA alone, where all others say vocabulary_size; files have its name.
    "Backbone.__init__": {"vocab_size"},
    "Preprocessor.from_preset": {"config_file"},
    "Tokenizer.from_preset": {"config_file"},
    "Tokenizer.id_to_token": {"id"},
    "Tokenizer.load_assets": {"dir_path"},
    "Tokenizer.save_assets": {"dir_path"},
    "PositionEmbedding.build": {"inputs_shape"},
    "TransformerEncoder.build": {"inputs_shape"},
    "TransformerEncoder.compute_output_shape": {"inputs_shape"},
}


def kind_of(name: str) -> str:
    """The entry of MISSING that a class falls under."""
    return next((kind for kind in MISSING if name.endswith(kind)), name)


def test_the_layers_that_people_build_with_are_compared() -> None:
    assert set(PAIRS) >= NEEDED


@pytest.mark.parametrize("name", PAIRS)
def test_the_differences_are_the_listed_ones(name: str) -> None:
    theirs, ours = PAIRS[name]
    bases = [base for base in theirs.__mro__ if base.__module__.startswith("keras_hub.")]
    names = {member for base in bases for member in vars(base) if not member.startswith("_")}
    kind = kind_of(name)
    assert {member for member in names if not hasattr(ours, member)} <= MISSING.get(kind, set())
    differences = {}
    for member in ["__init__", *sorted(names)]:
        their, our = getattr(theirs, member), getattr(ours, member, None)
        if inspect.isclass(their) or not callable(their) or our is None:
            continue
        lacking = arguments_of(their) - arguments_of(our)
        if member == "__init__" or member == "compile":
            lacking -= _arguments_of_bases(ours)
        if lacking:
            differences[f"{kind}.{member}"] = lacking
    assert all(lacking <= ARGUMENTS.get(place, set()) for place, lacking in differences.items()), differences


def arguments_of(function: Any) -> set[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind in kinds} - {"self"}


def _arguments_of_bases(cls: type) -> set[str]:
    return {name for base in cls.__mro__ if "__init__" in vars(base) for name in arguments_of(base.__init__)}


def test_what_constructors_set_is_there() -> None:
    task = families.masked_lm("bert", families.masked_lm_preprocessor("bert"))
    assert task.backbone.token_embedding is task.masked_lm_head.token_embedding
    assert task.preprocessor.tokenizer.backbone_cls is task.preprocessor.backbone_cls is type(task.backbone)
    assert (task.preprocessor.config_file, task.preprocessor.tokenizer.config_file) == (
        keras_hub.src.utils.preset_utils.PREPROCESSOR_CONFIG_FILE,
        keras_hub.src.utils.preset_utils.TOKENIZER_CONFIG_FILE,
    )

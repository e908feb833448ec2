"""`clozekit convert`: a preset from one library's layout into another's, or into a SavedModel, ONNX or LiteRT."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.preset_formats import PRESET_FORMATS
from clozekit.model.families.family_table import TASK_KINDS, family_of, task_class
from clozekit.model.presets.huggingface_heads import HEADS
from clozekit.model.presets.huggingface_preset import GENERATOR, save_huggingface, save_huggingface_backbone
from clozekit.model.presets.lineage_file import Origin
from clozekit.model.presets.load_presets import open_source, save_preset
from clozekit.model.presets.mean_of_presets import mean_of_presets
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.model.presets.preset_targets import check_preset_target, write_whole_preset
from clozekit.model.tasks.pooler import has_pooler
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import require_extras
from clozekit.tokenizers.tokenizer import Tokenizer

# What KerasHub's tokenizers lack or forget, and the value that is theirs.
_TOKENIZER_SETTINGS = {"special_ids": None, "split_on_cjk": True}
# Largest epsilon of a norm that may stand for another: both are lost beside the variance of a trained model's activations.
_SMALL_EPSILON = 1e-5


@dataclass(frozen=True)
class Converted:
    """What was written, what of it is computed otherwise there (a line each), and how it is loaded."""

    what: str
    notes: list[str]
    load_with: str


def convert(source: str, target: str, to: str, more: Sequence[str] = ()) -> Converted:
    """Writes the preset `source`, or the mean of it and `more`, to `target` in the layout `to`, whole or not at all.

    Raises InputError for a preset that can't be had, or that the other library can't compute.
    """
    if to not in PRESET_FORMATS:
        raise InputError(f"a preset is converted to one of {', '.join(PRESET_FORMATS)}, got {to!r}")
    check_preset_target(target, source, *more)
    if to in ("onnx", "litert"):
        require_extras(f"a model for {to}", to)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        task, backbone, preprocessor = _load(source, more)
        sources = tuple(lineage_of(preset) for preset in (source, *more))
        origin = Origin("convert", {"source": sources}, to, preprocessor.tokenizer)
        has_generator = getattr(task, "generator", None) is not None
        if has_generator and to in ("saved_model", "onnx", "litert"):
            raise InputError(
                f"a generator and its discriminator are two models, {to} holds one; `clozekit convert {source} FOLDER --to"
                " huggingface` writes both: convert FOLDER, or FOLDER/generator"
            )
        notes = keras_hub_differences(task, backbone) if to == "keras_hub" else []
        if to == "keras_hub" and task is not None and not task.goes_to_keras_hub:
            notes.append(f"KerasHub loads the backbone and the tokenizer of this {type(task).__name__}, not its head")
        if to == "keras_hub":
            check_keras_hub_tokenizer(preprocessor.tokenizer)
        if to == "huggingface":
            if task is None:
                save_huggingface_backbone(backbone, target, preprocessor, origin)
            else:
                save_huggingface(task, target, origin)
            keeps_pooler = has_pooler(backbone) if task is None else task.keeps_pooler
            if backbone.has_used_pooler and hasattr(backbone, "pooled_dense") and not keeps_pooler:
                notes.append(
                    "its pooler was never trained and is left out: what is built on it begins with a fresh one"
                )
        elif to == "saved_model":
            notes += _write_saved_model(task or backbone, preprocessor, target, origin)
        elif to in ("onnx", "litert"):
            notes += _write_for_runtime(task or backbone, preprocessor, target, to, origin)
        else:
            save_preset(target, task=task, backbone=backbone, preprocessor=preprocessor, origin=origin)
    notes += [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    part = backbone if task is None else task
    what = f"{type(part).__name__} of {part.count_params():,} parameters"
    return Converted(what, notes, _load_with(part, target, to))


def _load(source: str, more: Sequence[str]) -> tuple[Any, Any, Any]:
    """(task or None, backbone, preprocessor) of a preset, the task being the one whose head it has; of the mean with more."""
    if more:
        mean = mean_of_presets([source, *more])
        return mean, mean.backbone, mean.preprocessor
    opened = open_source(source)
    for kind in TASK_KINDS:
        if opened.head_settings(kind) is not None:
            task = task_class(opened.family, kind).from_preset(source)
            return task, task.backbone, task.preprocessor
    backbone = opened.family.backbone.from_preset(source)
    return None, backbone, opened.family.masked_lm_preprocessor.from_preset(source)


def keras_hub_differences(task: Any, backbone: Any) -> list[str]:
    """A line for what KerasHub computes a little otherwise. Raises InputError for what it would compute wrong."""
    if not backbone.is_of_keras_hub:
        raise InputError(
            f"KerasHub must have the family, it has no {type(backbone).__name__}; convert to clozekit or huggingface"
        )
    pairs = [(name, backbone.settings()[name], value) for name, value in backbone.own_setting_defaults.items()]
    if task is not None and task.goes_to_keras_hub:
        pairs += [
            (name, task.head_settings().get(name), value) for name, value in getattr(task, "head_defaults", {}).items()
        ]
    different = [(name, ours, theirs) for name, ours, theirs in pairs if ours != theirs]
    wrong = [part for part in different if not _is_close(*part)]
    if wrong:
        listed = ", ".join(f"{name} {ours} (KerasHub's is {theirs})" for name, ours, theirs in wrong)
        raise InputError(
            f"KerasHub's {type(backbone).__name__} has no settings for {listed}; convert to clozekit or huggingface, which do"
        )
    if not different:
        return []
    listed = ", ".join(f"{name} {ours} becomes {theirs}" for name, ours, theirs in different)
    return [f"KerasHub will compute this {type(task or backbone).__name__} a little otherwise: {listed}"]


def check_keras_hub_tokenizer(tokenizer: Tokenizer) -> None:
    """Raises InputError for a tokenizer whose ids KerasHub can't give."""
    lacking = [f"the added token {row['content']!r:.80}" for row in tokenizer.added_config().get("added_tokens", [])]
    lacking += [name for name, usual in _TOKENIZER_SETTINGS.items() if getattr(tokenizer, name, usual) != usual]
    lacking += ["compose"] if getattr(tokenizer, "compose", False) != getattr(type(tokenizer), "compose", False) else []
    if lacking:
        raise InputError(
            f"KerasHub's {type(tokenizer).__name__} has nothing for {', '.join(lacking[:5])}"
            f"{f' and {len(lacking) - 5} more' if len(lacking) > 5 else ''}; convert to clozekit or huggingface, which do"
        )


def _is_close(name: str, ours: Any, theirs: Any) -> bool:
    if name.endswith("activation"):
        return {ours, theirs} == {"gelu", "gelu_approximate"}
    # A rate of dropout matters to training alone.
    return name == "attention_dropout" or max(ours, theirs) <= _SMALL_EPSILON


def _write_saved_model(part: Any, preprocessor: Any, target: str, origin: Origin) -> list[str]:
    from clozekit.deploy.formats.saved_model import TEXTS_SIGNATURE, write_saved_model

    signatures: list[str] = []
    write_whole_preset(
        target, lambda directory: signatures.extend(write_saved_model(part, preprocessor, directory)), origin
    )
    if TEXTS_SIGNATURE in signatures:
        return ["takes ids (serving_default) and strings (texts); import tensorflow_text before it is loaded"]
    added = " with added tokens" if "added_tokens" in preprocessor.tokenizer.added_config() else ""
    return [
        f"takes ids alone: the tokenizer of {family_of(part).name}{added} runs outside of the graph; for raw strings in Python,"
        ' task.save("model.keras")'
    ]


def _write_for_runtime(part: Any, preprocessor: Any, target: str, to: str, origin: Origin) -> list[str]:
    if to == "onnx":
        from clozekit.deploy.formats.onnx_export import write_onnx as write
    else:
        from clozekit.deploy.formats.litert_export import write_litert as write
    notes: list[str] = []
    write_whole_preset(target, lambda directory: notes.extend(write(part, preprocessor, directory)), origin)
    return notes


def _load_with(part: Any, target: str, to: str) -> str:
    name = type(part).__name__
    if to == "huggingface":
        if part.kind == "backbone":
            return f'transformers.AutoModel.from_pretrained("{target}")'
        if part.kind == "text_embedder":
            return f'sentence_transformers.SentenceTransformer("{target}")'
        detector = "AutoModelForPreTraining" if family_of(part).huggingface.has_detector else "AutoModel"
        if part.kind == "replaced_token_detector":
            return f'transformers.{detector}.from_pretrained("{target}")'
        if getattr(part, "generator", None) is not None:
            return (
                f'transformers.{detector}.from_pretrained("{target}"), and its generator by'
                f' transformers.AutoModelForMaskedLM.from_pretrained("{target}", subfolder="{GENERATOR}")'
            )
        return f'transformers.AutoModel{HEADS[part.kind].architectures[0]}.from_pretrained("{target}")'
    if to == "saved_model":
        return f'tensorflow.saved_model.load("{target}").signatures["serving_default"]'
    if to == "onnx":
        return f'onnxruntime.InferenceSession("{target}/model.onnx")'
    if to == "litert":
        return f'ai_edge_litert.interpreter.Interpreter("{target}/model.tflite").get_signature_runner()'
    if to == "keras_hub" and not getattr(part, "goes_to_keras_hub", True):
        return f'keras_hub.models.{type(part.backbone).__name__}.from_preset("{target}")'
    module = "keras_hub.models" if to == "keras_hub" else "clozekit.model"
    return f'{module}.{name}.from_preset("{target}")'

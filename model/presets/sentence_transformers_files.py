"""The files with which sentence-transformers loads a text embedder: what follows the model, read and written.

`modules.json` lists the model, its pooling and, where vectors have the length 1, that. The pooling is written as all versions
since the first read it (a flag a mode); the one name that version 5 on writes is read too.
"""

import json
from collections.abc import Callable
from pathlib import Path

from clozekit.model.common.tensors import Settings
from clozekit.model.presets.keras_preset import read_json
from clozekit.model.tasks.text_embedder import POOLINGS, TextEmbedder
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.open_preset import PresetFiles
from clozekit.tokenizers.settings.json_files import read_list

MODULES_FILE = "modules.json"
_POOLING_FOLDER = "1_Pooling"
_TEXTS_FILE, _PROMPTS_FILE = "sentence_bert_config.json", "config_sentence_transformers.json"
_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def write_sentence_transformers_files(task: TextEmbedder, directory: Path) -> None:
    """Writes them beside the model."""
    modules = [("", "Transformer"), (_POOLING_FOLDER, "Pooling"), *([("2_Normalize", "Normalize")] * task.normalize)]
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (path, name) in enumerate(modules)
    ]
    pooling = {
        "word_embedding_dimension": task.backbone.hidden_dim,
        **{flag: mode == task.pooling for mode, flag in _FLAGS.items()},
        "include_prompt": True,
    }
    length = task.backbone.max_sequence_length if task.preprocessor is None else task.preprocessor.sequence_length
    (directory / _POOLING_FOLDER).mkdir()
    for name, content in (
        (MODULES_FILE, listed),
        (f"{_POOLING_FOLDER}/config.json", pooling),
        (_TEXTS_FILE, {"max_seq_length": length, "do_lower_case": False}),
        (
            _PROMPTS_FILE,
            {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        ),
    ):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def text_embedder_settings(files: PresetFiles, is_lower_case: Callable[[], bool]) -> Settings | None:
    """Constructor arguments of the embedder that the files describe; None where there are none. is_lower_case: whether the
    tokenizer makes no difference of capitals.

    Raises InputError for what an embedder here can't compute.
    """
    path = files.path(MODULES_FILE, required=False)
    if path is None:
        return None
    _check_texts(files, is_lower_case)
    named = f"{files.source}: {MODULES_FILE}"
    modules = read_list(path, named)
    names = [str(module.get("type", "")).split(".")[-1] if isinstance(module, dict) else "" for module in modules]
    if names[:2] != ["Transformer", "Pooling"] or names[2:] not in ([], ["Normalize"]):
        raise InputError(
            f"a text embedder here is a Transformer, its Pooling and perhaps Normalize, {named} lists {', '.join(names)};"
            " such a model can't be loaded here"
        )
    folder = str(modules[1].get("path", _POOLING_FOLDER))
    pooling = read_json(files.required_path(f"{folder}/config.json"), f"{files.source}: {folder}/config.json", False)
    modes = pooling.get("pooling_mode", [mode for mode, flag in _FLAGS.items() if pooling.get(flag)] or "mean")
    modes = [modes] if isinstance(modes, str) else modes
    if modes not in ([mode] for mode in POOLINGS):
        raise InputError(
            f"the pooling of a text embedder must be one of {', '.join(POOLINGS)}, {files.source}: {folder}/config.json says"
            f" {modes!r:.80}; such a model can't be loaded here"
        )
    return {"pooling": modes[0], "normalize": names[2:] == ["Normalize"]}


def _check_texts(files: PresetFiles, is_lower_case: Callable[[], bool]) -> None:
    """Raises InputError where texts are changed before they are tokenized."""
    if _option(files, _TEXTS_FILE, "do_lower_case") is True and not is_lower_case():
        raise InputError(
            f"texts go to the tokenizer as they are, {files.source}: {_TEXTS_FILE} says do_lower_case and the tokenizer keeps"
            " capitals; such a model can't be loaded here"
        )
    prompt = _option(files, _PROMPTS_FILE, "default_prompt_name")
    if prompt is not None:
        raise InputError(
            f"texts go to the tokenizer as they are, {files.source}: {_PROMPTS_FILE} puts the prompt {prompt!r:.80} before"
            " each; such a model can't be loaded here"
        )


def _option(files: PresetFiles, name: str, key: str) -> object:
    path = files.path(name, required=False)
    return None if path is None else read_json(path, f"{files.source}: {name}", False).get(key)


def max_tokens(files: PresetFiles) -> int | None:
    """The tokens at which a text is cut, where the files say so."""
    length = _option(files, _TEXTS_FILE, "max_seq_length")
    return length if isinstance(length, int) and not isinstance(length, bool) and length > 0 else None

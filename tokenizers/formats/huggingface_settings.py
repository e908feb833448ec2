"""What `tokenizer_config.json` and `config.json` say of a tokenizer: honoured, of no matter here, or refused by name.

As transformers 5.23 reads them: the class that `tokenizer_config.json` names, else that of `config.json`, else that of its
`model_type`, builds its steps from its own settings and takes only the vocabulary of `tokenizer.json`; a plain class takes
all of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.huggingface_added_tokens import ROLES
from clozekit.tokenizers.formats.vocabulary_files import read_json

CONFIG_FILE, SETTINGS_FILE, ADDED_FILE, MAP_FILE = (
    "config.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
# The class of transformers that takes tokenizer.json as it stands, under its names of several versions.
PLAIN_CLASS = "PreTrainedTokenizerFast"
_PLAIN = (PLAIN_CLASS, "TokenizersBackend")
# Class of transformers -> ours that gives the same ids.
CLASSES = {
    "BertTokenizer": "BertTokenizer",
    "DistilBertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "RobertaTokenizer": "RobertaTokenizer",
    "AlbertTokenizer": "AlbertTokenizer",
    "XLMRobertaTokenizer": "XLMRobertaTokenizer",
    "DebertaV2Tokenizer": "DebertaV3Tokenizer",
}
# Those of the classes whose tokenizer.json is read as it stands. transformers 5 makes other steps of its own for DeBERTa, without
# the rules of its model; version 4 made the model's, which are the authors'.
_READ_WHOLE = ("DebertaV2Tokenizer",)
# model_type -> the class that transformers takes where no class is named.
_IMPLIED = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "mobilebert": "MobileBertTokenizer",
    "roberta": "RobertaTokenizer",
    "albert": "AlbertTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    # It has no class of its own.
    "modernbert": PLAIN_CLASS,
}
# Settings that are honoured, and what each may be; tokens and their roles are looked at elsewhere.
_HONOURED: dict[str, tuple[Any, ...]] = {
    "do_lower_case": (True, False),
    "strip_accents": (True, False, None),
    "tokenize_chinese_chars": (True, False),
    "keep_accents": (True, False),
    "add_prefix_space": (True, False),
}
_TOKENS = frozenset(
    {
        "added_tokens_decoder",
        "additional_special_tokens",
        "extra_special_tokens",
        "model_specific_special_tokens",
        "tokenizer_class",
    }
)
# Settings that would change ids and are not honoured: key -> the values that are taken, as if it were not there.
_ONLY: dict[str, tuple[Any, ...]] = {
    "do_basic_tokenize": (True,),
    "never_split": (None, []),
    "split_special_tokens": (False, None),
    "split_by_punct": (False,),
    "vocab_type": ("spm",),
    "remove_space": (True,),
    "sp_model_kwargs": ({}, None),
    "byte_fallback": (False, None),
    "add_dummy_prefix": (True,),
    "normalization": (False, None),
    "extra_ids": (0, None),
    "padding_side": ("right",),
    "truncation_side": ("right",),
    "fast_tokenizer_files": (None, [], ["tokenizer.json"]),
    "auto_map": (None, {}),
}
# Of these nothing that is done here depends: names, paths, lengths, how ids are decoded, chats, offsets, versions.
_PASSED_OVER = frozenset(
    [
        "_commit_hash",
        "_name_or_path",
        "backend",
        "chat_control_tokens",
        "chat_template",
        "clean_up_tokenization_spaces",
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
        "device_map",
        "errors",
        "files_loaded",
        "from_slow",
        "full_tokenizer_file",
        "init_inputs",
        "is_fast",
        "is_local",
        "legacy",
        "local_files_only",
        "max_len",
        "max_length",
        "merges_file",
        "model_input_names",
        "model_max_length",
        "model_type",
        "name_or_path",
        "pad_to_multiple_of",
        "pad_token_type_id",
        "padding",
        "processor_class",
        "response_schema",
        "response_template",
        "return_token_type_ids",
        "special_tokens_map_file",
        "stride",
        "tokenizer_file",
        "tokenizer_type",
        "transformers_version",
        "trim_offsets",
        "unk_id",
        "truncation",
        "truncation_strategy",
        "use_fast",
        "verbose",
        "vocab_file",
        "vocab_size",
    ]
)


def settings_of(directory: Path) -> dict[str, Any]:
    return object_of(directory / SETTINGS_FILE)


def object_of(path: Path) -> dict[str, Any]:
    """The object in a JSON file, nothing where there is none."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, it does not; copy it again")
    return content


def class_of(directory: Path, settings: Mapping[str, Any]) -> str | None:
    """The class of transformers that the files are of, PLAIN_CLASS where that takes tokenizer.json as it stands, None
    where they don't say. Raises InputError for a class that is none of ours."""
    config = object_of(directory / CONFIG_FILE)
    for named, file in ((settings.get("tokenizer_class"), SETTINGS_FILE), (config.get("tokenizer_class"), CONFIG_FILE)):
        if named is not None:
            return _known(named, f"{directory / file} says {named!r:.80}")
    model_type = config.get("model_type")
    if model_type is None:
        return None
    if not isinstance(model_type, str) or model_type not in _IMPLIED:
        raise InputError(
            f"a tokenizer must be that of {', '.join(_IMPLIED)}, {directory / CONFIG_FILE} says model_type"
            f" {model_type!r:.80}; its ids can't be given here"
        )
    return _IMPLIED[model_type]


def _known(named: Any, where: str) -> str:
    name = str(named).removesuffix("Fast") if named not in _PLAIN else PLAIN_CLASS
    if not isinstance(named, str) or (name not in CLASSES and name != PLAIN_CLASS):
        raise InputError(f"a tokenizer must be one of {', '.join(CLASSES)}, {where}; its ids can't be given here")
    return name


def is_own(class_name: str | None) -> bool:
    """Whether a class builds its steps itself, whatever tokenizer.json says of them."""
    return class_name not in (None, PLAIN_CLASS, *_READ_WHOLE)


def check_settings(settings: Mapping[str, Any], directory: Path, has_description: bool) -> None:
    """Raises InputError for a setting that would change ids and is not honoured, and for one that is not known.

    has_description: whether tokenizer.json is there; without it transformers adds begin and end as settings say.
    """
    where = directory / SETTINGS_FILE
    only = {**_ONLY, **_HONOURED}
    if not has_description:
        only |= {"add_bos_token": (None,), "add_eos_token": (None,)}
    for key, value in settings.items():
        if key in only:
            if not any(type(value) is type(one) and value == one for one in only[key]):
                allowed = " or ".join(map(repr, only[key]))
                raise InputError(
                    f"{where} must not set {key} to anything but {allowed}, it is {value!r:.80}; such a tokenizer's ids"
                    " can't be given here"
                )
        elif key in _TOKENS or key in _PASSED_OVER or key in ("add_bos_token", "add_eos_token"):
            continue
        elif key not in ROLES and not (key.endswith("_token") and isinstance(value, str)):
            raise InputError(
                f"{where} sets {key!r:.80}, which is not known here; if it changes no ids, take it out of a copy of the files"
            )


def check_kind(kind: str, class_name: str | None, directory: Path) -> None:
    """Raises InputError when the files are not of the class that they name."""
    if class_name is not None and class_name != PLAIN_CLASS and CLASSES[class_name] != kind:
        raise InputError(
            f"the files of a tokenizer must be those of its class, {directory} says {class_name} and holds those of a"
            f" {kind}; copy the right ones"
        )

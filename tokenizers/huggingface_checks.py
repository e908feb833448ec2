"""What files of Hugging Face say of a tokenizer: what is not honoured here is refused by name, never passed over.

As transformers 5 reads them: the class that `tokenizer_config.json` names, else that of `model_type` in `config.json`,
builds its steps from its own settings and takes only the vocabulary of `tokenizer.json`; a plain class takes all of it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.tokenizer import Tokenizer
from clozekit.tokenizers.vocabulary_files import read_json

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
}
# model_type -> the class that transformers takes where no class is named.
_IMPLIED = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "mobilebert": "MobileBertTokenizer",
    "roberta": "RobertaTokenizer",
    "albert": "AlbertTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
# Settings that change ids and are not honoured: key -> the only value that is taken, as it is where the key is absent.
_ONLY: dict[str, Any] = {
    "do_basic_tokenize": True,
    "never_split": None,
    "split_special_tokens": False,
    "remove_space": True,
    "sp_model_kwargs": {},
    "byte_fallback": False,
    "add_dummy_prefix": True,
    "normalization": False,
}
_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")
# The roles of a family's pieces under transformers' names.
_OUR_ROLES = {
    "bos_token": "start_token",
    "eos_token": "end_token",
    "cls_token": "start_token",
    "sep_token": "end_token",
}


def settings_of(directory: Path) -> dict[str, Any]:
    return _object(directory / SETTINGS_FILE)


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, it does not; copy it again")
    return content


def class_of(directory: Path, settings: Mapping[str, Any]) -> str | None:
    """The class of transformers that the files are of, PLAIN_CLASS where that takes tokenizer.json as it stands, None
    where they don't say. Raises InputError for a class that is none of ours."""
    config = _object(directory / CONFIG_FILE)
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


def check_settings(settings: Mapping[str, Any], directory: Path) -> None:
    """Raises InputError for a setting that would change ids and is not honoured."""
    for key, only in _ONLY.items():
        value = settings.get(key, only)
        if value != only and value not in (None, [], {}):
            raise InputError(
                f"{directory / SETTINGS_FILE} must not set {key}, it is {value!r:.80}; such a tokenizer's ids can't be given"
                " here"
            )


def check_kind(kind: str, class_name: str | None, directory: Path) -> None:
    """Raises InputError when the files are not of the class that they name."""
    if class_name is not None and class_name != PLAIN_CLASS and CLASSES[class_name] != kind:
        raise InputError(
            f"the files of a tokenizer must be those of its class, {directory} says {class_name} and holds those of a"
            f" {kind}; copy the right ones"
        )


def added_tokens(directory: Path, settings: Mapping[str, Any], content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every token that some file adds: {"content", "id" or None, and flags}. content: of tokenizer.json."""
    found = []
    listed = content.get("added_tokens") or []
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(listed, list) or not isinstance(decoder, dict):
        raise InputError(f"{directory} must list added tokens as transformers does, it does not; copy it again")
    rows: list[tuple[Any, Any]] = [(row.get("id") if isinstance(row, dict) else None, row) for row in listed]
    rows += [(_number(number), row) for number, row in decoder.items()]
    rows += [(number, {"content": piece}) for piece, number in _object(directory / ADDED_FILE).items()]
    more = settings.get("additional_special_tokens") or settings.get("extra_special_tokens") or []
    more = [*(more.values() if isinstance(more, dict) else more)]
    more += _object(directory / MAP_FILE).get("additional_special_tokens") or []
    rows += [(None, row if isinstance(row, dict) else {"content": row}) for row in more]
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("content"), str):
            raise InputError(f"an added token must have its text, {directory} has {row!r:.80}; copy it again")
        found.append({**row, "id": number})
    return found


def _number(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 12 else None


def check_added_tokens(
    tokenizer: Tokenizer, tokens: Iterable[Mapping[str, Any]], directory: Path, spaces_vanish: bool
) -> None:
    """Raises InputError for an added token that is none of the family's special ones, or has another id or other flags.

    spaces_vanish: whether white space is dropped before the pieces, so that it is one whether the mask takes it.
    """
    special = {*tokenizer.special_tokens, *([tokenizer.unknown_token] if tokenizer.unknown_token else [])}
    mask = tokenizer.special_token_names["mask_token"]
    pieces = tokenizer.get_vocabulary()
    for token in tokens:
        piece, number = token["content"], token["id"]
        if piece not in special or piece not in pieces:
            raise InputError(
                f"the tokens that are added to a {type(tokenizer).__name__} must be its special ones"
                f" ({', '.join(sorted(special))}), {directory} adds {piece!r:.80}; its ids can't be given here: take a"
                " tokenizer without it"
            )
        ours = tokenizer.token_to_id(piece)
        if number is not None and number != ours:
            raise InputError(
                f"the ids of a {type(tokenizer).__name__} must be the family's, {directory} has {number} for {piece} where"
                f" {ours} is due; train its tokenizer with `clozekit vocab`, or in the family's own format"
            )
        takes_space = piece == mask and tokenizer.mask_takes_space_before
        flags = {"single_word": False, "rstrip": False, **({} if spaces_vanish else {"lstrip": takes_space})}
        for flag, due in flags.items():
            if flag in token and token[flag] is not due:
                raise InputError(
                    f"{flag} of {piece} must be {due} in a {type(tokenizer).__name__}, {directory} says {token[flag]!r:.20};"
                    " its ids can't be given here"
                )


def check_roles(tokenizer: Tokenizer, settings: Mapping[str, Any], directory: Path) -> None:
    """Raises InputError where a special token is another piece than the family's."""
    named = {**_object(directory / MAP_FILE), **settings}
    for role in _ROLES:
        value = named.get(role)
        piece = value.get("content") if isinstance(value, dict) else value
        due = tokenizer.special_token_names.get(role) or tokenizer.special_token_names.get(_OUR_ROLES.get(role, role))
        if role == "unk_token":
            due = tokenizer.unknown_token
        if piece is not None and due is not None and piece != due:
            raise InputError(
                f"the {role} of a {type(tokenizer).__name__} must be {due}, {directory} says {piece!r:.80}; its ids can't be"
                " given here"
            )


def check_description(path: Path, content: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    """Raises InputError for a part of tokenizer.json that is none of those allowed. rules: dotted path -> values."""
    for dotted, allowed in rules.items():
        value: Any = content
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
            raise InputError(
                f"{dotted} of {path} must be {' or '.join(map(repr, allowed))}, it is {value!r:.80}; its ids can't be given"
                " here"
            )

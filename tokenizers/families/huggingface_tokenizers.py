"""Tokenizers from the files of Hugging Face: `tokenizer.json`, `vocab.txt`, `vocab.json` and `merges.txt`, `*.model`."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clozekit.tokenizers.byte_pair import byte_characters
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.formats.huggingface_added_tokens import ROLES, Told, in_order, told_tokens
from clozekit.tokenizers.formats.huggingface_description import (
    BERT_NORMALIZER,
    BERT_PRE_TOKENIZER,
    BYTE_LEVEL,
    COMPOSED,
    bpe_model,
    check_decoder,
    check_part,
    check_post_processor,
    check_top,
    word_piece_model,
)
from clozekit.tokenizers.formats.huggingface_settings import (
    ADDED_FILE,
    MAP_FILE,
    check_kind,
    check_settings,
    class_of,
    is_own,
    object_of,
    settings_of,
)
from clozekit.tokenizers.formats.huggingface_unigram import from_description, from_model
from clozekit.tokenizers.formats.vocabulary_files import pieces_of
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer
from clozekit.tokenizers.wordpiece import MAX_WORD_CHARACTERS, SUFFIX_INDICATOR

TOKENIZER_FILE = "tokenizer.json"
# Constructor arguments that are the vocabulary's, not settings.
_VOCABULARY_ARGUMENTS = {"vocabulary", "merges", "proto", "added_tokens", "special_ids"}


class Files(NamedTuple):
    """What the files of a directory say. content: of tokenizer.json, empty where there is none."""

    directory: Path
    settings: dict[str, Any]
    class_name: str | None
    content: dict[str, Any]
    told: Told

    @property
    def description(self) -> Path:
        return self.directory / TOKENIZER_FILE


def hugging_face_tokenizer(
    directory: Path, classes: Mapping[str, type[Tokenizer]], overrides: dict[str, Any]
) -> Tokenizer:
    """The tokenizer of a directory of Hugging Face; classes: by their names; overrides: go before what the files say.

    Raises InputError when the directory holds none of the files, or a tokenizer that is none of the families, or says
    of it what is not honoured here.
    """
    settings = settings_of(directory)
    class_name = class_of(directory, settings)
    content = object_of(directory / TOKENIZER_FILE)
    check_settings(settings, directory, bool(content))
    token_map = object_of(directory / MAP_FILE)
    added = object_of(directory / ADDED_FILE)
    takes_all = bool(content) and not is_own(class_name)
    told = told_tokens(directory, settings, content, token_map, added, takes_all)
    files = Files(directory, settings, class_name, content, told)
    kind, arguments = _arguments(files, classes)
    check_kind(kind, class_name, directory)
    cls = classes[kind]
    check_overrides(cls, overrides)
    tokenizer = cls(**{**arguments, **overrides, **_lacking(cls, arguments, told)})
    kept = _kept(tokenizer, told)
    if kept:
        tokenizer = cls(**{**arguments, **overrides, "added_tokens": kept})
    _check_ids(tokenizer, told)
    check_roles(tokenizer, settings, token_map, directory)
    if content and (takes_all or kind == "AlbertTokenizer"):
        start, end = tokenizer.special_token_names["start_token"], tokenizer.special_token_names["end_token"]
        ids = {piece: tokenizer.token_to_id(piece) for piece in (start, end)}
        check_post_processor(
            files.description, content.get("post_processor"), start, end, cls.doubles_separators, ids, cls.has_segments
        )
    return tokenizer


def check_overrides(family: type[Tokenizer], overrides: dict[str, Any]) -> None:
    arguments = set(inspect.signature(family).parameters) - _VOCABULARY_ARGUMENTS
    unknown = sorted(set(overrides) - arguments)
    if unknown:
        raise TypeError(f"{family.__name__} takes {', '.join(sorted(arguments))}, got {', '.join(unknown)}; check them")


def _arguments(files: Files, classes: Mapping[str, type[Tokenizer]]) -> tuple[str, dict[str, Any]]:
    """(name of the family's class, its constructor arguments but for the added tokens)."""
    directory = files.directory
    models = sorted([*directory.glob("*.model"), *directory.glob("*.spm")])
    if files.content:
        check_top(files.description, files.content)
        return _from_description(files, classes, models)
    if models:
        return from_model(models[0], files.settings, files.class_name)
    if (directory / "vocab.txt").is_file():
        vocabulary = _with_leading(pieces_of(directory / "vocab.txt")[0], files.told, classes["BertTokenizer"])
        return "BertTokenizer", {"vocabulary": vocabulary, **_bert_settings(files.settings)}
    if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        pieces = pieces_of(directory / "vocab.json")[0]
        return "RobertaTokenizer", {
            "vocabulary": _with_leading(pieces, files.told, classes["RobertaTokenizer"]),
            "merges": directory / "merges.txt",
            "add_prefix_space": bool(files.settings.get("add_prefix_space", False)),
            **_unknown_bytes(pieces, None, "<unk>"),
        }
    raise InputError(
        f"a tokenizer directory must hold {TOKENIZER_FILE}, vocab.txt, vocab.json with merges.txt, or a *.model,"
        f" {directory} does not; make a tokenizer with `clozekit vocab`"
    )


def _from_description(
    files: Files, classes: Mapping[str, type[Tokenizer]], models: Sequence[Path]
) -> tuple[str, dict[str, Any]]:
    path, model = files.description, files.content.get("model")
    if not isinstance(model, dict):
        raise InputError(f"model of {path} must be an object, it is {model!r:.80}; copy the file again")
    kind = model.get("type")
    if kind is None:
        # Files of early versions leave the type out.
        kind = "BPE" if "merges" in model else "WordPiece" if "max_input_chars_per_word" in model else None
    if kind == "WordPiece":
        return "BertTokenizer", _wordpiece(files, model, classes["BertTokenizer"])
    if kind == "BPE":
        name = _byte_pair_class(files, model, classes)
        return name, _byte_pairs(files, model, classes[name])
    if kind == "Unigram":
        return from_description(path, files.content, files.settings, files.class_name, files.told, models)
    raise InputError(
        f"the model of {path} must be WordPiece, BPE or Unigram, it is {kind!r:.80}; use another tokenizer"
    )


def _bert_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The steps of transformers' BERT class."""
    lowercase, accents = settings.get("do_lower_case", True), settings.get("strip_accents")
    return {
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else accents,
        "split_on_cjk": settings.get("tokenize_chinese_chars", True),
    }


def _wordpiece(files: Files, model: dict[str, Any], cls: type[Tokenizer]) -> dict[str, Any]:
    path, content = files.description, files.content
    normalizer = content.get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        found = normalizer.get("type") if isinstance(normalizer, dict) else normalizer
        raise InputError(
            f"the normalizer of {path} must be BertNormalizer, it is {found!r:.80}; its ids can't be given here"
        )
    check_part(path, normalizer, BERT_NORMALIZER, "normalizer")
    before = content.get("pre_tokenizer")
    found = before.get("type") if isinstance(before, dict) else before
    check_part(path, found, ("BertPreTokenizer",), "pre_tokenizer.type")
    check_part(path, before, BERT_PRE_TOKENIZER, "pre_tokenizer")
    check_part(path, model, word_piece_model(MAX_WORD_CHARACTERS), "model")
    check_decoder(path, content.get("decoder"), "WordPiece")
    prefix = model.get("continuing_subword_prefix") or SUFFIX_INDICATOR
    vocabulary = _with_leading(pieces_of(_filled(model["vocab"], files.told, cls))[0], files.told, cls)
    if is_own(files.class_name):
        check_part(path, prefix, (SUFFIX_INDICATOR,), "model.continuing_subword_prefix")
        return {"vocabulary": vocabulary, **_bert_settings(files.settings)}
    lowercase, accents = bool(normalizer.get("lowercase")), normalizer.get("strip_accents")
    split_on_cjk = normalizer.get("handle_chinese_chars")
    return {
        "vocabulary": vocabulary,
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else accents,
        "split_on_cjk": True if split_on_cjk is None else split_on_cjk,
        "suffix_indicator": prefix,
        "oov_token": model.get("unk_token") or "[UNK]",
    }


def _byte_pairs(files: Files, model: dict[str, Any], cls: type[Tokenizer]) -> dict[str, Any]:
    path, content = files.description, files.content
    before = content.get("pre_tokenizer")
    if not isinstance(before, dict) or before.get("type") != "ByteLevel" or before.get("use_regex", True) is not True:
        found = before.get("type") if isinstance(before, dict) else before
        raise InputError(
            f"the pre_tokenizer of {path} must be ByteLevel with GPT-2's expression, it is {found!r:.80}; only such BPE is"
            " known here"
        )
    check_part(path, before, BYTE_LEVEL, "pre_tokenizer")
    normalizer, composes = content.get("normalizer"), {}
    if hasattr(cls, "compose"):
        composes = {"compose": normalizer is not None}
        if normalizer is not None:
            check_part(path, normalizer, COMPOSED, "normalizer")
    else:
        check_part(path, normalizer, (None,), "normalizer")
    check_part(path, model, bpe_model(str(cls.unknown_token)), "model")
    check_decoder(path, content.get("decoder"), "ByteLevel")
    own = is_own(files.class_name)
    pieces = pieces_of(_filled(model["vocab"], files.told, cls))[0]
    prefix = files.settings.get("add_prefix_space", False) if own else before.get("add_prefix_space", True)
    return {
        "vocabulary": _with_leading(pieces, files.told, cls),
        "merges": model["merges"],
        "add_prefix_space": bool(prefix),
        **composes,
        **_unknown_bytes(pieces, None if own else model.get("unk_token"), str(cls.unknown_token)),
    }


def _byte_pair_class(files: Files, model: dict[str, Any], classes: Mapping[str, type[Tokenizer]]) -> str:
    """RoBERTa's, unless the special tokens are ModernBERT's."""
    known = {*(model["vocab"] if isinstance(model.get("vocab"), dict) else ()), *(t.content for t in files.told.tokens)}
    special = {
        name: set(classes[name].special_token_names.values()) for name in ("RobertaTokenizer", "ModernBertTokenizer")
    }
    is_modern = special["ModernBertTokenizer"] <= known and not special["RobertaTokenizer"] <= known
    return "ModernBertTokenizer" if is_modern else "RobertaTokenizer"


def _lacking(cls: type[Tokenizer], arguments: Mapping[str, Any], told: Told) -> dict[str, Any]:
    """All that is added, where special tokens stand behind other added ones, as ModernBERT's do behind runs of spaces."""
    vocabulary = arguments.get("vocabulary")
    if cls.__name__ != "ModernBertTokenizer" or set(cls.special_token_names.values()) <= set(vocabulary or ()):
        return {}
    return {"added_tokens": told.tokens}


def _filled(vocabulary: dict[str, int], told: Told, cls: type[Tokenizer]) -> dict[str, int]:
    """The vocabulary, with special tokens that stand in the list of added ones alone, where they fill its gaps."""
    special = set(cls.special_token_names.values()) - vocabulary.keys()
    if not special:
        return vocabulary
    taken = set(vocabulary.values()) if all(isinstance(number, int) for number in vocabulary.values()) else set()
    gaps = {piece: number for piece, number, _ in told.ids if piece in special and number < len(taken)}
    return {**vocabulary, **{piece: number for piece, number in gaps.items() if number not in taken}}


def _unknown_bytes(pieces: Sequence[str], unknown: str | None, ours: str) -> dict[str, Any]:
    """A byte that is no piece is left out there where the model has no `unk_token`; ours makes it `ours` if there is one."""
    known = set(pieces)
    is_whole = all(character in known for character in byte_characters())
    # ModernBERT's stands behind the pieces.
    has_unknown = ours in known or ours != "<unk>"
    return {} if is_whole or unknown is not None or not has_unknown else {"drops_unknown": True}


def _with_leading(pieces: list[str], told: Told, cls: type[Tokenizer]) -> list[str]:
    """The pieces, and those special tokens of the family that are the first to be added behind them."""
    known, special = set(pieces), set(cls.special_token_names.values())
    leading = []
    for token in told.tokens:
        if token.content not in known:
            if token.content not in special:
                break
            leading.append(token.content)
    return [*pieces, *leading]


def _kept(tokenizer: Tokenizer, told: Told) -> list[AddedToken]:
    """The tokens that the family does not find by itself, or not so."""
    kept = []
    pieces = set(tokenizer.own_pieces())
    user_defined = tokenizer.user_defined_pieces() if isinstance(tokenizer, SentencePieceTokenizer) else None
    for token in told.tokens:
        if user_defined is not None and token.single_word and any(p in token.content for p in tokenizer.special_tokens):
            # Where the token is no word, their model finds the special token in it.
            raise InputError(
                f"single_word of {token.content!r:.80} must be false in a {type(tokenizer).__name__}, whose special tokens"
                " are pieces too; its ids can't be given here"
            )
        by_itself = token.content in (user_defined or ()) and not token.has_flags()
        if not by_itself and (token.content not in pieces or not tokenizer.finds_as_usual(token, told.tokens)):
            kept.append(token)
    return kept


def _check_ids(tokenizer: Tokenizer, told: Told) -> None:
    """Raises InputError where files give a token another id than it gets behind the vocabulary, as it does there."""
    ids = in_order(told.tokens, {piece: number for number, piece in enumerate(tokenizer.get_vocabulary())})
    for piece, number, named in told.ids:
        if piece in ids and ids[piece] != number:
            raise InputError(
                f"an added token has the id of its piece, or the next behind the vocabulary, {named} has {number} for"
                f" {piece!r:.80} where {ids[piece]} is due; copy the files again, or write them anew"
            )


# The roles of a family's pieces under transformers' names.
_OUR_ROLES = {
    "bos_token": "start_token",
    "eos_token": "end_token",
    "cls_token": "start_token",
    "sep_token": "end_token",
}


def check_roles(tokenizer: Tokenizer, settings: Mapping[str, Any], token_map: Mapping[str, Any], where: Path) -> None:
    """Raises InputError where a special token is another piece than the family's."""
    named = {**token_map, **settings}
    # BERT puts [CLS] and [SEP] around its texts, whatever these are: they are tokens like others that are added.
    free = (
        ("bos_token", "eos_token")
        if "unk_token" in tokenizer.special_token_names and not tokenizer.mask_takes_space_before
        else ()
    )
    for role in ROLES:
        value = named.get(role)
        piece = value.get("content") if isinstance(value, dict) else value
        due = tokenizer.special_token_names.get(role) or tokenizer.special_token_names.get(_OUR_ROLES.get(role, role))
        if role == "unk_token":
            due = tokenizer.unknown_token
        if piece is not None and due is not None and piece != due and role not in free:
            raise InputError(
                f"the {role} of a {type(tokenizer).__name__} must be {due}, {where} says {piece!r:.80}; its ids can't be"
                " given here"
            )

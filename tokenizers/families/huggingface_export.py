"""Tokenizers as files of Hugging Face: `tokenizer.json`, its settings, and the vocabulary in the family's own format."""

import base64
import json
from pathlib import Path
from typing import Any

from clozekit.tokenizers.byte_pair import BytePairTokenizer, byte_characters
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.formats.huggingface_description import COMPOSED_SPACES
from clozekit.tokenizers.formats.huggingface_settings import PLAIN_CLASS
from clozekit.tokenizers.formats.sentence_piece_proto import UNIGRAM, UNUSED
from clozekit.tokenizers.formats.sentence_piece_rules import white_space_rules
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
from clozekit.tokenizers.tokenizer import TOKENIZER_FILE, Tokenizer
from clozekit.tokenizers.wordpiece import SUFFIX_INDICATOR, WordPieceTokenizer


def write_huggingface_tokenizer(tokenizer: Tokenizer, directory: Path, model_max_length: int) -> None:
    """Writes the files that `transformers.AutoTokenizer` reads; the ids of texts are the same there.

    transformers finds special tokens in every text, as `special_tokens_in_strings=True` does here.
    Raises InputError for a tokenizer that Hugging Face's library can't be.
    """
    if isinstance(tokenizer, WordPieceTokenizer):
        described, settings = _word_pieces(tokenizer, directory)
    elif isinstance(tokenizer, BytePairTokenizer):
        described, settings = _byte_pairs(tokenizer, directory)
    elif isinstance(tokenizer, SentencePieceTokenizer):
        described, settings = _sentence_pieces(tokenizer, directory)
    else:
        raise InputError(f"a tokenizer must be of a family that Hugging Face knows, got {type(tokenizer).__name__}")
    own = {row["content"]: row for row in [*_special_tokens(tokenizer), *described.pop("added")]}
    told = {
        token.content: {"id": tokenizer.token_to_id(token.content), **token._asdict()}
        for token in tokenizer.added_tokens
    }
    added = list({**own, **told}.values())
    start, end = getattr(tokenizer, "start_token"), getattr(tokenizer, "end_token")  # noqa: B009 - set by families
    doubled = tokenizer.doubles_separators
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "post_processor": _post_processor(tokenizer, start, end, doubled),
        **described,
    }
    roles = {"bos_token": start, "eos_token": end, "cls_token": start, "sep_token": end}
    roles |= {role: getattr(tokenizer, role) for role in ("pad_token", "mask_token")}
    if tokenizer.unknown_token in tokenizer.get_vocabulary():
        roles["unk_token"] = str(tokenizer.unknown_token)
    has_segments = tokenizer.has_segments and not doubled
    inputs = ["input_ids", *(["token_type_ids"] if has_segments else []), "attention_mask"]
    config = {
        **settings,
        **roles,
        "model_max_length": model_max_length,
        "model_input_names": inputs,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in content["added_tokens"]
        },
    }
    _write(directory / TOKENIZER_FILE, content)
    _write(directory / "tokenizer_config.json", config)
    _write(directory / "special_tokens_map.json", roles)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _added(tokenizer: Tokenizer, piece: str, takes_space: bool, special: bool) -> dict[str, Any]:
    return {
        "id": tokenizer.token_to_id(piece),
        "content": piece,
        "single_word": False,
        "lstrip": takes_space,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def _special_tokens(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    mask = tokenizer.special_token_names["mask_token"]
    pieces = list(tokenizer.special_tokens)
    if tokenizer.unknown_token in tokenizer.get_vocabulary() and tokenizer.unknown_token not in pieces:
        pieces.append(str(tokenizer.unknown_token))
    return [
        _added(tokenizer, piece, takes_space=piece == mask and tokenizer.mask_takes_space_before, special=True)
        for piece in pieces
    ]


def _post_processor(tokenizer: Tokenizer, start: str, end: str, doubled: bool) -> dict[str, Any]:
    """[CLS] a [SEP] b [SEP] with segments, or <s> a </s></s> b </s> without."""

    def special(piece: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": piece, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    second = 0 if doubled else 1
    single = [special(start, 0), text("A", 0), special(end, 0)]
    pair = [*single, *([special(end, 0)] if doubled else []), text("B", second), special(end, second)]
    ids = {
        piece: {"id": piece, "ids": [tokenizer.token_to_id(piece)], "tokens": [piece]} for piece in sorted({start, end})
    }
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": ids}


def _word_pieces(tokenizer: WordPieceTokenizer, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not tokenizer.split:
        raise InputError("Hugging Face's BERT tokenizer splits texts into words, this one has split=False")
    pieces = tokenizer.own_pieces()
    (directory / "vocab.txt").write_bytes("".join(f"{piece}\n" for piece in pieces).encode())
    described = {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": tokenizer.split_on_cjk,
            "strip_accents": tokenizer.strip_accents,
            "lowercase": tokenizer.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": tokenizer.suffix_indicator, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": tokenizer.oov_token,
            "continuing_subword_prefix": tokenizer.suffix_indicator,
            "max_input_chars_per_word": 100,
            "vocab": {piece: token_id for token_id, piece in enumerate(pieces)},
        },
        "added": [],
    }
    usual = tokenizer.suffix_indicator == SUFFIX_INDICATOR and tokenizer.oov_token == "[UNK]"
    settings = {
        "tokenizer_class": (tokenizer.huggingface_class if usual else None) or PLAIN_CLASS,
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_on_cjk,
    }
    return described, settings


def _byte_pairs(tokenizer: BytePairTokenizer, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    ids = {piece: token_id for token_id, piece in enumerate(tokenizer.own_pieces())}
    for left, right in tokenizer.merges:
        lacking = [part for part in (left, right, left + right) if part not in ids]
        if lacking:
            raise InputError(
                f"every part of a merge must be a piece at Hugging Face, the vocabulary lacks {lacking[0]!r} of the merge"
                f" {left!r} {right!r}; learn a vocabulary with `clozekit vocab`"
            )
    (directory / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False) + "\n", encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in tokenizer.merges)
    (directory / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    # A byte without a piece is <unk> here; transformers' own RoBERTa class would drop it.
    whole = all(character in ids for character in byte_characters())
    drops = whole or tokenizer.drops_unknown or tokenizer.unknown_token not in ids
    unknown = None if drops else tokenizer.unknown_token
    described = {
        "normalizer": {"type": "NFC"} if getattr(tokenizer, "compose", False) else None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": tokenizer.add_prefix_space,
            "trim_offsets": True,
            "use_regex": True,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": ids,
            "merges": [[left, right] for left, right in tokenizer.merges],
        },
        "added": [_added(tokenizer, piece, False, False) for piece in tokenizer.unsplittable_tokens],
    }
    settings = {
        "tokenizer_class": (tokenizer.huggingface_class if unknown is None else None) or PLAIN_CLASS,
        "add_prefix_space": tokenizer.add_prefix_space,
    }
    return described, settings


def _sentence_pieces(tokenizer: SentencePieceTokenizer, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    model = tokenizer.model
    usual = (
        model.model_type == UNIGRAM
        and model.add_dummy_prefix
        and model.remove_extra_whitespaces
        and model.escape_whitespaces
        and not model.treat_whitespace_as_suffix
        and UNUSED not in model.types
    )
    if not usual or tokenizer.add_bos or tokenizer.add_eos:
        raise InputError(
            "a SentencePiece model for Hugging Face must be Unigram with sentencepiece's default handling of spaces,"
            " without unused pieces, add_bos and add_eos; this one is not"
        )
    is_xlm_roberta = isinstance(tokenizer, XLMRobertaTokenizer)
    assert tokenizer.proto is not None
    rows = list(zip(model.pieces, model.scores, strict=True))
    if is_xlm_roberta:
        scores = dict(rows[3:])
        rows = [(piece, scores.get(piece, 0.0)) for piece in tokenizer.own_pieces()]
    composes = getattr(tokenizer, "compose", False)
    if not composes and (not isinstance(tokenizer, XLMRobertaTokenizer) or tokenizer.special_ids is None):
        # With ids or steps of its own it would say something else than tokenizer.json.
        (directory / tokenizer.huggingface_model_file).write_bytes(tokenizer.proto)
    added = sorted(tokenizer.user_defined_pieces() - set(tokenizer.special_tokens), key=tokenizer.token_to_id)
    # Rules of white space alone are what cutting there does without them.
    rules = b"" if model.precompiled_charsmap == white_space_rules() else model.precompiled_charsmap
    charsmap = base64.b64encode(rules).decode()
    spaces = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    described = {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap} if charsmap else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, spaces]},
        "decoder": spaces,
        "model": {
            "type": "Unigram",
            "unk_id": tokenizer.token_to_id(str(tokenizer.unknown_token)),
            "vocab": [[piece, score] for piece, score in rows],
            "byte_fallback": model.byte_fallback,
        },
        "added": [_added(tokenizer, piece, False, False) for piece in added],
    }
    if composes:
        described["normalizer"], described["pre_tokenizer"] = COMPOSED_SPACES, spaces
    # transformers' ALBERT class would lower-case and strip accents before the model normalises.
    own = is_xlm_roberta and not model.byte_fallback and not added and tokenizer.token_to_id("<unk>") == 3
    return described, {"tokenizer_class": (tokenizer.huggingface_class if own else None) or PLAIN_CLASS}

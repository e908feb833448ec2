"""Tokenizers of ALBERT, XLM-RoBERTa and DeBERTa V3 from Hugging Face: `tokenizer.json`, or a SentencePiece model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.albert_text_steps import with_text_steps
from clozekit.tokenizers.formats.huggingface_added_tokens import Told
from clozekit.tokenizers.formats.huggingface_description import (
    UNIGRAM_MODEL,
    check_decoder,
    check_part,
    composes_spaces,
    has_white_space_split,
    normalizer_steps,
)
from clozekit.tokenizers.formats.huggingface_settings import CLASSES, CONFIG_FILE, PLAIN_CLASS, is_own, object_of
from clozekit.tokenizers.formats.sentence_piece_proto import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    read_model,
    read_proto,
    write_model,
)
from clozekit.tokenizers.formats.sentence_piece_rules import white_space_rules

ALBERT, XLM_ROBERTA, DEBERTA_V3 = "AlbertTokenizer", "XLMRobertaTokenizer", "DebertaV3Tokenizer"
_ALBERT_PIECES = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
_XLM_ROBERTA_PIECES = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# [MASK] stands behind the pieces, in the list of added tokens.
_MASK = "[MASK]"
_DEBERTA_V3_PIECES = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", _MASK)
_QUOTES = ["quotes ``", "quotes ''"]
_STEPS = ["NFKD", "StripAccents", "Lowercase", "Precompiled"]
# What only makes white space less, which is dropped anyhow.
_SPACES = ("Strip", "spaces")


def from_model(path: Path, settings: dict[str, Any], class_name: str | None) -> tuple[str, dict[str, Any]]:
    """(class, constructor arguments) of a SentencePiece model without a tokenizer.json beside it."""
    _check_prefix_space(path.parent, settings)
    model_type = object_of(path.parent / CONFIG_FILE).get("model_type")
    if CLASSES.get(class_name or "") == DEBERTA_V3 or model_type == "deberta-v2":
        _check_case(path.parent, settings)
        return DEBERTA_V3, {"proto": path}
    if class_name != ALBERT and model_type != "albert":
        return XLM_ROBERTA, {"proto": path}
    proto = read_proto(path)[0]
    if class_name != PLAIN_CLASS:
        proto = with_text_steps(proto, str(path), *_class_steps(settings))
    return ALBERT, {"proto": proto}


def _class_steps(settings: dict[str, Any]) -> tuple[bool, bool]:
    """Whether transformers' ALBERT class lower-cases and strips accents."""
    return settings.get("do_lower_case", True), not settings.get("keep_accents", False)


def _check_prefix_space(directory: Path, settings: dict[str, Any]) -> None:
    if settings.get("add_prefix_space") is False:
        raise InputError(
            f"a SentencePiece tokenizer puts ▁ before its texts, {directory}/tokenizer_config.json sets add_prefix_space to"
            " False; its ids can't be given here"
        )


def _check_case(directory: Path, settings: dict[str, Any]) -> None:
    if settings.get("do_lower_case", False) is not False:
        raise InputError(
            f"DeBERTa V3's tokenizer leaves upper and lower case to its model, {directory}/tokenizer_config.json sets"
            f" do_lower_case to {settings['do_lower_case']!r:.80}; its ids can't be given here"
        )


def from_description(
    path: Path,
    content: dict[str, Any],
    settings: dict[str, Any],
    class_name: str | None,
    told: Told,
    models: Sequence[Path],
) -> tuple[str, dict[str, Any]]:
    """(class, constructor arguments) of the Unigram model in tokenizer.json. models: beside it, of the same vocabulary."""
    model = content["model"]
    check_part(path, model, UNIGRAM_MODEL, "model")
    check_decoder(path, content.get("decoder"), "Metaspace")
    if CLASSES.get(class_name or "") == DEBERTA_V3:
        _check_case(path.parent, settings)
        if models:
            rows = [(piece, float(score)) for piece, score in model["vocab"]]
            return DEBERTA_V3, {"proto": _same_model(path, models[0], rows, None, DEBERTA_V3)}
    if not is_own(class_name) and composes_spaces(path, content):
        return _composed(path, model, settings, class_name, told, models)
    kinds, rules = normalizer_steps(path, content.get("normalizer"))
    if is_own(class_name) and "type" not in (content.get("normalizer") or {}):
        # Their classes look for rules in what is called a sequence alone.
        rules = b""
    rows = [(piece, float(score)) for piece, score in model["vocab"]]
    rows += _leading([piece for piece, _ in rows], told)
    pieces = [piece for piece, _ in rows]
    name = _family(path, pieces, class_name)
    own = is_own(class_name)
    if own:
        _check_prefix_space(path.parent, settings)
        unknown_id, is_split = (1 if name == ALBERT else 3), True
        steps = _class_steps(settings) if name == ALBERT else None
    else:
        # One that is left out says nothing, as in files that are written by hand; null says that there is none.
        unknown_id, is_split = model.get("unk_id"), True
        if "pre_tokenizer" in content:
            is_split = has_white_space_split(path, content["pre_tokenizer"], kinds)
        steps = _told_steps(path, kinds, name)
        found = next((token.content for token in told.tokens if token.normalized), None)
        if name == DEBERTA_V3 and not is_split and found is not None:
            # Behind the rules a space between two of them is a piece there.
            raise InputError(
                f"normalized of {found!r:.80} must be false where {path} does not cut texts at white space; its ids can't be given"
                " here: load the SentencePiece *.model instead"
            )
    unknown = pieces.index("[UNK]" if name == DEBERTA_V3 else "<unk>")
    check_part(path, unknown_id, (unknown,), "model.unk_id" if not own else "the id of <unk>")
    arguments: dict[str, Any] = {}
    # White space is dropped there before any rule, and would be letters to a model without rules.
    spaced = white_space_rules() if is_split and not rules else rules
    proto = _same_model(path, models[0], rows, (rules, spaced), name) if models else None
    if proto is None or read_model(proto, str(path)).precompiled_charsmap != spaced:
        proto = _written(rows, spaced, name)
    if name == XLM_ROBERTA:
        ids = {piece: pieces.index(piece) for piece in _XLM_ROBERTA_PIECES}
        usual = [0, 1, 2, 3, len(pieces) - 1]
        arguments = {} if list(ids.values()) == usual else {"special_ids": ids}
    elif steps is not None:
        proto = with_text_steps(proto, str(path), *steps)
    return name, {"proto": proto, **arguments}


def _composed(
    path: Path,
    model: dict[str, Any],
    settings: dict[str, Any],
    class_name: str | None,
    told: Told,
    models: Sequence[Path],
) -> tuple[str, dict[str, Any]]:
    """DeBERTa V3's with the steps of transformers 5. models: of the same pieces, whose rules are passed over there too."""
    if CLASSES.get(class_name or "") == DEBERTA_V3:
        _check_prefix_space(path.parent, settings)
    rows = [(piece, float(score)) for piece, score in model["vocab"]]
    rows += _leading([piece for piece, _ in rows], told)
    pieces = [piece for piece, _ in rows]
    lacking = [piece for piece in (*_DEBERTA_V3_PIECES, "▁") if piece not in pieces]
    if lacking:
        raise InputError(
            f"the pieces of a Unigram model behind NFC must be DeBERTa V3's, {path} lacks {lacking[0]}; its ids can't be given here"
        )
    check_part(path, model.get("unk_id"), (pieces.index("[UNK]"),), "model.unk_id")
    if models:
        _same_model(path, models[0], rows, None, DEBERTA_V3)
    return DEBERTA_V3, {"proto": _written(rows, b"", DEBERTA_V3), "compose": True}


def _leading(pieces: list[str], told: Told) -> list[tuple[str, float]]:
    """Special tokens that are the first to be added behind the rows are rows here."""
    special = {*_ALBERT_PIECES, *_XLM_ROBERTA_PIECES, *_DEBERTA_V3_PIECES}
    leading: list[tuple[str, float]] = []
    known = set(pieces)
    for token in told.tokens:
        if token.content not in known:
            if token.content not in special:
                break
            leading.append((token.content, 0.0))
    return leading


def _family(path: Path, pieces: list[str], class_name: str | None) -> str:
    found = set(pieces)
    fits = [
        name
        for name, needed in (
            (XLM_ROBERTA, _XLM_ROBERTA_PIECES),
            (ALBERT, _ALBERT_PIECES),
            (DEBERTA_V3, _DEBERTA_V3_PIECES),
        )
        if found.issuperset(needed)
    ]
    named = CLASSES.get(class_name or "")
    if named in fits:
        return str(named)
    if fits == [XLM_ROBERTA, ALBERT] and pieces[:4] != list(_XLM_ROBERTA_PIECES[:4]):
        return ALBERT
    if not fits:
        raise InputError(
            f"a Unigram {path.name} must be ALBERT's, XLM-RoBERTa's or DeBERTa V3's, with their special tokens among its pieces, {path} is"
            " not; its ids can't be given here: load the SentencePiece *.model instead"
        )
    return fits[0]


def _told_steps(path: Path, kinds: list[str], name: str) -> tuple[bool, bool] | None:
    """(lower-cases, strips accents) where the description has ALBERT's steps before the rules, None where it has none."""
    if name == DEBERTA_V3 and kinds[:2] == ["Strip", "Precompiled"]:
        # What it takes from the ends, the rules make spaces, or nothing.
        kinds = kinds[1:]
    before = [kind for kind in kinds if kind not in _SPACES]
    quotes = before[: len(_QUOTES)] == _QUOTES
    steps = before[len(_QUOTES) :] if quotes else before
    in_order = steps == [kind for kind in _STEPS if kind in steps] and ("NFKD" in steps) == ("StripAccents" in steps)
    of_albert = quotes or steps not in ([], ["Precompiled"])
    # White space is made less after the rules have made it.
    spaces_last = kinds[: len(before)] == before
    if not in_order or not spaces_last or (of_albert and name != ALBERT) or (of_albert and not quotes):
        raise InputError(
            f"normalizer of {path} must be ALBERT's, XLM-RoBERTa's or DeBERTa V3's, with the steps of normalisation that transformers"
            f" writes, it has {', '.join(kinds)}; its ids can't be given here"
        )
    return ("Lowercase" in steps, "StripAccents" in steps) if of_albert else None


def _written(rows: list[tuple[str, float]], rules: bytes, name: str) -> bytes:
    """The model that the rows came from."""
    if name == XLM_ROBERTA:
        ordinary = [(piece, score, NORMAL) for piece, score in rows if piece not in _XLM_ROBERTA_PIECES]
        return write_model([("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), *ordinary], rules)
    special, unknown = (_DEBERTA_V3_PIECES, "[UNK]") if name == DEBERTA_V3 else (_ALBERT_PIECES, "<unk>")
    if name == DEBERTA_V3 and rows[-1][0] == _MASK:
        rows = rows[:-1]
    types = [UNKNOWN if piece == unknown else CONTROL if piece in special else NORMAL for piece, _ in rows]
    return write_model([(*row, kind) for row, kind in zip(rows, types, strict=True)], rules)


def _same_model(
    path: Path, model_path: Path, rows: list[tuple[str, float]], rules: tuple[bytes, ...] | None, name: str
) -> bytes:
    """The bytes of a model whose pieces, scores and rules are those of tokenizer.json, which transformers reads; rules None: any."""
    proto = read_proto(model_path)[0]
    model = read_model(proto, str(model_path))
    if name == XLM_ROBERTA:
        theirs = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        theirs += [*zip(model.pieces[3:], model.scores[3:], strict=True), ("<mask>", 0.0)]
        free = set(_XLM_ROBERTA_PIECES)
    else:
        theirs = list(zip(model.pieces, model.scores, strict=True))
        free = {piece for piece, kind in zip(model.pieces, model.types, strict=True) if kind != NORMAL}
        if name == DEBERTA_V3:
            rows = [row for row in rows if row[0] != _MASK or _MASK in model.pieces]
    scores = np.array([score for _, score in rows], np.float32).tolist()
    same = [piece for piece, _ in rows] == [piece for piece, _ in theirs] and all(
        ours == score or piece in free for ours, (piece, score) in zip(scores, theirs, strict=True)
    )
    if not same or (rules is not None and model.precompiled_charsmap not in rules):
        what = "rules of normalisation" if same else "pieces or scores"
        raise InputError(
            f"{path} must be the translation of {model_path.name} beside it, its {what} are others; take the old one of the"
            " two away"
        )
    return proto

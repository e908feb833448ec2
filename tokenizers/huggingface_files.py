"""Tokenizers from the files of Hugging Face: `tokenizer.json`, `vocab.txt`, `vocab.json` and `merges.txt`, `*.model`."""

import base64
from pathlib import Path
from typing import Any

from clozekit.tokenizers.albert_text_steps import with_text_steps
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.sentence_piece_proto import CONTROL, NORMAL, UNKNOWN, read_proto, write_model
from clozekit.tokenizers.vocabulary_files import read_json

TOKENIZER_FILE = "tokenizer.json"
# The class of transformers that takes tokenizer.json as it stands; a family's own builds some of it anew.
PLAIN_CLASS = "PreTrainedTokenizerFast"
_RULES = "Precompiled"


def hugging_face_arguments(directory: Path) -> tuple[str, dict[str, Any]]:
    """(name of the family's class, its constructor arguments) for a directory of Hugging Face.

    A SentencePiece model goes before `tokenizer.json`, which only translates it. Raises InputError when the directory
    holds none of the files, or a tokenizer that is none of the four families.
    """
    settings = _settings(directory)
    models = sorted([*directory.glob("*.model"), *directory.glob("*.spm")])
    if models:
        if "albert" not in _named(directory, settings):
            return "XLMRobertaTokenizer", {"proto": models[0]}
        return "AlbertTokenizer", {"proto": _albert_model(models[0], settings)}
    if (directory / TOKENIZER_FILE).is_file():
        return _from_tokenizer_json(directory / TOKENIZER_FILE)
    if (directory / "vocab.txt").is_file():
        lowercase = bool(settings.get("do_lower_case", True))
        accents = settings.get("strip_accents")
        return "BertTokenizer", {
            "vocabulary": directory / "vocab.txt",
            "lowercase": lowercase,
            "strip_accents": lowercase if accents is None else accents,
            "split_on_cjk": bool(settings.get("tokenize_chinese_chars", True)),
        }
    if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        return "RobertaTokenizer", {
            "vocabulary": directory / "vocab.json",
            "merges": directory / "merges.txt",
            "add_prefix_space": bool(settings.get("add_prefix_space", False)),
        }
    raise InputError(
        f"a tokenizer directory must hold {TOKENIZER_FILE}, vocab.txt, vocab.json with merges.txt, or a *.model,"
        f" {directory} does not; make a tokenizer with `clozekit vocab`"
    )


def _settings(directory: Path) -> dict[str, Any]:
    path = directory / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _named(directory: Path, settings: dict[str, Any]) -> str:
    config = directory / "config.json"
    model_type = read_json(config).get("model_type", "") if config.is_file() else ""
    return f"{settings.get('tokenizer_class', '')} {model_type}".lower()


def _from_tokenizer_json(path: Path) -> tuple[str, dict[str, Any]]:
    content = read_json(path)
    model = content.get("model") or {}
    kind = model.get("type")
    if kind is None:
        # Files of early versions leave the type out.
        kind = "BPE" if "merges" in model else "WordPiece" if "max_input_chars_per_word" in model else None
    if kind == "WordPiece":
        return "BertTokenizer", _wordpiece(path, content, model)
    if kind == "BPE":
        return "RobertaTokenizer", _byte_pairs(path, content, model)
    if kind == "Unigram":
        return _unigram(path, content, model)
    raise InputError(f"the model of {path} must be WordPiece, BPE or Unigram, it is {kind!r}; use another tokenizer")


def _with_added_tokens(vocabulary: dict[str, int], content: dict[str, Any]) -> dict[str, int]:
    added = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    return {**vocabulary, **{piece: token_id for piece, token_id in added.items() if piece not in vocabulary}}


def _wordpiece(path: Path, content: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    normalizer = content.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        raise InputError(f"the normalizer of {path} must be BertNormalizer, it is {normalizer.get('type')!r}")
    lowercase, accents = bool(normalizer.get("lowercase")), normalizer.get("strip_accents")
    return {
        "vocabulary": _with_added_tokens(model["vocab"], content),
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else accents,
        "split_on_cjk": bool(normalizer.get("handle_chinese_chars", True)),
        "suffix_indicator": model.get("continuing_subword_prefix", "##"),
        "oov_token": model.get("unk_token", "[UNK]"),
    }


def _byte_pairs(path: Path, content: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    before = content.get("pre_tokenizer") or {}
    if before.get("type") != "ByteLevel" or not before.get("use_regex", True):
        raise InputError(
            f"the pre_tokenizer of {path} must be ByteLevel with GPT-2's expression, it is {before.get('type')!r};"
            " only such BPE is known here"
        )
    return {
        "vocabulary": _with_added_tokens(model["vocab"], content),
        "merges": model["merges"],
        "add_prefix_space": bool(before.get("add_prefix_space", False)),
    }


def _albert_model(path: Path, settings: dict[str, Any]) -> bytes:
    """The SentencePiece model, with the steps of transformers' ALBERT class before it where that is to read it."""
    proto = read_proto(path)[0]
    if settings.get("tokenizer_class") == PLAIN_CLASS:
        return proto
    lowercase = bool(settings.get("do_lower_case", True))
    return with_text_steps(proto, str(path), lowercase, strip_accents=not settings.get("keep_accents", False))


def _unigram(path: Path, content: dict[str, Any], model: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """ALBERT's or XLM-RoBERTa's rows turned back into the model they came from."""
    rows = [(piece, float(score)) for piece, score in model["vocab"]]
    pieces = [piece for piece, _ in rows]
    normalizer = content.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    kinds = [step.get("type") for step in steps]
    charsmap = next((base64.b64decode(step["precompiled_charsmap"]) for step in steps if step["type"] == _RULES), b"")
    is_xlm_roberta = pieces[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    is_albert = {"<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"} <= set(pieces)
    # The order in which transformers writes ALBERT's steps; XLM-RoBERTa has the last alone.
    order = ["NFKD", "StripAccents", "Lowercase", _RULES]
    told = [kind for kind in kinds if kind not in ("Replace", "Strip")]
    usual = told == [kind for kind in order if kind in told] and ("NFKD" in told) == ("StripAccents" in told)
    before = told[:-1] if told[-1:] == [_RULES] else told
    if not usual or model.get("byte_fallback") or not (is_albert or (is_xlm_roberta and not before)):
        raise InputError(
            f"a Unigram {path.name} must be ALBERT's or XLM-RoBERTa's, with the steps of normalisation that transformers"
            f" writes, {path} is not; load the SentencePiece *.model instead"
        )
    if is_xlm_roberta:
        ordinary = [(piece, score, NORMAL) for piece, score in rows[4:] if piece != "<mask>"]
        first = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
        return "XLMRobertaTokenizer", {"proto": write_model([*first, *ordinary], charsmap)}
    special = {token["content"] for token in content.get("added_tokens") or [] if token.get("special", True)}
    types = [UNKNOWN if piece == "<unk>" else CONTROL if piece in special else NORMAL for piece in pieces]
    proto = write_model([(*row, kind) for row, kind in zip(rows, types, strict=True)], charsmap)
    replaced = {step["pattern"].get("String") for step in steps if step["type"] == "Replace" and "pattern" in step}
    if before or "``" in replaced:
        proto = with_text_steps(proto, str(path), "Lowercase" in before, "StripAccents" in before)
    return "AlbertTokenizer", {"proto": proto}

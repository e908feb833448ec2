"""Tokenizers from the files of Hugging Face: `tokenizer.json`, `vocab.txt`, `vocab.json` and `merges.txt`, `*.model`."""

import base64
from pathlib import Path
from typing import Any

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.sentence_piece_proto import CONTROL, NORMAL, UNKNOWN, write_model
from clozekit.tokenizers.vocabulary_files import read_json

TOKENIZER_FILE = "tokenizer.json"


def hugging_face_arguments(directory: Path) -> tuple[str, dict[str, Any]]:
    """(name of the family's class, its constructor arguments) for a directory of Hugging Face.

    A SentencePiece model goes before `tokenizer.json`, which only translates it. Raises InputError when the directory
    holds none of the files, or a tokenizer that is none of the four families.
    """
    settings = _settings(directory)
    models = sorted([*directory.glob("*.model"), *directory.glob("*.spm")])
    if models:
        family = "AlbertTokenizer" if "albert" in _named(directory, settings) else "XLMRobertaTokenizer"
        return family, {"proto": models[0]}
    if (directory / TOKENIZER_FILE).is_file():
        return _from_tokenizer_json(directory / TOKENIZER_FILE)
    if (directory / "vocab.txt").is_file():
        lowercase = bool(settings.get("do_lower_case", True))
        accents = settings.get("strip_accents")
        return "BertTokenizer", {
            "vocabulary": directory / "vocab.txt",
            "lowercase": lowercase,
            "strip_accents": lowercase if accents is None else accents,
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
        return "XLMRobertaTokenizer", _unigram(path, content, model)
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


def _unigram(path: Path, content: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """XLM-RoBERTa's rows turned back into the model they came from."""
    rows = [(piece, float(score)) for piece, score in model["vocab"]]
    first = [piece for piece, _ in rows[:4]]
    normalizer = content.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    kinds = {step.get("type") for step in steps}
    if first != ["<s>", "<pad>", "</s>", "<unk>"] or not kinds <= {"Precompiled", "Replace", "Strip"}:
        raise InputError(
            f"a Unigram {path.name} must be XLM-RoBERTa's, with the model's own normalisation, {path} is not;"
            " load the SentencePiece *.model instead"
        )
    charsmaps = [base64.b64decode(step["precompiled_charsmap"]) for step in steps if step["type"] == "Precompiled"]
    ordinary = [(piece, score, NORMAL) for piece, score in rows[4:] if piece != "<mask>"]
    special = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    return {"proto": write_model([*special, *ordinary], charsmaps[0] if charsmaps else b"")}

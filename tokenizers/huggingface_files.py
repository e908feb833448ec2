"""Tokenizers from the files of Hugging Face: `tokenizer.json`, `vocab.txt`, `vocab.json` and `merges.txt`, `*.model`."""

import base64
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clozekit.tokenizers.albert_text_steps import with_text_steps
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.huggingface_checks import (
    PLAIN_CLASS,
    added_tokens,
    check_added_tokens,
    check_description,
    check_kind,
    check_roles,
    check_settings,
    class_of,
    settings_of,
)
from clozekit.tokenizers.sentence_piece_proto import CONTROL, NORMAL, UNKNOWN, read_proto, write_model
from clozekit.tokenizers.tokenizer import Tokenizer
from clozekit.tokenizers.vocabulary_files import read_json
from clozekit.tokenizers.wordpiece import MAX_WORD_CHARACTERS

TOKENIZER_FILE = "tokenizer.json"
_RULES = "Precompiled"


def hugging_face_tokenizer(
    directory: Path, classes: Mapping[str, type[Tokenizer]], overrides: dict[str, Any]
) -> Tokenizer:
    """The tokenizer of a directory of Hugging Face; classes: by their names; overrides: go before what the files say.

    A SentencePiece model goes before `tokenizer.json`, which only translates it. Raises InputError when the directory
    holds none of the files, or a tokenizer that is none of the four families, or says of it what is not honoured here.
    """
    settings = settings_of(directory)
    class_name = class_of(directory, settings)
    check_settings(settings, directory)
    kind, arguments, content = _arguments(directory, settings, class_name)
    check_kind(kind, class_name, directory)
    cls = classes[kind]
    check_overrides(cls, overrides)
    tokenizer = cls(**{**arguments, **overrides})
    vanish = kind in ("AlbertTokenizer", "XLMRobertaTokenizer") and (
        class_name not in (None, PLAIN_CLASS)
        or "WhitespaceSplit" in str(content.get("pre_tokenizer", "WhitespaceSplit"))
    )
    check_added_tokens(tokenizer, added_tokens(directory, settings, content), directory, vanish)
    check_roles(tokenizer, settings, directory)
    return tokenizer


def check_overrides(family: type[Tokenizer], overrides: dict[str, Any]) -> None:
    arguments = set(inspect.signature(family).parameters) - {"vocabulary", "merges", "proto", "added_tokens"}
    unknown = sorted(set(overrides) - arguments)
    if unknown:
        raise TypeError(f"{family.__name__} takes {', '.join(sorted(arguments))}, got {', '.join(unknown)}; check them")


def _arguments(
    directory: Path, settings: dict[str, Any], class_name: str | None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(name of the family's class, its constructor arguments, the content of tokenizer.json where that was read)."""
    models = sorted([*directory.glob("*.model"), *directory.glob("*.spm")])
    if models:
        # What is added to the model's pieces stands beside it.
        beside = read_json(directory / TOKENIZER_FILE) if (directory / TOKENIZER_FILE).is_file() else {}
        content = beside if isinstance(beside, dict) else {}
        if class_name != "AlbertTokenizer" and not _is_albert(directory):
            return "XLMRobertaTokenizer", {"proto": models[0]}, content
        return "AlbertTokenizer", {"proto": _albert_model(models[0], settings)}, content
    if (directory / TOKENIZER_FILE).is_file():
        content = read_json(directory / TOKENIZER_FILE)
        if not isinstance(content, dict):
            raise InputError(f"{directory / TOKENIZER_FILE} must hold a JSON object, it does not; copy it again")
        try:
            return *_from_tokenizer_json(directory / TOKENIZER_FILE, content, settings, class_name), content
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{directory / TOKENIZER_FILE} must be as Hugging Face's library writes it, it is not ({error!r:.120}); copy"
                " it again"
            ) from error
    if (directory / "vocab.txt").is_file():
        return "BertTokenizer", {"vocabulary": directory / "vocab.txt", **_bert_settings(settings)}, {}
    if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        return (
            "RobertaTokenizer",
            {
                "vocabulary": directory / "vocab.json",
                "merges": directory / "merges.txt",
                "add_prefix_space": bool(settings.get("add_prefix_space", False)),
            },
            {},
        )
    raise InputError(
        f"a tokenizer directory must hold {TOKENIZER_FILE}, vocab.txt, vocab.json with merges.txt, or a *.model,"
        f" {directory} does not; make a tokenizer with `clozekit vocab`"
    )


def _is_albert(directory: Path) -> bool:
    """Whether `config.json` says so; the plain class of tokenizer_config.json leaves it open."""
    config = directory / "config.json"
    found = read_json(config) if config.is_file() else {}
    return isinstance(found, dict) and found.get("model_type") == "albert"


def _bert_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The steps of transformers' BERT class."""
    lowercase, accents = bool(settings.get("do_lower_case", True)), settings.get("strip_accents")
    return {
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else bool(accents),
        "split_on_cjk": bool(settings.get("tokenize_chinese_chars", True)),
    }


def _from_tokenizer_json(
    path: Path, content: dict[str, Any], settings: dict[str, Any], class_name: str | None
) -> tuple[str, dict[str, Any]]:
    model = content.get("model") or {}
    kind = model.get("type")
    if kind is None:
        # Files of early versions leave the type out.
        kind = "BPE" if "merges" in model else "WordPiece" if "max_input_chars_per_word" in model else None
    own = class_name not in (None, PLAIN_CLASS)
    if kind == "WordPiece":
        arguments = _wordpiece(path, content, model)
        return "BertTokenizer", {**arguments, **(_bert_settings(settings) if own else {})}
    if kind == "BPE":
        arguments = _byte_pairs(path, content, model)
        if own:
            arguments["add_prefix_space"] = bool(settings.get("add_prefix_space", False))
        return "RobertaTokenizer", arguments
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
    check_description(
        path,
        content,
        {
            "normalizer.clean_text": (None, True),
            "pre_tokenizer.type": ("BertPreTokenizer",),
            "model.max_input_chars_per_word": (None, MAX_WORD_CHARACTERS),
        },
    )
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
    check_description(
        path,
        content,
        {
            "normalizer": (None,),
            "model.dropout": (None, 0.0, 0),
            "model.unk_token": (None, "<unk>"),
            "model.continuing_subword_prefix": (None, ""),
            "model.end_of_word_suffix": (None, ""),
            "model.fuse_unk": (None, False),
            "model.byte_fallback": (None, False),
            "model.ignore_merges": (None, False),
        },
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


def _check_spaces(path: Path, described: Any) -> None:
    """Raises InputError unless a pre_tokenizer puts ▁ before each word, as sentencepiece does by default."""
    steps = described.get("pretokenizers", [described]) if isinstance(described, dict) else []
    told = [step.get("type") for step in steps]
    spaces = steps[-1] if steps else {}
    usual = told in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]) and spaces.get("replacement") == "▁"
    scheme = spaces.get("prepend_scheme", "always" if spaces.get("add_prefix_space", True) else "never")
    if not usual or scheme != "always" or not spaces.get("split", True):
        raise InputError(
            f"the pre_tokenizer of {path} must put ▁ before every word (Metaspace, always), it is {described!r:.120}; its"
            " ids can't be given here"
        )


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
    _check_spaces(path, content.get("pre_tokenizer"))
    check_description(path, content, {"model.unk_id": (pieces.index("<unk>"),)})
    if is_xlm_roberta:
        if "<mask>" not in pieces or pieces[-1] != "<mask>":
            found = pieces.index("<mask>") if "<mask>" in pieces else "missing"
            raise InputError(
                f"<mask> must be the last piece of XLM-RoBERTa's vocabulary, in {path} its id is {found} of {len(pieces)}"
                " (as transformers' train_new_from_iterator writes it); its ids can't be given here: train it with"
                " sentencepiece, or with `clozekit vocab --family xlm_roberta`"
            )
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

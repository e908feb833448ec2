"""The steps that `tokenizer.json` describes, compared with those of the families: every part is known, or refused."""

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError

# A part of a description: the values it may have, what it must pass, or the parts it is made of.
Shape = tuple[Any, ...] | Callable[[Any], bool] | Mapping[str, Any]
_BOOLS = (True, False)
_MOST_SHOWN = 120


def anything(value: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def check_part(path: Path, value: Any, shape: Shape, dotted: str) -> None:
    """Raises InputError, with the name of the part, for one of another shape or with a part that is not known.

    A part that a shape has and the file lacks counts as None.
    """
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            raise _refused(path, dotted, "an object", value)
        for key in value:
            if key not in shape:
                raise InputError(
                    f"{dotted}.{key} of {path} is not known here, so its ids can't be given; write it anew"
                )
        for key, inner in shape.items():
            check_part(path, value.get(key), inner, f"{dotted}.{key}" if dotted else key)
    elif callable(shape):
        if not shape(value):
            raise _refused(path, dotted, "of its kind", value)
    elif not any(value is one or (type(value) is type(one) and value == one) for one in shape):
        raise _refused(path, dotted, " or ".join(map(repr, shape)), value)


def _refused(path: Path, dotted: str, due: str, value: Any) -> InputError:
    return InputError(f"{dotted} of {path} must be {due}, it is {value!r:.{_MOST_SHOWN}}; its ids can't be given here")


def check_top(path: Path, content: Mapping[str, Any]) -> None:
    """Raises InputError for a part that the library's files do not have. Truncation and padding: transformers sets its own."""
    known = {
        "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
        "model",
    }  # fmt: skip
    for key in content:
        if key not in known:
            raise InputError(f"{key!r:.80} of {path} is not known here, so its ids can't be given; write it anew")
    check_part(path, content.get("version"), (None, "1.0"), "version")


BERT_NORMALIZER: Shape = {
    "type": ("BertNormalizer",),
    "clean_text": (None, True),
    "handle_chinese_chars": (None, *_BOOLS),
    "strip_accents": (None, *_BOOLS),
    "lowercase": (None, *_BOOLS),
}
BERT_PRE_TOKENIZER: Shape = {"type": ("BertPreTokenizer",)}
BYTE_LEVEL: Shape = {
    "type": ("ByteLevel",),
    "add_prefix_space": (None, *_BOOLS),
    "trim_offsets": (None, *_BOOLS),
    "use_regex": (None, True),
}


def word_piece_model(longest_word: int) -> Shape:
    return {
        "type": (None, "WordPiece"),
        "unk_token": lambda value: value is None or _is_text(value),
        "continuing_subword_prefix": lambda value: value is None or _is_text(value),
        "max_input_chars_per_word": (None, longest_word),
        "vocab": lambda value: isinstance(value, dict),
    }


# What ModernBERT does to texts first.
COMPOSED: Shape = {"type": ("NFC",)}
# What transformers 5's class of DeBERTa does first, in the place of its model's rules.
COMPOSED_SPACES: dict[str, Any] = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Replace", "pattern": {"Regex": "\\s{2,}|[\\n\\r\\t]"}, "content": " "},
        {"type": "NFC"},
        {"type": "Strip", "strip_left": False, "strip_right": True},
    ],
}


def bpe_model(unknown: str) -> Shape:
    return {
        "type": (None, "BPE"),
        "dropout": (None, 0.0, 0),
        "unk_token": (None, unknown),
        "continuing_subword_prefix": (None, ""),
        "end_of_word_suffix": (None, ""),
        "fuse_unk": (None, False),
        "byte_fallback": (None, False),
        "ignore_merges": (None, False),
        "vocab": lambda value: isinstance(value, dict),
        "merges": lambda value: isinstance(value, list),
    }


def _is_unigram(rows: Any) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, list)
        and len(row) == 2
        and isinstance(row[0], str)
        and isinstance(row[1], int | float)
        and not isinstance(row[1], bool)
        for row in rows
    )


UNIGRAM_MODEL: Shape = {
    "type": ("Unigram",),
    "unk_id": anything,
    "vocab": _is_unigram,
    "byte_fallback": (None, False),
}
_DECODERS: dict[str, Shape] = {
    "WordPiece": {"type": ("WordPiece",), "prefix": anything, "cleanup": (None, *_BOOLS)},
    "ByteLevel": BYTE_LEVEL | {"use_regex": (None, *_BOOLS)} if isinstance(BYTE_LEVEL, dict) else {},
    "Metaspace": {
        "type": ("Metaspace",),
        "replacement": ("▁",),
        "prepend_scheme": anything,
        "add_prefix_space": anything,
        "split": anything,
    },
}


def check_decoder(path: Path, decoder: Any, kind: str) -> None:
    """How ids become text again; none is as good as the family's own."""
    if decoder is not None:
        check_part(path, decoder, _DECODERS[kind], "decoder")


def check_post_processor(
    path: Path, described: Any, start: str, end: str, doubled: bool, ids: Mapping[str, int], has_segments: bool
) -> None:
    """What is put around texts: the family's, or nothing. doubled: two ends between the texts of a pair, and no segments."""
    if described is None:
        return
    kind = described.get("type") if isinstance(described, Mapping) else None
    if kind == "ByteLevel":
        # Offsets alone.
        check_part(path, described, BYTE_LEVEL, "post_processor")
        return
    if kind in ("BertProcessing", "RobertaProcessing"):
        shape: dict[str, Any] = {"type": ("RobertaProcessing" if doubled else "BertProcessing",)}
        shape |= {"sep": ([end, ids.get(end)],), "cls": ([start, ids.get(start)],)}
        if doubled:
            shape |= {"trim_offsets": (None, *_BOOLS), "add_prefix_space": (None, *_BOOLS)}
        check_part(path, described, shape, "post_processor")
        return
    templates = {"single": [start, "A", end], "pair": [start, "A", end, *([end] if doubled else []), "B", end]}
    shape = {"type": ("TemplateProcessing",), "special_tokens": lambda rows: _are_ids(rows, ids)}
    for name, due in templates.items():
        segments = None if doubled or not has_segments else [0] * 3 + [1] * (len(due) - 3)
        shape[name] = lambda rows, due=due, segments=segments: _is_template(rows, due, segments)
    check_part(path, described, shape, "post_processor")


def _is_template(rows: Any, due: list[str], segments: list[int] | None) -> bool:
    if not isinstance(rows, list) or not all(isinstance(row, dict) and len(row) == 1 for row in rows):
        return False
    inner = [next(iter(row.values())) for row in rows]
    if not all(isinstance(one, dict) for one in inner):
        return False
    kinds = ["Sequence" if piece in ("A", "B") else "SpecialToken" for piece in due]
    return (
        [next(iter(row)) for row in rows] == kinds
        and [one.get("id") for one in inner] == due
        and (segments is None or [one.get("type_id") for one in inner] == segments)
    )


def _are_ids(rows: Any, ids: Mapping[str, int]) -> bool:
    return isinstance(rows, dict) and all(
        isinstance(row, dict) and row.get("id") == piece and row.get("ids") == [ids.get(piece)]
        for piece, row in rows.items()
    )


def normalizer_steps(path: Path, described: Any) -> tuple[list[str], bytes]:
    """(kinds of the steps in their order, the compiled rules among them) of a Unigram model's normalizer.

    Kinds: "quotes" (`` and '' become "), "NFKD", "StripAccents", "Lowercase", "Precompiled", "Strip", "spaces".
    """
    steps = [] if described is None else _steps_of(path, described, "normalizers", "normalizer")
    kinds, rules = [], b""
    for place, step in enumerate(steps):
        dotted = f"normalizer.normalizers.{place}"
        kind = step.get("type") if isinstance(step, Mapping) else None
        if kind in ("NFKD", "StripAccents", "Lowercase"):
            check_part(path, step, {"type": (kind,)}, dotted)
        elif kind == "Precompiled":
            check_part(
                path, step, {"type": (kind,), "precompiled_charsmap": lambda value: isinstance(value, str)}, dotted
            )
            try:
                rules = base64.b64decode(step["precompiled_charsmap"], validate=True)
            except (binascii.Error, ValueError) as error:
                raise InputError(f"{dotted} of {path} must be base64, it is not; copy the file again") from error
        elif kind == "Strip":
            check_part(path, step, {"type": (kind,), "strip_left": (None, *_BOOLS), "strip_right": (True,)}, dotted)
        elif kind == "Replace":
            kind = _replacement(path, step, dotted)
        else:
            raise _refused(path, dotted, "a step of ALBERT, XLM-RoBERTa or DeBERTa V3", step)
        kinds.append(str(kind))
    return kinds, rules


def composes_spaces(path: Path, content: Mapping[str, Any]) -> bool:
    """Whether the steps are those of transformers 5's class of DeBERTa. Raises InputError where they are only like them."""
    steps = _steps_of(path, content.get("normalizer"), "normalizers", "normalizer")
    if not any(isinstance(step, Mapping) and step.get("type") == "NFC" for step in steps):
        return False
    due = COMPOSED_SPACES["normalizers"]
    if steps != due:
        kinds = [step.get("type") if isinstance(step, Mapping) else step for step in steps]
        raise InputError(
            f"a normalizer with NFC of a Unigram model must be that of transformers' DebertaV2Tokenizer, {path} has the steps"
            f" {kinds!r:.{_MOST_SHOWN}}, or other values in them; its ids can't be given here"
        )
    if has_white_space_split(path, content.get("pre_tokenizer"), ["spaces"]):
        raise _refused(path, "pre_tokenizer", "Metaspace alone behind NFC", content["pre_tokenizer"])
    return True


def _steps_of(path: Path, described: Any, name: str, dotted: str) -> list[Any]:
    """The steps of a sequence, which holds them as `name`, or the one step that is none."""
    if not isinstance(described, Mapping) or name not in described:
        return [described]
    check_part(path, described, {"type": (None, "Sequence"), name: lambda rows: isinstance(rows, list)}, dotted)
    return list(described[name])


def _replacement(path: Path, step: Mapping[str, Any], dotted: str) -> str:
    pattern, content = step.get("pattern"), step.get("content")
    if pattern in ({"String": "``"}, {"String": "''"}) and content == '"':
        return f"quotes {pattern['String']}"
    # One without a pattern is none to the library, which refuses such a file.
    if (pattern == {"Regex": " {2,}"} and content in (" ", "▁")) or (pattern is None and content is None):
        return "spaces"
    raise _refused(path, dotted, "a step of ALBERT, XLM-RoBERTa or DeBERTa V3", dict(step))


def has_white_space_split(path: Path, described: Any, kinds: list[str]) -> bool:
    """Whether texts are cut at white space before ▁ is put before each word. kinds: the steps of normalisation.

    Raises InputError unless ▁ is, as sentencepiece does by default.
    """
    steps = _steps_of(path, described, "pretokenizers", "pre_tokenizer")
    told = [step.get("type") if isinstance(step, Mapping) else None for step in steps]
    spaces = steps[-1] if told and told[-1] == "Metaspace" else {}
    scheme = spaces.get("prepend_scheme", "always" if spaces.get("add_prefix_space", True) else "never")
    usual = spaces.get("replacement") == "▁" and scheme == "always" and spaces.get("split", True) is True
    known = set(spaces) <= {"type", "replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"}
    is_split = told == ["WhitespaceSplit", "Metaspace"]
    # Alone it keeps every space of a run, so the run must be gone.
    if not usual or not known or not (is_split or (told == ["Metaspace"] and "spaces" in kinds)):
        raise InputError(
            f"pre_tokenizer of {path} must put ▁ before every word and drop other white space (WhitespaceSplit, and Metaspace"
            f" always), it is {described!r:.{_MOST_SHOWN}}; its ids can't be given here"
        )
    return is_split

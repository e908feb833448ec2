"""What ALBERT does to texts before its SentencePiece model: quotes, accents, upper case, as rules of the model itself.

The steps (google-research/albert `tokenization.py`, transformers' `AlbertTokenizer`) go character by character, so they
and the model's normalisation are one set of rules. In the model they cost nothing, and whatever reads the model
(KerasHub, tensorflow-text in a graph, sentencepiece) does them too.
"""

import functools
import itertools
import sys
from collections.abc import Mapping
from typing import Any

from tokenizers import normalizers

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.sentence_piece_proto import (
    UNIGRAM,
    SentencePieceModel,
    read_model,
    read_rules,
    write_model,
)

_QUOTES = {"``": '"', "''": '"'}
_SEPARATOR = "\n"


def with_text_steps(proto: bytes, source: str, lowercase: bool, strip_accents: bool) -> bytes:
    """The model in `proto`, which first makes `` and '' to ", strips accents and lower-cases, each where asked to."""
    model = read_model(proto, source)
    if not is_plain(model):
        raise InputError(
            f"the steps of ALBERT's tokenizer need a Unigram model with sentencepiece's default spaces, {source} has"
            " others"
        )
    rules = compose(dict(_decompiled(model.precompiled_charsmap)), lowercase, strip_accents)
    rows = list(zip(model.pieces, model.scores, model.types, strict=True))
    return write_model(rows, _compiled(rules))


def is_plain(model: SentencePieceModel) -> bool:
    """Whether pieces and normalisation are all there is to a model."""
    usual = model.add_dummy_prefix and model.remove_extra_whitespaces and model.escape_whitespaces
    other = model.byte_fallback or model.treat_whitespace_as_suffix
    return bool(usual and not other and model.model_type == UNIGRAM)


def compose(rules: Mapping[str, str], lowercase: bool, strip_accents: bool) -> dict[str, str]:
    """Rules that do ALBERT's steps and then `rules`."""
    before = _changed_characters(lowercase, strip_accents)
    # A rule for what the steps take out is never reached.
    kept = {text: new for text, new in rules.items() if not any(character in before for character in text)}
    longest = max(map(len, rules), default=1)
    after = {old: _applied(rules, new, longest) for old, new in {**before, **_QUOTES}.items()}
    # What was taken apart and is put together again, as Hangul is, needs no rule, and may have none.
    return {**kept, **_written_before(rules, before), **{old: new for old, new in after.items() if old != new}}


def _written_before(rules: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Rules of several characters, for what becomes these by the steps: of E and an accent where e and it are one."""
    sources: dict[str, list[str]] = {}
    for old, new in before.items():
        sources.setdefault(new, []).append(old)
    found = {}
    for text, new in rules.items():
        if len(text) > 1:
            ways = [[*sources.get(letter, []), *([] if letter in before else [letter])] for letter in text]
            found.update({"".join(way): new for way in itertools.product(*ways)})
    return found


# A second or two each, and the same for every model of one kind.
@functools.lru_cache(maxsize=4)
def _changed_characters(lowercase: bool, strip_accents: bool) -> dict[str, str]:
    """Character -> what the steps make of it, where that is another. By Hugging Face's library, at its Unicode version."""
    steps: list[Any] = []
    if strip_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    characters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    characters.remove(_SEPARATOR)
    # One call, not a million.
    changed = normalizers.Sequence(steps).normalize_str(_SEPARATOR.join(characters)).split(_SEPARATOR)
    return {old: new for old, new in zip(characters, changed, strict=True) if old != new}


def _applied(rules: Mapping[str, str], text: str, longest: int) -> str:
    """`text` by the longest rule at each place."""
    out, place = [], 0
    while place < len(text):
        parts = (text[place : place + size] for size in range(min(longest, len(text) - place), 0, -1))
        part = next((part for part in parts if part in rules), None)
        out.append(text[place] if part is None else rules[part])
        place += len(part or text[place])
    return "".join(out)


@functools.lru_cache(maxsize=4)
def _decompiled(charsmap: bytes) -> list[tuple[str, str]]:
    if not charsmap:
        return []
    import sentencepiece

    sentencepiece.SetMinLogLevel(2)
    normalizer = sentencepiece.SentencePieceNormalizer(model_proto=write_model([("<unk>", 0.0, 2)], charsmap))
    return normalizer.Decompile()


def _compiled(rules: dict[str, str]) -> bytes:
    import sentencepiece

    sentencepiece.SetMinLogLevel(2)
    normalizer = sentencepiece.SentencePieceNormalizer(norm_map=sorted(rules.items()))
    return read_rules(normalizer.serialized_model_proto(), "the rules")

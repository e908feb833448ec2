"""Tags: numbers and a language that say what a document is like; rules with thresholds read them later. No Beam."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.cleaning import quality_kernels as kernels
from clozekit.pipelines.text_files.open_input import open_input
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import require_extras
from clozekit.tokenizers.common.text_batch import as_text_batch
from clozekit.tokenizers.kernels.unicode_tables import unicode_tables

LANGUAGE, LANGUAGE_PROBABILITY = "language", "language_probability"
BAD_WORDS = "num_bad_words"
# Raise it when a tag of the same name measures something else: kept tags are then made anew.
TAGS_VERSION = 1

# Name -> what it measures; a rate is 0 to 1.
TAGS = {
    "num_characters": "characters",
    "num_words": "words between white space",
    "mean_word_length": "characters a word",
    "symbol_to_word_rate": "hash signs and ellipses a word",
    "alphabetic_word_rate": "words with a letter",
    "num_stop_words": "how many of: the, be, to, of, and, that, have, with",
    "num_lines": "lines that are not blank",
    "bullet_line_rate": "lines that begin with a bullet",
    "ellipsis_line_rate": "lines that end with an ellipsis",
    "sentence_line_rate": "lines that end with punctuation",
    "num_sentences": "ends of sentences",
    "num_braces": "opening curly braces",
    "num_lorem_ipsum": "times of 'lorem ipsum'",
    "duplicate_line_rate": "lines that stood before",
    "duplicate_line_character_rate": "characters in lines that stood before",
    "duplicate_paragraph_rate": "paragraphs (between blank lines) that stood before",
    "duplicate_paragraph_character_rate": "characters in paragraphs that stood before",
    **{f"top_{size}gram_rate": f"characters in the commonest {size} words in a row" for size in (2, 3, 4)},
    **{f"duplicate_{size}gram_rate": f"characters in repeated runs of {size} words" for size in (5, 6, 7, 8, 9, 10)},
    LANGUAGE_PROBABILITY: "how sure the language is",
    BAD_WORDS: "times of a word of the file filter.bad_words",
}
# Thai to Khmer, Chinese and Japanese.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_NGRAM = re.compile(r"(top|duplicate)_(\d+)gram_rate")
# Enough to be sure, and the identifier reads 2.5 MB a second.
_LANGUAGE_CHARACTERS = 2000


def tag_texts(texts: pa.Array, names: Sequence[str], bad_words: Sequence[str] = ()) -> dict[str, pa.Array]:
    """The tags called `names` of each text: float64, and a string for the language."""
    columns: dict[str, Any] = _counted_tags(texts)
    ngrams = [name for name in names if _NGRAM.fullmatch(name)]
    if ngrams:
        columns.update(_ngram_tags(texts, sorted(ngrams, key=lambda name: (not name.startswith("top"), name))))
    if "num_lorem_ipsum" in names:
        columns["num_lorem_ipsum"] = pc.count_substring(texts, "lorem ipsum", ignore_case=True)
    if BAD_WORDS in names:
        pattern = bad_words_pattern(bad_words)
        columns[BAD_WORDS] = (
            pc.count_substring_regex(texts, pattern, ignore_case=True) if bad_words else [0] * len(texts)
        )
    if LANGUAGE in names or LANGUAGE_PROBABILITY in names:
        columns.update(_languages(texts))
    return {
        name: pa.array(columns[name], pa.string()) if name == LANGUAGE else pa.array(columns[name]).cast(pa.float64())
        for name in names
    }


def read_bad_words(path: str) -> tuple[str, ...]:
    """The words of a file, one a line, sorted. Raises InputError when it can't be read or has none."""
    try:
        with open_input(path, text=True) as stream:
            lines = stream.read().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"bad words must be a readable file of UTF-8 lines, {path} is not ({error})") from error
    words = sorted({line.strip() for line in lines} - {""})
    if not words:
        raise InputError(f"bad words must be a word a line, {path} has none; leave it out")
    return tuple(words)


def bad_words_pattern(words: Sequence[str]) -> str:
    """An expression (RE2) that finds each of the words that stands alone; those in scripts without spaces anywhere."""
    alone = "|".join(re.escape(word) for word in words if not _UNSPACED.search(word))
    inside = "|".join(re.escape(word) for word in words if _UNSPACED.search(word))
    parts = [rf"(?:^|[^\pL\pN_])(?:{alone})(?:$|[^\pL\pN_])" if alone else "", inside]
    return "(?m:" + "|".join(filter(None, parts)) + ")"


def _counted_tags(texts: pa.Array) -> dict[str, np.ndarray]:
    batch = as_text_batch(texts)
    measures = np.empty((len(texts), kernels.NUM_MEASURES))
    kernels.measure_texts(batch.data, batch.offsets, unicode_tables().properties, measures)

    def rate(part: int, whole: int) -> np.ndarray:
        return measures[:, part] / np.maximum(measures[:, whole], 1)

    return {
        "num_characters": measures[:, kernels.CHARACTERS],
        "num_words": measures[:, kernels.WORDS],
        "mean_word_length": rate(kernels.WORD_CHARACTERS, kernels.WORDS),
        "symbol_to_word_rate": rate(kernels.SYMBOLS, kernels.WORDS),
        "alphabetic_word_rate": rate(kernels.ALPHABETIC_WORDS, kernels.WORDS),
        "num_stop_words": measures[:, kernels.STOP_WORDS],
        "num_lines": measures[:, kernels.LINES],
        "bullet_line_rate": rate(kernels.BULLET_LINES, kernels.LINES),
        "ellipsis_line_rate": rate(kernels.ELLIPSIS_LINES, kernels.LINES),
        "sentence_line_rate": rate(kernels.SENTENCE_LINES, kernels.LINES),
        "num_sentences": measures[:, kernels.SENTENCES],
        "num_braces": measures[:, kernels.BRACES],
        "duplicate_line_rate": rate(kernels.REPEATED_LINES, kernels.LINES),
        "duplicate_line_character_rate": rate(kernels.REPEATED_LINE_CHARACTERS, kernels.LINE_CHARACTERS),
        "duplicate_paragraph_rate": rate(kernels.REPEATED_PARAGRAPHS, kernels.PARAGRAPHS),
        "duplicate_paragraph_character_rate": rate(kernels.REPEATED_PARAGRAPH_CHARACTERS, kernels.LINE_CHARACTERS),
    }


def _ngram_tags(texts: pa.Array, names: list[str]) -> dict[str, np.ndarray]:
    """names: those of the commonest n-gram before those of repeated ones."""
    batch = as_text_batch(texts)
    room = int(batch.offsets[-1] - batch.offsets[0]) // 2 + len(texts) + 1
    hashes, lengths, counts = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(len(texts), np.int64)
    kernels.split_words(batch.data, batch.offsets, unicode_tables().properties, hashes, lengths, counts)
    matches = [match for name in names if (match := _NGRAM.fullmatch(name))]
    sizes = np.array([int(match[2]) for match in matches])
    rates = np.empty((len(texts), len(names)))
    first_repeated = sum(match[1] == "top" for match in matches)
    kernels.measure_ngrams(hashes, lengths, counts, sizes, first_repeated, rates)
    return {name: rates[:, column] for column, name in enumerate(names)}


@functools.cache
def _identifier() -> Any:
    require_extras("telling languages apart", "clean")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def known_languages() -> list[str]:
    return sorted(_identifier().labels)


def _languages(texts: pa.Array) -> dict[str, list[Any]]:
    """The language of each text's beginning. Rounded, because the last bits of a matrix product differ by machine."""
    found = [
        _identifier().classify(text) for text in pc.utf8_slice_codeunits(texts, 0, _LANGUAGE_CHARACTERS).to_pylist()
    ]
    return {
        LANGUAGE: [language for language, _ in found],
        LANGUAGE_PROBABILITY: [round(probability, 4) for _, probability in found],
    }

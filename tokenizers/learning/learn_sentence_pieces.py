"""Learning the SentencePiece models of ALBERT, XLM-RoBERTa and DeBERTa V3 from word counts, the same one in every run."""

import io
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import Texts
from clozekit.tokenizers.formats.sentence_piece_proto import read_model, write_model
from clozekit.tokenizers.learning.distinct_words import byte_classes, count_distinct
from clozekit.tokenizers.learning.long_words import cut_long_words

# Pieces of XLMRobertaTokenizer that its model does not hold: <pad> and <mask>.
_ADDED_BY_XLM_ROBERTA = 2
# And of DebertaV3Tokenizer: [MASK].
_ADDED_BY_DEBERTA_V3 = 1
# The library leaves out lines of more than 4,192 bytes: a paragraph of Chinese is one.
MAX_WORD_BYTES = 4000
# It also leaves out every line with this character (U+2585), which stands for unknown pieces inside of it.
_RESERVED = "\u2585"
# Its own default: of the characters of a corpus, the rarest one in 2,000 get no piece.
CHARACTER_COVERAGE = 0.9995


# The ASCII ones of what `str.split` cuts at, and the null byte.
_CHUNKS = byte_classes(b"\0\t\n\v\f\r\x1c\x1d\x1e\x1f ")


def count_spaced_words(texts: Texts) -> Counter[str]:
    """How often each run of visible characters stands in `texts`. The learner normalises them itself."""
    return count_distinct(texts, _CHUNKS, str.split)


def learn_albert(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    lowercase: bool,
    character_coverage: float = CHARACTER_COVERAGE,
) -> bytes:
    """The model of an `AlbertTokenizer`, in ALBERT's order: <pad> <unk> [CLS] [SEP] [MASK], then pieces."""
    settings = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"}
    return _learn(word_counts, vocabulary_size, 0, lowercase, character_coverage, settings)


def learn_xlm_roberta(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    lowercase: bool = False,
    character_coverage: float = CHARACTER_COVERAGE,
) -> bytes:
    """The model of an `XLMRobertaTokenizer` of that many pieces: <unk> <s> </s>, then pieces."""
    return _learn(word_counts, vocabulary_size, _ADDED_BY_XLM_ROBERTA, lowercase, character_coverage, {})


def learn_deberta_v3(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    lowercase: bool = False,
    character_coverage: float = CHARACTER_COVERAGE,
) -> bytes:
    """The model of a `DebertaV3Tokenizer` of that many pieces, in DeBERTa V3's order: [PAD] [CLS] [SEP] [UNK], then pieces."""
    ids = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    settings = {f"{name}_id": number for number, name in enumerate(ids)}
    pieces = {f"{name}_piece": piece for name, piece in ids.items()}
    return _learn(
        word_counts, vocabulary_size, _ADDED_BY_DEBERTA_V3, lowercase, character_coverage, {**settings, **pieces}
    )


def _learn(
    word_counts: Mapping[str, int],
    vocabulary_size: int,
    num_added: int,
    lowercase: bool,
    character_coverage: float,
    settings: dict[str, Any],
) -> bytes:
    import sentencepiece

    words = cut_long_words(word_counts, MAX_WORD_BYTES, _RESERVED)
    if not words:
        raise InputError("a vocabulary is learned from words, the input has none; check --input and --text-key")
    if not num_added < vocabulary_size < 2**31:
        raise InputError(
            f"vocabulary_size must be above {num_added} and below 2^31, got {vocabulary_size}; choose another"
        )
    if not 0.9 <= character_coverage <= 1:
        raise InputError(f"character_coverage must be a rate from 0.9 to 1, got {character_coverage}; choose another")
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "words.tsv"
        with path.open("w", encoding="utf-8", newline="\n") as lines:
            # A word a line with its count: pieces do not cross spaces, so sentences would teach nothing more.
            for word, count in sorted(words.items()):
                lines.write(f"{word}\t{count}\n")
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=str(path),
                input_format="tsv",
                model_writer=out,
                model_type="unigram",
                vocab_size=vocabulary_size - num_added,
                character_coverage=character_coverage,
                normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
                # Sums in float: another number of threads would add in another order.
                num_threads=1,
                minloglevel=2,
                **settings,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(_refusal(str(error), vocabulary_size, num_added, len(words))) from error
    # Written again without the trainer's notes, which hold the name of our temporary file. (The library's own classes
    # for its messages need a newer protobuf than TensorFlow allows.)
    model = read_model(out.getvalue(), "the learned model")
    return write_model(list(zip(model.pieces, model.scores, model.types, strict=True)), model.precompiled_charsmap)


def _refusal(error: str, vocabulary_size: int, num_added: int, num_words: int) -> str:
    """The library's error in our words, where it says which sizes are possible."""
    rule = f"a vocabulary must be as large as its corpus allows, {num_words:,} different words allow"
    if most := re.search(r"too high .* value <= (\d+)", error):
        return (
            f"{rule} at most {int(most[1]) + num_added:,} pieces, got a vocabulary_size of {vocabulary_size}; lower it"
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return (
            f"{rule} no fewer than {int(least[1]) + num_added:,}, got a vocabulary_size of {vocabulary_size}; raise it"
        )
    text = " ".join(error.split())
    return (
        f"sentencepiece could not learn {vocabulary_size} pieces from {num_words} words: {text:.300};"
        " choose another vocabulary_size"
    )

"""Learning the SentencePiece models of ALBERT and XLM-RoBERTa from word counts, the same one in every run."""

import io
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.sentence_piece_proto import read_model, write_model

# Pieces of XLMRobertaTokenizer that its model does not hold: <pad> and <mask>.
_ADDED_BY_XLM_ROBERTA = 2
# The library cuts nothing shorter; longer "words" are data, not language.
MAX_WORD_BYTES = 4000


def count_spaced_words(texts: Sequence[str]) -> Counter[str]:
    """How often each run of visible characters stands in `texts`. The learner normalises them itself."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.replace("\0", " ").split())
    return counts


def learn_albert(word_counts: Mapping[str, int], vocabulary_size: int, lowercase: bool) -> bytes:
    """The model of an `AlbertTokenizer`, in ALBERT's order: <pad> <unk> [CLS] [SEP] [MASK], then pieces."""
    settings = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"}
    return _learn(word_counts, vocabulary_size, lowercase, settings)


def learn_xlm_roberta(word_counts: Mapping[str, int], vocabulary_size: int, lowercase: bool = False) -> bytes:
    """The model of an `XLMRobertaTokenizer` of that many pieces: <unk> <s> </s>, then pieces."""
    return _learn(word_counts, vocabulary_size - _ADDED_BY_XLM_ROBERTA, lowercase, {})


def _learn(word_counts: Mapping[str, int], model_size: int, lowercase: bool, settings: dict[str, Any]) -> bytes:
    import sentencepiece

    if not word_counts:
        raise InputError("a vocabulary is learned from words, the input has none; check --input and --text-key")
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "words.tsv"
        with path.open("w", encoding="utf-8", newline="\n") as lines:
            # A word a line with its count: pieces do not cross spaces, so sentences would teach nothing more.
            for word, count in sorted(word_counts.items()):
                if len(word.encode("utf-8", "replace")) <= MAX_WORD_BYTES:
                    lines.write(f"{word.encode('utf-8', 'replace').decode()}\t{count}\n")
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=str(path),
                input_format="tsv",
                model_writer=out,
                model_type="unigram",
                vocab_size=model_size,
                normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
                # Sums in float: another number of threads would add in another order.
                num_threads=1,
                minloglevel=2,
                **settings,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(
                f"sentencepiece could not learn {model_size} pieces from {len(word_counts)} words: {error};"
                " choose another vocabulary_size"
            ) from error
    # Written again without the trainer's notes, which hold the name of our temporary file. (The library's own classes
    # for its messages need a newer protobuf than TensorFlow allows.)
    model = read_model(out.getvalue(), "the learned model")
    return write_model(list(zip(model.pieces, model.scores, model.types, strict=True)), model.precompiled_charsmap)

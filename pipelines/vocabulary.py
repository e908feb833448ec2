"""Making a tokenizer from a corpus: words counted on Beam, pieces learned from the counts, files written."""

from collections.abc import Sequence
from pathlib import Path

from clozekit.pipelines.count_words import count_corpus_words
from clozekit.pipelines.options import ReadOptions, check_at_least
from clozekit.pipelines.runners import LOCAL_RUNNER
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import BertTokenizer
from clozekit.tokenizers.learn_vocabulary import learn_wordpiece
from clozekit.tokenizers.tokenizer import TOKENIZER_FILE


def make_vocabulary(
    reading: ReadOptions,
    directory: str,
    vocabulary_size: int,
    lowercase: bool,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
) -> tuple[BertTokenizer, int, int]:
    """Learns a WordPiece vocabulary and saves its tokenizer in `directory`; returns it, the number of words read and the
    number of records that could not be read.

    Raises InputError when a tokenizer is there already and `overwrite` is not set, or an input breaks a rule.
    """
    check_at_least("vocabulary_size", vocabulary_size, 1)
    if (Path(directory) / TOKENIZER_FILE).exists() and not overwrite:
        raise InputError(f"{directory} holds a tokenizer already; pass --overwrite to replace it, or another --output")
    counts, read_counts = count_corpus_words(
        reading, lowercase, directory, runner, num_workers, beam_arguments, show_progress
    )
    tokenizer = BertTokenizer(learn_wordpiece(counts, vocabulary_size), lowercase=lowercase)
    tokenizer.save(directory)
    return tokenizer, counts.total(), read_counts["dead_lettered"]

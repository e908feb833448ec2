"""Making a family's tokenizer from a corpus: words counted on Beam, pieces learned from the counts, files written."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from clozekit.pipelines.count_words import count_corpus_words
from clozekit.pipelines.running.runners import LOCAL_RUNNER
from clozekit.pipelines.settings.corpus_settings import AS_READ, CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
from clozekit.pipelines.storage.locks import lock_directories
from clozekit.pipelines.vocabulary_output import has_tokenizer, vocabulary_output
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families import AlbertTokenizer, BertTokenizer, RobertaTokenizer, XLMRobertaTokenizer
from clozekit.tokenizers.learning.learn_byte_pairs import count_byte_words, learn_byte_pairs
from clozekit.tokenizers.learning.learn_sentence_pieces import (
    CHARACTER_COVERAGE,
    count_spaced_words,
    learn_albert,
    learn_xlm_roberta,
)
from clozekit.tokenizers.learning.learn_word_pieces import count_cased_words, count_lowercased_words, learn_wordpiece
from clozekit.tokenizers.learning.vocabulary_report import VocabularyReport, report_vocabulary
from clozekit.tokenizers.tokenizer import Tokenizer


def word_counter(options: VocabularySettings) -> Callable[[Sequence[str]], Counter[str]]:
    """The function that counts a family's words in texts."""
    if options.family == "bert":
        return count_lowercased_words if options.is_lowercase else count_cased_words
    return count_byte_words if options.family == "roberta" else count_spaced_words


def learn(options: VocabularySettings, counts: Mapping[str, int]) -> Tokenizer:
    """The tokenizer with the vocabulary learned from the counted words."""
    size, lowercase = options.vocabulary_size, options.is_lowercase
    if options.family == "bert":
        return BertTokenizer(learn_wordpiece(counts, size, options.alphabet_size), lowercase=lowercase)
    if options.family == "roberta":
        return RobertaTokenizer(*learn_byte_pairs(counts, size))
    coverage = CHARACTER_COVERAGE if options.character_coverage is None else options.character_coverage
    if options.family == "albert":
        return AlbertTokenizer(learn_albert(counts, size, lowercase, coverage))
    return XLMRobertaTokenizer(learn_xlm_roberta(counts, size, lowercase, coverage))


def make_vocabulary(
    reading: ReadSettings,
    directory: str,
    options: VocabularySettings,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
    corpus: CorpusSettings = AS_READ,
) -> tuple[Tokenizer, VocabularyReport, int]:
    """Learns a vocabulary and saves its tokenizer in `directory`; returns it, what it does to the words it was learned
    from, and the number of records that could not be read.

    Raises InputError when a tokenizer is there already and `overwrite` is not set, or an input breaks a rule.
    """
    if has_tokenizer(directory) and not overwrite:
        raise InputError(f"{directory} holds a tokenizer already; pass --overwrite to replace it, or another --output")
    with lock_directories([directory]), vocabulary_output(directory) as output:
        counts, read_counts = count_corpus_words(
            reading,
            word_counter(options),
            output.words_folder,
            runner,
            num_workers,
            beam_arguments,
            show_progress,
            corpus,
        )
        tokenizer = learn(options, counts)
        output.write(tokenizer)
    return tokenizer, report_vocabulary(tokenizer, counts), read_counts["dead_lettered"]


def describe_report(report: VocabularyReport) -> list[str]:
    """Lines that say what the vocabulary does to its corpus, the last what it leaves out if it does."""
    lines = [
        f"pieces           {report.vocabulary_size:>12,}",
        f"words            {report.num_words:>12,}  ({report.num_distinct_words:,} different ones)",
        f"coverage         {report.coverage_rate:>12.4%}  of the words have no unknown piece",
        f"unknown rate     {report.unknown_rate:>12.4%}  of the pieces, {report.unknown_character_rate:.4%} of the characters are unknown",
        f"tokens per word  {report.tokens_per_word:>12.3f}",
        f"longest pieces   {' '.join(report.longest_pieces[:8])}",
    ]
    if report.left_out:
        shown = " ".join(
            f"{character!a}"[1:-1] if not character.isprintable() else character
            for character, _ in report.left_out[:16]
        )
        lines.append(
            f"left out         {len(report.left_out):>12,}  characters ({sum(count for _, count in report.left_out):,} times)"
            f" have no piece: {shown}"
        )
    return lines

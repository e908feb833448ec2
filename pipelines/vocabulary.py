"""Making a family's tokenizer from a corpus: words counted on Beam, pieces learned from the counts, files written."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.pipelines.count_words import count_corpus_words
from clozekit.pipelines.running.runners import LOCAL_RUNNER
from clozekit.pipelines.settings.corpus_settings import AS_READ, CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
from clozekit.pipelines.storage.locks import lock_directories
from clozekit.pipelines.vocabulary_output import has_tokenizer, vocabulary_output
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import Texts
from clozekit.tokenizers.families.load_tokenizer import tokenizer_class
from clozekit.tokenizers.learning.learn_byte_pairs import (
    MODERN_BERT,
    count_byte_words,
    count_composed_byte_words,
    learn_byte_pairs,
)
from clozekit.tokenizers.learning.learn_sentence_pieces import (
    CHARACTER_COVERAGE,
    count_spaced_words,
    learn_albert,
    learn_deberta_v3,
    learn_xlm_roberta,
)
from clozekit.tokenizers.learning.learn_word_pieces import count_cased_words, count_lowercased_words, learn_wordpiece
from clozekit.tokenizers.learning.vocabulary_report import VocabularyReport, report_vocabulary
from clozekit.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Learner:
    """How the vocabulary of a family is learned; a line of LEARNERS, which `FamilyName.learner` names.

    Args:
        count: settings -> a function from texts to the counts of their words.
        learn: (settings, counts) -> constructor arguments of the family's tokenizer.

    Example:

        >>> from clozekit.pipelines.vocabulary import LEARNERS, Learner
        >>> isinstance(LEARNERS["word_pieces"], Learner)
        True
        >>> from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
        >>> LEARNERS["word_pieces"].count(VocabularySettings())(["The dog. A dog"])
        Counter({'dog': 2, 'the': 1, '.': 1, 'a': 1})
    """

    count: Callable[[VocabularySettings], Callable[[Texts], Counter[str]]]
    learn: Callable[[VocabularySettings, Mapping[str, int]], dict[str, Any]]


def _coverage(options: VocabularySettings) -> float:
    return CHARACTER_COVERAGE if options.character_coverage is None else options.character_coverage


def _word_pieces(options: VocabularySettings, counts: Mapping[str, int]) -> dict[str, Any]:
    pieces = learn_wordpiece(counts, options.vocabulary_size, options.alphabet_size)
    return {"vocabulary": pieces, "lowercase": options.is_lowercase}


def _byte_pairs(options: VocabularySettings, counts: Mapping[str, int]) -> dict[str, Any]:
    vocabulary, merges = learn_byte_pairs(counts, options.vocabulary_size)
    return {"vocabulary": vocabulary, "merges": merges}


def _modern_bert_pairs(options: VocabularySettings, counts: Mapping[str, int]) -> dict[str, Any]:
    vocabulary, merges = learn_byte_pairs(counts, options.vocabulary_size, MODERN_BERT)
    return {"vocabulary": vocabulary, "merges": merges}


def _albert_pieces(options: VocabularySettings, counts: Mapping[str, int]) -> dict[str, Any]:
    return {"proto": learn_albert(counts, options.vocabulary_size, options.is_lowercase, _coverage(options))}


def _xlm_roberta_pieces(options: VocabularySettings, counts: Mapping[str, int]) -> dict[str, Any]:
    return {"proto": learn_xlm_roberta(counts, options.vocabulary_size, options.is_lowercase, _coverage(options))}


def _deberta_v3_pieces(options: VocabularySettings, counts: Mapping[str, int]) -> dict[str, Any]:
    return {"proto": learn_deberta_v3(counts, options.vocabulary_size, options.is_lowercase, _coverage(options))}


# By the name that a family's line in tokenizers/common/family_names.py gives.
LEARNERS = {
    "word_pieces": Learner(
        lambda options: count_lowercased_words if options.is_lowercase else count_cased_words, _word_pieces
    ),
    "byte_pairs": Learner(lambda _: count_byte_words, _byte_pairs),
    "modern_bert_pairs": Learner(lambda _: count_composed_byte_words, _modern_bert_pairs),
    "albert_pieces": Learner(lambda _: count_spaced_words, _albert_pieces),
    "xlm_roberta_pieces": Learner(lambda _: count_spaced_words, _xlm_roberta_pieces),
    "deberta_v3_pieces": Learner(lambda _: count_spaced_words, _deberta_v3_pieces),
}


def word_counter(options: VocabularySettings) -> Callable[[Texts], Counter[str]]:
    """The function that counts a family's words in texts."""
    return LEARNERS[options.learner].count(options)


def learn(options: VocabularySettings, counts: Mapping[str, int]) -> Tokenizer:
    """The tokenizer with the vocabulary learned from the counted words.

    Args:
        options: family, size and the like.
        counts: word -> how often it stands in the corpus, as `word_counter(options)` writes words.

    Returns:
        The family's tokenizer with at most `vocabulary_size` pieces.

    Raises:
        InputError: for a vocabulary that the words can't fill or that has no room for their characters.

    Example:

        >>> from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
        >>> from clozekit.pipelines.vocabulary import learn, word_counter
        >>> options = VocabularySettings("bert", vocabulary_size=23)
        >>> learn(options, word_counter(options)(["the dog and the dog"])).get_vocabulary()[5:]
        ['a', 'd', 'e', 'g', 'h', 'n', 'o', 't', '##a', '##d', '##e', '##g', '##h', '##n', '##o', '##t', 'do', 'th']
    """
    make: Callable[..., Tokenizer] = tokenizer_class(options.family)
    return make(**LEARNERS[options.learner].learn(options, counts))


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
    """Learns a vocabulary from a corpus, words counted on Beam, and saves its tokenizer in `directory`.

    Args:
        reading: which files, and how documents are found in them.
        directory: where the tokenizer goes, a path or a URL.
        options: family, size and the like.
        runner, num_workers, beam_arguments, overwrite, show_progress, corpus: see `prepare`.

    Returns:
        The tokenizer, what it does to the words it was learned from, and the number of records that could not be read.

    Raises:
        InputError: when a tokenizer is there already and `overwrite` is not set, or an input breaks a rule.

    Example:

        >>> from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
        >>> from clozekit.pipelines.vocabulary import make_vocabulary
        >>> learned, report, num_bad = make_vocabulary(read_lines, "tiny/vocabulary", VocabularySettings(vocabulary_size=60))
        >>> learned.vocabulary_size(), report.num_words, report.coverage_rate, num_bad
        (60, 324, 1.0, 0)
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
    """Lines that say what the vocabulary does to its corpus, the last what it leaves out if it does.

    Args:
        report: what `make_vocabulary` gave.

    Returns:
        The lines, rates in percent.

    Example:

        >>> from clozekit.pipelines.vocabulary import describe_report
        >>> from clozekit.tokenizers.learning.vocabulary_report import report_vocabulary
        >>> print("\\n".join(describe_report(report_vocabulary(tokenizer, {"dog": 3, "cat": 1}))))
        pieces                     16
        words                       4  (2 different ones)
        coverage             75.0000%  of the words have no unknown piece
        unknown rate         25.0000%  of the pieces, 25.0000% of the characters are unknown
        tokens per word         1.000
        longest pieces   [MASK] jumped [CLS] [PAD] [SEP] [UNK] brown quick
        left out                    2  characters (2 times) have no piece: c t
    """
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

"""Making a family's tokenizer from a corpus: words counted on Beam, pieces learned from the counts, files written."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clozekit.pipelines.corpus_options import AS_READ, CorpusOptions
from clozekit.pipelines.count_words import count_corpus_words
from clozekit.pipelines.locks import lock_directories
from clozekit.pipelines.options import ReadOptions, check_at_least, check_choice
from clozekit.pipelines.runners import LOCAL_RUNNER
from clozekit.pipelines.vocabulary_output import has_tokenizer, vocabulary_output
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import AlbertTokenizer, BertTokenizer, RobertaTokenizer, XLMRobertaTokenizer
from clozekit.tokenizers.learn_byte_pairs import count_byte_words, learn_byte_pairs
from clozekit.tokenizers.learn_sentence_pieces import (
    CHARACTER_COVERAGE,
    count_spaced_words,
    learn_albert,
    learn_xlm_roberta,
)
from clozekit.tokenizers.learn_vocabulary import count_cased_words, count_lowercased_words, learn_wordpiece
from clozekit.tokenizers.tokenizer import Tokenizer
from clozekit.tokenizers.vocabulary_files import MAX_VOCABULARY_SIZE
from clozekit.tokenizers.vocabulary_report import VocabularyReport, report_vocabulary

FAMILIES = ("bert", "roberta", "albert", "xlm_roberta")


@dataclass(frozen=True)
class VocabularyOptions:
    """Which vocabulary to learn. lowercase None: as the family's first models, BERT and ALBERT lower-cased.

    alphabet_size (bert): how many characters are pieces at most; None: a thousand, and more where the corpus has more and
    there is room. character_coverage (albert, xlm_roberta): the share of the text whose characters are pieces.
    """

    family: str = "bert"
    vocabulary_size: int = 30_522
    lowercase: bool | None = None
    alphabet_size: int | None = None
    character_coverage: float | None = None

    def __post_init__(self) -> None:
        check_choice("family", self.family, FAMILIES)
        check_at_least("vocabulary_size", self.vocabulary_size, 1)
        if self.vocabulary_size > MAX_VOCABULARY_SIZE:
            raise InputError(
                f"vocabulary_size must be at most {MAX_VOCABULARY_SIZE:,}, got {self.vocabulary_size}; the learners take"
                " memory for all of it at once"
            )
        if self.family == "roberta" and self.lowercase:
            raise InputError(
                "byte-level BPE keeps every byte of a text, got lowercase for roberta; leave --lowercase out"
            )

        if self.alphabet_size is not None:
            check_at_least("alphabet_size", self.alphabet_size, 1)
            if self.family != "bert":
                raise InputError(f"alphabet_size is bert's, got it for {self.family}; leave --alphabet-size out")
        if self.character_coverage is not None:
            if self.family not in ("albert", "xlm_roberta"):
                raise InputError(
                    f"character_coverage is SentencePiece's, got it for {self.family}; leave --character-coverage out"
                )
            if not 0.9 <= self.character_coverage <= 1:
                raise InputError(f"character_coverage must be from 0.9 to 1, got {self.character_coverage}")

    @property
    def is_lowercase(self) -> bool:
        return self.family in ("bert", "albert") if self.lowercase is None else self.lowercase

    def word_counter(self) -> Callable[[Sequence[str]], Counter[str]]:
        """The function that counts this family's words in texts."""
        if self.family == "bert":
            return count_lowercased_words if self.is_lowercase else count_cased_words
        return count_byte_words if self.family == "roberta" else count_spaced_words

    def learn(self, counts: Mapping[str, int]) -> Tokenizer:
        """The tokenizer with the vocabulary learned from the counted words."""
        size, lowercase = self.vocabulary_size, self.is_lowercase
        if self.family == "bert":
            return BertTokenizer(learn_wordpiece(counts, size, self.alphabet_size), lowercase=lowercase)
        if self.family == "roberta":
            return RobertaTokenizer(*learn_byte_pairs(counts, size))
        coverage = CHARACTER_COVERAGE if self.character_coverage is None else self.character_coverage
        if self.family == "albert":
            return AlbertTokenizer(learn_albert(counts, size, lowercase, coverage))
        return XLMRobertaTokenizer(learn_xlm_roberta(counts, size, lowercase, coverage))


def make_vocabulary(
    reading: ReadOptions,
    directory: str,
    options: VocabularyOptions,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
    corpus: CorpusOptions = AS_READ,
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
            options.word_counter(),
            output.words_folder,
            runner,
            num_workers,
            beam_arguments,
            show_progress,
            corpus,
        )
        tokenizer = options.learn(counts)
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

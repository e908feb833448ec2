"""The settings of what happens to documents before the tokenizer: cleaning, rules, duplicates, contamination."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clozekit.pipelines.settings.choices import check_choices, choice
from clozekit.pipelines.settings.prepare_settings import DOCUMENT_KINDS, check_at_least, check_rate
from clozekit.tokenizers.common.errors import InputError

DUPLICATE_KINDS = ("none", "exact", "near")
MASK_KINDS = ("email", "ip", "phone")
# In the order in which they change a text. Each is a field of CleanSettings, and the file of that name in
# pipelines/cleaning/steps/.
CLEANING_STEPS = ("fix_encoding", "unicode", "boilerplate_lines", "sentence_lines", "mask")

# Name of a tag -> the least and the most that a document may have; None: no bound.
Rules = Mapping[str, tuple[float | None, float | None]]

RULE_SETS: Mapping[str, Rules] = {
    # Rae et al. 2021 (arXiv 2112.11446), appendix A1.1: quality.
    "gopher": {
        "num_words": (50, 100_000),
        "mean_word_length": (3, 10),
        "symbol_to_word_rate": (None, 0.1),
        "bullet_line_rate": (None, 0.9),
        "ellipsis_line_rate": (None, 0.3),
        "alphabetic_word_rate": (0.8, None),
        "num_stop_words": (2, None),
    },
    # The same: repetition.
    "gopher-repetition": {
        "duplicate_line_rate": (None, 0.3),
        "duplicate_line_character_rate": (None, 0.2),
        "duplicate_paragraph_rate": (None, 0.3),
        "duplicate_paragraph_character_rate": (None, 0.2),
        "top_2gram_rate": (None, 0.2),
        "top_3gram_rate": (None, 0.18),
        "top_4gram_rate": (None, 0.16),
        "duplicate_5gram_rate": (None, 0.15),
        "duplicate_6gram_rate": (None, 0.14),
        "duplicate_7gram_rate": (None, 0.13),
        "duplicate_8gram_rate": (None, 0.12),
        "duplicate_9gram_rate": (None, 0.11),
        "duplicate_10gram_rate": (None, 0.1),
    },
    # Raffel et al. 2020 (arXiv 1910.10683), section 2.2, with the numbers of its code; its rules on lines are
    # `clean.sentence_lines` and `clean.boilerplate_lines`, its list of bad words `filter.bad_words`. What it does to spans of
    # three sentences that stand in several documents is not here: see `deduplicate`.
    "c4": {"num_sentences": (3, None), "num_braces": (None, 0), "num_lorem_ipsum": (None, 0)},
}


@dataclass(frozen=True)
class CleanSettings:
    """What is changed in texts, in this order; the id of a document is still that of its text before.

    fix_encoding: undo wrong charsets (cafÃ© -> café), by ftfy.
    unicode: Unicode NFC, line feeds, no control or invisible characters.
    boilerplate_lines: drop short lines about cookies, terms and the like: those with one of `boilerplate_phrases`.
    boilerplate_phrases: what makes a short line one to drop, whatever its case.
    sentence_lines: keep only lines that end like a sentence (not with an ellipsis) and have `min_line_words` and no word
        above `max_word_characters`, as C4, and take out its marks of citations ([1], [edit], [citation needed]).
    min_line_words: words that a line of a sentence has at least.
    max_word_characters: characters of the longest word that a line of a sentence may have.
    mask: personal data to replace, by <email>, <ip> or <phone>.

    Raises:
        InputError: for an unknown kind of `mask`, an empty phrase, a bound below 1.

    Example:

        >>> from clozekit.pipelines.settings.corpus_settings import CleanSettings
        >>> CleanSettings().is_on, CleanSettings(mask=("email", "ip")).is_on
        (False, True)
    """

    fix_encoding: bool = False
    unicode: bool = False
    boilerplate_lines: bool = False
    boilerplate_phrases: tuple[str, ...] = (
        # C4 drops every line with "javascript", this one keeps those of texts about it.
        "enable javascript",
        "cookie policy",
        "privacy policy",
        "terms of use",
        "terms of service",
        "uses cookies",
        "use of cookies",
        "use cookies",
        "all rights reserved",
    )
    sentence_lines: bool = False
    min_line_words: int = 5
    max_word_characters: int = 1000
    mask: tuple[str, ...] = choice((), MASK_KINDS)

    def __post_init__(self) -> None:
        check_choices(self, "clean.")
        if self.boilerplate_lines and not all(self.boilerplate_phrases):
            raise InputError("clean.boilerplate_phrases must be phrases, got an empty one; take it out")
        check_at_least("clean.min_line_words", self.min_line_words, 1)
        check_at_least("clean.max_word_characters", self.max_word_characters, 1)

    @property
    def is_on(self) -> bool:
        return any(getattr(self, name) for name in CLEANING_STEPS)


@dataclass(frozen=True)
class FilterSettings:
    """Which documents are kept: those whose tags lie within the rules, and whose language is wanted.

    rule_sets: sets of rules to keep to, as their papers have them.
    rules: the least and the most of a tag, before those of the sets, as num_words=20.. mean_word_length=3..12; the tags
        stand in the configuration reference.
    languages: ISO 639-1 codes of those to keep, as en de; none: any.
    min_language_probability: how sure the language must be.
    tags: a directory that keeps what the rules look at, so that a run with other bounds need not compute it again.
    bad_words: a file with a word a line, none of which a document may hold (C4's is the "List of Dirty, Naughty, Obscene or
        Otherwise Bad Words" of the language); none is shipped.

    Raises:
        InputError: for an unknown set, a least above its most, a rule on bad words without their file.

    Source: gopher: Rae et al. 2021 (arXiv 2112.11446), appendix A1.1; c4: Raffel et al. 2020 (arXiv 1910.10683), section 2.2.

    Example:

        >>> from clozekit.pipelines.settings.corpus_settings import FilterSettings
        >>> settings = FilterSettings(rule_sets=("gopher",), rules={"num_words": (100, None)})
        >>> settings.all_rules()["num_words"], settings.all_rules()["mean_word_length"]
        ((100, None), (3, 10))
    """

    rule_sets: tuple[str, ...] = choice((), tuple(RULE_SETS))
    rules: Rules = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    min_language_probability: float = 0.5
    tags: str | None = None
    bad_words: str | None = None

    def __post_init__(self) -> None:
        if "num_bad_words" in self.rules and self.bad_words is None:
            raise InputError(
                "a rule on num_bad_words needs the file filter.bad_words, got none; pass one (--bad-words)"
            )
        check_choices(self, "filter.")
        for tag, bounds in self.rules.items():
            low, high = bounds
            if low is not None and high is not None and low > high:
                raise InputError(f"the least of a rule must not be above the most, {tag} has {list(bounds)}; swap them")
        check_rate("filter.min_language_probability", self.min_language_probability)

    def all_rules(self) -> dict[str, tuple[float | None, float | None]]:
        """Every bound by its tag, in the order in which they are looked at."""
        rules = dict(self.rules)
        for name in self.rule_sets:
            for tag, bounds in RULE_SETS[name].items():
                rules.setdefault(tag, bounds)
        if self.bad_words is not None:
            rules.setdefault("num_bad_words", (None, 0))
        return rules

    @property
    def is_on(self) -> bool:
        return bool(self.rule_sets or self.rules or self.languages or self.bad_words)


@dataclass(frozen=True)
class DecontaminateSettings:
    """Texts of evaluations, in any format that documents are read in, whose runs of words training must not hold.

    inputs: files, globs or directories of these texts, a line or record each; a document that shares 13 words in a row with
        one of them (`ngram_words`) is dropped, see contaminated/.
    text_key: the field, column or feature that holds the text.
    document_kind: what one of them is in a text file.
    ngram_words: a document that shares so many words in a row is contaminated; 13, as Brown et al. 2020 (arXiv
        2005.14165, appendix C). An evaluation text with fewer words is looked for whole, down to `min_words`.
    min_words: words of the shortest text that is looked for.
    action: drop them, or report them in `contaminated/` and keep them.

    Raises:
        InputError: for a number of words below 1, or another action.

    Source: Brown et al. 2020 (arXiv 2005.14165), appendix C.

    Example:

        >>> from clozekit.pipelines.settings.corpus_settings import DecontaminateSettings
        >>> DecontaminateSettings(("glue/*.tsv",), text_key="sentence").ngram_words
        13
    """

    inputs: tuple[str, ...] = ()
    text_key: str = "text"
    document_kind: str = choice("line", DOCUMENT_KINDS)
    ngram_words: int = 13
    min_words: int = 8
    action: str = choice("drop", ("drop", "report"))

    def __post_init__(self) -> None:
        check_at_least("decontaminate.ngram_words", self.ngram_words, 1)
        check_at_least("decontaminate.min_words", self.min_words, 1)
        check_choices(self, "decontaminate.")


@dataclass(frozen=True)
class DeduplicateSettings:
    """Which documents count as duplicates, of which one is kept: see duplicates/.

    14 bands of 8 permutations over runs of 5 words, as FineWeb used them (Penedo et al. 2024, arXiv 2406.17557): of two
    documents with the Jaccard similarity 0.75, 77% are found; at 0.6 21%, at 0.85 99%.

    kind: exact: those with the same text but for case and white space; near: also those that share most of their words'
        runs.
    shingle_words: words of a run.
    num_bands: bands of MinHash; documents that share one are compared.
    rows_per_band: permutations of a band.
    min_similarity: near: what the bands find is compared, and only documents whose runs have this Jaccard similarity are
        duplicates; 0 takes all that share a band. At 0.75 the bands begin to find most pairs (they find half at 0.72), so a
        lower one would make duplicates by luck.

    Raises:
        InputError: for another kind, a number below 1, a similarity that is not from 0 to 1.

    Example:

        >>> from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings
        >>> settings = DeduplicateSettings("near")
        >>> round(1 - (1 - 0.75**settings.rows_per_band) ** settings.num_bands, 2)  # found at a similarity of 0.75
        0.77
    """

    kind: str = choice("none", DUPLICATE_KINDS)
    shingle_words: int = 5
    num_bands: int = 14
    rows_per_band: int = 8
    min_similarity: float = 0.75

    def __post_init__(self) -> None:
        check_choices(self, "deduplicate.")
        for name in ("shingle_words", "num_bands", "rows_per_band"):
            check_at_least(f"deduplicate.{name}", getattr(self, name), 1)
        check_rate("deduplicate.min_similarity", self.min_similarity)

    @property
    def is_near(self) -> bool:
        return self.kind == "near"


@dataclass(frozen=True)
class CorpusSettings:
    """Everything that happens to documents between the files and the tokenizer; by default nothing.

    clean: what is changed in texts. filter: which documents are kept. decontaminate: whose texts training must not hold.
    deduplicate: which documents count as duplicates.

    Example:

        >>> from clozekit.pipelines.settings.corpus_settings import CleanSettings, CorpusSettings, DeduplicateSettings
        >>> corpus = CorpusSettings(CleanSettings(unicode=True), deduplicate=DeduplicateSettings("exact"))
        >>> corpus.to_dict()["deduplicate"]["kind"], corpus.filter.is_on
        ('exact', False)
    """

    clean: CleanSettings = CleanSettings()
    filter: FilterSettings = FilterSettings()
    decontaminate: DecontaminateSettings = DecontaminateSettings()
    deduplicate: DeduplicateSettings = DeduplicateSettings()

    def to_dict(self) -> dict[str, Any]:
        """What decides the dataset, as JSON has it."""
        fields = dataclasses.asdict(self)
        # Where tags are kept changes nothing.
        del fields["filter"]["tags"]
        return json.loads(json.dumps(fields))


# Every document as it was read.
AS_READ = CorpusSettings()

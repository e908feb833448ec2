"""Which vocabulary to learn: the settings of `clozekit vocab`. No Beam."""

from dataclasses import dataclass

from clozekit.pipelines.settings.prepare_settings import check_at_least, check_choice
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES, with_learner
from clozekit.tokenizers.formats.vocabulary_files import MAX_VOCABULARY_SIZE

SENTENCE_PIECE_LEARNERS = ("albert_pieces", "xlm_roberta_pieces")


@dataclass(frozen=True)
class VocabularySettings:
    """Which vocabulary to learn.

    family: whose tokenizer it is for. vocabulary_size: the most pieces, special tokens included.
    lowercase: as the family's first models were if not given: BERT, DistilBERT and ALBERT lower-cased.

    alphabet_size (WordPiece): how many characters are pieces at most; None: a thousand, and more where the corpus has more and
    there is room. character_coverage (SentencePiece): the share of the text whose characters are pieces.

    Raises:
        InputError: for an unknown family, a size out of its bounds, a setting that is another family's.

    Example:

        >>> from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
        >>> settings = VocabularySettings("albert", vocabulary_size=30_000)
        >>> settings.is_lowercase, settings.learner
        (True, 'albert_pieces')
    """

    family: str = "bert"
    vocabulary_size: int = 30_522
    lowercase: bool | None = None
    alphabet_size: int | None = None
    character_coverage: float | None = None

    def __post_init__(self) -> None:
        check_choice("family", self.family, tuple(FAMILIES))
        check_at_least("vocabulary_size", self.vocabulary_size, 1)
        if self.vocabulary_size > MAX_VOCABULARY_SIZE:
            raise InputError(
                f"vocabulary_size must be at most {MAX_VOCABULARY_SIZE:,}, got {self.vocabulary_size}; the learners take"
                " memory for all of it at once"
            )
        if self.learner == "byte_pairs" and self.lowercase:
            raise InputError(
                f"byte-level BPE keeps every byte of a text, got lowercase for {self.family}; leave --lowercase out"
            )

        if self.alphabet_size is not None:
            check_at_least("alphabet_size", self.alphabet_size, 1)
            if self.learner != "word_pieces":
                raise InputError(
                    f"alphabet_size is WordPiece's ({', '.join(with_learner('word_pieces'))}), got it for {self.family}; leave"
                    " --alphabet-size out"
                )
        if self.character_coverage is not None:
            if self.learner not in SENTENCE_PIECE_LEARNERS:
                raise InputError(
                    f"character_coverage is SentencePiece's, got it for {self.family}; leave --character-coverage out"
                )
            if not 0.9 <= self.character_coverage <= 1:
                raise InputError(f"character_coverage must be from 0.9 to 1, got {self.character_coverage}")

    @property
    def is_lowercase(self) -> bool:
        return FAMILIES[self.family].lowercase if self.lowercase is None else self.lowercase

    @property
    def learner(self) -> str:
        return FAMILIES[self.family].learner

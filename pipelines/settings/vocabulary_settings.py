"""Which vocabulary to learn: the settings of `clozekit vocab`. No Beam."""

from dataclasses import dataclass

from clozekit.pipelines.settings.choices import check_choices, choice
from clozekit.pipelines.settings.prepare_settings import check_at_least
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES, with_learner
from clozekit.tokenizers.formats.vocabulary_files import MAX_VOCABULARY_SIZE

SENTENCE_PIECE_LEARNERS = ("albert_pieces", "xlm_roberta_pieces")
BYTE_PAIR_LEARNERS = ("byte_pairs", "modern_bert_pairs")


@dataclass(frozen=True)
class VocabularySettings:
    """Which vocabulary to learn.

    family: whose tokenizer to make.
    vocabulary_size: pieces to learn at most.
    lowercase: lower-case the text; if not given, as the first models of the family were: BERT, DistilBERT and ALBERT
        lower-cased.
    alphabet_size: characters that are pieces at most, for WordPiece (bert, distil_bert, electra); if not given 1,000, and more where
        the corpus has more and there is room.
    character_coverage: share of the text whose characters are pieces, for SentencePiece (albert, xlm_roberta); 0.9995 if
        not given.

    Raises:
        InputError: for an unknown family, a size out of its bounds, a setting that is another family's.

    Example:

        >>> from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
        >>> settings = VocabularySettings("albert", vocabulary_size=30_000)
        >>> settings.is_lowercase, settings.learner
        (True, 'albert_pieces')
    """

    family: str = choice("bert", tuple(FAMILIES))
    vocabulary_size: int = 30_522
    lowercase: bool | None = None
    alphabet_size: int | None = None
    character_coverage: float | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        check_at_least("vocabulary_size", self.vocabulary_size, 1)
        if self.vocabulary_size > MAX_VOCABULARY_SIZE:
            raise InputError(
                f"vocabulary_size must be at most {MAX_VOCABULARY_SIZE:,}, got {self.vocabulary_size}; the learners take"
                " memory for all of it at once"
            )
        if self.learner in BYTE_PAIR_LEARNERS and self.lowercase:
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

"""The families, a line each: their names, and what settings must know of them without loading any of their code."""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FamilyName:
    """What settings must know of a family without loading any of its code; a line of FAMILIES.

    Args:
        name: in settings, presets and file names. Its classes stand in model/families/NAME.py and
            tokenizers/families/NAME_tokenizer.py.
        prefix: of the names of its classes (BertBackbone, BertTokenizer).
        learner: how a vocabulary is learned, a key of LEARNERS (pipelines/vocabulary.py).
        lowercase: whether text is lower-cased, unless it is said.
        shares_layers: it repeats groups of layers, as ALBERT does.
        factorizes_embedding: its embeddings have a width of their own, as ALBERT's and ELECTRA's.
        has_buckets: attention looks at relative positions in buckets, as DeBERTa V3's.
        has_windows: most layers look no further than a window, and positions are rotary, as ModernBERT's.

    Example:

        >>> from clozekit.tokenizers.common.family_names import FAMILIES, FamilyName
        >>> FAMILIES["roberta"] == FamilyName("roberta", "Roberta", "byte_pairs", lowercase=False)
        True
    """

    name: str
    prefix: str
    learner: str
    lowercase: bool
    shares_layers: bool = False
    factorizes_embedding: bool = False
    has_windows: bool = False
    has_buckets: bool = False


# A family is added by its own files and a line here.
FAMILIES = MappingProxyType(
    {
        family.name: family
        for family in (
            FamilyName("bert", "Bert", "word_pieces", lowercase=True),
            FamilyName("distil_bert", "DistilBert", "word_pieces", lowercase=True),
            FamilyName("roberta", "Roberta", "byte_pairs", lowercase=False),
            FamilyName(
                "albert", "Albert", "albert_pieces", lowercase=True, shares_layers=True, factorizes_embedding=True
            ),
            FamilyName("xlm_roberta", "XLMRoberta", "xlm_roberta_pieces", lowercase=False),
            FamilyName("electra", "Electra", "word_pieces", lowercase=True, factorizes_embedding=True),
            FamilyName("modern_bert", "ModernBert", "modern_bert_pairs", lowercase=False, has_windows=True),
            FamilyName("deberta_v3", "DebertaV3", "deberta_v3_pieces", lowercase=False, has_buckets=True),
        )
    }
)


def with_learner(*learners: str) -> tuple[str, ...]:
    """The names of the families whose vocabularies are learned so."""
    return tuple(name for name, family in FAMILIES.items() if family.learner in learners)

"""The families side by side: which classes belong together."""

from dataclasses import dataclass
from typing import Any

from clozekit.model.families.albert import (
    AlbertBackbone,
    AlbertMaskedLM,
    AlbertMaskedLMPreprocessor,
    AlbertTextClassifier,
    AlbertTextClassifierPreprocessor,
)
from clozekit.model.families.bert import (
    BertBackbone,
    BertMaskedLM,
    BertMaskedLMPreprocessor,
    BertTextClassifier,
    BertTextClassifierPreprocessor,
)
from clozekit.model.families.roberta import (
    RobertaBackbone,
    RobertaMaskedLM,
    RobertaMaskedLMPreprocessor,
    RobertaTextClassifier,
    RobertaTextClassifierPreprocessor,
)
from clozekit.model.families.xlm_roberta import (
    XLMRobertaBackbone,
    XLMRobertaMaskedLM,
    XLMRobertaMaskedLMPreprocessor,
    XLMRobertaTextClassifier,
    XLMRobertaTextClassifierPreprocessor,
)
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families import AlbertTokenizer, BertTokenizer, RobertaTokenizer, XLMRobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Family:
    """A family's name and its classes; the attributes are named after the `kind` of the classes."""

    name: str
    tokenizer: type[Tokenizer]
    backbone: type[Backbone]
    masked_lm: type[MaskedLM]
    text_classifier: type[TextClassifier]
    masked_lm_preprocessor: type[MaskedLMPreprocessor]
    text_classifier_preprocessor: type[TextClassifierPreprocessor]


FAMILIES = (
    Family(
        "bert",
        BertTokenizer,
        BertBackbone,
        BertMaskedLM,
        BertTextClassifier,
        BertMaskedLMPreprocessor,
        BertTextClassifierPreprocessor,
    ),
    Family(
        "roberta",
        RobertaTokenizer,
        RobertaBackbone,
        RobertaMaskedLM,
        RobertaTextClassifier,
        RobertaMaskedLMPreprocessor,
        RobertaTextClassifierPreprocessor,
    ),
    Family(
        "albert",
        AlbertTokenizer,
        AlbertBackbone,
        AlbertMaskedLM,
        AlbertTextClassifier,
        AlbertMaskedLMPreprocessor,
        AlbertTextClassifierPreprocessor,
    ),
    Family(
        "xlm_roberta",
        XLMRobertaTokenizer,
        XLMRobertaBackbone,
        XLMRobertaMaskedLM,
        XLMRobertaTextClassifier,
        XLMRobertaMaskedLMPreprocessor,
        XLMRobertaTextClassifierPreprocessor,
    ),
)


def family_named(name: str) -> Family:
    """The family of a name such as "bert". Raises InputError for another."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise InputError(f"a family must be one of {', '.join(family.name for family in FAMILIES)}, got {name!r}")


def family_of_backbone(name: str, source: str) -> Family:
    """The family whose backbone class has this name. Raises InputError naming `source` for another."""
    for family in FAMILIES:
        if family.backbone.__name__ == name:
            return family
    known = ", ".join(family.backbone.__name__ for family in FAMILIES)
    raise InputError(f"the backbone of a preset must be one of {known}, {source} says {name!r}")


def family_of(part: Backbone | Preprocessor | Task) -> Family:
    """The family that a backbone, preprocessor or task belongs to."""
    for family in reversed(FAMILIES):
        if isinstance(part, Task):
            if isinstance(part.backbone, family.backbone):
                return family
        elif isinstance(part, family.backbone) or (
            isinstance(part, Preprocessor) and isinstance(part.tokenizer, family.tokenizer)
        ):
            return family
    raise InputError(f"{type(part).__name__} belongs to no family of Clozekit")


def families_of(cls: Any) -> list[Family]:
    """The families of which `cls` is, or is a base of, the class of its kind."""
    kind = getattr(cls, "kind", "")
    return [family for family in FAMILIES if not kind or issubclass(getattr(family, kind), cls)]


def class_for(cls: type, family: Family, source: str) -> Any:
    """`cls`, or the subclass of it that belongs to `family`. Raises InputError naming `source` if there is none."""
    kind = getattr(cls, "kind", "")
    if not kind:
        raise InputError(
            f"a preset is loaded by a particular class such as MaskedLM or BertTextClassifier, got {cls.__name__}"
        )
    found = getattr(family, kind)
    if not issubclass(found, cls):
        raise InputError(
            f"{cls.__name__} loads presets of its own family, {source} holds a {family.backbone.__name__};"
            f" use {found.__name__}"
        )
    return found

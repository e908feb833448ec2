"""The families side by side, and finding the one that a name, a class or a part belongs to."""

import importlib
from typing import TypeVar

import keras

from clozekit.model.families.family import Family
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.any_family import AnyFamilyTask
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.question_answerer import QuestionAnswerer
from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_embedder import TextEmbedder
from clozekit.model.tasks.token_classifier import TokenClassifier
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES as NAMES

FAMILIES: tuple[Family, ...] = tuple(
    importlib.import_module(f"clozekit.model.families.{name}").FAMILY for name in NAMES
)

for _family in FAMILIES:
    for _part in (_family.tokenizer, _family.masked_lm_preprocessor, _family.text_classifier_preprocessor):
        # What knows no models, and what stands below them, is told its backbone and made known to `keras.saving` here.
        _part.backbone_cls = _family.backbone
    _preprocessors = (_family.masked_lm_preprocessor, _family.text_classifier_preprocessor)
    for _part in (_family.tokenizer, _family.tokenizer.__mro__[1], *_preprocessors):
        if keras.saving.get_registered_object(f"clozekit>{_part.__name__}") is None:
            keras.saving.register_keras_serializable(package="clozekit")(_part)

# The tasks that are one class for all families, by their kind; the others are attributes of a family.
OF_ANY_FAMILY: dict[str, type[AnyFamilyTask]] = {
    task.kind: task for task in (TokenClassifier, QuestionAnswerer, TextEmbedder, ReplacedTokenDetector)
}
TASK_KINDS = ("masked_lm", "text_classifier", *OF_ANY_FAMILY)

# A backbone, a preprocessor or a task.
Part = TypeVar("Part")


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
        elif isinstance(part, Backbone | Preprocessor) and isinstance(part, getattr(family, part.kind)):
            return family
    raise InputError(f"{type(part).__name__} belongs to no family of Clozekit")


def task_class(family: Family, kind: str) -> type[Task]:
    """The class of a family's tasks of a kind."""
    found: type[Task] = OF_ANY_FAMILY[kind] if kind in OF_ANY_FAMILY else getattr(family, kind)
    return found


def preprocessor_class(family: Family, kind: str) -> type[Preprocessor]:
    """The class of the preprocessor of a family's tasks of a kind."""
    found: type[Preprocessor] = getattr(family, f"{'text_classifier' if kind in OF_ANY_FAMILY else kind}_preprocessor")
    return found


def families_of(cls: type) -> list[Family]:
    """The families of which `cls` is, or is a base of, the class of its kind."""
    kind = getattr(cls, "kind", "")
    return [
        family for family in FAMILIES if not kind or kind in OF_ANY_FAMILY or issubclass(getattr(family, kind), cls)
    ]


def class_for(cls: type[Part], family: Family, source: str) -> type[Part]:
    """`cls`, or the subclass of it that belongs to `family`. Raises InputError naming `source` if there is none."""
    kind = getattr(cls, "kind", "")
    if not kind:
        raise InputError(
            f"a preset is loaded by a particular class such as MaskedLM or BertTextClassifier, got {cls.__name__}"
        )
    found: type = OF_ANY_FAMILY[kind] if kind in OF_ANY_FAMILY else getattr(family, kind)
    if not issubclass(found, cls):
        raise InputError(
            f"{cls.__name__} loads presets of its own family, {source} holds a {family.backbone.__name__};"
            f" use {found.__name__}"
        )
    return found

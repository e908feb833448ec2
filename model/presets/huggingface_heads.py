"""The heads at Hugging Face: what a class of transformers is to each kind of task, its settings and tensors, both ways."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clozekit.model.common.tensors import Settings
from clozekit.model.families.family import HuggingFaceNames
from clozekit.model.presets.huggingface_config import (
    Difference,
    backbone_settings,
    check_labels,
    label_names,
    number_of,
)
from clozekit.model.presets.huggingface_weights import Place, dense_places, layer_places, norm_places
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_classifier import usual_problem
from clozekit.tokenizers.common.errors import InputError

# Ours -> theirs.
PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class Head:
    """One kind of tasks at Hugging Face.

    architectures: how the names of the classes end, the written one first; none: the bare model. settings: (config.json, names
    of the family, where it stands) -> constructor arguments besides the backbone. described: (task, names) -> keys of
    config.json. places: (task, names) -> the variables and their tensors. differences: what of a task the class computes
    otherwise. tensor: names -> the tensor that tells the head where `architectures` is silent. written: (task, names) -> which of
    `architectures` it is written as.
    """

    architectures: tuple[str, ...]
    settings: Callable[[Settings, HuggingFaceNames, str], Settings]
    described: Callable[[Task, HuggingFaceNames], Settings]
    places: Callable[[Task, HuggingFaceNames], list[Place]]
    differences: Callable[[Task, HuggingFaceNames], list[Difference]]
    tensor: Callable[[HuggingFaceNames], str | None] = lambda names: None
    written: Callable[[Task, HuggingFaceNames], int] = lambda task, names: 0


def _masked_lm_settings(config: Settings, names: HuggingFaceNames, source: str) -> Settings:
    """Hugging Face's head has the body's settings."""
    return _of_body(backbone_settings(config, names, source), names)


def _of_body(body: Settings, names: HuggingFaceNames) -> Settings:
    return {
        "head_activation": names.head_activation or body.get("head_activation") or body["activation"],
        "head_layer_norm_epsilon": body["layer_norm_epsilon"],
    }


def _masked_lm_places(task: Task, names: HuggingFaceNames) -> list[Place]:
    dense, norm, bias = task.masked_lm_head.parts()
    pairs = [] if task.pair_head is None else dense_places(str(names.pair_head), task.pair_head.dense)
    # The bias last: it has two names there.
    head = [*dense_places(names.head_dense, dense), *norm_places(names.head_norm, norm)]
    return [*pairs, *head, Place(names.head_bias, bias)]


def pair_settings(config: Settings, names: HuggingFaceNames, source: str) -> Settings:
    """Constructor arguments of a masked LM with a head of pairs besides."""
    if names.pair_dropout is None:
        return {"pair_head": True}
    default = names.default_classifier_dropout
    return {"pair_head": True, "pair_dropout": number_of(config, names.pair_dropout, default, float, source)}


def _masked_lm_described(task: Task, names: HuggingFaceNames) -> Settings:
    if task.pair_head is None or names.pair_dropout is None:
        return {}
    return {names.pair_dropout: task.pair_head.dropout}


def _masked_lm_differences(task: Task, names: HuggingFaceNames) -> list[Difference]:
    head, expected = task.head_settings(), _of_body(task.backbone.settings(), names)
    if task.pair_head is not None and names.pair_dropout is None:
        expected["pair_dropout"] = 0.0
    return [Difference(name, head[name], value) for name, value in expected.items() if head[name] != value]


def _classes(config: Settings, source: str) -> Settings:
    """num_classes, and labels where they have names."""
    labels = config.get("id2label")
    check_labels(config, source)
    if not isinstance(labels, dict):
        return {"num_classes": number_of(config, "num_labels", 2, int, source)}
    named = label_names(labels)
    return {"num_classes": len(labels), **({} if named is None else {"labels": named})}


def _described_classes(task: Task) -> Settings:
    classes = task.labels or [f"LABEL_{index}" for index in range(task.num_classes)]
    return {
        "id2label": {str(index): label for index, label in enumerate(classes)},
        "label2id": {label: index for index, label in enumerate(classes)},
    }


def _dropout(config: Settings, names: HuggingFaceNames, source: str) -> float:
    """Of a classifier: its own, where it has one, or the body's."""
    rate = config.get(names.classifier_dropout, names.default_classifier_dropout)
    if rate is None:
        body = backbone_settings(config, names, source)
        return float(body["dropout"])
    return number_of(config, names.classifier_dropout, names.default_classifier_dropout, float, source)


def _text_classifier_settings(config: Settings, names: HuggingFaceNames, source: str) -> Settings:
    settings = {**_classes(config, source), "dropout": _dropout(config, names, source)}
    if names.classifier_pooling is not None:
        settings["pooling"] = config.get(names.classifier_pooling, "cls")
    rate = None if names.output_dropout is None else config.get(names.output_dropout)
    if rate is not None:
        settings["output_dropout"] = number_of(config, str(names.output_dropout), rate, float, source)
    theirs = config.get("problem_type")
    problem = next((ours for ours, name in PROBLEM_TYPES.items() if name == theirs), None)
    usual = usual_problem(settings["num_classes"])
    return settings if problem in (None, usual) else {**settings, "problem": problem}


def check_problem_type(config: Settings, source: str) -> None:
    """Raises InputError for a classifier that is for something else; its backbone may be taken all the same."""
    theirs = config.get("problem_type")
    if theirs is not None and theirs not in PROBLEM_TYPES.values():
        raise InputError(
            f"problem_type must be one of {', '.join(PROBLEM_TYPES.values())}, {source} says problem_type {theirs!r:.80};"
            " pass num_classes for a fresh head on its backbone"
        )


def _text_classifier_described(task: Task, names: HuggingFaceNames) -> Settings:
    pooling = {} if names.classifier_pooling is None else {names.classifier_pooling: task.pooling}
    rate = None if names.output_dropout is None else task.output_rate
    return {
        **_described_classes(task),
        **pooling,
        **({} if rate is None else {str(names.output_dropout): rate}),
        names.classifier_dropout: task.dropout,
        "problem_type": PROBLEM_TYPES[task.problem],
    }


def _text_classifier_places(task: Task, names: HuggingFaceNames) -> list[Place]:
    own = [place for part, name in names.classifier.items() for place in dense_places(name, getattr(task, part))]
    return [*_prediction_head_places(task, names), *own]


def _prediction_head_places(task: Task, names: HuggingFaceNames) -> list[Place]:
    head = getattr(task, "prediction_head", None)
    if head is None:
        return []
    return [*dense_places(names.head_dense, head.dense), *norm_places(names.head_norm, head.norm)]


def _text_classifier_differences(task: Task, names: HuggingFaceNames) -> list[Difference]:
    activation = task.head_config()["activation"]
    return [] if activation in (None, "linear") else [Difference("activation", activation, "linear")]


def _has_own_dropout(names: HuggingFaceNames) -> bool:
    """Whether the class of token classification reads the classifier's rate; DistilBERT's and DeBERTa's take the body's."""
    return names.classifier_dropout.startswith("classifier_")


def _token_classifier_settings(config: Settings, names: HuggingFaceNames, source: str) -> Settings:
    body = backbone_settings(config, names, source)
    rate = _dropout(config, names, source) if _has_own_dropout(names) else body["dropout"]
    return {**_classes(config, source), "dropout": rate}


def _token_classifier_described(task: Task, names: HuggingFaceNames) -> Settings:
    rate = {names.classifier_dropout: task.dropout} if _has_own_dropout(names) else {}
    return {**_described_classes(task), **rate}


def _token_classifier_differences(task: Task, names: HuggingFaceNames) -> list[Difference]:
    body = task.backbone.dropout
    is_other = not _has_own_dropout(names) and task.dropout != body
    return [Difference("dropout", task.dropout, body)] if is_other else []


def _detector_places(task: Task, names: HuggingFaceNames) -> list[Place]:
    named = names.detector.items()
    return [place for part, name in named for place in layer_places(name, getattr(task.detection_head, part))]


def detector_tensor(names: HuggingFaceNames) -> str:
    """The tensor that tells a discriminator's head."""
    return f"{names.detector['dense']}.weight"


def _output_places(task: Task, names: HuggingFaceNames, name: str) -> list[Place]:
    return [*_prediction_head_places(task, names), *dense_places(name, task.output_dense)]


def _answer_settings(config: Settings, names: HuggingFaceNames, source: str) -> Settings:
    if names.answer_dropout is None:
        return {}
    return {"dropout": number_of(config, names.answer_dropout, names.default_answer_dropout, float, source)}


def _answer_described(task: Task, names: HuggingFaceNames) -> Settings:
    return {} if names.answer_dropout is None else {names.answer_dropout: task.dropout}


def _answer_differences(task: Task, names: HuggingFaceNames) -> list[Difference]:
    is_other = names.answer_dropout is None and task.dropout != 0
    return [Difference("dropout", task.dropout, 0)] if is_other else []


HEADS: Mapping[str, Head] = {
    "masked_lm": Head(
        ("ForMaskedLM", "ForPreTraining"),
        _masked_lm_settings,
        _masked_lm_described,
        _masked_lm_places,
        _masked_lm_differences,
        lambda names: f"{names.head_dense}.weight",
        lambda task, names: 0 if task.pair_head is None else 1,
    ),
    "text_classifier": Head(
        ("ForSequenceClassification",),
        _text_classifier_settings,
        _text_classifier_described,
        _text_classifier_places,
        _text_classifier_differences,
        lambda names: f"{names.classifier['output_dense']}.weight",
    ),
    "token_classifier": Head(
        ("ForTokenClassification",),
        _token_classifier_settings,
        _token_classifier_described,
        lambda task, names: _output_places(task, names, "classifier"),
        _token_classifier_differences,
    ),
    "question_answerer": Head(
        ("ForQuestionAnswering",),
        _answer_settings,
        _answer_described,
        lambda task, names: _output_places(task, names, names.answers),
        _answer_differences,
        lambda names: f"{names.answers}.weight",
    ),
    "replaced_token_detector": Head(
        ("ForPreTraining", "Model"),
        lambda config, names, source: {},
        lambda task, names: {},
        _detector_places,
        lambda task, names: [],
        detector_tensor,
        lambda task, names: 0 if names.has_detector else 1,
    ),
    # Its pooling stands in sentence-transformers' files.
    "text_embedder": Head(
        ("Model",),
        lambda config, names, source: {},
        lambda task, names: {},
        lambda task, names: [],
        lambda task, names: [],
    ),
}


def kind_of(config: Settings, family: HuggingFaceNames) -> str | None:
    """Which task a checkpoint of a family holds by its `architectures`: a key of HEADS, "" (no head), None (unsaid)."""
    names = config.get("architectures")
    if names is None or names == []:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"architectures in config.json must be a list of names, got {names!r:.80}; correct it")
    # What was pretrained is a masked LM with a head of pairs, or ELECTRA's discriminator.
    left_out = "masked_lm" if family.has_detector else "replaced_token_detector"
    # The bare model's name tells of no head.
    named = {kind: tuple(end for end in head.architectures if end != "Model") for kind, head in HEADS.items()}
    heads = [(kind, ends) for kind, ends in named.items() if kind != left_out]
    if family.has_detector:
        heads.append(("masked_lm", ("ForMaskedLM",)))
    return next((kind for kind, ends in heads if any(name.endswith(ends) for name in names)), "")

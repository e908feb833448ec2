"""The model card: one README.md that says what a model is, how it was trained and measured, and how it is loaded."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from clozekit.deploy.publish.run_facts import RunFacts, without_places
from clozekit.model.families.family_table import family_named
from clozekit.model.training.run_directory.run_files import FINETUNE
from clozekit.pipelines.dataset.dataset_summary import LANGUAGE_COUNTS, account_of
from clozekit.pipelines.dataset.manifest import Manifest

_TAGS = {
    "masked_lm": "fill-mask",
    "text_classifier": "text-classification",
    "token_classifier": "token-classification",
    "question_answerer": "question-answering",
    "text_embedder": "sentence-similarity",
    "replaced_token_detector": "feature-extraction",
    "backbone": "feature-extraction",
}
_LIBRARIES = {"huggingface": "transformers", "keras_hub": "keras-hub", "clozekit": "keras"}
_KINDS = {
    "masked_lm": "masked language model",
    "text_classifier": "text classifier",
    "token_classifier": "token classifier",
    "question_answerer": "question answerer",
    "text_embedder": "text embedder",
    "replaced_token_detector": "replaced-token discriminator",
    "backbone": "text encoder",
}
# What a classifier is for -> what it can't say.
_LIMITS_OF_PROBLEMS = {
    "single_label": "- It knows the classes above and no others; every text gets one of them.",
    "multi_label": "- It knows the labels above and no others; a text gets any number of them, or none.",
    "regression": "- It gives every text a number, also one that is nothing like the texts it was trained on.",
}
# What a model makes of a text, where `predict` does not.
_CALLS = {
    "text_classifier": 'model.predict(["A text."])',
    "token_classifier": 'model.tag_words([["A", "text"]])',
    "question_answerer": 'model.answer(["A question?"], ["A text that answers it."])',
    "text_embedder": 'model.encode(["A text."])',
}
# Kinds that transformers has no pipeline for, and their classes there.
_CLASSES = {
    "question_answerer": "AutoModelForQuestionAnswering",
    "replaced_token_detector": "AutoModelForPreTraining",
}
# What the log calls a measure -> what it is.
_MEASURES = {
    "loss": "validation loss, nats a masked token",
    "perplexity": "perplexity of the masked tokens",
    "accuracy": "masked accuracy",
    "num_predictions": "masked tokens measured",
    "pair_loss": "loss of sentence pairs, nats a pair",
    "pair_accuracy": "accuracy of sentence pairs",
    "num_pairs": "sentence pairs measured",
    "detection_loss": "loss of the discriminator, nats a token",
    "detection_accuracy": "accuracy of the discriminator",
    "detection_auc": "area under the discriminator's ROC curve",
    "replaced_share": "tokens that the generator replaced",
    "num_detections": "tokens that the discriminator judged",
}


@dataclass(frozen=True)
class CardFacts:
    """Everything a card says. uri: where it goes; layout: of the files; kind: of the task; class_name, what: "BertMaskedLM" and
    "BertMaskedLM of 12,345 parameters"; dimensions: setting -> value; labels, problem: of a classifier; notes: what is computed
    otherwise elsewhere; run: None where no run is at hand; lineage: (what, hash, the rest) of each link; is_of_keras_hub: whether KerasHub has such tasks of the family."""

    uri: str
    layout: str
    family: str
    kind: str
    class_name: str
    what: str
    dimensions: Mapping[str, Any]
    tokenizer: str
    mask_token: str | None = None
    sequence_length: int | None = None
    labels: Sequence[str] = ()
    problem: str | None = None
    notes: Sequence[str] = ()
    license: str | None = None
    languages: Sequence[str] = ()
    datasets: Sequence[str] = ()
    hardware: str | None = None
    run: RunFacts | None = field(default=None)
    lineage: Sequence[tuple[str, str, str]] = ()
    is_of_keras_hub: bool = True


def render_model_card(facts: CardFacts) -> str:
    """The card, with the front matter that Hugging Face reads."""
    parts = [_front_matter(facts), *_what(facts), *_use(facts), *_training(facts), *_measures(facts)]
    parts += [*_lineage(facts), *_limits(facts)]
    return "\n".join([*parts, "", "Published with `clozekit publish`.", ""])


def _front_matter(facts: CardFacts) -> str:
    bases = [] if facts.run is None else [facts.run.config.get("init_from"), _generator(facts.run)]
    bases = [base.removeprefix("hf://") for base in bases if isinstance(base, str) and base.startswith("hf://")]
    fields = {
        "license": facts.license,
        "language": list(facts.languages),
        "library_name": _LIBRARIES[facts.layout],
        "pipeline_tag": _TAGS[facts.kind],
        "tags": ["clozekit", facts.family.replace("_", "-")],
        "datasets": list(facts.datasets),
        "base_model": bases[0] if len(bases) == 1 else bases,
    }
    said = {name: value for name, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(said, sort_keys=False, allow_unicode=True)}---\n"


def _generator(run: RunFacts) -> object:
    """What `replaced.generator` named."""
    return (run.config.get("replaced") or {}).get("generator")


def _what(facts: CardFacts) -> Iterator[str]:
    yield f"# {facts.uri.rstrip('/').rpartition('/')[2]}\n"
    kind = "text regression model" if facts.problem == "regression" else _KINDS[facts.kind]
    yield f"A {kind}: {facts.what}, with its {facts.tokenizer}.\n"
    yield from _table(("", ""), [(name.replace("_", " "), _shown(value)) for name, value in facts.dimensions.items()])
    if facts.labels:
        yield f"\n{'Labels' if facts.problem == 'multi_label' else 'Classes'}: {', '.join(facts.labels)}."


def _use(facts: CardFacts) -> Iterator[str]:
    place, name = facts.uri, facts.class_name
    yield "\n## How to load it\n"
    if not place.startswith(("hf://", "kaggle://")):
        yield "Copy it to a folder `model` first, or let Clozekit read it where it is.\n"
    yield f"With Clozekit:\n\n```python\nimport clozekit.model as models\n\n{_example(facts, 'models', place)}\n```"
    of_any_family = ("token_classifier", "question_answerer", "text_embedder", "replaced_token_detector")
    if facts.layout == "keras_hub" and (facts.kind in of_any_family or not facts.is_of_keras_hub):
        yield "\nKerasHub loads the backbone of this model, and its tokenizer."
    elif facts.layout == "keras_hub":
        local = place if place.startswith(("hf://", "kaggle://")) else "model"
        yield f'\nWith KerasHub:\n\n```python\nimport keras_hub\n\nmodel = keras_hub.models.{name}.from_preset("{local}")\n```'
    if facts.layout == "huggingface" and facts.kind == "text_embedder":
        local = place.removeprefix("hf://") if place.startswith("hf://") else "model"
        yield (
            "\nWith sentence-transformers:\n\n```python\nfrom sentence_transformers import SentenceTransformer\n\n"
            f'print(SentenceTransformer("{local}").encode(["A text."]))\n```'
        )
    elif facts.layout == "huggingface" and facts.kind in _CLASSES:
        local = place.removeprefix("hf://") if place.startswith("hf://") else "model"
        yield (
            "\nWith transformers:\n\n```python\nimport transformers\n\n"
            f'model = transformers.{_their_class(facts)}.from_pretrained("{local}")\n```'
        )
    elif facts.layout == "huggingface":
        local = place.removeprefix("hf://") if place.startswith("hf://") else "model"
        text = f"A text with a {facts.mask_token}." if facts.kind == "masked_lm" else "A text."
        yield (
            "\nWith transformers:\n\n```python\nimport transformers\n\n"
            f'model = transformers.pipeline("{_TAGS[facts.kind]}", model="{local}")\nprint(model("{text}"))\n```'
        )


def _their_class(facts: CardFacts) -> str:
    is_bare = facts.kind == "replaced_token_detector" and not family_named(facts.family).huggingface.has_detector
    return "AutoModel" if is_bare else _CLASSES[facts.kind]


def _example(facts: CardFacts, module: str, place: str) -> str:
    loaded = f'model = {module}.{facts.class_name}.from_preset("{place}")'
    if facts.kind == "masked_lm":
        return f'{loaded}\nprint(model.fill_mask("A text with a {facts.mask_token}."))'
    return f"{loaded}\nprint({_CALLS[facts.kind]})" if facts.kind in _CALLS else loaded


def _training(facts: CardFacts) -> Iterator[str]:
    run = facts.run
    yield "\n## How it was trained\n"
    if run is None:
        yield "The preset came without the run that trained it: nothing is known here of its data and its training."
        return
    train, optimizer = run.config.get("train", {}), run.config.get("optimizer", {})
    distill = run.config.get("distill") or {}
    fresh = "every other layer of the model below" if distill.get("init_student") else "random weights"
    rows = {
        "begun from": run.config.get("init_from") or fresh,
        "its generator begun from": _generator(run),
        "learned from": distill.get("teacher"),
        "steps": run.step,
        "rows a step": train.get("global_batch_size"),
        "tokens seen": run.last("train").get("tokens_seen"),
        "optimizer": optimizer.get("name"),
        "learning rate": optimizer.get("learning_rate"),
        "schedule": optimizer.get("schedule"),
        "precision": train.get("precision"),
        "tokens a second": run.last("train").get("tokens_per_second"),
        "hardware": facts.hardware,
    }
    yield from _table(("", ""), [(name, _shown(value)) for name, value in rows.items() if value is not None])
    if run.manifest is not None:
        yield from _data(run.manifest)
    elif run.kind != FINETUNE:
        yield "\nIts dataset was not at hand when this card was written."
    verb = "finetune" if run.kind == FINETUNE else "train"
    yield f"\nTo train it again, with these settings in `config.yaml` and the data beside it: `clozekit {verb} config.yaml`\n"
    yield "<details><summary>config.yaml</summary>\n"
    yield f"```yaml\n{yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True).rstrip()}\n```\n\n</details>"


def _data(manifest: Manifest) -> Iterator[str]:
    yield "\n### Data\n"
    size = sum(file["num_bytes"] for file in manifest.inputs)
    yield (
        f"{size:,} bytes of text in {len(manifest.inputs):,} {'file' if len(manifest.inputs) == 1 else 'files'}, as rows of up to {manifest.sequence_length} tokens;"
        f" dataset_sha256 `{manifest.dataset_sha256}`.\n"
    )
    yield from _table(
        ("split", "rows", "documents or parts", "tokens"),
        [(name, f"{one.rows:,}", f"{one.pieces:,}", f"{one.tokens:,}") for name, one in manifest.splits.items()],
    )
    yield "\nWhat became of the documents:\n"
    yield from _table(("", "documents"), [(name, f"{number:,}") for name, number in account_of(manifest.counts)])
    languages = [
        (name.removeprefix(LANGUAGE_COUNTS), f"{number:,}")
        for name, number in manifest.counts.items()
        if name.startswith(LANGUAGE_COUNTS) and number
    ]
    if languages:
        yield "\nLanguages:\n"
        yield from _table(("language", "documents"), languages)
    settings = json.dumps(without_places(manifest.settings), indent=2, sort_keys=True, ensure_ascii=False)
    yield f"\n<details><summary>How the texts were read, cleaned and cut</summary>\n\n```json\n{settings}\n```\n\n</details>"


def _measures(facts: CardFacts) -> Iterator[str]:
    run = facts.run
    if run is None:
        return
    validation = run.last("validation")
    if run.measures:
        rows = [(f"{split}: {name}", _shown(value)) for split, of in run.measures.items() for name, value in of.items()]
    elif run.kind == FINETUNE:
        left_out = ("kind", "step")
        rows = [(name.replace("_", " "), _shown(value)) for name, value in validation.items() if name not in left_out]
    else:
        rows = [(label, _shown(validation[name])) for name, label in _MEASURES.items() if name in validation]
    yield "\n## Measures\n"
    if not rows:
        yield "It was not measured on a validation split."
        return
    of_step = validation.get("step")
    if not run.measures and of_step is not None and of_step != run.step:
        yield f"Of step {of_step:,}, the last one before step {run.step:,} that was measured.\n"
    yield from _table(("", ""), rows)


def _lineage(facts: CardFacts) -> Iterator[str]:
    if not facts.lineage:
        return
    yield "\n## Lineage\n"
    yield (
        "What it came from, the nearest first, each by the first digits of its sha256. `lineage.json` beside this card has the whole"
        " hashes, and says what came from what; `clozekit lineage` prints and checks it.\n"
    )
    yield from _table(("", "sha256", ""), facts.lineage)


def _limits(facts: CardFacts) -> Iterator[str]:
    yield "\n## Limits\n"
    length = facts.sequence_length or facts.dimensions.get("max_sequence_length")
    yield (
        f"- It takes {length:,} tokens at a time; what is longer is cut off." if length else "- Long texts are cut off."
    )
    if facts.kind == "masked_lm":
        yield "- It guesses words as the texts it was trained on would have them, with their errors and prejudices."
    if facts.kind == "text_classifier":
        yield _LIMITS_OF_PROBLEMS[facts.problem or "single_label"]
    if facts.run is not None and facts.run.last("validation"):
        yield "- The measures are of data of the same source as the training's; on other texts they will be others."
    yield from (f"- {note}" for note in facts.notes)


def _shown(value: object) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() or abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"

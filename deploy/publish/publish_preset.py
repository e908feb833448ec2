"""`clozekit publish`: a preset in a layout that others load, with a card, at Hugging Face, Kaggle or a URL."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clozekit.deploy.convert import convert
from clozekit.deploy.describe_lineage import card_rows
from clozekit.deploy.publish.model_card import CardFacts, render_model_card
from clozekit.deploy.publish.publish_settings import PublishSettings
from clozekit.deploy.publish.run_facts import facts_of
from clozekit.model.families.family_table import TASK_KINDS, preprocessor_class, task_class
from clozekit.model.presets.load_presets import open_source
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.model.tasks.text_classifier import TextClassifier, usual_problem
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_files import relative_names
from clozekit.tokenizers.hub.publish_targets import CARD_FILE, PublishTarget, publish_directory, publish_target
from clozekit.tokenizers.storage.file_systems import reason_of
from clozekit.tokenizers.storage.owned_files import OWNED_FILE

_DIMENSIONS = (
    *("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "embedding_dim", "vocabulary_size"),
    *("max_sequence_length", "activation"),
)


@dataclass(frozen=True)
class Published:
    """What went where. files: name -> bytes; card: its text; card_kept: somebody's card was left there."""

    what: str
    files: dict[str, int]
    card: str
    notes: list[str]
    card_kept: bool = False


def publish(settings: PublishSettings, dry_run: bool = False) -> Published:
    """Publishes what `settings` names, whole or not at all.

    Args:
        settings: what, where, and what the card says besides.
        dry_run: nothing is asked for or sent.

    Returns:
        What was sent, or would be.

    Raises:
        InputError: before anything is sent, for a preset that can't be had or not be in the layout, a login that is missing, and
            where something at the target is somebody else's.

    Example:

        >>> from clozekit.deploy.publish.publish_preset import publish
        >>> from clozekit.deploy.publish.publish_settings import PublishSettings
        >>> published = publish(PublishSettings("tiny/preset", "hf://me/tiny", "keras_hub"), dry_run=True)
        >>> published.card.splitlines()[:3], "model.weights.h5" in published.files
        (['---', 'library_name: keras-hub', 'pipeline_tag: fill-mask'], True)
    """
    target = publish_target(settings.target, settings.license)
    own_card = None if settings.card is None else _read_card(settings.card, settings.scheme)
    if not dry_run:
        # Before the model is loaded: what is missing is said at once.
        target.look()
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "preset"
        converted = convert(settings.preset, str(local), settings.format)
        card = own_card or render_model_card(_facts(settings, local, converted.what, converted.notes))
        card_kept = False
        if dry_run:
            (local / CARD_FILE).write_text(card, encoding="utf-8")
        else:
            card_kept = not _send(settings, target, local, card)
        names = [name for name in relative_names(local) if name != OWNED_FILE]
        files = {name: (local / name).stat().st_size for name in sorted(names)}
    return Published(converted.what, files, card, converted.notes, card_kept)


def _send(settings: PublishSettings, target: PublishTarget, local: Path, card: str) -> bool:
    message = settings.message or "A model published with Clozekit"
    return publish_directory(
        target, local, card.encode(), message, settings.private, settings.replace, settings.keep_card
    )


def _facts(settings: PublishSettings, local: Path, what: str, notes: list[str]) -> CardFacts:
    source = open_source(local)
    kind = next((one for one in TASK_KINDS if source.head_settings(one) is not None), "backbone")
    head: dict[str, Any] = source.head_settings(kind) or {} if kind != "backbone" else {}
    tokenizer, dimensions = source.tokenizer(), source.backbone_settings()
    rows_of = preprocessor_class(source.family, kind).kind.removesuffix("_preprocessor") if kind != "backbone" else None
    rows = None if rows_of is None else source.preprocessor_settings(rows_of).get("sequence_length")
    return CardFacts(
        settings.target,
        settings.format,
        source.family.name,
        kind,
        (source.family.backbone if kind == "backbone" else task_class(source.family, kind)).__name__,
        what,
        {name: dimensions[name] for name in _DIMENSIONS if dimensions.get(name) is not None},
        f"{type(tokenizer).__name__} of {tokenizer.vocabulary_size():,} pieces",
        getattr(tokenizer, "mask_token", None),
        rows,
        tuple(head.get("labels") or ()),
        (head.get("problem") or usual_problem(head["num_classes"])) if kind == TextClassifier.kind else None,
        tuple(notes),
        settings.license,
        settings.languages,
        settings.datasets,
        settings.hardware,
        facts_of(settings.preset),
        card_rows(lineage_of(local)),
        is_of_keras_hub=kind == "backbone"
        or (task_class(source.family, kind).is_of_keras_hub and "num_generator_layers" not in head),
    )


def _read_card(path: str, scheme: str) -> str:
    """The text of a card of one's own. Raises InputError where Hugging Face would not take it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--card must be a file of UTF-8 text, {path} can't be read ({reason_of(error)})") from error
    if not text.strip():
        raise InputError(f"--card must say something, {path} is empty")
    if scheme == "hf" and text.startswith("---\n"):
        front = text[4:].partition("\n---")[0]
        try:
            fields = yaml.safe_load(front)
        except yaml.YAMLError as error:
            raise InputError(
                f"the front matter of --card must be YAML, that of {path} is not ({' '.join(str(error).split())[:200]})"
            ) from error
        if not isinstance(fields, dict):
            raise InputError(f"the front matter of --card must be keys with values, that of {path} is not; correct it")
    return text

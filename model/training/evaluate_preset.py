"""Measuring the masked LM of a preset: on a dataset's validation split, and on texts with each token masked once."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from clozekit.model.common.perplexity import perplexity
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.presets.trained_masked_lm import load_masked_lm
from clozekit.model.reading.dataset_reader import damage_named, validation_batches
from clozekit.model.reading.shard_files import shard_problems
from clozekit.model.tasks.fill_mask import encode_texts, tokenizer_of
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.datasets import MORE_DOCUMENTS
from clozekit.model.training.objectives import masked_lm_objective, pair_objective, replaced_objective
from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings
from clozekit.pipelines.dataset.manifest import Manifest, read_manifest
from clozekit.pipelines.dataset.manifest_schema import check_described
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.preset_tokenizer import under_name


def evaluate_dataset(preset: str, dataset: str, options: EvaluatePresetSettings) -> dict[str, Any]:
    """Measures the masked LM of a preset on a dataset's validation split. Sums over sums, never a mean of means.

    Args:
        preset: a directory, a built-in name, a handle or a URL.
        dataset: a directory or a URL, prepared with the preset's tokenizer.
        options: batch size, rows, the rate of masks.

    Returns:
        loss (nats a masked token), perplexity, accuracy (0 to 1), and what always guessing the commonest token would get; of a
        model with a head of pairs, on a dataset of pairs, also pair_loss, pair_accuracy and num_pairs; of a generator and its
        discriminator also detection_loss, detection_accuracy, detection_auc, num_detections and replaced_share.

    Raises:
        InputError: for a dataset without a validation split, of another tokenizer, of longer rows, or damaged.

    Example:

        >>> from clozekit.model.training.evaluate_preset import evaluate_dataset
        >>> from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings
        >>> measured = evaluate_dataset("tiny/preset", "tiny/dataset", EvaluatePresetSettings(xla=False))
        >>> measured["rows"], round(measured["loss"], 1), measured["commonest_token"]
        (8, 2.8, 'the')
    """
    manifest = read_manifest(dataset)
    if "validation" not in manifest.splits:
        raise InputError(
            f"a measurement needs rows to validate on, {dataset} has no validation split; {MORE_DOCUMENTS}"
        )
    # Of a large dataset the rest is of no matter here.
    for problem in shard_problems(dataset, manifest.splits["validation"], read_all=True, show_progress=True):
        raise InputError(problem)
    task = load_masked_lm(preset)
    check_belongs(task, manifest, preset, dataset)
    has_generator = task.generator is not None
    masking = dataclasses.replace(fixed_masking(manifest, options.mask_rate), has_dice=has_generator)
    rows = min(manifest.splits["validation"].rows, options.max_rows or manifest.splits["validation"].rows)
    batches = validation_batches(dataset, manifest, masking, min(options.batch_size, rows), options.max_rows)
    with damage_named(dataset, manifest):
        has_pairs = task.pair_head is not None and manifest.has_pairs
        objective = pair_objective.OBJECTIVE if has_pairs else masked_lm_objective.OBJECTIVE
        objective = replaced_objective.OBJECTIVE if has_generator else objective
        evaluator = masked_lm_objective.Evaluator(task, batches, options.xla, in_memory=False, objective=objective)
        metrics = evaluator.run()
        token_id, baseline = evaluator.commonest_token_accuracy()
    return {
        "preset": preset,
        "dataset": dataset,
        "dataset_sha256": manifest.dataset_sha256,
        "split": "validation",
        "rows": rows,
        "mask_rate": options.mask_rate,
        **metrics,
        "commonest_token": tokenizer_of(task).id_to_token(token_id),
        "commonest_token_accuracy": baseline,
    }


def check_belongs(task: MaskedLM, manifest: Manifest, preset: str, dataset: str) -> None:
    """Raises InputError when the dataset's ids or rows are not the model's."""
    tokenizer = under_name(manifest.tokenizer.class_name, tokenizer_of(task))
    if tokenizer.sha256() != manifest.tokenizer.sha256:
        raise InputError(
            f"the dataset must be prepared with the preset's tokenizer, {preset} has a {type(tokenizer).__name__} of"
            f" {tokenizer.vocabulary_size()} pieces (sha256 {tokenizer.sha256()[:12]}), {dataset} was made by a"
            f" {manifest.tokenizer.class_name} of {manifest.tokenizer.vocabulary_size}"
            f" ({manifest.tokenizer.sha256[:12]}); prepare it with --tokenizer {preset}"
        )
    check_described(manifest, tokenizer, dataset)
    positions = task.backbone.max_sequence_length
    if manifest.sequence_length > positions:
        raise InputError(
            f"rows must fit the model's {positions} positions, {dataset} has rows of {manifest.sequence_length};"
            f" prepare it with --sequence-length {positions}"
        )


def fixed_masking(manifest: Manifest, mask_rate: float) -> MaskingRule:
    """The masks that `clozekit train` measures itself on, which no run changes."""
    special = manifest.tokenizer.special_token_ids
    options = MaskingRule(
        mask_token_id=special["mask_token"],
        vocabulary_size=manifest.tokenizer.vocabulary_size,
        special_token_ids=tuple(sorted(set(special.values()))),
    )
    return options.for_validation(mask_rate)


def evaluate_texts(preset: str, texts: Sequence[str]) -> dict[str, Any]:
    """The pseudo-perplexity of each text, and of all together: each token counts alike, whichever text it is in.

    Args:
        preset: a directory, a built-in name, a handle or a URL.
        texts: at least one, each with at least one token.

    Returns:
        pseudo_perplexity and num_tokens of all, and of each text under "texts".

    Raises:
        InputError: for a text that is empty or longer than the model's positions.

    Example:

        >>> from clozekit.model.training.evaluate_preset import evaluate_texts
        >>> measured = evaluate_texts("tiny/preset", ["The quick brown fox.", "A dog."])
        >>> measured["num_tokens"], [text["num_tokens"] for text in measured["texts"]]
        (8, [5, 3])
    """
    task = load_masked_lm(preset)
    values = task.pseudo_perplexity(list(texts))
    encoded = encode_texts(texts, tokenizer_of(task), task.backbone.max_sequence_length)
    # Without the special tokens around the text, which are not masked.
    counts = [len(ids) - 2 for ids in encoded]
    log_loss = sum(count * math.log(value) for count, value in zip(counts, values, strict=True)) / sum(counts)
    return {
        "preset": preset,
        "pseudo_perplexity": perplexity(log_loss),
        "num_tokens": sum(counts),
        "texts": [
            {"text": text, "pseudo_perplexity": value, "num_tokens": count}
            for text, value, count in zip(texts, values, counts, strict=True)
        ],
    }

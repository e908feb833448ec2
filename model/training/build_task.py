"""The model of a run, from its configuration and its dataset: tokenizer, task, preprocessor, masking."""

import os
from collections.abc import Callable

from clozekit.model.common.initializer_range import with_initializer_range
from clozekit.model.common.own_code import is_own
from clozekit.model.common.weights_seed import weights_seed
from clozekit.model.families.vocabulary_padding import close_padding, padded_size
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.architecture import Architecture
from clozekit.model.training.own_functions import masking_function
from clozekit.model.training.settings.run_settings import REPLACED, MaskingSettings, RunSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.dataset.manifest_schema import check_described
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.families.preset_tokenizer import of_class
from clozekit.tokenizers.tokenizer import Tokenizer


def load_run_tokenizer(config: RunSettings, manifest: Manifest) -> Tokenizer:
    """The tokenizer of a run. Raises InputError when it is not the one that made the dataset's ids."""
    directory = config.tokenizer or os.path.join(config.dataset, "tokenizer")
    tokenizer = load_tokenizer(directory)
    if tokenizer.sha256() != manifest.tokenizer.sha256:
        raise InputError(
            f"the tokenizer must be the one the dataset was prepared with ({manifest.tokenizer.class_name} of"
            f" {manifest.tokenizer.vocabulary_size} pieces, sha256 {manifest.tokenizer.sha256[:12]}), {directory} holds"
            f" {type(tokenizer).__name__} of {tokenizer.vocabulary_size()} pieces, sha256 {tokenizer.sha256()[:12]};"
            " prepare the dataset again or pass the right one"
        )
    check_described(manifest, tokenizer, config.dataset)
    return tokenizer


def build_task(config: RunSettings, architecture: Architecture) -> MaskedLM:
    """A task with fresh weights that config.seed and model.initializer_range decide, its vocabulary filled up."""
    vocabulary_size = architecture.backbone["vocabulary_size"]
    filled_up = padded_size(vocabulary_size, config.model.vocabulary_multiple)
    make_backbone: Callable[..., Backbone] = architecture.family.backbone
    with weights_seed(config.seed), with_initializer_range(config.model.initializer_range):
        backbone = make_backbone(
            **{**architecture.backbone, "vocabulary_size": filled_up}, dtype=config.train.precision
        )
        task = architecture.family.masked_lm(backbone, compile=False, **architecture.head)
    close_padding(task, vocabulary_size)
    return task


def give_preprocessor(
    task: MaskedLM, tokenizer: Tokenizer, architecture: Architecture, masking: MaskingSettings
) -> None:
    """Makes the trained task one that takes raw text: masks as in evaluation."""
    family = architecture.family
    task.preprocessor = family.masked_lm_preprocessor(
        of_class(family.tokenizer, tokenizer),
        sequence_length=architecture.sequence_length,
        mask_selection_rate=masking.validation_rate,
        mask_token_rate=masking.mask_token_rate,
        random_token_rate=masking.random_token_rate,
    )


def masking_options(config: RunSettings, manifest: Manifest, tokenizer: Tokenizer) -> MaskingRule:
    special = manifest.tokenizer.special_token_ids
    strategy = config.masking.strategy
    return MaskingRule(
        has_dice=config.objective == REPLACED,
        mask_token_id=special["mask_token"],
        vocabulary_size=manifest.tokenizer.vocabulary_size,
        special_token_ids=tuple(sorted(set(special.values()))),
        mask_selection_rate=config.masking.train_rate,
        mask_token_rate=config.masking.mask_token_rate,
        random_token_rate=config.masking.random_token_rate,
        seed=config.seed,
        num_slots=config.masking.num_slots,
        strategy=strategy,
        word_starts=None if strategy == "token" else tokenizer.word_starts(),
        select=masking_function(strategy) if is_own(strategy) else None,
    )

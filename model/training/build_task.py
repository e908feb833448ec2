"""The model of a run, from its configuration and its dataset: tokenizer, task, preprocessor, masking."""

import os
from collections.abc import Callable

from clozekit.model.common.weights_seed import weights_seed
from clozekit.model.families.family_table import family_named
from clozekit.model.families.vocabulary_padding import close_padding, padded_size
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.settings.run_settings import RunSettings
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


def build_task(config: RunSettings, vocabulary_size: int, sequence_length: int) -> MaskedLM:
    """A task with fresh weights that (config.seed, config.model) decide, its vocabulary filled up."""
    family = family_named(config.model.family)
    make_backbone: Callable[..., Backbone] = family.backbone
    with weights_seed(config.seed):
        backbone = make_backbone(
            vocabulary_size=padded_size(vocabulary_size, config.model.vocabulary_multiple),
            max_sequence_length=sequence_length,
            dtype=config.train.precision,
            **config.model.dimensions(),
        )
        task = family.masked_lm(backbone, compile=False)
    close_padding(task, vocabulary_size)
    return task


def give_preprocessor(task: MaskedLM, tokenizer: Tokenizer, config: RunSettings) -> None:
    """Makes the trained task one that takes raw text: masks as in evaluation, rows as long as the dataset's."""
    family = family_named(config.model.family)
    task.preprocessor = family.masked_lm_preprocessor(
        of_class(family.tokenizer, tokenizer),
        sequence_length=task.backbone.max_sequence_length,
        mask_selection_rate=config.masking.validation_rate,
        mask_token_rate=config.masking.mask_token_rate,
        random_token_rate=config.masking.random_token_rate,
    )


def masking_options(config: RunSettings, manifest: Manifest, tokenizer: Tokenizer) -> MaskingRule:
    special = manifest.tokenizer.special_token_ids
    return MaskingRule(
        mask_token_id=special["mask_token"],
        vocabulary_size=manifest.tokenizer.vocabulary_size,
        special_token_ids=tuple(sorted(set(special.values()))),
        mask_selection_rate=config.masking.train_rate,
        mask_token_rate=config.masking.mask_token_rate,
        random_token_rate=config.masking.random_token_rate,
        seed=config.seed,
        num_slots=config.masking.num_slots,
        strategy=config.masking.strategy,
        word_starts=None if config.masking.strategy == "token" else tokenizer.word_starts(),
    )

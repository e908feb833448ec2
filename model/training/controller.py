"""The controller: builds a run from its configuration, then trains, evaluates, logs and saves until it is done."""

import math
import os
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from clozekit.model.families import family_named
from clozekit.model.masked_lm import MaskedLM
from clozekit.model.masking import MaskingOptions
from clozekit.model.presets import check_preset_target, save_preset
from clozekit.model.reader import check_shards, damage_named, training_batches, validation_batches
from clozekit.model.training.checkpoints import Checkpoints, Position
from clozekit.model.training.config import RunConfig
from clozekit.model.training.evaluate import Evaluator
from clozekit.model.training.log import MetricsLog
from clozekit.model.training.optimizers import AdamW
from clozekit.model.training.step import LoopResult, TrainStep
from clozekit.pipelines.manifest import Manifest, read_manifest
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


def load_run_tokenizer(config: RunConfig, manifest: Manifest) -> Tokenizer:
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
    return tokenizer


def build_task(config: RunConfig, vocabulary_size: int, sequence_length: int) -> MaskedLM:
    """A task with fresh weights that (config.seed, config.model) decide."""
    keras.utils.set_random_seed(config.seed)
    family = family_named(config.model.family)
    backbone = family.backbone(
        vocabulary_size=vocabulary_size, max_sequence_length=sequence_length, **config.model.dimensions()
    )
    return family.masked_lm(backbone, compile=False)


def give_preprocessor(task: MaskedLM, tokenizer: Tokenizer, config: RunConfig) -> None:
    """Makes the trained task one that takes raw text: masks as in evaluation, rows as long as the dataset's."""
    preprocessor = family_named(config.model.family).masked_lm_preprocessor
    task.preprocessor = preprocessor(
        tokenizer,
        sequence_length=task.backbone.max_sequence_length,
        mask_selection_rate=config.masking.validation_rate,
        mask_token_rate=config.masking.mask_token_rate,
        random_token_rate=config.masking.random_token_rate,
    )


def masking_options(config: RunConfig, manifest: Manifest) -> MaskingOptions:
    special = manifest.tokenizer.special_token_ids
    return MaskingOptions(
        mask_token_id=special["mask_token"],
        vocabulary_size=manifest.tokenizer.vocabulary_size,
        special_token_ids=tuple(sorted(set(special.values()))),
        mask_selection_rate=config.masking.train_rate,
        mask_token_rate=config.masking.mask_token_rate,
        random_token_rate=config.masking.random_token_rate,
        seed=config.seed,
    )


def check_splits(manifest: Manifest, dataset: str) -> None:
    for split in ("train", "validation"):
        if split not in manifest.splits:
            raise InputError(
                f"training needs rows to train on and rows to validate on, {dataset} has no {split} split;"
                " prepare it with more documents or another --validation-rate"
            )


def check_family(family: str, manifest: Manifest) -> None:
    """Raises InputError when the ids of the dataset are not those of the model's family."""
    needed = family_named(family).tokenizer.__name__
    if manifest.tokenizer.class_name != needed:
        raise InputError(
            f"a model of the family {family} needs a dataset of {needed}, this one was prepared with"
            f" {manifest.tokenizer.class_name}; prepare it with a tokenizer of `clozekit vocab --family {family}`"
        )


class Run:
    """One run of `clozekit train`."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.directory = Path(config.directory)
        self.manifest = read_manifest(config.dataset)
        check_splits(self.manifest, config.dataset)
        check_family(config.model.family, self.manifest)
        check_preset_target(self.preset_directory)
        check_shards(config.dataset, self.manifest)
        self.tokenizer = load_run_tokenizer(config, self.manifest)
        strategy = tf.distribute.get_strategy()
        with strategy.scope():
            self.task = build_task(config, self.manifest.tokenizer.vocabulary_size, self.manifest.sequence_length)
            give_preprocessor(self.task, self.tokenizer, config)
            self._optimizer = AdamW(self.task.trainable_variables, config.optimizer, config.train.xla)
        self._step = TrainStep(self.task, self._optimizer, config, strategy)
        self._masking = masking_options(config, self.manifest)
        self._checkpoints = Checkpoints(
            self.directory / "checkpoints",
            self.task,
            self._optimizer,
            config.course(),
            self.manifest.dataset_sha256,
            config.checkpoint.keep,
        )
        batches = validation_batches(
            config.dataset,
            self.manifest,
            self._masking.for_validation(config.masking.validation_rate),
            min(config.train.global_batch_size, self.manifest.splits["validation"].rows),
            config.evaluate.max_rows,
        )
        with damage_named(config.dataset, self.manifest):
            self.evaluator = Evaluator(self.task, batches, config.train.xla)

    @property
    def preset_directory(self) -> Path:
        return Path(self.config.preset) if self.config.preset else self.directory / "preset"

    def train(self) -> dict[str, float]:
        """Trains to the last step, going on from the newest checkpoint; returns the last validation metrics."""
        config = self.config
        self.directory.mkdir(parents=True, exist_ok=True)
        position, damaged = self._checkpoints.restore_latest()
        for problem in damaged:
            tqdm.write(f"  damaged checkpoint left out: {problem}")
        (self.directory / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        if position.global_step == config.train.steps:
            tqdm.write(f"  already trained to step {position.global_step}")
            metrics = self.evaluator.run()
        else:
            if position.global_step:
                tqdm.write(f"  going on from step {position.global_step} of {config.train.steps}")
            metrics = self._train_from(position)
        save_preset(self.preset_directory, self.task)
        return metrics

    def training_shapes(self) -> dict[str, tf.TensorSpec]:
        """The tensors of a training batch."""
        config = self.config
        batch = (config.dataset, self.manifest, self._masking, config.train.global_batch_size, config.seed)
        return training_batches(*batch).element_spec

    def try_step(self) -> None:
        """One step on rows of padding: compiles what training compiles. What it changes is saved nowhere."""
        zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in self.training_shapes().items()}
        self._run_loop(iter(tf.data.Dataset.from_tensors(zeros).repeat()), 0, 1)

    def _train_from(self, position: Position) -> dict[str, float]:
        config = self.config
        log = MetricsLog(self.directory, position.global_step)
        batches = iter(
            training_batches(
                config.dataset,
                self.manifest,
                self._masking,
                config.train.global_batch_size,
                config.seed,
                position.next_row,
            )
        )
        bar = tqdm(
            total=config.train.steps, initial=position.global_step, desc="training", unit=" steps", smoothing=0.05
        )
        metrics: dict[str, float] = {}
        try:
            while position.global_step < config.train.steps:
                position = self._advance(batches, position, log, bar)
                step, last = position.global_step, position.global_step == config.train.steps
                if step % config.evaluate.every_steps == 0 or last:
                    metrics = self._evaluate(step, log)
                if step % config.checkpoint.every_steps == 0 or last:
                    self._checkpoints.save(position)
        finally:
            bar.close()
            log.close()
        return metrics

    def _advance(self, batches: Any, position: Position, log: MetricsLog, bar: tqdm) -> Position:
        """Runs steps up to the next thing to do, and logs them."""
        config = self.config
        ends = (config.train.steps_per_loop, config.evaluate.every_steps, config.checkpoint.every_steps)
        step = position.global_step
        end = min([config.train.steps, *((step // every + 1) * every for every in ends)])
        loop_started = time.monotonic()
        result = self._run_loop(batches, step, end - step)
        loss, count, correct = (float(part) for part in result.sums)
        seconds = time.monotonic() - loop_started
        if not math.isfinite(loss) and int(result.skipped) == end - step:
            raise InputError(
                f"the loss must stay a number, it was {loss} in every step from {step} to {end}; the last checkpoint is"
                f" {self._checkpoints.found()[-1:] or 'none'}; lower optimizer.learning_rate"
            )
        values = {
            "loss": loss / max(count, 1.0),
            "accuracy": correct / max(count, 1.0),
            "learning_rate": float(result.learning_rate),
            "gradient_norm": float(result.gradient_norm),
            "skipped_steps": int(result.skipped),
        }
        position = Position(
            end,
            position.next_row + (end - step) * config.train.global_batch_size,
            position.tokens_seen + int(result.tokens),
        )
        log.write(
            "train",
            end,
            values | {"tokens_seen": position.tokens_seen, "tokens_per_second": int(result.tokens) / seconds},
        )
        bar.update(end - step)
        bar.set_postfix_str(f"loss {values['loss']:.3f}, accuracy {values['accuracy']:.1%}", refresh=False)
        return position

    def _run_loop(self, batches: Any, first_step: int, num_steps: int) -> LoopResult:
        with damage_named(self.config.dataset, self.manifest):
            return self._step.run_loop(batches, tf.constant(first_step), tf.constant(num_steps))

    def _evaluate(self, step: int, log: MetricsLog) -> dict[str, float]:
        metrics = self.evaluator.run()
        log.write("validation", step, metrics)
        tqdm.write(
            f"  step {step}: validation loss {metrics['loss']:.3f}, perplexity {metrics['perplexity']:.1f},"
            f" accuracy {metrics['accuracy']:.1%}"
        )
        return metrics

"""The controller: builds a run from its configuration, finds where it stands, trains it and saves its preset."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clozekit.model.families import family_named
from clozekit.model.masked_lm import MaskedLM
from clozekit.model.masking import MaskingOptions, num_predictions
from clozekit.model.presets import check_preset_target, save_preset
from clozekit.model.reader import check_shards, damage_named, training_batches, validation_batches
from clozekit.model.training.begin_from import begin_from
from clozekit.model.training.checkpoints import Checkpoints, Position, Saved, training_variables
from clozekit.model.training.config import RunConfig
from clozekit.model.training.endings import WorkerLostError
from clozekit.model.training.evaluate import Evaluator
from clozekit.model.training.files import write_text
from clozekit.model.training.flops import Dimensions, training_flops_per_token
from clozekit.model.training.log import MetricsLog, NoLog
from clozekit.model.training.optimizers import AdamW
from clozekit.model.training.step import LoopResult, TrainStep
from clozekit.model.training.stop_signals import StopSignals
from clozekit.model.training.training_loop import TrainingLoop
from clozekit.model.training.workers import Workers, is_lost_worker, start_workers
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
    """One run of `clozekit train`.

    workers: what `start_workers` gave, where it had to come before TensorFlow started (several workers, logical CPUs).
    """

    def __init__(self, config: RunConfig, workers: Workers | None = None) -> None:
        self.config = config
        self.directory = config.directory.rstrip("/")
        self.manifest = read_manifest(config.dataset)
        check_splits(self.manifest, config.dataset)
        check_family(config.model.family, self.manifest)
        check_preset_target(self.preset_directory)
        check_shards(config.dataset, self.manifest)
        self.tokenizer = load_run_tokenizer(config, self.manifest)
        self.workers = start_workers(config.cluster) if workers is None else workers
        strategy = self.workers.strategy
        with strategy.scope():
            self.task = build_task(config, self.manifest.tokenizer.vocabulary_size, self.manifest.sequence_length)
            give_preprocessor(self.task, self.tokenizer, config)
            self._optimizer = AdamW(self.task.trainable_variables, config.optimizer, config.train.xla)
        self._step = TrainStep(self.task, self._optimizer, config, strategy)
        self._masking = masking_options(config, self.manifest)
        length = self.manifest.sequence_length
        predicted = num_predictions(length, config.masking.train_rate) / length
        self.flops_per_token = training_flops_per_token(Dimensions.of(self.task.backbone), length, predicted)
        self.checkpoints = Checkpoints(
            f"{self.directory}/checkpoints",
            training_variables(self.task, self._optimizer),
            {**config.course(), "dataset_sha256": self.manifest.dataset_sha256},
            config.checkpoint.keep,
            config.checkpoint.keep_best,
            config.checkpoint.background,
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
    def preset_directory(self) -> str:
        return self.config.preset or f"{self.directory}/preset"

    def train(self) -> dict[str, float]:
        """Trains to the last step, going on from the newest checkpoint; returns the last validation metrics.

        Raises an EarlyEndError when it ends before with nothing lost: a signal came, or another worker is gone.
        """
        try:
            with StopSignals() as signals:
                metrics = self._train(signals)
            # Nobody leaves while another worker may still need it.
            self.workers.any(False)
            return metrics
        except tf.errors.OpError as error:
            if self.workers.spec.num_workers == 1 or not is_lost_worker(error):
                raise
            saved = self.checkpoints.found()
            raise WorkerLostError(
                f"another worker is gone ({' '.join(error.message.split())[:120]}); start all"
                f" {self.workers.spec.num_workers} again: they go on from"
                f" {saved[-1].path if saved else 'the beginning'}"
            ) from error
        finally:
            self.checkpoints.wait()

    def _train(self, signals: StopSignals) -> dict[str, float]:
        config, steps = self.config, self.config.train.steps
        position = self._begin()
        if position.global_step:
            self._say(f"going on from step {position.global_step} of {steps}")
        chief = self.workers.is_chief
        if chief:
            tf.io.gfile.makedirs(self.directory)
            write_text(f"{self.directory}/config.yaml", config.to_yaml())
        log = MetricsLog(self.directory, position.global_step) if chief else NoLog()
        try:
            if position.global_step == steps:
                metrics = self.evaluate()
            else:
                metrics = TrainingLoop(self, position, log, signals).train()
        finally:
            log.close()
        if chief:
            save_preset(self.preset_directory, self.task)
        return metrics

    def _begin(self) -> Position:
        """Where the run goes on: at its newest whole checkpoint, else at the start, with the weights of `init_from`."""
        resume = self.config.checkpoint.resume
        if resume == "never" and self.checkpoints.found():
            raise InputError(
                f"checkpoint.resume is never and {self.checkpoints.directory} holds checkpoints; choose another"
                " `directory`, or leave checkpoint.resume out to go on from the newest"
            )
        saved = self.restore()
        if saved is not None:
            return saved.position
        if resume == "required":
            raise InputError(
                f"checkpoint.resume is required and {self.checkpoints.directory} holds no whole checkpoint; check"
                " `directory`, or leave checkpoint.resume out to begin anew"
            )
        if self.config.init_from is not None:
            begin_from(self.task, self.config.init_from)
        return Position()

    def restore(self, at_most_step: int | None = None) -> Saved | None:
        """Puts the model and the optimizer where the chief's newest whole checkpoint (of a step of at most
        `at_most_step`) has them; None when there is none."""
        saved: Saved | None = None
        values: dict[str, np.ndarray] = {}
        if self.workers.is_chief:
            saved, values, problems = self.checkpoints.newest(at_most_step)
            self.checkpoints.set_aside(problems)
            for problem in problems:
                self._say(f"damaged checkpoint left out: {problem}")
        step = self.workers.chiefs(-1 if saved is None else saved.step)
        if step < 0:
            return None
        if not self.workers.is_chief:
            saved, values = self.checkpoints.at(step)
        self.checkpoints.assign(values)
        return saved

    def batches_from(self, row: int) -> Any:
        """An iterator over training batches from row number `row` over all epochs on."""

        def batches_of(worker_index: int, num_workers: int) -> tf.data.Dataset:
            config = self.config
            return training_batches(
                config.dataset,
                self.manifest,
                self._masking,
                config.train.global_batch_size,
                config.seed,
                row,
                worker_index,
                num_workers,
            )

        return self.workers.deal(batches_of)

    def try_step(self) -> dict[str, tf.TensorSpec]:
        """One step on rows of padding: compiles what training compiles. What it changes is saved nowhere.

        Returns the tensors of this worker's share of a global batch.
        """
        shapes: dict[str, tf.TensorSpec] = {}

        def zeros_of(worker_index: int, num_workers: int) -> tf.data.Dataset:
            config, rows = self.config, (self.config.train.global_batch_size, self.config.seed, 0)
            real = training_batches(config.dataset, self.manifest, self._masking, *rows, worker_index, num_workers)
            shapes.update(real.element_spec)
            zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in shapes.items()}
            return tf.data.Dataset.from_tensors(zeros).repeat()

        self.run_loop(self.workers.deal(zeros_of), 0, 1)
        return shapes

    def run_loop(self, batches: Any, first_step: int, num_steps: int) -> LoopResult:
        with damage_named(self.config.dataset, self.manifest):
            return self._step.run_loop(batches, tf.constant(first_step), tf.constant(num_steps))

    def evaluate(self) -> dict[str, float]:
        return self.evaluator.run()

    def _say(self, text: str) -> None:
        if self.workers.is_chief:
            tqdm.write(f"  {text}")

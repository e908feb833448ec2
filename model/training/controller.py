"""The controller: builds a run from its configuration, finds where it stands, trains it and saves its preset."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clozekit.model.families import family_named
from clozekit.model.masked_lm import MaskedLM
from clozekit.model.masking_options import MaskingOptions, num_predictions
from clozekit.model.presets import check_preset_target, save_preset
from clozekit.model.reader import check_shards, damage_named, shard_problems, training_batches, validation_batches
from clozekit.model.training.begin_from import begin_from
from clozekit.model.training.checkpoints import Checkpoints, Position, Saved, training_variables
from clozekit.model.training.config import RunConfig
from clozekit.model.training.endings import WorkerLostError
from clozekit.model.training.evaluate import Evaluator
from clozekit.model.training.files import write_text
from clozekit.model.training.flops import Dimensions, training_flops_per_token
from clozekit.model.training.log import MetricsLog, NoLog
from clozekit.model.training.optimizers import Optimizer
from clozekit.model.training.stages import stages_of
from clozekit.model.training.step import LoopResult, TrainStep
from clozekit.model.training.stop_signals import StopSignals
from clozekit.model.training.training_loop import TrainingLoop
from clozekit.model.training.workers import Workers, is_lost_worker, start_workers
from clozekit.model.vocabulary_padding import close_padding, padded_size, with_vocabulary
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
    """A task with fresh weights that (config.seed, config.model) decide, its vocabulary filled up."""
    keras.utils.set_random_seed(config.seed)
    family = family_named(config.model.family)
    make_backbone: Any = family.backbone
    backbone = make_backbone(
        vocabulary_size=padded_size(vocabulary_size, config.model.vocabulary_multiple),
        max_sequence_length=sequence_length,
        dtype=config.train.precision,
        **config.model.dimensions(),
    )
    task = family.masked_lm(backbone, compile=False)
    close_padding(task, vocabulary_size)
    return task


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


def masking_options(config: RunConfig, manifest: Manifest, tokenizer: Tokenizer) -> MaskingOptions:
    special = manifest.tokenizer.special_token_ids
    return MaskingOptions(
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
        self.stages = stages_of(config)
        self.manifests = self._check_datasets()
        self.tokenizer = load_run_tokenizer(config, self.manifest)
        self.workers = start_workers(config.cluster) if workers is None else workers
        strategy = self.workers.strategy
        with strategy.scope():
            self.task = build_task(config, self.manifest.tokenizer.vocabulary_size, self._longest_row())
            give_preprocessor(self.task, self.tokenizer, config)
            self._optimizer = Optimizer(self.task.trainable_variables, config.optimizer, config.train.xla)
        self._step = TrainStep(self.task, self._optimizer, config, strategy)
        self._masking = masking_options(config, self.manifest, self.tokenizer)
        self.checkpoints = Checkpoints(
            f"{self.directory}/checkpoints",
            training_variables(self.task, self._optimizer),
            {**config.course(), "dataset_sha256": "+".join(m.dataset_sha256 for m in self.manifests.values())},
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
            options=config.reader,
        )
        with damage_named(config.dataset, self.manifest):
            self.evaluator = Evaluator(self.task, batches, config.train.xla)

    def _check_datasets(self) -> dict[str, Manifest]:
        """The manifests of the datasets of all stages, by their directories. Raises InputError when one does not fit."""
        manifests = {self.config.dataset: self.manifest}
        for stage in self.stages:
            if stage.dataset not in manifests:
                manifests[stage.dataset] = read_manifest(stage.dataset)
        for directory, manifest in manifests.items():
            if manifest.tokenizer.sha256 != self.manifest.tokenizer.sha256:
                raise InputError(
                    f"all datasets of a run must be made with one tokenizer, {directory} was made with another than"
                    f" {self.config.dataset}; prepare it with --tokenizer {self.config.dataset}/tokenizer"
                )
            if self.config.reader.on_damage == "stop":
                check_shards(directory, manifest)
                continue
            for split in manifest.splits.values():
                for problem in shard_problems(directory, split):
                    tqdm.write(f"  {problem}; its rows are left out")
        return manifests

    def _longest_row(self) -> int:
        return max(manifest.sequence_length for manifest in self.manifests.values())

    def flops_per_token(self, stage: int) -> float:
        config, length = self.config, self.manifests[self.stages[stage].dataset].sequence_length
        slots = config.masking.num_slots or num_predictions(length, config.masking.train_rate)
        return training_flops_per_token(Dimensions.of(self.task.backbone), length, slots / length)

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
        if position.global_step >= steps:
            self._say(f"already trained to step {position.global_step}")
        elif position.global_step:
            self._say(f"going on from step {position.global_step} of {steps}")
        chief = self.workers.is_chief
        if chief:
            tf.io.gfile.makedirs(self.directory)
            write_text(f"{self.directory}/config.yaml", config.to_yaml())
        log = MetricsLog(self.directory, position.global_step) if chief else NoLog()
        try:
            metrics = TrainingLoop(self, position, log, signals).train()
        finally:
            log.close()
        if chief:
            save_preset(self.preset_directory, self.finished_task())
        return metrics

    def finished_task(self) -> MaskedLM:
        """The task as it is saved: its vocabulary cut to the tokenizer's, its weights and arithmetic in float32."""
        return with_vocabulary(self.task, self.manifest.tokenizer.vocabulary_size)

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
            begin_from(self.task, self.config.init_from, self.config.model.vocabulary_multiple)
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

    def batches_from(self, stage_index: int, row: int) -> Any:
        """An iterator over training batches of a stage, from row number `row` of the whole run on."""
        stage = self.stages[stage_index]
        manifest = self.manifests[stage.dataset]
        start_row = stage.start_row(row, manifest.splits["train"].rows)

        def batches_of(worker_index: int, num_workers: int) -> tf.data.Dataset:
            return training_batches(
                stage.dataset,
                manifest,
                self._masking,
                stage.global_batch_size,
                self.config.seed,
                start_row,
                worker_index,
                num_workers,
                self.config.reader,
            )

        return self.workers.deal(batches_of)

    def run_loop(
        self, batches: Any, first_step: int, num_steps: int, stage: int, time_share: tuple[float, float]
    ) -> LoopResult:
        """Runs steps of one stage; time_share: of `train.hours`, what is used before them, and what each will use."""
        dataset = self.stages[stage].dataset
        with damage_named(dataset, self.manifests[dataset]):
            return self._step.run_loop(
                batches, tf.constant(first_step), tf.constant(num_steps), *map(tf.constant, time_share), stage=stage
            )

    def try_step(self) -> dict[str, tf.TensorSpec]:
        """One step of the first stage on rows of padding: compiles what training compiles. What it changes is saved
        nowhere.

        Returns the tensors of this worker's share of a global batch.
        """
        shapes: dict[str, tf.TensorSpec] = {}
        stage = self.stages[0]

        def zeros_of(worker_index: int, num_workers: int) -> tf.data.Dataset:
            real = training_batches(
                stage.dataset,
                self.manifests[stage.dataset],
                self._masking,
                stage.global_batch_size,
                self.config.seed,
                0,
                worker_index,
                num_workers,
                self.config.reader,
            )
            shapes.update(real.element_spec)
            zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in shapes.items()}
            return tf.data.Dataset.from_tensors(zeros).repeat()

        self.run_loop(self.workers.deal(zeros_of), 0, 1, 0, (0.0, 0.0))
        return shapes

    def evaluate(self) -> dict[str, float]:
        return self.evaluator.run()

    def _say(self, text: str) -> None:
        if self.workers.is_chief:
            tqdm.write(f"  {text}")

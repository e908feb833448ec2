"""The controller: builds a run from its configuration, finds where it stands, trains it and saves its preset."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.masking.masking_rule import num_predictions
from clozekit.model.presets.load_presets import save_preset
from clozekit.model.presets.preset_targets import check_preset_target
from clozekit.model.reading.dataset_reader import damage_named, training_batches, validation_batches
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.begin_from import begin_from
from clozekit.model.training.build_task import build_task, give_preprocessor, load_run_tokenizer, masking_options
from clozekit.model.training.cluster.endings import WorkerLostError
from clozekit.model.training.cluster.workers import Workers, is_lost_worker, start_workers
from clozekit.model.training.datasets import check_all_shards, read_datasets
from clozekit.model.training.flops import Dimensions, training_flops_per_token
from clozekit.model.training.memory_limits import check_run_fits
from clozekit.model.training.objectives.masked_lm_measures import Evaluator
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.run_directory.checkpoints import Checkpoints, Position, Saved, training_variables
from clozekit.model.training.run_directory.run_files import TRAIN, check_run_directory, claim_run_directory
from clozekit.model.training.run_directory.run_lock import RunLock, lock_run
from clozekit.model.training.run_directory.run_log import MetricsLog, NoLog
from clozekit.model.training.run_directory.small_files import write_text
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.model.training.stages import Stage, stages_of
from clozekit.model.training.step import LoopResult, TrainStep
from clozekit.model.training.stop_signals import StopSignals
from clozekit.model.training.training_loop import TrainingLoop
from clozekit.tokenizers.common.errors import InputError


class Run:
    """One run of `clozekit train`, built and checked; `train` does it.

    Everything of the run goes into `config.directory`: checkpoints, the log, the report, the preset. `train` goes on from the
    newest checkpoint there.

    Args:
        config: what `load_config` gave.
        workers: what `start_workers` gave, where it had to come before TensorFlow started (several workers, logical CPUs).

    Raises:
        InputError: for a dataset that is missing, damaged or not the tokenizer's, a directory or a preset that Clozekit did
            not write, rows or batches that don't fit.

    Example:

        >>> from clozekit.model.training.controller import Run
        >>> from clozekit.model.training.settings.run_file import load_config
        >>> sizes = [f"model.{name}={value}" for name, value in small.items() if name != "max_sequence_length"]
        >>> run = Run(load_config("tiny/config.yaml", [*sizes, "train.steps=2", "train.xla=false"]))
        >>> run.preset_directory, run.task.backbone.max_sequence_length
        ('tiny/run/preset', 16)
    """

    def __init__(self, config: RunSettings, workers: Workers | None = None) -> None:
        self.config = config
        self._lock = RunLock()
        self.directory = config.directory.rstrip("/")
        check_run_directory(self.directory, TRAIN)
        check_preset_target(self.preset_directory, config.init_from, config.tokenizer)
        self.stages = stages_of(config)
        self.manifests = read_datasets(config, self.stages)
        self.manifest = self.manifests[config.dataset]
        self.tokenizer = load_run_tokenizer(config, self.manifest)
        self.workers = start_workers(config.cluster) if workers is None else workers
        if self.workers.is_chief:
            check_all_shards(config, self.manifests)
        strategy = self.workers.strategy
        check_run_fits(
            config,
            self.manifest.tokenizer.vocabulary_size,
            self._longest_row(),
            self.stages,
            self.workers.num_replicas,
            self.workers.spec.num_workers,
        )
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

    def _longest_row(self) -> int:
        return max(manifest.sequence_length for manifest in self.manifests.values())

    def flops_per_token(self, stage: int) -> float:
        """Floating-point operations of a training step for each token of a stage's rows."""
        config, length = self.config, self.manifests[self.stages[stage].dataset].sequence_length
        slots = config.masking.num_slots or num_predictions(length, config.masking.train_rate)
        return training_flops_per_token(Dimensions.of(self.task.backbone), length, slots / length)

    @property
    def preset_directory(self) -> str:
        return self.config.preset or f"{self.directory}/preset"

    def train(self) -> dict[str, float]:
        """Trains to the last step, going on from the newest checkpoint; returns the last validation metrics.

        Raises an EarlyEndError when it ends before with nothing lost: a signal came, or another worker is gone. Raises
        InputError when another run is at work in its directory.
        """
        with ExitStack() as held:
            self._lock = self._take_lock(held)
            return self._train_locked()

    def _take_lock(self, held: ExitStack) -> RunLock:
        """The chief's lock. When it gets none, all workers end together."""
        lock, refused = RunLock(), None
        if self.workers.is_chief:
            try:
                lock = held.enter_context(lock_run(self.directory, self.preset_directory))
            except InputError as error:
                refused = error
        if self.workers.any(refused is not None):
            raise refused or InputError("a run needs its directory for itself, the chief says why it has not got it")
        return lock

    def _train_locked(self) -> dict[str, float]:
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
            claim_run_directory(self.directory, TRAIN)
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

    def batches_from(self, stage_index: int, row: int) -> Iterator[dict[str, tf.Tensor]]:
        """An iterator over training batches of a stage, from row number `row` of the whole run on."""
        stage = self.stages[stage_index]
        start_row = stage.start_row(row, self.manifests[stage.dataset].splits["train"].rows)
        return self.workers.deal(functools.partial(self._share, stage, start_row))

    def _share(self, stage: Stage, start_row: int, worker_index: int, num_workers: int) -> tf.data.Dataset:
        """What one worker reads of the global batches of a stage."""
        return training_batches(
            stage.dataset,
            self.manifests[stage.dataset],
            self._masking,
            stage.global_batch_size,
            self.config.seed,
            start_row,
            worker_index,
            num_workers,
            self.config.reader,
        )

    def run_loop(
        self,
        batches: Iterator[dict[str, tf.Tensor]],
        first_step: int,
        num_steps: int,
        stage: int,
        time_share: tuple[float, float],
    ) -> LoopResult:
        """Runs steps of one stage; time_share: of `train.hours`, what is used before them, and what each will use."""
        dataset = self.stages[stage].dataset
        self._lock.check()
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

        def zeros_of(worker_index: int, num_workers: int) -> tf.data.Dataset:
            shapes.update(self._share(self.stages[0], 0, worker_index, num_workers).element_spec)
            zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in shapes.items()}
            return tf.data.Dataset.from_tensors(zeros).repeat()

        self.run_loop(self.workers.deal(zeros_of), 0, 1, 0, (0.0, 0.0))
        return shapes

    def evaluate(self) -> dict[str, float]:
        """Loss (nats a masked token), perplexity and accuracy on the validation split, with the weights as they are."""
        return self.evaluator.run()

    def _say(self, text: str) -> None:
        if self.workers.is_chief:
            tqdm.write(f"  {text}")

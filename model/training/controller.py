"""Pretraining: builds a run from its configuration and its dataset, and saves its preset."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import tensorflow as tf

from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.masking.mask_rates import MaskRates
from clozekit.model.masking.masking_rule import num_predictions
from clozekit.model.presets.lineage import Lineage
from clozekit.model.presets.load_presets import save_preset
from clozekit.model.presets.preset_targets import check_preset_target
from clozekit.model.reading.dataset_reader import damage_named, mixed_batches, training_batches, validation_batches
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.architecture import architecture_of, spelled_out
from clozekit.model.training.begin_from import begin_from, begin_from_halves
from clozekit.model.training.build_task import build_task, give_preprocessor, load_run_tokenizer, masking_options
from clozekit.model.training.cluster.workers import Workers, start_workers
from clozekit.model.training.data_lineage import dataset_lineage, stream_lineage
from clozekit.model.training.datasets import (
    MORE_DOCUMENTS,
    check_all_shards,
    check_family,
    check_pairs,
    read_datasets,
)
from clozekit.model.training.following.followed_stream import FollowedStream
from clozekit.model.training.init_student import init_student
from clozekit.model.training.load_teacher import load_teacher, open_teacher
from clozekit.model.training.memory_limits import check_run_fits
from clozekit.model.training.objectives import masked_lm_objective, pair_objective
from clozekit.model.training.objectives.distillation import Teacher
from clozekit.model.training.objectives.objective import Batch, Objective
from clozekit.model.training.objectives.replaced_objective import replaced_objective
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.own_functions import check_optimizer, objective_of, own_names
from clozekit.model.training.run_directory.checkpoints import Position
from clozekit.model.training.run_directory.run_files import TRAIN, check_run_directory, name_of
from clozekit.model.training.run_directory.run_lock import RunLock
from clozekit.model.training.run_directory.run_log import MetricsLog, NoLog
from clozekit.model.training.run_length import describe_length, in_steps
from clozekit.model.training.settings.follow_settings import FollowSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import PAIRS, REPLACED, RunSettings
from clozekit.model.training.stages import Stage, stages_of
from clozekit.model.training.step import BatchSizes, TrainStep
from clozekit.model.training.training_run import TrainingRun, callbacks_of
from clozekit.model.training.watching.callbacks import Callback
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.stop_signals import wait_unless
from clozekit.tokenizers.storage.run_paths import MODEL

# How often a run that waits says so.
_WAITING_SECONDS = 10.0


class Run(TrainingRun[dict[str, float]]):
    """One run of `clozekit train`, built and checked; `train` does it.

    It returns the last validation metrics, none where the dataset has no validation split.
    Everything of the run goes into `config.directory`: checkpoints, the log, the report, the preset. `train` goes on from the
    newest checkpoint there.

    Args:
        config: what `load_config` gave, or the path of a YAML file.
        workers: what `start_workers` gave, where it had to come before TensorFlow started (several workers, logical CPUs).
        callbacks: what is called while it trains.

    Raises:
        InputError: for a dataset that is missing, damaged or not the tokenizer's, a directory or a preset that Clozekit did
            not write, rows or batches that don't fit.

    Example:

        >>> from clozekit.model.training import Run
        >>> from clozekit.model.training.settings.run_file import load_config
        >>> sizes = [f"model.{name}={value}" for name, value in small.items() if name != "max_sequence_length"]
        >>> run = Run(load_config("tiny/config.yaml", [*sizes, "train.steps=2", "train.xla=false"]))
        >>> run.preset_directory, run.task.backbone.max_sequence_length
        ('tiny/run/preset', 16)
    """

    config: RunSettings
    made_by = TRAIN
    task: MaskedLM

    def __init__(
        self, config: RunSettings | str | Path, workers: Workers | None = None, callbacks: Sequence[Callback] = ()
    ) -> None:
        if not isinstance(config, RunSettings):
            config = load_config(config)
        self.config = config = in_steps(config)
        self.settings = config.loop()
        self.own_functions = own_names(
            {
                "optimizer.name": config.optimizer.name,
                "optimizer.schedule": config.optimizer.schedule,
                "masking.strategy": config.masking.strategy,
                "objective": config.objective,
            }
        )
        check_optimizer(config.optimizer)
        self._lock = RunLock()
        self.directory = config.directory.rstrip("/")
        self.preset_directory = config.preset or f"{self.directory}/preset"
        check_run_directory(self.directory, TRAIN)
        sources = (config.tokenizer, *self.starts().values())
        check_preset_target(self.preset_directory, *sources)
        check_preset_target(f"{self.directory}/{MODEL}", *sources)
        self.stages = stages_of(config)
        self.followed: FollowedStream | None = None
        if config.follow is not None:
            self.followed = FollowedStream(config.dataset, config.follow, config.train.global_batch_size)
            self.manifests = {config.dataset: self.followed.base()}
        else:
            self.manifests = read_datasets(config, self.stages)
        self.manifest = self.manifests[config.dataset]
        self.tokenizer = load_run_tokenizer(config, self.manifest)
        taught_by = None
        if config.distill is not None:
            taught_by = open_teacher(config.distill, MaskedLM, self.tokenizer, self._longest_row())
        self.architecture = architecture_of(config, self.tokenizer, self._longest_row(), taught_by)
        check_family(self.architecture.family, self.tokenizer)
        if config.objective == PAIRS:
            check_pairs(self.architecture.family, self.manifests)
        self.config = config = spelled_out(config, self.architecture)
        self.workers = start_workers(config.cluster) if workers is None else workers
        self.callbacks = callbacks_of(self, callbacks, config.log.trackers)
        if self.workers.is_chief and self.followed is None:
            check_all_shards(config, self.manifests)
        strategy = self.workers.strategy
        check_run_fits(
            config,
            self.architecture.backbone,
            self._longest_row(),
            self.stages,
            self.workers.num_replicas,
            self.workers.spec.num_workers,
            None if taught_by is None else taught_by.backbone_settings(),
        )
        with strategy.scope():
            self.task = build_task(config, self.architecture)
            give_preprocessor(self.task, self.tokenizer, self.architecture, config.masking)
            trained = pretraining_objective(config).variables(self.task)
            self._optimizer = Optimizer(trained, config.optimizer, config.train.xla, self.task.differing_tables())
            if config.distill is not None and taught_by is not None:
                self.teacher = load_teacher(config.distill, taught_by, self.task, config.train.precision)
        self.step = pretraining_step(self.task, self._optimizer, config, strategy, self.teacher)
        self.objective = self.step.objective
        self._masking = masking_options(config, self.manifest, self.tokenizer)
        sha256 = "+".join(manifest.dataset_sha256 for manifest in self.manifests.values())
        if self.followed is not None:
            # It grows: which of its fragments were read stands in the checkpoints themselves.
            sha256 = self.followed.genesis.sha256
        identity = {**config.course(), "dataset_sha256": sha256, "teacher_sha256": self.teacher and self.teacher.sha256}
        self.checkpoints = self.open_checkpoints(self._optimizer, identity)
        self.evaluator = None if self.followed is not None else self._evaluator()
        self.measures = self.evaluator is not None

    def _begin(self) -> Position:
        position = super()._begin()
        if self.followed is not None and position.heads:
            self.followed.restore(position.heads)
            self._measure_on_first_head()
        return position

    def _measure_on_first_head(self) -> None:
        """What the stream held for validation when the run began is what it is measured on for good."""
        if self.followed is not None:
            self.manifest = self.manifests[self.config.dataset] = self.followed.first_view()
            self.evaluator = self._evaluator()
            self.measures = self.evaluator is not None

    def batches_left(self, position: Position) -> int | None:
        return None if self.followed is None else self.followed.batches_left(position.next_row)

    def adopt(self, position: Position, log: MetricsLog | NoLog, is_stopped: Callable[[], bool]) -> Position | None:
        number = self._wait_for_head(is_stopped)
        if number is None or self.followed is None:
            return None
        is_first = self.followed.segment is None
        segment = self.followed.adopt(number, position.global_step, position.next_row)
        view = self.followed.window_view(segment)
        if self.workers.is_chief:
            check_all_shards(self.config, {self.config.dataset: view})
        if is_first:
            self._measure_on_first_head()
        start, rows = max(fragment.window_start for fragment in segment.new), segment.num_new_rows
        metrics = self._measure_window(view)
        log.write(
            "window", position.global_step, {"fragment": number, "window_start": start, "new_rows": rows, **metrics}
        )
        old = f", {segment.old_rows} of each batch from before" if segment.old_rows else ""
        self.say(f"fragments up to {number}: {rows:,} new rows{old}, loss {metrics['loss']:.3f} before them")
        if segment.index and segment.index % self._follow.publish_every == 0 and self.workers.is_chief:
            with self.averaged():
                save_preset(self.preset_directory, self.finished_task(), origin=self.origin(position))
        return dataclasses.replace(position, heads=(*position.heads, segment.head))

    @property
    def _follow(self) -> FollowSettings:
        if self.config.follow is None:
            raise RuntimeError("this run follows no stream")
        return self.config.follow

    def _wait_for_head(self, is_stopped: Callable[[], bool]) -> int | None:
        """The number of the fragment to adopt, which the chief chooses; None when the run is to stop or to end first."""
        if self.followed is None:
            return None
        begun = said = time.monotonic()
        while not self.workers.any(is_stopped()):
            waited, idle = time.monotonic() - begun, self._follow.idle_seconds
            is_idle = self.workers.is_chief and idle is not None and waited >= idle
            chosen = None
            if self.workers.is_chief:
                chosen = self.followed.next_number(is_idle or waited >= self._follow.tail_seconds)
            number = self.workers.chiefs(-1 if chosen is None else chosen)
            if number >= 0:
                return number
            if self.followed.is_through():
                self.stop("all heads of follow.heads were trained on")
            elif is_idle:
                self.stop(f"the stream brought nothing new for {idle:g} s (follow.idle_seconds)")
            self.agree_to_stop()
            if self.is_told_to_stop:
                return None
            if time.monotonic() - said >= _WAITING_SECONDS:
                said = time.monotonic()
                self.say(f"waiting for new windows in {self.config.dataset}, for {waited:,.0f} s now")
            wait_unless(is_stopped, self._follow.poll_seconds)
        return None

    def _measure_window(self, view: Manifest) -> dict[str, float]:
        """The loss on rows that were not trained on yet."""
        batches = self._validation_batches(view, self._follow.window_rows)
        if self.evaluator is None:
            self.evaluator = self._evaluator_of(())
        with self.averaged():
            return self.evaluator.run(batches)

    def rate_share(self, position: Position) -> tuple[float, float] | None:
        if self.followed is None:
            return None
        return self.followed.rate_share(position.global_step, self.config.optimizer.final_rate)

    def _validation_batches(self, manifest: Manifest, max_rows: int) -> tf.data.Dataset:
        split = manifest.splits["validation"]
        size = self.config.train.global_batch_size
        return validation_batches(
            self.config.dataset,
            manifest,
            self._masking.for_validation(self.config.masking.validation_rate),
            # Of a stream all have one shape, so that one program measures them.
            size if self.followed is not None else min(size, split.rows),
            max_rows,
            options=self.config.reader,
        )

    def _evaluator(self) -> masked_lm_objective.Evaluator | None:
        """What measures on the validation split; None where the dataset has none."""
        config = self.config
        if "validation" not in self.manifest.splits:
            return None
        batches = self._validation_batches(self.manifest, config.evaluate.max_rows)
        with damage_named(config.dataset, self.manifest):
            return self._evaluator_of(batches)

    def _evaluator_of(self, batches: Iterable[Batch]) -> masked_lm_objective.Evaluator:
        """Of the masked tokens, and of the pairs or replaced tokens where they are trained."""
        own = self.config.objective in (PAIRS, REPLACED)
        measured = self.objective if own else masked_lm_objective.OBJECTIVE
        return masked_lm_objective.Evaluator(self.task, batches, self.config.train.xla, objective=measured)

    def _longest_row(self) -> int:
        return max(manifest.sequence_length for manifest in self.manifests.values())

    @property
    def vocabulary_size(self) -> int:
        return int(self.architecture.backbone["vocabulary_size"])

    def to_yaml(self) -> str:
        return self.config.to_yaml()

    @property
    def name(self) -> str:
        return self.config.name or name_of(self.directory)

    @property
    def length(self) -> str:
        if self.followed is not None:
            train = self.config.train
            most = f"{train.last_step:,} steps" if train.hours is None else f"{train.hours:g} hours of training"
            return f"{most} at most, as windows come into {self.config.dataset}"
        return describe_length(self.config.train, self.stages, self.manifests)

    def warnings(self) -> list[str]:
        if self.measures or self.followed is not None:
            return []
        return [
            f"warning: {self.config.dataset} has no validation split, so nothing says how good the model gets: no validation"
            f" loss, no best checkpoint, no measures in the report; {MORE_DOCUMENTS}"
        ]

    def starts(self) -> Mapping[str, str | None]:
        return {**super().starts(), "generator": self.config.generator}

    def begin_anew(self) -> None:
        config = self.config
        if config.init_from is not None and config.generator is not None:
            told = begin_from_halves(self.task, config.init_from, config.generator)
            if told is not None:
                self.say(told)
        elif config.init_from is not None and self.architecture.source is not None:
            begin_from(self.task, config.init_from, self.architecture.source)
        elif config.begins_with_teacher and self.teacher is not None and isinstance(self.teacher.task, MaskedLM):
            init_student(self.task, self.teacher.task)

    def go_on(self, log: MetricsLog | NoLog) -> None:
        """Nothing: all is in the checkpoints."""

    def row_length(self, stage: Stage) -> tuple[int, int]:
        length = self.manifests[stage.dataset].sequence_length
        return length, self.config.masking.num_slots or num_predictions(length, stage.mask_rate)

    def share(self, stage: Stage, row: int, step: int, worker_index: int, num_workers: int) -> tf.data.Dataset:
        if self.followed is not None:
            sources = self.followed.sources(self.config.seed, row)
            return mixed_batches(stage.dataset, sources, self._masking, worker_index, num_workers, self.config.reader)
        manifest = self.manifests[stage.dataset]
        final_rate = self.config.masking.final_rate
        return training_batches(
            stage.dataset,
            manifest,
            dataclasses.replace(self._masking, mask_selection_rate=stage.mask_rate),
            stage.global_batch_size,
            self.config.seed,
            stage.start_row(row, manifest.splits["train"].rows),
            worker_index,
            num_workers,
            self.config.reader,
            None if final_rate is None else MaskRates(self.config.masking.train_rate, final_rate, self.settings.steps),
            step,
        )

    def reading(self, stage: Stage) -> AbstractContextManager[None]:
        return damage_named(stage.dataset, self.manifests[stage.dataset])

    def try_step(self) -> dict[str, tf.TensorSpec]:
        """One step of the first stage on rows of padding: compiles what training compiles. What it changes is saved
        nowhere.

        Returns the tensors of this worker's share of a global batch.
        """
        if self.followed is not None and self.followed.segment is None:
            number = self.followed.next_number()
            if number is None:
                raise InputError(
                    f"a dry run needs a batch of rows, {self.config.dataset} has fewer yet; run it again when more has come"
                )
            self.followed.adopt(number, 0, 0)
        shapes: dict[str, tf.TensorSpec] = {}

        def zeros_of(worker_index: int, num_workers: int) -> tf.data.Dataset:
            shapes.update(self.share(self.stages[0], 0, 0, worker_index, num_workers).element_spec)
            zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in shapes.items()}
            return tf.data.Dataset.from_tensors(zeros).repeat()

        self.run_loop(self.workers.deal(zeros_of), 0, 1, 0, (0.0, 0.0))
        return shapes

    def evaluate(self) -> dict[str, float]:
        """Loss (nats a masked token), perplexity and accuracy on the validation split, with the weights as they are; nothing
        where there is no such split."""
        return self.evaluator.run() if self.evaluator is not None and self.measures else {}

    def take_evaluation(self, metrics: Mapping[str, float], log: MetricsLog | NoLog, position: Position) -> str:
        said = (
            f"validation loss {metrics['loss']:.3f}, perplexity {metrics['perplexity']:.1f},"
            f" accuracy {metrics['accuracy']:.1%}"
        )
        if "detection_auc" in metrics:
            said += (
                f"; replaced tokens: accuracy {metrics['detection_accuracy']:.1%}, AUC {metrics['detection_auc']:.3f}"
            )
        return f"{said}, of pairs {metrics['pair_accuracy']:.1%}" if "pair_accuracy" in metrics else said

    def finish(self, metrics: dict[str, float], position: Position) -> dict[str, float]:
        if self.workers.is_chief:
            save_preset(self.preset_directory, self.finished_task(), origin=self.origin(position))
        return metrics

    def data_lineages(self) -> Mapping[str, Sequence[Lineage]]:
        if self.followed is not None:
            return {"stream": [stream_lineage(self.followed.genesis)]}
        return {"dataset": [dataset_lineage(one, directory) for directory, one in self.manifests.items()]}

    def finished_task(self) -> MaskedLM:
        """The task as it is saved: its vocabulary no longer filled up, its weights and arithmetic in float32."""
        return with_vocabulary(self.task, self.vocabulary_size)


def pretraining_step(
    task: MaskedLM,
    optimizer: Optimizer,
    config: RunSettings,
    strategy: tf.distribute.Strategy,
    teacher: Teacher | None = None,
) -> TrainStep:
    """The step of a masked LM as its configuration has it."""
    stages = stages_of(config)
    sizes = BatchSizes(config.reader.bins_for, lambda length, stage: num_predictions(length, stages[stage].mask_rate))
    objective = pretraining_objective(config, teacher)
    return TrainStep(task, objective, optimizer, config.loop(), stages, sizes, strategy)


def pretraining_objective(config: RunSettings, teacher: Teacher | None = None) -> Objective:
    """What a run minimises."""
    if config.objective == PAIRS:
        return pair_objective.OBJECTIVE
    if config.replaced is not None:
        return replaced_objective(config.replaced.weight, config.replaced.temperature)
    objective = dataclasses.replace(masked_lm_objective.OBJECTIVE, teacher=teacher)
    return objective if config.objective is None else objective_of(config.objective, objective)

"""Pretraining: builds a run from its configuration and its dataset, and saves its preset."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import tensorflow as tf

from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.masking.masking_rule import num_predictions
from clozekit.model.presets.load_presets import save_preset
from clozekit.model.presets.preset_targets import check_preset_target
from clozekit.model.reading.dataset_reader import damage_named, training_batches, validation_batches
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.architecture import architecture_of, spelled_out
from clozekit.model.training.begin_from import begin_from
from clozekit.model.training.build_task import build_task, give_preprocessor, load_run_tokenizer, masking_options
from clozekit.model.training.cluster.workers import Workers, start_workers
from clozekit.model.training.datasets import MORE_DOCUMENTS, check_all_shards, check_family, read_datasets
from clozekit.model.training.memory_limits import check_run_fits
from clozekit.model.training.objectives import masked_lm_objective
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.own_functions import check_optimizer, objective_of, own_names
from clozekit.model.training.run_directory.run_files import TRAIN, check_run_directory, name_of
from clozekit.model.training.run_directory.run_lock import RunLock
from clozekit.model.training.run_directory.run_log import MetricsLog, NoLog
from clozekit.model.training.run_length import describe_length, in_steps
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.model.training.stages import Stage, stages_of
from clozekit.model.training.step import BatchSizes, TrainStep
from clozekit.model.training.training_run import TrainingRun, callbacks_of
from clozekit.model.training.watching.callbacks import Callback
from clozekit.tokenizers.storage.run_paths import MODEL


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
        check_preset_target(self.preset_directory, config.init_from, config.tokenizer)
        check_preset_target(f"{self.directory}/{MODEL}", config.init_from, config.tokenizer)
        self.stages = stages_of(config)
        self.manifests = read_datasets(config, self.stages)
        self.manifest = self.manifests[config.dataset]
        self.tokenizer = load_run_tokenizer(config, self.manifest)
        self.architecture = architecture_of(config, self.tokenizer, self._longest_row())
        check_family(self.architecture.family, self.tokenizer)
        self.config = config = spelled_out(config, self.architecture)
        self.workers = start_workers(config.cluster) if workers is None else workers
        self.callbacks = callbacks_of(self, callbacks, config.log.trackers)
        if self.workers.is_chief:
            check_all_shards(config, self.manifests)
        strategy = self.workers.strategy
        check_run_fits(
            config,
            self.architecture.backbone,
            self._longest_row(),
            self.stages,
            self.workers.num_replicas,
            self.workers.spec.num_workers,
        )
        with strategy.scope():
            self.task = build_task(config, self.architecture)
            give_preprocessor(self.task, self.tokenizer, self.architecture, config.masking)
            self._optimizer = Optimizer(self.task.trainable_variables, config.optimizer, config.train.xla)
        self.step = pretraining_step(self.task, self._optimizer, config, strategy)
        self.objective = self.step.objective
        self._masking = masking_options(config, self.manifest, self.tokenizer)
        sha256 = "+".join(manifest.dataset_sha256 for manifest in self.manifests.values())
        self.checkpoints = self.open_checkpoints(self._optimizer, {**config.course(), "dataset_sha256": sha256})
        self.evaluator = self._evaluator()
        self.measures = self.evaluator is not None

    def _evaluator(self) -> masked_lm_objective.Evaluator | None:
        """What measures on the validation split; None where the dataset has none."""
        config, split = self.config, self.manifest.splits.get("validation")
        if split is None:
            return None
        batches = validation_batches(
            config.dataset,
            self.manifest,
            self._masking.for_validation(config.masking.validation_rate),
            min(config.train.global_batch_size, split.rows),
            config.evaluate.max_rows,
            options=config.reader,
        )
        with damage_named(config.dataset, self.manifest):
            return masked_lm_objective.Evaluator(self.task, batches, config.train.xla)

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
        return describe_length(self.config.train, self.stages, self.manifests)

    def warnings(self) -> list[str]:
        if self.measures:
            return []
        return [
            f"warning: {self.config.dataset} has no validation split, so nothing says how good the model gets: no validation"
            f" loss, no best checkpoint, no measures in the report; {MORE_DOCUMENTS}"
        ]

    def begin_anew(self) -> None:
        if self.config.init_from is not None and self.architecture.source is not None:
            begin_from(self.task, self.config.init_from, self.architecture.source)

    def go_on(self, log: MetricsLog | NoLog) -> None:
        """Nothing: all is in the checkpoints."""

    def row_length(self, stage: Stage) -> tuple[int, int]:
        length, masking = self.manifests[stage.dataset].sequence_length, self.config.masking
        return length, masking.num_slots or num_predictions(length, masking.train_rate)

    def share(self, stage: Stage, row: int, worker_index: int, num_workers: int) -> tf.data.Dataset:
        manifest = self.manifests[stage.dataset]
        return training_batches(
            stage.dataset,
            manifest,
            self._masking,
            stage.global_batch_size,
            self.config.seed,
            stage.start_row(row, manifest.splits["train"].rows),
            worker_index,
            num_workers,
            self.config.reader,
        )

    def reading(self, stage: Stage) -> AbstractContextManager[None]:
        return damage_named(stage.dataset, self.manifests[stage.dataset])

    def try_step(self) -> dict[str, tf.TensorSpec]:
        """One step of the first stage on rows of padding: compiles what training compiles. What it changes is saved
        nowhere.

        Returns the tensors of this worker's share of a global batch.
        """
        shapes: dict[str, tf.TensorSpec] = {}

        def zeros_of(worker_index: int, num_workers: int) -> tf.data.Dataset:
            shapes.update(self.share(self.stages[0], 0, worker_index, num_workers).element_spec)
            zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in shapes.items()}
            return tf.data.Dataset.from_tensors(zeros).repeat()

        self.run_loop(self.workers.deal(zeros_of), 0, 1, 0, (0.0, 0.0))
        return shapes

    def evaluate(self) -> dict[str, float]:
        """Loss (nats a masked token), perplexity and accuracy on the validation split, with the weights as they are; nothing
        where there is no such split."""
        return {} if self.evaluator is None else self.evaluator.run()

    def take_evaluation(self, metrics: Mapping[str, float], log: MetricsLog | NoLog) -> str:
        return (
            f"validation loss {metrics['loss']:.3f}, perplexity {metrics['perplexity']:.1f},"
            f" accuracy {metrics['accuracy']:.1%}"
        )

    def finish(self, metrics: dict[str, float]) -> dict[str, float]:
        if self.workers.is_chief:
            save_preset(self.preset_directory, self.finished_task())
        return metrics

    def finished_task(self) -> MaskedLM:
        """The task as it is saved: its vocabulary no longer filled up, its weights and arithmetic in float32."""
        return with_vocabulary(self.task, self.vocabulary_size)


def pretraining_step(
    task: MaskedLM, optimizer: Optimizer, config: RunSettings, strategy: tf.distribute.Strategy
) -> TrainStep:
    """The step of a masked LM as its configuration has it."""
    rate = config.masking.train_rate
    sizes = BatchSizes(config.reader.bins_for, functools.partial(num_predictions, mask_selection_rate=rate))
    objective = masked_lm_objective.OBJECTIVE
    if config.objective is not None:
        objective = objective_of(config.objective, objective)
    return TrainStep(task, objective, optimizer, config.loop(), stages_of(config), sizes, strategy)

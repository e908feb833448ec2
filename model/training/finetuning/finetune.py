"""Fine-tuning: trains a task on examples, keeps the best weights as a preset, predicts what it is given."""

import dataclasses
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import tensorflow as tf

from clozekit.model.common.weights_seed import weights_seed
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.presets.lineage import Lineage
from clozekit.model.presets.load_presets import open_source, save_preset
from clozekit.model.presets.preset_targets import check_preset_target
from clozekit.model.tasks.pooler import has_pooler
from clozekit.model.tasks.task import Task
from clozekit.model.training.cluster.workers import Workers, start_workers
from clozekit.model.training.finetuning.finetune_data import FinetuneData, examples_lineage, read_finetune_data
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit, Examples, FinetuneKind, kind_named
from clozekit.model.training.finetuning.row_batches import lengths_of_run, training_batches
from clozekit.model.training.flops import Dimensions
from clozekit.model.training.load_teacher import load_teacher, open_teacher
from clozekit.model.training.memory_limits import check_step_fits
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.own_functions import check_optimizer, objective_of, own_names
from clozekit.model.training.run_directory.checkpoints import Position
from clozekit.model.training.run_directory.run_files import (
    FINETUNE,
    PREDICTIONS,
    RESULT_FILE,
    check_run_directory,
    name_of,
)
from clozekit.model.training.run_directory.run_lock import RunLock
from clozekit.model.training.run_directory.run_log import METRICS_FILE, Entry, MetricsLog, NoLog, read_metrics
from clozekit.model.training.run_directory.small_files import read_text, write_text
from clozekit.model.training.settings.finetune_settings import FinetuneSettings, load_finetune_config
from clozekit.model.training.stages import Stage
from clozekit.model.training.step import BatchSizes, TrainStep
from clozekit.model.training.training_run import TrainingRun, callbacks_of
from clozekit.model.training.watching.callbacks import Callback
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.run_paths import MODEL


class FinetuneResult(TypedDict):
    """What `result.json` holds. metrics: name of a validation file -> name of a metric -> value, of the best weights."""

    best_step: int
    metric: str
    metrics: dict[str, dict[str, float]]


class FinetuneRun(TrainingRun[FinetuneResult]):
    """One run of `clozekit finetune`, built and checked, its files first; `train` does it and returns its result.

    Args:
        config: what `load_finetune_config` gave, or the path of a YAML file.
        workers: what `start_workers` gave, where it had to come before TensorFlow started (several workers, logical CPUs).
        callbacks: what is called while it trains.

    Raises:
        InputError: for files that can't be read, labels that don't fit, a preset that can't be had, steps that don't fit into
            memory.

    Example:

        >>> from clozekit.model.training.finetuning.finetune import FinetuneRun
        >>> from clozekit.model.training.settings.finetune_settings import load_finetune_config
        >>> table = [f"{animal},{number % 2}" for number, animal in enumerate(["a dog", "the fox"] * 5)]
        >>> _ = Path("tiny/animals.csv").write_text("text,label\\n" + "\\n".join(table))
        >>> files = ["data.train=tiny/animals.csv", "data.text=text", "data.label=label", "data.validation_rate=0.3"]
        >>> places = ["init_from=tiny/preset", "directory=tiny/animals"]
        >>> run = FinetuneRun(load_finetune_config(None, [*places, *files]))
        >>> run.task.num_classes, run.preset_directory
        (2, 'tiny/animals/preset')
    """

    config: FinetuneSettings
    made_by = FINETUNE

    def __init__(
        self, config: FinetuneSettings | str | Path, workers: Workers | None = None, callbacks: Sequence[Callback] = ()
    ) -> None:
        if not isinstance(config, FinetuneSettings):
            config = load_finetune_config(str(config))
        self.config = config
        self.kind = kind_named(config.task)
        self._lock = RunLock()
        self.directory = config.directory.rstrip("/")
        self.preset_directory = config.preset or f"{self.directory}/preset"
        self.own_functions = own_names(
            {
                "optimizer.name": config.optimizer.name,
                "optimizer.schedule": config.optimizer.schedule,
                "objective": config.objective,
            }
        )
        check_optimizer(config.optimizer)
        self.data: FinetuneData = read_finetune_data(config, self.kind)
        self.more_files = self._prediction_files()
        check_run_directory(self.directory, FINETUNE, self.more_files)
        sources = (config.init_from, None if config.distill is None else config.distill.teacher)
        check_preset_target(self.preset_directory, *sources)
        check_preset_target(f"{self.directory}/{MODEL}", *sources)
        self.workers = start_workers(config.cluster) if workers is None else workers
        self.callbacks = callbacks_of(self, callbacks, config.log.trackers)
        batch_size, micro = config.train.global_batch_size, config.train.micro_batch_size
        rows_at_once = micro or batch_size // self.workers.num_replicas
        self.kind.check(config, rows_at_once)
        strategy = self.workers.strategy
        with strategy.scope():
            self.task, preprocessor = build_task(config, self.kind, self.data.labels)
            if config.distill is not None:
                source = open_teacher(
                    config.distill, type(self.task), preprocessor.tokenizer, preprocessor.sequence_length
                )
                self.teacher = load_teacher(config.distill, source, self.task, config.train.precision)
        backbone = self.task.backbone
        uses_pooler = self.task.uses_pooler and backbone.has_used_pooler and hasattr(backbone, "pooled_dense")
        self._begins_fresh = uses_pooler and not has_pooler(backbone)
        encode = self.kind.encode
        self._encoded_train = encode(self.data.train.examples, self.data.train.labels, preprocessor)
        if self.teacher is not None:
            # A teacher of another family may tell segments apart, and its student not.
            names = self.teacher.task.backbone.input_names()
            self._encoded_train = dataclasses.replace(
                self._encoded_train, row_set=self._encoded_train.row_set.with_inputs(names)
            )
        self._encoded_validation = [
            encode(split.examples, split.labels, preprocessor) for split in self.data.validation
        ]
        self._encoded_test = [encode(examples, None, preprocessor) for examples in self.data.test]
        self.settings = config.loop(len(self._encoded_train.row_set), bool(tf.config.list_physical_devices("GPU")))
        self.stages = (Stage(0, self.settings.steps, config.data.train, batch_size, micro, 0),)
        with strategy.scope():
            self._optimizer = Optimizer(self.task.trainable_variables, config.optimizer, self.settings.xla)
        check_step_fits(
            Dimensions.of(self.task.backbone),
            rows_at_once,
            preprocessor.sequence_length,
            1,
            4 if config.train.precision == "float32" else 2,
            "lower train.micro_batch_size, train.global_batch_size or sequence_length, or set train.recompute=true",
            None if self.teacher is None else Dimensions.of(self.teacher.task.backbone),
            config.train.recompute,
        )
        self.objective = dataclasses.replace(self.kind.objective(config), teacher=self.teacher)
        if config.objective is not None:
            self.objective = objective_of(config.objective, self.objective)
        self._lengths = lengths_of_run(self._encoded_train.row_set, config.seed, batch_size, self.settings.steps)
        sizes = BatchSizes(lambda _: self._lengths, lambda _length, _stage: 0)
        self.step = TrainStep(self.task, self.objective, self._optimizer, self.settings, self.stages, sizes, strategy)
        self._logits = tf.function(self._batch_logits, jit_compile=self.settings.xla, autograph=False)
        taught_by = self.teacher and self.teacher.sha256
        identity = {**config.course(), "dataset_sha256": self.data.sha256, "teacher_sha256": taught_by}
        self.checkpoints = self.open_checkpoints(self._optimizer, identity)

    def _prediction_files(self) -> tuple[str, ...]:
        names = [split.name for split in self.data.validation] + [Path(one.source).stem for one in self.data.test]
        suffix = self.kind.predictions_suffix
        return () if suffix is None else tuple(f"{PREDICTIONS}/{name}{suffix}" for name in names)

    @property
    def summary(self) -> str:
        """One line for people."""
        rows = self._encoded_train.row_set.rows
        cut = f", {rows.num_full():,} of them as long or longer" if rows.num_full() else ""
        return (
            f"{len(self.data.train.examples):,} examples of up to {rows.sequence_length} tokens{cut}; {self.task.count_params():,} parameters,"
            f" {self.length}, {self.config.train.global_batch_size} examples a step"
            + (
                f"; the pooler of {self.config.init_from} was never trained and begins random"
                if self._begins_fresh
                else ""
            )
        )

    @property
    def name(self) -> str:
        return self.config.name or name_of(self.directory)

    @property
    def length(self) -> str:
        train = self.config.train
        if train.hours is not None:
            return f"{train.hours:g} hours of training"
        epochs = self.settings.steps * train.global_batch_size / len(self._encoded_train.row_set)
        return f"{self.settings.steps:,} steps = {epochs:,.1f} epochs"

    def to_yaml(self) -> str:
        return self.config.to_yaml()

    def begin_anew(self) -> None:
        """Nothing: the task was built with the weights of the preset."""

    def go_on(self, log: MetricsLog | NoLog) -> None:
        self._look_at(evaluations(log.entries))
        # Epochs are steps only with the data at hand, which whoever looks at the run has not.
        is_said = any(entry["kind"] == "length" for entry in log.entries)
        if self.settings.hours is None and not is_said:
            log.write("length", 0, {"last_step": self.settings.steps})

    def row_length(self, stage: Stage) -> tuple[int, int]:
        return self._lengths[-1], 0

    def share(self, stage: Stage, row: int, step: int, worker_index: int, num_workers: int) -> tf.data.Dataset:
        return training_batches(
            self._encoded_train.row_set,
            self._lengths,
            self.config.seed,
            row,
            stage.global_batch_size,
            worker_index,
            num_workers,
        )

    def history(self) -> list[Entry]:
        """The evaluations so far: what is best and when to stop follow from them, also after a kill."""
        return evaluations(read_metrics(f"{self.directory}/{METRICS_FILE}"))

    def best(self, history: Sequence[Entry]) -> int:
        """The place in `history` of the best evaluation; of equal metrics the lower loss, then the first.

        Raises InputError when the log lacks the metric: it is of another task.
        """
        name = self.config.deciding_metric
        lacking = next((entry for entry in history if name not in entry), None)
        if lacking is not None:
            raise InputError(
                f"every evaluation of {self.directory}/{METRICS_FILE} must have {name}, which decides, that of step"
                f" {lacking['step']} has none: the log is of another task, or was changed; put it back, or begin in another"
                " directory"
            )
        # A number that is none, written as null, is worse than every other.
        values = [(_or_worst(entry[name]), -_or_worst(entry["loss"], math.inf)) for entry in history]
        return values.index(max(values))

    def _look_at(self, history: Sequence[Entry]) -> bool:
        """Notes whether `patience` evaluations brought nothing better; returns whether the last one is the best, both as
        the chief, who alone has the log, sees it."""
        is_best = has_stopped = False
        if self.workers.is_chief and history:
            best = self.best(history)
            is_best = best == len(history) - 1
            has_stopped = len(history) - 1 - best >= self.config.patience
        self.has_stopped = self.workers.any(has_stopped)
        return is_best

    def _batch_logits(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.cast(self.task(batch, training=False), tf.float32)

    def outputs(self, split: EncodedSplit) -> list[np.ndarray]:
        """What the task gives for the rows of a file, as `RowSet.outputs` has it."""
        return split.row_set.outputs(lambda batch: self._logits(batch).numpy(), self.config.train.global_batch_size)

    def metrics(self, outputs: list[np.ndarray], number: int) -> dict[str, float]:
        """The measures of outputs for validation file number `number`."""
        split, encoded = self.data.validation[number], self._encoded_validation[number]
        return self.kind.metrics(outputs, encoded, split.examples, self.data.labels)

    def evaluate(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for number, (split, encoded) in enumerate(zip(self.data.validation, self._encoded_validation, strict=True)):
            metrics = self.metrics(self.outputs(encoded), number)
            # The first one decides and has the plain names.
            values |= {name if number == 0 else f"{split.name}/{name}": value for name, value in metrics.items()}
        return values

    def take_evaluation(self, metrics: Mapping[str, float], log: MetricsLog | NoLog, position: Position) -> str:
        """Better weights than ever take the place of the preset."""
        is_best = self._look_at(evaluations(log.entries))
        if is_best:
            # What is best is read from it.
            log.flush()
            save_preset(self.preset_directory, self.task, origin=self.origin(position))
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        return f"{shown}{' (best so far)' if is_best else ''}"

    def data_lineages(self) -> Mapping[str, Sequence[Lineage]]:
        return {"examples": [examples_lineage(self.data)]}

    def finish(self, metrics: dict[str, float], position: Position) -> FinetuneResult:
        """Loads the best weights, writes the predictions and the result."""
        if self.workers.is_chief:
            self._write_result()
        # The chief has written when it comes here.
        self.workers.any(False)
        return cast(FinetuneResult, json.loads(read_text(f"{self.directory}/{RESULT_FILE}")))

    def _write_result(self) -> None:
        source = open_source(self.preset_directory)
        source.load_backbone_weights(self.task.backbone)
        source.load_head_weights(self.task)
        history = self.history()
        metrics: dict[str, dict[str, float]] = {}
        for number, (split, encoded) in enumerate(zip(self.data.validation, self._encoded_validation, strict=True)):
            outputs = self.outputs(encoded)
            metrics[split.name] = self.metrics(outputs, number)
            self._write_predictions(split.name, outputs, encoded, split.examples)
        for examples, encoded in zip(self.data.test, self._encoded_test, strict=True):
            self._write_predictions(Path(examples.source).stem, self.outputs(encoded), encoded, examples)
        best_step = history[self.best(history)]["step"]
        result = FinetuneResult(best_step=best_step, metric=self.config.deciding_metric, metrics=metrics)
        write_text(f"{self.directory}/{RESULT_FILE}", json.dumps(result, indent=2) + "\n")

    def _write_predictions(
        self, name: str, outputs: list[np.ndarray], encoded: EncodedSplit, examples: Examples
    ) -> None:
        if self.kind.predictions_suffix is None:
            return
        folder = f"{self.directory}/{PREDICTIONS}"
        tf.io.gfile.makedirs(folder)
        content = self.kind.predictions(outputs, encoded, examples, self.data.labels)
        write_text(f"{folder}/{name}{self.kind.predictions_suffix}", content)


def build_task(config: FinetuneSettings, kind: FinetuneKind, names: tuple[str, ...]) -> tuple[Task, Preprocessor]:
    """The backbone of the preset under a new head, whose weights config.seed decides, and the preprocessor of both."""
    with weights_seed(config.seed), warnings.catch_warnings():
        # It is what the run is for.
        warnings.filterwarnings("ignore", ".*starts with a random one", UserWarning)
        task = kind.build(config, names, None if config.train.precision == "float32" else config.train.precision)
    preprocessor = cast(Preprocessor, task.preprocessor)
    positions = task.backbone.max_sequence_length
    preprocessor.sequence_length = config.sequence_length or min(kind.default_sequence_length, positions)
    preprocessor.check_fits(task.backbone.vocabulary_size, positions)
    return task, preprocessor


def evaluations(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of a log that are evaluations."""
    return [entry for entry in entries if entry["kind"] == "validation"]


def _or_worst(value: float | None, worst: float = -math.inf) -> float:
    return worst if value is None else value

"""Fine-tuning a text classifier: trains, evaluates, keeps the best weights as a preset, goes on after a kill."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.presets.load_presets import open_source, save_preset
from clozekit.model.presets.preset_targets import check_preset_target
from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.model.training.finetuning.encoded_rows import EncodedRows, encode_rows, training_rows
from clozekit.model.training.finetuning.finetune_data import FinetuneData, read_finetune_data
from clozekit.model.training.finetuning.task_metrics import classification_metrics, regression_metrics
from clozekit.model.training.flops import Dimensions
from clozekit.model.training.memory_limits import check_step_fits
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.run_directory.checkpoints import Checkpoints, Position, training_variables
from clozekit.model.training.run_directory.run_files import (
    FINETUNE,
    PREDICTIONS,
    RESULT_FILE,
    check_run_directory,
    claim_run_directory,
)
from clozekit.model.training.run_directory.run_lock import RunLock, lock_run
from clozekit.model.training.run_directory.run_log import METRICS_FILE, MetricsLog, read_metrics
from clozekit.model.training.run_directory.small_files import write_text
from clozekit.model.training.schedules import learning_rate, step_progress, warmup_share
from clozekit.model.training.settings.finetune_settings import FinetuneSettings
from clozekit.model.training.step import dropout_states
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.progress_bar import progress_bar
from clozekit.tokenizers.settings.settings_files import check

DEFAULT_SEQUENCE_LENGTH = 128
LOG_EVERY_STEPS = 20


class FinetuneRun:
    """One fine-tuning of a text classifier. The files are read and checked before the model is built; `train` does it.

    Args:
        config: what `load_finetune_config` gave.

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

    def __init__(self, config: FinetuneSettings) -> None:
        self.config = config
        self.directory = config.directory.rstrip("/")
        self.data: FinetuneData = read_finetune_data(config)
        check_run_directory(self.directory, FINETUNE, self._prediction_files())
        check_preset_target(self.preset_directory, config.init_from)
        self.task, preprocessor = build_classifier(config, self.data)
        check_step_fits(
            Dimensions.of(self.task.backbone),
            config.batch_size,
            preprocessor.sequence_length,
            1,
            4 if config.dtype == "float32" else 2,
            "lower batch_size or sequence_length",
        )
        self._train_rows = encode_rows(self.data.train.examples, preprocessor)
        self._validation_rows = [encode_rows(split.examples, preprocessor) for split in self.data.validation]
        self._test_rows = [encode_rows(examples, preprocessor) for examples in self.data.test]
        num_steps = config.epochs * len(self._train_rows) / config.batch_size
        check("epochs must be less than 2**31 steps", num_steps < 2**31 - 1, config.epochs)
        self.num_steps = max(1, math.ceil(num_steps))
        self.evaluate_every = config.evaluate_every_steps or math.ceil(len(self._train_rows) / config.batch_size)
        xla = bool(tf.config.list_physical_devices("GPU")) if config.xla is None else config.xla
        self._optimizer = Optimizer(self.task.trainable_variables, config.optimizer(), xla)
        self._variables = [variable.value for variable in self.task.trainable_variables]
        self._dropout_states = dropout_states(self.task)
        self._gradients = tf.function(self._batch_gradients, jit_compile=xla, autograph=False)
        self._step = tf.function(self._train_step, autograph=False)
        self._logits = tf.function(self._batch_logits, jit_compile=xla, autograph=False)
        self._checkpoints = Checkpoints(
            f"{self.directory}/checkpoints",
            training_variables(self.task, self._optimizer),
            {**config.course(), "dataset_sha256": self.data.sha256},
            keep=1,
        )

    def _prediction_files(self) -> list[str]:
        names = [split.name for split in self.data.validation] + [Path(one.source).stem for one in self.data.test]
        return [f"{PREDICTIONS}/{name}.tsv" for name in names]

    @property
    def preset_directory(self) -> str:
        return self.config.preset or f"{self.directory}/preset"

    @property
    def summary(self) -> str:
        """One line for people."""
        rows = self._train_rows
        cut = f", {rows.num_full():,} of them as long or longer" if rows.num_full() else ""
        return (
            f"{len(rows):,} examples of up to {rows.sequence_length} tokens{cut}; {self.task.count_params():,} parameters,"
            f" {self.num_steps:,} steps of {self.config.batch_size}"
        )

    def train(self) -> dict[str, Any]:
        """Trains to the last step or until nothing gets better; returns what `result.json` holds.

        Raises InputError when another run is at work in its directory.
        """
        with lock_run(self.directory, self.preset_directory) as lock:
            return self._train(lock)

    def _train(self, lock: RunLock) -> dict[str, Any]:
        tf.io.gfile.makedirs(self.directory)
        claim_run_directory(self.directory, FINETUNE, self._prediction_files())
        position = self._restore()
        write_text(f"{self.directory}/config.yaml", self.config.to_yaml())
        if position.global_step:
            tqdm.write(f"  going on from step {position.global_step} of {self.num_steps}")
        log = MetricsLog(self.directory, position.global_step)
        bar = progress_bar(total=self.num_steps, initial=position.global_step, desc="fine-tuning", unit=" steps")
        try:
            while position.global_step < self.num_steps and not self.has_stopped():
                lock.check()
                position = self._advance(position, log, bar)
        finally:
            bar.close()
            log.close()
        return self._finish()

    def _restore(self) -> Position:
        """Where the run goes on: at its newest whole checkpoint, else at the start."""
        saved, values, problems = self._checkpoints.newest()
        self._checkpoints.set_aside(problems)
        for problem in problems:
            tqdm.write(f"  damaged checkpoint left out: {problem}")
        if saved is None:
            return Position()
        self._checkpoints.assign(values)
        return saved.position

    def history(self) -> list[dict[str, Any]]:
        """The evaluations so far: what is best and when to stop follow from them, also after a kill."""
        return [entry for entry in read_metrics(f"{self.directory}/{METRICS_FILE}") if entry["kind"] == "validation"]

    def best(self) -> int:
        """The place in `history` of the best evaluation; of equal metrics the lower loss, then the first.

        Raises InputError when the log lacks the metric: it is of another task.
        """
        name, history = self.config.deciding_metric, self.history()
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

    def has_stopped(self) -> bool:
        """Whether `patience` evaluations brought nothing better."""
        history = self.history()
        return bool(history) and len(history) - 1 - self.best() >= self.config.patience

    def _advance(self, position: Position, log: MetricsLog, bar: Any) -> Position:
        """Runs steps up to the next thing to do, does it, and saves where the run stands."""
        step, every = position.global_step, self.config.checkpoint_every_steps
        end = min([self.num_steps, *((step // n + 1) * n for n in (LOG_EVERY_STEPS, self.evaluate_every, every))])
        losses, skipped, tokens = 0.0, 0, position.tokens_seen
        for number in range(step, end):
            rows = training_rows(len(self._train_rows), self.config.seed, number, self.config.batch_size)
            labels = self.data.train.labels[rows]
            loss, norm, rate = self._step(self._train_rows.batch(rows), labels, tf.constant(number))
            is_finite = math.isfinite(float(norm))
            losses += float(loss) if is_finite else 0.0
            skipped += not is_finite
            tokens += int(self._train_rows.lengths[rows].sum())
            bar.update(1)
        if skipped == end - step:
            raise InputError(
                f"the loss must stay a number, it was none in every step from {step} to {end}; lower learning_rate"
            )
        values = {
            "loss": losses / (end - step - skipped),
            "learning_rate": float(rate),
            "gradient_norm": float(norm),
            "skipped_steps": skipped,
            "tokens_seen": tokens,
        }
        log.write("train", end, values)
        bar.set_postfix_str(f"loss {values['loss']:.3f}", refresh=False)
        position = Position(end, end * self.config.batch_size, tokens)
        is_evaluated = end % self.evaluate_every == 0 or end == self.num_steps
        if is_evaluated:
            self._evaluate(end, log)
        if is_evaluated or end % every == 0:
            log.flush()
            self._checkpoints.save(position)
        return position

    def _batch_gradients(self, batch: dict[str, tf.Tensor], labels: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = tf.cast(self.task(batch, training=True), tf.float32)
            if self.config.task == "regression":
                losses = tf.square(outputs[:, 0] - labels)
            else:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self._variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], loss

    def _train_step(
        self, batch: dict[str, tf.Tensor], labels: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The loss, the gradients' norm before clipping, and the learning rate of one step."""
        # As in pretraining, each layer's random state is set from (seed, layer, step): a resumed run drops the same units.
        for index, state in enumerate(self._dropout_states):
            state.assign(tf.cast(tf.stack([(self.config.seed * 1_000_003 + index) % 2**31, step]), state.dtype))
        gradients, loss = self._gradients(batch, labels)
        options = self.config.optimizer()
        progress = step_progress(self._optimizer.updates, self.num_steps)
        rate = learning_rate(progress, warmup_share(options, self.num_steps), options)
        return loss, self._optimizer.apply(gradients, rate), rate

    def _batch_logits(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.cast(self.task(batch, training=False), tf.float32)

    def outputs(self, rows: EncodedRows) -> np.ndarray:
        """float32 (N, num_classes): the logits of each row, or its predicted number."""
        size = self.config.batch_size
        order = np.argsort(rows.lengths, kind="stable")
        outputs = np.empty((len(rows), self.task.num_classes), np.float32)
        for start in range(0, len(order), size):
            places = order[start : start + size]
            # The last batch is filled up with its first row: one shape, one compilation.
            filled = np.concatenate([places, np.full(size - len(places), places[0])])
            outputs[places] = self._logits(rows.batch(filled)).numpy()[: len(places)]
        return outputs

    def metrics(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """The measures of outputs, float32 (num_examples, num_classes), against labels (num_examples,)."""
        if self.config.task == "regression":
            return regression_metrics(labels, outputs[:, 0])
        return classification_metrics(labels, outputs)

    def _evaluate(self, step: int, log: MetricsLog) -> None:
        """Logs the metrics of the validation files; better weights than ever take the place of the preset."""
        values: dict[str, float] = {}
        for number, (split, rows) in enumerate(zip(self.data.validation, self._validation_rows, strict=True)):
            metrics = self.metrics(self.outputs(rows), split.labels)
            # The first one decides and has the plain names.
            values |= {name if number == 0 else f"{split.name}/{name}": value for name, value in metrics.items()}
        log.write("validation", step, values)
        # What is best is read from it.
        log.flush()
        is_best = self.best() == len(self.history()) - 1
        if is_best:
            save_preset(self.preset_directory, self.task)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        tqdm.write(f"  step {step}: {shown}{' (best so far)' if is_best else ''}", file=sys.stdout)

    def _finish(self) -> dict[str, Any]:
        """Loads the best weights, writes the predictions and the result."""
        source = open_source(self.preset_directory)
        source.load_backbone_weights(self.task.backbone)
        source.load_head_weights(self.task)
        best = self.history()[self.best()]
        result: dict[str, Any] = {"best_step": best["step"], "metric": self.config.deciding_metric, "metrics": {}}
        for split, rows in zip(self.data.validation, self._validation_rows, strict=True):
            outputs = self.outputs(rows)
            result["metrics"][split.name] = self.metrics(outputs, split.labels)
            self._write_predictions(split.name, outputs, split.examples.labels)
        for examples, rows in zip(self.data.test, self._test_rows, strict=True):
            self._write_predictions(Path(examples.source).stem, self.outputs(rows), None)
        text = json.dumps(result, indent=2) + "\n"
        write_text(f"{self.directory}/{RESULT_FILE}", text)
        return result

    def _write_predictions(self, name: str, outputs: np.ndarray, labels: tuple[str, ...] | None) -> None:
        """predictions/NAME.tsv: index and prediction, as GLUE's site takes them, and the label where it is known."""
        if self.config.task == "regression":
            predicted = [f"{value:.4f}" for value in outputs[:, 0]]
        else:
            predicted = [self.data.labels[number] for number in outputs.argmax(axis=1)]
        columns = [list(map(str, range(len(predicted)))), predicted, *([list(labels)] if labels else [])]
        header = ["index", "prediction", *(["label"] if labels else [])]
        lines = ["\t".join(row) + "\n" for row in [header, *map(list, zip(*columns, strict=True))]]
        folder = f"{self.directory}/{PREDICTIONS}"
        tf.io.gfile.makedirs(folder)
        write_text(f"{folder}/{name}.tsv", "".join(lines))


def build_classifier(config: FinetuneSettings, data: FinetuneData) -> tuple[TextClassifier, Preprocessor]:
    """The backbone of the preset under a new head, whose weights config.seed decides, and the preprocessor of both."""
    keras.utils.set_random_seed(config.seed)
    labels = list(data.labels) or None
    task = TextClassifier.from_preset(
        config.init_from,
        num_classes=len(data.labels) or 1,
        labels=labels,
        activation=None,
        dtype=None if config.dtype == "float32" else config.dtype,
        compile=False,
    )
    preprocessor: Any = task.preprocessor
    positions = task.backbone.max_sequence_length
    preprocessor.sequence_length = config.sequence_length or min(DEFAULT_SEQUENCE_LENGTH, positions)
    preprocessor.check_fits(task.backbone.vocabulary_size, positions)
    return task, preprocessor


def _or_worst(value: float | None, worst: float = -math.inf) -> float:
    return worst if value is None else value

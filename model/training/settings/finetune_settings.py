"""The configuration of a fine-tuning: a YAML file, `key=value` changes on top, or those alone."""

import dataclasses
import math
import os
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from clozekit.model.training.settings.columns import FORMATS, Columns
from clozekit.model.training.settings.loop_settings import (
    MAX_STEPS,
    TEACHER,
    CheckpointSettings,
    ClusterSettings,
    DistillSettings,
    DivergenceSettings,
    LogSettings,
    LoopSettings,
    OptimizerSettings,
    check_batches,
    check_lengths,
    check_objective,
    flattened,
    one_length,
)
from clozekit.pipelines.text_files.delimited import QUOTING
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.ready_files import find_ready_file, ready_files
from clozekit.tokenizers.settings.settings_files import (
    apply_changes,
    check,
    check_choice,
    make_settings,
    read_given,
    rename_keys,
    set_key,
)

# What each kind of task is measured by; finetuning/examples/task_metrics.py computes them.
# The first one decides unless it is said.
METRIC_NAMES = {
    "classification": ("accuracy", "f1", "matthews"),
    "regression": ("pearson", "spearman"),
    "multi_label": ("f1", "f1_macro", "accuracy"),
    "token_classification": ("f1", "precision", "recall", "accuracy"),
    "question_answering": ("f1", "exact_match"),
    "embedding": ("accuracy", "mrr"),
    "similarity": ("spearman", "pearson"),
}
# Which columns a task's files have, or must be told.
_TEXT_AND_LABEL = ("classification", "regression", "multi_label")
# The middle of what BERT's paper searched (Devlin et al. 2018, A.3).
DEFAULT_EPOCHS = 3.0
GLUE_FOLDER = Path(__file__).parents[1] / "recipes" / "glue"


@dataclass(frozen=True)
class DataSettings:
    """The files, and where they hold what. Columns are named, or numbered from 0 where header is false.

    train: the file to learn from. text, text_pair, label: columns; without text_pair each example is one text.
    validation: one file or several (the first decides which weights are best); none: `validation_rate` of the train
    file. validation_rate: that share, 0 to 1. test: files without labels; test_text, test_header: where they are laid out otherwise than the train file.
    folder: where the files are, if they are named without it. format: "auto" goes by the suffix. header: whether a file begins
    with the names of its columns. labels: the names of the classes in the order of their ids; those of the train file if not
    given. skip_bad_rows: count and leave out rows that have too few or too many fields. quoting: whether quotation marks enclose
    fields ("double") or are text ("none"); by default they enclose in CSV and are text in TSV. label_separator: what stands between
    the labels of a text that can have several (task=multi_label); JSON lines have lists.

    For tagged words (task=token_classification) text and label are keys of JSON lines with lists (tokens and ner_tags if not
    given) or columns of a CoNLL file (0 and -1, the last, if not given), where labels may name what its numbers mean; for
    questions neither is asked for.

    Raises:
        InputError: for an unknown choice, a rate out of its bounds, labels that don't name two or more classes once each.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import DataSettings
        >>> DataSettings("train.tsv", "sentence", "label", folder="sst2").path("train.tsv")
        'sst2/train.tsv'
    """

    train: str
    text: str | int | None = None
    label: str | int | None = None
    text_pair: str | int | None = None
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    folder: str = ""
    format: str = "auto"
    header: bool = True
    test_header: bool | None = None
    test_text: str | int | None = None
    labels: tuple[str | int, ...] = ()
    validation_rate: float = 0.1
    skip_bad_rows: bool = False
    quoting: str = "auto"
    label_separator: str = ","

    def __post_init__(self) -> None:
        check_choice("data.format", self.format, FORMATS)
        check_choice("data.quoting", self.quoting, QUOTING)
        rule = "data.validation_rate must be above 0 and below 1"
        check(rule, 0 < self.validation_rate < 1, self.validation_rate)
        names = self.label_names()
        check("data.labels must name each class once", len(set(names)) == len(names), names)
        check("data.label_separator must not be empty", self.label_separator != "", self.label_separator)

    def path(self, name: str) -> str:
        """Where a file of the data is."""
        return name if "://" in name or os.path.isabs(name) else os.path.join(self.folder, name)

    def columns(self, several_labels: bool = False) -> Columns:
        """The columns of the train and validation files."""
        columns = self._columns(self.text, self.label, self.header)
        return dataclasses.replace(columns, label_separator=self.label_separator) if several_labels else columns

    def test_columns(self) -> Columns:
        """The columns of the test files."""
        text = self.text if self.test_text is None else self.test_text
        header = self.header if self.test_header is None else self.test_header
        return dataclasses.replace(self._columns(text, None, header), label=None)

    def _columns(self, text: str | int | None, label: str | int | None, header: bool) -> Columns:
        pair = None if self.text_pair is None else str(self.text_pair)
        named = "" if label is None else str(label)
        return Columns(
            "" if text is None else str(text), pair, named, header, self.format, self.skip_bad_rows, self.quoting
        )

    def label_names(self) -> tuple[str, ...]:
        """The names of the classes as text."""
        return tuple(map(str, self.labels))


@dataclass(frozen=True)
class FinetuneTrainSettings:
    """How long and in which portions, under the names of a pretraining's `train`.

    epochs, steps, hours: how long the run is, in one of them; 3 epochs if none is given. epochs: passes over the training file.
    steps: updates of the weights. hours: ends the run, with the learning rate at its end, when it has trained that long, counted over
    all its starts. global_batch_size: examples of a step, on all devices
    together. steps_per_loop: steps between two looks of the controller at the device. xla: compile the steps; on GPUs alone if not given (on
    two busy cores a step of 4 layers x 256 took 0.70 s compiled and 0.43 s not). micro_batch_size: rows that a replica
    computes at once. precision:
    float32 or mixed_bfloat16 (weights and the optimizer's state stay float32). recompute: keep of each block its inputs alone for
    the backward pass and make the rest anew.

    Raises:
        InputError: for a number below 1, two lengths, micro-batches that don't divide the batch, another precision.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import FinetuneTrainSettings
        >>> FinetuneTrainSettings(epochs=5, global_batch_size=16).precision
        'float32'
    """

    epochs: float | None = None
    steps: int | None = None
    hours: float | None = None
    global_batch_size: int = 32
    micro_batch_size: int | None = None
    steps_per_loop: int = 20
    xla: bool | None = None
    precision: str = "float32"
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None and self.hours is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        check_lengths({"epochs": self.epochs, "steps": self.steps, "hours": self.hours})
        check_batches(self.global_batch_size, self.micro_batch_size, self.steps_per_loop)
        check_choice("train.precision", self.precision, ("float32", "mixed_bfloat16"))

    def last_step(self, num_rows: int) -> int:
        """At which the run ends, for a training file of so many rows; with hours the last one that can be counted."""
        if self.hours is not None:
            return MAX_STEPS
        if self.steps is not None:
            return self.steps
        num_steps = (self.epochs or 0.0) * num_rows / self.global_batch_size
        check("train.epochs must be less than 2**31 steps", num_steps < MAX_STEPS, self.epochs)
        return max(1, math.ceil(num_steps))


@dataclass(frozen=True)
class FinetuneOptimizerSettings(OptimizerSettings):
    """AdamW as BERT was fine-tuned with (Devlin et al. 2018, A.3): beta_2 0.999, where pretraining here has 0.98.

    Raises:
        InputError: for an unknown rule or schedule, or a number out of its bounds.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import FinetuneOptimizerSettings
        >>> FinetuneOptimizerSettings(learning_rate=5e-5).beta_2
        0.999
    """

    learning_rate: float = 2e-5
    beta_2: float = 0.999
    warmup_rate: float = 0.1


@dataclass(frozen=True)
class FinetuneCheckpointSettings(CheckpointSettings):
    """As in pretraining; the best weights are kept as the preset, so that no checkpoint of them is.

    Raises:
        InputError: for a number below 1, or another `resume`.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import FinetuneCheckpointSettings
        >>> FinetuneCheckpointSettings(every_steps=100).keep_best
        False
    """

    keep_best: bool = False


@dataclass(frozen=True)
class FinetuneEvaluateSettings:
    """How often the validation files are measured.

    every_steps: between two measurements; once an epoch if not given.

    Raises:
        InputError: for a number below 1.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import FinetuneEvaluateSettings
        >>> FinetuneEvaluateSettings().every_steps is None
        True
    """

    every_steps: int | None = None

    def __post_init__(self) -> None:
        every = self.every_steps
        check("evaluate.every_steps must be at least 1", every is None or every >= 1, every)


@dataclass(frozen=True)
class FinetuneDivergenceSettings(DivergenceSettings):
    """As in pretraining, but for the loss: on a small file it falls to nearly nothing, and a multiple of that is no harm.

    Raises:
        InputError: for a number below 1, a factor that is not above 1, another action.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import FinetuneDivergenceSettings
        >>> FinetuneDivergenceSettings().loss_factor is None
        True
    """

    loss_factor: float | None = None


@dataclass(frozen=True)
class EmbeddingSettings:
    """How vectors of texts are made and compared, of task=embedding and task=similarity alone.

    pooling: "mean" of the tokens, "cls", the first token, or "max", the largest of each value. normalize: whether the preset gives vectors of length 1.
    temperature: what cosines are divided by in training with task=embedding. group_size: rows whose pairs are each other's negatives; all of a
    global batch if not given. It must divide the rows that a replica computes at once, so that the loss is the same however
    a batch is dealt.

    Raises:
        InputError: for another pooling, a temperature that is not above 0, a group of fewer than two rows.

    Source: Gao et al. 2021 (arXiv 2104.08821), section 2 (the temperature); Reimers and Gurevych 2019 (arXiv 1908.10084),
        section 3 (pooling).

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import EmbeddingSettings
        >>> EmbeddingSettings(pooling="cls").temperature
        0.05
    """

    pooling: str = "mean"
    normalize: bool = True
    temperature: float = 0.05
    group_size: int | None = None

    def __post_init__(self) -> None:
        check_choice("embedding.pooling", self.pooling, ("mean", "cls", "max"))
        check("embedding.temperature must be above 0", self.temperature > 0, self.temperature)
        check(
            "embedding.group_size must be at least 2", self.group_size is None or self.group_size >= 2, self.group_size
        )


@dataclass(frozen=True)
class FinetuneSettings:
    """One fine-tuning. The defaults are the middle of what BERT's paper searched for GLUE (Devlin et al. 2018, A.3).

    init_from: the preset to start from; directory: where everything goes; preset: where the best model goes,
    `directory`/preset if not given. name: what the run is called where several are looked at; that of its directory if not
    given. data: the files. task: "classification", "regression" (labels are numbers), "multi_label"
    (any number of labels a text), "token_classification" (a class a word), "question_answering" (answers within a text) or
    "embedding" (pairs of texts that belong together) or "similarity" (pairs and how similar they are, -1 to 1). metric: what decides which weights are best; the first of the task's
    if not given. objective: module:function for a loss of one's own; that of the task if not given. distill: learns from a teacher,
    fine-tuned to the same task, too; nothing of it if not given. seed: of the new head, the order and dropout.
    sequence_length: the most tokens of an example; the rest of it is cut off; 128 or the model's positions if not given.
    patience: evaluations without a better one after which it stops early. train, optimizer, checkpoint, evaluate,
    divergence, cluster, log: groups of settings, with the names of a pretraining's. embedding: of task=embedding and task=similarity.

    Raises:
        InputError: for an unknown choice, a number out of its bounds, labels of a regression, a loss of one's own beside a
            teacher.

    Source: Devlin et al. 2018 (arXiv 1810.04805), appendix A.3.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings
        >>> settings = FinetuneSettings("tiny/preset", "tiny/sst2", DataSettings("train.tsv", "sentence", "label"))
        >>> settings.deciding_metric, settings.optimizer.learning_rate
        ('accuracy', 2e-05)
    """

    init_from: str
    directory: str
    data: DataSettings
    preset: str | None = None
    name: str | None = None
    task: str = "classification"
    metric: str | None = None
    objective: str | None = None
    distill: DistillSettings | None = None
    seed: int = 0
    sequence_length: int | None = None
    patience: int = 3
    train: FinetuneTrainSettings = field(default_factory=FinetuneTrainSettings)
    optimizer: FinetuneOptimizerSettings = field(default_factory=FinetuneOptimizerSettings)
    checkpoint: FinetuneCheckpointSettings = field(default_factory=FinetuneCheckpointSettings)
    evaluate: FinetuneEvaluateSettings = field(default_factory=FinetuneEvaluateSettings)
    divergence: FinetuneDivergenceSettings = field(default_factory=FinetuneDivergenceSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    log: LogSettings = field(default_factory=LogSettings)
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)

    def __post_init__(self) -> None:
        check_choice("task", self.task, tuple(METRIC_NAMES))
        check_metric(self.deciding_metric, self.task)
        self._check_columns()
        check_objective(self.objective, self.distill)
        layers = None if self.distill is None else self.distill.init_student
        rule = "distill.init_student is for pretraining, a fine-tuning begins with init_from; leave it out"
        check(rule, layers is None, layers)
        check("seed must be from 0 to 2**32 - 1", 0 <= self.seed < 2**32, self.seed)
        check("patience must be at least 1", self.patience >= 1, self.patience)
        has_classes = self.task in ("classification", "multi_label", "token_classification")
        rule = f"data.labels are the names of classes, task={self.task} has none"
        check(rule, has_classes or not self.data.labels, self.data.labels)
        names = self.data.label_names()
        rule = "data.labels must name at least two classes"
        check(rule, self.task == "multi_label" or len(names) != 1, names)
        own = self.embedding
        rule = f"embedding is of task=embedding and task=similarity alone, task is {self.task}; leave it out"
        check(rule, self.task in ("embedding", "similarity") or own == EmbeddingSettings(), own)
        rule = "embedding.temperature and embedding.group_size are of task=embedding alone, task is similarity; leave them out"
        in_batch = (own.temperature, own.group_size) != (EmbeddingSettings.temperature, None)
        check(rule, self.task != "similarity" or not in_batch, own.temperature, own.group_size)

    def _check_columns(self) -> None:
        data = self.data
        needed: dict[str, object] = {"text": data.text, "label": data.label} if self.task in _TEXT_AND_LABEL else {}
        unused: dict[str, object] = {"text_pair": data.text_pair} if self.task == "token_classification" else {}
        if self.task in ("embedding", "similarity"):
            needed = {"text": data.text, "text_pair": data.text_pair}
            unused = {"test": data.test or None}
            (needed if self.task == "similarity" else unused)["label"] = data.label
        if self.task == "question_answering":
            unused = {"text": data.text, "text_pair": data.text_pair, "label": data.label}
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise InputError(
                f"task={self.task} needs the columns of its files, data.{missing[0]} is not given; name it, or number it from 0"
            )
        told = [name for name, value in unused.items() if value is not None]
        if told:
            raise InputError(f"task={self.task} has no use for data.{told[0]}, got {unused[told[0]]!r}; leave it out")

    @property
    def deciding_metric(self) -> str:
        return self.metric or METRIC_NAMES[self.task][0]

    def loop(self, num_rows: int, xla: bool) -> LoopSettings:
        """num_rows: that the training file makes, from which the steps follow; xla: where `train.xla` leaves it open.

        Raises InputError for more steps than can be counted on a device.
        """
        train = self.train
        return LoopSettings(
            steps=train.last_step(num_rows),
            seed=self.seed,
            xla=xla if train.xla is None else train.xla,
            recompute=train.recompute,
            steps_per_loop=train.steps_per_loop,
            evaluate_every_steps=self.evaluate.every_steps or math.ceil(num_rows / train.global_batch_size),
            optimizer=self.optimizer,
            checkpoint=self.checkpoint,
            divergence=self.divergence,
            log=self.log,
            hours=train.hours,
        )

    def course(self) -> dict[str, Any]:
        """Dotted key -> value of what decides the course of the run; the files' names do not, their content does."""
        fields = flattened(dataclasses.asdict(self))
        return {
            key: value
            for key, value in fields.items()
            if key not in _NO_PART_OF_THE_COURSE and key.split(".")[0] not in _NO_PART_OF_THE_COURSE
        }

    def to_yaml(self) -> str:
        """The settings as `load_finetune_config` reads them."""
        fields = dataclasses.asdict(self)
        fields["data"] = {k: list(v) if isinstance(v, tuple) else v for k, v in fields["data"].items()}
        return yaml.safe_dump(fields, sort_keys=False)


_NO_PART_OF_THE_COURSE = (
    *("directory", "preset", "name", "checkpoint", "divergence", "cluster", "log"),
    *("data.train", "data.validation", "data.test", "data.folder", TEACHER),
)

# The names of the first version, taken for one release.
RENAMED = {
    "epochs": "train.epochs",
    "batch_size": "train.global_batch_size",
    "xla": "train.xla",
    "dtype": "train.precision",
    "learning_rate": "optimizer.learning_rate",
    "warmup_rate": "optimizer.warmup_rate",
    "weight_decay": "optimizer.weight_decay",
    "clip_norm": "optimizer.clip_norm",
    "evaluate_every_steps": "evaluate.every_steps",
    "checkpoint_every_steps": "checkpoint.every_steps",
}


def load_finetune_config(
    name: str | None, changes: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> FinetuneSettings:
    """The configuration in a YAML file, or that of a task of GLUE ("glue/mrpc"), with changes on top.

    Args:
        name: the file, or "glue/NAME"; None where the changes are everything.
        changes: such as "train.epochs=5".
        values: dotted key -> value, as it is.

    Returns:
        The settings, checked.

    Raises:
        InputError: naming the key, for one that is unknown, missing, of another type or out of its bounds.

    Example:

        >>> from clozekit.model.training.settings.finetune_settings import load_finetune_config
        >>> settings = load_finetune_config("glue/mrpc", ["init_from=tiny/preset", "directory=tiny/mrpc", "train.epochs=5"])
        >>> settings.train.epochs, settings.deciding_metric
        (5.0, 'f1')
    """
    fields, source = read_given(None if name is None else ready_file(name))
    one_length(
        fields, [*changes, *(f"{RENAMED[key]}=" for key in [c.partition("=")[0] for c in changes] if key in RENAMED)]
    )
    apply_changes(fields, changes)
    for key, value in (values or {}).items():
        set_key(fields, key, value)
    return make_finetune_config(fields, name or source)


def make_finetune_config(fields: dict[str, Any], source: str) -> FinetuneSettings:
    """The configuration that the keys of its file make; source: whose they are, in an error. See `load_finetune_config`."""
    for line in rename_keys(fields, RENAMED):
        sys.stderr.write(f"note: {line}\n")
    return typing.cast(FinetuneSettings, make_settings(FinetuneSettings, fields, source, one_is_a_list=True))


def ready_file(name: str) -> str:
    """The file of this name, a path or a URL, or the ready configuration "glue/NAME"."""
    return find_ready_file(name, ready_files(GLUE_FOLDER, "glue/"), "the ready configurations")


def check_metric(name: str, task: str) -> None:
    """Raises InputError when `name` is no metric of the task, a key of METRIC_NAMES."""
    if name not in METRIC_NAMES[task]:
        raise InputError(f"the metric of a {task} must be one of {', '.join(METRIC_NAMES[task])}, got {name!r}")

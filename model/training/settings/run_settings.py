"""The configuration of a run: frozen groups of settings, checked before anything starts; files: `run_file.py`."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import yaml

from clozekit.model.reading.reader_settings import ReaderSettings
from clozekit.model.training.settings.loop_settings import (
    CheckpointSettings,
    ClusterSettings,
    DivergenceSettings,
    LogSettings,
    LoopSettings,
    OptimizerSettings,
    check_batches,
    check_count,
    flattened,
)
from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.settings.settings_files import check, check_choice

# Each is compiled anew.
MAX_RAMP_SIZES = 256


@dataclass(frozen=True)
class ModelSettings:
    """Family and dimensions; the defaults are BERT small's (Turc et al. 2019, arXiv 1908.08962) with 256 hidden.

    embedding_dim (128 if not given), num_groups and num_inner_repetitions are ALBERT's alone. preset: the name of a
    built-in preset, in a configuration file, stands for its family and dimensions, which may be changed beside it; no
    weights come with it (see `init_from`). vocabulary_multiple: the vocabulary is filled up to a multiple of it inside
    the model (Geiping and Goldstein 2022, arXiv 2212.14034), and cut again when the preset is saved.
    """

    family: str = "bert"
    preset: str | None = None
    vocabulary_multiple: int = 64
    num_layers: int = 4
    num_heads: int = 4
    hidden_dim: int = 256
    intermediate_dim: int = 1024
    dropout: float = 0.1
    embedding_dim: int | None = None
    num_groups: int = 1
    num_inner_repetitions: int = 1

    def __post_init__(self) -> None:
        check_choice("model.family", self.family, tuple(FAMILIES))
        shares = FAMILIES[self.family].shares_layers
        alone = (self.embedding_dim, self.num_groups, self.num_inner_repetitions)
        rule = "model.embedding_dim, num_groups and num_inner_repetitions belong to the family albert"
        check(rule, shares or alone == (None, 1, 1), alone, self.family)
        if self.preset is not None:
            check_choice("model.preset", self.preset, tuple(BUILTIN_PRESETS))
            family = BUILTIN_PRESETS[self.preset].family
            check(f"model.family must be {family} for the preset {self.preset}", self.family == family, self.family)
        for name in ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "vocabulary_multiple"):
            check(f"model.{name} must be at least 1", getattr(self, name) >= 1, getattr(self, name))
        divides = self.hidden_dim % self.num_heads == 0
        check("model.hidden_dim must be a multiple of model.num_heads", divides, self.hidden_dim, self.num_heads)
        check("model.dropout must be a rate from 0 to 1", 0 <= self.dropout < 1, self.dropout)

    def dimensions(self) -> dict[str, Any]:
        """Constructor arguments of the family's backbone."""
        names = ["num_layers", "num_heads", "hidden_dim", "intermediate_dim", "dropout"]
        shared = {name: getattr(self, name) for name in names}
        if not FAMILIES[self.family].shares_layers:
            return shared
        return {
            **shared,
            "embedding_dim": 128 if self.embedding_dim is None else self.embedding_dim,
            "num_groups": self.num_groups,
            "num_inner_repetitions": self.num_inner_repetitions,
        }


@dataclass(frozen=True)
class MaskingSettings:
    """Masking 30% in training and 15% in evaluation: Wettig et al. 2022 (arXiv 2202.08005) and the paper of BERT.

    strategy: what is masked in training: single tokens, whole_word, span (SpanBERT's) or ngram (ALBERT's); evaluation
    masks single tokens always, so that runs compare. num_slots: predictions a row has room for; as many as the rate can
    ask for if not given. What finds no room is counted in the log.
    """

    strategy: str = "token"
    num_slots: int | None = None
    train_rate: float = 0.3
    validation_rate: float = 0.15
    mask_token_rate: float = 0.8
    random_token_rate: float = 0.1

    def __post_init__(self) -> None:
        for name in ("train_rate", "validation_rate"):
            check(f"masking.{name} must be above 0 and at most 1", 0 < getattr(self, name) <= 1, getattr(self, name))
        check_choice("masking.strategy", self.strategy, ("token", "whole_word", "span", "ngram"))
        check("masking.num_slots must be at least 1", self.num_slots is None or self.num_slots >= 1, self.num_slots)
        for name in ("mask_token_rate", "random_token_rate"):
            check(f"masking.{name} must be a rate from 0 to 1", 0 <= getattr(self, name) <= 1, getattr(self, name))
        both = self.mask_token_rate + self.random_token_rate
        check("masking.mask_token_rate + masking.random_token_rate must be at most 1", both <= 1 + 1e-9, both)


@dataclass(frozen=True)
class PhaseSettings:
    """A part of a run with a dataset of its own, such as one of rows of 128 tokens before one of 512.

    What is not given is the run's own.
    """

    steps: int
    dataset: str | None = None
    global_batch_size: int | None = None
    micro_batch_size: int | None = None

    def __post_init__(self) -> None:
        check("the steps of a phase must be at least 1", self.steps >= 1, self.steps)


@dataclass(frozen=True)
class BatchRampSettings:
    """Small batches first: from `first_batch_size` rows to the full batch in `num_sizes` equal steps of growth, over the
    first `steps` steps. Each size is compiled anew, so a few are enough."""

    first_batch_size: int
    steps: int
    num_sizes: int = 4

    def __post_init__(self) -> None:
        for name in ("first_batch_size", "steps"):
            check(f"train.batch_ramp.{name} must be at least 1", getattr(self, name) >= 1, getattr(self, name))
        most = min(self.steps, MAX_RAMP_SIZES)
        check(f"train.batch_ramp.num_sizes must be from 1 to {most}", 1 <= self.num_sizes <= most, self.num_sizes)


@dataclass(frozen=True)
class TrainSettings:
    """How long and in which portions.

    xla: compile forward, backward and update. On the CPU too: 2.4 s of CPU time a step where the plain graph took 2.9 (the
    default model, 32 rows of 128, no dropout, 2 cores).
    steps_per_loop: steps between two looks of the controller at the device. micro_batch_size: rows that a replica
    computes at once. hours: ends the run, with the learning rate at its end, when it has trained that long, counted over
    all its starts; `steps` is then the most it may do. phases: their steps add up to `steps`. precision: float32 or
    mixed_bfloat16 (weights and the optimizer's state stay float32).
    """

    steps: int = 1000
    global_batch_size: int = 64
    micro_batch_size: int | None = None
    steps_per_loop: int = 20
    xla: bool = True
    precision: str = "float32"
    hours: float | None = None
    batch_ramp: BatchRampSettings | None = None
    phases: tuple[PhaseSettings, ...] = ()

    def __post_init__(self) -> None:
        check_count("train.steps", self.steps)
        check_batches(self.global_batch_size, self.micro_batch_size, self.steps_per_loop)
        check("train.hours must be above 0", self.hours is None or self.hours > 0, self.hours)
        check_choice("train.precision", self.precision, ("float32", "mixed_bfloat16"))
        if self.phases:
            total = sum(phase.steps for phase in self.phases)
            check("the steps of train.phases must add up to train.steps", total == self.steps, total, self.steps)


@dataclass(frozen=True)
class EvaluateSettings:
    """How often, and on how many rows, the validation split is looked at."""

    every_steps: int = 200
    max_rows: int = 1024

    def __post_init__(self) -> None:
        for name in ("every_steps", "max_rows"):
            check(f"evaluate.{name} must be at least 1", getattr(self, name) >= 1, getattr(self, name))


@dataclass(frozen=True)
class RunSettings:
    """One run. dataset: a directory that `clozekit prepare` wrote; directory: where everything of the run goes.

    tokenizer: checked against the dataset when given; the dataset's own otherwise. preset: where the trained model goes,
    `directory`/preset when not given. init_from: a preset or a checkpoint of another run, whose weights this one begins
    with; a run that has checkpoints of its own goes on from them and does not look at it.
    """

    dataset: str
    directory: str
    tokenizer: str | None = None
    preset: str | None = None
    init_from: str | None = None
    seed: int = 0
    model: ModelSettings = field(default_factory=ModelSettings)
    reader: ReaderSettings = field(default_factory=ReaderSettings)
    masking: MaskingSettings = field(default_factory=MaskingSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    divergence: DivergenceSettings = field(default_factory=DivergenceSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    log: LogSettings = field(default_factory=LogSettings)

    def __post_init__(self) -> None:
        check("seed must be from 0 to 2**32 - 1", 0 <= self.seed < 2**32, self.seed)

    def to_yaml(self) -> str:
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False)

    def loop(self) -> LoopSettings:
        return LoopSettings(
            steps=self.train.steps,
            seed=self.seed,
            xla=self.train.xla,
            steps_per_loop=self.train.steps_per_loop,
            evaluate_every_steps=self.evaluate.every_steps,
            optimizer=self.optimizer,
            checkpoint=self.checkpoint,
            divergence=self.divergence,
            log=self.log,
            hours=self.train.hours,
        )

    def course(self) -> dict[str, Any]:
        """Dotted key -> value of what decides the course of the run; where things stand and how often the run is looked
        at do not."""
        return {
            key: value
            for key, value in flattened(dataclasses.asdict(self)).items()
            if key.split(".")[0] not in _NO_PART_OF_THE_COURSE
            and key not in ("reader.on_damage", "reader.check_shards")
        }


_NO_PART_OF_THE_COURSE = (
    "directory",
    "dataset",
    "tokenizer",
    "preset",
    "checkpoint",
    "evaluate",
    "divergence",
    "cluster",
    "log",
)

"""The configuration of a run: frozen groups of settings, checked before anything starts; files: `run_file.py`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from clozekit.model.reading.reader_settings import ReaderSettings
from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.settings.settings_files import check, check_choice

# Each draws its own random numbers for dropout from the room that a step has.
MAX_MICRO_BATCHES = 256
# Each is compiled anew.
MAX_RAMP_SIZES = 256
# More are a mistake in an environment: the largest published runs had some thousands of hosts.
MAX_WORKERS = 10_000


@dataclass(frozen=True)
class ModelSettings:
    """Family and dimensions; the defaults are BERT small's (Turc et al. 2019, arXiv 1908.08962) with 256 hidden.

    family: whose backbone. preset: the name of a built-in preset, in a configuration file, stands for its family and
    dimensions, which may be changed beside it; no weights come with it (see `init_from`). vocabulary_multiple: the vocabulary is
    filled up to a multiple of it inside the model (Geiping and Goldstein 2022, arXiv 2212.14034), and cut again when the preset
    is saved. num_layers, num_heads: blocks, and attention heads in each. hidden_dim, intermediate_dim: values of a hidden state,
    and of the layer inside a feed-forward layer. dropout: a rate. embedding_dim, num_groups, num_inner_repetitions: ALBERT's
    alone; embedding_dim is 128 if not given.

    Raises:
        InputError: for an unknown family or preset, a number below 1, a hidden_dim that num_heads does not divide, ALBERT's
            settings for another family.

    Example:

        >>> from clozekit.model.training.settings.run_settings import ModelSettings
        >>> ModelSettings("albert", hidden_dim=128).dimensions()["embedding_dim"]
        128
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
    ask for if not given. What finds no room is counted in the log. train_rate, validation_rate: shares of a row's tokens that
    are selected. mask_token_rate, random_token_rate: shares of those that become the mask token, and a random one.

    Raises:
        InputError: for a rate out of its bounds, another strategy, shares that add up to more than 1.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1; Wettig et al. 2022 (arXiv 2202.08005) for the 30%.

    Example:

        >>> from clozekit.model.training.settings.run_settings import MaskingSettings
        >>> MaskingSettings(strategy="whole_word").train_rate
        0.3
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

    steps: how long it is. dataset, global_batch_size, micro_batch_size: what is not given is the run's own.

    Raises:
        InputError: for a phase without a step.

    Example:

        >>> from clozekit.model.training.settings.run_settings import PhaseSettings, TrainSettings
        >>> phases = (PhaseSettings(900, "rows-128"), PhaseSettings(100, "rows-512", global_batch_size=16))
        >>> TrainSettings(steps=1000, phases=phases).phases[1].dataset
        'rows-512'
    """

    steps: int
    dataset: str | None = None
    global_batch_size: int | None = None
    micro_batch_size: int | None = None

    def __post_init__(self) -> None:
        check("the steps of a phase must be at least 1", self.steps >= 1, self.steps)


@dataclass(frozen=True)
class BatchRampSettings:
    """Small batches first, growing to the full batch in equal steps. Each size is compiled anew, so a few are enough.

    first_batch_size: rows of the first batches. steps: how long it takes. num_sizes: sizes on the way.

    Raises:
        InputError: for a number below 1, or more sizes than steps.

    Example:

        >>> from clozekit.model.training.settings.run_settings import BatchRampSettings, TrainSettings
        >>> TrainSettings(batch_ramp=BatchRampSettings(first_batch_size=16, steps=100)).batch_ramp.num_sizes
        4
    """

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

    steps: updates of the weights. global_batch_size: rows of a step, on all devices together.
    micro_batch_size: rows that a replica computes at once. steps_per_loop: steps between two looks of the controller at the
    device.
    xla: compile forward, backward and update. On the CPU too: 2.4 s of CPU time a step where the plain graph took 2.9 (the
    default model, 32 rows of 128, no dropout, 2 cores).
    precision: float32 or mixed_bfloat16 (weights and the optimizer's state stay float32).
    hours: ends the run, with the learning rate at its end, when it has trained that long, counted over
    all its starts; `steps` is then the most it may do. batch_ramp: small batches first. phases: their steps add up to `steps`.

    Raises:
        InputError: for a number out of its bounds, a batch that micro_batch_size does not divide, phases that don't add up.

    Example:

        >>> from clozekit.model.training.settings.run_settings import TrainSettings
        >>> TrainSettings(global_batch_size=256, micro_batch_size=100)
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: train.global_batch_size must be a multiple of train.micro_batch_size, got
        256 and 100
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
        for name in ("steps", "global_batch_size", "steps_per_loop"):
            value = getattr(self, name)
            check(f"train.{name} must be at least 1", value >= 1, value)
            # As int32 it goes to the device.
            check(f"train.{name} must be below 2**31", value < 2**31, value)
        check("train.hours must be above 0", self.hours is None or self.hours > 0, self.hours)
        check_choice("train.precision", self.precision, ("float32", "mixed_bfloat16"))
        if self.phases:
            total = sum(phase.steps for phase in self.phases)
            check("the steps of train.phases must add up to train.steps", total == self.steps, total, self.steps)
        micro = self.global_batch_size if self.micro_batch_size is None else self.micro_batch_size
        divides = micro >= 1 and self.global_batch_size % micro == 0
        check(
            "train.global_batch_size must be a multiple of train.micro_batch_size",
            divides,
            self.global_batch_size,
            micro,
        )
        pieces = self.global_batch_size // micro
        check(f"a step has at most {MAX_MICRO_BATCHES} micro-batches", pieces <= MAX_MICRO_BATCHES, pieces)


# An optimizer is a file of that name.
OPTIMIZERS = tuple(
    sorted(
        path.stem
        for path in (Path(__file__).parents[1] / "optimizers").glob("*.py")
        if path.stem not in ("__init__", "optimizer")
    )
)
SCHEDULES = ("linear", "polynomial", "cosine", "warmup_stable_decay", "one_cycle")


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW or LAMB. betas and epsilon as MosaicBERT's recipe has them; no decay on norms and biases.

    name: adamw or lamb. learning_rate: the peak. beta_1, beta_2, epsilon, weight_decay: of the rule. clip_norm: the global
    norm that gradients are clipped to.
    schedule: after a linear warm-up over the share warmup_rate of the run, down to final_rate of the peak: in a straight
    line, as a polynomial of decay_power, as half a cosine, or not before the last decay_rate of the run and then by
    1 - square root (warmup_stable_decay). one_cycle has its own rise. warmup_rate, decay_rate, final_rate: shares, 0 to 1.
    decay_power: of the polynomial.

    Raises:
        InputError: for an unknown rule or schedule, or a number out of its bounds.

    Example:

        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> OptimizerSettings("lamb", schedule="warmup_stable_decay").beta_2
        0.98
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.98
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    schedule: str = "linear"
    warmup_rate: float = 0.06
    decay_power: float = 2.0
    decay_rate: float = 0.1
    final_rate: float = 0.0

    def __post_init__(self) -> None:
        check_choice("optimizer.name", self.name, OPTIMIZERS)
        check_choice("optimizer.schedule", self.schedule, SCHEDULES)
        for name in ("learning_rate", "clip_norm", "decay_power", "epsilon"):
            check(f"optimizer.{name} must be above 0", getattr(self, name) > 0, getattr(self, name))
        check("optimizer.weight_decay must be at least 0", self.weight_decay >= 0, self.weight_decay)
        for name in ("warmup_rate", "decay_rate", "final_rate"):
            check(f"optimizer.{name} must be a rate from 0 to 1", 0 <= getattr(self, name) <= 1, getattr(self, name))
        for name in ("beta_1", "beta_2"):
            check(f"optimizer.{name} must be in [0, 1)", 0 <= getattr(self, name) < 1, getattr(self, name))


@dataclass(frozen=True)
class CheckpointSettings:
    """How often a checkpoint is written, how many are kept, whether a run goes on from them.

    every_steps: between two of them.
    keep: the newest ones; keep_best: also the one with the lowest validation loss, written whenever an evaluation is
    the best so far. background: files are written while training goes on, for a copy of the state in host memory.
    resume: auto goes on from the newest checkpoint of `directory` if there is one, required refuses to begin anew,
    never refuses to touch a directory that has checkpoints.

    Raises:
        InputError: for a number below 1, or another `resume`.

    Example:

        >>> from clozekit.model.training.settings.run_settings import CheckpointSettings
        >>> CheckpointSettings(every_steps=100, keep=1).keep_best
        True
    """

    every_steps: int = 500
    keep: int = 2
    keep_best: bool = True
    background: bool = True
    resume: str = "auto"

    def __post_init__(self) -> None:
        for name in ("every_steps", "keep"):
            check(f"checkpoint.{name} must be at least 1", getattr(self, name) >= 1, getattr(self, name))
        check_choice("checkpoint.resume", self.resume, ("auto", "required", "never"))


@dataclass(frozen=True)
class DivergenceSettings:
    """When training has gone wrong, and what is done then.

    num_bad_steps: it has when so many steps in a row were skipped for a gradient that is no number. loss_factor: or when the mean
    loss of the last window_steps is above this many times the lowest such mean of the run (None: never). window_steps: steps of
    such a mean. action: stop names the last good checkpoint; go_back returns to it and goes on behind the rows that were read
    since. max_returns: how often at most.

    Raises:
        InputError: for a number below 1, a factor that is not above 1, another action.

    Example:

        >>> from clozekit.model.training.settings.run_settings import DivergenceSettings
        >>> DivergenceSettings(loss_factor=None, action="go_back").max_returns
        3
    """

    num_bad_steps: int = 20
    loss_factor: float | None = 2.0
    window_steps: int = 200
    action: str = "stop"
    max_returns: int = 3

    def __post_init__(self) -> None:
        for name in ("num_bad_steps", "window_steps", "max_returns"):
            check(f"divergence.{name} must be at least 1", getattr(self, name) >= 1, getattr(self, name))
        factor = self.loss_factor
        check("divergence.loss_factor must be above 1", factor is None or factor > 1, factor)
        check_choice("divergence.action", self.action, ("stop", "go_back"))


@dataclass(frozen=True)
class ClusterSettings:
    """On which devices and workers a run trains; normally the environment says it all.

    strategy: one_device, mirrored (all GPUs, or num_cpu_devices logical CPUs), multi_worker, tpu. num_cpu_devices: logical CPUs.
    environment: whose
    variables to believe; none is a process alone. port: where workers listen, where the environment leaves it open.
    num_workers: where the environment does not say how many there are (an Indexed Job).

    Raises:
        InputError: for an unknown choice, or a number out of its bounds.

    Example:

        >>> from clozekit.model.training.settings.run_settings import ClusterSettings
        >>> ClusterSettings("mirrored", num_cpu_devices=2).environment
        'auto'
    """

    strategy: str = "auto"
    environment: str = "auto"
    num_workers: int | None = None
    num_cpu_devices: int = 1
    port: int | None = None

    def __post_init__(self) -> None:
        check_choice("cluster.strategy", self.strategy, ("auto", "one_device", "mirrored", "multi_worker", "tpu"))
        check_choice(
            "cluster.environment",
            self.environment,
            ("auto", "none", "vertex", "tf_config", "slurm", "jobset", "indexed_job", "tpu"),
        )
        check(
            "cluster.num_workers must be at least 1",
            self.num_workers is None or self.num_workers >= 1,
            self.num_workers,
        )
        check("cluster.num_workers must be at most 10,000", (self.num_workers or 1) <= MAX_WORKERS, self.num_workers)
        devices = self.num_cpu_devices
        check("cluster.num_cpu_devices must be from 1 to 256", 1 <= devices <= 256, devices)
        check("cluster.port must be from 1 to 65535", self.port is None or 1 <= self.port <= 65535, self.port)


@dataclass(frozen=True)
class LogSettings:
    """What the log needs to know of the machine.

    peak_teraflops: of one device, at the precision it trains in, for
    MFU; price_per_hour: of all workers together, in any currency.

    Raises:
        InputError: for a number that is not above 0.

    Example:

        >>> from clozekit.model.training.settings.run_settings import LogSettings
        >>> LogSettings(peak_teraflops=989).price_per_hour is None
        True
    """

    peak_teraflops: float | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name in ("peak_teraflops", "price_per_hour"):
            value = getattr(self, name)
            check(f"log.{name} must be above 0", value is None or value > 0, value)


@dataclass(frozen=True)
class EvaluateSettings:
    """How often, and on how many rows, the validation split is looked at.

    every_steps: between two looks. max_rows: the first so many rows of the split.

    Raises:
        InputError: for a number below 1.

    Example:

        >>> from clozekit.model.training.settings.run_settings import EvaluateSettings
        >>> EvaluateSettings(every_steps=50).max_rows
        1024
    """

    every_steps: int = 200
    max_rows: int = 1024

    def __post_init__(self) -> None:
        for name in ("every_steps", "max_rows"):
            check(f"evaluate.{name} must be at least 1", getattr(self, name) >= 1, getattr(self, name))


@dataclass(frozen=True)
class RunSettings:
    """One run of `clozekit train`.

    dataset: a directory that `clozekit prepare` wrote; directory: where everything of the run goes.
    tokenizer: checked against the dataset when given; the dataset's own otherwise. preset: where the trained model goes,
    `directory`/preset when not given. init_from: a preset or a checkpoint of another run, whose weights this one begins
    with; a run that has checkpoints of its own goes on from them and does not look at it. seed: of weights, order, masks and
    dropout. model, reader, masking, train, optimizer, checkpoint, evaluate, divergence, cluster, log: groups of settings.

    Raises:
        InputError: for a seed that is not from 0 to 2**32 - 1.

    Example:

        >>> from clozekit.model.training.settings.run_settings import RunSettings, TrainSettings
        >>> settings = RunSettings("tiny/dataset", "tiny/run", train=TrainSettings(steps=200))
        >>> settings.course()["train.steps"]
        200
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
        """The settings as `load_config` reads them."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False)

    def course(self) -> dict[str, Any]:
        """Dotted key -> value of what decides the course of the run; where things stand and how often the run is looked
        at do not."""
        return {
            key: value
            for key, value in _flatten(dataclasses.asdict(self)).items()
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


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, tuple):
            # As JSON has it. The dataset of a phase is known by its hash.
            value = [
                {k: v for k, v in part.items() if k != "dataset"} if isinstance(part, dict) else part for part in value
            ]
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value})
    return flat

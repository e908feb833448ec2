"""The groups of settings that pretraining and fine-tuning have alike: optimizer, checkpoints, distillation, cluster, log."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clozekit.tokenizers.settings.settings_files import check, check_choice

# Each draws its own random numbers for dropout from the room that a step has.
MAX_MICRO_BATCHES = 256
# More are a mistake in an environment: the largest published runs had some thousands of hosts.
MAX_WORKERS = 10_000

# An optimizer is a file of that name.
OPTIMIZERS = tuple(
    sorted(
        path.stem
        for path in (Path(__file__).parents[1] / "optimizers").glob("*.py")
        if path.stem not in ("__init__", "optimizer")
    )
)
# What stands for a function of the user's own.
_OWN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
# How long a run is, in one of these.
LENGTHS = ("steps", "epochs", "tokens", "hours")
# As int32 steps are counted on the device.
MAX_STEPS = 2**31 - 1
# A tracker is a file of that name.
TRACKERS = tuple(
    sorted(path.stem.removesuffix("_tracker") for path in (Path(__file__).parents[1] / "watching").glob("*_tracker.py"))
)
# What the teacher is decides the course of a run, not where it lies.
TEACHER = "distill.teacher"
# Layers of the teacher that a student can begin with.
STUDENT_LAYERS = ("every_other",)
SCHEDULES = ("linear", "polynomial", "cosine", "warmup_stable_decay", "one_cycle", "constant")


@dataclass(frozen=True)
class GroupSettings:
    """What is otherwise for some of the variables.

    match: a regular expression that is found in their paths, such as embeddings or transformer_layer_0/. rate_factor: what the
    learning rate is multiplied by for them; 0 leaves them as they are. weight_decay: theirs, for norms and biases too; as for the others if not given. name: the
    optimizer that they have, as in `optimizer.name`; the same as the others if not given.

    Raises:
        InputError: for what is no regular expression, an unknown optimizer, or a number below 0.

    Example:

        >>> from clozekit.model.training.settings.loop_settings import GroupSettings, OptimizerSettings
        >>> slow = GroupSettings("embeddings", rate_factor=0.5)
        >>> OptimizerSettings("lion", groups=(slow,)).groups[0].rate_factor
        0.5
    """

    match: str
    rate_factor: float = 1.0
    weight_decay: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            check(f"optimizer.groups: match must be a regular expression ({error})", False, self.match)
        check("optimizer.groups: rate_factor must be at least 0", self.rate_factor >= 0, self.rate_factor)
        decay = self.weight_decay
        check("optimizer.groups: weight_decay must be at least 0", decay is None or decay >= 0, decay)
        if self.name is not None:
            check_choice_or_own("optimizer.groups: name", self.name, OPTIMIZERS)


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are changed. betas and epsilon as MosaicBERT's recipe has them; no decay on norms and biases.

    name: adamw, lamb, stable_adamw, lion, muon, adafactor, or module:function for a rule of one's own. muon is for the kernels of
    the layers, the rest has adamw; lion wants a rate three to ten times lower and a decay as much higher than adamw, adafactor one
    near 0.01, relative to each variable. learning_rate: the peak. beta_1, beta_2, epsilon, weight_decay: of the rule.
    momentum: of muon. clip_norm: the global norm that gradients are clipped to; null: they are not. groups: what is otherwise for variables
    whose paths match; of several the first counts.
    schedule: after a linear warm-up over the share warmup_rate of the run, down to final_rate of the peak: in a straight
    line, as a polynomial of decay_power, as half a cosine, or not before the last decay_rate of the run and then by
    1 - square root (warmup_stable_decay). one_cycle has its own rise. constant stays at the peak, for runs without an end to go by. module:function is a schedule of one's own. warmup_rate, decay_rate, final_rate: shares, 0 to 1.
    decay_power: of the polynomial. ema_decay: keeps a running average of the weights, to which each update adds 1 - ema_decay of
    the new ones (more at first: with n updates behind it keeps at most n / (n + 9)); evaluations, the preset and whoever
    loads a checkpoint have the average then, training goes on from the weights themselves. None: no average.

    Raises:
        InputError: for an unknown rule or schedule, or a number out of its bounds.

    Source: ema_decay: Polyak and Juditsky 1992; Izmailov et al. 2018 (arXiv 1803.05407) for averages of neural networks.

    Example:

        >>> from clozekit.model.training.settings.loop_settings import OptimizerSettings
        >>> OptimizerSettings("lamb", schedule="warmup_stable_decay").beta_2
        0.98
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.98
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    momentum: float = 0.95
    clip_norm: float | None = 1.0
    schedule: str = "linear"
    warmup_rate: float = 0.06
    decay_power: float = 2.0
    decay_rate: float = 0.1
    final_rate: float = 0.0
    ema_decay: float | None = None
    groups: tuple[GroupSettings, ...] = ()

    def __post_init__(self) -> None:
        check_choice_or_own("optimizer.name", self.name, OPTIMIZERS)
        check_choice_or_own("optimizer.schedule", self.schedule, SCHEDULES)
        for name in ("learning_rate", "decay_power", "epsilon"):
            value = getattr(self, name)
            check(f"optimizer.{name} must be above 0 and finite", 0 < value < math.inf, value)
        clip = self.clip_norm
        check("optimizer.clip_norm must be above 0, or null for no clipping", clip is None or clip > 0, clip)
        check("optimizer.weight_decay must be at least 0", self.weight_decay >= 0, self.weight_decay)
        for name in ("warmup_rate", "decay_rate", "final_rate"):
            check(f"optimizer.{name} must be a rate from 0 to 1", 0 <= getattr(self, name) <= 1, getattr(self, name))
        decay = self.ema_decay
        check("optimizer.ema_decay must be above 0 and below 1", decay is None or 0 < decay < 1, decay)
        for name in ("beta_1", "beta_2", "momentum"):
            check(f"optimizer.{name} must be in [0, 1)", 0 <= getattr(self, name) < 1, getattr(self, name))


@dataclass(frozen=True)
class DistillSettings:
    """A teacher, whose outputs are learned from beside the labels.

    teacher: a preset, or a run or a checkpoint of it, of the same tokenizer and with the same head; it is not trained. temperature:
    what the logits of both are divided by in the distillation loss, which is multiplied by its square; numbers and cosines have
    none. weight: of the distillation loss, 0 to 1; the rest is that of the usual loss. init_student: every_other begins a
    pretraining with layers 0, 2, 4 and so on of the teacher, and with its embeddings and its head: the student then has the
    teacher's sizes and half of its layers; random weights if not given.

    Raises:
        InputError: for a temperature that is not above 0, a weight that is not from 0 to 1, another init_student.

    Source: Hinton et al. 2015 (arXiv 1503.02531), section 2; init_student: Sanh et al. 2019, section 2, "Student
        initialization", one layer out of two. Temperature 2 and equal weights are the defaults of the scripts of
        DistilBERT's authors (Sanh et al. 2019, arXiv 1910.01108).

    Example:

        >>> from clozekit.model.training.settings.loop_settings import DistillSettings
        >>> DistillSettings("bert_base_en_uncased", weight=0.7).temperature
        2.0
    """

    teacher: str
    temperature: float = 2.0
    weight: float = 0.5
    init_student: str | None = None

    def __post_init__(self) -> None:
        if self.init_student is not None:
            check_choice("distill.init_student", self.init_student, STUDENT_LAYERS)
        check("distill.temperature must be above 0", self.temperature > 0, self.temperature)
        check("distill.weight must be from 0 to 1", 0 <= self.weight <= 1, self.weight)


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

        >>> from clozekit.model.training.settings.loop_settings import CheckpointSettings
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

        >>> from clozekit.model.training.settings.loop_settings import DivergenceSettings
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

        >>> from clozekit.model.training.settings.loop_settings import ClusterSettings
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
    """What the log needs to know of the machine, and where its numbers go besides.

    trackers: wandb (Weights & Biases), mlflow, or module:function for what makes a Callback of one's own. peak_teraflops: of one device, at the precision it trains in, for
    MFU; price_per_hour: of all workers together, in any currency.

    Raises:
        InputError: for a number that is not above 0, or another tracker.

    Example:

        >>> from clozekit.model.training.settings.loop_settings import LogSettings
        >>> LogSettings(peak_teraflops=989).price_per_hour is None
        True
    """

    peak_teraflops: float | None = None
    price_per_hour: float | None = None
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for tracker in self.trackers:
            check_choice_or_own("log.trackers", tracker, TRACKERS)
        check("log.trackers must name each once", len({*self.trackers}) == len(self.trackers), list(self.trackers))
        for name in ("peak_teraflops", "price_per_hour"):
            value = getattr(self, name)
            check(f"log.{name} must be above 0", value is None or value > 0, value)


@dataclass(frozen=True)
class LoopSettings:
    """What the loop of a run and its step go by, whatever is trained: what the settings of all kinds of runs come to.

    steps: the last one; hours: what the run may take if not None, counted over all its starts. steps_per_loop: steps
    between two looks of the controller at the device; evaluate_every_steps: between two evaluations. is_endless: the learning
    rate has no end to go by, it rises and stays. recompute: blocks keep their inputs alone for the backward pass.
    """

    steps: int
    seed: int
    xla: bool
    steps_per_loop: int
    evaluate_every_steps: int
    optimizer: OptimizerSettings
    checkpoint: CheckpointSettings
    divergence: DivergenceSettings
    log: LogSettings
    hours: float | None = None
    is_endless: bool = False
    recompute: bool = False


def check_batches(global_batch_size: int, micro_batch_size: int | None, steps_per_loop: int) -> None:
    """Raises InputError unless a global batch divides into a sound number of micro-batches."""
    check_count("train.global_batch_size", global_batch_size)
    check_count("train.steps_per_loop", steps_per_loop)
    micro = global_batch_size if micro_batch_size is None else micro_batch_size
    divides = micro >= 1 and global_batch_size % micro == 0
    check("train.global_batch_size must be a multiple of train.micro_batch_size", divides, global_batch_size, micro)
    pieces = global_batch_size // micro
    check(f"a step has at most {MAX_MICRO_BATCHES} micro-batches", pieces <= MAX_MICRO_BATCHES, pieces)


def check_choice_or_own(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises InputError unless `value` is one of the choices, or can name a function of the user's own."""
    rule = f"{name} must be {', '.join(choices)}{' or ' if choices else ''}module:function"
    check(rule, value in choices or _OWN.fullmatch(value) is not None, value)


def check_objective(objective: str | None, distill: DistillSettings | None, choices: Sequence[str] = ()) -> None:
    """Raises InputError unless an objective is one of the choices or can name a function of the user's own, or where there is a
    teacher beside it."""
    if objective is not None:
        check_choice_or_own("objective", objective, choices)
        rule = "objective and distill are two losses, a run has one of them"
        check(
            rule, distill is None, objective, advice="leave one out; an objective of your own can ask a teacher itself"
        )


def check_lengths(given: Mapping[str, float | None]) -> None:
    """Raises InputError unless exactly one of the lengths of a run, by their names, is given and it can be one."""
    there = {name: value for name, value in given.items() if value is not None}
    for name, value in there.items():
        if name == "steps":
            check_count("train.steps", int(value))
        check(f"train.{name} must be above 0", value > 0, value)
    *others, last = (f"train.{name}" for name in given)
    rule = f"a run has one length, in {', '.join(others)} or {last}"
    received = [f"train.{name}={value:g}" for name, value in there.items()]
    check(rule, len(there) == 1, *received, advice="leave the others out")


def one_length(fields: dict[str, Any], changes: Sequence[str]) -> None:
    """Takes the length of the file out of the nested `fields` where a change such as "train.epochs=3" gives one in another
    unit."""
    keys = [change.partition("=") for change in changes]
    changed = {key.removeprefix("train.") for key, _, value in keys if key.startswith("train.") and value != "null"}
    train = fields.get("train")
    if changed & {*LENGTHS} and isinstance(train, dict):
        for name in {*LENGTHS} - changed:
            train.pop(name, None)


def check_count(name: str, value: int) -> None:
    check(f"{name} must be at least 1", value >= 1, value)
    # As int32 it goes to the device.
    check(f"{name} must be below 2**31", value < 2**31, value)


def flattened(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of nested settings, as the state file of a checkpoint gives it back."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, tuple):
            # As JSON has it. The dataset of a phase is known by its hash; a rate that is not given was no key once.
            value = [
                {k: v for k, v in part.items() if k != "dataset" and (k, v) != ("mask_rate", None)}
                if isinstance(part, dict)
                else part
                for part in value
            ]
        flat.update(flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value})
    return flat

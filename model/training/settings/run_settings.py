"""The configuration of a run: frozen groups of settings, checked before anything starts; files: `run_file.py`."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import yaml

from clozekit.model.reading.reader_settings import ReaderSettings
from clozekit.model.training.settings import follow_settings
from clozekit.model.training.settings.follow_settings import FollowSettings
from clozekit.model.training.settings.loop_settings import (
    LENGTHS,
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
    check_choice_or_own,
    check_lengths,
    check_objective,
    flattened,
)
from clozekit.model.training.settings.replaced_settings import ReplacedSettings
from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.settings.settings_files import check, check_choice

DEFAULT_STEPS = 1000
# What a run may minimise besides the masked-LM loss alone.
PAIRS, REPLACED = "pairs", "replaced"
OBJECTIVES = (PAIRS, REPLACED)
# Each is compiled anew.
MAX_RAMP_SIZES = 256


@dataclass(frozen=True)
class ModelSettings:
    """Family and dimensions: those of `init_from`, or BERT mini's, where they are not given.

    Of `init_from` only dropout may be another: with anything else its weights would be those of another function.

    family: whose backbone; from scratch bert. preset: the name of a built-in preset, in a configuration file, stands for its
    family and dimensions, which may be changed beside it; no weights come with it (see `init_from`). vocabulary_multiple: the
    vocabulary is filled up to a multiple of it inside the model (Geiping and Goldstein 2022, arXiv 2212.14034), and cut again when
    the preset is saved. num_layers, num_heads: blocks, and attention heads in each; from scratch 4 and 4. hidden_dim,
    intermediate_dim: values of a hidden state, and of the layer inside a feed-forward layer; from scratch 256 and 1024. dropout: a
    rate; from scratch 0.1, and one for all where it is given. embedding_dim: ALBERT's and ELECTRA's alone, 128 if not given.
    num_groups, num_inner_repetitions: ALBERT's alone. attention_window, global_rope_base, local_rope_base: ModernBERT's alone: tokens that
    a local layer sees, half to each side, and bases of the rotary positions in the other layers and in the local ones; 128, 160,000
    and 10,000 if not given. bucket_size, max_relative_positions: DeBERTa V3's alone: distances up to half of the first are told apart, farther
    ones share positions on a scale that ends at the second; 256 and max_sequence_length if not given. activation: of the feed-forward layers, gelu, gelu_approximate, relu, silu or tanh.
    layer_norm_epsilon: of the normalisations; both are the family's own if not given. max_sequence_length: rows of the position
    table, as many as the longest row has tokens if not given; rows may be shorter. extend_positions: repeat makes the table of
    `init_from` longer, for longer rows: row i of the new table is row i modulo n of the old one, which had n. initializer_range:
    standard deviation of the fresh kernels and embeddings of a model from scratch, 0.02 if not given, which is made for 768 hidden
    values: a narrow model learns sooner from a wider one, with higher learning rates (0.06 for 128 values, see docs/benchmarks.md).

    Raises:
        InputError: for an unknown family, preset or activation, a number below 1, a hidden_dim that num_heads does not divide,
            ALBERT's, ELECTRA's, ModernBERT's or DeBERTa V3's settings for another family.

    Source: BERT mini: Turc et al. 2019 (arXiv 1908.08962); windows and bases: Warner et al. 2024 (arXiv 2412.13663); extend_positions: Beltagy et al. 2020 (arXiv 2004.05150),
        section 5, "Position Embeddings".

    Example:

        >>> from clozekit.model.training.settings.run_settings import ModelSettings
        >>> ModelSettings("albert", hidden_dim=128).dimensions()["embedding_dim"]
        128
    """

    family: str | None = None
    preset: str | None = None
    vocabulary_multiple: int = 64
    num_layers: int | None = None
    num_heads: int | None = None
    hidden_dim: int | None = None
    intermediate_dim: int | None = None
    dropout: float | None = None
    embedding_dim: int | None = None
    num_groups: int | None = None
    num_inner_repetitions: int | None = None
    attention_window: int | None = None
    global_rope_base: float | None = None
    local_rope_base: float | None = None
    bucket_size: int | None = None
    max_relative_positions: int | None = None
    activation: str | None = None
    layer_norm_epsilon: float | None = None
    max_sequence_length: int | None = None
    extend_positions: str | None = None
    initializer_range: float | None = None

    def __post_init__(self) -> None:
        family = self.family
        if family is not None:
            check_choice("model.family", family, tuple(FAMILIES))
            groups = (self.num_groups, self.num_inner_repetitions)
            rule = "model.num_groups and num_inner_repetitions belong to the family albert"
            check(rule, FAMILIES[family].shares_layers or set(groups) <= {None, 1}, groups, family)
            with_width = [name for name, known in FAMILIES.items() if known.factorizes_embedding]
            width = self.embedding_dim
            rule = f"model.embedding_dim belongs to the families {' and '.join(with_width)}"
            check(rule, family in with_width or width is None, width, family)
            near = tuple(getattr(self, name) for name in _OF_WINDOWS)
            rule = f"model.{', '.join(_OF_WINDOWS[:-1])} and {_OF_WINDOWS[-1]} belong to the family modern_bert"
            check(rule, FAMILIES[family].has_windows or set(near) == {None}, near, family)
            far = tuple(getattr(self, name) for name in _OF_BUCKETS)
            rule = f"model.{' and '.join(_OF_BUCKETS)} belong to the family deberta_v3"
            check(rule, FAMILIES[family].has_buckets or set(far) == {None}, far, family)
        if self.preset is not None:
            check_choice("model.preset", self.preset, tuple(BUILTIN_PRESETS))
            of_preset = BUILTIN_PRESETS[self.preset].family
            check(f"model.family must be {of_preset} for the preset {self.preset}", family == of_preset, family)
        if self.activation is not None:
            check_choice("model.activation", self.activation, ACTIVATIONS)
        if self.extend_positions is not None:
            check_choice("model.extend_positions", self.extend_positions, ("repeat",))
        for name in ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "vocabulary_multiple"):
            self._check_least(name, 1)
        self._check_least("max_sequence_length", 8)
        self._check_least("attention_window", 1)
        self._check_least("bucket_size", 2)
        self._check_least("max_relative_positions", 1)
        for name in ("global_rope_base", "local_rope_base"):
            base = getattr(self, name)
            check(f"model.{name} must be above 0", base is None or base > 0, base)
        spread = self.initializer_range
        check("model.initializer_range must be above 0 and at most 1", spread is None or 0 < spread <= 1, spread)
        hidden, heads = self.hidden_dim, self.num_heads
        if hidden is not None and heads is not None:
            check("model.hidden_dim must be a multiple of model.num_heads", hidden % heads == 0, hidden, heads)
        dropout, epsilon = self.dropout, self.layer_norm_epsilon
        check("model.dropout must be a rate from 0 to 1", dropout is None or 0 <= dropout < 1, dropout)
        check("model.layer_norm_epsilon must be above 0 and below 1", epsilon is None or 0 < epsilon < 1, epsilon)

    def _check_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        check(f"model.{name} must be at least {least}", value is None or value >= least, value)

    def from_scratch(self) -> "ModelSettings":
        """With the dimensions of a model from scratch where none are given; checked once more."""
        missing = {name: value for name, value in _FROM_SCRATCH.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)

    def dimensions(self) -> dict[str, Any]:
        """Constructor arguments of the backbone of a model from scratch, but for those of its vocabulary and positions."""
        model = self.from_scratch()
        names = ["num_layers", "num_heads", "hidden_dim", "intermediate_dim", "dropout"]
        names += [
            name
            for name in ("activation", "layer_norm_epsilon", *_OF_WINDOWS, *_OF_BUCKETS)
            if getattr(self, name) is not None
        ]
        shared = {name: getattr(model, name) for name in names}
        known = FAMILIES[str(model.family)]
        if known.factorizes_embedding:
            shared["embedding_dim"] = 128 if self.embedding_dim is None else self.embedding_dim
        if known.shares_layers:
            shared |= {"num_groups": model.num_groups, "num_inner_repetitions": model.num_inner_repetitions}
        return shared


# Settings of the families whose layers have windows.
_OF_WINDOWS = ("attention_window", "global_rope_base", "local_rope_base")
# And of those whose relative positions stand in buckets.
_OF_BUCKETS = ("bucket_size", "max_relative_positions")
# What a backbone may have; it imports Keras, which settings do without.
ACTIVATIONS = ("gelu", "gelu_approximate", "relu", "silu", "tanh")
_FROM_SCRATCH: dict[str, Any] = {
    "family": "bert",
    "num_layers": 4,
    "num_heads": 4,
    "hidden_dim": 256,
    "intermediate_dim": 1024,
    "dropout": 0.1,
    "num_groups": 1,
    "num_inner_repetitions": 1,
}


@dataclass(frozen=True)
class MaskingSettings:
    """Masking 30% in training and 15% in evaluation: Wettig et al. 2022 (arXiv 2202.08005) and the paper of BERT.

    strategy: what is masked in training: single tokens, whole_word, span (SpanBERT's), ngram (ALBERT's), or what a function of
    one's own selects (module:function); evaluation masks single tokens always, so that runs compare. num_slots: predictions a row has room for; as many as the rate can
    ask for if not given. What finds no room is counted in the log. train_rate, validation_rate: shares of a row's tokens that
    are selected; a phase of `train.phases` may have another. final_rate: at the last step, where the share goes from train_rate to it in a
    straight line, by steps; train_rate throughout if not given. mask_token_rate, random_token_rate: shares of those that become the mask token, and a random one.

    Raises:
        InputError: for a rate out of its bounds, another strategy, shares that add up to more than 1.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1; Wettig et al. 2022 (arXiv 2202.08005) for the 30%; Ankner et al. 2023
        (arXiv 2305.15096) for the line, from 30% to 15% there.

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
    final_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("train_rate", "validation_rate", "final_rate"):
            rate = getattr(self, name)
            check(f"masking.{name} must be above 0 and at most 1", rate is None or 0 < rate <= 1, rate)
        check_choice_or_own("masking.strategy", self.strategy, ("token", "whole_word", "span", "ngram"))
        check("masking.num_slots must be at least 1", self.num_slots is None or self.num_slots >= 1, self.num_slots)
        for name in ("mask_token_rate", "random_token_rate"):
            check(f"masking.{name} must be a rate from 0 to 1", 0 <= getattr(self, name) <= 1, getattr(self, name))
        both = self.mask_token_rate + self.random_token_rate
        check("masking.mask_token_rate + masking.random_token_rate must be at most 1", both <= 1 + 1e-9, both)

    @property
    def highest_rate(self) -> float:
        """The highest share of tokens that is masked in training."""
        return max(self.train_rate, self.final_rate or 0.0)


@dataclass(frozen=True)
class PhaseSettings:
    """A part of a run with a dataset of its own, such as one of rows of 128 tokens before one of 512.

    steps: how long it is. dataset, global_batch_size, micro_batch_size: what is not given is the run's own. mask_rate: the share of
    tokens that are masked in it; masking.train_rate if not given.

    Raises:
        InputError: for a phase without a step, a rate out of its bounds.

    Source: mask_rate: Marone et al. 2025 (arXiv 2509.06888), which mask 30%, 15% and 5% in three phases.

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
    mask_rate: float | None = None

    def __post_init__(self) -> None:
        check("the steps of a phase must be at least 1", self.steps >= 1, self.steps)
        rate = self.mask_rate
        check("the mask_rate of a phase must be above 0 and at most 1", rate is None or 0 < rate <= 1, rate)


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

    steps, epochs, tokens, hours: how long the run is, in one of them; 1,000 steps if none is given. steps: updates of the
    weights. epochs: passes over the training split. tokens: real tokens read, padding not counted. Epochs and tokens become
    steps once, by the rows and tokens of the dataset. hours: ends the run, with the learning rate at its end, when it has trained
    that long, counted over all its starts: the clock decides how far the schedule is, and a checkpoint keeps what was used.
    global_batch_size: rows of a step, on all devices together.
    micro_batch_size: rows that a replica computes at once. steps_per_loop: steps between two looks of the controller at the
    device.
    xla: compile forward, backward and update. On the CPU too: 2.4 s of CPU time a step where the plain graph took 2.9 (the
    default model, 32 rows of 128, no dropout, 2 cores).
    precision: float32 or mixed_bfloat16 (weights and the optimizer's state stay float32).
    recompute: keep of each block its inputs alone for the backward pass and make the rest anew: a third of the memory for a fifth
    to two fifths more time.
    batch_ramp: small batches first. phases: their steps add up to `steps`, which they decide where it is not given.

    Raises:
        InputError: for a number out of its bounds, two lengths, a batch that micro_batch_size does not divide, phases that
            don't add up.

    Example:

        >>> from clozekit.model.training.settings.run_settings import TrainSettings
        >>> TrainSettings(global_batch_size=256, micro_batch_size=100)
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: train.global_batch_size must be a multiple of train.micro_batch_size, got
        256 and 100
    """

    steps: int | None = None
    epochs: float | None = None
    tokens: int | None = None
    hours: float | None = None
    global_batch_size: int = 64
    micro_batch_size: int | None = None
    steps_per_loop: int = 20
    xla: bool = True
    precision: str = "float32"
    recompute: bool = False
    batch_ramp: BatchRampSettings | None = None
    phases: tuple[PhaseSettings, ...] = ()

    def __post_init__(self) -> None:
        total = sum(phase.steps for phase in self.phases)
        if self.length is None:
            object.__setattr__(self, "steps", total or DEFAULT_STEPS)
        check_lengths({name: getattr(self, name) for name in LENGTHS})
        check_batches(self.global_batch_size, self.micro_batch_size, self.steps_per_loop)
        check_choice("train.precision", self.precision, ("float32", "mixed_bfloat16"))
        if self.phases:
            rule = "train.phases say how many steps there are, so the length of the run is in steps"
            check(f"{rule} too", self.steps is not None, f"train.{self.length}", advice="leave it out")
            check("the steps of train.phases must add up to train.steps", total == self.steps, total, self.steps)

    @property
    def length(self) -> str | None:
        """What the length of the run is given in."""
        return next((name for name in LENGTHS if getattr(self, name) is not None), None)

    @property
    def last_step(self) -> int:
        """At which the run ends; with hours the last one that can be counted. Epochs and tokens have to be steps by then."""
        if self.hours is not None:
            return MAX_STEPS
        if self.steps is None:
            raise ValueError(f"train.{self.length} is not in steps yet; in_steps of run_length.py converts it")
        return self.steps


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
    name: what the run is called where several are looked at; that of its directory if not given. tokenizer: checked against the dataset when given; the dataset's own otherwise. preset: where the trained model goes,
    `directory`/preset when not given. init_from: a preset, or a run or a checkpoint of it, whose model this one begins with:
    its architecture and its weights, and the dataset must be of its tokenizer; a run that has checkpoints of its own goes on
    from them and does not look at it. seed: of weights, order, masks and
    dropout. objective: pairs adds to the mean loss of the masked tokens the mean loss of sentence pairs, of next sentences or of their order as the
    dataset has them; replaced trains a generator of masked tokens and a discriminator that tells its samples (ELECTRA, DeBERTa V3);
    module:function is a loss of one's own; cross-entropy of the masked tokens alone if not given, which evaluations
    measure always. replaced: sizes and weights of objective=replaced, and of no other; its paper's if not given. distill: learns from a teacher too; nothing of it if not given. follow: dataset is a stream that
    `clozekit stream` makes, and the run takes its new windows as they come; nothing of it if not given. model, reader, masking, train, optimizer, checkpoint,
    evaluate, divergence, cluster, log: groups of settings.

    Raises:
        InputError: for a seed that is not from 0 to 2**32 - 1, a loss of one's own beside a teacher, settings of another objective, or a stream that is followed
            with a length or a learning rate that goes by an end, model.initializer_range for weights that are not fresh.

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
    name: str | None = None
    seed: int = 0
    objective: str | None = None
    replaced: ReplacedSettings | None = None
    distill: DistillSettings | None = None
    follow: FollowSettings | None = None
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
        check_objective(self.objective, self.distill, OBJECTIVES)
        if self.objective == REPLACED:
            object.__setattr__(self, "replaced", self.replaced or ReplacedSettings())
        rule = "replaced.* are settings of objective=replaced"
        check(rule, self.replaced is None or self.objective == REPLACED, self.objective, advice="leave them out")
        rule = "replaced.generator goes beside the discriminator of init_from"
        check(rule, self.generator is None or self.init_from is not None, self.generator, advice="name that too")
        if self.masking.final_rate is not None:
            self._check_final_rate()
        if self.follow is not None:
            self._check_follow()
        if self.init_from is None:
            extends = self.model.extend_positions
            check("model.extend_positions is for the positions of init_from", extends is None, extends)
            if not self.begins_with_teacher:
                object.__setattr__(self, "model", self.model.from_scratch())
        else:
            rule = "init_from and distill.init_student both say what a run begins with; leave one out"
            check(rule, not self.begins_with_teacher, self.init_from)
        if self.init_from is not None or self.begins_with_teacher:
            spread = self.model.initializer_range
            rule = "model.initializer_range is for fresh weights, and this run begins with those of another model"
            check(rule, spread is None, spread, advice="leave it out")

    @property
    def generator(self) -> str | None:
        """The generator that the model begins with beside the discriminator of `init_from`; None: none of its own is named."""
        return None if self.replaced is None else self.replaced.generator

    @property
    def begins_with_teacher(self) -> bool:
        """Whether the model begins with layers of its teacher."""
        return self.distill is not None and self.distill.init_student is not None

    def _check_final_rate(self) -> None:
        rule = "masking.final_rate is the rate of the last step, so the length of the run must be known in steps"
        known = self.follow is None and self.train.hours is None
        received = "follow" if self.follow is not None else "train.hours"
        check(rule, known, received, advice="leave it out, or give train.steps, epochs or tokens")
        rates = [phase.mask_rate for phase in self.train.phases]
        rule = "masks go by masking.final_rate or by the mask_rate of phases, not by both"
        check(rule, set(rates) <= {None}, self.masking.final_rate, rates, advice="leave one out")

    def _check_follow(self) -> None:
        rule = "a stream that is followed has no end that is known before: "
        schedule, length, train = self.optimizer.schedule, self.train.length, self.train
        check(f"{rule}optimizer.schedule must be constant", schedule == "constant", schedule)
        check(
            f"{rule}the most that is trained must be in steps or hours", length in ("steps", "hours"), f"train.{length}"
        )
        check(
            "train.phases and train.batch_ramp are for datasets that are whole, not for follow",
            not train.phases and train.batch_ramp is None,
            "one of them",
        )

    def to_yaml(self) -> str:
        """The settings as `load_config` reads them."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False)

    def loop(self) -> LoopSettings:
        """What the loop and its step go by."""
        return LoopSettings(
            steps=self.train.last_step,
            seed=self.seed,
            xla=self.train.xla,
            recompute=self.train.recompute,
            steps_per_loop=self.train.steps_per_loop,
            evaluate_every_steps=self.evaluate.every_steps,
            optimizer=self.optimizer,
            checkpoint=self.checkpoint,
            divergence=self.divergence,
            log=self.log,
            hours=self.train.hours,
            is_endless=self.follow is not None,
        )

    def course(self) -> dict[str, Any]:
        """Dotted key -> value of what decides the course of the run; where things stand and how often the run is looked
        at do not."""
        return {
            key: value
            for key, value in flattened(dataclasses.asdict(self)).items()
            if key.split(".")[0] not in _NO_PART_OF_THE_COURSE
            and key not in ("reader.on_damage", "reader.check_shards", TEACHER, *follow_settings.NO_PART_OF_THE_COURSE)
        }


_NO_PART_OF_THE_COURSE = (
    "name",
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

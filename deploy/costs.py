"""What preparing a corpus and pretraining on it take: machine hours by formula, and money where prices are given."""

from collections.abc import Iterator
from dataclasses import dataclass

from clozekit.model.training.flops import Dimensions, training_flops_per_token
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS

# BENCHMARKS.md, "The pipeline": JSON lines to rows of 512, no cleaning, on one process.
CPU_SECONDS_PER_MB = 0.091
# The same table: 12,841,614 tokens of 40.6 MB (WordPiece, 30,522 pieces).
TOKENS_PER_BYTE = 0.316
PREDICTED_SHARE = 0.15
# Dense teraFLOPs a second in bfloat16 (T4: float16) of one device, as the makers publish them.
PEAK_TERAFLOPS = {
    "t4": 65.0,
    "l4": 121.0,
    "v100": 125.0,
    "a100": 312.0,
    "h100": 989.0,
    "tpu-v4": 275.0,
    "tpu-v5e": 197.0,
}


@dataclass(frozen=True)
class CostSettings:
    """What is asked for. corpus_gb: uncompressed text; utilization: share of the peak that the model's own FLOPs reach
    (MFU); overhead: CPU of a pipeline beyond what was measured: cleaning, shuffling between machines, idle cores. Prices
    are of an hour; None: not estimated."""

    corpus_gb: float
    model: str = "bert_base_en_uncased"
    epochs: float = 1.0
    sequence_length: int = 512
    accelerator: str = "a100"
    num_accelerators: int = 1
    utilization: float = 0.3
    num_vcpus: int = 16
    overhead: float = 2.0
    vcpu_price: float | None = None
    accelerator_price: float | None = None

    def __post_init__(self) -> None:
        for name in ("corpus_gb", "epochs", "sequence_length", "num_accelerators", "utilization", "num_vcpus"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}; raise it")
        if self.utilization > 1:
            raise InputError(f"utilization must be a share from 0 to 1, got {self.utilization}; 0.3 is 30%")
        if self.overhead < 1:
            raise InputError(f"overhead must be at least 1, got {self.overhead}; 1 is what was measured")
        for name, known in (("model", BUILTIN_PRESETS), ("accelerator", PEAK_TERAFLOPS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Costs:
    """What comes out; money is None where no price was given."""

    vcpu_hours: float
    prepare_hours: float
    tokens: float
    flops_per_token: float
    accelerator_hours: float
    train_hours: float
    prepare_price: float | None
    train_price: float | None


def estimate(options: CostSettings) -> Costs:
    """
    vCPU hours = MB x CPU-seconds a MB x overhead / 3600
    accelerator hours = bytes x tokens a byte x epochs x FLOPs a token / (peak FLOPs a second x utilization) / 3600
    """
    vcpu_hours = options.corpus_gb * 1000 * CPU_SECONDS_PER_MB * options.overhead / 3600
    tokens = options.corpus_gb * 1e9 * TOKENS_PER_BYTE * options.epochs
    flops = training_flops_per_token(dimensions_of(options.model), options.sequence_length, PREDICTED_SHARE)
    speed = PEAK_TERAFLOPS[options.accelerator] * 1e12 * options.utilization
    accelerator_hours = tokens * flops / speed / 3600
    return Costs(
        vcpu_hours,
        vcpu_hours / options.num_vcpus,
        tokens,
        flops,
        accelerator_hours,
        accelerator_hours / options.num_accelerators,
        None if options.vcpu_price is None else vcpu_hours * options.vcpu_price,
        None if options.accelerator_price is None else accelerator_hours * options.accelerator_price,
    )


def dimensions_of(model: str) -> Dimensions:
    """Of a built-in preset, whose weights are not needed."""
    config = BUILTIN_PRESETS[model].config
    return Dimensions(
        config["num_layers"],
        config["num_heads"],
        config["hidden_dim"],
        config["intermediate_dim"],
        config.get("embedding_dim", config["hidden_dim"]),
        config["vocabulary_size"],
        config["dropout"],
    )


def describe(options: CostSettings, costs: Costs) -> Iterator[str]:
    parameters = BUILTIN_PRESETS[options.model].parameters
    yield f"corpus       {options.corpus_gb:,g} GB of text, about {costs.tokens / options.epochs / 1e9:,.2f} billion tokens"
    yield f"model        {options.model}: {parameters / 1e6:,.1f} million parameters, {costs.flops_per_token / 1e6:,.1f} MFLOPs a token"
    yield (
        f"prepare      {costs.vcpu_hours:,.1f} vCPU hours: {costs.prepare_hours:,.2f} hours on {options.num_vcpus} vCPUs"
        + _money(costs.prepare_price)
    )
    yield (
        f"train        {options.epochs:g} epochs, {costs.tokens / 1e9:,.2f} billion tokens:"
        f" {costs.accelerator_hours:,.1f} {options.accelerator} hours, {costs.train_hours:,.1f} hours on"
        f" {options.num_accelerators}" + _money(costs.train_price)
    )
    yield (
        f"assumed      {CPU_SECONDS_PER_MB} CPU-seconds a MB x {options.overhead:g}, {TOKENS_PER_BYTE} tokens a byte, MFU"
        f" {options.utilization:.0%} of {PEAK_TERAFLOPS[options.accelerator]:g} TFLOPs/s; see deploy/COSTS.md"
    )


def _money(price: float | None) -> str:
    return "" if price is None else f", {price:,.2f} at the price given"

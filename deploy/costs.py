"""What preparing a corpus and pretraining on it take: machine hours by formula, and money where prices are given."""

from collections.abc import Iterator

from clozekit.deploy.cost_settings import PEAK_TERAFLOPS, Costs, CostSettings
from clozekit.model.training.flops import Dimensions, training_flops_per_token
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS

# BENCHMARKS.md, "The pipeline": JSON lines to rows of 512, no cleaning, on one process.
CPU_SECONDS_PER_MB = 0.091
# The same table: 12,841,614 tokens of 40.6 MB (WordPiece, 30,522 pieces).
TOKENS_PER_BYTE = 0.316
PREDICTED_SHARE = 0.15


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
    return Dimensions.of_settings(BUILTIN_PRESETS[model].config)


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

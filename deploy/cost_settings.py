"""What `clozekit costs` is asked and what it answers. It loads no model, so that `--help` answers at once."""

from dataclasses import dataclass

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS

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
    """What is asked for.

    corpus_gb: uncompressed text, in GB.
    model: a built-in preset of that size.
    epochs: times that training goes over the corpus.
    sequence_length: tokens of a row.
    accelerator: t4, l4, v100, a100, h100, tpu-v4 or tpu-v5e.
    num_accelerators: of all machines together.
    utilization: share of the peak that the model's own FLOPs reach (MFU).
    num_vcpus: vCPUs of all workers together.
    overhead: CPU of a pipeline beyond what was measured: cleaning, shuffling between machines, idle cores.
    vcpu_price: of a vCPU hour, its memory included; without it no money is estimated.
    accelerator_price: of an accelerator hour, its host included.
    """

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

"""FLOPs a token and memory of a training step, by formula, from a backbone's dimensions alone."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clozekit.model.common.long_rows import CHUNK_QUERIES, LONGEST_IN_FULL

if TYPE_CHECKING:
    # `costs` asks for formulas alone.
    from clozekit.model.common.tensors import Settings
    from clozekit.model.tasks.backbone import Backbone
    from clozekit.model.tasks.task import Task

# Kaplan et al. 2020 (arXiv 2001.08361, section 2.1): a product of (m, k) and (k, n) is 2mkn FLOPs, backward is twice
# forward. Chowdhery et al. 2022 (arXiv 2204.02311, appendix B): attention's own products count, recomputation does not.
FLOPS_FORMULA = (
    "3 x (L x (8 H^2 + 4 H I + 4 H T) + 2 E V m + 2 H E m [+ 2 E H]) a token: L layers of hidden size H, intermediate"
    " size I, rows of T tokens, vocabulary V of embeddings E, m the share of positions that are predicted, the last term"
    " where E is not H; ModernBERT: 6 H I, and of its local layers the tokens of a window for T, if these are fewer; DeBERTa V3 adds 4 H"
    " x the smaller of T and its buckets for each of its two scores by position; 2 FLOPs a"
    " multiplication and addition, 3 for forward and backward; a teacher adds the forward pass of"
    " its own sizes, 1 for 3; objective=pairs adds 3 x (2 H^2 + 4 H) for the pooler and the two classes at every token; objective=replaced adds the generator's sizes, with V and E in it alone, and 3 x (2 H^2 + 2 H) of the"
    " discriminator's head"
)
MFU_FORMULA = (
    "MFU = FLOPs a token x tokens a second, padding included / (devices x peak FLOPs a second of one). FLOPs a token = "
    + FLOPS_FORMULA
)
# Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1) count what a layer keeps for the backward pass, in bytes for
# 2-byte values: 34 T B H + 5 a T^2 B. The same values, with the width and intermediate size left open, and one layer
# more for what is at work at a time. Measured with XLA on a CPU (BERT of 4 x 512, 32 rows of 256, vocabulary 8,000): 2.8
# to 3.5 GB more than before the step, compiler included, where this gives 2.4 to 2.8.
MEMORY_FORMULA = (
    "weights and gradients 4 bytes each a parameter; the optimizer's state and running averages of the weights (ema_decay) as they are;"
    " kept for the backward pass: B x T x ((L + 1) x ((8 H + 2 I) x w + 2 a T x w + (2 H + a T) x d) + 3 E x w) + 3 B S V x 4 bytes: B rows, w bytes a value, a heads, d bytes a"
    " value for dropout's masks, 4 I with ModernBERT's gates, S prediction slots a row. Rows above 512 tokens go in chunks of 128"
    " queries: 12 a x 128 in place of what has a T. DeBERTa V3 has 4 a T x w more at work for each of its two scores by position, in chunks 3 a x 128 x 4."
    " With train.recompute 2 layers for L + 1, and L H x w. A teacher adds its weights, one layer at work and its logits: 4 bytes a"
    " parameter + B x T x (8 H + 2 I + 2 a T) x w + B S V x 4"
)


@dataclass(frozen=True)
class Dimensions:
    """What the formulas need of a backbone."""

    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int
    embedding_dim: int
    vocabulary_size: int
    dropout: float
    # ModernBERT's: whether feed-forward layers have a gate, how many layers look no further than a window, its tokens.
    is_gated: bool = False
    num_local_layers: int = 0
    window: int = 0
    # DeBERTa V3's: scores by relative position besides those by content, and the positions to each side.
    num_position_scores: int = 0
    span: int = 0

    @classmethod
    def of(cls, backbone: "Backbone") -> "Dimensions":
        return cls.of_settings(backbone.settings())

    @classmethod
    def of_settings(cls, settings: "Settings") -> "Dimensions":
        """Of a backbone with these constructor arguments."""
        # ALBERT repeats its layers, `num_inner_repetitions` of them at each of num_layers places.
        num_layers = settings["num_layers"] * settings.get("num_inner_repetitions", 1)
        sizes = cls(
            num_layers,
            settings["num_heads"],
            settings["hidden_dim"],
            settings["intermediate_dim"],
            settings["embedding_dim"] if "embedding_dim" in settings else settings["hidden_dim"],
            settings["vocabulary_size"],
            settings["dropout"],
        )
        if "bucket_size" in settings:
            span = settings["bucket_size"] or settings.get("max_relative_positions") or settings["max_sequence_length"]
            scores = len(settings.get("position_attention", "c2p|p2c").split("|"))
            return dataclasses.replace(sizes, num_position_scores=scores, span=span)
        window = settings.get("attention_window")
        if window is None:
            return sizes
        types = settings.get("layer_types")
        num_full = -(-num_layers // 3) if types is None else list(types).count("full_attention")
        local = num_layers - num_full
        return dataclasses.replace(sizes, is_gated=True, num_local_layers=local, window=2 * (window // 2) + 1)

    @property
    def feedforward_matrices(self) -> int:
        """Matrices of hidden_dim x intermediate_dim in a layer."""
        return 3 if self.is_gated else 2


def training_flops_per_token(sizes: Dimensions, row_length: int, predicted_share: float) -> float:
    """FLOPs of forward and backward for each position of a row, padding included; see FLOPS_FORMULA."""
    return 3.0 * forward_flops_per_token(sizes, row_length, predicted_share)


def task_flops_per_token(task: "Task", row_length: int, predicted_share: float) -> float:
    """FLOPs of a training step of a task for each position; a generator predicts, and its discriminator reads all again."""
    sizes, generator = Dimensions.of(task.backbone), getattr(task, "generator", None)
    if generator is None:
        # The pooler and the head of pairs work at every position.
        pairs = 0 if getattr(task, "pair_head", None) is None else 2 * sizes.hidden_dim**2 + 4 * sizes.hidden_dim
        return training_flops_per_token(sizes, row_length, predicted_share) + 3.0 * pairs
    both = training_flops_per_token(sizes, row_length, 0.0)
    both += training_flops_per_token(Dimensions.of(generator), row_length, predicted_share)
    return both + 3.0 * (2 * sizes.hidden_dim**2 + 2 * sizes.hidden_dim)


def forward_flops_per_token(sizes: Dimensions, row_length: int, predicted_share: float) -> float:
    """FLOPs of the forward pass alone."""
    h, i, e = sizes.hidden_dim, sizes.intermediate_dim, sizes.embedding_dim
    seen = (sizes.num_layers - sizes.num_local_layers) * row_length + sizes.num_local_layers * min(
        row_length, sizes.window
    )
    body = sizes.num_layers * (8 * h * h + 2 * sizes.feedforward_matrices * h * i) + 4 * h * seen
    body += sizes.num_layers * sizes.num_position_scores * 4 * h * min(row_length, sizes.span)
    head = predicted_share * (2 * e * sizes.vocabulary_size + 2 * h * e)
    projection = 0 if e == h else 2 * e * h
    return body + head + projection


@dataclass(frozen=True)
class Memory:
    """Bytes on a device, by what they hold; teacher: all of what a teacher takes, 0 where there is none."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    teacher: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.teacher


def training_memory(
    sizes: Dimensions,
    num_parameters: int,
    rows: int,
    row_length: int,
    num_slots: int,
    value_bytes: int = 4,
    is_recomputed: bool = False,
) -> Memory:
    """What one device holds in a step of `rows` rows (of one micro-batch); see MEMORY_FORMULA. An estimate: compilers
    keep less by fusing and more by padding.

    num_slots: positions of a row that are predicted; value_bytes: 4 for float32, 2 for bfloat16; is_recomputed: `train.recompute`.
    """
    h, a = sizes.hidden_dim, sizes.num_heads
    # Keras keeps dropout's masks as values of the layer's own type.
    mask_bytes = value_bytes if sizes.dropout else 0
    kept, at_work = (row_length, 0) if row_length <= LONGEST_IN_FULL else (0, 3 * a * CHUNK_QUERIES * 4)
    layer = (8 * h + _inner_values(sizes) + 2 * a * kept) * value_bytes + (2 * h + a * kept) * mask_bytes
    layers = sizes.num_layers * h * value_bytes + 2 * layer if is_recomputed else (sizes.num_layers + 1) * layer
    by_position = 4 * a * row_length * value_bytes if kept else 3 * a * CHUNK_QUERIES * 4
    at_work += sizes.num_position_scores * by_position
    body = rows * row_length * (layers + at_work + 3 * sizes.embedding_dim * value_bytes)
    # Logits, their softmax and its gradient, in float32.
    head = 3 * rows * num_slots * sizes.vocabulary_size * 4
    return Memory(4 * num_parameters, 4 * num_parameters, 8 * num_parameters, body + head)


def _inner_values(sizes: Dimensions) -> int:
    """Values that a feed-forward layer keeps for a token: before and behind the activation; with a gate this and the product too."""
    return (4 if sizes.is_gated else 2) * sizes.intermediate_dim


def teacher_memory(
    sizes: Dimensions, num_parameters: int, rows: int, row_length: int, num_slots: int, value_bytes: int = 4
) -> int:
    """Bytes that a teacher takes on one device, which keeps nothing for a backward pass; see MEMORY_FORMULA."""
    seen = row_length if row_length <= LONGEST_IN_FULL else CHUNK_QUERIES
    layer = (8 * sizes.hidden_dim + _inner_values(sizes) + 2 * sizes.num_heads * seen) * value_bytes
    return 4 * num_parameters + rows * row_length * layer + rows * num_slots * sizes.vocabulary_size * 4

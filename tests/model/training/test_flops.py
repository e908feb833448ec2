"""FLOPs and memory by formula against counts of the model's own matrices and published figures."""

import math

import keras
import pytest

from clozekit.model.families.family_table import family_named
from clozekit.model.training.flops import Dimensions, task_flops_per_token, training_flops_per_token, training_memory
from clozekit.tokenizers.common.family_names import FAMILIES

BASE = Dimensions(12, 12, 768, 3072, 768, 30522, 0.1)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_flops_are_two_for_each_weight_that_multiplies_a_token(family: str) -> None:
    """Without attention's own products: rows of length 0. ALBERT's one layer works three times."""
    kind = family_named(family)
    sizes = {"num_layers": 3, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 48, "vocabulary_size": 50}
    more = {"embedding_dim": 8} if FAMILIES[family].factorizes_embedding else {}
    with keras.StatelessScope(initialize_variables=False):
        task = kind.masked_lm(kind.backbone(max_sequence_length=8, dropout=0.0, **sizes, **more), compile=False)
        layers = [variable for layer in task.backbone.encoder_layers() for variable in layer.trainable_variables]
    kernels = [v.shape for v in layers if len(v.shape) > 1 and not v.path.endswith("bias")]
    weights = sum(math.prod(shape) for shape in kernels)
    width = 8 if FAMILIES[family].factorizes_embedding else 16
    head = 16 * width + width * 50
    projection = 16 * 8 if FAMILIES[family].factorizes_embedding else 0
    flops = training_flops_per_token(Dimensions.of(task.backbone), 0, 0.5)
    assert flops == 3 * 2 * (weights + 0.5 * head + projection)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_a_head_of_pairs_adds_the_weights_of_the_pooler_and_its_own(family: str) -> None:
    kind = family_named(family)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 48, "vocabulary_size": 50}
    more = {"embedding_dim": 8} if FAMILIES[family].factorizes_embedding else {}
    with keras.StatelessScope(initialize_variables=False):
        backbone = kind.backbone(max_sequence_length=8, dropout=0.0, **sizes, **more)
        plain, paired = (kind.masked_lm(backbone, pair_head=pairs, compile=False) for pairs in (False, True))
        weights = sum(math.prod(v.shape) for v in paired.pair_variables() if len(v.shape) > 1)
    assert task_flops_per_token(plain, 8, 0.5) == training_flops_per_token(Dimensions.of(backbone), 8, 0.5)
    assert task_flops_per_token(paired, 8, 0.5) - task_flops_per_token(plain, 8, 0.5) == 3 * 2 * weights


def test_bert_base_takes_218_million_flops_a_token_forward() -> None:
    """12 x 14.16 for the layers and 48 for the head on every token; attention at length 128 adds 4.7."""
    assert training_flops_per_token(BASE, 0, 1.0) / 3e6 == pytest.approx(217.9, abs=0.1)
    assert training_flops_per_token(BASE, 128, 0.0) / 3e6 == pytest.approx(169.9 + 4.7, abs=0.1)


def test_memory_is_korthikantis_for_two_byte_values() -> None:
    """34 T B H + 5 a T^2 B bytes a layer (arXiv 2205.05198, equation 1), whose dropout masks have one byte a value; ours
    have two, which adds 2 T B H + a T^2 B."""
    rows, length = 4, 64
    one = training_memory(BASE, 100, rows, length, 0, value_bytes=2).activations
    wide = Dimensions(13, 12, 768, 3072, 768, 30522, 0.1)
    layer = training_memory(wide, 100, rows, length, 0, value_bytes=2).activations - one
    assert layer == rows * length * 768 * (34 + 2) + rows * 12 * length**2 * (5 + 1)


def test_memory_counts_four_copies_of_the_weights_and_the_logits() -> None:
    memory = training_memory(BASE, 1000, 2, 8, 3)
    assert (memory.weights, memory.gradients, memory.optimizer) == (4000, 4000, 8000)
    without = training_memory(BASE, 1000, 2, 8, 0)
    assert memory.activations - without.activations == 3 * 2 * 3 * 30522 * 4
    assert memory.total == 16000 + memory.activations

"""The table of the built-in presets: every id of the seeds, and of KerasHub's ELECTRA and DeBERTa V3, and counts that follow from the configurations."""

from typing import Any

import pytest

from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS, BuiltinPreset, presets_of
from clozekit.tokenizers.tokenizer import Tokenizer

# Id -> version at Kaggle, and the count as the seeds' tables (DistilBERT's: KerasHub's) round it.
SEEDS = {
    "bert_tiny_en_uncased": (3, "4.39M"),
    "bert_small_en_uncased": (3, "28.76M"),
    "bert_medium_en_uncased": (3, "41.37M"),
    "bert_base_en_uncased": (3, "109.48M"),
    "bert_base_en": (3, "108.31M"),
    "bert_base_zh": (3, "102.27M"),
    "bert_base_multi": (3, "177.85M"),
    "bert_large_en_uncased": (3, "335.14M"),
    "bert_large_en": (3, "333.58M"),
    "bert_tiny_en_uncased_sst2": (5, "4.39M"),
    "distil_bert_base_en_uncased": (2, "66.36M"),
    "distil_bert_base_en": (2, "65.19M"),
    "distil_bert_base_multi": (2, "134.73M"),
    "roberta_base_en": (3, "124.05M"),
    "roberta_large_en": (3, "354.31M"),
    "xlm_roberta_base_multi": (3, "277.45M"),
    "xlm_roberta_large_multi": (3, "558.84M"),
    "albert_base_en_uncased": (5, "11.68M"),
    "albert_large_en_uncased": (3, "17.68M"),
    "albert_extra_large_en_uncased": (3, "58.72M"),
    "albert_extra_extra_large_en_uncased": (3, "222.60M"),
}
# KerasHub's.
ELECTRA = {
    "electra_small_discriminator_uncased_en": (2, "13.55M"),
    "electra_small_generator_uncased_en": (2, "13.55M"),
    "electra_base_discriminator_uncased_en": (2, "109.48M"),
    "electra_base_generator_uncased_en": (2, "33.58M"),
    "electra_large_discriminator_uncased_en": (2, "335.14M"),
    "electra_large_generator_uncased_en": (2, "51.07M"),
}
DEBERTA_V3 = {
    "deberta_v3_extra_small_en": (3, "70.68M"),
    "deberta_v3_small_en": (3, "141.30M"),
    "deberta_v3_base_en": (3, "183.83M"),
    "deberta_v3_large_en": (3, "434.01M"),
    "deberta_v3_base_multi": (3, "278.22M"),
}
ALL = {**SEEDS, **ELECTRA, **DEBERTA_V3}


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def encoder_layer(hidden: int, intermediate: int) -> int:
    """Query, key, value and output; two norms; the feed-forward pair."""
    return 4 * dense(hidden, hidden) + 2 * 2 * hidden + dense(hidden, intermediate) + dense(intermediate, hidden)


def count(family: str, config: dict[str, Any]) -> int:
    hidden, width = config["hidden_dim"], config.get("embedding_dim", config["hidden_dim"])
    positions = 2 * config["bucket_size"] if family == "deberta_v3" else config["max_sequence_length"]
    rows = config["vocabulary_size"] + positions + config.get("num_segments", 0)
    embeddings = rows * width + 2 * width
    # Of the relative positions.
    embeddings += 2 * width if family == "deberta_v3" else 0
    layer = encoder_layer(hidden, config["intermediate_dim"])
    if family == "albert":
        shared = layer * config["num_groups"] * config["num_inner_repetitions"]
        return embeddings + dense(width, hidden) + shared + dense(hidden, hidden)
    pooler = dense(hidden, hidden) if family in ("bert", "electra") else 0
    embeddings += dense(width, hidden) if width != hidden else 0
    return embeddings + config["num_layers"] * layer + pooler


def test_the_ids_are_those_of_the_seeds() -> None:
    assert list(BUILTIN_PRESETS) == list(ALL)


@pytest.mark.parametrize("preset", BUILTIN_PRESETS.values(), ids=lambda preset: preset.name)
def test_the_parameters_follow_from_the_configuration(preset: BuiltinPreset) -> None:
    version, rounded = ALL[preset.name]
    assert preset.parameters == count(preset.family, preset.config)
    assert f"{preset.parameters / 1e6:.2f}M" == rounded
    assert preset.handle == f"kaggle://keras/{preset.family}/keras/{preset.name}/{version}"


def test_presets_of_families_keep_the_order() -> None:
    assert list(presets_of(["xlm_roberta", "roberta"])) == [
        "roberta_base_en",
        "roberta_large_en",
        "xlm_roberta_base_multi",
        "xlm_roberta_large_multi",
    ]


def test_tokenizers_list_the_presets_of_their_family() -> None:
    assert list(XLMRobertaTokenizer.presets) == ["xlm_roberta_base_multi", "xlm_roberta_large_multi"]
    assert len(BertTokenizer.presets) == 10
    assert list(Tokenizer.presets) == list(ALL)

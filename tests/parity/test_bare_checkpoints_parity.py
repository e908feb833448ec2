"""What transformers' AutoModel saved, a body without a head, as a SavedModel and back in its own layout: the same outputs.

Needs the extra `parity`.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families
import tensorflow as tf

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from clozekit.deploy.convert import convert  # noqa: E402
from clozekit.tokenizers.common.family_names import FAMILIES  # noqa: E402
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer  # noqa: E402

POSITIONS = 24
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES: dict[str, dict[str, Any]] = {
    "distil_bert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "albert": {**SMALL, "embedding_size": 8},
    "roberta": {**SMALL, "type_vocab_size": 1},
    "xlm_roberta": {**SMALL, "type_vocab_size": 1},
    "deberta_v3": {
        **SMALL,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": "p2c|c2p",
        "position_buckets": 8,
    },
    # Its usual special tokens are far behind so small a vocabulary.
    "modern_bert": {
        **SMALL,
        "pad_token_id": 0,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1),
    },
}
NAMES = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}


def saved_body(family: str, directory: Path) -> Any:
    """transformers' model with its tokenizer; more rows than pieces, as most published checkpoints have."""
    tokenizer = small_families.tokenizer(family)
    prefix = small_families.family(family).huggingface.class_prefix or FAMILIES[family].prefix
    sizes = {"vocab_size": tokenizer.vocabulary_size() + 3, **SIZES.get(family, SMALL)}
    sizes["max_position_embeddings"] = POSITIONS + (2 if "roberta" in family else 0)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(getattr(transformers, f"{prefix}Config")(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(directory)
    write_huggingface_tokenizer(tokenizer, directory, POSITIONS)
    return model


def outputs_of(model: Any, rows: dict[str, np.ndarray]) -> Any:
    with torch.no_grad():
        return model(**{NAMES[name]: torch.tensor(value.astype(np.int64)) for name, value in rows.items()})


def is_close(ours: Any, theirs: Any, real: np.ndarray) -> bool:
    a, b = np.asarray(ours)[real], theirs.numpy()[real]
    return bool(np.abs(a - b).max() <= 1e-5 * np.abs(b).max())


@pytest.mark.parametrize("family", small_families.NAMES)
def test_a_body_alone_is_served_and_goes_back_as_it_was(family: str, tmp_path: Path) -> None:
    source = str(tmp_path / "theirs")
    model = saved_body(family, tmp_path / "theirs")
    rows = small_families.batch(family)
    rows.pop("mask_positions")
    # transformers counts RoBERTa's positions by what is no padding token; a text has none inside.
    pad = model.config.pad_token_id
    rows["token_ids"] = np.where(rows["padding_mask"], np.maximum(rows["token_ids"], 5), pad).astype("int32")
    real = rows["padding_mask"] > 0
    expected = outputs_of(model, rows)
    convert(source, str(tmp_path / "served"), "saved_model")
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    served = serve(**{name: tf.constant(value) for name, value in rows.items()})
    hidden = served["sequence_output"] if "sequence_output" in served else next(iter(served.values()))
    assert is_close(hidden, expected.last_hidden_state, real)
    if "pooled_output" in served:
        assert is_close(served["pooled_output"], expected.pooler_output, np.ones(len(real), bool))
    convert(source, str(tmp_path / "back"), "huggingface")
    shutil.rmtree(source)
    again, found = transformers.AutoModel.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert type(again) is type(model)
    has_pooler = {"bert", "albert"} & {family}
    missing = sorted(found["missing_keys"])
    assert missing == ([] if has_pooler else [key for key in missing if "pooler" in key])
    assert not found["unexpected_keys"] and not found["mismatched_keys"]
    assert is_close(outputs_of(again.eval(), rows).last_hidden_state, expected.last_hidden_state, real)

"""ModernBERT against transformers in the configurations that its files have, old and new, both ways. Needs the extra `parity`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from side_by_side import assert_close, logits_of, rows_of, theirs_of, with_random_weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from clozekit.model import (  # noqa: E402
    Backbone,
    MaskedLM,
    QuestionAnswerer,
    TextClassifier,
    TokenClassifier,
    save_huggingface,
)

LENGTH, VOCABULARY_SIZE = 40, 60
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 24,
    "num_hidden_layers": 7,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": LENGTH,
    "local_attention": 10,
    "pad_token_id": 0,
    **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1),
}
FULL, SLIDING = "full_attention", "sliding_attention"
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "biases everywhere": {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True},
    "biases of the norms": {"norm_bias": True},
    "layers of one's own": {"layer_types": [SLIDING, SLIDING, FULL, FULL, SLIDING, FULL, SLIDING]},
    "local layers alone": {"layer_types": [SLIDING] * 7, "local_attention": 3},
    "global layers alone": {"layer_types": [FULL] * 7},
    "every second layer": {"global_attn_every_n_layers": 2},
    "bases of transformers 5": {
        "rope_parameters": {
            FULL: {"rope_type": "default", "rope_theta": 80_000.0},
            SLIDING: {"rope_type": "default", "rope_theta": 500.0},
        }
    },
    "one base of transformers 5": {"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 1234.5}}},
    "bases of transformers 4": {"global_rope_theta": 20_000.0, "local_rope_theta": 3_000.0},
    "a padded vocabulary and an odd window": {"vocab_size": 64, "local_attention": 7},
    "other activations and epsilon": {"hidden_activation": "silu", "classifier_activation": "relu", "norm_eps": 1e-3},
    "gelu by tanh": {"hidden_activation": "gelu_pytorch_tanh", "classifier_activation": "gelu_new"},
    "no bias of the decoder": {"decoder_bias": False},
    "one layer with a window beyond the row": {
        "num_hidden_layers": 1,
        "layer_types": [SLIDING],
        "local_attention": 501,
    },
    "windows of a token alone": {"layer_types": [SLIDING] * 7, "local_attention": 1},
    "dropouts and sparse prediction": {
        "mlp_dropout": 0.1,
        "attention_dropout": 0.2,
        "embedding_dropout": 0.3,
        "classifier_dropout": 0.4,
        "sparse_prediction": True,
    },
}


def their_model(kind: str, **changes: Any) -> Any:
    config = transformers.ModernBertConfig(**{**SMALL, **changes})
    return with_random_weights(getattr(transformers, f"ModernBert{kind}")(config))


def batch() -> dict[str, np.ndarray]:
    return rows_of(LENGTH, VOCABULARY_SIZE)


@pytest.mark.filterwarnings("error:transformers will compute")
@pytest.mark.parametrize("changes", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_a_masked_lm_computes_the_same_both_ways(changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = their_model("ForMaskedLM", **changes)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = MaskedLM.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    real = batch()["padding_mask"] > 0
    expected = theirs_of(theirs, batch()).logits
    assert_close(logits_of(ours, batch()), expected, real)
    save_huggingface(ours, tmp_path / "ours")
    back, report = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    # Equal weights, and by another name at most another formula of GELU by tanh.
    assert_close(theirs_of(back.eval(), batch()).logits.detach().numpy(), expected)
    for name in (
        "layer_types",
        "rope_parameters",
        "local_attention",
        "mlp_dropout",
        "attention_dropout",
        "embedding_dropout",
    ):
        assert getattr(back.config, name) == getattr(theirs.config, name), name
    before, after = (load_file(tmp_path / place / "model.safetensors") for place in ("theirs", "ours"))
    assert before.keys() ^ after.keys() == (set() if changes.get("decoder_bias", True) else {"decoder.bias"})
    assert all((after[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("every", [1, 2, 3, 8])
def test_a_config_json_of_transformers_4_is_read_as_it_was_meant(every: int, tmp_path: Path) -> None:
    theirs = their_model(
        "ForMaskedLM", global_attn_every_n_layers=every, global_rope_theta=9_000.0, local_rope_theta=700.0
    )
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config = {key: value for key, value in config.items() if key not in ("layer_types", "rope_parameters")}
    config |= {"global_attn_every_n_layers": every, "global_rope_theta": 9_000.0, "local_rope_theta": 700.0}
    # What the published file has besides.
    config |= {
        "position_embedding_type": "absolute",
        "reference_compile": None,
        "layer_norm_eps": 1e-5,
        "gradient_checkpointing": False,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    assert_close(logits_of(ours, batch()), theirs_of(theirs, batch()).logits, batch()["padding_mask"] > 0)


@pytest.mark.parametrize(
    "changes", [{}, CONFIGURATIONS["biases everywhere"], {"classifier_activation": "tanh"}], ids=str
)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_classifier_computes_the_same_both_ways(pooling: str, changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = their_model(
        "ForSequenceClassification", classifier_pooling=pooling, num_labels=3, classifier_dropout=0.2, **changes
    )
    theirs.save_pretrained(tmp_path / "theirs")
    ours = TextClassifier.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    assert (ours.pooling, ours.dropout, ours.num_classes) == (pooling, 0.2, 3)
    expected = theirs_of(theirs, batch()).logits
    assert_close(ours(batch()), expected)
    save_huggingface(ours, tmp_path / "ours")
    back, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (theirs_of(back.eval(), batch()).logits == expected).all()
    assert back.config.classifier_pooling == pooling
    # KerasHub's layout, which is ours alone.
    ours.save_to_preset(str(tmp_path / "preset"))
    again = TextClassifier.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert (np.asarray(again(batch())) == np.asarray(ours(batch()))).all()


@pytest.mark.parametrize("changes", [{}, CONFIGURATIONS["biases everywhere"]], ids=["usual", "biases"])
@pytest.mark.parametrize(
    ("kind", "task"), [("ForTokenClassification", TokenClassifier), ("ForQuestionAnswering", QuestionAnswerer)]
)
def test_heads_on_tokens_compute_the_same_both_ways(
    kind: str, task: Any, changes: dict[str, Any], tmp_path: Path
) -> None:
    theirs = their_model(kind, classifier_dropout=0.3, **changes)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = task.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    assert ours.dropout == 0.3
    real = batch()["padding_mask"] > 0

    def outputs(model: Any) -> Any:
        found = theirs_of(model, batch())
        return (
            found.logits
            if kind == "ForTokenClassification"
            else torch.stack([found.start_logits, found.end_logits], -1)
        )

    assert_close(ours(batch()), outputs(theirs), real)
    save_huggingface(ours, tmp_path / "ours")
    back, report = getattr(transformers, f"ModernBert{kind}").from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (outputs(back.eval()) == outputs(theirs)).all()
    ours.save_to_preset(str(tmp_path / "preset"))
    again = task.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert (np.asarray(again(batch())) == np.asarray(ours(batch()))).all()


def test_a_bare_model_gives_its_hidden_states(tmp_path: Path) -> None:
    theirs = their_model("Model")
    theirs.save_pretrained(tmp_path)
    ours = Backbone.from_preset(str(tmp_path))
    assert_close(ours(batch()), theirs_of(theirs, batch()).last_hidden_state, batch()["padding_mask"] > 0)


def test_packed_documents_are_what_transformers_makes_of_each(tmp_path: Path) -> None:
    """Positions restart, windows end at the documents: against each document alone, there."""
    theirs = their_model("ForMaskedLM")
    theirs.save_pretrained(tmp_path)
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    ids = batch()["token_ids"][:1]
    lengths = (13, 1, 21)
    documents = np.repeat([1, 2, 3, 0], [*lengths, LENGTH - sum(lengths)])[None].astype(np.int32)
    hidden = ours.encode(
        {"token_ids": ids, "padding_mask": (documents > 0).astype(np.int32), "document_ids": documents}
    )
    place = 0
    for length in lengths:
        alone = theirs.model(input_ids=torch.tensor(ids[:, place : place + length].astype(np.int64))).last_hidden_state
        assert_close(hidden[:, place : place + length], alone)
        place += length

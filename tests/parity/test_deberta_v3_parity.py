"""DeBERTa V3 against transformers in the configurations that its files may have, both ways. Needs the extra `parity`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from side_by_side import assert_close, logits_of, rows_of, theirs_of, with_random_weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from foreign_tokenizers import FAMILIES, NASTY, SPACES, write_files  # noqa: E402

from clozekit.model import (  # noqa: E402
    Backbone,
    MaskedLM,
    QuestionAnswerer,
    TextClassifier,
    TokenClassifier,
    save_huggingface,
)
from clozekit.model.layers.relative_scores import distance_rows  # noqa: E402
from clozekit.tokenizers.common.errors import InputError  # noqa: E402

# Odd, and more than twice as long as the buckets tell apart.
LENGTH, VOCABULARY_SIZE = 43, 60
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": LENGTH,
    "type_vocab_size": 0,
    "pad_token_id": 0,
    # As the published ones are.
    "relative_attention": True,
    "position_biased_input": False,
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 16,
    "pooler_hidden_act": "gelu",
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "few buckets": {"position_buckets": 4},
    "one layer and head with two buckets": {
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "position_buckets": 2,
        "intermediate_size": 1,
    },
    "an odd number of buckets": {"position_buckets": 7},
    "buckets that end before the row does": {"max_relative_positions": 12},
    "buckets that end behind the row": {"max_relative_positions": 500},
    "more buckets than tokens": {"position_buckets": 256, "max_relative_positions": 512},
    "buckets of a row that is shorter than half of them": {"position_buckets": 256},
    "no buckets": {"position_buckets": -1},
    "no buckets and a near end": {"position_buckets": -1, "max_relative_positions": 9},
    "keys of one's own": {"share_att_key": False},
    "content to position": {"pos_att_type": ["c2p"]},
    "content to position with keys of one's own": {"pos_att_type": "c2p", "share_att_key": False},
    "position to content": {"pos_att_type": ["p2c"]},
    "position to content with queries of one's own": {"pos_att_type": ["p2c"], "share_att_key": False},
    "no norm of positions": {"norm_rel_ebd": "none"},
    "a padded vocabulary": {"vocab_size": 64},
    "other activations and epsilon": {"hidden_act": "silu", "pooler_hidden_act": "tanh", "layer_norm_eps": 1e-3},
    "gelu by tanh": {"hidden_act": "gelu_new", "pooler_hidden_act": "gelu_pytorch_tanh"},
    "dropouts": {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2},
    "the other form of the head": {"legacy": False},
}


def their_model(kind: str, **changes: Any) -> Any:
    config = transformers.DebertaV2Config(**{**SMALL, **changes})
    return with_random_weights(getattr(transformers, f"DebertaV2{kind}")(config))


def batch() -> dict[str, np.ndarray]:
    return rows_of(LENGTH, VOCABULARY_SIZE)


def test_distances_have_the_rows_that_transformers_gives_them() -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distances = torch.arange(-3000, 3001)
    for buckets in (2, 3, 4, 7, 10, 16, 32, 33, 64, 100, 256, 512):
        for most in (8, 16, 17, 33, 64, 100, 128, 256, 257, 512, 513, 1000, 2048, 8192):
            if most - 1 > buckets // 2:
                theirs = make_log_bucket_position(distances, buckets, most).to(torch.long) + buckets
                rows = distance_rows(buckets, most)
                ours = rows[np.clip(distances.numpy(), -(len(rows) // 2), len(rows) // 2) + len(rows) // 2]
                assert (ours == theirs.clamp(0, 2 * buckets - 1).numpy()).all(), (buckets, most)


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
        "position_buckets",
        "max_relative_positions",
        "share_att_key",
        "norm_rel_ebd",
        "pos_att_type",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "layer_norm_eps",
    ):
        assert getattr(back.config, name) == getattr(theirs.config, name), name
    before, after = (load_file(tmp_path / place / "model.safetensors") for place in ("theirs", "ours"))
    names = {name: name.replace("lm_predictions.lm_head.", "cls.predictions.transform.") for name in before}
    names |= {"lm_predictions.lm_head.bias": "cls.predictions.bias"} if "legacy" in changes else {}
    assert set(names.values()) == set(after)
    assert all((after[names[name]] == array).all() for name, array in before.items())
    # KerasHub's layout, where some of the settings are ours alone.
    ours.save_to_preset(str(tmp_path / "preset"))
    again = MaskedLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert (np.asarray(logits_of(again, batch())) == np.asarray(logits_of(ours, batch()))).all()


def test_a_checkpoint_of_the_authors_has_its_head_under_their_names(tmp_path: Path) -> None:
    """Their config.json says nothing of `legacy`, and transformers then begins another head anew."""
    theirs = their_model("ForMaskedLM", legacy=False)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in ("legacy", "architectures")}))
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    assert_close(logits_of(ours, batch()), theirs_of(theirs, batch()).logits, batch()["padding_mask"] > 0)


@pytest.mark.parametrize(
    "changes", [{}, {"pooler_hidden_act": "tanh"}, {"cls_dropout": 0.4, "pooler_dropout": 0.3}], ids=str
)
def test_a_classifier_computes_the_same_both_ways(changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = their_model("ForSequenceClassification", num_labels=3, **changes)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = TextClassifier.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    assert (ours.dropout, ours.num_classes) == (changes.get("pooler_dropout", 0.0), 3)
    assert ours.output_dropout.rate == changes.get("cls_dropout", 0.1)
    expected = theirs_of(theirs, batch()).logits
    assert_close(ours(batch()), expected)
    save_huggingface(ours, tmp_path / "ours")
    back, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (theirs_of(back.eval(), batch()).logits == expected).all()
    assert (back.dropout.p, back.pooler.dropout.p) == (theirs.dropout.p, theirs.pooler.dropout.p)
    ours.save_to_preset(str(tmp_path / "preset"))
    again = TextClassifier.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert (np.asarray(again(batch())) == np.asarray(ours(batch()))).all()
    assert again.output_dropout.rate == ours.output_dropout.rate


@pytest.mark.parametrize(
    ("kind", "task"), [("ForTokenClassification", TokenClassifier), ("ForQuestionAnswering", QuestionAnswerer)]
)
def test_heads_on_tokens_compute_the_same_both_ways(kind: str, task: Any, tmp_path: Path) -> None:
    theirs = their_model(kind, hidden_dropout_prob=0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = task.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    assert ours.dropout == (0.2 if kind == "ForTokenClassification" else 0.0)
    real = batch()["padding_mask"] > 0

    def outputs(model: Any) -> Any:
        found = theirs_of(model, batch())
        is_tokens = kind == "ForTokenClassification"
        return found.logits if is_tokens else torch.stack([found.start_logits, found.end_logits], -1)

    assert_close(ours(batch()), outputs(theirs), real)
    save_huggingface(ours, tmp_path / "ours")
    back, report = getattr(transformers, f"DebertaV2{kind}").from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (outputs(back.eval()) == outputs(theirs)).all()


def test_a_bare_model_gives_its_hidden_states(tmp_path: Path) -> None:
    theirs = their_model("Model")
    theirs.save_pretrained(tmp_path)
    ours = Backbone.from_preset(str(tmp_path))
    assert_close(ours(batch()), theirs_of(theirs, batch()).last_hidden_state, batch()["padding_mask"] > 0)


@pytest.mark.parametrize("name", ["as it comes", "no buckets", "buckets that end before the row does"])
def test_packed_documents_are_what_transformers_makes_of_each(name: str, tmp_path: Path) -> None:
    theirs = their_model("ForMaskedLM", **CONFIGURATIONS[name])
    theirs.save_pretrained(tmp_path)
    ours = MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    ids = batch()["token_ids"][:1]
    lengths = (13, 1, 24)
    documents = np.repeat([1, 2, 3, 0], [*lengths, LENGTH - sum(lengths)])[None].astype(np.int32)
    hidden = ours.encode(
        {"token_ids": ids, "padding_mask": (documents > 0).astype(np.int32), "document_ids": documents}
    )
    place = 0
    for length in lengths:
        alone = theirs.deberta(
            input_ids=torch.tensor(ids[:, place : place + length].astype(np.int64))
        ).last_hidden_state
        assert_close(hidden[:, place : place + length], alone)
        place += length


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relative_attention": False}, "relative_attention must be true, .* says False"),
        ({"position_biased_input": True}, "position_biased_input must be false, .* says True"),
        ({"type_vocab_size": 2}, "type_vocab_size must be 0, .* says 2"),
        ({"conv_kernel_size": 3}, "conv_kernel_size must be 0, .* says 3"),
        ({"pos_att_type": "c2p|p2c|p2p"}, "pos_att_type must be p2c|c2p, or one of the two"),
        ({"pos_att_type": None}, "pos_att_type must be p2c|c2p, or one of the two"),
        ({"norm_rel_ebd": "layer_norm|other"}, "norm_rel_ebd must be layer_norm or none"),
        ({"embedding_size": 8}, "embedding_size"),
        ({"pooler_hidden_size": 8}, "pooler_hidden_size must be 24"),
        ({"attention_head_size": 4}, "attention_head_size must be 8"),
        ({"position_buckets": 40, "max_relative_positions": 20}, "max_relative_positions must be above 21"),
        ({"share_att_key": "yes"}, "share_att_key must be true or false"),
        ({"position_buckets": 1.5}, "position_buckets must be a whole number"),
    ],
    ids=str,
)
def test_what_is_not_computed_is_refused_by_its_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    their_model("Model").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=message):
        Backbone.from_preset(str(tmp_path))


def test_a_folder_of_transformers_5_holds_no_model_of_its_tokenizer(tmp_path: Path) -> None:
    """`save_pretrained` of model and tokenizer: tokenizer.json alone, which says how texts are composed."""
    write_files(tmp_path / "theirs", FAMILIES["deberta_v3_composed"]())
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    theirs = their_model("ForMaskedLM", vocab_size=len(their_tokenizer))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = MaskedLM.from_preset(str(tmp_path / "theirs"))
    save_huggingface(ours, tmp_path / "ours")
    assert not list((tmp_path / "ours").glob("*.model"))
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    texts = [*NASTY, *SPACES]
    expected = their_tokenizer(texts)["input_ids"]
    assert back(texts)["input_ids"] == expected
    found = ours.preprocessor.tokenizer.encode_batch(texts, special_tokens_in_strings=True)
    rows = np.split(found.token_ids, np.cumsum(found.row_lengths)[:-1])
    assert [[1, *row.tolist(), 2] for row in rows] == expected
    ours.save_to_preset(str(tmp_path / "preset"))
    again = MaskedLM.from_preset(str(tmp_path / "preset"))
    assert again.preprocessor.tokenizer.sha256() == ours.preprocessor.tokenizer.sha256()

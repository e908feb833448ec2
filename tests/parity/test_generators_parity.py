"""A discriminator and its generator of every family in transformers, and the discriminator in KerasHub, which takes no head for it.

Needs the extra `parity`. ELECTRA's classes there are those of test_electra_parity.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families
from side_by_side import assert_close

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
keras_hub = pytest.importorskip("keras_hub")

from clozekit.model import MaskedLM, ReplacedTokenDetector  # noqa: E402
from clozekit.model.presets.huggingface_preset import save_huggingface  # noqa: E402

OTHERS = [name for name in families.NAMES if name != "electra"]


def both(family: str) -> Any:
    changes, sizes = families.GROUPS.get(family, {}), families.generator_sizes(family)
    sizes |= {"num_generator_layers": 2} if family == "albert" else {}
    # A head of transformers has the activation and the epsilon of its body.
    body = families.backbone(family)
    of_body = {"head_activation": body.activation, "head_layer_norm_epsilon": body.layer_norm_epsilon}
    task = families.masked_lm(family, families.masked_lm_preprocessor(family), changes, **of_body, **sizes)
    families.randomize(task, seed=4)
    return task


def their_inputs(family: str, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask"}
    names |= {"segment_ids": "token_type_ids"} if family in families.WITH_SEGMENTS else {}
    return {theirs: torch.tensor(rows[ours].astype(np.int64)) for ours, theirs in names.items()}


def batch_of(family: str) -> dict[str, np.ndarray]:
    rows = families.batch(family)
    # transformers counts the positions of RoBERTa by which tokens are padding.
    padding = families.tokenizer(family).pad_token_id
    others = np.where(rows["token_ids"] == padding, padding + 1, rows["token_ids"])
    return {**rows, "token_ids": np.where(rows["padding_mask"] > 0, others, padding).astype("int32")}


@pytest.mark.parametrize("family", OTHERS)
def test_transformers_computes_the_body_and_the_generator_as_we_do(family: str, tmp_path: Path) -> None:
    ours, rows = both(family), batch_of(family)
    with pytest.warns(
        UserWarning, match=f"no discriminator of the family {family}: it loads the body, and passes over"
    ):
        save_huggingface(ours, tmp_path / "both")
    body, report = transformers.AutoModel.from_pretrained(tmp_path / "both", output_loading_info=True)
    # DeBERTa V3's head has the norm of the authors' code besides, and its names.
    prefix, number = ("mask_predictions.", 6) if family == "deberta_v3" else ("discriminator_predictions.", 4)
    assert all(name.startswith(prefix) for name in report["unexpected_keys"]), report
    assert len(report["unexpected_keys"]) == number
    # A pooler that nobody trained is not handed over.
    assert all("pooler" in name for name in report["missing_keys"]), report
    generator, report = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path / "both", subfolder="generator", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    inputs, real = their_inputs(family, rows), rows["padding_mask"] > 0
    hidden = ours.backbone.encode(**ours.backbone.known_inputs(rows))
    assert_close(hidden, body.eval()(**inputs).last_hidden_state, real)
    everywhere = {**rows, "mask_positions": np.tile(np.arange(12, dtype=np.int32), (3, 1))}
    assert_close(ours.masked_logits(everywhere), generator.eval()(**inputs).logits, real)
    # And back, the head of the discriminator too; unless transformers trained the body further.
    known = {name: value for name, value in rows.items() if name != "mask_positions"}
    again = ReplacedTokenDetector.from_preset(str(tmp_path / "both"))
    assert np.array_equal(again(known), ours.detection_logits(rows))
    alone = MaskedLM.from_preset(str(tmp_path / "both" / "generator"))
    assert np.array_equal(alone.masked_logits(rows), ours.masked_logits(rows))
    tokenizers = [transformers.AutoTokenizer.from_pretrained(tmp_path / "both" / place) for place in ("", "generator")]
    assert tokenizers[0]("the dog")["input_ids"] == tokenizers[1]("the dog")["input_ids"]


@pytest.mark.parametrize("family", families.IN_KERAS_HUB)
def test_keras_hub_takes_the_discriminator_and_no_head_for_its_own(family: str, tmp_path: Path) -> None:
    ours, preset = both(family), str(tmp_path / "preset")
    ours.save_to_preset(preset)
    rows = {name: value for name, value in families.batch(family).items() if name != "mask_positions"}
    theirs = keras_hub.models.Backbone.from_preset(preset)
    assert type(theirs).__name__ == type(ours.backbone).__name__
    found = theirs(rows)
    expected = ours.backbone.encode(**ours.backbone.known_inputs(rows))
    real = rows["padding_mask"] > 0
    assert_close(
        found["sequence_output"] if isinstance(found, dict) else found, torch.tensor(np.asarray(expected)), real
    )
    # A masked LM of theirs begins with a head of its own on it, and not with the generator's.
    task = keras_hub.models.MaskedLM.from_preset(preset)
    dense = np.asarray(ours.masked_lm_head.parts().dense.kernel)
    assert len(task.weights) > len(theirs.weights)
    assert not any(np.array_equal(weight, dense) for weight in task.weights)

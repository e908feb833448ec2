"""What sentence-transformers' files say of a text embedder: taken in every form they have, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_families as families

from clozekit.model import TextEmbedder
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.tokenizers.common.errors import InputError

POOLING = "1_Pooling/config.json"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = families.text_classifier_preprocessor("roberta", sequence_length=12)
    save_huggingface(TextEmbedder(families.backbone("roberta"), rows), tmp_path / "preset")
    return tmp_path / "preset"


def changed(preset: Path, name: str, **changes: Any) -> None:
    content = json.loads((preset / name).read_text(encoding="utf-8"))
    (preset / name).write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_it_says_what_the_embedder_is(saved: Path) -> None:
    modules = json.loads((saved / "modules.json").read_text(encoding="utf-8"))
    assert [module["type"].split(".")[-1] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    # Without our own file, as from anybody's hand.
    (saved / "clozekit.json").unlink()
    embedder = TextEmbedder.from_preset(str(saved))
    assert embedder.head_config() == {"pooling": "mean", "normalize": True}
    assert embedder.preprocessor is not None and embedder.preprocessor.sequence_length == 12


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({}, "mean"),
    ],
)
def test_every_form_of_pooling_is_read(pooling: dict[str, Any], expected: str, saved: Path) -> None:
    (saved / POOLING).write_text(json.dumps({"word_embedding_dimension": 16, **pooling}), encoding="utf-8")
    (saved / "modules.json").write_text(
        json.dumps([{"type": "sentence_transformers.models.Transformer"}, {"type": "x.Pooling", "path": "1_Pooling"}]),
        encoding="utf-8",
    )
    assert TextEmbedder.from_preset(str(saved)).head_config() == {"pooling": expected, "normalize": False}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (POOLING, {"pooling_mode_max_tokens": True}, r"must be one of mean, cls, max, .* says \['max', 'mean'\]"),
        (POOLING, {"pooling_mode": "lasttoken"}, "must be one of mean, cls"),
        (POOLING, {"pooling_mode": 5}, "must be one of mean, cls"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "says do_lower_case and the tokenizer keeps capitals"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "puts the prompt 'query' before each"),
    ],
)
def test_what_is_not_computed_here_is_refused(name: str, changes: dict[str, Any], message: str, saved: Path) -> None:
    changed(saved, name, **changes)
    with pytest.raises(InputError, match=message):
        TextEmbedder.from_preset(str(saved))


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "a.Transformer"}, {"type": "a.Pooling"}, {"type": "a.Dense"}], "lists Transformer, Pooling, Dense"),
        ([{"type": "a.Transformer"}], "lists Transformer"),
        ([5, {}], "a text embedder here is a Transformer"),
        ({}, "must hold a JSON list"),
        ([{"type": "a.Transformer"}, {"type": "a.Pooling", "path": "../outside"}], r"outside|\.\."),
        ([{"type": "a.Transformer"}, {"type": "a.Pooling", "path": "elsewhere"}], "elsewhere/config.json"),
    ],
)
def test_modules_of_another_kind_are_refused(modules: Any, message: str, saved: Path) -> None:
    (saved / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        TextEmbedder.from_preset(str(saved))


def test_lower_case_of_a_tokenizer_that_knows_no_other_is_fine(tmp_path: Path) -> None:
    rows = families.text_classifier_preprocessor("bert")
    save_huggingface(TextEmbedder(families.backbone("bert"), rows), tmp_path / "preset")
    changed(tmp_path / "preset", "sentence_bert_config.json", do_lower_case=True)
    assert TextEmbedder.from_preset(str(tmp_path / "preset")).pooling == "mean"

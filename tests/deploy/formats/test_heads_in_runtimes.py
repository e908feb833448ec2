"""Heads in ONNX, LiteRT and SavedModel: what Keras gives, by the names that servers know; and what a card says of them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import small_families as small
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from long_variants import FULL

from clozekit.deploy.cli.main import main
from clozekit.deploy.convert import convert
from clozekit.model import QuestionAnswerer, ReplacedTokenDetector, TextEmbedder, TokenClassifier

LABELS = ["O", "B-A", "I-A"]
HEADS: dict[str, Any] = {
    "token classifier": lambda name, rows: TokenClassifier(small.backbone(name), 3, rows, labels=LABELS),
    "question answerer": lambda name, rows: QuestionAnswerer(small.backbone(name), rows),
    "mean": lambda name, rows: TextEmbedder(small.backbone(name), rows),
    "first token": lambda name, rows: TextEmbedder(small.backbone(name), rows, pooling="cls", normalize=False),
    "largest": lambda name, rows: TextEmbedder(small.backbone(name), rows, pooling="max"),
    "several labels": lambda name, rows: small.text_classifier(name, rows, labels=LABELS, problem="multi_label"),
    "discriminator": lambda name, rows: ReplacedTokenDetector(small.backbone(name), rows),
    "numbers": lambda name, rows: small.text_classifier(name, rows, problem="regression"),
}
THEIRS = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}


def expected_of(task: Any, rows: dict[str, np.ndarray], real: np.ndarray) -> dict[str, np.ndarray]:
    """What the head's signature gives by name, where there is no padding."""
    output = np.asarray(keras.ops.convert_to_numpy(task(rows)))
    if task.kind == "question_answerer":
        return {"start_logits": output[..., 0][real], "end_logits": output[..., 1][real]}
    if task.kind == "text_embedder":
        return {"sentence_embedding": output}
    if task.kind == "text_classifier" and task.problem == "regression":
        return {"values": output}
    shares = (
        1 / (1 + np.exp(-output))
        if task.kind in ("text_classifier", "replaced_token_detector")
        else np.exp(output) / np.exp(output).sum(-1, keepdims=True)
    )
    named = {"logits": output, "scores": shares}
    is_of_tokens = task.kind in ("token_classifier", "replaced_token_detector")
    return {name: value[real] if is_of_tokens else value for name, value in named.items()}


def assert_same(found: dict[str, Any], expected: dict[str, np.ndarray], real: np.ndarray) -> None:
    for name, value in expected.items():
        array = np.asarray(found[name])
        array = array[real] if array.shape[:2] == real.shape else array
        np.testing.assert_allclose(array, value, atol=5e-6 * max(1.0, np.abs(value).max()), err_msg=name)


# What Keras traces is the same kind of graph whatever the family and the pooling: LiteRT and SavedModel get every kind of output.
EVERYWHERE = ("token classifier", "question answerer", "mean", "several labels", "numbers")
# Its heads have layers of their own.
ELECTRA = [("electra", "discriminator"), ("electra", "several labels")]
DEBERTA = ("deberta_v3", "discriminator")
MODERN = [("modern_bert", head) for head in ("token classifier", "question answerer")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [
        *(("bert", head) for head in HEADS),
        ("roberta", "mean"),
        ("distil_bert", "token classifier"),
        *ELECTRA,
        DEBERTA,
        *MODERN,
    ],
)
def test_every_runtime_gives_what_keras_gives(name: str, head: str, tmp_path: Path) -> None:
    task = HEADS[head](name, small.text_classifier_preprocessor(name))
    small.randomize(task, seed=3)
    task.save_to_preset(str(tmp_path / "preset"))
    is_everywhere = FULL or (name == "bert" and head in EVERYWHERE) or (name, head) == ELECTRA[0]
    for to in ("onnx", "litert", "saved_model") if is_everywhere else ("onnx",):
        convert(str(tmp_path / "preset"), str(tmp_path / to), to)
    rows = {key: value for key, value in small.batch(name, 3, 12).items() if key != "mask_positions"}
    real = rows["padding_mask"] > 0
    expected = expected_of(task, rows, real)
    if is_everywhere:
        saved = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
        found = saved(**{key: tf.constant(value) for key, value in rows.items()})
        assert set(found) == set(expected)
        assert_same(found, expected, real)
        lite = Interpreter(str(tmp_path / "litert" / "model.tflite")).get_signature_runner("serving_default")(**rows)
        assert_same(lite, expected, real)
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    names = [output.name for output in session.get_outputs()]
    feed = {THEIRS[key]: value.astype(np.int64) for key, value in rows.items()}
    outputs = dict(zip(names, session.run(None, feed), strict=True))
    # ONNX has logits alone, whatever they are read as.
    wanted = (
        {"logits": expected["values"]} if "values" in expected else {k: v for k, v in expected.items() if k != "scores"}
    )
    assert_same(outputs, wanted, real)


@pytest.mark.parametrize(
    ("head", "tag", "lines"),
    [
        ("token classifier", "token-classification", ['pipeline("token-classification"', "model.tag_words"]),
        ("question answerer", "question-answering", ["AutoModelForQuestionAnswering", "model.answer("]),
        ("mean", "sentence-similarity", ["SentenceTransformer(", "model.encode("]),
    ],
)
def test_a_card_says_how_a_head_is_loaded(
    head: str, tag: str, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = HEADS[head]("bert", small.text_classifier_preprocessor("bert"))
    task.save_to_preset(str(tmp_path / "preset"))
    assert main(["publish", str(tmp_path / "preset"), "hf://somebody/model", "--dry-run"]) == 0
    card = capsys.readouterr().out
    assert f"pipeline_tag: {tag}" in card
    assert all(line in card for line in lines), card


@pytest.mark.parametrize(
    ("head", "loaded"),
    [
        ("token classifier", "transformers.AutoModelForTokenClassification"),
        ("mean", "sentence_transformers.SentenceTransformer"),
    ],
)
def test_convert_says_how_a_head_is_loaded(head: str, loaded: str, tmp_path: Path) -> None:
    task = HEADS[head]("bert", small.text_classifier_preprocessor("bert"))
    task.save_to_preset(str(tmp_path / "preset"))
    assert convert(str(tmp_path / "preset"), str(tmp_path / "theirs"), "huggingface").load_with.startswith(loaded)

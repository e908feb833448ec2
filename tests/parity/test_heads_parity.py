"""Heads against the tools that people know them from: transformers, sentence-transformers, seqeval, scikit-learn.

Needs the extra `parity`.
"""

import random
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")
seqeval_metrics = pytest.importorskip("seqeval.metrics")
sklearn_metrics = pytest.importorskip("sklearn.metrics")

from clozekit.model import QuestionAnswerer, TextClassifier, TextEmbedder, TokenClassifier  # noqa: E402
from clozekit.model.preprocessing.question_rows import question_rows  # noqa: E402
from clozekit.model.preprocessing.word_rows import word_rows  # noqa: E402
from clozekit.model.presets.huggingface_preset import save_huggingface  # noqa: E402
from clozekit.model.tasks.answer_questions import answer_questions  # noqa: E402
from clozekit.model.training.finetuning.examples.task_metrics import multi_label_metrics, tagging_metrics  # noqa: E402

LABELS = ["O", "B-A", "I-A"]
HEADS: dict[str, Any] = {
    "token classification": lambda name, rows: TokenClassifier(families.backbone(name), 3, rows, labels=LABELS),
    "question answering": lambda name, rows: QuestionAnswerer(families.backbone(name), rows),
    "several labels": lambda name, rows: families.text_classifier(name, rows, labels=LABELS, problem="multi_label"),
    "regression": lambda name, rows: families.text_classifier(name, rows, num_classes=1),
    "regression of several": lambda name, rows: families.text_classifier(name, rows, problem="regression"),
}
THEIRS = {
    "token classification": "AutoModelForTokenClassification",
    "question answering": "AutoModelForQuestionAnswering",
}
PROBLEMS = {
    "several labels": "multi_label_classification",
    "regression": "regression",
    "regression of several": "regression",
}
SENTENCES = [text.split() for text in families.TEXTS] + [["homework", ",", "dogs", "quick-dog"]]


def task_of(head: str, name: str) -> Any:
    task = HEADS[head](name, families.text_classifier_preprocessor(name))
    families.randomize(task, seed=3)
    return task


def their_logits(head: str, model: Any, rows: dict[str, np.ndarray]) -> np.ndarray:
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    with torch.no_grad():
        given = {names[key]: torch.tensor(np.asarray(value).astype(np.int64)) for key, value in rows.items()}
        outputs = model(**given)
    if head == "question answering":
        return np.stack([outputs.start_logits.numpy(), outputs.end_logits.numpy()], axis=-1)
    return outputs.logits.numpy()


def assert_close(ours: Any, theirs: np.ndarray, real: np.ndarray | None = None) -> None:
    a, b = np.asarray(keras.ops.convert_to_numpy(ours)), theirs
    if real is not None and a.ndim == 3:
        a, b = a[real], b[real]
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 0.1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", families.NAMES)
def test_a_head_computes_the_same_in_both_directions(name: str, head: str, tmp_path: Path) -> None:
    ours = task_of(head, name)
    save_huggingface(ours, tmp_path / "ours")
    auto = getattr(transformers, THEIRS.get(head, "AutoModelForSequenceClassification"))
    theirs, report = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"], report
    rows = ours.preprocessor(families.TEXTS)
    real = np.asarray(rows["padding_mask"]) > 0
    assert_close(ours(rows), their_logits(head, theirs, rows), real)
    if head in PROBLEMS:
        assert theirs.config.problem_type == PROBLEMS[head]
    # Further trained by them and saved by them, as theirs are.
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(1.1)
    theirs.save_pretrained(tmp_path / "theirs")
    again = type(ours).from_preset(str(tmp_path / "theirs"), preprocessor=None)
    assert_close(again(rows), their_logits(head, theirs, rows), real)
    told = {
        key: value for key, value in ours.head_config().items() if key not in ("dropout", "hidden_dim", "activation")
    }
    assert told.items() <= again.head_config().items()
    assert getattr(again, "problem", None) == getattr(ours, "problem", None)
    assert getattr(again, "labels", None) == getattr(ours, "labels", None)


@pytest.mark.parametrize("name", families.NAMES)
def test_words_have_the_tokens_that_transformers_gives_them(name: str, tmp_path: Path) -> None:
    ours = task_of("token classification", name)
    save_huggingface(ours, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    if name in ("roberta", "modern_bert"):
        # As run_ner asks for it.
        theirs.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    preprocessor = families.text_classifier_preprocessor(name, sequence_length=128)
    encoded = word_rows(preprocessor, SENTENCES)
    assert encoded.sentences.tolist() == list(range(len(SENTENCES)))
    for number, sentence in enumerate(SENTENCES):
        expected = theirs(sentence, is_split_into_words=True)
        where = slice(encoded.rows.starts[number], encoded.rows.starts[number + 1])
        assert encoded.rows.token_ids[where].tolist() == expected["input_ids"]
        of_words = expected.word_ids()
        firsts = [-1 if word is None or of_words[place - 1] == word else word for place, word in enumerate(of_words)]
        assert encoded.words[where].tolist() == firsts


@pytest.mark.parametrize("name", families.NAMES)
def test_questions_have_the_rows_that_transformers_gives_them(name: str, tmp_path: Path) -> None:
    """Of a text that fits into one row, and where its tokens stand in it."""
    ours = task_of("question answering", name)
    save_huggingface(ours, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    preprocessor = families.text_classifier_preprocessor(name, sequence_length=32)
    question, context = "the dog", "a dog was lazy"
    encoded = question_rows(preprocessor, [question], [context])
    assert len(encoded.rows) == 1
    expected = theirs(question, context, return_offsets_mapping=True)
    assert encoded.rows.token_ids.tolist() == expected["input_ids"]
    if "token_type_ids" in expected and name in families.WITH_SEGMENTS:
        assert encoded.rows.segment_ids.tolist() == expected["token_type_ids"]
    of_text = [place for place, part in enumerate(expected.sequence_ids()) if part == 1]
    assert np.flatnonzero(encoded.offsets[:, 0] >= 0).tolist() == of_text
    assert encoded.offsets[of_text].tolist() == [list(expected["offset_mapping"][place]) for place in of_text]


@pytest.mark.parametrize("name", families.NAMES)
def test_the_best_span_of_all_windows_is_found(name: str) -> None:
    """By looking at every span of every window, one by one."""
    ours = task_of("question answering", name)
    context = " ".join(families.TEXTS)
    (answer,) = answer_questions(ours, ["a dog"], [context])
    encoded = question_rows(ours.preprocessor, ["a dog"], [context])
    assert len(encoded.rows) > 1
    best = (-np.inf, "")
    for row in range(len(encoded.rows)):
        where = slice(encoded.rows.starts[row], encoded.rows.starts[row + 1])
        batch = encoded.rows.batch(np.array([row]))
        logits = np.asarray(ours(batch))[0]
        offsets = encoded.offsets[where]
        for first in range(len(offsets)):
            for last in range(first, min(len(offsets), first + 30)):
                score = float(logits[first, 0] + logits[last, 1])
                if offsets[first, 0] >= 0 and offsets[last, 0] >= 0 and score > best[0]:
                    best = (score, context[offsets[first, 0] : offsets[last, 1]].strip())
    assert answer.text == best[1]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("name", families.NAMES)
def test_sentence_transformers_gives_the_same_vectors(name: str, pooling: str, tmp_path: Path) -> None:
    normalize = pooling == "mean"
    rows = families.text_classifier_preprocessor(name, sequence_length=16)
    ours = TextEmbedder(families.backbone(name), rows, pooling=pooling, normalize=normalize)
    save_huggingface(ours, tmp_path / "ours")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert theirs.max_seq_length == 16
    # Longer than a row too.
    texts = [*families.TEXTS, " ".join(families.TEXTS)]
    assert_close(ours.encode(texts), theirs.encode(texts))
    theirs.save(str(tmp_path / "theirs"))
    again = TextEmbedder.from_preset(str(tmp_path / "theirs"))
    assert (again.pooling, again.normalize, again.preprocessor.sequence_length) == (pooling, normalize, 16)
    assert_close(again.encode(texts), theirs.encode(texts))


@pytest.mark.parametrize("seed", range(4))
def test_tags_are_measured_as_seqeval_measures_them(seed: int) -> None:
    dice = random.Random(seed)
    names = ("O", "B-A", "I-A", "B-B", "I-B")
    true, found = ([dice.choices(names, k=length) for length in range(1, 25)] for _ in range(2))
    measured = tagging_metrics(true, found, names)
    expected = {
        "f1": seqeval_metrics.f1_score(true, found),
        "precision": seqeval_metrics.precision_score(true, found),
        "recall": seqeval_metrics.recall_score(true, found),
        "accuracy": seqeval_metrics.accuracy_score(true, found),
    }
    assert measured == pytest.approx(expected)


def test_several_labels_are_measured_as_scikit_learn_measures_them() -> None:
    dice = np.random.default_rng(0)
    labels, logits = (dice.random((50, 6)) < 0.3).astype(np.float32), dice.standard_normal((50, 6))
    measured = multi_label_metrics(labels, logits)
    predicted = logits > 0
    loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(labels).double())
    assert measured == pytest.approx(
        {
            "loss": float(loss),
            "f1": sklearn_metrics.f1_score(labels, predicted, average="micro"),
            "f1_macro": sklearn_metrics.f1_score(labels, predicted, average="macro"),
            "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        }
    )


def test_keras_hub_takes_the_backbone_of_such_a_preset(tmp_path: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    ours = task_of("token classification", "bert")
    ours.save_to_preset(str(tmp_path))
    theirs = keras_hub.models.BertBackbone.from_preset(str(tmp_path))
    rows = ours.preprocessor(families.TEXTS)
    hidden = ours.backbone(rows)["sequence_output"]
    np.testing.assert_allclose(np.asarray(theirs(rows)["sequence_output"]), np.asarray(hidden), atol=1e-5)
    classifier = keras_hub.models.BertTextClassifier.from_preset(str(tmp_path), num_classes=2)
    assert classifier.num_classes == 2


def test_what_it_is_for_is_not_lost_where_transformers_guesses(tmp_path: Path) -> None:
    """A config.json that names no problem is a regression with one label, else one of several classes."""
    ours = families.text_classifier("bert", None, num_classes=1)
    save_huggingface(ours, tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    config.problem_type = None
    config.save_pretrained(tmp_path)
    assert TextClassifier.from_preset(str(tmp_path), preprocessor=None).problem == "regression"


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_a_text_embedder_of_keras_hub_is_the_same_here(pooling: str, tmp_path: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    ours = TextEmbedder(families.backbone("bert"), families.text_classifier_preprocessor("bert"), pooling=pooling)
    ours.save_to_preset(str(tmp_path / "ours"))
    theirs = keras_hub.models.BertTextEmbedder.from_preset(
        str(tmp_path / "ours"), preprocessor=None, pooling_mode=pooling, normalize=True
    )
    rows = ours.preprocessor(families.TEXTS)
    np.testing.assert_allclose(np.asarray(theirs(rows)), np.asarray(ours(rows)), atol=1e-6)
    theirs.save_to_preset(str(tmp_path / "theirs"))
    again = TextEmbedder.from_preset(str(tmp_path / "theirs"), preprocessor=None)
    assert again.head_config() == {"pooling": pooling, "normalize": True}
    np.testing.assert_allclose(np.asarray(again(rows)), np.asarray(ours(rows)), atol=1e-6)
    np.testing.assert_array_equal(ours.encode_text(families.TEXTS[0]), ours.encode(families.TEXTS[:1]))

"""`predict` and `evaluate --examples` with the head of every task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families

from clozekit.deploy.cli.main import main
from clozekit.model import QuestionAnswerer, TextEmbedder, TokenClassifier


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Head -> a preset with it, of random weights."""
    root = tmp_path_factory.mktemp("heads")
    rows = families.text_classifier_preprocessor("bert")
    tasks: dict[str, Any] = {
        "tags": TokenClassifier(families.backbone("bert"), 3, rows, labels=["O", "B-A", "I-A"]),
        "answers": QuestionAnswerer(families.backbone("bert"), rows),
        "vectors": TextEmbedder(families.backbone("bert"), rows),
        "labels": families.text_classifier("bert", rows, labels=["a", "b", "c"], problem="multi_label"),
        "numbers": families.text_classifier("bert", rows, labels=["a", "b", "c"], problem="regression"),
        "masks": families.masked_lm("bert", families.masked_lm_preprocessor("bert")),
    }
    for name, task in tasks.items():
        task.save_to_preset(str(root / name))
    return {name: str(root / name) for name in tasks}


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def answers(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(capsys, *arguments, "--json").splitlines()]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.slow
def test_tags(presets: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = answers(capsys, "predict", presets["tags"], "the quick dog")
    assert found["text"] == "the quick dog" and found["words"] == ["the", "quick", "dog"]
    assert set(found["labels"]) <= {"O", "B-A", "I-A"} and all(0 < share <= 1 for share in found["probabilities"])
    shown = said(capsys, "predict", presets["tags"], "the quick dog", "a dog")
    expected = "".join(f"{word}\t{tag}\n" for word, tag in zip(found["words"], found["labels"], strict=True))
    assert shown.startswith(expected + "\na\t")
    assert "takes single texts, got --pairs" in refused(capsys, "predict", presets["tags"], "--pairs", "a", "b")


@pytest.mark.slow
def test_answers(presets: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    text = "the lazy dog jumped"
    (found,) = answers(capsys, "predict", presets["answers"], "--pairs", "the dog", text)
    assert text[found["begin"] : found["end"]] == found["answer"] != ""
    assert (
        said(capsys, "predict", presets["answers"], "--pairs", "the dog", text)
        == f"{found['answer']}\tthe dog\t{text}\n"
    )
    (allowed,) = answers(capsys, "predict", presets["answers"], "--pairs", "--allow-none", "the dog", text)
    assert (allowed["answer"] == "") == (found["score"] < 0)
    assert "pass --pairs, and each question with its text behind it" in refused(
        capsys, "predict", presets["answers"], "a"
    )
    assert "--allow-none is for a model that answers" in refused(
        capsys, "predict", presets["tags"], "--allow-none", "a"
    )


@pytest.mark.slow
def test_vectors(presets: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    found = answers(capsys, "predict", presets["vectors"], "the quick dog", "a dog")
    expected = TextEmbedder.from_preset(presets["vectors"]).encode(["the quick dog", "a dog"])
    np.testing.assert_allclose([one["vector"] for one in found], expected, atol=1e-6)
    numbers, text = said(capsys, "predict", presets["vectors"], "a dog").rstrip("\n").split("\t")
    assert text == "a dog" and list(map(float, numbers.split())) == found[1]["vector"]


@pytest.mark.slow
def test_several_labels_and_numbers(presets: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = answers(capsys, "predict", presets["labels"], "a dog")
    assert found["labels"] == [name for name, share in found["probabilities"].items() if share > 0.5]
    shown = said(capsys, "predict", presets["labels"], "a dog").split("\t")[0]
    assert shown == (", ".join(f"{name} {found['probabilities'][name]:.1%}" for name in found["labels"]) or "none")
    (number,) = answers(capsys, "predict", presets["numbers"], "a dog")
    assert set(number["values"]) == {"a", "b", "c"}


@pytest.mark.slow
def test_an_empty_line_keeps_its_place(
    presets: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("a dog\n\nthe dog\n", encoding="utf-8")
    for name in ("tags", "vectors", "labels"):
        found = answers(capsys, "predict", presets[name], "--file", str(lines))
        assert [one["text"] for one in found] == ["a dog", "", "the dog"]
        assert found[1] == {"text": "", "label": None}


@pytest.mark.slow
def test_examples_are_measured(presets: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = tmp_path / "words.conll"
    words.write_text("the O\nquick B-A\n\na O\n", encoding="utf-8")
    found = json.loads(said(capsys, "evaluate", presets["tags"], "--examples", str(words)))
    assert (found["task"], found["num_examples"]) == ("token_classification", 2)
    assert {"loss", "f1", "precision", "recall", "accuracy"} <= set(found)
    words.write_text("the O\nquick B-B\n", encoding="utf-8")
    assert "a tag must be one of 'O', 'B-A', 'I-A'" in refused(
        capsys, "evaluate", presets["tags"], "--examples", str(words)
    )
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("one\ttwo\na dog\tthe dog\nthe fox\ta fox\n", encoding="utf-8")
    options = ["--examples", str(pairs), "--text", "one", "--text-pair", "two"]
    assert json.loads(said(capsys, "evaluate", presets["vectors"], *options))["task"] == "embedding"
    assert "task=embedding needs the columns" in refused(
        capsys, "evaluate", presets["vectors"], "--examples", str(pairs)
    )
    assert "preset with the head of a task" in refused(capsys, "evaluate", presets["masks"], "--examples", str(pairs))
    assert "--text tells a column of --examples" in refused(
        capsys, "evaluate", presets["masks"], "--texts", str(words), "--text", "a"
    )

"""Every kind of fine-tuning learns a small task; its preset, predictions and measures are what they say."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clozekit.model import QuestionAnswerer, TextClassifier, TextEmbedder, TokenClassifier
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.model.tasks.answer_questions import answer_questions
from clozekit.model.tasks.classify_texts import classify_texts
from clozekit.model.training.finetuning.evaluate_examples import evaluate_examples
from clozekit.model.training.finetuning.finetune import FinetuneResult, FinetuneRun
from clozekit.model.training.settings.finetune_settings import METRIC_NAMES, load_finetune_config
from clozekit.tokenizers.common.errors import InputError

ANIMALS = {"cat": "sat on", "dog": "ran under", "bird": "flew over"}
LABELS = {"cat": ["pet", "quiet"], "dog": ["pet"], "bird": []}
COLORS = ("red", "blue", "old")
PLACES = ("mat", "house", "tree")


class Told:
    """What one sentence tells."""

    def __init__(self, dice: random.Random) -> None:
        self.color, self.place = dice.choice(COLORS), dice.choice(PLACES)
        self.animal = dice.choice(sorted(ANIMALS))
        self.text = f"the {self.color} {self.animal} {ANIMALS[self.animal]} the {self.place} ."

    def other_text(self) -> str:
        return f"the {self.place} the {self.animal} {self.color} ."

    def tags(self) -> list[str]:
        """An animal with its color is one entity, a place another."""
        return ["O", "B-ANIMAL", "I-ANIMAL", "O", "O", "O", "B-PLACE", "O"]


def told(seed: int, count: int) -> list[Told]:
    dice = random.Random(seed)
    return [Told(dice) for _ in range(count)]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


def files_of(folder: Path) -> dict[str, list[str]]:
    """Kind -> settings of its files, of which there are train, dev and, where they can be predicted, test."""
    settings: dict[str, list[str]] = {}
    for name, seed, count in (("train", 1, 160), ("dev", 2, 48), ("test", 3, 4)):
        some = told(seed, count)
        conll = ("".join(f"{w} x {t}\n" for w, t in zip(one.text.split(), one.tags(), strict=True)) for one in some)
        (folder / f"{name}.conll").write_text("-DOCSTART- -X- O\n\n" + "\n".join(conll), encoding="utf-8")
        write_lines(
            folder / f"{name}-labels.jsonl",
            [{"text": one.text, "labels": LABELS[one.animal]} for one in some],
        )
        # Two orders of words, so that no place is the answer's.
        texts = [one.text if number % 2 else one.other_text() for number, one in enumerate(some)]
        paragraphs = [
            {
                "context": text,
                "qas": [
                    {
                        "id": f"{name}-{number}",
                        "question": "the bird",
                        "answers": [{"text": one.animal, "answer_start": text.index(one.animal)}],
                    }
                ],
            }
            for number, (one, text) in enumerate(zip(some, texts, strict=True))
        ]
        (folder / f"{name}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
        pairs = [f"{one.text}\t{one.other_text()}\n" for one in some]
        (folder / f"{name}-pairs.tsv").write_text("first\tsecond\n" + "".join(pairs), encoding="utf-8")

    def of(pattern: str, *more: str, test: bool = True) -> list[str]:
        files = [f"data.train={pattern.format('train')}", f"data.validation={pattern.format('dev')}"]
        return [*files, *([f"data.test={pattern.format('test')}"] if test else []), *more]

    settings["token_classification"] = of("{}.conll", "train.epochs=4")
    settings["multi_label"] = of(
        "{}-labels.jsonl", "data.text=text", "data.label=labels", "train.epochs=12", "patience=12"
    )
    settings["question_answering"] = of("{}.json", "train.epochs=4")
    settings["embedding"] = of("{}-pairs.tsv", "data.text=first", "data.text_pair=second", "train.epochs=3", test=False)
    return settings


@pytest.fixture(scope="module")
def finished(
    start_preset: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[FinetuneRun, FinetuneResult]]:
    """Kind -> its run and result, each made when it is first asked for."""
    folder = tmp_path_factory.mktemp("files")
    files = files_of(folder)
    here = {
        "train.global_batch_size": 16,
        "optimizer.learning_rate": 0.02,
        "train.xla": False,
        "data.folder": str(folder),
    }

    class Runs(dict[str, tuple[FinetuneRun, FinetuneResult]]):
        def __missing__(self, kind: str) -> tuple[FinetuneRun, FinetuneResult]:
            places = {"init_from": start_preset, "directory": str(tmp_path_factory.mktemp(kind)), "task": kind}
            run = FinetuneRun(load_finetune_config(None, files[kind], {**here, **places}))
            self[kind] = run, run.train()
            return self[kind]

    return Runs()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["token_classification", "multi_label", "question_answering", "embedding"])
def test_it_learns_and_says_how_well(kind: str, finished: dict[str, tuple[FinetuneRun, FinetuneResult]]) -> None:
    run, result = finished[kind]
    metrics = result["metrics"][
        "dev-labels" if kind == "multi_label" else "dev-pairs" if kind == "embedding" else "dev"
    ]
    assert set(metrics) == {"loss", *METRIC_NAMES[kind]}
    assert result["metric"] == METRIC_NAMES[kind][0]
    assert metrics[result["metric"]] > 0.9, metrics
    logged = [entry for entry in run.history() if entry["step"] == result["best_step"]]
    assert {name: logged[0][name] for name in metrics} == metrics
    # Measured again, from the preset alone.
    data = dataclasses.replace(run.config.data, train=run.config.data.validation[0], validation=(), test=())
    again = evaluate_examples(run.preset_directory, data, batch_size=8)
    assert {name: again[name] for name in metrics} == pytest.approx(metrics, rel=1e-5)
    assert (again["task"], again["num_examples"]) == (kind, 48)


def test_tagged_words(finished: dict[str, tuple[FinetuneRun, FinetuneResult]], tmp_path: Path) -> None:
    run, result = finished["token_classification"]
    assert run.data.labels == ("O", "B-ANIMAL", "I-ANIMAL", "B-PLACE")
    one = told(5, 1)[0]
    save_huggingface(TokenClassifier.from_preset(run.preset_directory), tmp_path / "theirs")
    for place in (run.preset_directory, str(tmp_path / "theirs")):
        tagger = TokenClassifier.from_preset(place)
        assert tagger.tag_words([one.text.split()]) == [one.tags()]
    lines = (Path(run.directory) / "predictions" / "dev.tsv").read_text(encoding="utf-8").split("\n\n")
    expected = told(2, 48)
    rows = [[line.split("\t") for line in sentence.split("\n")] for sentence in lines[: len(expected)]]
    assert [[row[0] for row in sentence] for sentence in rows] == [one.text.split() for one in expected]
    assert [[row[1] for row in sentence] for sentence in rows] == [one.tags() for one in expected]
    tested = (Path(run.directory) / "predictions" / "test.tsv").read_text(encoding="utf-8").split("\n")
    assert [line.split("\t")[0] for line in tested[:8]] == told(3, 4)[0].text.split()
    assert all(len(line.split("\t")) == 2 for line in tested if line)


@pytest.mark.slow
def test_several_labels(finished: dict[str, tuple[FinetuneRun, FinetuneResult]], tmp_path: Path) -> None:
    run, _ = finished["multi_label"]
    assert run.data.labels == ("pet", "quiet")
    save_huggingface(TextClassifier.from_preset(run.preset_directory), tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs" / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "multi_label_classification"
    for place in (run.preset_directory, str(tmp_path / "theirs")):
        classifier = TextClassifier.from_preset(place)
        assert classifier.problem == "multi_label"
        found = classify_texts(classifier, ["the red dog ran under the tree .", "the old bird flew over the mat ."])
        assert [one.labels for one in found] == [("pet",), ()]
        assert all((share > 0.5) == (name in one.labels) for one in found for name, share in one.probabilities.items())
    lines = (Path(run.directory) / "predictions" / "test-labels.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "index\tprediction"
    assert lines[1].split("\t")[0] == "0"


@pytest.mark.slow
def test_answers(finished: dict[str, tuple[FinetuneRun, FinetuneResult]], tmp_path: Path) -> None:
    run, _ = finished["question_answering"]
    save_huggingface(QuestionAnswerer.from_preset(run.preset_directory), tmp_path / "theirs")
    for place in (run.preset_directory, str(tmp_path / "theirs")):
        answerer = QuestionAnswerer.from_preset(place)
        texts = ["the blue cat sat on the house .", "the house the dog red ."]
        answers = answer_questions(answerer, ["the bird"] * 2, texts)
        assert [one.text for one in answers] == ["cat", "dog"]
        assert [text[one.begin : one.end] for one, text in zip(answers, texts, strict=True)] == ["cat", "dog"]
    predicted = json.loads((Path(run.directory) / "predictions" / "test.json").read_text(encoding="utf-8"))
    assert predicted == {f"test-{number}": one.animal for number, one in enumerate(told(3, 4))}


@pytest.mark.slow
def test_embeddings(finished: dict[str, tuple[FinetuneRun, FinetuneResult]], tmp_path: Path) -> None:
    run, result = finished["embedding"]
    embedder = TextEmbedder.from_preset(run.preset_directory)
    vectors = embedder.encode(
        ["the red cat sat on the mat .", "the mat the cat red .", "the old dog ran under the tree ."]
    )
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert not (Path(run.directory) / "predictions").exists()
    save_huggingface(embedder, tmp_path / "theirs")
    again = TextEmbedder.from_preset(str(tmp_path / "theirs"))
    np.testing.assert_allclose(again.encode(["a red cat"]), embedder.encode(["a red cat"]), atol=1e-6)


def test_a_group_that_does_not_divide_the_rows_is_refused(
    finished: dict[str, tuple[FinetuneRun, FinetuneResult]], tmp_path: Path
) -> None:
    run, _ = finished["embedding"]
    for changes in (["embedding.group_size=3"], ["train.micro_batch_size=4"]):
        settings = {
            "directory": str(tmp_path / "run"),
            "init_from": run.config.init_from,
            "data.folder": run.config.data.folder,
        }
        given = ["task=embedding", "data.train=train-pairs.tsv", "data.text=first", "data.text_pair=second"]
        config = load_finetune_config(None, [*given, "train.global_batch_size=16", *changes], settings)
        with pytest.raises(
            InputError, match="embedding.group_size must divide the (16|4) rows that a replica computes"
        ):
            FinetuneRun(config)
    assert not (tmp_path / "run").exists()

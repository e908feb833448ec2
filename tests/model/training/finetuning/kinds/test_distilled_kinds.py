"""Fine-tuning from a teacher, every kind through the command: students come nearer to it, teachers that don't fit are refused."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetune_runs import curve
from run_commands import run_command
from small_families import randomize

from clozekit.model import (
    BertBackbone,
    BertTextClassifier,
    BertTextClassifierPreprocessor,
    DistilBertBackbone,
    DistilBertMaskedLM,
    DistilBertMaskedLMPreprocessor,
    DistilBertTokenizer,
    QuestionAnswerer,
    TextClassifier,
    TextEmbedder,
    TokenClassifier,
)
from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.load_teacher import weights_sha256
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

WORDS = ("cat", "dog", "bird")
SIZES: dict[str, Any] = {"num_layers": 1, "num_heads": 2, "hidden_dim": 24, "intermediate_dim": 32, "dropout": 0.1}
# Kind -> settings of its files, of which there are train and dev.
FILES = {
    "classification": ("tsv", ["data.text=text", "data.label=animal"]),
    "regression": ("tsv", ["data.text=text", "data.label=size"]),
    "multi_label": ("tsv", ["data.text=text", "data.label=labels"]),
    "embedding": ("tsv", ["data.text=text", "data.text_pair=other"]),
    "similarity": ("tsv", ["data.text=text", "data.text_pair=other", "data.label=size"]),
    "token_classification": ("conll", []),
    "question_answering": ("jsonl", []),
}
LABELS = {"classification": ("bird", "cat", "dog"), "multi_label": ("pet", "quiet"), "token_classification": ("O", "X")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train and dev in the form of each kind."""
    folder = tmp_path_factory.mktemp("files")
    for name, seed, count in (("train", 0, 64), ("dev", 1, 16)):
        dice = random.Random(seed)
        animals = [dice.choice(WORDS) for _ in range(count)]
        texts = [f"the {dice.choice(('red', 'old'))} {animal} sat on the mat ." for animal in animals]
        rows = ["text\tother\tanimal\tsize\tlabels\n"]
        for animal, text in zip(animals, texts, strict=True):
            labels = {"cat": "pet,quiet", "dog": "pet", "bird": ""}[animal]
            rows.append(f"{text}\tthe mat the {animal} .\t{animal}\t{len(animal) / 4}\t{labels}\n")
        (folder / f"{name}.tsv").write_text("".join(rows), encoding="utf-8")
        tagged = ("".join(f"{word} {'X' if word in WORDS else 'O'}\n" for word in text.split()) for text in texts)
        (folder / f"{name}.conll").write_text("\n".join(tagged), encoding="utf-8")
        lines = [
            {
                "question": "the bird",
                "context": text,
                "answers": {"text": [animal], "answer_start": [text.index(animal)]},
            }
            for animal, text in zip(animals, texts, strict=True)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def teacher_of(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """kind, changes -> the preset of a larger model with such a head and strange weights, which has opinions of everything."""
    root = tmp_path_factory.mktemp("teachers")

    def make(kind: str, positions: int = 48, pieces: BertTokenizer = tokenizer, **changes: Any) -> str:
        place = root / f"{kind}{len(list(root.iterdir()))}"
        backbone = BertBackbone(pieces.vocabulary_size(), max_sequence_length=positions, **SIZES)
        preprocessor = BertTextClassifierPreprocessor(pieces, sequence_length=16)
        names = LABELS.get(kind)
        head: dict[str, Any] = {} if names is None else {"num_classes": len(names), "labels": names}
        task: Any
        if kind in ("classification", "multi_label", "regression"):
            problem = {"classification": "single_label"}.get(kind, kind)
            options = {"num_classes": 1, **head, "problem": problem, "activation": "softmax", **changes}
            task = BertTextClassifier(backbone, preprocessor=preprocessor, **options)
        else:
            cls = {
                "embedding": TextEmbedder,
                "similarity": TextEmbedder,
                "token_classification": TokenClassifier,
                "question_answering": QuestionAnswerer,
            }[kind]
            task = cls(backbone, preprocessor=preprocessor, **{**head, **changes})
        randomize(task, seed=3)
        task.save_to_preset(str(place))
        return str(place)

    return make


def words_of(kind: str, start: str, folder: Path, directory: Path, *more: str) -> list[str]:
    suffix, columns = FILES[kind]
    files = [f"data.train=train.{suffix}", f"data.validation=dev.{suffix}", f"data.folder={folder}", *columns]
    course = ["train.steps=9", "train.steps_per_loop=3", "evaluate.every_steps=9", "train.global_batch_size=16"]
    rate = ["optimizer.learning_rate=0.02", "optimizer.warmup_rate=0.0", "train.xla=false", "sequence_length=32"]
    return [f"task={kind}", f"init_from={start}", f"directory={directory}", *files, *course, *rate, *more]


def config_of(kind: str, start: str, folder: Path, directory: Path, *more: str) -> Any:
    return load_finetune_config(None, words_of(kind, start, folder, directory, *more))


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_student_comes_nearer_to_its_teacher(
    kind: str, start_preset: str, folder: Path, teacher_of: Callable[..., str], tmp_path: Path
) -> None:
    taught = [f"distill.teacher={teacher_of(kind)}", "distill.weight=1"]
    if kind == "similarity":
        # Cosines of untrained models are near one another: at the others' rate the first steps go too far.
        taught.append("optimizer.learning_rate=0.002")
    screen = run_command(["finetune", *words_of(kind, start_preset, folder, tmp_path / "run", *taught)])
    assert "best step" in screen
    entries = [entry for entry in curve(tmp_path / "run") if entry["kind"] == "train"]
    assert [entry["step"] for entry in entries] == [3, 6, 9]
    apart = [entry["distillation_loss"] for entry in entries]
    assert 0 < apart[-1] < 0.8 * apart[0], apart
    assert "Distillation loss" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def teacher(teacher_of: Callable[..., str]) -> str:
    return teacher_of("classification")


# Two micro-batches; a checkpoint between two looks.
COURSE = ("train.micro_batch_size=8", "checkpoint.every_steps=5", "checkpoint.keep=9", "evaluate.every_steps=3")


@pytest.mark.slow
def test_stopped_and_gone_on_it_is_as_if_never_stopped_wherever_the_teacher_lies(
    start_preset: str, folder: Path, teacher: str, tmp_path: Path
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    run = FinetuneRun(config_of("classification", start_preset, folder, whole, f"distill.teacher={teacher}", *COURSE))
    run.train()
    assert run.teacher is not None
    assert run.teacher.task.trainable_variables == []
    assert weights_sha256(TextClassifier.from_preset(teacher, compile=False)) == run.teacher.sha256
    shutil.copytree(whole, again)
    shutil.rmtree(again / "checkpoints" / "step-00000009")
    (again / "result.json").unlink()
    shutil.copytree(teacher, tmp_path / "moved")
    moved = f"distill.teacher={tmp_path / 'moved'}"
    FinetuneRun(config_of("classification", start_preset, folder, again, moved, *COURSE)).train()
    assert curve(again) == curve(whole)
    a, b = (TextClassifier.from_preset(f"{path}/preset").get_weights() for path in (again, whole))
    assert all((one == other).all() for one, other in zip(a, b, strict=True))
    with pytest.raises(InputError, match="teacher_sha256 was '.*', is None"):
        FinetuneRun(config_of("classification", start_preset, folder, again, *COURSE)).train()


@pytest.mark.slow
def test_with_weight_0_the_curve_is_that_without_a_teacher(
    start_preset: str, folder: Path, teacher: str, tmp_path: Path
) -> None:
    for name, more in (("alone", []), ("watched", [f"distill.teacher={teacher}", "distill.weight=0"])):
        FinetuneRun(config_of("classification", start_preset, folder, tmp_path / name, *more)).train()
    watched = [{k: v for k, v in one.items() if k != "distillation_loss"} for one in curve(tmp_path / "watched")]
    assert watched == curve(tmp_path / "alone")


@pytest.mark.slow
def test_a_teacher_of_another_family_is_told_which_segment_is_which(
    tokenizer: BertTokenizer, folder: Path, tmp_path: Path, teacher: str
) -> None:
    pieces = DistilBertTokenizer(tokenizer.get_vocabulary(), lowercase=True)
    backbone = DistilBertBackbone(
        pieces.vocabulary_size(), num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=48
    )
    preprocessor = DistilBertMaskedLMPreprocessor(pieces, sequence_length=16)
    DistilBertMaskedLM(backbone, preprocessor, compile=False).save_to_preset(str(tmp_path / "start"))
    more = ["data.text_pair=other", f"distill.teacher={teacher}", "train.precision=mixed_bfloat16"]
    run = FinetuneRun(config_of("classification", str(tmp_path / "start"), folder, tmp_path / "run", *more))
    assert run.teacher is not None
    assert run.teacher.task.backbone.token_embedding.compute_dtype == "bfloat16"
    batch = next(run.batches_from(0, 0, 0))
    # [CLS] text [SEP] other [SEP]: five pieces and the last [SEP] are of the second segment.
    assert np.asarray(batch["segment_ids"]).sum(axis=1).tolist() == [6] * 16
    run.train()
    assert all(entry["distillation_loss"] > 0 for entry in curve(tmp_path / "run") if entry["kind"] == "train")


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "classification",
            {"labels": ("cat", "bird", "dog")},
            "the classes of its student, .* has cat, bird, dog and the",
        ),
        (
            "classification",
            {"labels": ("bird", "cat", "fox")},
            "the classes of its student, .* the student bird, cat, dog",
        ),
        (
            "classification",
            {"num_classes": 4, "labels": None},
            "the number of classes of its student, .* has 4 and the",
        ),
        (
            "classification",
            {"problem": "multi_label"},
            "the problem of its student, .* has multi_label and the student single_l",
        ),
        (
            "token_classification",
            {"labels": ("X", "O")},
            "the classes of its student, .* has X, O and the student O, X",
        ),
        (
            "classification",
            {"positions": 24},
            "must have positions for rows of 32 tokens, got 24; make rows of at most 24",
        ),
    ],
    ids=["order", "names", "number", "problem", "tags", "positions"],
)
def test_a_teacher_that_does_not_fit_is_refused(
    kind: str, changes: dict[str, Any], message: str, start_preset: str, folder: Path, teacher_of: Any, tmp_path: Path
) -> None:
    place = teacher_of(kind, **changes)
    with pytest.raises(InputError, match=f"distill.teacher .*{message}") as caught:
        FinetuneRun(config_of(kind, start_preset, folder, tmp_path / "run", f"distill.teacher={place}"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_teacher_without_a_head_or_with_other_ids_is_refused(
    start_preset: str, tokenizer: BertTokenizer, folder: Path, teacher: str, teacher_of: Any, tmp_path: Path
) -> None:
    for kind in sorted(FILES):
        # The start is a masked LM; and a classifier's head is no tagger's.
        places = [start_preset] if kind in ("classification", "multi_label", "regression") else [start_preset, teacher]
        for place in places:
            with pytest.raises(InputError, match=r"distill.teacher must have the head of a \w+, .* has none"):
                FinetuneRun(config_of(kind, start_preset, folder, tmp_path / "run", f"distill.teacher={place}"))
    pieces = tokenizer.get_vocabulary()
    other = teacher_of("classification", pieces=BertTokenizer([*pieces[:5], *reversed(pieces[5:])], lowercase=True))
    with pytest.raises(InputError, match="must have the tokenizer of its student, so that ids mean the same"):
        FinetuneRun(config_of("classification", start_preset, folder, tmp_path / "run", f"distill.teacher={other}"))
    missing = tmp_path / "nothing"
    with pytest.raises(InputError, match=re.escape(str(missing))):
        FinetuneRun(config_of("classification", start_preset, folder, tmp_path / "run", f"distill.teacher={missing}"))
    assert not (tmp_path / "run").exists()

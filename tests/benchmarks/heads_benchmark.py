"""Heads fine-tuned on tasks made of plain text, beside transformers from the same weights with the same settings: the scores.

Every text is a paragraph, in lower case. The tasks are made of what lower case takes away and of which words there are, so
that they need no labels but the text's own:

    tags        which words were written with a capital, runs of them as entities
    labels      which of some sets of common words the text has a word of
    number      the share of words that were written with a capital
    answers     the first year that the text names
    embeddings  which text holds another half of the words of a paragraph, half of those of a wrong one among them

    python tests/benchmarks/heads_benchmark.py --text wiki.txt --bert-vocabulary vocab.txt
"""

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import torch
import transformers
from tables import header, put_into

import clozekit.model as models
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.model.tasks.answer_questions import best_answers
from clozekit.model.training.finetuning.examples.task_metrics import (
    answer_scores,
    multi_label_metrics,
    regression_metrics,
    retrieval_metrics,
    tagging_metrics,
)
from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

TAGS = ("O", "B-NAME", "I-NAME")
WORDS = {
    "people": {"he", "his", "him", "she", "her", "they", "their", "who"},
    "past": {"was", "were"},
    "places": {"on", "at"},
    "ways": {"for", "from"},
    "things": {"it", "its", "that", "which"},
}
BATCH, EPOCHS, RATE, TOKENS = 16, 3.0, 1e-3, 96
TRAIN_PARAGRAPHS, DEV_PARAGRAPHS = 1000, 300


class Paragraphs(NamedTuple):
    train: list[str]
    dev: list[str]


def paragraphs_of(path: Path) -> Paragraphs:
    """Paragraphs of 20 to 60 words, the last sixth to validate on: other articles than those before."""
    lines = (" ".join(line.split()) for line in path.read_text(encoding="utf-8").splitlines())
    kept = []
    for line in lines:
        words = line.replace("<unk>", "thing").split()
        kept += [" ".join(words[start : start + 50]) for start in range(0, len(words) - 24, 50) if len(words) > 24]
    cut = len(kept) * 5 // 6
    return Paragraphs(kept[:cut][:TRAIN_PARAGRAPHS], kept[cut:][:DEV_PARAGRAPHS])


def tags_of(text: str) -> list[str]:
    tags, before = [], False
    for place, word in enumerate(text.split()):
        is_name = word[:1].isupper() and place > 0
        tags.append("O" if not is_name else "I-NAME" if before else "B-NAME")
        before = is_name
    return tags


class Task(NamedTuple):
    """name: of ours. write: paragraphs -> the content of a file. settings: of `finetune`. score: what decides."""

    name: str
    file: str
    write: Callable[[Sequence[str]], str]
    settings: tuple[str, ...]
    score: str


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def words_of(text: str) -> list[str]:
    return [name for name, words in WORDS.items() if not words.isdisjoint(text.lower().split())]


def years(texts: Sequence[str]) -> str:
    rows = []
    for number, text in enumerate(texts):
        year = re.search(r"\b1[5-9]\d\d\b|\b20[01]\d\b", text)
        if year:
            answers = {"text": [year.group()], "answer_start": [year.start()]}
            rows.append({"id": str(number), "question": "in which year ?", "context": text.lower(), "answers": answers})
    return _lines(rows)


def samples(texts: Sequence[str]) -> str:
    """Rows of half the words of a paragraph, and of another half with half the words of another paragraph behind it.

    Vectors of random weights find a quarter of them again by the words that both hold; more has to be learned.
    """
    rows = []
    for number, text in enumerate(texts):
        draw = random.Random(number)
        other = draw.choice(texts)
        first, second, noise = (
            [word for word in one.lower().split() if draw.random() < 0.5] for one in (text, text, other)
        )
        rows.append(f"{' '.join(first)}\t{' '.join(second + noise)}\n")
    return "first\tsecond\n" + "".join(rows)


TASKS = {
    "tags": Task(
        "token_classification",
        "jsonl",
        lambda texts: _lines([{"tokens": text.lower().split(), "ner_tags": tags_of(text)} for text in texts]),
        ("data.labels=[O,B-NAME,I-NAME]",),
        "f1",
    ),
    "labels": Task(
        "multi_label",
        "jsonl",
        lambda texts: _lines([{"text": text.lower(), "labels": words_of(text)} for text in texts]),
        ("data.text=text", "data.label=labels"),
        "f1",
    ),
    "number": Task(
        "regression",
        "jsonl",
        lambda texts: _lines(
            [
                {"text": text.lower(), "share": round(float(np.mean([w[:1].isupper() for w in text.split()])), 4)}
                for text in texts
            ]
        ),
        ("data.text=text", "data.label=share"),
        "pearson",
    ),
    "answers": Task("question_answering", "jsonl", years, (), "f1"),
    "embeddings": Task(
        "embedding", "tsv", samples, ("data.text=first", "data.text_pair=second", "data.quoting=none"), "accuracy"
    ),
}


def ours(task: Task, folder: Path, seed: int) -> tuple[float, FinetuneRun]:
    """Our score, and the run, whose data and rows theirs are held against."""
    given = [
        *(
            f"task={task.name}",
            f"init_from={folder / 'start'}",
            f"directory={folder / f'ours-{task.name}-{seed}'}",
            f"seed={seed}",
        ),
        *(
            f"data.train={folder / 'train'}.{task.file}",
            f"data.validation={folder / 'dev'}.{task.file}",
            *task.settings,
        ),
        *(f"train.epochs={EPOCHS}", f"train.global_batch_size={BATCH}", f"optimizer.learning_rate={RATE}"),
        *("train.xla=false", "patience=100", f"sequence_length={TOKENS}", "evaluate.every_steps=1000000"),
    ]
    run = FinetuneRun(load_finetune_config(None, given))
    result = run.train()
    return result["metrics"]["dev"][task.score], run


def theirs(name: str, folder: Path, run: FinetuneRun, seed: int, steps: int) -> float:
    """Their score: transformers' class and its loss, AdamW with the same schedule, in a plain loop of torch.

    The rows are those of our run, so that only models, losses and updates are compared; their order is drawn by numpy.
    """
    torch.manual_seed(seed)
    place = folder / "start-for-transformers"
    if name == "tags":
        model = transformers.AutoModelForTokenClassification.from_pretrained(place, num_labels=len(TAGS))
    elif name == "answers":
        model = transformers.AutoModelForQuestionAnswering.from_pretrained(place)
    elif name == "embeddings":
        model = transformers.AutoModel.from_pretrained(place, add_pooling_layer=False)
    else:
        problem = {"labels": "multi_label_classification", "number": "regression"}[name]
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            place, num_labels=len(WORDS) if name == "labels" else 1, problem_type=problem
        )
    decayed = [p for n, p in model.named_parameters() if p.ndim > 1]
    plain = [p for n, p in model.named_parameters() if p.ndim <= 1]
    settings = run.config.optimizer
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(settings.beta_1, settings.beta_2), eps=settings.epsilon)
    row_set = run._encoded_train.row_set
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, round(settings.warmup_rate * run.settings.steps), run.settings.steps
    )
    order = np.concatenate(
        [np.random.default_rng([seed, epoch, 1]).permutation(len(row_set)) for epoch in range(int(EPOCHS) + 1)]
    )
    model.train()
    for step in range(steps):
        batch = row_set.batch(order[step * BATCH : (step + 1) * BATCH], TOKENS)
        loss = their_loss(name, model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        schedule.step()
    model.eval()
    return their_score(name, model, run)


def _inputs(batch: dict[str, np.ndarray], prefix: str = "") -> dict[str, Any]:
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    return {there: torch.tensor(batch[prefix + here].astype(np.int64)) for here, there in names.items()}


def _mean(model: Any, batch: dict[str, np.ndarray], prefix: str = "") -> Any:
    inputs = _inputs(batch, prefix)
    hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None].float()
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def their_loss(name: str, model: Any, batch: dict[str, np.ndarray]) -> Any:
    if name == "embeddings":
        scores = _mean(model, batch) @ _mean(model, batch, "pair_").T / 0.05
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(scores)))
    labels = batch["labels"]
    if name == "answers":
        first, last = (torch.tensor(labels[:, side].astype(np.int64)) for side in (0, 1))
        return model(**_inputs(batch), start_positions=first, end_positions=last).loss
    kind = np.int64 if name == "tags" else np.float32
    return model(**_inputs(batch), labels=torch.tensor(labels.astype(kind))).loss


def their_score(name: str, model: Any, run: FinetuneRun) -> float:
    """By the measures that ours are measured by, which tests/parity holds against seqeval's and scikit-learn's."""
    encoded, split = run._encoded_validation[0], run.data.validation[0]
    row_set, examples = encoded.row_set, split.examples

    def outputs(batch: dict[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            if name == "embeddings":
                return _mean(model, batch).numpy()
            found = model(**_inputs(batch))
        if name == "answers":
            return np.stack([found.start_logits.numpy(), found.end_logits.numpy()], axis=-1)
        return found.logits.numpy()

    values = row_set.rows.outputs(outputs, BATCH)
    if name == "embeddings":
        return retrieval_metrics(values, row_set.pairs.outputs(outputs, BATCH), 0.05)["accuracy"]
    if name == "labels":
        return multi_label_metrics(row_set.labels, values)["f1"]
    if name == "number":
        return regression_metrics(row_set.labels, values[:, 0])["pearson"]
    if name == "answers":
        answers = best_answers(encoded.more, values, examples.contexts)
        expected = ([text for text, _ in one] for one in examples.answers)
        return float(np.mean([answer_scores(a.text, b)[1] for a, b in zip(answers, expected, strict=True)]))
    tags = [["O"] * len(sentence) for sentence in examples.sentences]
    sentences, best = encoded.more.sentence_of_tokens(), values.argmax(axis=1)
    for token in np.flatnonzero(encoded.more.words >= 0):
        tags[sentences[token]][encoded.more.words[token]] = TAGS[best[token]]
    return tagging_metrics(examples.tags, tags, TAGS)["f1"]


def save_start(folder: Path, vocabulary: Path) -> None:
    """A BERT of 2 layers x 128 with random weights, in both layouts: what both sides begin with."""
    tokenizer = BertTokenizer(str(vocabulary), lowercase=True)
    keras.utils.set_random_seed(0)
    backbone = models.BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=2,
        num_heads=2,
        hidden_dim=128,
        intermediate_dim=512,
        max_sequence_length=128,
        activation="gelu",
    )
    rows = models.BertMaskedLMPreprocessor(tokenizer, sequence_length=TOKENS)
    task = models.BertMaskedLM(backbone, rows, head_activation="gelu", head_layer_norm_epsilon=1e-12, compile=False)
    task.save_to_preset(str(folder / "start"))
    save_huggingface(task, folder / "start-for-transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="plain text, a paragraph a line")
    parser.add_argument("--bert-vocabulary", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=TASKS, help="tasks; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--into", type=Path, help="a document with the mark of this benchmark")
    arguments = parser.parse_args()
    paragraphs = paragraphs_of(arguments.text)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        save_start(folder, arguments.bert_vocabulary)
        for name in arguments.only or TASKS:
            task = TASKS[name]
            for part, texts in paragraphs._asdict().items():
                (folder / f"{part}.{task.file}").write_text(task.write(texts), encoding="utf-8")
            scores: list[tuple[float, float]] = []
            for seed in range(arguments.seeds):
                score, run = ours(task, folder, seed)
                scores.append((score, theirs(name, folder, run, seed, run.settings.steps)))
                print(
                    f"{name}, seed {seed}: Clozekit {scores[-1][0]:.4f}, transformers {scores[-1][1]:.4f}", flush=True
                )
            mine, other = zip(*scores, strict=True)
            untrained = f", {theirs(name, folder, run, 0, steps=0):.3f} untrained" if name == "embeddings" else ""
            examples = f"{len(run.data.train.examples):,} / {len(run.data.validation[0].examples):,}"
            rows.append(
                f"| {name} (`{task.name}`) | {examples} | {run.settings.steps} | {task.score}{untrained} | {_spread(mine)} | {_spread(other)} |"
            )
    section = "\n".join(
        [
            "## Heads",
            "",
            f"`make bench-heads`. {arguments.seeds} seeds, the median and the range; a BERT of 2 x 128 from random weights on both sides, the",
            f"same rows, {BATCH} a step, {EPOCHS:g} epochs, learning rate {RATE:g} with the same schedule; examples to learn from and to",
            "measure on, of other articles. The tasks are made of the text itself: see the head of the program.",
            "",
            *header(("keras", "tensorflow", "torch", "transformers")),
            "",
            "| task | examples | steps | score | Clozekit | transformers |",
            "|---|---:|---:|---|---:|---:|",
            *rows,
            "",
        ]
    )
    print(section)
    if arguments.into is not None:
        put_into(arguments.into, "heads", section)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    # torch's optimizers look for it; its LLVM beside TensorFlow's ends the process.
    sys.modules["triton"] = None  # type: ignore[assignment]
    main()

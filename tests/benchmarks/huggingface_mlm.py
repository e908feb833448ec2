"""Hugging Face's way of continued pretraining, for the benchmark of `clozekit adapt`: a start, the adapting, the measure.

transformers' example run_mlm.py is not in its package, so what it does is done here by the same classes: every text is
tokenized with its special tokens, texts are joined in groups of 1,000 and cut into rows, a small rest is dropped;
DataCollatorForLanguageModeling masks; Trainer trains. Source of what it does and of its defaults:
https://github.com/huggingface/transformers/blob/main/examples/pytorch/language-modeling/run_mlm.py

    python tests/benchmarks/huggingface_mlm.py start TEXTS.jsonl DIRECTORY SETTINGS.json
    python tests/benchmarks/huggingface_mlm.py adapt TEXTS.jsonl VALIDATION.jsonl DIRECTORY SETTINGS.json
    python tests/benchmarks/huggingface_mlm.py score TEXTS.jsonl CHECKPOINT ... SETTINGS.json

and, for the benchmark of the time to a loss, from random weights on rows that were made once:

    python tests/benchmarks/huggingface_mlm.py vocabulary TEXTS.jsonl DIRECTORY SETTINGS.json
    python tests/benchmarks/huggingface_mlm.py rows TEXTS.jsonl ROWS SETTINGS.json
    python tests/benchmarks/huggingface_mlm.py pretrain TEXTS.jsonl ROWS DIRECTORY SETTINGS.json

Each prints one line of JSON at last.
"""

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers
from tokenizers import BertWordPieceTokenizer

GROUP = 1000
# run_mlm.py keeps so much to measure on where it is given one file.
VALIDATION_RATE = 0.05
SCORE_SEED = 12345
# Rows that the share of right answers is measured on.
MOST_ROWS = 400


def texts_of(path: str) -> list[str]:
    return [json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").splitlines()]


def grouped(tokenizer: Any, texts: Sequence[str], length: int) -> list[dict[str, list[int]]]:
    """Rows of so many tokens: in each thousand texts all are one text, [CLS] and [SEP] in between, its rest is dropped."""
    rows = []
    for start in range(0, len(texts), GROUP):
        encoded = tokenizer(list(texts[start : start + GROUP]), return_special_tokens_mask=True)
        joined = {name: list(chain(*values)) for name, values in encoded.items()}
        whole = len(joined["input_ids"]) // length * length
        rows += [
            {name: values[place : place + length] for name, values in joined.items()}
            for place in range(0, whole, length)
        ]
    return rows


def alone(tokenizer: Any, texts: Sequence[str], length: int) -> list[dict[str, list[int]]]:
    """Rows of one text each, cut into pieces between [CLS] and [SEP]; a text's last piece may be shorter."""
    cut = tokenizer(
        list(texts),
        truncation=True,
        max_length=length,
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
        padding="max_length",
    )
    names = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask")
    return [dict(zip(names, row, strict=True)) for row in zip(*(cut[name] for name in names), strict=True)]


class Marks(transformers.TrainerCallback):
    """CPU seconds of the process after so many steps."""

    def __init__(self, every: int) -> None:
        self.every, self.seconds = every, {}

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step % self.every == 0:
            self.seconds[state.global_step] = time.process_time()


def trained(
    model: Any, tokenizer: Any, rows: Sequence[Any], validation: Sequence[Any], directory: str, settings: dict[str, Any]
) -> Any:
    """The trainer after its training, and its marks."""
    told = transformers.TrainingArguments(
        directory,
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch"],
        per_device_eval_batch_size=settings["batch"],
        learning_rate=settings["learning_rate"],
        warmup_steps=round(settings["warmup_rate"] * settings["steps"]),
        lr_scheduler_type="linear",
        seed=settings["seed"],
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=settings["mark_every"],
        save_strategy="no",
    )
    marks = Marks(settings["mark_every"])
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=settings["mask_rate"])
    trainer = transformers.Trainer(
        model=model,
        args=told,
        train_dataset=rows,
        eval_dataset=validation,
        processing_class=tokenizer,
        data_collator=collator,
        callbacks=[marks],
    )
    trainer.train()
    trainer.save_model()
    return trainer, marks.seconds


def learned_vocabulary(texts: Sequence[str], directory: str, settings: dict[str, Any]) -> Any:
    """The tokenizer, whose files are in the directory."""
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(texts, vocab_size=settings["vocabulary_size"], show_progress=False)
    Path(directory).mkdir(parents=True)
    [file] = pieces.save_model(directory)
    tokenizer = transformers.BertTokenizerFast(file, model_max_length=settings["length"])
    tokenizer.save_pretrained(directory)
    return tokenizer


def from_scratch(tokenizer: Any, settings: dict[str, Any]) -> Any:
    """A BERT with random weights."""
    sizes = {name: settings[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        intermediate_size=4 * settings["hidden_size"],
        initializer_range=settings["initializer_range"],
        max_position_embeddings=settings["length"],
        **sizes,
    )
    return transformers.BertForMaskedLM(config)


def start(texts: Sequence[str], directory: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A vocabulary and a BERT of its own, pretrained a little."""
    tokenizer = learned_vocabulary(texts, directory, settings)
    torch.manual_seed(settings["seed"])
    model = from_scratch(tokenizer, settings)
    rows = grouped(tokenizer, texts, settings["length"])
    cut = round(len(rows) * VALIDATION_RATE)
    trainer, _ = trained(model, tokenizer, rows[cut:], rows[:cut], directory, settings)
    return {"parameters": model.num_parameters(), **trainer.evaluate()}


def adapt(texts: Sequence[str], validation: str, directory: str, settings: dict[str, Any]) -> dict[str, Any]:
    transformers.set_seed(settings["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["start"])
    model = transformers.AutoModelForMaskedLM.from_pretrained(settings["start"])
    rows, held_out = (grouped(tokenizer, part, settings["length"]) for part in (texts, texts_of(validation)))
    trainer, marks = trained(model, tokenizer, rows, held_out, directory, settings)
    return {"marks": marks, "rows": len(rows), **trainer.evaluate()}


def vocabulary(texts: Sequence[str], directory: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"pieces": len(learned_vocabulary(texts, directory, settings))}


def rows(texts: Sequence[str], file: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Grouped rows in an array: what `datasets` keeps on disk between two runs."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["start"])
    found = grouped(tokenizer, texts, settings["length"])
    ids, special = (np.array([row[name] for row in found]) for name in ("input_ids", "special_tokens_mask"))
    np.savez(f"{file}.npz", input_ids=ids, special_tokens_mask=special)
    return {"rows": len(found)}


def pretrain(texts: Sequence[str], file: str, directory: str, settings: dict[str, Any]) -> dict[str, Any]:
    del texts
    transformers.set_seed(settings["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["start"])
    whole = np.load(f"{file}.npz")
    ids, special = whole["input_ids"].tolist(), whole["special_tokens_mask"].tolist()
    made = [
        {"input_ids": a, "special_tokens_mask": b, "attention_mask": [1] * len(a), "token_type_ids": [0] * len(a)}
        for a, b in zip(ids, special, strict=True)
    ]
    _, marks = trained(from_scratch(tokenizer, settings), tokenizer, made, [], directory, settings)
    tokenizer.save_pretrained(directory)
    return {"marks": marks}


def score(texts: Sequence[str], checkpoints: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Checkpoint -> kind of rows -> mean loss of the masked tokens, and with `accuracy` the share that is right too; rows and
    masks are the same for all."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["start"])
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=settings["mask_rate"])
    batches = {}
    for kind, make in (("grouped", grouped), ("alone", alone)):
        rows = make(tokenizer, texts, settings["length"])
        if settings.get("accuracy"):
            rows = random.Random(SCORE_SEED).sample(rows, min(MOST_ROWS, len(rows)))
        torch.manual_seed(SCORE_SEED)
        batches[kind] = [collator(rows[place : place + 32]) for place in range(0, len(rows), 32)]
    found: dict[str, Any] = {}
    for checkpoint in checkpoints:
        model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoint).eval()
        both = {kind: _loss(model, tokenizer, of_kind) for kind, of_kind in batches.items()}
        names = ("loss", "accuracy", "characters")
        found[checkpoint] = {
            kind: dict(zip(names, of_kind, strict=True)) if settings.get("accuracy") else of_kind[0]
            for kind, of_kind in both.items()
        }
    return found


@torch.no_grad()
def _loss(model: Any, tokenizer: Any, batches: Sequence[Any]) -> tuple[float, float, float]:
    """Mean loss of the masked tokens, the share of them that is right, and how many characters they have in the mean."""
    total = count = right = characters = 0.0
    for batch in batches:
        is_masked = batch["labels"] != -100
        masked, found = int(is_masked.sum()), model(**batch)
        total += float(found.loss) * masked
        right += int((found.logits.argmax(-1) == batch["labels"])[is_masked].sum())
        pieces = tokenizer.convert_ids_to_tokens(batch["labels"][is_masked].tolist())
        characters += sum(len(piece.removeprefix("##")) for piece in pieces)
        count += masked
    return total / count, right / count, characters / count


def main() -> None:
    action, texts, *places, settings_path = sys.argv[1:]
    settings = json.loads(Path(settings_path).read_text(encoding="utf-8"))
    if action == "score":
        result = score(texts_of(texts), places, settings)
    else:
        actions = {"start": start, "adapt": adapt, "vocabulary": vocabulary, "rows": rows, "pretrain": pretrain}
        result = actions[action](texts_of(texts), *places, settings)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

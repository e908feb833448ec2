"""Damaged configurations of every verb that takes a file, and changes of them: settings, or one line that says why not."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import ODD_VALUES, damaged_bytes, damaged_json, dice_of_cases

from clozekit.deploy.submit.job_spec import load_job
from clozekit.model.training.settings.finetune_settings import GLUE_FOLDER, load_finetune_config
from clozekit.model.training.settings.run_file import load_config
from clozekit.pipelines.settings.corpus_file import build_options, load_fields
from clozekit.tokenizers.common.errors import InputError

TRAIN: dict[str, Any] = {
    "dataset": "d",
    "directory": "r",
    "preset": "p",
    "seed": 3,
    "model": {"family": "albert", "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "embedding_dim": 4},
    "masking": {"strategy": "span", "num_slots": 5, "train_rate": 0.3},
    "reader": {},
    "train": {"steps": 20, "phases": [{"steps": 10, "dataset": "a"}, {"steps": 10}]},
    "optimizer": {"name": "lamb", "learning_rate": 1e-3},
    "checkpoint": {"every_steps": 5},
    "divergence": {"loss_factor": 2.0},
    "cluster": {"strategy": "auto", "port": 8000},
    "log": {"price_per_hour": 0.5},
}
FINETUNE: dict[str, Any] = {
    "init_from": "bert_base_en",
    "directory": "r",
    "data": {
        "train": "t.tsv",
        "text": 0,
        "label": "label",
        "validation": ["a.tsv", "b.tsv"],
        "labels": ["no", 1],
        "header": False,
        "validation_rate": 0.1,
    },
    "train": {"epochs": 3, "xla": None},
    "optimizer": {"learning_rate": 2e-5},
}
CORPUS: dict[str, Any] = {
    "sources": [{"name": "web", "inputs": ["a", "b"], "weight": 0.5}, {"name": "books", "inputs": ["c"]}],
    "read": {"text_key": "body", "max_bad_rate": 0.1},
    "clean": {"unicode": True, "mask": ["email"]},
    "filter": {"rules": {"num_words": [3, None]}, "rule_sets": ["gopher"], "languages": ["en"]},
    "decontaminate": {"inputs": ["x"]},
    "deduplicate": {"kind": "near", "min_similarity": 0.8},
}
JOB: dict[str, Any] = {
    "name": "run",
    "image": "i",
    "accelerators": {"kind": "a100", "count": 2},
    "budget": {"cost": 5, "price_per_hour": 2},
    "labels": {"a": "b"},
    "environment": {"A": 1},
    "output": "gs://b/o",
    "kubernetes": {"kind": "job", "volumes": {"c": "/d"}},
    "slurm": {"setup": ["module load x"], "partition": "p"},
    "tpu": {"max_wait_hours": 1},
}
GLUE = yaml.safe_load((GLUE_FOLDER / "mrpc.yaml").read_text(encoding="utf-8"))


def load_corpus(path: str, changes: list[str]) -> Any:
    return build_options(load_fields(path))


# Kind -> a good configuration, what reads it.
KINDS: dict[str, tuple[dict[str, Any], Callable[[str, list[str]], Any]]] = {
    "train": (TRAIN, load_config),
    "finetune": (FINETUNE, load_finetune_config),
    "glue": ({"init_from": "x", "directory": "y"} | GLUE, load_finetune_config),
    "prepare": (CORPUS, load_corpus),
    "submit": (JOB, load_job),
}
VALUES = ("nan", ".inf", "-1", "1e999", '""', "null", "[", "{a: {b: 1}}", "2020-13-45", "9" * 5000, "[" * 999, "*a", "&a [*a]",
          '"\\0"', '"\\ud800"', "1:30", "0x" + "f" * 9000, "!!binary x", "!!set {a}", "? [1]: 2", "<<: 1", "\x00", "é")  # fmt: skip


def accept(read: Callable[[str, list[str]], Any], path: Path, changes: list[str]) -> bool:
    """Whether the reader takes it; any other refusal than one line fails."""
    try:
        settings = read(str(path), changes)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return False
    assert settings is not None
    return True


def keys_of(fields: dict[str, Any], prefix: str = "") -> list[str]:
    inner = [
        key for name, part in fields.items() if isinstance(part, dict) for key in keys_of(part, f"{prefix}{name}.")
    ]
    return [prefix + name for name in fields] + inner


@pytest.mark.parametrize("kind", KINDS)
def test_the_good_ones_are_taken(kind: str, tmp_path: Path) -> None:
    fields, read = KINDS[kind]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    assert accept(read, tmp_path / "x.yaml", [])


@pytest.mark.parametrize("kind", KINDS)
def test_fuzz_damaged_values(kind: str, tmp_path: Path) -> None:
    fields, read = KINDS[kind]
    path = tmp_path / "x.yaml"
    for _, dice in dice_of_cases(40):
        damaged = damaged_json(fields, dice)
        if dice.random() < 0.3 and isinstance(damaged, dict):
            damaged[dice.choice(("x", "", "a\nb", 5, None, 0.5, True))] = dice.choice(ODD_VALUES)
        path.write_bytes(yaml.safe_dump(damaged, allow_unicode=False).encode("utf-8", "surrogatepass"))
        accept(read, path, [])


@pytest.mark.parametrize("kind", KINDS)
def test_fuzz_damaged_texts(kind: str, tmp_path: Path) -> None:
    fields, read = KINDS[kind]
    path, text = tmp_path / "x.yaml", yaml.safe_dump(fields).encode()
    for _, dice in dice_of_cases(40):
        path.write_bytes(damaged_bytes(text, dice))
        accept(read, path, [])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "prepare"])
def test_fuzz_changes(kind: str, tmp_path: Path) -> None:
    fields, read = KINDS[kind]
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    keys = keys_of(fields)
    for _, dice in dice_of_cases(40):
        accept(read, path, [change(keys, dice) for _ in range(dice.randint(1, 3))])


def change(keys: list[str], dice: random.Random) -> str:
    key = dice.choice(keys)
    kind = dice.randrange(4)
    if kind == 0:
        key = damaged_bytes(key.encode(), dice).decode("utf-8", "surrogateescape")
    elif kind == 1:
        key += dice.choice((".", ".x", "..", ".0", "\n"))
    value = dice.choice((*VALUES, *map(str, ODD_VALUES)))
    return f"{key}={value}" if dice.random() < 0.95 else key

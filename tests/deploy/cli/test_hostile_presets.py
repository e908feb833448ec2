"""Presets that are damaged or hostile, through every command that takes one: a line, nothing written, nothing run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_families as small
import yaml
from long_variants import FULL

from clozekit.deploy.cli.main import main
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.pipelines.dataset.manifest import Manifest

Change = Callable[[Path], object]
HOSTILE = {"module": "builtins", "class_name": "exec", "config": {"source": "raise SystemExit(9)"}}


def settings(name: str, *way: str, value: Any) -> Change:
    """Puts a value into a JSON file; of the file nothing but that is changed."""

    def change(preset: Path) -> None:
        content = json.loads((preset / name).read_text(encoding="utf-8"))
        holder = content
        for key in way[:-1]:
            holder = holder.setdefault(key, {})
        holder[way[-1]] = value
        (preset / name).write_text(json.dumps(content), encoding="utf-8")

    return change


def text(name: str, content: str) -> Change:
    return lambda preset: (preset / name).write_text(content, encoding="utf-8")


def cut(name: str, num_bytes: int) -> Change:
    return lambda preset: (preset / name).write_bytes((preset / name).read_bytes()[:num_bytes])


CHANGES: dict[str, tuple[str, Change]] = {
    "our backbone is a class of somebody's": ("ours", settings("config.json", "class_name", value="exec")),
    "our activation is a layer": ("ours", settings("config.json", "config", "activation", value=HOSTILE)),
    "our sizes are out of proportion": ("ours", settings("config.json", "config", "hidden_dim", value=10**9)),
    "our layers are many": ("ours", settings("config.json", "config", "num_layers", value=10**7)),
    "our epsilon is a text": ("ours", settings("config.json", "config", "layer_norm_epsilon", value="1e-5")),
    "our config is deep": ("ours", text("config.json", "[" * 100_000)),
    "our tokenizer is deep": ("ours", text("tokenizer.json", '{"a":' * 100_000)),
    "our task's activation is a dict": ("ours", settings("clozekit.json", "task", "activation", value=HOSTILE)),
    "our weights are cut": ("ours", cut("model.weights.h5", 2000)),
    "their sizes are out of proportion": ("theirs", settings("config.json", "vocab_size", value=10**9)),
    "their model type is a number": ("theirs", settings("config.json", "model_type", value=5)),
    "their activation is a dict": ("theirs", settings("config.json", "hidden_act", value=HOSTILE)),
    "their architectures are a text": ("theirs", settings("config.json", "architectures", value="BertForMaskedLM")),
    "their epsilon is nothing": ("theirs", settings("config.json", "layer_norm_eps", value=None)),
    "their config is deep": ("theirs", text("config.json", '{"a":' * 100_000)),
    "their tokenizer is another": ("theirs", settings("tokenizer.json", "model", "type", value="WordLevel")),
    "their weights are cut": ("theirs", cut("model.safetensors", 200)),
    "their weights' header is deep": ("theirs", lambda preset: (preset / "model.safetensors").write_bytes(
        (200_000).to_bytes(8, "little") + b"[" * 200_000)),
}  # fmt: skip


# `prepare` reads the tokenizer alone, and `finetune` no head of another task.
NOT_READ: dict[str, tuple[str, ...]] = {
    "our tokenizer is deep": (),
    "their tokenizer is another": (),
    "their config is deep": (),
    "our task's activation is a dict": ("prepare", "finetune"),
}


@pytest.fixture(scope="module")
def given(dataset: tuple[str, Manifest], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given")
    task = small.masked_lm("bert", small.masked_lm_preprocessor("bert"))
    task.save_to_preset(str(root / "ours"))
    save_huggingface(task, root / "theirs")
    (root / "texts.txt").write_text("the dog was [MASK] .\n", encoding="utf-8")
    rows = "".join(f"{number % 2}\tthe dog was quick {number}\n" for number in range(16))
    (root / "rows.tsv").write_text("label\ttext\n" + rows, encoding="utf-8")
    shutil.copy(corpus, root / "corpus.jsonl")
    config = {
        "dataset": dataset[0],
        "model": {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24},
        "train": {"steps": 2, "global_batch_size": 4},
    }
    (root / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return root


def commands(given: Path, preset: Path, out: Path) -> dict[str, list[str]]:
    texts, rows = str(given / "texts.txt"), str(given / "rows.tsv")
    data = f"data={{train: {rows}, validation: {rows}, text: text, label: label}}"
    return {
        "fill": ["fill", str(preset), "--file", texts],
        "evaluate": ["evaluate", str(preset), "--texts", texts, "--output", str(out / "r.json")],
        "predict": ["predict", str(preset), "--file", texts],
        "convert": ["convert", str(preset), str(out / "p"), "--to", "keras_hub"],
        # Both read it the same way.
        **({"convert ": ["convert", str(preset), str(out / "p"), "--to", "huggingface"]} if FULL else {}),
        "finetune": ["finetune", f"init_from={preset}", f"directory={out / 'run'}", data],
        "train": ["train", str(given / "train.yaml"), f"init_from={preset}", f"directory={out / 'run'}"],
        "prepare": [
            *("prepare", "--input", str(given / "corpus.jsonl"), "--tokenizer", str(preset)),
            *("--output", str(out / "rows"), "--sequence-length", "32"),
        ],
    }


@pytest.mark.parametrize("name", CHANGES)
def test_every_command_says_a_line_and_writes_nothing(
    name: str, given: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layout, change = CHANGES[name]
    preset, out = tmp_path / "preset", tmp_path / "out"
    shutil.copytree(given / layout, preset)
    out.mkdir()
    change(preset)
    for verb, command in commands(given, preset, out).items():
        if verb in NOT_READ.get(name, ("prepare",)):
            continue
        status = main(command)
        said = capfd.readouterr().err
        assert (status, said.count("\n")) == (2, 1), (verb, said)
        assert said.startswith(f"clozekit {verb.strip()}: "), said
        assert not list(out.iterdir()), (verb, list(out.iterdir()))

"""A desk on which what the documents show is tried: the tour of the quickstart, run on a tiny corpus."""

import contextlib
import json
import random
from pathlib import Path

from documents import blocks, guide_commands
from long_variants import FULL
from run_commands import run_command

import clozekit.model as models
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

# Of the training, with CLOZEKIT_FULL=1: few small steps without XLA, and else what the page says.
QUICKER = [
    *("train.steps=2", "train.xla=false", "train.steps_per_loop=2", "evaluate.max_rows=8"),
    *("model.num_layers=1", "model.num_heads=2", "model.hidden_dim=16", "model.intermediate_dim=32"),
]

# The guides that export and convert.
CONVERTING = ("docs/dataset-format.md", "docs/models-and-presets.md", "docs/handing-over.md")


def write_corpus(path: Path) -> None:
    """600 documents of made-up words, no two of them alike."""
    dice = random.Random(0)
    words = ["".join(dice.choices("abcdefghijklmnoprstuvw", k=dice.randint(2, 8))) for _ in range(800)]
    texts = [" ".join(dice.choices(words, k=dice.randint(10, 80))) + "." for _ in range(600)]
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def write_preset(tokenizer_directory: str, preset: str) -> None:
    """What the training would leave there, untrained."""
    tokenizer = load_tokenizer(tokenizer_directory)
    preprocessor = models.BertMaskedLMPreprocessor(tokenizer, sequence_length=64)
    backbone = models.BertBackbone(
        tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=128,
    )
    models.BertMaskedLM(backbone, preprocessor).save_to_preset(preset)


def take_the_tour(folder: Path) -> dict[str, str]:
    """Runs the quickstart in `folder`; verb -> its screen. Without CLOZEKIT_FULL=1 its training is left out."""
    write_corpus(folder / "clozekit-demo" / "corpus" / "python-docs.jsonl")
    (config,) = blocks("docs/quickstart.md", "yaml")
    (folder / "config.yaml").write_text(config.text, encoding="utf-8")
    screens = {}
    with contextlib.chdir(folder):
        for _, words in guide_commands("docs/quickstart.md"):
            if words[0] != "train":
                screens[words[0]] = run_command(words)
            elif FULL:
                screens["train"] = run_command([*words, *QUICKER])
            else:
                write_preset("dataset/tokenizer", "run/preset")
    return screens


def export_and_convert(folder: Path) -> None:
    """What the guides export of the dataset and convert of the preset, but what comes from the network."""
    with contextlib.chdir(folder):
        for _, words in guide_commands(*CONVERTING):
            if words[0] in ("export", "convert") and "hf://" not in " ".join(words):
                run_command(words)

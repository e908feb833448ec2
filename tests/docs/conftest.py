"""A desk on which what the documents show is tried: the tour of the quickstart, run on a tiny corpus."""

import contextlib
import json
import random
from pathlib import Path

import pytest
from documents import blocks, guide_commands
from run_commands import run_command

# Few small steps without XLA, and else what the page says.
QUICKER = ["train.steps=2", "train.xla=false", "train.steps_per_loop=2", "evaluate.max_rows=8", "model.num_layers=1"]


def write_corpus(path: Path) -> None:
    """600 documents of made-up words, no two of them alike."""
    dice = random.Random(0)
    words = ["".join(dice.choices("abcdefghijklmnoprstuvw", k=dice.randint(2, 8))) for _ in range(800)]
    texts = [" ".join(dice.choices(words, k=dice.randint(10, 80))) + "." for _ in range(600)]
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


@pytest.fixture(scope="session")
def screens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which the quickstart was run, and verb -> its screen."""
    folder = tmp_path_factory.mktemp("desk")
    write_corpus(folder / "clozekit-demo" / "corpus" / "python-docs.jsonl")
    (config,) = blocks("docs/quickstart.md", "yaml")
    (folder / "config.yaml").write_text(config.text, encoding="utf-8")
    found = {}
    with contextlib.chdir(folder):
        for _, words in guide_commands("docs/quickstart.md"):
            more = QUICKER if words[0] == "train" else []
            found[words[0]] = run_command([*words, *more])
    return folder, found


@pytest.fixture(scope="session")
def desk(screens: tuple[Path, dict[str, str]]) -> Path:
    """The folder with corpus, tokenizer, dataset, run and preset, and all that the guides export and convert of them."""
    folder, _ = screens
    with contextlib.chdir(folder):
        for _, words in guide_commands("docs/dataset-format.md", "docs/models-and-presets.md"):
            if words[0] in ("export", "convert") and "hf://" not in " ".join(words):
                run_command(words)
    return folder

"""Raw text to a preset that predicts, through the command alone, and the same bytes on one worker and on two."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from long_variants import FULL

from clozekit.deploy.cli.main import main
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.pipelines.dataset.manifest import read_manifest
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

CONFIG = """\
dataset: {root}/dataset
directory: {root}/run
model: {{num_layers: 1, num_heads: 2, hidden_dim: 32, intermediate_dim: 64, dropout: 0.0}}
train: {{steps: 30, global_batch_size: 16, steps_per_loop: 5}}
optimizer: {{learning_rate: 0.01}}
evaluate: {{every_steps: 10, max_rows: 64}}
checkpoint: {{every_steps: 10}}
"""


class References(HTMLParser):
    """Collects every address that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href") and tag != "use"]


@pytest.mark.skipif(not FULL, reason="the demo below does the same; CLOZEKIT_FULL=1 runs it")
def test_raw_text_becomes_a_preset_that_predicts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer, preset = str(tmp_path / "tokenizer"), str(tmp_path / "run" / "preset")
    assert main(["vocab", "--input", str(corpus), "--output", tokenizer, "--vocabulary-size", "80"]) == 0
    prepare = [
        "prepare",
        "--input",
        str(corpus),
        "--tokenizer",
        tokenizer,
        "--sequence-length",
        "32",
        "--num-shards",
        "3",
    ]
    prepare += ["--validation-rate", "0.1"]
    fingerprints = set()
    for name, workers in (("dataset", 1), ("again", 1), ("two", 2)):
        assert main([*prepare, "--output", str(tmp_path / name), "--num-workers", str(workers)]) == 0
        fingerprints.add(read_manifest(str(tmp_path / name)).dataset_sha256)
    assert len(fingerprints) == 1

    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(root=tmp_path), encoding="utf-8")
    assert main(["train", str(config)]) == 0
    losses = [entry["loss"] for entry in read_metrics(tmp_path / "run" / METRICS_FILE) if entry["kind"] == "train"]
    assert len(losses) == 6
    assert losses[-1] < 0.8 * losses[0]

    capsys.readouterr()
    assert main(["fill", preset, "the old cat sat on the [MASK] .", "--top-k", "3"]) == 0
    out = capsys.readouterr().out
    guesses = re.findall(r"(\S+) \d+\.\d%", out)
    assert len(guesses) == 3
    assert set(guesses) <= set(load_tokenizer(tokenizer).get_vocabulary())

    page = References()
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    page.feed(text)
    assert page.found == []
    assert text.count("<svg") == 10
    assert "validation loss" in text


@pytest.mark.slow
def test_the_demo_runs_and_runs_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from clozekit.deploy.demo import demo_corpus
    from clozekit.deploy.demo import run_demo as demo

    # The corpus of one small package in place of the whole standard library; everything else is the demo.
    files = [(f"json.{path.stem}", path) for path in sorted(Path(json.__file__).parent.glob("*.py"))]
    monkeypatch.setattr(demo_corpus, "source_files", lambda: files)
    monkeypatch.setattr(demo, "VOCABULARY_SIZE", 600)
    directory = tmp_path / "clozekit-demo"
    assert main(["demo", "--directory", str(directory), "--steps", "6"]) == 0
    first = capsys.readouterr().out
    assert "masked accuracy" in first and "[5/5] results" in first
    assert {path.name for path in directory.iterdir()} == {
        "corpus", "tokenizer", "dataset", "run", "preset", "report.html", "train.yaml", ".clozekit-files.json",
    }  # fmt: skip
    assert {path.name for path in (directory / "run").iterdir()} == {
        "checkpoints", "metrics.jsonl", "model", "tensorboard", "config.yaml", ".clozekit-files.json",
    }  # fmt: skip
    assert main(["demo", "--directory", str(directory), "--steps", "6"]) == 0
    second = capsys.readouterr().out
    assert second.count("already") == 4
    results = [text[text.index("[5/5]") : text.index("done in")] for text in (first, second)]
    assert results[0] == results[1]

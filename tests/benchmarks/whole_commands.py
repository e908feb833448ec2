"""CPU seconds of whole commands on little work, of this checkout and of another one in turns: what a start costs."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from clozekit.deploy.bench.bench_text import generate_texts, write_texts

ROOT = Path(__file__).parents[2]
TEXT_BYTES = 1_000_000
PREPARE = "prepare --input text.jsonl --tokenizer vocab --sequence-length 128 --output"
VOCAB = "vocab --input text.jsonl --vocabulary-size 4000 --output"
# Says nothing that the file does not, but that what XLA compiled is kept: everything else compiles anew.
KEPT = "train.steps=1"
# Name -> words; {} is a folder that is not there yet.
COMMANDS = {
    "`vocab`, 1 MB, 4,000 pieces": f"{VOCAB} {{}}",
    "`prepare`, 1 MB": f"{PREPARE} {{}}",
    "`fill`, a preset of 2 x 128": "fill run/preset Python[MASK]",
    "`inspect`": "inspect dataset",
    "`verify`": "verify dataset",
    "`train` up to its first step, 2 x 128": "train train.yaml directory={}",
    "the same, with the programs of a run before": f"train train.yaml directory={{}} {KEPT}",
}
TRAIN = """\
dataset: dataset
directory: run
model: {num_layers: 2, num_heads: 2, hidden_dim: 128, intermediate_dim: 512}
train: {steps: 1, global_batch_size: 32}
evaluate: {max_rows: 32}
log: {trackers: ["first_step:make"]}
"""
# A run asks for its callbacks by name; it notes the CPU seconds of its process when a step was done.
TRACKER = """\
import time
from clozekit.model.training.watching.callbacks import Callback
class FirstStep(Callback):
    def on_log(self, run, step, values):
        with open("first_step.txt", "w") as stream:
            stream.write(str(time.process_time()))
make = FirstStep
"""


class Checkout:
    """The code in a folder, run in another one; what stands there beside `clozekit` can be imported too."""

    def __init__(self, code: Path, place: Path) -> None:
        self._place = place
        names = place / "names"
        (names / "clozekit").mkdir(parents=True)
        for folder in ("pipelines", "model", "tokenizers", "deploy"):
            (names / "clozekit" / folder).symlink_to(code.resolve() / folder)
        (names / "first_step.py").write_text(TRACKER, encoding="utf-8")
        self._environment = {**os.environ, "PYTHONPATH": str(names)}
        (place / "train.yaml").write_text(TRAIN, encoding="utf-8")

    def cpu_seconds(self, words: str) -> float:
        """Of the command and what it starts; of `train` up to its first step."""
        command = [sys.executable, "-m", "clozekit.deploy.cli", *words.split()]
        before = os.times()
        kept = "programs" if words.endswith(KEPT) else "0"
        environment = {**self._environment, "CLOZEKIT_PROGRAMS": kept}
        done = subprocess.run(command, cwd=self._place, env=environment, capture_output=True, text=True, check=False)
        after = os.times()
        if done.returncode:
            raise RuntimeError(f"clozekit {words} failed: {done.stderr[-2000:]}")
        if words.startswith("train"):
            return float((self._place / "first_step.txt").read_text())
        return after.children_user + after.children_system - before.children_user - before.children_system


def opened(code: Path, place: Path, texts: list[str]) -> Checkout:
    """A checkout with a text, a tokenizer, a dataset and a preset of its own making, its kernels compiled."""
    place.mkdir()
    write_texts(texts, place / "text.jsonl")
    checkout = Checkout(code, place)
    for words in (f"{VOCAB} vocab", f"{PREPARE} dataset", f"train train.yaml {KEPT}"):
        checkout.cpu_seconds(words)
    return checkout


def measure(folder: Path, before: Path | None, turns: int) -> str:
    """A table in Markdown: medians and ranges, and the share where there is a checkout from before."""
    texts = list(generate_texts(TEXT_BYTES))
    codes = {"after": ROOT} if before is None else {"before": before, "after": ROOT}
    checkouts = {name: opened(code, folder / name, texts) for name, code in codes.items()}
    sums = {json.loads((folder / name / "dataset/manifest.json").read_text())["dataset_sha256"] for name in codes}
    if len(sums) != 1:
        raise RuntimeError("the two checkouts must make the same dataset, they do not")
    shares = ("after by before", "half") if before is not None else ()
    lines = [_row("", *codes, *shares), _row("---", *["---:"] * len(codes), *["---:", "---"][: len(shares)])]
    for number, (name, words) in enumerate(COMMANDS.items()):
        times: dict[str, list[float]] = {which: [] for which in codes}
        for turn in range(turns):
            for which, checkout in checkouts.items():
                times[which].append(checkout.cpu_seconds(words.format(f"made-{number}-{turn}")))
        medians = {which: statistics.median(taken) for which, taken in times.items()}
        cells = [f"{medians[which]:.2f} ({min(taken):.2f} to {max(taken):.2f})" for which, taken in times.items()]
        if before is not None:
            share = medians["after"] / medians["before"]
            cells += [f"{share:.2f}", "met" if share <= 0.5 else "**missed**"]
        lines.append(_row(name, *cells))
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

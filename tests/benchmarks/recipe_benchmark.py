"""The recipe of a small model against changes of it, one at a time, in the same CPU time: what `laptop` was chosen by.

    make bench-recipe CORPORA=docs.jsonl.gz
    python tests/benchmarks/recipe_benchmark.py --corpus docs.jsonl.gz --budgets 45 180 --seeds 3

Every run is `clozekit train` on one core and ends with its schedule when its CPU seconds are over, those of its start among them;
a larger model or batch gets fewer steps. transformers measures the checkpoints on documents that none has seen, on the same rows with
the same masks. Other vocabularies cut those documents into other tokens, so they are compared by nats a masked character.
Needs the extra `parity`; what is shared with the time to a loss is in time_to_loss_benchmark.py.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import time_to_loss_benchmark as time_to_loss
from adapt_benchmark import Run
from tables import header, put_into
from time_to_loss_benchmark import MODEL, Recipe

PACKAGES = ("tensorflow", "keras", "transformers", "torch", "numpy")
LEARNING_RATE = 3e-3
# The recipe, whose keys the changes below replace.
LAPTOP = {
    "model.dropout": "0.0",
    "model.initializer_range": "0.06",
    "optimizer.name": "muon",
    "optimizer.schedule": "warmup_stable_decay",
    "optimizer.learning_rate": f"{LEARNING_RATE:g}",
}
# What is changed, the value, and the keys of it; sizes go with the spread of their fresh weights.
CHANGES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("the recipe `laptop`", "", {}),
    ("masked in training (30%)", "15%", {"masking.train_rate": "0.15"}),
    ("masked in training (30%)", "40%", {"masking.train_rate": "0.4"}),
    ("masked in training (30%)", "30% down to 15%", {"masking.final_rate": "0.15"}),
    ("rows a step (8)", "4", {"train.global_batch_size": "4"}),
    ("rows a step (8)", "16", {"train.global_batch_size": "16"}),
    ("rows a step (8)", "32", {"train.global_batch_size": "32"}),
    ("learning rate (0.003)", "0.0015", {"optimizer.learning_rate": "0.0015"}),
    ("learning rate (0.003)", "0.002", {"optimizer.learning_rate": "0.002"}),
    ("learning rate (0.003)", "0.006", {"optimizer.learning_rate": "0.006"}),
    ("schedule (stable, then down over the last 10%)", "over the last 20%", {"optimizer.decay_rate": "0.2"}),
    ("schedule (stable, then down over the last 10%)", "over the last 50%", {"optimizer.decay_rate": "0.5"}),
    ("schedule (stable, then down over the last 10%)", "cosine", {"optimizer.schedule": "cosine"}),
    ("schedule (stable, then down over the last 10%)", "linear", {"optimizer.schedule": "linear"}),
    ("optimizer (Muon)", "AdamW", {"optimizer.name": "adamw"}),
    ("optimizer (Muon)", "AdamW, 0.001", {"optimizer.name": "adamw", "optimizer.learning_rate": "0.001"}),
    ("optimizer (Muon)", "StableAdamW", {"optimizer.name": "stable_adamw"}),
    ("optimizer (Muon)", "Lion, 0.0003", {"optimizer.name": "lion", "optimizer.learning_rate": "0.0003"}),
    ("layers x width (2 x 128)", "4 x 128", {"model.num_layers": "4"}),
    ("layers x width (2 x 128)", "1 x 192", {"model.num_layers": "1", "model.hidden_dim": "192", "model.intermediate_dim": "768"}),
    ("layers x width (2 x 128)", "2 x 192", {"model.hidden_dim": "192", "model.intermediate_dim": "768"}),
    ("dropout (0)", "0.1", {"model.dropout": "0.1"}),
    ("initializer_range (0.06)", "0.02", {"model.initializer_range": "0.02"}),
)  # fmt: skip
VOCABULARIES = (4000, 8000, 16000)


def recipes(numbers: Sequence[int]) -> Iterator[Recipe]:
    for number in numbers:
        words = tuple(f"{key}={value}" for key, value in {**LAPTOP, **CHANGES[number][2]}.items())
        yield Recipe("clozekit", f"change {number}", LEARNING_RATE, words)


def figures(runs: Sequence[Run], losses: dict[str, dict[str, dict[str, float]]], per: str) -> str:
    """Median and range of the seeds, and the median share that is right."""
    found = [losses[run.checkpoint]["grouped"] for run in runs]
    values = sorted(each["loss"] / each[per] if per else each["loss"] for each in found)
    right = statistics.median(each["accuracy"] for each in found)
    steps = statistics.median(run.steps for run in runs)
    return f"{steps:,.0f} | {statistics.median(values):.3f} ({values[0]:.3f} to {values[-1]:.3f}) | {right:.1%}"


def rows_of(folder: Path, budgets: Sequence[float], seeds: int, numbers: Sequence[int], per: str = "") -> list[str]:
    """For each change a row with its figures at each budget."""
    largest = max(budgets)
    shares = [budget / largest for budget in budgets]
    made = list(recipes(numbers))
    cores = time_to_loss.own_cores()
    runs = time_to_loss.measured(folder, made, largest, shares, seeds, cores)
    losses = time_to_loss.losses_of(folder, runs)
    return [" | ".join(figures(runs[recipe.name, share * largest], losses, per) for share in shares) for recipe in made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl.gz of documents")
    parser.add_argument("--budgets", type=float, nargs="+", default=[45.0, 180.0], help="CPU seconds of a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--changes", type=int, nargs="+", default=list(range(len(CHANGES))), help="numbers of changes")
    parser.add_argument("--vocabularies", type=int, nargs="*", default=list(VOCABULARIES))
    parser.add_argument("--work", type=Path, help="where runs are kept and found again; a temporary folder")
    parser.add_argument("--into", type=Path, help="a document with the mark of this benchmark")
    arguments = parser.parse_args()
    heads = [f"steps in {budget:g} CPU-s | loss | right" for budget in arguments.budgets]
    ruler = "---|" + "---:|---:|---:|" * len(heads)
    lines = [
        "## The recipe of a small model",
        "",
        "`make bench-recipe`. BERT from random weights, rows of 128, WordPiece; `clozekit train` on one core, each run so many CPU",
        f"seconds with its start, with its own schedule. Medians of {arguments.seeds} seeds (and the range). transformers measures all on the same",
        "masks of documents that none has seen, in rows grouped as run_mlm.py does. Each row changes one thing of the first.",
        "",
        *header(PACKAGES),
        "",
        f"| what | instead | {' | '.join(heads)} |",
        f"|---|{ruler}",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).absolute()
        usual = MODEL["vocabulary_size"]
        ready(arguments.corpus, work / "documents")
        rows = rows_of(work / "documents", arguments.budgets, arguments.seeds, arguments.changes)
        for number, row in zip(arguments.changes, rows, strict=True):
            lines.append(f"| {CHANGES[number][0]} | {CHANGES[number][1]} | {row} |")
        if arguments.vocabularies:
            heads = [head.replace("loss", "nats a masked character") for head in heads]
            lines += ["", f"| pieces | {' | '.join(heads)} |", f"|{ruler}"]
        for size in arguments.vocabularies:
            MODEL["vocabulary_size"] = size
            folder = work / ("documents" if size == usual else f"documents-{size}")
            ready(arguments.corpus, folder)
            [row] = rows_of(folder, arguments.budgets, arguments.seeds, [0], per="characters")
            lines.append(f"| {size:,} | {row} |")
        MODEL["vocabulary_size"] = usual
    section = "\n".join(lines)
    print(section)
    if arguments.into is not None:
        put_into(arguments.into, "recipe", section)


def ready(corpus: Path, folder: Path) -> None:
    if not (folder / "dataset").exists():
        time_to_loss.make_ready(corpus, folder, "documents")


if __name__ == "__main__":
    main()

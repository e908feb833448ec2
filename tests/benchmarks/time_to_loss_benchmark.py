"""From random weights to a masked-LM loss: Clozekit, transformers' Trainer and KerasHub's fit, in the same CPU time.

    make bench-time-to-loss CORPORA=docs.jsonl.gz
    python tests/benchmarks/time_to_loss_benchmark.py --corpus docs.jsonl.gz --budget 300 --seeds 3

The same documents, the same WordPiece vocabulary, a BERT of the same size, rows of the same length and count. Each library
has its own way with documents: Clozekit packs them whole, Trainer trains on rows grouped as run_mlm.py does, KerasHub
takes raw strings and cuts them off behind the first row. Every process has one core for itself. The budget is CPU seconds
from the start of the process to its last step. Parts of the budget (`--shares`) are runs of their own, each with its own schedule; the chart
has all of them. What is done once for many runs (`prepare`, tokenizing and grouping for Trainer) is not in it. transformers measures the
checkpoints of all of them, on documents that none has seen, on the same rows with the same masks. Needs the extra `parity`.
"""

import argparse
import functools
import gzip
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adapt_benchmark import Run, by_transformers, cpu_seconds_of, on_own_cores, run_of
from loss_chart import Points, save_chart
from tables import header, put_into

from clozekit.deploy.bench.cpu_tracker import FILE_VARIABLE

HERE = Path(__file__).parent
PACKAGES = ("tensorflow", "keras", "keras-hub", "torch", "transformers", "accelerate", "tokenizers", "numpy")
MODEL = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocabulary_size": 8000,
    "length": 128,
    "initializer_range": 0.02,
}
# The rates of masks, warm-up and learning are each library's own: see RECIPES.
SHARED = {"batch": 8, "mark_every": 20, "mask_rate": 0.15}
HELD_OUT = 300
# Steps from which the time before the first step and the time of a step are known.
FIRST_STEPS = 120
KINDS = ("grouped", "alone")
CLOZEKIT = [sys.executable, "-m", "clozekit.deploy.cli.main"]


class Recipe(NamedTuple):
    """A library and its settings; those of the peers are run_mlm.py's and KerasHub's own but for the peak of the learning
    rate, 0.001, where they have 0.00005 for checkpoints that are trained already. shares: the parts of the budget it gets if it
    gets fewer than the others."""

    library: str
    name: str
    learning_rate: float
    settings: tuple[str, ...] = ()
    shares: tuple[float, ...] | None = None


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("transformers", "transformers, Trainer", 1e-3),
        Recipe("keras_hub", "KerasHub, fit", 1e-3),
        Recipe(
            "clozekit",
            "Clozekit, their settings",
            1e-3,
            ("masking.train_rate=0.15", "optimizer.warmup_rate=0.1"),
            shares=(0.5,),
        ),
        Recipe(
            "clozekit",
            "Clozekit, recipe laptop",
            3e-3,
            (
                "model.dropout=0.0",
                "model.initializer_range=0.06",
                "optimizer.name=muon",
                "optimizer.schedule=warmup_stable_decay",
            ),
        ),
    )
}


def at_rate(recipe: Recipe, learning_rate: float) -> Recipe:
    return recipe._replace(name=f"{recipe.name}, at {learning_rate:g}", learning_rate=learning_rate)


def write_texts(corpus: Path, folder: Path, kind: str) -> None:
    """Texts to train on and texts to measure on: whole documents, or each paragraph as a document of its own."""
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    random.Random(0).shuffle(texts)
    for name, part in (("held-out", texts[:HELD_OUT]), ("texts", texts[HELD_OUT:])):
        if kind == "paragraphs":
            part = [block for text in part for block in text.split("\n\n") if block.strip()]
        lines_of = [json.dumps({"id": f"{name}-{number}", "text": text}) for number, text in enumerate(part)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines_of) + "\n", encoding="utf-8")


def make_ready(corpus: Path, folder: Path, kind: str) -> None:
    """Everything that is done once for all runs of a kind of documents."""
    folder.mkdir(parents=True, exist_ok=True)
    write_texts(corpus, folder, kind)
    by_transformers("vocabulary", folder / "texts.jsonl", [folder / "vocabulary"], {**MODEL, **SHARED}, folder)
    settings = {**MODEL, **SHARED, "start": str(folder / "vocabulary")}
    by_transformers("rows", folder / "texts.jsonl", [folder / "rows"], settings, folder)
    code = (
        "import sys; from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer;"
        "BertTokenizer(sys.argv[1], lowercase=True).save(sys.argv[2])"
    )
    cpu_seconds_of([sys.executable, "-c", code, str(folder / "vocabulary" / "vocab.txt"), str(folder / "tokenizer")])
    words = ["prepare", "--input", str(folder / "texts.jsonl"), "--tokenizer", str(folder / "tokenizer")]
    words += ["--output", str(folder / "dataset"), "--sequence-length", str(MODEL["length"])]
    cpu_seconds_of([*CLOZEKIT, *words])


def peer_settings(folder: Path, recipe: Recipe, seed: int, steps: int) -> dict[str, Any]:
    told = {"start": str(folder / "vocabulary"), "seed": seed, "steps": steps, "warmup_rate": 0.1}
    return {**MODEL, **SHARED, **told, "learning_rate": recipe.learning_rate}


def theirs(folder: Path, recipe: Recipe, seed: int, steps: int, place: Path) -> Run:
    settings = peer_settings(folder, recipe, seed, steps)
    seconds, said = by_transformers("pretrain", folder / "texts.jsonl", [folder / "rows", place], settings, folder)
    return run_of(steps, place, seconds, said["marks"])


def keras_hubs(folder: Path, recipe: Recipe, seed: int, steps: int, place: Path) -> Run:
    settings = peer_settings(folder, recipe, seed, steps)
    path = folder / f"keras-hub-{seed}-{steps}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    preset = place.with_name(f"{place.name}-preset")
    words = [str(HERE / "keras_hub_mlm.py"), str(folder / "texts.jsonl"), str(preset), str(path)]
    seconds, out = cpu_seconds_of([sys.executable, *words])
    cpu_seconds_of([*CLOZEKIT, "convert", str(preset), str(place), "--to", "huggingface"])
    return run_of(steps, place, seconds, json.loads(out.strip().splitlines()[-1])["marks"])


def ours(folder: Path, recipe: Recipe, seed: int, steps: int, place: Path) -> Run:
    """`clozekit train`; what it leaves is converted after, uncounted."""
    output, marks, config = (place.with_name(f"{place.name}-{name}") for name in ("run", "marks.json", "train.yaml"))
    config.write_text(json.dumps({"dataset": str(folder / "dataset"), "directory": str(output), "seed": seed}))
    sizes = (("num_layers", "num_hidden_layers"), ("num_heads", "num_attention_heads"), ("hidden_dim", "hidden_size"))
    told = [f"model.{name}={MODEL[key]}" for name, key in sizes]
    told += [f"model.intermediate_dim={4 * int(MODEL['hidden_size'])}", f"train.steps={steps}"]
    told += [f"train.global_batch_size={SHARED['batch']}", f"train.steps_per_loop={SHARED['mark_every']}"]
    told += [f"optimizer.learning_rate={recipe.learning_rate}", f"evaluate.every_steps={steps}"]
    told += [
        f"checkpoint.every_steps={steps}",
        "log.trackers=[clozekit.deploy.bench.cpu_tracker:make]",
        *recipe.settings,
    ]
    # Compiled in each run, as the peers' programs are.
    environment = {FILE_VARIABLE: str(marks), "TF_CPP_MIN_LOG_LEVEL": "3", "CLOZEKIT_PROGRAMS": "0"}
    seconds, _ = cpu_seconds_of([*CLOZEKIT, "train", str(config), *told], environment)
    cpu_seconds_of([*CLOZEKIT, "convert", str(output / "preset"), str(place), "--to", "huggingface"], environment)
    return run_of(steps, place, seconds, json.loads(marks.read_text(encoding="utf-8")))


MAKERS: dict[str, Callable[[Path, Recipe, int, int, Path], Run]] = {
    "transformers": theirs,
    "keras_hub": keras_hubs,
    "clozekit": ours,
}


def kept(folder: Path, recipe: Recipe, seed: int, steps: int) -> Run:
    """The run, or the figures of the one that an earlier start has finished."""
    name = f"{recipe.name.replace(', ', '-').replace(' ', '-')}-{recipe.learning_rate:g}-{seed}-{steps}"
    path = folder / f"{name}-figures.json"
    if not path.exists():
        # What a run that was interrupted has left would be gone on with, and its seconds would not count.
        for left in [folder / name, *folder.glob(f"{name}-*")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        run = MAKERS[recipe.library](folder, recipe, seed, steps, folder / name)
        path.write_text(json.dumps(run), encoding="utf-8")
    return Run(*json.loads(path.read_text(encoding="utf-8")))


def own_cores() -> list[int]:
    """Those that processes get for themselves."""
    return sorted(os.sched_getaffinity(0))[:2]


def steps_for(seconds: float, run: Run) -> int:
    """How many steps there is time for after the start of a process like `run`."""
    return max(SHARED["mark_every"] * 2, round((seconds - run.before) / run.step))


def measured(
    folder: Path, recipes: Sequence[Recipe], budget: float, shares: Sequence[float], seeds: int, cores: Sequence[int]
) -> dict[tuple[str, float], list[Run]]:
    """(Recipe, budget) -> a run a seed; the libraries take turns."""
    first = on_own_cores([functools.partial(kept, folder, recipe, 0, FIRST_STEPS) for recipe in recipes], cores)
    wanted = [
        (recipe, share * budget, seed, steps_for(share * budget, run))
        for seed in range(seeds)
        for recipe, run in zip(recipes, first, strict=True)
        for share in (shares if recipe.shares is None else recipe.shares)
        if share in shares
    ]
    work = [functools.partial(kept, folder, recipe, seed, steps) for recipe, _, seed, steps in wanted]
    found: dict[tuple[str, float], list[Run]] = {}
    for (recipe, seconds, _, _), run in zip(wanted, on_own_cores(work, cores), strict=True):
        found.setdefault((recipe.name, seconds), []).append(run)
    return found


def losses_of(folder: Path, runs: Mapping[Any, Sequence[Run]]) -> dict[str, Any]:
    """Checkpoint -> kind of rows -> loss and share of right answers, by transformers."""
    places = [Path(run.checkpoint) for of_kind in runs.values() for run in of_kind]
    settings = {**MODEL, **SHARED, "start": str(folder / "vocabulary"), "accuracy": True}
    words = ("score", folder / "held-out.jsonl", places, settings, folder)
    [(_, losses)] = on_own_cores([lambda: by_transformers(*words)], [min(os.sched_getaffinity(0))])
    return losses


def render(
    kind: str, names: Sequence[str], runs: Mapping[tuple[str, float], Sequence[Run]], losses: Mapping[str, Any]
) -> list[str]:
    lines = [
        f"### {kind.capitalize()}",
        "",
        "| | CPU-s | steps | CPU-s before the first step | a step | loss, grouped rows | right | loss, a text a row | right |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, budget), of_kind in sorted(runs.items(), key=lambda item: (names.index(item[0][0]), item[0][1])):
        figures = [f"{budget:.0f}", f"{statistics.median(run.steps for run in of_kind):,.0f}"]
        figures += [f"{statistics.median(run.before for run in of_kind):.0f}"]
        figures += [f"{statistics.median(run.step for run in of_kind):.3f}"]
        for rows in KINDS:
            found = [losses[run.checkpoint][rows] for run in of_kind]
            middle = statistics.median(each["loss"] for each in found)
            least, most = min(each["loss"] for each in found), max(each["loss"] for each in found)
            figures += [f"{middle:.3f} ({least:.3f} to {most:.3f})"]
            figures += [f"{statistics.median(each['accuracy'] for each in found):.1%}"]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return lines


def curves(runs: Mapping[tuple[str, float], Sequence[Run]], losses: Mapping[str, Any]) -> dict[str, Points]:
    """Recipe -> the losses of its runs on rows of one text each, by their CPU seconds."""
    names = dict.fromkeys(name for name, _ in runs)
    return {
        name: [
            (seconds, [losses[run.checkpoint]["alone"]["loss"] for run in of_kind])
            for (other, seconds), of_kind in runs.items()
            if other == name
        ]
        for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl.gz of documents")
    parser.add_argument("--budget", type=float, default=300, help="CPU seconds of a run of the peers")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0], help="parts of the budget")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--documents", nargs="+", default=["documents", "paragraphs"])
    parser.add_argument("--only", nargs="+", default=list(RECIPES), help="some of the recipes")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[], help="other peaks of the learning rate, tried too"
    )
    parser.add_argument("--work", type=Path, help="where runs are kept and found again; a temporary folder")
    parser.add_argument("--chart", type=Path, help="where the curves go, .svg")
    parser.add_argument("--into", type=Path, help="a document with the mark of this benchmark")
    arguments = parser.parse_args()
    recipes = [RECIPES[name] for name in arguments.only]
    recipes += [at_rate(recipe, rate) for recipe in recipes for rate in arguments.rates]
    cores = own_cores()
    sections = []
    panels = {}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in arguments.documents:
            folder = (arguments.work or Path(temporary)).absolute() / kind
            if not (folder / "dataset").exists():
                make_ready(arguments.corpus, folder, kind)
            runs = measured(folder, recipes, arguments.budget, arguments.shares, arguments.seeds, cores)
            losses = losses_of(folder, runs)
            sections += [*render(kind, [recipe.name for recipe in recipes], runs, losses), ""]
            panels[kind] = curves(runs, losses)
    lines = [
        "## Time to a loss",
        "",
        f"`make bench-time-to-loss`. A BERT of {MODEL['num_hidden_layers']} x {MODEL['hidden_size']} from random weights,"
        f" {MODEL['vocabulary_size']:,} pieces, {SHARED['batch']} rows of {MODEL['length']} a step,",
        "one core for each process. Each row is runs with a schedule of their own; their CPU seconds count from the start",
        f"of the process to its last step. Medians of {arguments.seeds} seed{'' if arguments.seeds == 1 else 's'} (and the range). transformers measures all of them on",
        f"{HELD_OUT} documents that none has seen: on rows grouped as run_mlm.py does, and on rows of one text each.",
        "",
        *header(PACKAGES),
        "",
        *sections,
    ]
    section = "\n".join(lines)
    print(section)
    if arguments.chart is not None:
        save_chart(arguments.chart, panels, "masked loss, a text a row")
    if arguments.into is not None:
        put_into(arguments.into, "time to loss", section)


if __name__ == "__main__":
    main()

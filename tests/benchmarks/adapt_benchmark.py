"""Continued pretraining by `clozekit adapt` beside Hugging Face's run_mlm.py: the loss after equal steps and equal CPU time.

    make bench-adapt
    python tests/benchmarks/adapt_benchmark.py --corpus docs.jsonl.gz

transformers makes a small BERT and pretrains it on documents of the corpus; the last documents of the corpus, in its order
about other things, are what both adapt it to, with the same settings. transformers measures the checkpoints of both on
documents that neither has seen, on the same rows with the same masks. Every process has one core for itself and is counted
from its start to its end. Needs the extra `parity`. `--into` puts the table between the marks of its section.
"""

import argparse
import functools
import gzip
import json
import os
import queue
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tables import header, put_into

from clozekit.deploy.bench.cpu_tracker import FILE_VARIABLE
from clozekit.pipelines.rows.split import is_validation

HERE = Path(__file__).parent
PACKAGES = ("tensorflow", "keras", "torch", "transformers", "accelerate", "tokenizers", "numpy")
MODEL = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocabulary_size": 4096,
    # 0.02 is for 768: with it so small a model learns nothing but how often each token is in some hundreds of steps.
    "length": 128,
    "initializer_range": 0.088,
}
SHARED = {"batch": 16, "mask_rate": 0.15, "warmup_rate": 0.06, "mark_every": 20}
PRETRAINING = {"steps": 400, "learning_rate": 2e-3, "seed": 0}
STEPS, LEARNING_RATE = 300, 5e-4
# The C library keeps freed memory, for both: else a fourth of Trainer's time is page faults. `adapt` does so by itself.
KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1099511627776"}
PRETRAINING_MB, TEXTS_MB, HELD_OUT_MB = 2.0, 2.0, 0.3
KINDS = ("grouped", "alone")
# Of both: what `adapt` holds out of the texts, run_mlm.py is given as its --validation_file.
VALIDATION_RATE = 0.05


class Run(NamedTuple):
    """One adapting, CPU seconds: of the whole process, before its first step, a step, and after the last one."""

    steps: int
    checkpoint: str
    cpu_seconds: float
    before: float
    step: float

    @property
    def after(self) -> float:
        return self.cpu_seconds - self.before - self.steps * self.step


def run_of(steps: int, checkpoint: Path, cpu_seconds: float, marks: Mapping[str, float]) -> Run:
    """marks: steps -> CPU seconds by then. A step is the median between two of them: what else is done at one is not in it."""
    places = sorted((int(step), seconds) for step, seconds in marks.items())
    (first, seconds), every = places[0], places[1][0] - places[0][0]
    step = statistics.median((b[1] - a[1]) / every for a, b in zip(places, places[1:], strict=False))
    return Run(steps, str(checkpoint), cpu_seconds, seconds - first * step, step)


def write_texts(corpus: Path, folder: Path) -> None:
    """Texts to pretrain on, from all over the corpus but its last part; texts to adapt to and to measure on, of that part."""
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    last = taken(texts, TEXTS_MB + HELD_OUT_MB)
    dice = random.Random(0)
    dice.shuffle(last)
    dice.shuffle(texts)
    parts = {"held-out": taken(last, HELD_OUT_MB), "texts": last, "pretraining": taken(texts, PRETRAINING_MB)}
    for name, part in parts.items():
        lines_of = [json.dumps({"id": f"{name}-{number}", "text": text}) for number, text in enumerate(part)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines_of) + "\n", encoding="utf-8")


def taken(texts: list[str], megabytes: float) -> list[str]:
    """The last ones, so many MB, which `texts` then has no more."""
    part: list[str] = []
    size = 0.0
    while texts and size < megabytes * 1e6:
        part.append(texts.pop())
        size += len(part[-1].encode())
    return part


def cpu_seconds_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[float, str]:
    """What a process and all that it waited for took, and its standard output. Raises RuntimeError if it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdout=out, stderr=errors, env={**os.environ, **KEPT_MEMORY, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} failed: {errors.read()[-2000:].decode(errors='replace')}")
        return usage.ru_utime + usage.ru_stime, out.read().decode()


def by_transformers(action: str, texts: Path, places: Sequence[Path], settings: Mapping[str, Any], folder: Path) -> Any:
    """CPU seconds, and what huggingface_mlm.py answers."""
    path = folder / f"{action}-{settings.get('seed')}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    words = [sys.executable, str(HERE / "huggingface_mlm.py"), action, str(texts), *map(str, places), str(path)]
    seconds, out = cpu_seconds_of(words)
    return seconds, json.loads(out.strip().splitlines()[-1])


def split_texts(folder: Path, seed: int) -> list[Path]:
    """Files of the texts that `adapt` trains on, and of those that it holds out: which they are decides what is learned."""
    lines = (folder / "texts.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    held_out = [is_validation(json.loads(line)["id"], seed, VALIDATION_RATE) for line in lines]
    paths = [folder / f"texts-{name}-{seed}.jsonl" for name in ("train", "validation")]
    for path, wanted in zip(paths, (False, True), strict=True):
        part = [line for line, held in zip(lines, held_out, strict=True) if held == wanted]
        path.write_text("".join(part), encoding="utf-8")
    return paths


def theirs(folder: Path, seed: int, steps: int) -> Run:
    checkpoint = folder / f"theirs-{seed}-{steps}"
    train, validation = split_texts(folder, seed)
    settings = {**SHARED, "length": MODEL["length"], "start": str(folder / "start"), "seed": seed, "steps": steps}
    settings["learning_rate"] = LEARNING_RATE
    seconds, said = by_transformers("adapt", train, [validation, checkpoint], settings, folder)
    return run_of(steps, checkpoint, seconds, said["marks"])


def ours(folder: Path, seed: int, steps: int) -> Run:
    """`clozekit adapt` with the settings of theirs; what it leaves is converted after, uncounted."""
    output, marks = folder / f"ours-{seed}-{steps}", folder / f"marks-{seed}-{steps}.json"
    told = [f"seed={seed}", f"train.steps={steps}", f"train.steps_per_loop={SHARED['mark_every']}"]
    told += [f"train.{name}_batch_size={SHARED['batch']}" for name in ("global", "micro")]
    told += [f"rows.validation_rate={VALIDATION_RATE}"]
    told += [f"rows.sequence_length={MODEL['length']}", f"masking.train_rate={SHARED['mask_rate']}"]
    # Trainer's: AdamW of torch, no decay.
    told += [f"optimizer.learning_rate={LEARNING_RATE}", f"optimizer.warmup_rate={SHARED['warmup_rate']}"]
    told += ["optimizer.beta_2=0.999", "optimizer.epsilon=1e-8", "optimizer.weight_decay=0"]
    clozekit = [sys.executable, "-m", "clozekit.deploy.cli.main"]
    words = ["adapt", str(folder / "start"), "--input", str(folder / "texts.jsonl"), "--output", str(output), "--json"]
    # Compiled in each run, as the peer has no such programs.
    environment = {FILE_VARIABLE: str(marks), "TF_CPP_MIN_LOG_LEVEL": "3", "CLOZEKIT_PROGRAMS": "0"}
    seconds, _ = cpu_seconds_of(
        [*clozekit, *words, *told, "log.trackers=[clozekit.deploy.bench.cpu_tracker:make]"], environment
    )
    converted = folder / f"ours-{seed}-{steps}-converted"
    cpu_seconds_of([*clozekit, "convert", str(output / "preset"), str(converted), "--to", "huggingface"], environment)
    return run_of(steps, converted, seconds, json.loads(marks.read_text(encoding="utf-8")))


def on_own_cores(work: Sequence[Callable[[], Any]], cores: Sequence[int]) -> list[Any]:
    """Results in order; as many at a time as there are cores, each with one: threads and processes begin where theirs is."""
    waiting: queue.SimpleQueue[tuple[int, Callable[[], Any]]] = queue.SimpleQueue()
    for one in enumerate(work):
        waiting.put(one)
    found: dict[int, Any] = {}
    failures: list[Exception] = []

    def worker(core: int) -> None:
        os.sched_setaffinity(0, {core})
        while not waiting.empty() and not failures:
            try:
                number, run = waiting.get_nowait()
                found[number] = run()
            except queue.Empty:
                return
            except Exception as error:
                failures.append(error)
            else:
                print(found[number], file=sys.stderr)

    threads = [threading.Thread(target=worker, args=(core,)) for core in cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [found[number] for number in range(len(work))]


def steps_for(seconds: float, run: Run) -> int:
    """How many steps a process like `run` has time for."""
    return max(SHARED["mark_every"] * 2, round((seconds - run.before - run.after) / run.step))


def measured(folder: Path, seeds: int, steps: int, cores: Sequence[int]) -> dict[str, list[Run]]:
    """What was run -> a run a seed; the libraries take turns."""
    short = [(make, seed, steps) for seed in range(seeds) for make in (theirs, ours)]
    runs = on_own_cores([functools.partial(kept, folder, *one) for one in short], cores)
    their_runs, our_runs = runs[::2], runs[1::2]
    wanted = [steps_for(they.cpu_seconds, we) for they, we in zip(their_runs, our_runs, strict=True)]
    longer = [functools.partial(kept, folder, ours, seed, steps) for seed, steps in enumerate(wanted)]
    names = ("transformers", "Clozekit, equal steps", "Clozekit, equal CPU time")
    return dict(zip(names, (their_runs, our_runs, on_own_cores(longer, cores)), strict=True))


def kept(folder: Path, make: Callable[[Path, int, int], Run], seed: int, steps: int) -> Run:
    """The run, or the figures of the one that an earlier start has finished."""
    path = folder / f"{make.__name__}-{seed}-{steps}-figures.json"
    if path.exists():
        return Run(*json.loads(path.read_text(encoding="utf-8")))
    run = make(folder, seed, steps)
    path.write_text(json.dumps(run), encoding="utf-8")
    return run


def render(folder: Path, runs: Mapping[str, Sequence[Run]], made: Mapping[str, Any]) -> str:
    places = [folder / "start", *(Path(run.checkpoint) for of_kind in runs.values() for run in of_kind)]
    settings = {**SHARED, "length": MODEL["length"], "start": str(folder / "start")}
    words = ("score", folder / "held-out.jsonl", places, settings, folder)
    [(_, losses)] = on_own_cores([lambda: by_transformers(*words)], [min(os.sched_getaffinity(0))])
    start = losses[str(folder / "start")]
    lines = [
        "## Continued pretraining",
        "",
        f"`make bench-adapt`. `clozekit adapt` beside what transformers' run_mlm.py does, from a BERT of {MODEL['num_hidden_layers']} x"
        f" {MODEL['hidden_size']} ({made['parameters'] / 1e6:.1f} million",
        f"parameters, {MODEL['vocabulary_size']:,} pieces) that transformers made and pretrained for {PRETRAINING['steps']} steps on"
        " other documents of the corpus.",
        f"{SHARED['batch']} rows of {MODEL['length']} a step, {SHARED['mask_rate']:.0%} of masks, learning rate {LEARNING_RATE:g} with"
        f" {SHARED['warmup_rate']:.0%} of warm-up and down in a line, AdamW without decay, clipped at",
        f"1, dropout 0.1, float32; one core for each process. Medians of {len(runs['transformers'])} seeds (and the range). Losses are"
        " transformers', on documents that",
        "neither has seen, with the same masks: on rows as run_mlm.py groups them, and on rows of one text each.",
        "",
        *header(PACKAGES),
        "",
        "| | steps | CPU-s in all | before the first step | a step | after the last | loss, grouped rows | loss, a text a row |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        f"| the start | | | | | | {start['grouped']:.3f} | {start['alone']:.3f} |",
    ]
    for name, of_kind in runs.items():
        figures = [f"{statistics.median(run.steps for run in of_kind):.0f}"]
        for get in (
            lambda run: run.cpu_seconds,
            lambda run: run.before,
            lambda run: run.step,
            lambda run: run.after,
        ):
            middle = statistics.median(map(get, of_kind))
            figures.append(f"{middle:.3f}" if middle < 3 else f"{middle:.0f}")
        figures += [_spread([losses[run.checkpoint][kind] for run in of_kind]) for kind in KINDS]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl.gz of documents, in an order by subject")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--work", type=Path, help="where the start and runs are kept and found again; a temporary folder"
    )
    parser.add_argument("--into", type=Path, help="a document with the mark of this benchmark")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.work or Path(temporary)).absolute()
        made = folder / "made.json"
        if not made.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_texts(arguments.corpus, folder)
            settings = {**MODEL, **SHARED, **PRETRAINING}
            words = ("start", folder / "pretraining.jsonl", [folder / "start"], settings, folder)
            [(seconds, said)] = on_own_cores([lambda: by_transformers(*words)], cores[:1])
            made.write_text(json.dumps(said), encoding="utf-8")
            print(f"the start took {seconds:.0f} CPU seconds: {said}", file=sys.stderr)
        runs = measured(folder, arguments.seeds, arguments.steps, cores)
        section = render(folder, runs, json.loads(made.read_text(encoding="utf-8")))
    print(section)
    if arguments.into is not None:
        put_into(arguments.into, "adapt", section)


if __name__ == "__main__":
    main()

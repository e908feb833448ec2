"""Speed of a training step and of whole training beside the peers, equal losses first; and the reader on one core.

    python tests/benchmarks/training_benchmark.py --corpus docs.jsonl.gz --bert-vocabulary vocab.txt --into BENCHMARKS.md

Trains BERT of 4 layers x 256 in float32 on the CPU: (1) on the same rows of 128 tokens, all of them real, with the same
masks and the same weights; (2) on the paragraphs of the corpus at length 512, each library in its own way. Each library
lives in a process of its own; they take turns, one at a time. Needs the extra `parity`; a peer that is missing is named
and left out. `--into` puts the tables between the marks of their section, or at the end of the file.
"""

import argparse
import dataclasses
import datetime
import gzip
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

BEGIN, END = "<!-- training benchmark: begin -->", "<!-- training benchmark: end -->"
PACKAGES = ["tensorflow", "keras", "keras-hub", "torch", "transformers", "numpy"]
LIBRARIES = {"clozekit": "Clozekit", "keras_hub": "keras-hub", "hugging_face": "Hugging Face, torch"}
STEP_ROWS, STEP_LENGTH, SLOTS = 32, 128, 20
PARAGRAPH_ROWS, PARAGRAPH_LENGTH, RATE = 8, 512, 0.15
LEARNING_RATE, WEIGHT_DECAY, EPSILON, CLIP = 1e-4, 0.01, 1e-6, 1.0
NUM_RUNS, STEPS_A_RUN, PARAGRAPH_STEPS = 5, 20, 10
READER_BATCHES, READER_ROWS = 200, 64

# Runs a number of steps and returns what was measured.
Burst = Callable[[int], dict[str, float]]


def prepare_all(corpus: Path, vocabulary: Path, work: Path, megabytes: float) -> None:
    """Paragraphs, the datasets of both lengths, the model in every layout, and the fixed batches of the step."""
    import numpy as np

    from clozekit.model.huggingface import save_huggingface
    from clozekit.model.training.config import ModelConfig, RunConfig
    from clozekit.model.training.controller import build_task, give_preprocessor
    from clozekit.pipelines.options import PrepareOptions, ReadOptions
    from clozekit.pipelines.prepare import prepare
    from clozekit.tokenizers.families import BertTokenizer

    tokenizer = BertTokenizer(vocabulary, lowercase=True)
    tokenizer.save(work / "tokenizer")
    paragraphs = read_paragraphs(corpus, megabytes)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in paragraphs)
    (work / "paragraphs.jsonl").write_text(lines, encoding="utf-8")
    for length in (STEP_LENGTH, PARAGRAPH_LENGTH):
        options = PrepareOptions(sequence_length=length, num_shards=16)
        reading = ReadOptions((str(work / "paragraphs.jsonl"),))
        prepare(reading, options, str(work / "tokenizer"), str(work / f"rows{length}"))
    model = ModelConfig(vocabulary_multiple=1)
    config = RunConfig("data", "run", model=model)
    task = build_task(config, tokenizer.vocabulary_size(), PARAGRAPH_LENGTH)
    give_preprocessor(task, tokenizer, config)
    task.save_to_preset(str(work / "preset"))
    save_huggingface(task, work / "huggingface")
    batches = fixed_batches(work)
    np.savez(work / "batches.npz", **batches)


def read_paragraphs(path: Path, megabytes: float) -> list[str]:
    open_ = gzip.open if path.suffix == ".gz" else open
    paragraphs: list[str] = []
    size = 0
    with open_(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            for paragraph in filter(str.strip, json.loads(line)["text"].split("\n\n")):
                paragraphs.append(paragraph)
                size += len(paragraph.encode())
            if size > megabytes * 1e6:
                break
    return paragraphs


def fixed_batches(work: Path) -> dict[str, Any]:
    """Batches of full rows, masked once; the peers know no packed rows, so each row counts as one document."""
    import numpy as np

    from clozekit.model.masking import MaskingOptions
    from clozekit.model.reader import training_batches
    from clozekit.pipelines.manifest import read_manifest

    directory = str(work / f"rows{STEP_LENGTH}")
    manifest = read_manifest(directory)
    special = manifest.tokenizer.special_token_ids
    options = MaskingOptions(
        special["mask_token"], manifest.tokenizer.vocabulary_size, tuple(set(special.values())), RATE, num_slots=SLOTS
    )
    rows: dict[str, list[Any]] = {}
    for batch in training_batches(directory, manifest, options, STEP_ROWS, seed=0).as_numpy_iterator():
        for name in ("token_ids", "padding_mask", "mask_positions", "mask_ids", "mask_weights"):
            rows.setdefault(name, []).append(batch[name])
        if len(rows["token_ids"]) == 3 * STEPS_A_RUN:
            break
    stacked = {name: np.stack(values) for name, values in rows.items()}
    # A row that is not quite full ends in real tokens too: all positions are computed by all.
    stacked["padding_mask"][:] = 1
    return stacked


def clozekit_steps(work: Path, dropout: float) -> tuple[float, Burst]:
    import numpy as np
    import tensorflow as tf

    from clozekit.model import BertMaskedLM
    from clozekit.model.training.loss import masked_sums
    from clozekit.model.training.step import TrainStep

    task = with_dropout(BertMaskedLM.from_preset(str(work / "preset"), compile=False), dropout)
    batches = dict(np.load(work / "batches.npz"))
    first = {name: tf.constant(value[0]) for name, value in batches.items()}
    sums = masked_sums(task, first, training=False)
    config, optimizer = run_config(STEP_ROWS), None
    optimizer = make_optimizer(task, config)
    step = TrainStep(task, optimizer, config, tf.distribute.get_strategy())
    rows = iter(tf.data.Dataset.from_tensor_slices(batches).repeat().prefetch(2))

    def burst(steps: int) -> dict[str, float]:
        started = time.perf_counter()
        result = step.run_loop(rows, tf.constant(0), tf.constant(steps))
        float(result.sums.loss)
        return {"seconds": time.perf_counter() - started}

    return float(sums.loss / sums.count), burst


def run_config(rows: int) -> Any:
    from clozekit.model.training.config import MaskingConfig, OptimizerConfig, RunConfig, TrainConfig

    return RunConfig(
        "data",
        "run",
        train=TrainConfig(steps=10**6, global_batch_size=rows),
        optimizer=OptimizerConfig(
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            beta_2=0.999,
            epsilon=EPSILON,
            clip_norm=CLIP,
            schedule="warmup_stable_decay",
            warmup_rate=0.0,
        ),
        masking=MaskingConfig(train_rate=RATE),
    )


def make_optimizer(task: Any, config: Any) -> Any:
    from clozekit.model.training.optimizers import Optimizer

    return Optimizer(task.trainable_variables, config.optimizer, config.train.xla)


def with_dropout(task: Any, dropout: float) -> Any:
    backbone = type(task.backbone)(**{**task.backbone.settings(), "dropout": dropout})
    other = type(task)(backbone, task.preprocessor, compile=False)
    other.set_weights(task.get_weights())
    return other


def keras_hub_task(work: Path, dropout: float, preprocessor: Any = None) -> Any:
    import keras
    import keras_hub

    source = keras_hub.models.BertMaskedLM.from_preset(str(work / "preset"), preprocessor=None)
    config = {**source.backbone.get_config(), "dropout": dropout}
    task = keras_hub.models.BertMaskedLM(keras_hub.models.BertBackbone.from_config(config), preprocessor=preprocessor)
    task.set_weights(source.get_weights())
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=EPSILON, global_clipnorm=CLIP)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    task.compile(optimizer=optimizer, loss=loss, weighted_metrics=[accuracy], jit_compile=True)
    return task


def keras_hub_steps(work: Path, dropout: float) -> tuple[float, Burst]:
    import keras
    import numpy as np
    import tensorflow as tf

    task = keras_hub_task(work, dropout)
    batches = dict(np.load(work / "batches.npz"))
    inputs = {name: batches[name] for name in ("token_ids", "padding_mask", "mask_positions")}
    inputs["segment_ids"] = np.zeros_like(batches["token_ids"])
    first = task({name: value[0] for name, value in inputs.items()}, training=False)
    losses = keras.ops.sparse_categorical_crossentropy(batches["mask_ids"][0], first, from_logits=True)
    weights = batches["mask_weights"][0]
    rows = tf.data.Dataset.from_tensor_slices((inputs, batches["mask_ids"], batches["mask_weights"]))
    dataset = rows.repeat().prefetch(2)

    def burst(steps: int) -> dict[str, float]:
        # One epoch more, unmeasured: what starting `fit` costs is no part of a step.
        clock = Clock()
        task.fit(dataset, steps_per_epoch=steps, epochs=2, verbose=0, callbacks=[clock.callback()])
        return {"seconds": clock.seconds}

    return float(np.sum(losses * weights) / np.sum(weights)), burst


class Clock:
    """The seconds of the last epoch of `fit`."""

    seconds = 0.0

    def callback(self) -> Any:
        import keras

        started = [0.0]

        def begin(_epoch: int, _logs: Any) -> None:
            started[0] = time.perf_counter()

        def end(_epoch: int, _logs: Any) -> None:
            self.seconds = time.perf_counter() - started[0]

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)


def hugging_face_steps(work: Path, dropout: float) -> tuple[float, Burst]:
    import numpy as np
    import torch
    from transformers import BertForMaskedLM

    torch.set_num_threads(os.cpu_count() or 1)
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = BertForMaskedLM.from_pretrained(work / "huggingface", **rates)
    batches = dict(np.load(work / "batches.npz"))
    inputs = torch.tensor(batches["token_ids"], dtype=torch.long)
    mask = torch.tensor(batches["padding_mask"], dtype=torch.long)
    # -100 at all other positions: the labels of their collator.
    labels = np.full(batches["token_ids"].shape, -100, np.int64)
    used = np.nonzero(batches["mask_weights"])
    labels[used[0], used[1], batches["mask_positions"][used]] = batches["mask_ids"][used]
    targets = torch.tensor(labels)
    model.eval()
    with torch.no_grad():
        loss = float(model(input_ids=inputs[0], attention_mask=mask[0], labels=targets[0]).loss)
    model.train()
    plain = [p for name, p in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    ids = {id(parameter) for parameter in plain}
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in ids], "weight_decay": WEIGHT_DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, eps=EPSILON)
    place = [0]

    def burst(steps: int) -> dict[str, float]:
        started = time.perf_counter()
        for _ in range(steps):
            row = place[0] % len(inputs)
            place[0] += 1
            model(input_ids=inputs[row], attention_mask=mask[row], labels=targets[row]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
        return {"seconds": time.perf_counter() - started}

    return loss, burst


def clozekit_paragraphs(work: Path, dropout: float) -> tuple[float, Burst]:
    import tensorflow as tf

    from clozekit.model import BertMaskedLM
    from clozekit.model.reader import training_batches
    from clozekit.model.training.controller import masking_options
    from clozekit.model.training.step import TrainStep
    from clozekit.pipelines.manifest import read_manifest
    from clozekit.tokenizers.families import load_tokenizer

    task = with_dropout(BertMaskedLM.from_preset(str(work / "preset"), compile=False), dropout)
    config = run_config(PARAGRAPH_ROWS)
    directory = str(work / f"rows{PARAGRAPH_LENGTH}")
    manifest = read_manifest(directory)
    masking = masking_options(config, manifest, load_tokenizer(str(work / "tokenizer")))
    step = TrainStep(task, make_optimizer(task, config), config, tf.distribute.get_strategy())
    rows = iter(training_batches(directory, manifest, masking, PARAGRAPH_ROWS, seed=0))

    def burst(steps: int) -> dict[str, float]:
        started = time.perf_counter()
        result = step.run_loop(rows, tf.constant(0), tf.constant(steps))
        tokens = float(result.counts.tokens)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "tokens": tokens, "wait_seconds": float(result.wait_seconds)}

    return 0.0, burst


def keras_hub_paragraphs(work: Path, dropout: float) -> tuple[float, Burst]:
    import keras_hub
    import tensorflow as tf

    from clozekit.tokenizers.families import load_tokenizer

    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(work / "preset"))
    preprocessor = keras_hub.models.BertMaskedLMPreprocessor(
        tokenizer,
        sequence_length=PARAGRAPH_LENGTH,
        mask_selection_rate=RATE,
        mask_selection_length=round(PARAGRAPH_LENGTH * RATE),
    )
    task = keras_hub_task(work, dropout, preprocessor)
    lines = (work / "paragraphs.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    import random

    random.Random(0).shuffle(texts)
    ours = load_tokenizer(str(work / "tokenizer"))
    place = [0]

    def burst(steps: int) -> dict[str, float]:
        # Two epochs of the same texts: the second is measured.
        part = texts[place[0] : place[0] + steps * PARAGRAPH_ROWS]
        place[0] = (place[0] + len(part)) % (len(texts) - steps * PARAGRAPH_ROWS)
        lengths = ours.encode_batch(part).row_lengths
        tokens = sum(min(int(length) + 2, PARAGRAPH_LENGTH) for length in lengths)
        clock = Clock()
        dataset = tf.data.Dataset.from_tensor_slices(part).batch(PARAGRAPH_ROWS, drop_remainder=True)
        task.fit(dataset, epochs=2, verbose=0, callbacks=[clock.callback()])
        return {"seconds": clock.seconds, "tokens": float(tokens)}

    return 0.0, burst


MAKERS: dict[str, dict[str, Callable[[Path, float], tuple[float, Burst]]]] = {
    "steps": {"clozekit": clozekit_steps, "keras_hub": keras_hub_steps, "hugging_face": hugging_face_steps},
    "paragraphs": {"clozekit": clozekit_paragraphs, "keras_hub": keras_hub_paragraphs},
}


def serve(part: str, library: str, work: Path, dropout: float) -> None:
    """Gets ready, says the loss, then runs as many steps as each line of the standard input asks for."""
    # Libraries print: the answers go where they can't.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    started = time.perf_counter()
    loss, burst = MAKERS[part][library](work, dropout)
    burst(2)
    answers.write(json.dumps({"loss": loss, "ready_seconds": time.perf_counter() - started}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(burst(int(line))) + "\n")


class Served:
    """A library in a process of its own."""

    def __init__(self, part: str, library: str, work: Path, dropout: float) -> None:
        command = [sys.executable, __file__, "--serve", part, library, str(work), str(dropout)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self._read()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with {self._process.wait()}")
        return json.loads(line)

    def run(self, steps: int) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(part: str, work: Path, dropout: float, steps: int, runs: int) -> dict[str, list[dict[str, float]]]:
    """Library -> what it said first, then its runs; the libraries take turns."""
    served = {}
    for library in MAKERS[part]:
        if missing(library):
            print(f"{LIBRARIES[library]} is left out: {missing(library)} is not installed", file=sys.stderr)
            continue
        served[library] = Served(part, library, work, dropout)
        print(f"{part}: {library} is ready, {served[library].first}", file=sys.stderr)
    results = {library: [one.first] for library, one in served.items()}
    for _ in range(runs):
        for library, one in served.items():
            results[library].append(one.run(steps))
            print(f"{part}: {library} {results[library][-1]}", file=sys.stderr)
    for one in served.values():
        one.close()
    return results


def missing(library: str) -> str | None:
    for package in {"clozekit": [], "keras_hub": ["keras_hub"], "hugging_face": ["torch", "transformers"]}[library]:
        if importlib.util.find_spec(package) is None:
            return package
    return None


def reader_speeds(work: Path) -> dict[str, float]:
    """Million real tokens a second of CPU time on one core, from shards to masked batches, for each strategy."""
    command = [sys.executable, __file__, "--serve", "reader", "clozekit", str(work), "0"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def read_on_one_core(work: Path) -> dict[str, float]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from clozekit.model.masking import STRATEGIES, MaskingOptions
    from clozekit.model.reader import training_batches
    from clozekit.pipelines.manifest import read_manifest
    from clozekit.tokenizers.families import load_tokenizer

    directory = str(work / f"rows{PARAGRAPH_LENGTH}")
    manifest = read_manifest(directory)
    special = manifest.tokenizer.special_token_ids
    starts = load_tokenizer(str(work / "tokenizer")).word_starts()
    options = MaskingOptions(
        special["mask_token"], manifest.tokenizer.vocabulary_size, tuple(set(special.values())), 0.3, word_starts=starts
    )
    speeds = {}
    for strategy in STRATEGIES:
        chosen = dataclasses.replace(options, strategy=strategy)
        batches = iter(training_batches(directory, manifest, chosen, READER_ROWS, seed=0))
        for _ in range(5):
            next(batches)
        found = []
        for _ in range(NUM_RUNS):
            tokens = 0
            # CPU time: what other processes take of the core does not count.
            started = time.process_time()
            for _ in range(READER_BATCHES // NUM_RUNS):
                next(batches)
                tokens += READER_ROWS * PARAGRAPH_LENGTH
            found.append(tokens * manifest.fill_rate("train") / (time.process_time() - started) / 1e6)
        speeds[strategy] = statistics.median(found)
    return speeds


def ratio(results: dict[str, list[dict[str, float]]], library: str, key: Callable[[dict[str, float]], float]) -> str:
    """Median and range, over the runs, of how many times as fast as `library` Clozekit was in the same turn."""
    pairs = zip(results["clozekit"][1:], results[library][1:], strict=True)
    ratios = sorted(key(ours) / key(theirs) for ours, theirs in pairs)
    return f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def render(
    steps: dict[float, dict[str, list[dict[str, float]]]],
    paragraphs: dict[str, list[dict[str, float]]],
    reader: dict[str, float],
    corpus: str,
) -> str:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    lines = ["## Training", ""]
    lines += [
        f"BERT of 4 layers x 256, vocabulary 30,522, float32, AdamW with clipping, on the CPU: `make bench-training`. Each"
        f" library in a process of its own, in turns; medians of {NUM_RUNS} turns of {STEPS_A_RUN} steps. A ratio is of"
        " the same turn.",
        "",
        f"- data: {corpus}",
        f"- machine: {processor()}; load while measuring {os.getloadavg()[1]:.1f}; Python {platform.python_version()}",
        f"- versions: {', '.join(versions)}",
        f"- date: {datetime.date.today().isoformat()}",
        "",
        f"### A step on the same rows: {STEP_ROWS} full rows of {STEP_LENGTH} tokens, {SLOTS} predictions each",
        "",
        "| | loss on the first batch | dropout | ms a step | Clozekit's speed |",
        "|---|---:|---:|---:|---:|",
    ]
    for dropout, results in steps.items():
        for library, runs in results.items():
            milliseconds = statistics.median(run["seconds"] for run in runs[1:]) / STEPS_A_RUN * 1000
            against = "" if library == "clozekit" else ratio(results, library, lambda run: 1 / run["seconds"])
            name = HOW[library]
            lines.append(f"| {name} | {runs[0]['loss']:.5f} | {dropout:g} | {milliseconds:.0f} | {against} |")
    lines += [
        "",
        f"### Real tokens a second on paragraphs, rows of {PARAGRAPH_LENGTH}, {PARAGRAPH_ROWS} a batch, dropout 0.1",
        "",
        "| | real tokens a second | Clozekit's speed | waiting for data |",
        "|---|---:|---:|---:|",
    ]
    for library, runs in paragraphs.items():
        speed = statistics.median(run["tokens"] / run["seconds"] for run in runs[1:])
        against = (
            "" if library == "clozekit" else ratio(paragraphs, library, lambda run: run["tokens"] / run["seconds"])
        )
        waits = [run["wait_seconds"] / run["seconds"] for run in runs[1:] if "wait_seconds" in run]
        wait = f"{statistics.median(waits):.2%}" if waits else ""
        lines.append(f"| {HOW_PARAGRAPHS[library]} | {speed:,.0f} | {against} | {wait} |")
    lines += ["", "### The reader on one core: shards to masked batches at length 512", ""]
    lines += ["| masking | million real tokens a second |", "|---|---:|"]
    lines += [f"| {strategy} | {speed:.1f} |" for strategy, speed in reader.items()]
    return "\n".join(lines) + "\n"


HOW = {
    "clozekit": "Clozekit, the trainer's step",
    "keras_hub": "keras-hub, `fit`, `jit_compile=True`",
    "hugging_face": "Hugging Face, the Trainer's loop on torch",
}
HOW_PARAGRAPHS = {
    "clozekit": "Clozekit, packed rows from shards",
    "keras_hub": "keras-hub, `fit` on raw strings, `jit_compile=True`",
}


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def put_into(path: Path, section: str) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{section}{END}{after or chr(10)}", encoding="utf-8")


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        part, library, work, dropout = sys.argv[2:]
        if part == "reader":
            print(json.dumps(read_on_one_core(Path(work))))
        else:
            serve(part, library, Path(work), float(dropout))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl[.gz] of documents")
    parser.add_argument("--bert-vocabulary", type=Path, required=True, help="a vocab.txt of BERT uncased")
    parser.add_argument("--megabytes", type=float, default=20.0, help="of the corpus")
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    parser.add_argument("--work", type=Path, help="where the datasets go and are found again; a temporary folder")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the tables")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        if not (work / "batches.npz").exists():
            work.mkdir(parents=True, exist_ok=True)
            prepare_all(arguments.corpus, arguments.bert_vocabulary, work, arguments.megabytes)
        steps = {rate: measure("steps", work, rate, STEPS_A_RUN, arguments.runs) for rate in (0.0, 0.1)}
        paragraphs = measure("paragraphs", work, 0.1, PARAGRAPH_STEPS, arguments.runs)
        reader = reader_speeds(work)
    section = render(steps, paragraphs, reader, f"{arguments.megabytes:g} MB of {arguments.corpus.name} by paragraph")
    print(section)
    if arguments.into:
        put_into(arguments.into, section)


if __name__ == "__main__":
    main()

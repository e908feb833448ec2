"""Speed of a training step and of whole training beside the peers, equal losses first; and the reader on one core.

    make bench-training
    python tests/benchmarks/training_benchmark.py --corpus docs.jsonl.gz --bert-vocabulary vocab.txt --only reader

Trains BERT of 4 layers x 256 in float32 on the CPU: (steps) on the same rows of 128 tokens, all of them real, with the same
masks and the same weights; (paragraphs) on the paragraphs of the corpus at length 512, each library in its own way;
(reader) reads and masks on one core. Each library lives in a process of its own; they take turns, one at a time. Needs
the extra `parity`; a peer that is missing is named and left out. `--into` puts each part between the marks of its section.
"""

import argparse
import dataclasses
import gzip
import importlib.util
import json
import os
import random
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

sys.path.insert(0, str(Path(__file__).parent))
from tables import header, put_into

from clozekit.tokenizers.common.cores_here import cores_here

PACKAGES = ["tensorflow", "keras", "keras-hub", "torch", "transformers", "numpy"]
PARTS = ("steps", "paragraphs", "reader")
LIBRARIES = {"clozekit": "Clozekit", "keras_hub": "keras-hub", "hugging_face": "Hugging Face, torch"}
STEP_ROWS, STEP_LENGTH, SLOTS = 32, 128, 20
PARAGRAPH_ROWS, PARAGRAPH_LENGTH, RATE, DROPOUT = 8, 512, 0.15, 0.1
LEARNING_RATE, WEIGHT_DECAY, EPSILON, CLIP = 1e-4, 0.01, 1e-6, 1.0
NUM_RUNS, STEPS_A_RUN, NUM_BATCHES = 5, 4, 20
READER_BATCHES, READER_ROWS = 200, 64

# Runs a number of steps and returns what was measured.
Burst = Callable[[int], dict[str, float]]


def prepare_all(corpus: Path, vocabulary: Path, work: Path, megabytes: float) -> None:
    """Paragraphs, the datasets of both lengths, the model in every layout, and the fixed batches of the step."""
    import numpy as np

    from clozekit.model.presets.huggingface_preset import save_huggingface
    from clozekit.model.training.architecture import from_scratch
    from clozekit.model.training.build_task import build_task, give_preprocessor
    from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings
    from clozekit.pipelines.prepare import prepare
    from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
    from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

    tokenizer = BertTokenizer(vocabulary, lowercase=True)
    tokenizer.save(work / "tokenizer")
    paragraphs = read_paragraphs(corpus, megabytes)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in paragraphs)
    (work / "paragraphs.jsonl").write_text(lines, encoding="utf-8")
    for length in (STEP_LENGTH, PARAGRAPH_LENGTH):
        options = PrepareSettings(sequence_length=length, num_shards=16)
        reading = ReadSettings((str(work / "paragraphs.jsonl"),))
        prepare(reading, options, str(work / "tokenizer"), str(work / f"rows{length}"))
    model = ModelSettings(vocabulary_multiple=1)
    config = RunSettings("data", "run", model=model)
    architecture = from_scratch(config.model, tokenizer.vocabulary_size(), PARAGRAPH_LENGTH)
    task = build_task(config, architecture)
    give_preprocessor(task, tokenizer, architecture, config.masking)
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

    from clozekit.model.masking.masking_rule import MaskingRule
    from clozekit.model.reading.dataset_reader import training_batches
    from clozekit.pipelines.dataset.manifest import read_manifest

    directory = str(work / f"rows{STEP_LENGTH}")
    manifest = read_manifest(directory)
    special = manifest.tokenizer.special_token_ids
    options = MaskingRule(
        special["mask_token"], manifest.tokenizer.vocabulary_size, tuple(set(special.values())), RATE, num_slots=SLOTS
    )
    rows: dict[str, list[Any]] = {}
    for batch in training_batches(directory, manifest, options, STEP_ROWS, seed=0).as_numpy_iterator():
        for name in ("token_ids", "padding_mask", "mask_positions", "mask_ids", "mask_weights"):
            rows.setdefault(name, []).append(batch[name])
        if len(rows["token_ids"]) == NUM_BATCHES:
            break
    stacked = {name: np.stack(values) for name, values in rows.items()}
    # A row that is not quite full ends in real tokens too: all positions are computed by all.
    stacked["padding_mask"][:] = 1
    return stacked


def clozekit_steps(work: Path, dropout: float) -> tuple[float, Burst]:
    import numpy as np
    import tensorflow as tf

    from clozekit.model import BertMaskedLM
    from clozekit.model.training.controller import pretraining_step
    from clozekit.model.training.objectives.masked_lm_objective import OBJECTIVE

    task = with_dropout(BertMaskedLM.from_preset(str(work / "preset"), compile=False), dropout)
    batches = dict(np.load(work / "batches.npz"))
    first = {name: tf.constant(value[0]) for name, value in batches.items()}
    sums = OBJECTIVE.sums(task, first, False)
    config, optimizer = run_config(STEP_ROWS), None
    optimizer = make_optimizer(task, config)
    step = pretraining_step(task, optimizer, config, tf.distribute.get_strategy())
    rows = iter(tf.data.Dataset.from_tensor_slices(batches).repeat().prefetch(2))

    def burst(steps: int) -> dict[str, float]:
        clock = Clock()
        result = step.run_loop(rows, tf.constant(0), tf.constant(steps))
        float(result.sums.loss)
        return clock.read()

    return float(sums.loss / sums.count), burst


def run_config(rows: int) -> Any:
    from clozekit.model.training.settings.loop_settings import OptimizerSettings
    from clozekit.model.training.settings.run_settings import MaskingSettings, RunSettings, TrainSettings

    return RunSettings(
        "data",
        "run",
        train=TrainSettings(steps=10**6, global_batch_size=rows),
        optimizer=OptimizerSettings(
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            beta_2=0.999,
            epsilon=EPSILON,
            clip_norm=CLIP,
            schedule="warmup_stable_decay",
            warmup_rate=0.0,
        ),
        masking=MaskingSettings(train_rate=RATE),
    )


def make_optimizer(task: Any, config: Any) -> Any:
    from clozekit.model.training.optimizers.optimizer import Optimizer

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
        clock = Clock()
        # One step more, unmeasured: what starting `fit` costs is no part of a step.
        task.fit(dataset, steps_per_epoch=steps + 1, verbose=0, callbacks=[clock.callback()])
        return clock.read()

    return float(np.sum(losses * weights) / np.sum(weights)), burst


class Clock:
    """Wall clock and CPU seconds since it was made or, in `fit`, since the end of its first step."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._seconds, self._cpu_seconds = time.perf_counter(), time.process_time()

    def callback(self) -> Any:
        import keras

        def begin(batch: int, logs: Any = None) -> None:
            if batch == 0:
                self._begin()

        return keras.callbacks.LambdaCallback(on_train_batch_end=begin)

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._seconds, "cpu_seconds": time.process_time() - self._cpu_seconds}


def hugging_face_steps(work: Path, dropout: float) -> tuple[float, Burst]:
    import numpy as np
    import torch
    from transformers import BertForMaskedLM

    torch.set_num_threads(cores_here())
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
        clock = Clock()
        for _ in range(steps):
            row = place[0] % len(inputs)
            place[0] += 1
            model(input_ids=inputs[row], attention_mask=mask[row], labels=targets[row]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
        return clock.read()

    return loss, burst


def clozekit_paragraphs(work: Path, dropout: float) -> tuple[float, Burst]:
    import tensorflow as tf

    from clozekit.model import BertMaskedLM
    from clozekit.model.reading.dataset_reader import training_batches
    from clozekit.model.training.build_task import masking_options
    from clozekit.model.training.controller import pretraining_step
    from clozekit.pipelines.dataset.manifest import read_manifest
    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    task = with_dropout(BertMaskedLM.from_preset(str(work / "preset"), compile=False), dropout)
    config = run_config(PARAGRAPH_ROWS)
    directory = str(work / f"rows{PARAGRAPH_LENGTH}")
    manifest = read_manifest(directory)
    masking = masking_options(config, manifest, load_tokenizer(str(work / "tokenizer")))
    step = pretraining_step(task, make_optimizer(task, config), config, tf.distribute.get_strategy())
    rows = iter(training_batches(directory, manifest, masking, PARAGRAPH_ROWS, seed=0))

    def burst(steps: int) -> dict[str, float]:
        clock = Clock()
        result = step.run_loop(rows, tf.constant(0), tf.constant(steps))
        tokens = float(result.counts.tokens)
        return {**clock.read(), "tokens": tokens, "wait_seconds": float(result.wait_seconds)}

    return 0.0, burst


def keras_hub_paragraphs(work: Path, dropout: float) -> tuple[float, Burst]:
    import keras_hub
    import tensorflow as tf

    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(work / "preset"))
    preprocessor = keras_hub.models.BertMaskedLMPreprocessor(
        tokenizer,
        sequence_length=PARAGRAPH_LENGTH,
        mask_selection_rate=RATE,
        mask_selection_length=round(PARAGRAPH_LENGTH * RATE),
    )
    task = keras_hub_task(work, dropout, preprocessor)
    texts, ours = read_texts(work), load_tokenizer(str(work / "tokenizer"))
    place = [0]

    def burst(steps: int) -> dict[str, float]:
        # The first batch is unmeasured: in it `fit` starts.
        part = texts[place[0] : place[0] + (steps + 1) * PARAGRAPH_ROWS]
        place[0] = (place[0] + len(part)) % (len(texts) - 10 * STEPS_A_RUN * PARAGRAPH_ROWS)
        lengths = ours.encode_batch(part[PARAGRAPH_ROWS:]).row_lengths
        tokens = sum(min(int(length) + 2, PARAGRAPH_LENGTH) for length in lengths)
        clock = Clock()
        dataset = tf.data.Dataset.from_tensor_slices(part).batch(PARAGRAPH_ROWS, drop_remainder=True)
        task.fit(dataset, verbose=0, callbacks=[clock.callback()])
        return {**clock.read(), "tokens": float(tokens)}

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

    def __init__(self, part: str, library: str, work: Path) -> None:
        command = [sys.executable, __file__, "--serve", part, library, str(work)]
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


def measure(part: str, work: Path, runs: int) -> dict[str, list[dict[str, float]]]:
    """Library -> what it said first, then its runs; the libraries take turns."""
    served = {}
    for library in MAKERS[part]:
        if missing(library):
            print(f"{LIBRARIES[library]} is left out: {missing(library)} is not installed", file=sys.stderr)
            continue
        served[library] = Served(part, library, work)
        print(f"{part}: {library} is ready, {served[library].first}", file=sys.stderr)
    check_losses({library: one.first["loss"] for library, one in served.items()})
    results = {library: [one.first] for library, one in served.items()}
    for _ in range(runs):
        for library, one in served.items():
            results[library].append(one.run(STEPS_A_RUN))
            print(f"{part}: {library} {results[library][-1]}", file=sys.stderr)
    for one in served.values():
        one.close()
    return results


def check_losses(losses: dict[str, float]) -> None:
    """A speed on other outputs is no speed. torch's head has another activation by 3e-5 of the loss; see model/README.md."""
    for library, loss in losses.items():
        if abs(loss - losses["clozekit"]) > 1e-3 * losses["clozekit"]:
            raise RuntimeError(f"the losses must be equal on the same weights and rows, got {losses} ({library})")


def missing(library: str) -> str | None:
    for package in {"clozekit": [], "keras_hub": ["keras_hub"], "hugging_face": ["torch", "transformers"]}[library]:
        if importlib.util.find_spec(package) is None:
            return package
    return None


def reader_speeds(work: Path) -> dict[str, dict[str, float]]:
    """Library -> what it does -> million real tokens a second of CPU time on one core."""
    speeds = {}
    for library in LIBRARIES:
        if missing(library):
            print(f"{LIBRARIES[library]} is left out: {missing(library)} is not installed", file=sys.stderr)
            continue
        command = [sys.executable, __file__, "--serve", "reader", library, str(work)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        speeds[library] = json.loads(done.stdout.splitlines()[-1])
        print(f"reader: {library} {speeds[library]}", file=sys.stderr)
    return speeds


def read_on_one_core(library: str, work: Path) -> dict[str, float]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    readers = {"clozekit": clozekit_readers, "keras_hub": keras_hub_readers, "hugging_face": hugging_face_readers}
    return {name: tokens_a_second(*reader) / 1e6 for name, reader in readers[library](work).items()}


def tokens_a_second(next_batch: Callable[[], int], batches: int) -> float:
    """Tokens a second of CPU time (what other processes take of the core does not count), the median of several parts.

    next_batch: makes a batch and says how many tokens of texts it holds.
    """
    for _ in range(5):
        next_batch()
    found = []
    for _ in range(NUM_RUNS):
        started = time.process_time()
        tokens = sum(next_batch() for _ in range(batches // NUM_RUNS))
        found.append(tokens / (time.process_time() - started))
    return statistics.median(found)


def clozekit_readers(work: Path) -> dict[str, tuple[Callable[[], int], int]]:
    from clozekit.model.masking.masking_rule import STRATEGIES, MaskingRule
    from clozekit.model.reading.dataset_reader import training_batches
    from clozekit.pipelines.dataset.manifest import read_manifest
    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    directory = str(work / f"rows{PARAGRAPH_LENGTH}")
    manifest = read_manifest(directory)
    special = manifest.tokenizer.special_token_ids
    starts = load_tokenizer(str(work / "tokenizer")).word_starts()
    size = manifest.tokenizer.vocabulary_size
    options = MaskingRule(special["mask_token"], size, tuple(set(special.values())), 0.3, word_starts=starts)
    tokens_a_batch = round(READER_ROWS * PARAGRAPH_LENGTH * manifest.fill_rate("train"))

    def reader(strategy: str) -> tuple[Callable[[], int], int]:
        chosen = dataclasses.replace(options, strategy=strategy)
        batches = iter(training_batches(directory, manifest, chosen, READER_ROWS, seed=0))

        def next_batch() -> int:
            next(batches)
            return tokens_a_batch

        return next_batch, READER_BATCHES

    return {f"shards to masked batches, {strategy}": reader(strategy) for strategy in STRATEGIES}


def keras_hub_readers(work: Path) -> dict[str, tuple[Callable[[], int], int]]:
    import keras_hub
    import tensorflow as tf

    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(work / "preset"))
    slots = round(PARAGRAPH_LENGTH * RATE)
    preprocessor = keras_hub.models.BertMaskedLMPreprocessor(
        tokenizer, sequence_length=PARAGRAPH_LENGTH, mask_selection_rate=RATE, mask_selection_length=slots
    )
    texts = read_texts(work)[: READER_ROWS * 100]
    lengths = load_tokenizer(str(work / "tokenizer")).encode_batch(texts).row_lengths
    mean_tokens = sum(min(int(length) + 2, PARAGRAPH_LENGTH) for length in lengths) / len(texts)
    raw = tf.data.Dataset.from_tensor_slices(texts).repeat().batch(READER_ROWS, drop_remainder=True)
    from_text = iter(raw.map(preprocessor, num_parallel_calls=1))
    masker = keras_hub.layers.MaskedLMMaskGenerator(
        vocabulary_size=tokenizer.vocabulary_size(),
        mask_selection_rate=RATE,
        mask_token_id=tokenizer.mask_token_id,
        mask_selection_length=slots,
        unselectable_token_ids=[tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id],
    )
    rows = tf.data.Dataset.from_tensor_slices(full_rows(work)).repeat().batch(READER_ROWS, drop_remainder=True)
    from_ids = iter(rows.map(masker, num_parallel_calls=1))

    def one_of_texts() -> int:
        next(from_text)
        return round(mean_tokens * READER_ROWS)

    def one_of_ids() -> int:
        next(from_ids)
        return READER_ROWS * PARAGRAPH_LENGTH

    return {
        "BertMaskedLMPreprocessor in tf.data, from texts": (one_of_texts, 20),
        "its mask generator alone, from rows of ids in memory": (one_of_ids, 50),
    }


def hugging_face_readers(work: Path) -> dict[str, tuple[Callable[[], int], int]]:
    import torch
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    torch.set_num_threads(1)
    tokenizer = BertTokenizerFast.from_pretrained(work / "huggingface")
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=RATE)
    rows = [row.tolist() for row in full_rows(work)]
    place = [0]

    def next_batch() -> int:
        part = [{"input_ids": rows[(place[0] + index) % len(rows)]} for index in range(READER_ROWS)]
        place[0] += READER_ROWS
        collator(part)
        return READER_ROWS * PARAGRAPH_LENGTH

    return {"DataCollatorForLanguageModeling, from rows of ids in memory": (next_batch, 50)}


def full_rows(work: Path) -> Any:
    """int32 (N, T): packed rows, for libraries that can't read our shards."""
    import numpy as np

    from clozekit.model.masking.masking_rule import MaskingRule
    from clozekit.model.reading.dataset_reader import training_batches
    from clozekit.pipelines.dataset.manifest import read_manifest

    directory = str(work / f"rows{PARAGRAPH_LENGTH}")
    manifest = read_manifest(directory)
    special = manifest.tokenizer.special_token_ids
    size = manifest.tokenizer.vocabulary_size
    # Rate 0: nothing is masked.
    options = MaskingRule(special["mask_token"], size, tuple(set(special.values())), 0.0)
    batches = training_batches(directory, manifest, options, READER_ROWS, seed=0).take(10)
    return np.concatenate([batch["token_ids"] for batch in batches.as_numpy_iterator()])


def read_texts(work: Path) -> list[str]:
    lines = (work / "paragraphs.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    random.Random(0).shuffle(texts)
    return texts


def ratio(results: dict[str, list[dict[str, float]]], library: str, key: Callable[[dict[str, float]], float]) -> str:
    """Median and range, over the runs, of how many times as fast as `library` Clozekit was in the same turn."""
    pairs = zip(results["clozekit"][1:], results[library][1:], strict=True)
    ratios = sorted(key(ours) / key(theirs) for ours, theirs in pairs)
    return f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def median_of(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs[1:])


def render_steps(results: dict[str, list[dict[str, float]]]) -> list[str]:
    num_runs = len(results["clozekit"]) - 1
    lines = [
        f"## Training: a step on the same {STEP_ROWS} full rows of {STEP_LENGTH} tokens, {SLOTS} predictions each",
        "",
    ]
    lines += [f"{MODEL} Medians of {num_runs} turns of {STEPS_A_RUN} steps; a ratio is of the same turn.", ""]
    lines += [*header(PACKAGES), f"- load while measuring: {os.getloadavg()[1]:.1f}", ""]
    lines += [
        "| | loss on the first batch | ready after, s | ms a step | CPU-ms a step | Clozekit's speed | by CPU time |"
    ]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for library, runs in results.items():
        wall, cpu = ("", "")
        if library != "clozekit":
            wall, cpu = (ratio(results, library, lambda run, n=name: 1 / run[n]) for name in ("seconds", "cpu_seconds"))
        times = [f"{median_of(runs, name) / STEPS_A_RUN * 1000:.0f}" for name in ("seconds", "cpu_seconds")]
        first = f"{runs[0]['loss']:.5f} | {runs[0]['ready_seconds']:.0f}"
        lines.append(f"| {HOW['steps'][library]} | {first} | {times[0]} | {times[1]} | {wall} | {cpu} |")
    return lines


def render_paragraphs(results: dict[str, list[dict[str, float]]]) -> list[str]:
    lines = [
        f"## Training: real tokens a second on paragraphs, {PARAGRAPH_ROWS} rows of {PARAGRAPH_LENGTH} a batch",
        "",
    ]
    lines += [MODEL, "", *header(PACKAGES), f"- load while measuring: {os.getloadavg()[1]:.1f}", ""]
    lines += [
        "| | real tokens a second | Clozekit's speed | by CPU time | waiting for data |",
        "|---|---:|---:|---:|---:|",
    ]
    for library, runs in results.items():
        speed = statistics.median(run["tokens"] / run["seconds"] for run in runs[1:])
        wall, cpu, wait = "", "", ""
        if library == "clozekit":
            wait = f"{statistics.median(run['wait_seconds'] / run['seconds'] for run in runs[1:]):.3%}"
        else:
            names = ("seconds", "cpu_seconds")
            wall, cpu = (ratio(results, library, lambda run, n=name: run["tokens"] / run[n]) for name in names)
        lines.append(f"| {HOW['paragraphs'][library]} | {speed:,.0f} | {wall} | {cpu} | {wait} |")
    return lines


def render_reader(results: dict[str, dict[str, float]]) -> list[str]:
    lines = [f"## The reader on one core, rows of {PARAGRAPH_LENGTH}", ""]
    lines += [
        f"`make bench-training`; tokens of texts a second of CPU time; {READER_ROWS} rows a batch; Clozekit masks 30%,"
    ]
    lines += [
        f"the others {RATE:.0%}. Clozekit's figures hold reading, parsing, shuffling and everything that is derived.",
        "",
    ]
    lines += [*header(PACKAGES), "", "| | million tokens a second |", "|---|---:|"]
    for library, speeds in results.items():
        lines += [f"| {LIBRARIES[library]}: {name} | {speed:.2f} |" for name, speed in speeds.items()]
    return lines


MODEL = (
    f"`make bench-training`: BERT of 4 layers x 256, vocabulary 30,522, float32, dropout {DROPOUT:g}, AdamW with clipping, on"
    " the CPU; each library in a process of its own, in turns."
)
HOW = {
    "steps": {
        "clozekit": "Clozekit, the trainer's step",
        "keras_hub": "keras-hub, `fit`, `jit_compile=True`",
        "hugging_face": "Hugging Face, the Trainer's loop on torch",
    },
    "paragraphs": {
        "clozekit": "Clozekit, packed rows from shards",
        "keras_hub": "keras-hub, `fit` on raw strings, `jit_compile=True`",
    },
}


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        part, library, work = sys.argv[2:]
        if part == "reader":
            print(json.dumps(read_on_one_core(library, Path(work))))
        else:
            serve(part, library, Path(work), DROPOUT)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl[.gz] of documents")
    parser.add_argument("--bert-vocabulary", type=Path, required=True, help="a vocab.txt of BERT uncased")
    parser.add_argument("--megabytes", type=float, default=10.0, help="of the corpus")
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given several times")
    parser.add_argument("--work", type=Path, help="where the datasets go and are found again; a temporary folder")
    parser.add_argument("--into", type=Path, help="Markdown file that gets the tables")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        if not (work / "batches.npz").exists():
            work.mkdir(parents=True, exist_ok=True)
            prepare_all(arguments.corpus, arguments.bert_vocabulary, work, arguments.megabytes)
        measures: dict[str, Callable[[], list[str]]] = {
            "steps": lambda: render_steps(measure("steps", work, arguments.runs)),
            "paragraphs": lambda: render_paragraphs(measure("paragraphs", work, arguments.runs)),
            "reader": lambda: render_reader(reader_speeds(work)),
        }
        for part in arguments.only or PARTS:
            section = "\n".join(measures[part]()) + "\n"
            print(section)
            if arguments.into:
                put_into(arguments.into, f"training {part}", section)


if __name__ == "__main__":
    main()

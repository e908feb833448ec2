"""Clozekit's models beside KerasHub's: steps of `fit` and `predict` on the same weights and inputs, memory of the head.

    make bench-models

Outputs and losses are compared first: a speed on other outputs is no speed. Medians of several turns, one after the
other, by the clock and by CPU time; the spread of the turns' ratios stands beside them.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))
from processes import resident_bytes
from tables import Turn, header, in_turns, put_into

import clozekit.model
from clozekit.model.common.prefetch import without_autotuning
from clozekit.model.families.family_table import family_named
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

PACKAGES = ("keras-hub", "keras", "tensorflow", "numpy")
VOCABULARY_SIZE = 30_522
STEPS = 4
# `predict` is short: it takes more turns.
TURNS = {"fit": 7, "predict": 15}
# The C library keeps freed memory for the next step. Else it goes back to the system and comes again page by page, with
# every step's logits: a third of the time of `predict`, now more, now less, for both libraries.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}
HEAD_VOCABULARY, HEAD_ROWS, HEAD_LENGTH = 250_000, 16, 512


@dataclass(frozen=True)
class Case:
    """One model and one shape of batches."""

    family: str
    batch_size: int
    length: int

    @property
    def name(self) -> str:
        return f"{self.family}, 4 layers x 256, {self.batch_size} rows of {self.length}"

    @property
    def num_slots(self) -> int:
        return math.ceil(0.15 * self.length)


CASES = (Case("bert", 16, 128), Case("bert", 8, 512), Case("roberta", 16, 128), Case("albert", 16, 128))


def batches(case: Case, count: int) -> tf.data.Dataset:
    dice = np.random.default_rng(0)
    shape = (count, case.batch_size, case.length)
    inputs = {
        "token_ids": dice.integers(5, VOCABULARY_SIZE, shape).astype(np.int32),
        "padding_mask": np.ones(shape, np.int32),
        "mask_positions": np.sort(dice.integers(0, case.length, (*shape[:2], case.num_slots)), axis=-1).astype(
            np.int32
        ),
    }
    if case.family in ("bert", "albert"):
        inputs["segment_ids"] = np.zeros(shape, np.int32)
    labels = dice.integers(5, VOCABULARY_SIZE, (*shape[:2], case.num_slots)).astype(np.int32)
    return without_autotuning(tf.data.Dataset.from_tensor_slices((inputs, labels)).cache())


def both(case: Case, jit: bool) -> dict[str, Any]:
    """The same weights in Clozekit and in KerasHub, compiled alike; no dropout, so that losses can be compared."""
    import keras_hub

    keras.utils.set_random_seed(0)
    family = family_named(case.family)
    sizes: dict[str, Any] = {
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 256,
        "intermediate_dim": 1024,
        "dropout": 0.0,
    }
    if case.family == "albert":
        sizes["embedding_dim"] = 128
    task = family.masked_lm(family.backbone(VOCABULARY_SIZE, **sizes))
    with tempfile.TemporaryDirectory() as directory:
        task.save_to_preset(directory + "/preset")
        theirs = keras_hub.models.MaskedLM.from_preset(directory + "/preset", preprocessor=None)
    models = {"Clozekit": task, "KerasHub": theirs}
    for model in models.values():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(5e-5), loss=loss, weighted_metrics=[], jit_compile=jit)
    return models


def measure_steps(case: Case, jit: bool) -> dict[str, dict[str, list[Turn]]]:
    """The turns of STEPS steps of `fit` and of `predict`, of both."""
    models, data = both(case, jit), batches(case, STEPS)
    inputs = data.map(lambda x, y: x)
    # Unmeasured: tracing and compilation; and the outputs must be the same.
    logits = [model.predict(inputs, verbose=0) for model in models.values()]
    difference = float(np.abs(logits[0] - logits[1]).max())
    if difference > 1e-3:
        raise RuntimeError(f"{case.name}: logits differ by {difference}, so their speeds can't be compared")
    histories = [model.fit(data, verbose=0).history["loss"][0] for model in models.values()]
    if abs(histories[0] - histories[1]) > 1e-3 * histories[1]:
        raise RuntimeError(f"{case.name}: losses differ ({histories}), so their speeds can't be compared")
    fits = {name: lambda m=model: m.fit(data, verbose=0) for name, model in models.items()}
    predictions = {name: lambda m=model: m.predict(inputs, verbose=0) for name, model in models.items()}
    turns = {"fit": in_turns(fits, TURNS["fit"]), "predict": in_turns(predictions, TURNS["predict"])}
    keras.backend.clear_session()
    return turns


def measure_raw_text() -> dict[str, float]:
    """Texts a second through `fit` on raw strings, each with its own preprocessor at rows of 128."""
    import keras_hub

    keras.utils.set_random_seed(0)
    words = [f"w{number}" for number in range(2000)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    dice = np.random.default_rng(0)
    texts = [" ".join(dice.choice(words, dice.integers(20, 150))) for _ in range(512)]
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 64, "intermediate_dim": 128, "dropout": 0.0}
    ours = clozekit.model.BertMaskedLM(
        clozekit.model.BertBackbone(len(pieces), **sizes),
        clozekit.model.BertMaskedLMPreprocessor(BertTokenizer(pieces), sequence_length=128),
    )
    models = keras_hub.models
    theirs = models.BertMaskedLM(
        models.BertBackbone(len(pieces), **sizes),
        models.BertMaskedLMPreprocessor(models.BertTokenizer(pieces), sequence_length=128),
    )
    data = without_autotuning(tf.data.Dataset.from_tensor_slices(texts).batch(32))
    for model in (ours, theirs):
        model.fit(data, verbose=0)
    runs = {name: lambda m=m: m.fit(data, verbose=0) for name, m in (("Clozekit", ours), ("KerasHub", theirs))}
    turns = in_turns(runs, TURNS["fit"])
    return {name: len(texts) / statistics.median(turn.seconds for turn in turns[name]) for name in runs}


def head_memory(way: str) -> None:
    """Prints the peak memory of one gradient step with a vocabulary of 250,000, in MB; run in a process of its own."""
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 512, "dropout": 0.0}
    if way == "KerasHub":
        import keras_hub

        task = keras_hub.models.XLMRobertaMaskedLM(keras_hub.models.XLMRobertaBackbone(HEAD_VOCABULARY, **sizes))
    else:
        task = clozekit.model.XLMRobertaMaskedLM(clozekit.model.XLMRobertaBackbone(HEAD_VOCABULARY, **sizes))
    for variable in task.weights:
        # By its name, which is the same in both libraries: equal weights, equal losses.
        dice = np.random.default_rng(zlib.crc32(variable.path.encode()))
        variable.assign(0.02 * dice.standard_normal(variable.shape, dtype=np.float32))
    slots = math.ceil(0.15 * HEAD_LENGTH)
    dice = np.random.default_rng(0)
    batch = {
        "token_ids": tf.constant(dice.integers(5, HEAD_VOCABULARY, (HEAD_ROWS, HEAD_LENGTH)), tf.int32),
        "padding_mask": tf.ones((HEAD_ROWS, HEAD_LENGTH), tf.int32),
        "mask_positions": tf.constant(dice.integers(0, HEAD_LENGTH, (HEAD_ROWS, slots)), tf.int32),
        "mask_ids": tf.constant(dice.integers(5, HEAD_VOCABULARY, (HEAD_ROWS, slots)), tf.int32),
        "mask_weights": tf.ones((HEAD_ROWS, slots)),
    }
    variables = [variable.value for variable in task.trainable_variables]

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            if way == "Clozekit, in chunks":
                loss = task.masked_sums(batch, training=True)[0]
            else:
                names = ("token_ids", "padding_mask", "mask_positions")
                logits = task({name: batch[name] for name in names}, training=True)
                loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["mask_ids"], logits))
        gradients = tape.gradient(loss, variables)
        return loss, [tf.reduce_sum(tf.convert_to_tensor(gradient)) for gradient in gradients]

    before = resident_bytes("self", "VmRSS")
    loss = float(step()[0]) / (HEAD_ROWS * slots)
    peak = resident_bytes("self", "VmHWM")
    print(json.dumps({"before": before / 1e6, "peak": peak / 1e6, "loss": loss}))


def measure_head() -> dict[str, dict[str, float]]:
    results = {}
    # As users run it: memory that is kept would count into the peak.
    environment = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}
    for way in ("Clozekit, in chunks", "Clozekit, all logits", "KerasHub"):
        command = [sys.executable, __file__, "--head-memory", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        results[way] = json.loads(done.stdout.strip().splitlines()[-1])
    losses = [result["loss"] for result in results.values()]
    if max(losses) - min(losses) > 1e-3 * min(losses):
        raise RuntimeError(f"the head's losses differ ({losses}), so memory can't be compared")
    return results


def row(what: str, turns: dict[str, list[Turn]]) -> str:
    """A row of the table: medians of both by the clock and by CPU time, and how the ratios of the turns spread."""
    cells = [what]
    for measure in ("seconds", "cpu_seconds"):
        ours, theirs = ([getattr(turn, measure) for turn in turns[name]] for name in ("Clozekit", "KerasHub"))
        ratios = sorted(their / our for our, their in zip(ours, theirs, strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4)
        cells += [f"{statistics.median(values) / STEPS * 1e3:.0f}" for values in (ours, theirs)]
        cells += [f"{middle:.2f} ({low:.2f} to {high:.2f})"]
    return f"| {' | '.join(cells)} |"


def render(
    steps: dict[tuple[str, bool], dict[str, dict[str, list[Turn]]]],
    raw: dict[str, float],
    head: dict[str, dict[str, float]],
) -> str:
    lines = [
        "## Models",
        "",
        "`make bench-models`. Milliseconds a step by the clock, and CPU milliseconds of all threads, on the same weights and",
        "inputs; logits equal within 1e-3 and losses within 0.1% before anything was timed. Medians of turns of",
        f"{STEPS} steps: {TURNS['fit']} of `fit`, {TURNS['predict']} of `predict`. The ratio is KerasHub's time by Clozekit's, turn by turn: median,",
        "and the quartiles of the turns. The C library is told to keep freed memory, for both",
        f"({', '.join(f'`{name}={value}`' for name, value in KEEP_MEMORY.items())}): else",
        "a third of the time of `predict` is page faults for its logits, now more, now less.",
        "",
    ]
    lines += header(PACKAGES)
    lines += ["", "| | Clozekit | KerasHub | ratio | Clozekit, CPU | KerasHub, CPU | ratio, CPU |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for (case, jit), kinds in steps.items():
        for kind, turns in kinds.items():
            lines.append(row(f"{case}, `{kind}`{', XLA' if jit else ''}", turns))
    ours, theirs = raw["Clozekit"], raw["KerasHub"]
    lines += ["", "`fit` on raw strings (BERT, 2 layers x 64, rows of 128, each with its own preprocessor):"]
    lines += [f"Clozekit {ours:.0f} texts a second, KerasHub {theirs:.0f}: {ours / theirs:.2f} times."]
    if not head:
        return "\n".join(lines) + "\n"
    lines += [
        "",
        f"Peak memory of one gradient step, {HEAD_ROWS} rows of {HEAD_LENGTH}, {HEAD_VOCABULARY:,} pieces (2 layers x 256):",
    ]
    lines += ["", "| | MB before the step | MB at its peak | loss |", "|---|---:|---:|---:|"]
    for way, result in head.items():
        lines.append(f"| {way} | {result['before']:.0f} | {result['peak']:.0f} | {result['loss']:.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="Markdown file that gets the tables")
    parser.add_argument("--no-xla", action="store_true", help="leave the steps with XLA out")
    parser.add_argument("--no-head", action="store_true", help="leave the memory of the head out")
    parser.add_argument("--head-memory", metavar="WAY", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.head_memory:
        head_memory(arguments.head_memory)
        return
    if not KEEP_MEMORY.items() <= os.environ.items():
        # It is read when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    steps = {}
    for case in CASES:
        # One case suffices for XLA, which takes a minute to compile each: the others compile the same layers.
        for jit in (False, True) if case == CASES[0] and not arguments.no_xla else (False,):
            steps[case.name, jit] = measure_steps(case, jit)
            for kind, turns in steps[case.name, jit].items():
                print(row(f"{case.name}, {kind}{', XLA' if jit else ''}", turns), file=sys.stderr, flush=True)
    raw, head = measure_raw_text(), {} if arguments.no_head else measure_head()
    section = render(steps, raw, head)
    print(section)
    if arguments.into:
        put_into(arguments.into, "models", section)


if __name__ == "__main__":
    main()

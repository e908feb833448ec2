"""Measuring a training step, and the reader that feeds it."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from clozekit.deploy.bench.cpu_tracker import FILE_VARIABLE
from clozekit.deploy.bench.measured import SEQUENCE_LENGTH, Measured, Workplace
from clozekit.deploy.bench.timing import repeated
from clozekit.tokenizers.common.kept_programs import VARIABLE

_ROWS_A_STEP = 32
_STEPS_A_LOOK = 4
# The reader masks 64 of these batches at a time; a look at fewer would find them made before it began.
_READ_BATCHES = 256
# A step takes a quarter of a second on the reference machine.
_STEPS_A_SECOND, _LEAST_STEPS = 0.4, 8
_READER_SHARE = 0.03
_CONFIG = """\
dataset: {dataset}
directory: {run}
model: {{num_layers: 2, num_heads: 2, hidden_dim: 128, intermediate_dim: 512}}
train: {{steps: {steps}, global_batch_size: {rows}, steps_per_loop: {look}}}
optimizer: {{learning_rate: 1e-3}}
evaluate: {{max_rows: 32}}
log: {{trackers: ["clozekit.deploy.bench.cpu_tracker:make"]}}
"""


def measure_step(place: Workplace) -> Iterator[Measured]:
    """`clozekit train` in a process of its own, which ends before anything else here loads TensorFlow."""
    run, config = place.folder / "run", place.folder / "train.yaml"
    config.write_text(
        _CONFIG.format(
            # As JSON has them, which YAML reads: a temporary folder may have any name.
            dataset=json.dumps(place.dataset),
            run=json.dumps(str(run)),
            steps=max(_LEAST_STEPS, round(place.seconds * _STEPS_A_SECOND)),
            rows=_ROWS_A_STEP,
            look=_STEPS_A_LOOK,
        ),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "clozekit.deploy.cli", "train", str(config)]
    marks = place.folder / "cpu.json"
    # What an earlier run has compiled would not be compiled in this one.
    environment = {**os.environ, FILE_VARIABLE: str(marks), VARIABLE: "0"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"the training of the benchmark failed: {done.stderr[-2000:]}")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    looks = [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]
    cpu = list(json.loads(marks.read_text(encoding="utf-8")).values())
    taken = [later - before for before, later in itertools.pairwise(cpu)]
    tokens = _STEPS_A_LOOK * _ROWS_A_STEP * SEQUENCE_LENGTH
    # The first look holds the compiling, and steps like the later ones. Of these the fastest: other work on the machine only
    # ever makes a look slower.
    yield Measured("step.first", cpu[0] - min(taken))
    yield Measured("step.cpu", tokens / min(taken))
    yield Measured("step.speed", max(look["tokens_per_second"] for look in looks[1:]))


def measure_reader(place: Workplace) -> Iterator[Measured]:
    from clozekit.deploy.quiet_loading import load_tensorflow

    load_tensorflow()
    from clozekit.model.masking.masking_rule import MaskingRule
    from clozekit.model.reading.dataset_reader import training_batches
    from clozekit.pipelines.dataset.manifest import read_manifest
    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    manifest = read_manifest(place.dataset)
    special = manifest.tokenizer.special_token_ids
    starts = load_tokenizer(place.tokenizer).word_starts()
    rule = MaskingRule(
        special["mask_token"], manifest.tokenizer.vocabulary_size, tuple(set(special.values())), 0.3, word_starts=starts
    )
    tokens = _READ_BATCHES * _ROWS_A_STEP * SEQUENCE_LENGTH * manifest.fill_rate("train")
    for name, strategy in (("tokens", "token"), ("whole_words", "whole_word")):
        chosen = dataclasses.replace(rule, strategy=strategy)
        batches = iter(training_batches(place.dataset, manifest, chosen, _ROWS_A_STEP, seed=0))

        def read(batches: Iterator[object] = batches) -> None:
            for _ in range(_READ_BATCHES):
                next(batches)

        read()
        taken = repeated(read, place.seconds * _READER_SHARE)
        yield Measured(f"reader.{name}", tokens / taken.cpu_seconds / 1e6)

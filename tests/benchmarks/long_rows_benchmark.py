"""Memory and CPU time of a training step by the length of its rows: `make bench-long-rows`, into BENCHMARKS.md.

Each case is a process of its own: a step of the trainer on one packed row, compiled. Its memory is what XLA sets aside for the values of
the step (`preallocated-temp` in its report), which leaves out weights, the optimizer and the compiler; beside it what --dry-run says.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tables import header, put_into

LENGTHS = (512, 1024, 2048, 8192)
# In full the longest one would hold 30 GB.
LONGEST_IN_FULL = 2048
FAMILIES = {"modern_bert": "ModernBERT, window 128", "bert": "BERT"}
WAYS = {"in full": {}, "in chunks": {}, "in chunks, recompute": {"recompute": True}}
SIZES = {"num_layers": 6, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 512, "dropout": 0.1}
VOCABULARY = 4000
PACKAGES = ("tensorflow", "keras", "numpy")
_TEMP = re.compile(r"size (\d+)(?:\.\d+)?(MiB|KiB|GiB)?, preallocated-temp")
_UNITS = {None: 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def step_of(family: str, length: int, way: str) -> dict[str, float]:
    """In a process of its own: CPU seconds of a step that is compiled already, and the bytes that the formula says."""
    import numpy as np
    import tensorflow as tf

    from clozekit.model.layers import transformer_layers
    from clozekit.model.training.architecture import from_scratch
    from clozekit.model.training.build_task import build_task
    from clozekit.model.training.controller import pretraining_step
    from clozekit.model.training.flops import Dimensions, training_memory
    from clozekit.model.training.optimizers.optimizer import Optimizer
    from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings, TrainSettings

    if way == "in full":
        transformer_layers.LONGEST_IN_FULL = 2**31
    model = ModelSettings(family=family, **SIZES)
    config = RunSettings("data", "run", model=model, train=TrainSettings(steps=3, global_batch_size=1, **WAYS[way]))
    task = build_task(config, from_scratch(config.model, VOCABULARY, length))
    step = pretraining_step(
        task, Optimizer(task.trainable_variables, config.optimizer, True), config, tf.distribute.get_strategy()
    )
    dice, slots = np.random.default_rng(0), length * 3 // 10
    row = {
        "token_ids": dice.integers(5, VOCABULARY, (3, 1, length)).astype(np.int32),
        "padding_mask": np.ones((3, 1, length), np.int32),
        # Documents of 256 tokens.
        "document_ids": np.broadcast_to(np.arange(length, dtype=np.int32) // 256 + 1, (3, 1, length)),
        "mask_positions": np.broadcast_to(np.arange(slots, dtype=np.int32) * 3, (3, 1, slots)),
        "mask_ids": dice.integers(5, VOCABULARY, (3, 1, slots)).astype(np.int32),
        "mask_weights": np.ones((3, 1, slots), np.float32),
    }
    batches = iter(tf.data.Dataset.from_tensor_slices(row))
    step.run_loop(batches, tf.constant(0), tf.constant(1))
    begin, wall = time.process_time(), time.perf_counter()
    step.run_loop(batches, tf.constant(1), tf.constant(2))
    sizes, recompute = Dimensions.of(task.backbone), bool(WAYS[way])
    formula = training_memory(sizes, 0, 1, length, slots, is_recomputed=recompute).activations
    return {
        "cpu_seconds": (time.process_time() - begin) / 2,
        "seconds": (time.perf_counter() - wall) / 2,
        "formula": formula,
    }


def measured(family: str, length: int, way: str) -> dict[str, float]:
    """`step_of` in a process, and the bytes that XLA set aside for the largest program."""
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--xla_dump_to={folder} --xla_dump_hlo_as_text"
        words = [sys.executable, __file__, "--case", json.dumps([family, length, way])]
        done = subprocess.run(
            words, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{family}, {length}, {way}: {done.stderr[-2000:]}")
        found = [
            int(float(number)) * _UNITS[unit or None]
            for path in Path(folder).glob("*buffer-assignment.txt")
            for number, unit in _TEMP.findall(path.read_text(encoding="utf-8"))
        ]
        return {**json.loads(done.stdout.splitlines()[-1]), "bytes": max(found)}


def table(family: str, cases: dict[tuple[int, str], dict[str, float]]) -> list[str]:
    lines = [
        f"{FAMILIES[family]}:",
        "",
        "| tokens of the row |" + "".join(f" {way} |" for way in WAYS),
        "|---:|" + "---:|" * len(WAYS),
    ]
    for length in LENGTHS:
        cells = [f" {length:,} |"]
        for way in WAYS:
            case = cases.get((length, way))
            cells.append(
                " - |"
                if case is None
                else f" {case['bytes'] / 1e6:,.0f} MB (formula {case['formula'] / 1e6:,.0f}), {case['cpu_seconds']:.2f} CPU-s |"
            )
        lines.append("|" + "".join(cells))
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--page", default="BENCHMARKS.md")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(step_of(*json.loads(arguments.case))))
        return
    lines: list[str] = [
        "## Long rows",
        "",
        "`make bench-long-rows`. One packed row a step, 6 layers of 256, compiled; memory of the values of a step",
        "as XLA lays them out, and by the formula of `--dry-run`, which counts chunks above 512 tokens.",
        "",
    ]
    for family in FAMILIES:
        cases: dict[tuple[int, str], dict[str, Any]] = {}
        for length in LENGTHS:
            for way in WAYS:
                if way != "in full" or length <= LONGEST_IN_FULL:
                    cases[length, way] = measured(family, length, way)
                    print(family, length, way, cases[length, way], flush=True)
        lines += table(family, cases)
        short, long = (cases[length, "in chunks"]["bytes"] for length in (1024, 8192))
        lines += [f"From 1,024 to 8,192 tokens, eight times as many: {long / short:.1f} times the memory.", ""]
    put_into(Path(arguments.page), "long rows", "\n".join([*lines, *header(PACKAGES), ""]))


if __name__ == "__main__":
    main()

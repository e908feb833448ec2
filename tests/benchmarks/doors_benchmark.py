"""CPU seconds until the command answers, and of whole commands on little work: `make bench-doors`."""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import whole_commands

TURNS = 7
DOORS = (
    "--version", "--help", "train --help", "prepare --help", "submit --help", "costs --corpus-gb 5",
    "train run.yaml optimizer.nme=adamw", "finetune nonsense=1", "prepare --input a --tokenizer b --output c --sequence-length 3",
    "vocab --input a --output c --vocabulary-size 99999999", "evaluate p --dataset d --mask-rate 3", "fill p",
    "submit slurm job.yaml --dry-run -- train run.yaml",
)  # fmt: skip
RUN = "{dataset: ds, model: {num_layers: 1}, train: {steps: 4, global_batch_size: 4}}"
JOB = "{name: a, output: out, slurm: {partition: p}}"


def cpu_seconds(words: list[str], folder: str) -> float:
    before = os.times()
    subprocess.run(words, cwd=folder, capture_output=True, check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measure_doors() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, median of {TURNS}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "run.yaml").write_text(RUN, encoding="utf-8")
        Path(folder, "job.yaml").write_text(JOB, encoding="utf-8")
        rows = [("python -c pass", [sys.executable, "-c", "pass"])]
        rows += [(f"clozekit {door}", [sys.executable, "-m", "clozekit.deploy.cli", *door.split()]) for door in DOORS]
        for shown, words in rows:
            times = [cpu_seconds(words, folder) for _ in range(TURNS)]
            print(f"{statistics.median(times):6.2f} CPU-s  {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="measure the whole commands of this one in turns"
    )
    parser.add_argument("--turns", type=int, default=TURNS, help="of the whole commands (default: %(default)s)")
    parser.add_argument("--only", choices=("doors", "whole"), help="one of the two parts")
    arguments = parser.parse_args()
    if arguments.only != "whole":
        measure_doors()
    if arguments.only != "doors":
        with tempfile.TemporaryDirectory() as folder:
            print(whole_commands.measure(Path(folder), arguments.before, arguments.turns))


if __name__ == "__main__":
    main()

"""The options of the commands that look at machines and reckon what they cost."""

from collections.abc import Callable
from typing import Any

CLOUD_COMMANDS = ("doctor", "costs")


def add_cloud_commands(commands: Any, command: Callable[..., Any]) -> None:
    doctor = command(
        commands,
        "doctor",
        "Look at this machine, its cluster and its storage; each red line says what to do.",
        "clozekit doctor\n  clozekit doctor --bucket gs://bucket/runs --dataset gs://bucket/dataset --preset bert_base_en",
    )
    doctor.add_argument("--bucket", metavar="URL", help="list, write, read and delete a probe below it")
    doctor.add_argument("--dataset", metavar="DATASET", help="is it there, are its shards of the right size?")
    doctor.add_argument("--preset", metavar="PRESET", help="does it load?")
    doctor.add_argument("--directory", default=".", help="where to look for free disk (default: here)")
    doctor.add_argument(
        "--constraints", metavar="FILE", help="the tested versions (default: constraints.txt beside the code)"
    )
    doctor.add_argument("--json", action="store_true", help="a JSON list of all findings")

    costs = command(
        commands,
        "costs",
        "Reckon the machine hours of preparing a corpus and pretraining on it, by formula (deploy/COSTS.md).",
        "clozekit costs --corpus-gb 100 --model bert_base_en_uncased --epochs 10 --accelerator a100 --num-accelerators 8",
    )
    costs.add_argument("--corpus-gb", type=float, required=True, metavar="X", help="uncompressed text, in GB")
    costs.add_argument("--model", help="a built-in preset of that size (default: bert_base_en_uncased)")
    costs.add_argument("--epochs", type=float, help="default: 1")
    costs.add_argument("--sequence-length", type=int, metavar="N", help="tokens of a row (default: 512)")
    costs.add_argument("--accelerator", help="t4, l4, v100, a100, h100, tpu-v4 or tpu-v5e (default: a100)")
    costs.add_argument("--num-accelerators", type=int, metavar="N", help="default: 1")
    costs.add_argument(
        "--utilization", type=float, metavar="MFU", help="share of the peak that is reached (default: 0.3)"
    )
    costs.add_argument("--num-vcpus", type=int, metavar="N", help="vCPUs of all workers together (default: 16)")
    costs.add_argument(
        "--overhead", type=float, help="CPU beyond the measured: cleaning, shuffling, idle cores (default: 2)"
    )
    costs.add_argument("--vcpu-price", type=float, metavar="PRICE", help="of a vCPU hour, its memory included")
    costs.add_argument(
        "--accelerator-price", type=float, metavar="PRICE", help="of an accelerator hour, its host included"
    )

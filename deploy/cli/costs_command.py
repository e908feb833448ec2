"""`clozekit costs`: machine hours by formula."""

import argparse
import dataclasses
from typing import Any

from clozekit.deploy.cli.command import command


def add(commands: Any) -> None:
    parser = command(
        commands,
        "costs",
        "Estimate the machine hours of preparing a corpus and pretraining on it, by formula (deploy/COSTS.md).",
        "clozekit costs --corpus-gb 100 --model bert_base_en_uncased --epochs 10 --accelerator a100 --num-accelerators 8",
    )
    parser.add_argument("--corpus-gb", type=float, required=True, metavar="X", help="uncompressed text, in GB")
    parser.add_argument("--model", help="a built-in preset of that size (default: bert_base_en_uncased)")
    parser.add_argument("--epochs", type=float, help="default: 1")
    parser.add_argument("--sequence-length", type=int, metavar="N", help="tokens of a row (default: 512)")
    parser.add_argument("--accelerator", help="t4, l4, v100, a100, h100, tpu-v4 or tpu-v5e (default: a100)")
    parser.add_argument("--num-accelerators", type=int, metavar="N", help="default: 1")
    parser.add_argument(
        "--utilization", type=float, metavar="MFU", help="share of the peak that is reached (default: 0.3)"
    )
    parser.add_argument("--num-vcpus", type=int, metavar="N", help="vCPUs of all workers together (default: 16)")
    parser.add_argument(
        "--overhead", type=float, help="CPU beyond the measured: cleaning, shuffling, idle cores (default: 2)"
    )
    parser.add_argument("--vcpu-price", type=float, metavar="PRICE", help="of a vCPU hour, its memory included")
    parser.add_argument(
        "--accelerator-price", type=float, metavar="PRICE", help="of an accelerator hour, its host included"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.costs import CostSettings, describe, estimate

    names = [field.name for field in dataclasses.fields(CostSettings)]
    options = CostSettings(**{name: value for name in names if (value := getattr(arguments, name)) is not None})
    print("\n".join(describe(options, estimate(options))))

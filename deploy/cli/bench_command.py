"""`clozekit bench`: the speed of each part on this machine beside the documents'."""

import argparse
import dataclasses
import math
import time
from typing import Any

from clozekit.deploy.bench.bench_parts import COMPARABLE_SECONDS, DEFAULT_SECONDS, PARTS
from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import JsonAnswer, kept_free
from clozekit.deploy.cli.running_options import load_beam_for_here
from clozekit.tokenizers.common.errors import InputError

ANSWER = JsonAnswer(("machine", "seconds", "reference_machine", "reference_date", "figures"))
_LEAST_SECONDS = 1.0


def add(commands: Any) -> None:
    parser = command(
        commands,
        "bench",
        "Measure each part on this machine, in about two minutes, beside docs/benchmarks.md: a slow machine or set-up is seen.",
        "clozekit bench\n  clozekit bench --only tokenizers --only step",
        needs=("pipelines", "training"),
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, default=None, help="this part; may be given again (default: all)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=DEFAULT_SECONDS,
        help="about how long all parts measure, start-up and compiling apart; below"
        f" {COMPARABLE_SECONDS:g} the text is too short to compare (default: %(default)g)",
    )
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    seconds = arguments.seconds
    if not _LEAST_SECONDS <= seconds < math.inf:
        raise InputError(f"--seconds must be at least {_LEAST_SECONDS:g}, got {seconds:g}; leave it out")
    load_beam_for_here(arguments)
    from clozekit.deploy.bench.bench_table import HEADER, compare, lines, title
    from clozekit.deploy.bench.reference_figures import load_reference
    from clozekit.deploy.bench.run_bench import run_bench
    from clozekit.deploy.bench.set_up import look, machine_in_words

    parts = PARTS if arguments.only is None else tuple(part for part in PARTS if part in arguments.only)
    reference, set_up, begun = load_reference(), look(), time.monotonic()
    compared = []
    with kept_free(arguments.json):
        print(f"this machine  {machine_in_words(set_up)}")
        print(f"the page      {reference.machine}; {reference.date}, docs/benchmarks.md\n\n{HEADER}", flush=True)
        shown = ""
        for measured in run_bench(parts, seconds):
            part = measured.name.partition(".")[0]
            if part != shown:
                print(title(shown := part))
            compared.append(compare(measured, reference, set_up))
            print("\n".join(lines(compared[-1])), flush=True)
        taken = time.monotonic() - begun
        slow = sum(one.is_far_slower for one in compared)
        print(
            f"\n{slow or 'none'} of {len(compared)} far slower than the page (less than half its speed); {taken:.0f} seconds"
        )
        if seconds < COMPARABLE_SECONDS:
            print(
                f"--seconds below {COMPARABLE_SECONDS:g} measures a short text, which no page compares with; leave it out"
            )
    if arguments.json:
        ANSWER.show(
            machine=machine_in_words(set_up),
            seconds=round(taken, 1),
            reference_machine=reference.machine,
            reference_date=reference.date,
            figures=[dataclasses.asdict(one) for one in compared],
        )

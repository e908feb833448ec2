"""`clozekit verify`: checks every byte of a dataset."""

import argparse
import dataclasses
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.tokenizers.common.errors import InputError

ANSWER = JsonAnswer(("dataset", "whole", "num_shards", "num_rows", "num_tokens", "problems"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "verify",
        "Check every byte of a dataset: hashes, counts, records, ids, lengths; a line for each problem.",
        "clozekit verify gs://bucket/dataset",
        needs=("pipelines",),
    )
    parser.add_argument("dataset", metavar="DATASET", help="a directory or any fsspec URL")
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.verify import verify_dataset

    verified = verify_dataset(arguments.dataset)
    if arguments.json:
        whole = not verified.problems
        ANSWER.show(dataset=arguments.dataset, whole=whole, **dataclasses.asdict(verified))
    else:
        print("\n".join(map(str, verified.problems)), end="\n" if verified.problems else "")
    if verified.problems:
        raise InputError(
            f"a dataset must be what its manifest says, {arguments.dataset} has {len(verified.problems)} problems (above);"
            " copy it again or run `clozekit prepare --overwrite`"
        )
    if not arguments.json:
        print(f"whole: {verified.num_shards:,} shards, {verified.num_rows:,} rows, {verified.num_tokens:,} tokens")

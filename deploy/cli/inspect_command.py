"""`clozekit inspect`: says what a dataset holds."""

import argparse
import dataclasses
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import DATASET_KEYS, JsonAnswer
from clozekit.tokenizers.common.errors import InputError

ANSWER = JsonAnswer((*DATASET_KEYS, "sample"))


def add(commands: Any) -> None:
    parser = command(
        commands, "inspect", "Say what a dataset holds.", "clozekit inspect dataset --rows 2", needs=("pipelines",)
    )
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--rows", type=int, default=3, help="rows to show decoded (default: %(default)s)")
    parser.add_argument(
        "--tokenizer", default=None, metavar="DIRECTORY", help="decode with this one (default: the dataset's)"
    )
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.dataset.describe import answer_of, describe_manifest, sample_rows
    from clozekit.pipelines.dataset.manifest import read_manifest
    from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER
    from clozekit.pipelines.storage.files import join
    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    if arguments.rows < 0:
        raise InputError(f"--rows must be at least 0, got {arguments.rows}")
    manifest = read_manifest(arguments.dataset)
    tokenizer = load_tokenizer(arguments.tokenizer or join(arguments.dataset, TOKENIZER_FOLDER))
    rows = list(sample_rows(manifest, arguments.dataset, tokenizer, arguments.rows))
    if arguments.json:
        ANSWER.show(**answer_of(manifest, arguments.dataset), sample=[dataclasses.asdict(row) for row in rows])
        return
    shown = [line for row in rows for line in row.lines()]
    print("\n".join([*describe_manifest(manifest, arguments.dataset), "", *shown]))

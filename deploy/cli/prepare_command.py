"""`clozekit prepare`: text into a dataset of packed rows."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.corpus_options import add_reading_options, add_selecting_options, given_sections
from clozekit.deploy.cli.running_options import add_running_options, running
from clozekit.deploy.recipes import PREPARE, find_recipe
from clozekit.pipelines.settings.prepare_settings import LONG_DOCUMENTS, PACKINGS, PAIRS, PrepareSettings
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.pipelines.settings.recipe import Recipe

# Tried against Beam's parser by tests/pipelines/running/test_engines.py, as they stand here and in docs/preparing-data.md.
OTHER_RUNNERS = """\
on Flink and Dataflow, with paths that every worker can reach and Clozekit installed in the workers' image (never run
there; the options were checked against Beam's own parser):
  clozekit prepare --input 'gs://B/docs/*.jsonl' --tokenizer tokenizer --output gs://B/dataset \\
      --runner FlinkRunner -- --flink_master=HOST:8081 --flink_version=1.20 --parallelism=16 \\
      --environment_type=EXTERNAL --environment_config=localhost:50000
  clozekit prepare --input 'gs://B/docs/*.jsonl' --tokenizer tokenizer --output gs://B/dataset \\
      --runner DataflowRunner -- --project=P --region=R --temp_location=gs://B/temp --staging_location=gs://B/staging \\
      --sdk_container_image=IMAGE --sdk_location=container --max_num_workers=50 --machine_type=n2-standard-4 \\
      --no_save_main_session"""


def add(commands: Any) -> None:
    parser = command(
        commands,
        "prepare",
        "Turn text into a dataset of packed rows (TFRecord shards and a manifest).",
        "clozekit prepare --input 'docs/*.jsonl' --tokenizer tokenizer --output dataset --sequence-length 256\n"
        "  clozekit prepare --source 'web=crawl/*.jsonl.zst:0.5' --source 'books=books/:2' --clean --quality gopher \\\n"
        "      --language en --deduplicate near --decontaminate benchmark.jsonl --tokenizer tokenizer --output dataset\n"
        "  clozekit prepare recipe.yaml rows.seed=1\n\n" + OTHER_RUNNERS,
        # The list of every option would fill the screen before the first word of help.
        "clozekit prepare RECIPE.YAML [KEY=VALUE ...] [OPTIONS] [-- BEAM OPTIONS]\n"
        "       clozekit prepare --input PATH ... --tokenizer DIRECTORY --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]",
        needs=("pipelines",),
    )
    parser.add_argument(
        "recipe",
        nargs="*",
        metavar="RECIPE.YAML KEY=VALUE",
        help="a file that says all of it, or a ready one (`clozekit recipes`), and changes to it; options take precedence over both",
    )
    parser.set_defaults(rest="recipe")
    parser.add_argument("--tokenizer", metavar="DIRECTORY", help="a tokenizer that `clozekit vocab` made")
    parser.add_argument("--output", metavar="DIRECTORY", help="where the dataset goes")
    add_reading_options(parser)
    add_selecting_options(parser)
    rows = parser.add_argument_group("rows and shards")
    rows.add_argument(
        "--sequence-length",
        type=int,
        nargs="+",
        default=None,
        metavar="N",
        help="tokens a row holds (default: 512); several make a dataset each in one pass, in OUTPUT/128, OUTPUT/512, ...",
    )
    rows.add_argument(
        "--validation-rate",
        type=float,
        default=None,
        help=f"share of documents kept for validation, duplicates only all together (default: {PrepareSettings.validation_rate})",
    )
    rows.add_argument(
        "--seed", type=int, default=None, help=f"decides the order of the rows (default: {PrepareSettings.seed})"
    )
    rows.add_argument(
        "--shard-size-mb",
        type=float,
        default=None,
        help=f"size a shard aims at (default: {PrepareSettings.shard_size_mb})",
    )
    rows.add_argument("--num-shards", type=int, default=None, help="train shards, in place of --shard-size-mb")
    rows = parser.add_argument_group("how documents become rows")
    rows.add_argument(
        "--long-documents",
        choices=LONG_DOCUMENTS,
        default=None,
        help=f"cut those longer than a row into full rows, cut them between sentences, or drop them (default: {PrepareSettings.long_documents})",
    )
    rows.add_argument(
        "--packing",
        choices=PACKINGS,
        default=None,
        help=f"none: one document a row; with several lengths each goes to the shortest that holds it (default: {PrepareSettings.packing})",
    )
    rows.add_argument(
        "--max-documents-per-row", type=int, default=None, metavar="N", help="documents packed together at most"
    )
    rows.add_argument(
        "--pairs",
        choices=PAIRS,
        default=None,
        help="sentence pairs: next, half with a second sentence of another document (BERT); order, half swapped (ALBERT)",
    )
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    recipe = prepare_recipe(arguments)
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.dataset.build_report import REPORT_FILE
    from clozekit.pipelines.dataset.describe import describe_manifest
    from clozekit.pipelines.prepare import prepare_lengths
    from clozekit.pipelines.storage.files import join

    results = prepare_lengths(
        recipe.reading,
        recipe.rows.options(),
        recipe.rows.sequence_length,
        recipe.tokenizer,
        recipe.output,
        overwrite=arguments.overwrite,
        corpus=recipe.corpus,
        **running(arguments),
    )
    for directory, (manifest, built) in results.items():
        if not built:
            print("already prepared from these inputs with these settings; nothing to do")
        print("\n".join([*describe_manifest(manifest, directory), "", f"report    {join(directory, REPORT_FILE)}"]))


def prepare_recipe(arguments: argparse.Namespace) -> "Recipe":
    """What `prepare` is told, by its recipe, the changes to it and its options."""
    from clozekit.pipelines.settings.recipe import RowSettings, load_recipe

    file, changes = recipe_file(arguments)
    names = [field.name for field in dataclasses.fields(RowSettings)]
    given = {
        **given_sections(arguments),
        "": {"tokenizer": arguments.tokenizer, "output": arguments.output},
        "rows": {name: getattr(arguments, name, None) for name in names},
    }
    return load_recipe(file, changes, given)


def recipe_file(arguments: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The file of the recipe, None where there is none, and the changes to it."""
    words = list(arguments.recipe)
    if words and "=" not in words[0]:
        if arguments.config is not None:
            raise InputError(f"one file holds a recipe, got {words[0]} and --config {arguments.config}; leave one out")
        return find_recipe(words[0], PREPARE), words[1:]
    return arguments.config, words

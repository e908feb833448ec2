"""`clozekit prepare`: text into a dataset of packed rows."""

import argparse
from typing import TYPE_CHECKING, Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.corpus_options import add_corpus_options, given_sections
from clozekit.deploy.cli.datasets_answer import ANSWER, show_datasets
from clozekit.deploy.cli.file_and_changes import file_and_changes
from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.deploy.cli.running_options import add_running_options, running, running_settings
from clozekit.deploy.recipes import PREPARE, find_recipe
from clozekit.pipelines.settings.prepare_settings import RowSettings
from clozekit.pipelines.settings.running_settings import RunningSettings
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.pipelines.dataset.manifest import Manifest
    from clozekit.pipelines.settings.recipe import Recipe

ROWS = OptionTable(RowSettings)
# Tried against Beam's parser by tests/pipelines/running/test_engines.py, as they stand here and in docs/preparing-data.md.
OTHER_RUNNERS = """\
on Flink and Dataflow, with paths that every worker can reach and Clozekit installed in the workers' image (Flink was
run on one machine, docs/engines.md; Dataflow never, its options were checked against Beam's own parser):
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
    parser.add_argument(
        "--tokenizer", metavar="DIRECTORY", help="a tokenizer that `clozekit vocab` made, or that of a preset or a run"
    )
    parser.add_argument("--output", metavar="DIRECTORY", help="where the dataset goes")
    add_corpus_options(parser)
    ROWS.add_to(parser.add_argument_group("rows and shards"))
    ANSWER.add_to(parser)
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

    recipe, how = prepare_order(arguments)
    check_reachable(urls_in(recipe))
    prepare(recipe, how, as_json=arguments.json)


def prepare(recipe: "Recipe", how: RunningSettings, as_json: bool = False) -> None:
    """Builds the datasets of a recipe, says what they hold."""
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.prepare import prepare_lengths

    results = prepare_lengths(
        recipe.reading,
        recipe.rows.options(),
        recipe.rows.sequence_length,
        recipe.tokenizer,
        recipe.output,
        corpus=recipe.corpus,
        **running(how),
    )

    def advice(manifest: "Manifest") -> list[str]:
        if "validation" in manifest.splits or not recipe.rows.validation_rate > 0:
            return []
        return [
            "no document came into the validation split, which `train` needs; --document block or line cuts text files"
            " into more documents, and --validation-rate says how many of them are kept"
        ]

    show_datasets(results, as_json, "already prepared from these inputs with these settings; nothing to do", advice)


def prepare_order(arguments: argparse.Namespace) -> tuple["Recipe", RunningSettings]:
    """What `prepare` is told, by its recipe, the changes to it and its options; and how it runs."""
    from clozekit.pipelines.settings.recipe import load_recipe

    file, changes = _recipe_file(list(arguments.recipe), arguments.config)
    places = {"tokenizer": arguments.tokenizer, "output": arguments.output}
    given = {**given_sections(arguments), "": places, "rows": ROWS.given(arguments)}
    return load_recipe(file, changes, given), running_settings(arguments)


def _recipe_file(words: list[str], config: str | None) -> tuple[str | None, list[str]]:
    """The file of the recipe, None where there is none, and the changes to it."""
    file, changes = file_and_changes(words)
    if file is None:
        return config, changes
    if config is not None:
        raise InputError(f"one file holds a recipe, got {file} and --config {config}; leave one out")
    return find_recipe(file, PREPARE), changes

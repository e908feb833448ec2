"""`clozekit adapt`: goes on pretraining a model on texts of one's own, in one command."""

import argparse
from pathlib import Path
from typing import Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.cli.json_answer import JsonAnswer, kept_free
from clozekit.deploy.cli.running_options import load_beam_for_here
from clozekit.deploy.quiet_loading import load_tensorflow

ANSWER = JsonAnswer(("before", "after", "preset", "report"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "adapt",
        "Go on pretraining a model on your texts: dataset, measure, train, measure again, preset; if interrupted, run it again.",
        "clozekit adapt bert_base_en_uncased --input 'docs/*.jsonl' --output adapted\n"
        "  clozekit adapt hf://org/model --input texts/ --output adapted --print-recipe > adapt.yaml\n"
        "  clozekit adapt adapt.yaml train.steps=2000 rows.sequence_length=256",
        needs=("pipelines", "training"),
    )
    parser.add_argument("preset", metavar="PRESET", help=f"{PRESET_HELP}; or a RECIPE.YAML")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    parser.set_defaults(rest="changes")
    parser.add_argument(
        "--input", nargs="+", action="extend", metavar="PATH", help="files, globs or directories of texts"
    )
    parser.add_argument("--output", metavar="DIRECTORY", help="where everything goes: dataset, run, preset")
    parser.add_argument(
        "--add-tokens", metavar="FILE", help="tokens, one a line, that the tokenizer and the embeddings get first"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print-recipe", action="store_true", help="print the whole recipe and do nothing")
    ANSWER.add_to(what)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.adapt.adapt_recipe import load_adapt_recipe
    from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

    is_recipe = arguments.preset.endswith((".yaml", ".yml")) and not Path(arguments.preset).is_dir()
    given = {"output": arguments.output, "add_tokens": arguments.add_tokens, "inputs": arguments.input}
    given["init_from"] = None if is_recipe else arguments.preset
    recipe = load_adapt_recipe(arguments.preset if is_recipe else None, arguments.changes, given)
    if arguments.print_recipe:
        print(recipe.to_yaml(), end="")
        return
    check_reachable(urls_in(recipe))
    load_beam_for_here(arguments)
    load_tensorflow()
    from clozekit.deploy.adapt.run_adapt import run_adapt

    with kept_free(arguments.json):
        result = run_adapt(recipe, print)
    if arguments.json:
        ANSWER.show(**result)
        return
    for name in ("before", "after"):
        measured = result[name]
        if measured is not None:
            print(
                f"{name:<7} loss {measured['loss']:.3f}, perplexity {measured['perplexity']:.1f}, accuracy"
                f" {measured['accuracy']:.1%}"
            )
    print(f"preset  {result['preset']}\nreport  {result['report']}")

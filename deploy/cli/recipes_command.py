"""`clozekit recipes`: lists the ready recipes, or shows one."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.recipes import ready_recipes
from clozekit.tokenizers.common.errors import InputError

ANSWER = JsonAnswer(("recipes",), each=("verb", "name", "head", "yaml"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "recipes",
        "List the ready recipes, or show one.",
        "clozekit recipes\n  clozekit recipes bert_base > my.yaml",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this one: of every verb that has it")
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    recipes = [recipe for recipe in ready_recipes() if arguments.name in (None, recipe.name)]
    if not recipes:
        raise InputError(f"a recipe must be one of those that `clozekit recipes` lists, got {arguments.name}")
    texts = {recipe.path: recipe.path.read_text(encoding="utf-8") for recipe in recipes}
    if arguments.json:
        shown = [{"verb": r.verb, "name": r.name, "head": list(r.head), "yaml": texts[r.path]} for r in recipes]
        ANSWER.show(recipes=shown)
    elif arguments.name is None:
        for recipe in recipes:
            print(f"{recipe.verb:<9} {recipe.name:<18} {recipe.head[0] if recipe.head else ''}")
    else:
        print("\n".join(text.rstrip() for text in texts.values()))

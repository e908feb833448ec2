"""`clozekit recipes`: lists the ready recipes, or shows one."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.recipes import ready_recipes
from clozekit.tokenizers.common.errors import InputError


def add(commands: Any) -> None:
    parser = command(
        commands,
        "recipes",
        "List the ready recipes, or show one.",
        "clozekit recipes\n  clozekit recipes bert_base > my.yaml",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this one: of every verb that has it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    recipes = ready_recipes()
    if arguments.name is None:
        for recipe in recipes:
            print(f"{recipe.verb:<9} {recipe.name:<18} {recipe.head[0] if recipe.head else ''}")
        return
    found = [recipe for recipe in recipes if recipe.name == arguments.name]
    if not found:
        raise InputError(f"a recipe must be one of those that `clozekit recipes` lists, got {arguments.name}")
    print("\n".join(recipe.path.read_text(encoding="utf-8").rstrip() for recipe in found))

"""The command as `submit` gets it from the CLI."""

from clozekit.deploy.cli.parser import parse
from clozekit.deploy.cli.prepare_command import prepare_recipe, recipe_file, run
from clozekit.deploy.submit.backend import CommandLine

LINE = CommandLine(parse, prepare_recipe, recipe_file, run)

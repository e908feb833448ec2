"""The command as `submit` gets it from the CLI."""

from clozekit.deploy.cli.parser import parse
from clozekit.deploy.cli.submit_command import command_line

LINE = command_line(parse)

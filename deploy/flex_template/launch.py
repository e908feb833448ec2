"""The Flex Template: its parameters to a job of `prepare`, started inside the template's image by Dataflow's launcher."""

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError

METADATA = Path(__file__).parent / "metadata.json"
# Parameters that take several values, as options of `prepare` do; in a parameter commas are between them.
LISTS = ("input", "sequence_length", "quality", "language")
FLAGS = ("clean",)


def parameters() -> list[dict[str, Any]]:
    return list(json.loads(METADATA.read_text(encoding="utf-8"))["parameters"])


def check_parameters(given: Mapping[str, str]) -> None:
    """Raises InputError as the service does: for a parameter that is unknown, missing or not like its regex."""
    known = {entry["name"]: entry for entry in parameters()}
    for name in given:
        if name not in known:
            raise InputError(f"every parameter must be known, got {name}; there are {', '.join(known)}")
    for name, entry in known.items():
        if name not in given:
            if not entry.get("isOptional"):
                raise InputError(f"the parameter {name} is needed; give it")
            continue
        for regex in entry["regexes"]:
            if re.fullmatch(regex, given[name]) is None:
                raise InputError(f"the parameter {name} must match {regex}, got {given[name]!r}; {entry['helpText']}")


def prepare_words(given: Mapping[str, str]) -> list[str]:
    """The command that the parameters stand for."""
    check_parameters(given)
    words = ["prepare"]
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if name in FLAGS:
            words += [option] if value == "true" else []
        else:
            words += [option, *(value.split(",") if name in LISTS else [value])]
    return words


def launch(argv: Sequence[str]) -> Any:
    """Builds the graph and hands it to the launcher, or to Dataflow where no template_location is asked for.

    argv: the template's parameters, and Beam's options from the launcher.
    """
    from clozekit.deploy.cli.parser import parse
    from clozekit.deploy.cli.prepare_command import prepare_order
    from clozekit.deploy.submit.dataflow import RUNNER
    from clozekit.deploy.submit.remote_prepare import hand_over

    parser = argparse.ArgumentParser(allow_abbrev=False)
    for entry in parameters():
        parser.add_argument(f"--{entry['name']}")
    known, beam_words = parser.parse_known_args(list(argv))
    given = {name: value for name, value in vars(known).items() if value is not None}
    recipe, running = prepare_order(parse(prepare_words(given)))
    image = os.environ.get("CLOZEKIT_IMAGE")
    named = any(word.startswith("--sdk_container_image") for word in beam_words)
    own = [] if image is None or named else [f"--sdk_container_image={image}", "--sdk_location=container"]
    own.append("--no_save_main_session")
    result = hand_over(recipe, running, RUNNER, "sending_runner", [*own, *beam_words])
    if result is None:
        # The launcher takes the lack of a job for a failure; there is nothing better to tell it.
        raise InputError(f"there must be something to do, {recipe.output} holds this dataset already")
    return result

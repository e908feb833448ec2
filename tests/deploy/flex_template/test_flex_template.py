"""The Flex Template: metadata that Dataflow reads, parameters checked by their regexes, and what command they are."""

import json
import re

import pytest
from google.cloud import dataflow_v1beta3

from clozekit.deploy.cli.parser import parse
from clozekit.deploy.flex_template.launch import METADATA, parameters, prepare_words
from clozekit.tokenizers.common.errors import InputError

NEEDED = {"input": "gs://bucket/docs/*.jsonl", "tokenizer": "gs://bucket/tokenizer", "output": "gs://bucket/out"}
# Parameter -> values that are accepted, values that are not.
SAMPLES = {
    "input": (["gs://b/a.txt", "gs://b/x/*.jsonl,gs://c/y/"], ["docs/a.txt", "gs://b/a gs://b/c", "gs://b/a,", ""]),
    "tokenizer": (["gs://b/t", "/opt/clozekit/tokenizer"], ["tokenizer", "s3://b/t", "gs://"]),
    "output": (["gs://b/out", "gs://b/a/b/"], ["gs://b", "/out", "gs://b/a,gs://b/c"]),
    "sequence_length": (["8", "512", "128,512"], ["0", "-1", "512,", "1e3", "512.0"]),
    "validation_rate": (["0", "0.01", "1", "1.0"], ["1.5", "-0.1", ".5", "1%"]),
    "seed": (["0", "4294967295"], ["-1", "1.5", "seed"]),
    "input_format": (["auto", "warc"], ["json", "AUTO"]),
    "document": (["file", "line", "block"], ["page"]),
    "text_key": (["text", "body.text", "_t"], ["a b", "1text"]),
    "deduplicate": (["none", "exact", "near"], ["minhash"]),
    "quality": (["gopher", "gopher,c4", "gopher-repetition"], ["fineweb", "gopher c4"]),
    "language": (["en", "en,de"], ["english", "EN", "en de"]),
    "clean": (["true", "false"], ["yes", "True"]),
    "max_bad_rate": (["0", "0.001"], ["2", "1e-3"]),
}


def test_dataflow_knows_every_field() -> None:
    text = METADATA.read_text(encoding="utf-8")
    metadata = dataflow_v1beta3.TemplateMetadata.from_json(text)
    assert [entry.name for entry in metadata.parameters] == list(SAMPLES)
    assert [entry.name for entry in metadata.parameters if not entry.is_optional] == list(NEEDED)
    assert all(entry.label and entry.help_text and entry.regexes for entry in metadata.parameters)
    spec = dataflow_v1beta3.ContainerSpec.from_json(
        json.dumps(
            {"image": "us-docker.pkg.dev/p/r/t:1", "metadata": json.loads(text), "sdkInfo": {"language": "PYTHON"}}
        )
    )
    assert spec.sdk_info.language.name == "PYTHON"
    with pytest.raises(Exception, match="helptext"):
        dataflow_v1beta3.TemplateMetadata.from_json(text.replace("helpText", "helptext"))


@pytest.mark.parametrize("name", SAMPLES)
def test_regexes_take_what_prepare_takes_and_nothing_else(name: str) -> None:
    good, bad = SAMPLES[name]
    for value in good:
        arguments = parse(prepare_words({**NEEDED, name: value}))
        assert arguments.command == "prepare"
    for value in bad:
        with pytest.raises(InputError, match=f"the parameter {name} must match"):
            prepare_words({**NEEDED, name: value})


def test_regexes_are_the_same_to_java() -> None:
    """The service reads them as Java's: no syntax that Python's has alone, and anchored, for it may search."""
    for entry in parameters():
        for regex in entry["regexes"]:
            assert regex.startswith("^") and regex.endswith("$")
            assert re.search(r"\(\?P|\\Z|\\A", regex) is None


def test_parameters_are_options_of_prepare() -> None:
    given = {
        **NEEDED,
        "input": "gs://b/a,gs://b/c",
        "sequence_length": "128,512",
        "clean": "true",
        "quality": "gopher,c4",
    }
    arguments = parse(prepare_words(given))
    assert arguments.input == ["gs://b/a", "gs://b/c"]
    assert (arguments.sequence_length, arguments.quality, arguments.clean) == ([128, 512], ["gopher", "c4"], True)
    assert parse(prepare_words({**NEEDED, "clean": "false"})).clean is None
    for wrong, message in (
        ({"inputs": "gs://b/a"}, "every parameter must be known"),
        ({}, "parameter input is needed"),
    ):
        with pytest.raises(InputError, match=message):
            prepare_words(wrong)

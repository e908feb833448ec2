"""The Python that the documents show: every block compiles, and runs on the dataset and the preset of the tour.

A block that begins with `# Needs ...` says which package, network or device it can't do without: it is run where its
packages are installed, and only compiled elsewhere.
"""

import contextlib
import importlib.util
import re
from pathlib import Path

import pytest
from documents import GUIDES, Block, blocks

PROGRAMS = [
    block
    for document in (*GUIDES, "model/README.md", "tokenizers/README.md", "pipelines/README.md", "deploy/README.md")
    for block in blocks(document, "python")
]
PACKAGES = {"PyTorch": "torch", "KerasHub": "keras_hub", "transformers": "transformers"}


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_every_program_runs(block: Block, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = compile(block.text, str(block), "exec")
    needs = re.match(r"# Needs (.*)", block.text)
    if needs is not None:
        packages = [package for name, package in PACKAGES.items() if name in needs[1]]
        assert packages or "network" in needs[1], "a need is a package that the test knows, or the network"
        if not packages or any(importlib.util.find_spec(package) is None for package in packages):
            return
    with contextlib.chdir(desk):
        exec(program, {"__name__": "shown"})


def test_programs_are_found_in_the_pages_that_promise_them() -> None:
    with_programs = {block.document for block in PROGRAMS}
    assert with_programs >= {"README.md", "docs/dataset-format.md", "docs/models-and-presets.md", "docs/training.md"}

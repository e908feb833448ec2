"""The Python that the documents show: every block compiles, and runs on the dataset and the preset of the tour.

A block that begins with `# Needs ...` says which package, network or device it can't do without: here it is compiled, and
where a package is all it needs, tests/parity runs it.
"""

import contextlib
from pathlib import Path

import pytest
from documents import Block, programs

PROGRAMS = programs()


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_every_program_runs(block: Block, desk: Path) -> None:
    program = compile(block.text, str(block), "exec")
    if block.needs is None:
        with contextlib.chdir(desk):
            exec(program, {"__name__": "shown"})


def test_programs_are_found_in_the_pages_that_promise_them() -> None:
    with_programs = {block.document for block in PROGRAMS}
    assert with_programs >= {"README.md", "docs/dataset-format.md", "docs/models-and-presets.md", "docs/training.md"}


def test_a_need_is_one_that_tests_know() -> None:
    needs = [block.needs for block in PROGRAMS if block.needs is not None]
    assert [
        need
        for need in needs
        if not any(word in need for word in ("PyTorch", "KerasHub", "sentence-transformers", "network"))
    ] == []

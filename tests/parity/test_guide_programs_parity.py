"""The Python of the documents that needs KerasHub, transformers or PyTorch, run on what the guides convert and export."""

import contextlib
from pathlib import Path

import pytest
from documents import Block, programs
from guide_desk import export_and_convert, take_the_tour

WITH_PACKAGES = [block for block in programs() if block.needs is not None and "network" not in block.needs]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    take_the_tour(folder)
    export_and_convert(folder)
    return folder


@pytest.mark.parametrize("block", WITH_PACKAGES, ids=str)
def test_programs_with_other_packages_run(block: Block, desk: Path) -> None:
    with contextlib.chdir(desk):
        exec(compile(block.text, str(block), "exec"), {"__name__": "shown"})


def test_each_package_has_its_program() -> None:
    text = " ".join(str(block.needs) for block in WITH_PACKAGES)
    assert all(name in text for name in ("KerasHub", "transformers", "PyTorch"))

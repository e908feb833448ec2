"""The desk on which what the documents show is tried, made once."""

from pathlib import Path

import pytest
from guide_desk import export_and_convert, take_the_tour


@pytest.fixture(scope="session")
def screens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which the quickstart was run, and verb -> its screen."""
    folder = tmp_path_factory.mktemp("desk")
    return folder, take_the_tour(folder)


@pytest.fixture(scope="session")
def desk(screens: tuple[Path, dict[str, str]]) -> Path:
    """The folder with corpus, tokenizer, dataset and preset, and all that the guides export and convert of them."""
    folder, _ = screens
    export_and_convert(folder)
    return folder

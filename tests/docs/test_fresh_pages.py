"""Pages that are written from the code are what would be written now, and the demo's numbers are the same everywhere."""

import re

import pytest
from documents import GUIDES, ROOT, read
from generate_reference import PAGES

from clozekit.deploy.cli.parser import build_parser
from clozekit.deploy.demo.run_demo import TRAINING_MINUTES

DEMO_TIME = "about five minutes on a quiet machine with two cores"


@pytest.mark.parametrize("name", PAGES)
def test_references_are_fresh(name: str) -> None:
    assert read(f"docs/{name}") == PAGES[name](), "run: python docs/generate_reference.py"


def test_the_command_reference_has_every_verb() -> None:
    (verbs,) = [action.choices for action in build_parser()._actions if isinstance(action.choices, dict)]
    page = read("docs/command-reference.md")
    assert [verb for verb in verbs if f"\n## clozekit {verb}\n" not in page] == []


def test_the_time_of_the_demo_is_the_same_in_every_document() -> None:
    """Who names a time on two cores names this one, and how much of it is training."""
    minutes, seconds = divmod(round(TRAINING_MINUTES * 60), 60)
    for document in (*GUIDES, "BENCHMARKS.md", "CHANGELOG.md", "Makefile", "deploy/demo/run_demo.py"):
        text = re.sub(r"\s+", " ", read(document))
        times = re.findall(r"[\w ]{0,30}minutes(?: on a quiet machine with| on) (?:two|2) cores", text)
        assert [time for time in times if DEMO_TIME not in time] == [], document
        if document.endswith(".md") and times:
            assert f"{minutes}:{seconds:02} minutes of them it trains" in text, document
    assert all(DEMO_TIME in re.sub(r"\s+", " ", read(name)) for name in ("README.md", "docs/index.md", "Makefile"))


def test_the_result_of_the_demo_is_the_same_in_every_document() -> None:
    """Of one run, whose screen is in the README; the word for the mask as well."""
    screen = read("README.md")
    loss, accuracy = re.findall(r"  step \d+: validation loss ([\d.]+), perplexity [\d.]+, accuracy ([\d.]+%)", screen)[
        -1
    ]
    (filled,) = re.findall(r"mask: list ([\d.]+%),", screen)
    for document in ("README.md", "docs/index.md", "docs/benchmarks.md", "BENCHMARKS.md"):
        text = read(document)
        for number in (loss, accuracy, "6.4%"):
            assert number in text, f"{document} has another {number}"
    for document in ("README.md", "docs/index.md", "docs/quickstart.md"):
        assert filled in read(document), f"{document} has another {filled}"


def test_no_page_has_a_path_of_a_machine_or_an_emoji() -> None:
    for document in GUIDES:
        text = read(document)
        assert not re.search(r"/(?:work|root|home|tmp)/", text), document
        assert not re.search("[\U0001f300-\U0001faff\u2705\u274c]", text), document


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120

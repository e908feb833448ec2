"""The data card and the report of a build: the numbers of the manifest, samples as they are, nothing that decides bytes."""

import dataclasses
import gzip
import html.parser
import json
import re
from pathlib import Path

from clozekit.pipelines.dataset.build_report import bars, render_build_report
from clozekit.pipelines.dataset.data_card import render_data_card
from clozekit.pipelines.dataset.dataset_summary import account_of, summarize
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings


class WellFormed(html.parser.HTMLParser):
    """Notes what is opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_card_says_what_the_manifest_says(dataset: tuple[str, Manifest]) -> None:
    directory, manifest = dataset
    card = Path(directory, "data-card.md").read_text(encoding="utf-8")
    assert f"- dataset_sha256: `{manifest.dataset_sha256}`" in card
    train = manifest.splits["train"]
    assert (
        f"| train | 3 | {train.rows} | {train.pieces} | {train.tokens:,} | {manifest.fill_rate('train'):.4f} |" in card
    )
    assert "| documents in | 300 |" in card
    assert f"| kept for train | {manifest.counts['documents_train']} |" in card
    # A kept sample is text of the corpus.
    (sample, *_) = [line for line in card.splitlines() if line.startswith("> ")]
    assert re.match(r"> (the )?(red|blue|old|cat|dog|bird|sat|ran|flew|on|under|over|the|mat|house|tree|\.)", sample)


def test_the_account_adds_up() -> None:
    counts = {
        "documents_in": 10,
        "documents_train": 5,
        "documents_validation": 1,
        "rejected_too_long": 2,
        "dead_lettered": 1,
        "duplicates_near": 1,
        "rejected_empty": 0,
        "pieces_train": 99,
        "language_en": 6,
    }
    lines = list(account_of(counts))
    assert lines == [
        ("documents in", 10),
        ("kept for train", 5),
        ("kept for validation", 1),
        ("rejected: too long", 2),
        ("dead lettered", 1),
        ("duplicates near", 1),
    ]
    assert sum(number for _, number in lines[1:]) == lines[0][1]


def test_the_report_is_one_page_that_holds_everything(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    directory, manifest = dataset
    (tmp_path / "rejects").mkdir()
    rejected = [{"rule": "too_short", "text": "a <b>bold</b> claim"}, {"rule": "spam", "text": "buy & buy"}]
    (tmp_path / "rejects" / "part-00000.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(one) + "\n" for one in rejected).encode())
    )
    counts = {**manifest.counts, "rejected_too_short": 1, "rejected_spam": 3, "language_en": 250, "language_de": 50}
    summary = summarize(directory, dataclasses.replace(manifest, counts=counts), str(tmp_path))
    page = render_build_report(summary)
    checker = WellFormed()
    checker.feed(page)
    assert checker.open == []
    assert not re.search(r"(src|href)=|@import|url\(", page)
    assert "a &lt;b&gt;bold&lt;/b&gt; claim" in page
    assert "buy &amp; buy" in page
    assert page.index(">spam<") < page.index(">too short<"), "the commonest rule comes first"
    names = re.findall(r'<span class="name">([^<]*)</span>', page)
    account = ["documents in", "kept for train", "kept for validation", "rejected by a rule"]
    assert names == [*account, "spam", "too short", "en", "de"]
    assert page.index(">en<") < page.index(">de<")
    assert page.count("<rect") == 64
    assert "spam:\n\n> buy & buy" in render_data_card(summary)


def test_many_names_are_summed_up() -> None:
    chart = bars({f"rule-{number}": 30 - number for number in range(25)})
    assert "5 more" in chart
    assert chart.count('class="line"') == 21


def test_a_report_that_is_missing_is_made_and_the_dataset_left_alone(
    corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    options = PrepareSettings(sequence_length=32, num_shards=2)
    first, _ = prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, str(tmp_path))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "report.html").unlink()
    second, built = prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, str(tmp_path))
    assert (second.dataset_sha256, built) == (first.dataset_sha256, False)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(after) == set(before)
    assert {name for name in before if before[name] != after[name]} == {"report.html", "data-card.md"}


def test_the_same_build_has_the_same_card(
    dataset: tuple[str, Manifest], corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    options = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=3)
    prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, str(tmp_path), num_workers=1)
    for name in ("data-card.md", "report.html"):
        assert (tmp_path / name).read_bytes() == Path(dataset[0], name).read_bytes()

"""The summary of a dataset: what became of its documents, and samples of what was kept and dropped, as plain values."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from clozekit.pipelines.dataset.describe import rows_of
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.dataset.tokenizer_files import TOKENIZER_FOLDER
from clozekit.pipelines.storage.files import join, list_names, read_bytes
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

NUM_SAMPLES = 6
SAMPLE_CHARACTERS = 600
LANGUAGE_COUNTS = "language_"
REJECTED_COUNTS = "rejected_"
REJECTS_FOLDER = "rejects"
_ADDED = "copies_added"


class Dropped(NamedTuple):
    """A document that was left out, and the rule."""

    rule: str
    text: str


@dataclass(frozen=True)
class Summary:
    """What the data card and the report show.

    account: (what became of documents, how many), the first line being all that came in; rules: rule -> documents it
    rejected; languages: language -> documents, when they were told apart; kept, dropped: samples.
    """

    manifest: Manifest
    account: tuple[tuple[str, int], ...]
    rules: Mapping[str, int]
    languages: Mapping[str, int]
    kept: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def summarize(directory: str, manifest: Manifest, side_directory: str) -> Summary:
    """side_directory: where `rejects/` is, if there is one."""
    counts = manifest.counts
    return Summary(
        manifest,
        tuple(account_of(counts)),
        _by_number(counts, REJECTED_COUNTS),
        _by_number(counts, LANGUAGE_COUNTS),
        tuple(_kept_samples(directory, manifest)),
        tuple(_dropped_samples(side_directory)),
    )


def account_of(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Documents that came in, then a line for each thing that became of some of them; those sum up to the first."""
    yield "documents in", counts.get("documents_in", 0) + counts.get(_ADDED, 0)
    beside = ("documents_in", _ADDED)
    for name, number in counts.items():
        if number and name not in beside and not name.startswith(("pieces_", LANGUAGE_COUNTS)):
            yield _readable(name), number


def _readable(name: str) -> str:
    kept = name.removeprefix("documents_")
    if kept != name:
        return "kept in rows of other lengths" if kept == "of_other_lengths" else f"kept for {kept}"
    if name.startswith(REJECTED_COUNTS):
        return "rejected: " + name.removeprefix(REJECTED_COUNTS).replace("_", " ")
    return name.replace("_", " ")


def _by_number(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    """The counts under a prefix that are not 0, the highest first."""
    found = {name.removeprefix(prefix): number for name, number in counts.items() if name.startswith(prefix) and number}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _kept_samples(directory: str, manifest: Manifest) -> Iterator[str]:
    """The beginnings of the first documents, decoded: rows are in random order, so these are a random sample."""
    tokenizer = load_tokenizer(join(directory, TOKENIZER_FOLDER))
    left = NUM_SAMPLES
    for row in rows_of(manifest, directory, NUM_SAMPLES):
        start = 0
        for length in row["document_lengths"]:
            if left:
                # Without the special tokens at both ends.
                yield shortened(tokenizer.decode(row["token_ids"][start + 1 : start + length - 1]).strip())
                left -= 1
            start += length


def _dropped_samples(side_directory: str) -> Iterator[Dropped]:
    """Rejected documents of as many rules as there is room for, from the first file of `rejects/`."""
    folder = join(side_directory, REJECTS_FOLDER)
    found: dict[str, list[Dropped]] = {}
    for name in list_names(folder)[:1]:
        content = read_bytes(join(folder, name))
        for line in (gzip.decompress(content) if name.endswith(".gz") else content).splitlines():
            fields = json.loads(line)
            rule = str(fields.get("rule", ""))
            if fields.get("text") and len(found.setdefault(rule, [])) < NUM_SAMPLES:
                found[rule].append(Dropped(rule, shortened(fields["text"])))
    # One of each rule, then a second of each.
    in_turn = sorted(((turn, rule, one) for rule, some in found.items() for turn, one in enumerate(some)))
    yield from [one for _, _, one in in_turn[:NUM_SAMPLES]]


def shortened(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARACTERS else text[:SAMPLE_CHARACTERS].rstrip() + " \u2026"

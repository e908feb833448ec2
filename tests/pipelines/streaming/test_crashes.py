"""Streams that are killed at every durable operation, and disks that lose what was not synced: nothing lost, nothing doubled.

CLOZEKIT_FULL=1 tries every moment; by default every eleventh.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disk_model import Disk, watched
from helper_folder import HELPERS
from long_variants import FULL
from streams import begin, document, pane, total_counts

from clozekit.pipelines.dataset.chain import has_stream
from clozekit.pipelines.settings.compact_settings import PruneSettings
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.compact_windows import compact_windows
from clozekit.pipelines.streaming.prune_windows import prune_windows
from clozekit.pipelines.streaming.verify_stream import verify_stream
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

pytestmark = pytest.mark.slow


# (first operation, step): together all of them, or some of each kind.
MOMENTS = [(first, 8) for first in range(1, 9)] if FULL else [(3, 11)]


@pytest.mark.parametrize(("first", "step"), MOMENTS)
def test_killed_before_and_after_durable_operations(
    tmp_path: Path, tokenizer: BertTokenizer, first: int, step: int
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    command = [sys.executable, str(HELPERS / "crash_commits.py"), str(tmp_path), str(first), str(step)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in said.stdout.splitlines()]
    # 118 operations.
    assert len(found) >= 2 * (110 // step), said
    for one in found:
        assert "error" not in one, one
        expected = {"documents": 46, "kept": 45, "duplicates": 1, "problems": [], "waiting": 0, "left": []}
        assert {name: one[name] for name in expected} == expected, one
    # Some of them left something to clean away.
    assert any(one["removed"] for one in found)


@pytest.mark.parametrize(("first", "step"), [(first, 4) for first in range(1, 5)] if FULL else [(2, 19)])
def test_killed_while_windows_are_compacted_and_pruned(
    tmp_path: Path, tokenizer: BertTokenizer, first: int, step: int
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    command = [sys.executable, str(HELPERS / "crash_commits.py"), str(tmp_path), str(first), str(step), "shrink"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in said.stdout.splitlines()]
    # 57 operations.
    assert len(found) >= 2 * (55 // step), said
    # Three windows as one fragment and a fourth; the fourth's pane, shards of both, validation shards of all.
    expected = {
        "documents": 51,
        "kept": 50,
        "duplicates": 1,
        "problems": [],
        "waiting": 0,
        "left": [],
        "standing": [3, 4],
    }
    for one in found:
        assert "error" not in one, one
        assert {name: one[name] for name in expected} == expected, one
    assert {one["files"] for one in found} == {7}


def test_what_a_fragment_names_is_on_the_disk_before_the_fragment_is(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    documents = [document(number) for number in range(40)]
    states: list[tuple[int, bool]] = []

    def look(disk: Disk) -> None:
        """Whatever is left, its chain is whole, and what was not committed can be."""
        number = len(states)
        for is_safe in (True, False):
            left = tmp_path / f"left-{is_safe}"
            (disk.write_safe if is_safe else disk.write_names_first)(left)
            at = left / "stream"
            if has_stream(str(at)):
                verified = verify_stream(str(at))
                assert verified.problems == (), (number, is_safe)
                states.append((verified.num_fragments, is_safe))
            shutil.rmtree(left)

    with watched(root, look):
        stream = begin(root / "stream", tokenizer)
        for window in range(2):
            part = documents[20 * window : 20 * window + 20]
            Committer(stream).commit(freeze(stream, pane(tokenizer, part, window=window)).name)
        compact_windows(stream.directory)
        Committer(stream).commit(freeze(stream, pane(tokenizer, documents[:30], window=2)).name)
        prune_windows(stream.directory, PruneSettings(retain_days=0, panes=True))
    assert total_counts(root / "stream")["documents_in"] == 40
    # The states go through the whole life of the chain, in both ways of losing what was not synced.
    assert {(fragments, is_safe) for fragments in range(6) for is_safe in (True, False)} <= set(states)

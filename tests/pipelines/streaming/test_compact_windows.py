"""Compacting windows within their stream, and pruning what they leave: the same documents, whatever is killed, seen and removed."""

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import pytest
from streams import begin, document, pane

from clozekit.pipelines.dataset.chain import Covered, Fragment, Pruned, fragment_name, read_chain
from clozekit.pipelines.dataset.chain_coverage import check_coverage, kept_files, standing
from clozekit.pipelines.dataset.chain_view import view_of
from clozekit.pipelines.settings.compact_settings import CompactSettings, PruneSettings, ReplaceSettings
from clozekit.pipelines.streaming import commit_pane
from clozekit.pipelines.streaming.commit_pane import Committer, freeze, waiting_panes
from clozekit.pipelines.streaming.compact import compact
from clozekit.pipelines.streaming.compact_windows import compact_windows
from clozekit.pipelines.streaming.look_at_stream import describe_stream_lines, list_lines
from clozekit.pipelines.streaming.open_stream import open_stream
from clozekit.pipelines.streaming.prune_windows import planned_removal, prune_windows
from clozekit.pipelines.streaming.verify_stream import repair_stream, verify_stream
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

AT_ONCE = PruneSettings(retain_days=0)
PANES = PruneSettings(retain_days=0, panes=True)


def add_windows(directory: Path | str, tokenizer: BertTokenizer, windows: range, again: int = 0) -> None:
    """Twenty documents a window, and so many of the window before once more; every tenth text again under another id."""
    stream = begin(directory, tokenizer)
    for window in windows:
        numbers = range(max(0, 20 * window - again), 20 * window + 20)
        twin = document(9000 + window, document(20 * window // 2).record.text)  # type: ignore[union-attr]
        documents = [*map(document, numbers), twin]
        Committer(stream).commit(freeze(stream, pane(tokenizer, documents, window)).name)


@pytest.fixture(scope="module")
def made(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six windows, of which the first four were compacted."""
    directory = tmp_path_factory.mktemp("compacted") / "stream"
    add_windows(directory, tokenizer, range(6), again=5)
    fragment = compact_windows(str(directory), ReplaceSettings(until="1970-01-01T00:40:00"))
    assert fragment is not None
    assert (fragment.number, fragment.covers) == (6, Covered(0, 3))
    return directory


@pytest.fixture
def stream(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "stream")
    return tmp_path / "stream"


def chain(directory: Path) -> list[Fragment]:
    return list(read_chain(str(directory)))


def names_in(directory: Path) -> set[str]:
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return {name for name in found if name.startswith(("data/", "frozen/", "known/", "side/"))}


def test_one_fragment_holds_the_rows_of_many_windows_packed_as_a_batch_build_packs_them(
    stream: Path, tmp_path: Path
) -> None:
    fragments = chain(stream)
    compacted = fragments[6]
    assert [one.number for one in standing(fragments)] == [6, 4, 5]
    windows, totals = fragments[:4], Counter[str]()
    for window in windows:
        totals.update(window.counts)
    assert compacted.counts == totals
    # Fewer rows, as the last row of each window is never full; the same documents; row numbers that no other fragment has.
    assert compacted.rows("train") < sum(window.rows("train") for window in windows)
    assert compacted.rows_before["train"] == sum(window.rows("train") for window in fragments[:6])
    assert compacted.known == fragments[5].known
    settings = CompactSettings(until="1970-01-01T00:40:00", deduplicate="none")
    ((batch, _),) = compact(str(stream), str(tmp_path / "batch"), settings).values()
    assert batch.counts["documents_in"] == compacted.counts["documents_in"]
    assert verify_stream(str(stream)).problems == ()
    assert verify_stream(str(stream)).num_documents == sum(one.counts["documents_in"] for one in fragments[:6])


def test_without_duplicates_it_is_the_dataset_of_its_windows(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    opened = begin(tmp_path / "stream", tokenizer)
    for window in range(3):
        documents = [document(number) for number in range(30 * window, 30 * window + 30)]
        Committer(opened).commit(freeze(opened, pane(tokenizer, documents, window)).name)
    fragment = compact_windows(opened.directory)
    assert fragment is not None
    ((batch, _),) = compact(opened.directory, str(tmp_path / "batch")).values()
    view = view_of(opened.genesis, [fragment])
    assert view.dataset_sha256 == batch.dataset_sha256
    assert compact_windows(opened.directory) is None


def test_the_stream_goes_on_and_the_next_windows_are_compacted_behind_the_first(
    stream: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    add_windows(stream, tokenizer, range(6, 9), again=5)
    undisturbed = tmp_path / "undisturbed"
    add_windows(undisturbed, tokenizer, range(9), again=5)
    fragments = chain(stream)
    expected = chain(undisturbed)
    assert [one.counts for one in fragments[:6] + fragments[7:]] == [one.counts for one in expected]
    assert [one.frozen for one in fragments[:6] + fragments[7:]] == [one.frozen for one in expected]
    assert fragments[9].known == expected[8].known
    second = compact_windows(str(stream), ReplaceSettings(max_tokens=1))
    third = compact_windows(str(stream))
    assert second is not None and third is not None
    # Number 6 is no window: it stays beside them.
    assert (second.covers, third.covers) == (Covered(4, 5), Covered(6, 9))
    assert [one.number for one in standing(chain(stream))] == [6, 10, 11]
    assert verify_stream(str(stream)).problems == ()
    assert "fragments 0 to 3" in list(list_lines(str(stream)))[6]
    assert "compacted fragments before 10" in describe_stream_lines(str(stream))


def test_what_is_compacted_is_pruned_when_it_is_old_enough_and_said_before(
    stream: Path, tokenizer: BertTokenizer
) -> None:
    before = names_in(stream)
    # No window has come since, and none of a week later.
    assert planned_removal(str(stream), AT_ONCE).names == ()
    add_windows(stream, tokenizer, range(6, 7), again=5)
    assert planned_removal(str(stream), PruneSettings()).names == ()
    assert prune_windows(str(stream)) == sorted(before - kept_files(chain(stream)))
    assert len(chain(stream)) == 8
    before = names_in(stream)
    (stream / "data" / "notes.txt").write_text("mine")
    plan = planned_removal(str(stream), AT_ONCE)
    assert (plan.pruned, plan.num_bytes) == (Pruned(4, 0), sum((stream / name).stat().st_size for name in plan.names))
    assert names_in(stream) - {"data/notes.txt"} == before
    assert prune_windows(str(stream), AT_ONCE) == list(plan.names)
    assert names_in(stream) == before - set(plan.names) | {"data/notes.txt"}
    assert not any(name.startswith(("frozen/", "data/validation")) for name in plan.names)
    assert any(name.startswith("data/train") for name in plan.names)
    assert chain(stream)[-1].pruned == Pruned(4, 0)
    assert verify_stream(str(stream)).problems == ()
    assert repair_stream(str(stream)) == []
    assert prune_windows(str(stream), AT_ONCE) == []
    # Then the panes.
    plan = planned_removal(str(stream), PANES)
    assert {name.partition("/")[0] for name in plan.names} == {"frozen"}
    assert prune_windows(str(stream), PANES) == list(plan.names)
    assert verify_stream(str(stream)).problems == ()
    assert waiting_panes(open_stream(str(stream))) == []


@pytest.mark.slow
def test_without_their_panes_old_windows_are_told_apart_from_what_can_be_made(
    stream: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    add_windows(stream, tokenizer, range(6, 8), again=5)
    whole = {name: (stream / name).read_bytes() for name in names_in(stream)}
    late = CompactSettings(since="1970-01-01T00:40:00")
    ((expected, _),) = compact(str(stream), str(tmp_path / "before"), late).values()
    prune_windows(str(stream), PANES)
    # What came before is known all the same.
    ((found, _),) = compact(str(stream), str(tmp_path / "after"), late).values()
    assert found.dataset_sha256 == expected.dataset_sha256
    with pytest.raises(
        InputError, match="those of fragments 0 to 3 of .* were pruned; pass --since 1970-01-01T00:30:01"
    ):
        compact(str(stream), str(tmp_path / "all"))
    # All that came later is made again, to the byte.
    fragments = chain(stream)
    later = [one for one in fragments if one.number in (4, 5, 7, 8)]
    lost = {shard.name for one in later for shard in one.shards()} | {
        file.name for file in fragments[-1].known["texts"]
    }
    for name in lost:
        (stream / name).unlink()
    assert set(repair_stream(str(stream))) == lost
    assert all((stream / name).read_bytes() == whole[name] for name in lost)
    # And the next windows are compacted.
    second = compact_windows(str(stream))
    assert second is not None and second.covers == Covered(4, 8)
    # Of what was made of panes that are gone nothing can be.
    (shard,) = fragments[6].splits["train"].shards
    (stream / shard.name).write_bytes(b"")
    with pytest.raises(InputError, match="panes before fragment 4 were pruned; copy that file"):
        repair_stream(str(stream))


def test_a_compacted_fragment_is_made_again(stream: Path) -> None:
    lost = [shard.name for shard in chain(stream)[6].shards()]
    before = {name: (stream / name).read_bytes() for name in lost}
    for name in lost:
        (stream / name).write_bytes(b"short")
    assert len(verify_stream(str(stream)).problems) >= len(lost)
    assert sorted(repair_stream(str(stream))) == sorted(lost)
    assert {name: (stream / name).read_bytes() for name in lost} == before


def test_a_committer_that_is_faster_changes_the_number_only(
    made: Path, tokenizer: BertTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_windows(tmp_path / "stream", tokenizer, range(6), again=5)
    others = [6]

    def overtaken(directory: str, name: str, content: bytes) -> bool:
        if others:
            monkeypatch.setattr(commit_pane, "make_once", original)
            number = others.pop()
            add_windows(tmp_path / "stream", tokenizer, range(number, number + 1), again=5)
        return original(directory, name, content)

    original = commit_pane.make_once
    monkeypatch.setattr(commit_pane, "make_once", overtaken)
    fragment = compact_windows(str(tmp_path / "stream"), ReplaceSettings(until="1970-01-01T00:40:00"))
    assert fragment is not None
    assert (fragment.number, fragment.splits) == (7, chain(made)[6].splits)
    assert verify_stream(str(tmp_path / "stream")).problems == ()


def test_two_that_compact_the_same_windows_make_one_fragment(
    tokenizer: BertTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_windows(tmp_path / "stream", tokenizer, range(3))
    first: list[Fragment | None] = []

    def overtaken(directory: str, name: str, content: bytes) -> bool:
        monkeypatch.setattr(commit_pane, "make_once", original)
        first.append(compact_windows(directory))
        return original(directory, name, content)

    original = commit_pane.make_once
    monkeypatch.setattr(commit_pane, "make_once", overtaken)
    # Both have made the same file.
    second = compact_windows(str(tmp_path / "stream"))
    assert first == [second]
    assert second is not None and second.covers == Covered(0, 2)
    assert len(chain(tmp_path / "stream")) == 4


def test_a_chain_that_covers_or_prunes_what_it_may_not_is_refused(stream: Path) -> None:
    fragments = chain(stream)
    compacted = fragments[6]
    again = dataclasses.replace(compacted, number=7)
    with pytest.raises(InputError, match="must begin behind what was compacted before it"):
        check_coverage([*fragments, again])
    pruned = dataclasses.replace(compacted, number=7, covers=None, pruned=Pruned(5, 0))
    with pytest.raises(InputError, match="only what was compacted is pruned"):
        check_coverage([*fragments, pruned])
    path = stream / fragment_name(6)
    for wrong, rule in (
        (dataclasses.replace(compacted, timing="late"), r"a fragment that is late must have \[\]"),
        (dataclasses.replace(compacted, covers=None), "a fragment that is compacted must have"),
        (dataclasses.replace(compacted, covers=Covered(0, 6)), "covers.last must be from 0 to 5"),
        (dataclasses.replace(compacted, frozen=fragments[0].frozen), "must have no pane"),
        (dataclasses.replace(compacted, timing="pruned", covers=None, pruned=Pruned(1, 0)), "and no rows"),
    ):
        path.write_bytes(wrong.to_json())
        with pytest.raises(InputError, match=rule):
            verify_stream(str(stream))
    path.write_bytes(dataclasses.replace(compacted, counts={**compacted.counts, "documents_in": 1}).to_json())
    assert any("sums of those" in problem.what for problem in verify_stream(str(stream)).problems)

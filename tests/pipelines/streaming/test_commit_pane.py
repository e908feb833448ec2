"""Committing: what becomes of each document of a pane, the bytes that come out, and several committers at once."""

import gzip
import json
import random
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from streams import EXACT, ROWS, WINDOW, begin, chain_bytes, document, pane, rows_of, total_counts

from clozekit.pipelines.dataset.chain import FileInfo, Fragment, fragment_name, read_chain, read_head
from clozekit.pipelines.dataset.records import SPLITS
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.running.dead_letters import DeadLetter
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.settings.stream_settings import WindowSettings
from clozekit.pipelines.streaming.commit_pane import Committer, freeze, waiting_panes
from clozekit.pipelines.streaming.open_stream import Stream, open_stream
from clozekit.pipelines.streaming.pane import Pane, freeze_pane
from clozekit.pipelines.streaming.process_deliveries import DeliverySteps
from clozekit.pipelines.streaming.remove_garbage import remove_garbage
from clozekit.pipelines.streaming.sources.delivered import Delivered
from clozekit.pipelines.streaming.verify_stream import repair_stream, verify_stream
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


def commit(stream: Stream, *panes: Pane) -> list[Fragment]:
    committer = Committer(stream)
    fragments = [committer.commit(freeze(stream, one).name) for one in panes]
    return [fragment for fragment in fragments if fragment is not None]


def side_lines(stream: Stream, file: FileInfo) -> list[dict[str, Any]]:
    content = gzip.decompress((Path(stream.directory) / file.name).read_bytes())
    return [json.loads(line) for line in content.splitlines()]


def numbered(numbers: Sequence[int]) -> list[Delivered]:
    return [document(number) for number in numbers]


def test_every_document_is_counted_once_by_what_became_of_it(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    stream = begin(tmp_path / "stream", tokenizer)
    twin = document(900, document(3).record.text)  # type: ignore[union-attr]
    bad = Delivered("topic/7", 0, DeadLetter("topic/7", -1, "message 7", "read", "no JSON", ""))
    first, second = commit(
        stream,
        pane(tokenizer, [*numbered(range(30)), bad, document(40, "  \n")]),
        pane(tokenizer, [*numbered(range(20, 35)), bad, twin], window=1),
    )
    assert first.counts["documents_in"] == 32
    assert first.counts["dead_lettered"] == first.counts["rejected_empty"] == 1
    assert first.counts["documents_train"] + first.counts["documents_validation"] == 30
    # 20 to 29 and the bad one came before; 900 has the text of 3.
    assert (second.counts["documents_in"], second.counts["redelivered"]) == (6, 11)
    assert side_lines(stream, second.side["duplicates"]) == [
        {"id": "doc-900", "input": "source/900", "kind": "exact", "kept": "doc-3"}
    ]
    assert [line["reason"] for line in side_lines(stream, first.side["deadletter"])] == ["no JSON"]
    assert verify_stream(stream.directory).problems == ()


def test_of_equal_texts_of_one_pane_the_smallest_id_is_kept_and_train_wins(
    tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    """As `prepare` does it: validation only when all of them are."""
    texts = [f"the red bird number {number} flew over the old house ." for number in range(40)]
    twins = [document(number, texts[number % 40]) for number in range(80)]
    (fragment,) = commit(begin(tmp_path / "stream", tokenizer), pane(tokenizer, twins))
    lines = side_lines(open_stream(str(tmp_path / "stream")), fragment.side["duplicates"])
    assert len(lines) == fragment.counts["duplicates_exact"] == 40
    assert all(line["kept"] == min(line["id"], line["kept"]) for line in lines)
    train, validation = (fragment.counts.get(f"documents_{split}", 0) for split in SPLITS)
    # At the rate 0.2 both of a pair are validation in one of 25.
    assert train + validation == 40
    assert validation < 8


def test_a_text_is_known_for_its_time_and_new_after_it(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    windows = WindowSettings(WINDOW, 10 * WINDOW, 3 * WINDOW)
    stream = begin(tmp_path / "stream", tokenizer, windows=windows)
    text = document(0).record.text  # type: ignore[union-attr]
    again = [document(number, text) for number in range(1, 4)]
    fragments = commit(
        stream,
        pane(tokenizer, numbered([0])),
        pane(tokenizer, again[:1], window=2),
        pane(tokenizer, again[1:2], window=5),
        pane(tokenizer, again[2:], window=6),
    )
    # Known until window 0's end and three windows more; what window 5 took is known in window 6.
    assert [fragment.counts.get("duplicates_exact", 0) for fragment in fragments] == [0, 1, 0, 1]
    assert side_lines(stream, fragments[-1].side["duplicates"])[0]["kept"] == "doc-2"
    # A delivery is forgotten after the same time.
    (fragment,) = commit(stream, pane(tokenizer, numbered([0]), window=30))
    assert fragment.counts["documents_in"] == 1
    assert verify_stream(stream.directory).problems == ()


def test_late_documents_within_the_limit_are_a_further_fragment_and_beyond_it_are_set_aside(
    tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    stream = begin(tmp_path / "stream", tokenizer, windows=WindowSettings(WINDOW, lateness_seconds=2 * WINDOW))
    fragments = commit(
        stream,
        pane(tokenizer, numbered(range(10))),
        pane(tokenizer, numbered(range(10, 20)), window=2),
        # The watermark stands at the end of window 2: window 0 ended two windows before, window -1 three.
        pane(tokenizer, numbered(range(20, 25)), window=0, timing="late"),
        pane(tokenizer, numbered(range(25, 28)), window=-1, timing="late"),
    )
    assert [fragment.counts.get("documents_late", 0) for fragment in fragments] == [0, 0, 0, 3]
    assert (fragments[2].window_start, fragments[2].timing, fragments[2].counts["documents_in"]) == (0, "late", 5)
    late = side_lines(stream, fragments[3].side["late"])
    assert sorted(line["id"] for line in late) == ["doc-25", "doc-26", "doc-27"]
    assert all(line["text"] and line["outcome"] == "kept" and line["origin"].startswith("source/") for line in late)
    assert fragments[3].splits == {}
    # What was late once is a redelivery when it comes again.
    (again,) = commit(stream, pane(tokenizer, numbered(range(25, 29)), window=-1, timing="late"))
    assert (again.counts["redelivered"], again.counts["documents_late"]) == (3, 1)
    assert total_counts(stream.directory)["documents_in"] == 29
    assert verify_stream(stream.directory).problems == ()


def test_the_same_documents_in_another_order_and_other_batches_are_the_same_bytes(
    tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    documents = numbered(range(60))
    whole = pane(tokenizer, documents)
    shuffled = random.Random(3).sample(documents, len(documents))
    steps = DeliverySteps(EXACT, ROWS, tokenizer)
    parts = pa.concat_tables([steps.process(shuffled[start : start + 7]) for start in range(0, 60, 7)])
    assert freeze_pane(Pane(whole.head, parts)) == freeze_pane(whole)
    for name, one in (("a", whole), ("b", Pane(whole.head, parts))):
        commit(begin(tmp_path / name, tokenizer), one, pane(tokenizer, numbered(range(50, 90)), window=1))
    assert chain_bytes(tmp_path / "a") == chain_bytes(tmp_path / "b")


@pytest.mark.parametrize("pairs", ["none", "order", "next"])
def test_a_window_holds_the_shards_that_prepare_makes_of_its_documents(
    tmp_path: Path, tokenizer: BertTokenizer, tokenizer_directory: str, pairs: str
) -> None:
    rows = PrepareSettings(sequence_length=32, validation_rate=0.2, pairs=pairs, group_size=20, num_shards=2, seed=7)
    corpus = CorpusSettings(
        CleanSettings(unicode=True, mask=("email",)),
        FilterSettings(rules={"num_words": (3.0, None)}),
        deduplicate=DeduplicateSettings("exact"),
    )
    texts = [f"The cat no. {number % 50} sat on the mat. It ran to cat@mat.org then.\r\n" for number in range(70)]
    documents = [document(number, text) for number, text in enumerate([*texts, "too short", " "])]
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps(one.record._asdict()).replace('"key"', '"id"') + "\n" for one in documents))
    manifest, _ = prepare(
        ReadSettings((str(path),)), rows, tokenizer_directory, str(tmp_path / "dataset"), corpus=corpus
    )
    (fragment,) = commit(
        begin(tmp_path / "stream", tokenizer, corpus, rows), pane(tokenizer, documents, corpus=corpus, rows=rows)
    )
    for split in SPLITS:
        expected = [shard.sha256 for shard in manifest.splits[split].shards]
        assert [shard.sha256 for shard in fragment.splits[split].shards] == expected
        assert fragment.splits[split].length_histogram == manifest.splits[split].length_histogram
    counts = {name: number for name, number in manifest.counts.items() if number}
    assert {name: number for name, number in fragment.counts.items() if number} == counts


def test_three_committers_at_once_make_one_chain_with_every_document_once(
    tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    stream = begin(tmp_path / "stream", tokenizer)
    # Each document is in two panes.
    names = [
        freeze(stream, pane(tokenizer, numbered(range(10 * number, 10 * number + 20)), window=number)).name
        for number in range(12)
    ]
    barrier, errors = threading.Barrier(3), []

    def work(seed: int) -> None:
        try:
            barrier.wait()
            own = Committer(open_stream(stream.directory))
            for name in random.Random(seed).sample(names, len(names)):
                own.commit(name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    chain = list(read_chain(stream.directory))
    assert sorted(fragment.frozen.name for fragment in chain) == sorted(names)
    assert total_counts(stream.directory)["documents_in"] == 130
    assert total_counts(stream.directory)["redelivered"] == 110
    # Two rows may be alike (the ends of two documents), so the tokens are counted: each document's, once.
    rows = [row for split in SPLITS for row in rows_of(stream.directory, split)]
    around = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    texts = tokenizer.encode_batch([one.record.text for one in numbered(range(130))])  # type: ignore[union-attr]
    assert Counter(token for row in rows for token in row if token not in around) == Counter(texts.token_ids.tolist())
    assert verify_stream(stream.directory).problems == ()
    # Nothing that one of them made in vain is left when it is cleaned away.
    remove_garbage(open_stream(stream.directory))
    assert verify_stream(stream.directory).problems == ()


def test_a_committer_that_lost_its_number_makes_its_fragment_follow_the_winner(
    tmp_path: Path, tokenizer: BertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = begin(tmp_path / "stream", tokenizer)
    ours, theirs = (freeze(stream, pane(tokenizer, numbered(numbers))).name for numbers in (range(20), range(10, 30)))
    from clozekit.pipelines.streaming import commit_pane

    make = commit_pane.make_once

    def overtaken(directory: str, name: str, content: bytes) -> bool:
        monkeypatch.setattr(commit_pane, "make_once", make)
        Committer(open_stream(directory)).commit(theirs)
        return make(directory, name, content)

    monkeypatch.setattr(commit_pane, "make_once", overtaken)
    fragment = Committer(stream).commit(ours)
    assert fragment is not None
    assert (fragment.number, fragment.counts["documents_in"], fragment.counts["redelivered"]) == (1, 10, 10)
    assert verify_stream(stream.directory).problems == ()


def test_what_a_killed_committer_left_goes_and_what_others_need_stays(
    tmp_path: Path, tokenizer: BertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = begin(tmp_path / "stream", tokenizer)
    commit(stream, pane(tokenizer, numbered(range(20))), pane(tokenizer, numbered(range(20, 40)), window=1))
    waiting = freeze(stream, pane(tokenizer, numbered(range(40, 60)), window=2)).name
    root = Path(stream.directory)

    from clozekit.pipelines.streaming import commit_pane

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(commit_pane, "make_once", killed)
    with pytest.raises(KeyboardInterrupt):
        Committer(open_stream(stream.directory)).commit(waiting)
    monkeypatch.undo()
    foreign = root / "data" / "notes.txt"
    foreign.write_text("mine")
    before = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    with stream.writing():
        assert remove_garbage(open_stream(stream.directory)) == []
    removed = remove_garbage(open_stream(stream.directory))
    after = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert set(removed) == before - after
    assert any(name.startswith("data/train-") for name in removed)
    assert foreign.read_text() == "mine"
    assert waiting_panes(open_stream(stream.directory)) == [waiting]
    assert [fragment.number for fragment in Committer(open_stream(stream.directory)).commit_waiting()] == [2]
    assert verify_stream(stream.directory).problems == ()


def test_known_hashes_take_a_file_or_two_more_only_each_time_that_they_double(
    tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    stream = begin(tmp_path / "stream", tokenizer)
    for number in range(20):
        commit(stream, pane(tokenizer, numbered(range(10 * number, 10 * number + 10)), window=number))
    head = read_head(stream.directory, stream.genesis)
    assert head is not None
    sizes = [file.entries for file in head.known["deliveries"]]
    assert sum(sizes) == 200
    assert all(longer > 2 * shorter for longer, shorter in zip(sizes, sizes[1:], strict=False))
    removed = remove_garbage(open_stream(stream.directory))
    assert any(name.startswith("known/") for name in removed)
    assert len(list((Path(stream.directory) / "known").iterdir())) == sum(len(files) for files in head.known.values())


def test_everything_but_the_chain_and_its_panes_can_be_made_again(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    stream = begin(tmp_path / "stream", tokenizer)
    twin = document(900, document(3).record.text)  # type: ignore[union-attr]
    commit(stream, *(pane(tokenizer, [*numbered(range(15 * n, 15 * n + 20)), twin], window=n) for n in range(4)))
    remove_garbage(open_stream(stream.directory))
    root, expected = Path(stream.directory), chain_bytes(stream.directory)
    lost = [path for folder in ("data", "known", "side") for path in sorted((root / folder).iterdir())]
    for number, path in enumerate(lost):
        if number % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])
    assert len(verify_stream(stream.directory).problems) >= len(lost)
    assert sorted(repair_stream(stream.directory)) == sorted(path.relative_to(root).as_posix() for path in lost)
    assert verify_stream(stream.directory).problems == ()
    assert chain_bytes(stream.directory) == expected
    frozen = next((root / "frozen").iterdir())
    frozen.write_bytes(frozen.read_bytes()[:-1])
    with pytest.raises(InputError, match="a stream is made again from all of frozen/"):
        repair_stream(stream.directory)


def test_a_stream_keeps_its_settings_and_its_folder(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    begin(tmp_path / "stream", tokenizer)
    begin(tmp_path / "stream", tokenizer)
    with pytest.raises(InputError, match=r"window_seconds: 600 there, 60 now"):
        begin(tmp_path / "stream", tokenizer, windows=WindowSettings(60))
    with pytest.raises(InputError, match=r"prepare.seed: 0 there, 5 now"):
        begin(tmp_path / "stream", tokenizer, rows=PrepareSettings(sequence_length=32, validation_rate=0.2, seed=5))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds what Clozekit did not write there: notes.txt"):
        begin(tmp_path / "other", tokenizer)
    with pytest.raises(InputError, match="a local disk or gs://, got memory://x"):
        begin("memory://x", tokenizer)


def test_a_damaged_link_of_the_chain_is_refused_by_name(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    stream = begin(tmp_path / "stream", tokenizer)
    commit(stream, *(pane(tokenizer, numbered(range(10 * n, 10 * n + 10)), window=n) for n in range(3)))
    path = Path(stream.directory) / fragment_name(1)
    content = path.read_bytes()
    for damaged, rule in (
        (content.replace(b'"documents_in": 10', b'"documents_in": 11'), "own_sha256"),
        (content[:-30], "must be JSON"),
        ((path.parent / "00000002.json").read_bytes(), "must have the number 1, it has 2"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=rule):
            open_stream(stream.directory)
    path.unlink()
    with pytest.raises(InputError, match=r"00000001\.json there is none"):
        verify_stream(stream.directory)
    # Another chain's fragment is whole, and follows nothing here.
    other = begin(tmp_path / "other", tokenizer)
    commit(other, *(pane(tokenizer, numbered(range(5 * n, 5 * n + 5)), window=n) for n in range(3)))
    path.write_bytes((Path(other.directory) / fragment_name(1)).read_bytes())
    with pytest.raises(InputError, match="every fragment must follow the one before"):
        open_stream(stream.directory)

"""Streams in a bucket, on a real storage server: three committers at once, garbage by its age, compacting."""

import threading
from pathlib import Path

import pytest
from google_front import Storage, files
from streams import begin, document, pane, total_counts

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.settings.compact_settings import PruneSettings
from clozekit.pipelines.streaming import remove_garbage as garbage
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.compact_windows import compact_windows
from clozekit.pipelines.streaming.open_stream import open_stream
from clozekit.pipelines.streaming.prune_windows import planned_removal, prune_windows
from clozekit.pipelines.streaming.verify_stream import verify_stream
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

pytestmark = pytest.mark.slow

STREAM = "gs://ours/stream"


def test_three_committers_make_one_chain_in_a_bucket(
    storage: Storage, tokenizer: BertTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = begin(STREAM, tokenizer)
    local = begin(tmp_path / "stream", tokenizer)
    panes = [
        pane(tokenizer, [document(number) for number in range(10 * window, 10 * window + 15)], window)
        for window in range(4)
    ]
    names = [freeze(stream, one).name for one in panes]
    barrier, errors = threading.Barrier(3), []

    def work(turn: int) -> None:
        try:
            barrier.wait()
            own = Committer(open_stream(STREAM))
            for name in [*names[turn:], *names[:turn]]:
                own.commit(name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(fragment.frozen.name for fragment in read_chain(STREAM)) == sorted(names)
    assert total_counts(STREAM)["documents_in"] == 45
    assert verify_stream(STREAM).problems == ()
    # In the same order a disk holds the same bytes.
    order = [fragment.frozen.name for fragment in read_chain(STREAM)]
    for one in sorted(panes, key=lambda one: order.index(freeze(local, one).name)):
        Committer(local).commit(freeze(local, one).name)
    assert [fragment.sha256 for fragment in read_chain(local.directory)] == [
        fragment.sha256 for fragment in read_chain(STREAM)
    ]
    assert main(["stream", "verify", STREAM]) == 0
    assert "whole: 4 fragments, 45 documents" in capsys.readouterr().out


def test_a_long_chain_is_read_with_one_request_a_fragment_and_many_at_once(
    storage: Storage, tokenizer: BertTokenizer
) -> None:
    directory = "gs://ours/long"
    stream = begin(directory, tokenizer)
    committer = Committer(stream)
    for window in range(20):
        committer.commit(freeze(stream, pane(tokenizer, [document(window)], window)).name)
    before = len(storage.answered)
    assert len(list(read_chain(directory))) == 20
    requests = [path for _, path, _ in storage.answered[before:]]
    of_fragments = [path for path in requests if ".json" in path and "stream.json" not in path]
    # Besides them the genesis and a listing. Once it was seven requests a fragment, one after the other.
    assert len(of_fragments) == 20
    assert len(requests) <= 30, requests
    # What was read is not read again.
    opened = open_stream(directory)
    committer.commit(freeze(stream, pane(tokenizer, [document(20)], 20)).name)
    before = len(storage.answered)
    assert [fragment.number for fragment in opened.read_on()] == [20]
    assert len(storage.answered) - before <= 3


def test_in_a_bucket_only_what_is_old_is_garbage(
    storage: Storage, tokenizer: BertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = "gs://ours/littered"
    stream = begin(directory, tokenizer)
    Committer(stream).commit(freeze(stream, pane(tokenizer, [document(number) for number in range(9)])).name)
    left = "data/train-0123456789abcdef.tfrecord"
    files().pipe_file(f"ours/littered/{left}", b"of a killed committer")
    assert garbage.remove_garbage(open_stream(directory)) == []
    # As if a day had passed.
    monkeypatch.setattr(garbage, "HOURS_KEPT", 0)
    assert garbage.remove_garbage(open_stream(directory)) == [left]
    assert verify_stream(directory).problems == ()


def test_windows_in_a_bucket_are_compacted_and_pruned_when_a_day_is_over(
    storage: Storage, tokenizer: BertTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, local = "gs://ours/compacted", str(tmp_path / "stream")
    at_once = PruneSettings(retain_days=0, panes=True)
    for place in (directory, local):
        stream = begin(place, tokenizer)
        for window in range(4):
            documents = [document(number) for number in range(10 * window, 10 * window + 10)]
            Committer(stream).commit(freeze(stream, pane(tokenizer, documents, window)).name)
            if window == 2:
                assert compact_windows(place) is not None
    plan = planned_removal(directory, at_once)
    # The chain says at once what is gone; the files stay for a day, as somebody may be about to name them.
    assert prune_windows(directory, at_once) == []
    assert verify_stream(directory).problems == ()
    assert planned_removal(directory, at_once).names == ()
    monkeypatch.setattr(garbage, "HOURS_KEPT", 0)
    removed = prune_windows(directory, at_once)
    assert set(plan.names) <= set(removed)
    assert set(prune_windows(local, at_once)) >= set(plan.names)
    assert [fragment.sha256 for fragment in read_chain(directory)] == [
        fragment.sha256 for fragment in read_chain(local)
    ]
    assert verify_stream(directory).problems == ()

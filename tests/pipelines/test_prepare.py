"""Preparing: the same bytes however it runs, every document accounted for, nothing half-written, clear refusals."""

import dataclasses
import gzip
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from long_variants import FULL

from clozekit.pipelines import build_output
from clozekit.pipelines.dataset.manifest import Manifest, has_manifest, read_manifest
from clozekit.pipelines.dataset.records import records_to_rows
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.prepare import prepare, prepare_lengths
from clozekit.pipelines.rows import make_dataset, write_shards
from clozekit.pipelines.rows.accounts import check_account
from clozekit.pipelines.rows.cut_documents import chunk_lengths
from clozekit.pipelines.rows.encode_documents import wrap_pieces
from clozekit.pipelines.rows.plan import GroupRows, cut_rows, plan_shards
from clozekit.pipelines.rows.split import is_validation
from clozekit.pipelines.running.blocks import from_bytes, to_bytes
from clozekit.pipelines.running.runners import failures_in_one_line
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

OPTIONS = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=3, group_size=100)


def read_rows(directory: str, manifest: Manifest, split: str) -> list[dict[str, list[int]]]:
    rows = []
    for shard in manifest.splits[split].shards:
        with open(f"{directory}/{shard.name}", "rb") as stream:
            rows += records_to_rows(list(read_records(stream, shard.name))).to_pylist()
    return rows


@pytest.fixture(scope="module")
def reference(corpus: Path, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Manifest]:
    directory = str(tmp_path_factory.mktemp("reference"))
    manifest, built = prepare(ReadSettings((str(corpus),)), OPTIONS, tokenizer_directory, directory)
    assert built
    return directory, manifest


def test_every_piece_of_every_document_is_in_the_rows(
    reference: tuple[str, Manifest], corpus: Path, tokenizer: BertTokenizer
) -> None:
    directory, manifest = reference
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    expected: Counter[tuple[int, ...]] = Counter()
    for line in corpus.read_text(encoding="utf-8").splitlines():
        ids = tokenizer.encode_batch([json.loads(line)["text"]]).token_ids.tolist()
        expected.update((cls, *ids[start : start + 30], sep) for start in range(0, len(ids), 30))
    found: Counter[tuple[int, ...]] = Counter()
    for split in manifest.splits:
        rows = read_rows(directory, manifest, split)
        assert [row["row_id"] for row in rows] == [[number] for number in range(manifest.splits[split].rows)]
        for row in rows:
            assert len(row["token_ids"]) <= 32
            start = 0
            for length in row["document_lengths"]:
                found[tuple(row["token_ids"][start : start + length])] += 1
                start += length
            assert start == len(row["token_ids"])
    assert found == expected


def test_the_manifest_says_what_the_shards_hold(reference: tuple[str, Manifest]) -> None:
    directory, manifest = reference
    assert manifest.counts["documents_in"] == 300
    assert manifest.counts["documents_train"] + manifest.counts["documents_validation"] == 300
    for split, info in manifest.splits.items():
        rows = read_rows(directory, manifest, split)
        assert info.rows == len(rows)
        assert info.tokens == sum(len(row["token_ids"]) for row in rows)
        lengths = [length for row in rows for length in row["document_lengths"]]
        assert info.pieces == len(lengths)
        assert sum(info.length_histogram) == len(lengths)
        assert info.length_histogram[31] == lengths.count(32)
        sizes = [shard.rows for shard in info.shards]
        assert max(sizes) - min(sizes) <= 1
        assert manifest.fill_rate(split) == info.tokens / (32 * info.rows)
    assert len(manifest.splits["train"].shards) == 3
    assert sorted(path.name for path in Path(directory).iterdir()) == sorted(
        [
            ".clozekit-files.json",
            "data-card.md",
            "manifest.json",
            "report.html",
            "tokenizer",
            *(shard.name for split in manifest.splits.values() for shard in split.shards),
        ]
    )


def test_pinned_fingerprint(reference: tuple[str, Manifest]) -> None:
    # The same corpus, tokenizer, options and seed must give these bytes on any machine and in any later version; a
    # change of this number means that every user's dataset would be built anew. From
    # `pytest tests/pipelines/test_prepare.py -k pinned` when the record format was fixed.
    assert reference[1].dataset_sha256 == "61bfab6f4e49f6db364982a49f32992b7a02d6734790ac95f955561067f5d733"


WAYS = ["ten files in another order", "gzip", "one document a batch"]


# test_engines.py has two worker processes too.
@pytest.mark.parametrize("how", [*WAYS, "two worker processes"] if FULL else WAYS)
def test_the_bytes_do_not_depend_on_how_it_runs(
    how: str,
    reference: tuple[str, Manifest],
    corpus: Path,
    tokenizer_directory: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    inputs: tuple[str, ...] = (str(corpus),)
    workers = 1
    if how == "ten files in another order":
        for number in range(10):
            (tmp_path / f"part-{9 - number}.jsonl").write_text("".join(lines[number::10]), encoding="utf-8")
        inputs = (f"{tmp_path}/part-[5-9].jsonl", f"{tmp_path}/part-[0-4].jsonl")
    elif how == "gzip":
        (tmp_path / "all.jsonl.gz").write_bytes(gzip.compress("".join(lines[::-1]).encode()))
        inputs = (f"{tmp_path}/*.gz",)
    elif how == "two worker processes":
        # Several elements to read, so that both workers read some.
        monkeypatch.setattr("clozekit.pipelines.reading.read_documents.MAX_BATCH_CHARACTERS", 1)
        for number in range(6):
            (tmp_path / f"part-{number}.jsonl").write_text("".join(lines[number::6]), encoding="utf-8")
        inputs, workers = (f"{tmp_path}/part-*.jsonl",), 2
    else:
        monkeypatch.setattr("clozekit.pipelines.reading.read_documents.MAX_BATCH_DOCUMENTS", 1)
    manifest, _ = prepare(
        ReadSettings(inputs), OPTIONS, tokenizer_directory, str(tmp_path / "out"), num_workers=workers
    )
    assert manifest.dataset_sha256 == reference[1].dataset_sha256
    assert manifest.splits == reference[1].splits


def test_another_seed_gives_another_order_of_the_same_documents(
    reference: tuple[str, Manifest], corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    options = dataclasses.replace(OPTIONS, seed=1)
    manifest, _ = prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, str(tmp_path / "out"))
    assert manifest.dataset_sha256 != reference[1].dataset_sha256
    total = [sum(split.tokens for split in m.splits.values()) for m in (manifest, reference[1])]
    assert total[0] == total[1]


def test_run_again_it_does_nothing_and_other_settings_are_refused(
    reference: tuple[str, Manifest], corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    directory = str(tmp_path / "copy")
    shutil.copytree(reference[0], directory)
    reading = ReadSettings((str(corpus),))
    before = {path.name: path.stat().st_mtime_ns for path in Path(directory).iterdir()}
    manifest, built = prepare(reading, OPTIONS, tokenizer_directory, directory)
    assert (manifest, built) == (reference[1], False)
    assert before == {path.name: path.stat().st_mtime_ns for path in Path(directory).iterdir()}

    other = dataclasses.replace(OPTIONS, num_shards=2)
    with pytest.raises(InputError, match=r"other inputs or settings \(num_shards was 3, is 2\); pass --overwrite"):
        prepare(reading, other, tokenizer_directory, directory)
    manifest, built = prepare(reading, other, tokenizer_directory, directory, overwrite=True)
    assert built
    shards = {shard.name for split in manifest.splits.values() for shard in split.shards}
    assert {path.name for path in Path(directory).glob("*.tfrecord")} == shards


def test_a_build_that_was_killed_leaves_no_dataset_and_goes_on(
    reference: tuple[str, Manifest],
    corpus: Path,
    tokenizer_directory: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, reading = str(tmp_path / "out"), ReadSettings((str(corpus),))
    writes = 0
    original = write_shards.write_whole

    def dies_at_the_third_shard(path, write):  # type: ignore[no-untyped-def]
        nonlocal writes
        writes += 1
        if writes == 3:
            raise KeyError("killed")
        original(path, write)

    monkeypatch.setattr(write_shards, "write_whole", dies_at_the_third_shard)
    with pytest.raises(KeyError, match="killed"):
        prepare(reading, OPTIONS, tokenizer_directory, directory)
    with pytest.raises(InputError, match=r"must hold manifest\.json"):
        read_manifest(directory)
    finished = {path: path.stat().st_mtime_ns for path in Path(directory).glob("*.tfrecord")}
    assert len(finished) == 2

    monkeypatch.setattr(write_shards, "write_whole", original)
    manifest, built = prepare(reading, OPTIONS, tokenizer_directory, directory)
    assert built
    assert manifest.dataset_sha256 == reference[1].dataset_sha256
    assert finished == {path: path.stat().st_mtime_ns for path in finished}
    assert not (Path(directory) / "_parts").exists()


@pytest.mark.parametrize("overwrites", [False, True])
def test_killed_while_it_removes_what_is_not_wanted_its_shards_stay_ours(
    overwrites: bool, corpus: Path, tokenizer_directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts name the shards, and are gone then; the list of what is there was to be written next."""
    reading, directory = ReadSettings((str(corpus),)), str(tmp_path / "out")
    if overwrites:
        prepare(reading, dataclasses.replace(OPTIONS, num_shards=4), tokenizer_directory, directory)
    with monkeypatch.context() as patch:
        patch.setattr(build_output, "release", _killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(reading, OPTIONS, tokenizer_directory, directory, overwrite=overwrites)
    assert not list(Path(directory).glob("_parts/*/*"))
    other = dataclasses.replace(OPTIONS, num_shards=2)
    manifest, built = prepare(reading, other, tokenizer_directory, directory, overwrite=True)
    there = {path.name for path in Path(directory).glob("*.tfrecord")}
    assert built and there == {shard.name for split in manifest.splits.values() for shard in split.shards}


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_stage_that_loses_pieces_fails_the_build(
    corpus: Path, tokenizer_directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(self, element):  # type: ignore[no-untyped-def]
        key, blocks = element
        lost = [self._blocks.put(to_bytes(from_bytes(self._store.take(block)).slice(1))) for block in blocks]
        yield from pack(self, (key, lost))

    pack = make_dataset.PackGroup.process
    monkeypatch.setattr(make_dataset.PackGroup, "process", lossy)
    with pytest.raises(RuntimeError, match="pieces of .* were lost or doubled"):
        prepare(ReadSettings((str(corpus),)), OPTIONS, tokenizer_directory, str(tmp_path / "out"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_part_whose_shard_was_damaged_is_written_again(
    reference: tuple[str, Manifest],
    corpus: Path,
    tokenizer_directory: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, reading = str(tmp_path / "out"), ReadSettings((str(corpus),))
    monkeypatch.setattr(make_dataset.CommitDataset, "process", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(reading, OPTIONS, tokenizer_directory, directory)
    monkeypatch.undo()
    shard = Path(directory, reference[1].splits["train"].shards[0].name)
    content = shard.read_bytes()
    shard.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    prepare(reading, OPTIONS, tokenizer_directory, directory)
    assert shard.read_bytes() == content
    assert load_tokenizer(f"{directory}/tokenizer").sha256() == reference[1].tokenizer.sha256


def test_a_dataset_stays_whole_when_replacing_it_fails(
    reference: tuple[str, Manifest], tokenizer_directory: str, tmp_path: Path
) -> None:
    directory = str(tmp_path / "copy")
    shutil.copytree(reference[0], directory)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{cut\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 of 1 are"):
        prepare(ReadSettings((str(bad),)), OPTIONS, tokenizer_directory, directory, overwrite=True)
    assert read_manifest(directory) == reference[1]
    assert len(read_rows(directory, reference[1], "train")) == reference[1].splits["train"].rows


def test_how_inputs_are_spelled_does_not_matter(
    reference: tuple[str, Manifest], corpus: Path, tokenizer_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.parent)
    for inputs in ((f"./{corpus.name}",), (".",), ("*.jsonl", str(corpus))):
        reading = ReadSettings(inputs, max_bad_rate=0.5)
        assert prepare(reading, OPTIONS, tokenizer_directory, reference[0]) == (reference[1], False)


def test_an_output_that_cannot_be_written_is_refused(corpus: Path, tokenizer_directory: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="goes into a folder of its own, .* is a file"):
        prepare(ReadSettings((str(corpus),)), OPTIONS, tokenizer_directory, str(tmp_path / "file" / "out"))


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (RuntimeError("Traceback ...\nKeyboardInterrupt [while running 'Read']"), KeyboardInterrupt, "^$"),
        (
            RuntimeError("x\nOSError: [Errno 28] No space left on device: 'a' [while running 'W']\n"),
            OSError,
            r"\[Errno 28\] No space left on device: 'a'$",
        ),
        (
            RuntimeError("x\na.b.InputError: the rule, got x; do y [while running 'R']\n"),
            InputError,
            "^the rule, got x; do y$",
        ),
        (
            RuntimeError(
                "failed in state FAILED: a.b.StatusRuntimeException: CANCELLED: call already cancelled. Use x()"
            ),
            ChildProcessError,
            "run the same command again: it goes on with what is missing$",
        ),
        (RuntimeError("something else"), RuntimeError, "something else"),
    ],
)
def test_what_workers_raise_arrives_as_what_it_was(raised: Exception, expected: type, message: str) -> None:
    with pytest.raises(expected, match=message), failures_in_one_line():
        raise raised


def test_documents_without_text_or_tokens_are_counted(tokenizer_directory: str, tmp_path: Path) -> None:
    texts = ["the cat sat on the mat .", "", "   ", "\u200b\u200b", "the dog ran"]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    options = PrepareSettings(sequence_length=32, validation_rate=0.0)
    manifest, _ = prepare(ReadSettings((str(path),)), options, tokenizer_directory, str(tmp_path / "out"))
    counts = {name: number for name, number in manifest.counts.items() if number}
    assert counts == {
        "documents_in": 5,
        "documents_train": 2,
        "pieces_train": 2,
        "rejected_empty": 2,
        "rejected_no_tokens": 1,
    }


def test_bad_records_fail_the_build_or_are_set_aside_exactly(tokenizer_directory: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = [json.dumps({"id": str(number), "text": "the cat sat"}) for number in range(97)]
    lines = [*good[:50], '{"id": "x"}', *good[50:], "{cut", '{"text": 3}']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options, out = PrepareSettings(sequence_length=32), str(tmp_path / "out")
    with pytest.raises(InputError) as caught:
        prepare(ReadSettings((str(path),)), options, tokenizer_directory, out)
    message = str(caught.value)
    assert "3 of 100 are" in message
    assert f"{path}, line 51: a JSON line must hold text under 'text', this one has the keys ['id']" in message
    assert "\n" not in message
    assert not Path(out, "manifest.json").exists()
    assert list(Path(out).glob("*.tfrecord")) == []

    manifest, _ = prepare(ReadSettings((str(path),), max_bad_rate=0.03), options, tokenizer_directory, out)
    assert manifest.counts["documents_in"] == 100
    assert manifest.counts["dead_lettered"] == 3
    letters = [
        json.loads(line) for line in next(Path(out).glob("deadletter/part-00000-*.jsonl")).read_text().splitlines()
    ]
    assert len(letters) == 3
    assert {letter["position"] for letter in letters} == {"line 51", "line 99", "line 100"}


def test_inputs_without_any_document_are_refused(tokenizer_directory: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("  \n", encoding="utf-8")
    with pytest.raises(InputError, match="must hold at least one document with text, 1 were read"):
        prepare(ReadSettings((str(path),)), PrepareSettings(), tokenizer_directory, str(tmp_path / "out"))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--direct_running_mode=multi_threading"], "must not be multi_threading"),
        (["--no_such_option=1"], "it does not know --no_such_option=1"),
    ],
)
def test_beam_options_that_lose_records_or_mean_nothing_are_refused(
    arguments: list[str], message: str, corpus: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(
            ReadSettings((str(corpus),)), OPTIONS, tokenizer_directory, str(tmp_path / "out"), beam_arguments=arguments
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sequence_length": 4}, "sequence_length must be at least 8, got 4"),
        ({"validation_rate": 1.5}, r"validation_rate must be a rate from 0 to 1, got 1\.5"),
        ({"num_shards": 0}, "num_shards must be at least 1, got 0"),
        ({"shard_size_mb": 0.0}, r"shard_size_mb must be above 0, got 0\.0"),
        ({"shard_size_mb": float("nan")}, "shard_size_mb must be above 0, got nan"),
        ({"seed": -1}, "seed must be from 0 to"),
    ],
)
def test_settings_are_checked_when_they_are_made(fields: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrepareSettings(**fields)  # type: ignore[arg-type]


def test_a_lost_document_is_noticed() -> None:
    check_account({"documents_in": 3, "documents_train": 1, "rejected_empty": 1, "dead_lettered": 1})
    with pytest.raises(RuntimeError, match="4 in, 3 accounted for"):
        check_account({"documents_in": 4, "documents_train": 1, "rejected_empty": 1, "dead_lettered": 1})


def test_long_documents_are_cut_and_every_piece_is_wrapped() -> None:
    import numpy as np

    assert [chunk_lengths(n, 4) for n in (0, 3, 4, 9)] == [[], [3], [4], [4, 4, 1]]
    wrapped = wrap_pieces(np.arange(10, 15), np.array([2, 3]), 1, 2)
    assert wrapped.tolist() == [1, 10, 11, 2, 1, 12, 13, 14, 2]
    assert wrap_pieces(np.zeros(0, np.int32), np.zeros(0, np.int64), 1, 2).tolist() == []


def test_the_split_of_a_document_depends_on_its_id_alone() -> None:
    chosen = [is_validation(f"doc-{number}", 0, 0.1) for number in range(20_000)]
    assert abs(sum(chosen) / 20_000 - 0.1) < 0.01
    # A higher rate moves documents to validation and none back.
    assert all(is_validation(f"doc-{n}", 0, 0.2) for n, validation in enumerate(chosen) if validation)
    assert not any(is_validation(f"doc-{n}", 0, 0.0) for n in range(100))


def test_shards_cut_the_rows_evenly() -> None:
    groups = [GroupRows("train", group, rows, 320, rows, ()) for group, rows in ((1, 5), (0, 4), (2, 2))]
    plan = plan_shards(groups, PrepareSettings(num_shards=3))["train"]
    assert plan.first_row_of_group == {0: 0, 1: 4, 2: 9}
    assert plan.shard_bounds == (0, 3, 7, 11)
    assert cut_rows(4, 5, plan.shard_bounds) == [(1, 4, 7), (2, 7, 9)]
    assert plan_shards(groups, PrepareSettings(num_shards=100))["train"].num_shards == 11


def test_an_input_error_in_a_worker_process_arrives_as_one(tokenizer_directory: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"the cat sat " * 500)[:-20])
    with pytest.raises(InputError) as caught:
        prepare(ReadSettings((str(path),)), OPTIONS, tokenizer_directory, str(tmp_path / "out"), num_workers=2)
    message = str(caught.value)
    assert message.startswith(f"a .gz input must be whole gzip, {path} is damaged or cut short")
    assert message.endswith("fetch it again")


def test_a_document_that_cannot_be_encoded_is_a_dead_letter_of_every_length(
    tokenizer_directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No text is known that a tokenizer of ours refuses; so one is made to refuse a word.
    encode = BertTokenizer.encode_batch

    def encode_or_raise(self: BertTokenizer, texts: Any) -> Any:
        if any("bird" in str(text) for text in texts):
            raise ArithmeticError("no birds")
        return encode(self, texts)

    monkeypatch.setattr(BertTokenizer, "encode_batch", encode_or_raise)
    path, out = tmp_path / "a.jsonl", tmp_path / "out"
    lines = [json.dumps({"id": f"doc-{number}", "text": f"the cat {number}"}) + "\n" for number in range(20)]
    lines[7] = json.dumps({"id": "doc-7", "text": "the red bird"}) + "\n"
    path.write_text("".join(lines), encoding="utf-8")
    options = PrepareSettings(validation_rate=0.0)
    reading = ReadSettings((str(path),), max_bad_rate=0.05)
    for manifest, _ in prepare_lengths(reading, options, [16, 32], tokenizer_directory, str(out)).values():
        assert {name: number for name, number in manifest.counts.items() if number} == {
            "documents_in": 20,
            "documents_train": 19,
            "pieces_train": 19,
            "dead_lettered": 1,
        }
    (letter,) = map(
        json.loads, next(out.glob("deadletter/part-00000-*.jsonl")).read_text(encoding="utf-8").splitlines()
    )
    assert letter["traceback"].rstrip().endswith("ArithmeticError: no birds")
    del letter["traceback"]
    assert letter == {
        "input": str(path),
        "offset": len("".join(lines[:7])),
        "position": "document doc-7",
        "stage": "encode",
        "reason": "ArithmeticError: no birds",
    }
    strict = ReadSettings((str(path),), max_bad_rate=0.04)
    with pytest.raises(InputError, match=r"at most 0\.04 of all records .*, 1 of 20 are; the first: .*document doc-7"):
        prepare(strict, options, tokenizer_directory, str(tmp_path / "other"))
    # Every one of a batch.
    path.write_text(lines[7], encoding="utf-8")
    with pytest.raises(InputError, match="1 of 1 are"):
        prepare(strict, options, tokenizer_directory, str(tmp_path / "none"))
    assert not has_manifest(str(tmp_path / "none"))
    # What the system refuses is nobody's fault.
    monkeypatch.setattr(BertTokenizer, "encode_batch", lambda *_: Path("/nowhere").read_bytes())
    with pytest.raises(OSError, match="No such file"):
        prepare(reading, options, tokenizer_directory, str(tmp_path / "disk"))

"""The whole graph with everything on: the same bytes however it runs, and every document accounted for."""

import gzip
import json
import random
from pathlib import Path

import pytest
from long_variants import FULL

from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.reading import read_documents as read_module
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DecontaminateSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings, Source
from clozekit.tokenizers.common.errors import InputError

OPTIONS = PrepareSettings(sequence_length=32, validation_rate=0.2, num_shards=2, group_size=50)
VERBS = ("sat on", "ran under", "flew over", "was", "and then it was")
WORDS = ("cat", "dog", "bird", "mat", "house", "tree", "red", "blue", "old", "happy", "very")


def make_lines(seed: int) -> list[str]:
    """JSON lines: originals, exact and near copies, chains, documents that break a rule, evaluation texts."""
    dice = random.Random(seed)
    texts = []
    for _ in range(60):
        words = [word for _ in range(dice.randint(8, 30)) for word in ("the", dice.choice(WORDS), dice.choice(VERBS))]
        texts.append(" ".join(words) + ".")
        if dice.random() < 0.3:
            texts.append(texts[-1].upper().replace(" ", "  "))
        if dice.random() < 0.3:
            texts.append(texts[-1].replace(dice.choice(WORDS), dice.choice(WORDS), 1))
    texts += [
        "the cat",
        "{the cat sat on the mat and ran}",
        EVALUATION + " and more of it",
        "mail a@b.org at the old house",
    ]
    dice.shuffle(texts)
    return [json.dumps({"id": f"doc-{number:03d}", "text": text}) + "\n" for number, text in enumerate(texts)]


EVALUATION = "the red bird flew over the old house and then it was very happy under the blue tree"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return make_lines(seed=5)


@pytest.fixture(scope="module")
def corpus_options(tmp_path_factory: pytest.TempPathFactory) -> CorpusSettings:
    evaluation = tmp_path_factory.mktemp("evaluation") / "evaluation.txt"
    evaluation.write_text(EVALUATION + "\n", encoding="utf-8")
    return CorpusSettings(
        CleanSettings(unicode=True, fix_encoding=True, boilerplate_lines=True, mask=("email",)),
        FilterSettings((), {"num_words": (4, None), "num_braces": (None, 0), "duplicate_5gram_rate": (None, 0.9)}),
        DecontaminateSettings((str(evaluation),)),
        DeduplicateSettings("near"),
    )


@pytest.fixture(scope="module")
def expected(
    lines: list[str], corpus_options: CorpusSettings, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Manifest]:
    directory = tmp_path_factory.mktemp("whole")
    (directory / "all.jsonl").write_text("".join(lines), encoding="utf-8")
    out = str(directory / "out")
    reading = ReadSettings((f"{directory}/all.jsonl",))
    return out, prepare(reading, OPTIONS, tokenizer_directory, out, corpus=corpus_options)[0]


def test_every_stage_took_something_and_the_account_is_exact(expected: tuple[str, Manifest], lines: list[str]) -> None:
    out, manifest = expected
    counts = manifest.counts
    assert counts["documents_in"] == len(lines)
    for name in ("rejected_num_words", "rejected_num_braces", "contaminated", "duplicates_exact", "duplicates_near"):
        assert counts[name] > 0, name
    left = ("rejected_", "duplicates_", "contaminated", "dead_lettered")
    dropped = sum(number for name, number in counts.items() if name.startswith(left))
    assert counts["documents_train"] + counts["documents_validation"] == len(lines) - dropped
    texts = {fields["id"]: fields["text"] for fields in map(json.loads, lines)}
    (contaminated,) = [
        json.loads(line) for line in next(Path(out).glob("contaminated/part-00000-*.jsonl")).read_text().splitlines()
    ]
    assert texts[contaminated["id"]].startswith(EVALUATION)
    rejects = gzip.decompress(next(Path(out).glob("rejects/part-00000-*.jsonl.gz")).read_bytes()).decode().splitlines()
    rules = {row["rule"]: row["text"] for row in map(json.loads, rejects)}
    assert rules == {"num_words": "the cat", "num_braces": "{the cat sat on the mat and ran}"}
    duplicates = [
        json.loads(line) for line in next(Path(out).glob("duplicates/part-00000-*.jsonl")).read_text().splitlines()
    ]
    kept, gone = {row["kept"] for row in duplicates}, {row["id"] for row in duplicates}
    assert not kept & gone
    assert all(row["kept"] < row["id"] for row in duplicates)
    for row in duplicates:
        if row["kind"] == "exact":
            # Of the kept one or of another of its cluster.
            folded = texts[row["id"]].lower().split()
            assert [name for name, text in texts.items() if text.lower().split() == folded and name != row["id"]]


LAYOUTS = ("one file", "ten files in another order", "gzip", "many ranges")
# In two worker processes test_engines.py runs every stage.
WAYS = [(layout, workers) for layout in LAYOUTS for workers in (1, 2, 4)] if FULL else [(one, 1) for one in LAYOUTS[1:]]


@pytest.mark.parametrize(("layout", "workers"), WAYS)
def test_the_bytes_do_not_depend_on_files_or_workers(
    layout: str,
    workers: int,
    expected: tuple[str, Manifest],
    lines: list[str],
    corpus_options: CorpusSettings,
    tokenizer_directory: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if layout == "one file":
        (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    elif layout == "ten files in another order":
        for number in range(10):
            (tmp_path / f"part-{9 - number}.jsonl").write_text("".join(lines[number::10]), encoding="utf-8")
    elif layout == "gzip":
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("".join(lines[::-1]).encode()))
    else:
        (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
        monkeypatch.setattr(read_module, "RANGE_BYTES", 2000)
        monkeypatch.setattr(read_module, "MAX_BATCH_DOCUMENTS", 3)
        monkeypatch.setattr("clozekit.pipelines.select_documents.PART_BYTES", 5000)
    reading = ReadSettings((f"{tmp_path}/*.jsonl*",))
    manifest, _ = prepare(
        reading, OPTIONS, tokenizer_directory, str(tmp_path / "out"), num_workers=workers, corpus=corpus_options
    )
    assert manifest.dataset_sha256 == expected[1].dataset_sha256
    assert manifest.counts == expected[1].counts


def test_one_percent_of_broken_records_of_every_kind_is_counted_exactly(
    tokenizer_directory: str, tmp_path: Path
) -> None:
    good = [json.dumps({"text": f"the cat sat on the mat {number}"}).encode() for number in range(990)]
    broken = [b'{"text": "\xff"}', b"{cut", b'{"body": "x"}', b'{"text": 5}', b'{"text": "' + b"x" * 50_000_000 + b'"}']
    empty = [b'{"text": ""}', b'{"text": " \\n"}']
    records = [*good, *broken, *broken[:4], *empty]
    random.Random(0).shuffle(records)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(records) + b"\n\n")
    options = PrepareSettings(sequence_length=32, validation_rate=0.0)
    reading = ReadSettings((str(path),), max_bad_rate=0.01)
    manifest, _ = prepare(reading, options, tokenizer_directory, str(tmp_path / "out"))
    counts = {name: number for name, number in manifest.counts.items() if number}
    assert counts == {
        "documents_in": 1001,
        "documents_train": 990,
        "pieces_train": 990,
        "dead_lettered": 9,
        "rejected_empty": 2,
    }
    letters = [
        json.loads(line) for line in next(tmp_path.glob("out/deadletter/part-00000-*.jsonl")).read_text().splitlines()
    ]
    assert sorted(letter["stage"] for letter in letters) == ["read"] * 9
    content = path.read_bytes()
    starts = {0, *(index + 1 for index, byte in enumerate(content[:100_000]) if byte == 10)}
    for letter in letters:
        assert letter["input"] == str(path)
        assert letter["offset"] in starts or letter["offset"] > 100_000
        assert "Traceback" in letter["traceback"]
    with pytest.raises(
        InputError, match=r"at most 0\.005 of all records .*, 9 of 1001 are; the first: .*a\.jsonl, line"
    ):
        prepare(ReadSettings((str(path),), max_bad_rate=0.005), options, tokenizer_directory, str(tmp_path / "other"))


def test_a_mixture_takes_its_sources_by_weight_and_prefers_the_first(tokenizer_directory: str, tmp_path: Path) -> None:
    def write(name: str, texts: list[str]) -> str:
        path = tmp_path / name
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return str(path)

    shared = [f"the cat sat on the mat and {word} {other}" for word in WORDS for other in WORDS]
    books = Source("books", (write("z.txt", shared),), 2.0)
    web = Source("web", (write("a.txt", [*shared, *(f"the dog ran {n}" for n in range(400))]),), 0.5)
    reading = ReadSettings(sources=(books, web), document_kind="line")
    options = PrepareSettings(sequence_length=32, validation_rate=0.1)
    corpus = CorpusSettings(deduplicate=DeduplicateSettings("exact"))
    out = tmp_path / "out"
    counts = prepare(reading, options, tokenizer_directory, str(out), corpus=corpus)[0].counts
    assert counts["documents_in"] == 2 * len(shared) + 400
    rejected, duplicates = counts["rejected_weight"], counts["duplicates_exact"]
    assert abs(rejected - (len(shared) + 400) / 2) < 50
    # What is left of the web's copies goes, the books' stay.
    lines = [json.loads(line) for line in next(out.glob("duplicates/part-00000-*.jsonl")).read_text().splitlines()]
    assert len(lines) == duplicates > 20
    assert {line["source"] for line in lines} == {"web"}
    total = counts["documents_train"] + counts["documents_validation"]
    assert total == counts["documents_in"] + counts["copies_added"] - rejected - duplicates
    # Each book once more, but for those in validation.
    assert 0.8 * len(shared) < counts["copies_added"] < len(shared)


def test_overwriting_with_other_settings_goes_on_where_it_was_killed(
    lines: list[str], tokenizer_directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clozekit.pipelines.rows import make_dataset

    (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    reading, out = ReadSettings((f"{tmp_path}/a.jsonl",)), str(tmp_path / "out")
    prepare(reading, OPTIONS, tokenizer_directory, out)
    other = PrepareSettings(sequence_length=32, validation_rate=0.2, num_shards=3)
    monkeypatch.setattr(make_dataset.CommitDataset, "process", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(reading, other, tokenizer_directory, out, overwrite=True)
    monkeypatch.undo()
    finished = {path: path.stat().st_mtime_ns for path in Path(out).glob("train-*-of-00003-*")}
    assert len(finished) == 3
    prepare(reading, other, tokenizer_directory, out, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in Path(out).glob("train-*")} == finished

"""Rows: several lengths in one pass, long documents cut or dropped, length bins, sentence pairs, all exactly."""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.manifest import Manifest, TokenizerInfo, read_manifest
from clozekit.pipelines.dataset.records import records_to_rows
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.export import export_dataset
from clozekit.pipelines.prepare import check_pairs, prepare, prepare_lengths
from clozekit.pipelines.rows.cut_documents import cut_pairs, cut_sentences, cut_words, pair_point, split_sentences
from clozekit.pipelines.rows.encode_documents import encode_pieces, encode_texts
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings, options_of_lengths
from clozekit.pipelines.verify import verify_dataset
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer

NUM_DOCUMENTS = 60


@pytest.fixture(scope="module")
def numbered_tokenizer() -> BertTokenizer:
    words = [*(f"d{n}" for n in range(NUM_DOCUMENTS)), *(f"w{n}" for n in range(40)), "."]
    return BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words], lowercase=True)


@pytest.fixture(scope="module")
def numbered(
    numbered_tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ReadSettings, str, dict[str, int]]:
    """Documents whose every sentence says which document it is of, and where: "D3 w0 ." is 3 tokens."""
    folder = tmp_path_factory.mktemp("numbered")
    numbered_tokenizer.save(folder / "tokenizer")
    num_sentences = {f"d{n}": 1 + (n * 7) % 24 for n in range(NUM_DOCUMENTS)}
    lines = [
        json.dumps({"id": name, "text": " ".join(f"{name.upper()} w{number} ." for number in range(count))})
        for name, count in num_sentences.items()
    ]
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return ReadSettings((str(folder / "a.jsonl"),)), str(folder / "tokenizer"), num_sentences


def documents_of(directory: str, manifest: Manifest, tokenizer: BertTokenizer) -> list[tuple[list[str], int, int]]:
    """(pieces of text, where the second segment begins or 0, pair label or 0) of each packed document."""
    found = []
    for split in manifest.splits.values():
        for shard in split.shards:
            with open(f"{directory}/{shard.name}", "rb") as stream:
                rows = records_to_rows(list(read_records(stream, shard.name))).to_pylist()
            for row in rows:
                assert len(row["token_ids"]) <= manifest.sequence_length
                start = 0
                nothing = [0] * len(row["document_lengths"])
                points, labels = row.get("segment_lengths", nothing), row.get("pair_labels", nothing)
                for length, point, label in zip(row["document_lengths"], points, labels, strict=True):
                    ids = row["token_ids"][start : start + length]
                    found.append(([tokenizer.id_to_token(i) for i in ids], point, label))
                    start += length
    return found


def sentences_of(pieces: list[str]) -> list[tuple[str, ...]]:
    """The sentences of three tokens that a segment is made of."""
    assert len(pieces) % 3 == 0
    return [tuple(pieces[start : start + 3]) for start in range(0, len(pieces), 3)]


@given(st.text(alphabet='aB.!? \n\u3002")', max_size=60))
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(split_sentences(text)) == text


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three", ["One.", " Two!", " Three"]),
        ('He said "Go." Then e.g. this.', ['He said "Go."', " Then e.g. this."]),
        ("Version 3.11 is out.\nNew line", ["Version 3.11 is out.", "\nNew line"]),
        ("Title\n\nText", ["Title", "\n\nText"]),
        ("\u4f60\u597d\u3002\u518d\u89c1\u3002", ["\u4f60\u597d\u3002", "\u518d\u89c1\u3002"]),
        ("", []),
    ],
)
def test_known_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_a_text_has_the_same_ids_cut_into_sentences(tokenizer: BertTokenizer) -> None:
    byte_level = RobertaTokenizer(
        {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *_byte_pieces()])}, [("a", "t")]
    )
    text = 'The cat sat. "The dog ran!" Then it was  happy.\n\nA mat'
    for one in (tokenizer, byte_level):
        whole = one.encode_batch([text]).token_ids.tolist()
        assert one.encode_batch(split_sentences(text)).token_ids.tolist() == whole


def _byte_pieces() -> list[str]:
    from clozekit.tokenizers.byte_pair import byte_characters

    return [*byte_characters(), "at"]


def test_sentences_fill_pieces() -> None:
    assert cut_sentences([3, 0, 3, 5, 1], 6) == [[3, 3], [5, 1]]
    assert cut_sentences([2, 14, 3], 6) == [[2], [6], [6], [2, 3]]
    assert cut_sentences([], 6) == []


def words(*lengths: int) -> np.ndarray:
    """Where words of so many tokens begin."""
    return np.concatenate([np.arange(length) == 0 for length in lengths])


def test_a_pair_is_divided_between_sentences_that_fit_or_between_words() -> None:
    assert {pair_point([2, 3, 4], 8, choice, words(*[1] * 9)) for choice in range(4)} == {2, 5}
    assert {pair_point([2, 3, 4], 6, choice, words(*[1] * 9)) for choice in range(4)} == {5}
    assert pair_point([7], 6, 3, words(*[1] * 7)) == 3
    assert pair_point([7], 6, 3, words(2, 3, 2)) == 2
    assert pair_point([7], 6, 3, words(1, 3, 3)) == 4
    assert pair_point([1, 9], 6, 3, words(*[1] * 10)) == 5
    # A word has no second segment, and so has what no place divides into two that fit.
    assert pair_point([7], 6, 3, words(7)) == 7
    assert pair_point([1], 6, 3, words(1)) == 1
    assert pair_point([10], 5, 3, words(4, 6)) == 10


def test_long_sentences_are_cut_between_words() -> None:
    assert cut_words(words(2, 3, 2, 4), 6) == [5, 6]
    assert cut_words(words(9, 2), 4) == [4, 4, 1 + 2]
    assert cut_words(words(3), 4) == [3]
    assert cut_sentences([2, 7, 3], 6, words(2, 3, 2, 2, 3)) == [[2], [5], [2, 3]]
    assert cut_pairs([2, 7, 3], 6, words(2, 3, 2, 2, 3)) == [[2, 5], [2, 3]]


@pytest.mark.parametrize("kind", ["next", "order"])
def test_no_segment_begins_inside_a_word(kind: str) -> None:
    letters = "abcdefgh"
    tokenizer = BertTokenizer(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters, *(f"##{c}" for c in letters)]
    )
    dice = random.Random(0)
    # Sentences of a few tokens, and some longer than a row.
    texts = [
        " ".join("".join(dice.choices(letters, k=dice.randint(1, 6))) + dice.choice(["", "", ". A"]) for _ in range(n))
        for n in range(1, 60)
    ]
    options = PrepareSettings(sequence_length=32, pairs=kind)
    documents = pa.RecordBatch.from_pydict({"id": [str(n) for n in range(59)], "validation": [False] * 59})
    encoded = encode_texts(pa.array(texts), tokenizer, True)
    pieces = encode_pieces(documents, encoded, tokenizer, options).pieces
    rows = zip(
        *(pieces.column(name).to_pylist() for name in ("token_ids", "segment_length", "pair_label")), strict=True
    )
    inside = {tokenizer.token_to_id(f"##{letter}") for letter in letters}
    labels = []
    for ids, point, label in rows:
        assert len(ids) <= 32
        assert ids[1] not in inside
        assert point == len(ids) if label < 0 else ids[point] not in inside
        assert max(point - 2, len(ids) - point - 1) <= options.longest_segment or label < 0
        labels.append(label)
    assert sorted(
        ids for piece in pieces.column("token_ids").to_pylist() for ids in piece if ids not in (2, 3)
    ) == sorted(encoded.token_ids.tolist())
    assert min(labels.count(0), labels.count(1)) > 8 * labels.count(-1)


@pytest.mark.slow
def test_several_lengths_are_what_builds_of_one_length_are(
    corpus: Path, tokenizer_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prepare", "--input", str(corpus), "--tokenizer", tokenizer_directory, "--num-shards", "3"]
    assert main([*arguments, "--output", str(tmp_path / "all"), "--sequence-length", "32", "64"]) == 0
    assert str(tmp_path / "all" / "64") in capsys.readouterr().out
    for length in (32, 64):
        assert main([*arguments, "--output", str(tmp_path / f"{length}"), "--sequence-length", str(length)]) == 0
        alone, together = (read_manifest(str(tmp_path / name)) for name in (f"{length}", f"all/{length}"))
        assert (alone.dataset_sha256, alone.splits, alone.counts) == (
            together.dataset_sha256,
            together.splits,
            together.counts,
        )
        assert verify_dataset(str(tmp_path / f"all/{length}")).problems == ()
    # Run again, only what is missing is made.
    (tmp_path / "all/64/manifest.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "all/32").iterdir()}
    options = PrepareSettings(num_shards=3)
    results = prepare_lengths(
        ReadSettings((str(corpus),)), options, [32, 64], tokenizer_directory, str(tmp_path / "all")
    )
    assert [built for _, built in results.values()] == [False, True]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "all/32").iterdir()}
    with pytest.raises(InputError, match="which holds a dataset itself; pass another --output"):
        prepare_lengths(ReadSettings((str(corpus),)), options, [32, 64], tokenizer_directory, str(tmp_path / "32"))


def test_long_documents_are_cut_between_sentences(
    numbered: tuple[ReadSettings, str, dict[str, int]], numbered_tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    reading, tokenizer, num_sentences = numbered
    options = PrepareSettings(sequence_length=24, long_documents="sentences")
    manifest, _ = prepare(reading, options, tokenizer, str(tmp_path))
    found: Counter[tuple[str, ...]] = Counter()
    for pieces, _, _ in documents_of(str(tmp_path), manifest, numbered_tokenizer):
        assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")
        found.update(sentences_of(pieces[1:-1]))
    assert found == {(d, f"w{number}", "."): 1 for d, count in num_sentences.items() for number in range(count)}


def test_long_documents_are_dropped_and_counted(
    numbered: tuple[ReadSettings, str, dict[str, int]], numbered_tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    reading, tokenizer, num_sentences = numbered
    options = PrepareSettings(sequence_length=32, long_documents="drop")
    manifest, _ = prepare(reading, options, tokenizer, str(tmp_path / "whole"))
    kept = {pieces[1] for pieces, _, _ in documents_of(str(tmp_path / "whole"), manifest, numbered_tokenizer)}
    assert kept == {name for name, count in num_sentences.items() if 3 * count + 2 <= 32}
    assert manifest.counts["rejected_too_long"] == NUM_DOCUMENTS - len(kept)
    with pytest.raises(InputError, match="rows of 9 tokens must hold at least one document, none has that length"):
        prepare_lengths(reading, PrepareSettings(packing="none"), [8, 9, 100], tokenizer, str(tmp_path / "bins"))


def test_without_packing_every_document_is_in_the_bin_of_its_length(
    numbered: tuple[ReadSettings, str, dict[str, int]], numbered_tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    reading, tokenizer, num_sentences = numbered
    results = prepare_lengths(reading, PrepareSettings(packing="none"), [16, 32, 64], tokenizer, str(tmp_path))
    lengths: Counter[int] = Counter()
    for (directory, (manifest, _)), shortest in zip(results.items(), (0, 16, 32), strict=True):
        documents = documents_of(directory, manifest, numbered_tokenizer)
        assert sum(split.rows for split in manifest.splits.values()) == len(documents)
        assert all(shortest < len(pieces) <= manifest.sequence_length for pieces, _, _ in documents)
        lengths.update(len(pieces) for pieces, _, _ in documents)
        kept = manifest.counts.get("documents_train", 0) + manifest.counts.get("documents_validation", 0)
        assert kept + manifest.counts["documents_of_other_lengths"] == NUM_DOCUMENTS
    expected: Counter[int] = Counter()
    for count in num_sentences.values():
        full, rest = divmod(3 * count, 62)
        expected.update([64] * full + ([rest + 2] if rest else []))
    assert lengths == expected


@pytest.mark.parametrize("kind", ["next", "order"])
def test_pairs_are_what_bert_and_albert_learned_from(
    kind: str, numbered: tuple[ReadSettings, str, dict[str, int]], numbered_tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    reading, tokenizer, num_sentences = numbered
    options = PrepareSettings(sequence_length=32, pairs=kind, validation_rate=0.0)
    manifest, _ = prepare(reading, options, tokenizer, str(tmp_path / "out"))
    assert manifest.settings["prepare"]["pairs"] == kind
    assert manifest.has_pairs
    labels: Counter[int] = Counter()
    for pieces, point, label in documents_of(str(tmp_path / "out"), manifest, numbered_tokenizer):
        first, second = pieces[:point], pieces[point:]
        assert (first[0], first[-1], second[-1]) == ("[CLS]", "[SEP]", "[SEP]")
        a, b = first[1:-1], second[:-1]
        labels[label] += 1
        owners = [{word for word in part if word.startswith("d")} for part in (a, b)]
        places = [[int(word[1:]) for word in part if word.startswith("w")] for part in (a, b)]
        if kind == "next" and label == 1:
            assert not owners[0] & owners[1]
        elif places[0] and places[1]:
            assert len(owners[0] | owners[1]) == 1
            assert (max(places[0]) < min(places[1])) == (label == 0)
    total = sum(labels.values())
    assert set(labels) == {0, 1}
    assert abs(labels[1] / total - 0.5) < 0.15
    # Nothing was lost or doubled by exchanging and swapping.
    words = Counter(
        word for pieces, _, _ in documents_of(str(tmp_path / "out"), manifest, numbered_tokenizer) for word in pieces
    )
    assert words["."] == sum(num_sentences.values())
    assert {name: words[name] for name in num_sentences} == num_sentences
    assert verify_dataset(str(tmp_path / "out")).problems == ()
    again, _ = prepare(reading, options, tokenizer, str(tmp_path / "again"), num_workers=2 if kind == "next" else 1)
    assert again.dataset_sha256 == manifest.dataset_sha256


def test_exported_pairs_have_their_segments(numbered: tuple[ReadSettings, str, dict[str, int]], tmp_path: Path) -> None:
    reading, tokenizer, _ = numbered
    options = PrepareSettings(sequence_length=32, pairs="order", validation_rate=0.0)
    manifest, _ = prepare(reading, options, tokenizer, str(tmp_path / "out"))
    export_dataset(str(tmp_path / "out"), str(tmp_path / "padded"), "padded")
    line = json.loads((tmp_path / "padded/_export.json").read_text())["read_with"]
    paths = sorted(map(str, (tmp_path / "padded").glob("*.tfrecord")))
    records = tf.constant(list(tf.data.TFRecordDataset(paths).as_numpy_iterator()))
    parsed = {name: value.numpy() for name, value in eval(line, {"tf": tf, "records": records}).items()}
    assert {name: value.shape[1:] for name, value in parsed.items() if name != "row_id"} == dict.fromkeys(
        ["document_ids", "padding_mask", "pair_labels", "positions", "segment_ids", "token_ids"], (32,)
    )
    # The second segment ends where its document does, and begins behind an end token.
    starts = np.argwhere((parsed["segment_ids"][:, 1:] == 1) & (parsed["segment_ids"][:, :-1] == 0))
    assert {int(parsed["token_ids"][row, place]) for row, place in starts} == {3}
    firsts = (parsed["positions"] == 0) & (parsed["padding_mask"] == 1)
    assert set(parsed["pair_labels"][firsts].tolist()) <= {-1, 0, 1}
    assert set(parsed["pair_labels"][~firsts].tolist()) == {-1}
    pairs = int((parsed["pair_labels"][firsts] >= 0).sum())
    assert pairs == len(starts) == manifest.splits["train"].pieces


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrepareSettings(pairs="both"), "pairs must be one of none, next, order, got 'both'"),
        (lambda: PrepareSettings(long_documents="cut"), "long_documents must be one of tokens, sentences, drop"),
        (lambda: PrepareSettings(max_documents_per_row=0), "max_documents_per_row must be at least 1, got 0"),
        (lambda: PrepareSettings(packing="none", max_documents_per_row=2), "max_documents_per_row is for packed rows"),
        (lambda: options_of_lengths(PrepareSettings(), [128, 128]), "every sequence length must be another"),
        (
            lambda: options_of_lengths(PrepareSettings(packing="none", pairs="next"), [64, 128]),
            "pairs of the kind next are exchanged among rows of one length",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        make()


def test_pairs_are_refused_for_families_without_them() -> None:
    roberta = TokenizerInfo("RobertaTokenizer", "", 5, {"start_token": 0, "end_token": 2})
    check_pairs(PrepareSettings(), roberta)
    with pytest.raises(InputError, match="got RobertaTokenizer; leave --pairs out"):
        check_pairs(PrepareSettings(pairs="next"), roberta)

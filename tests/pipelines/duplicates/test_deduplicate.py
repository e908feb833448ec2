"""Deduplication: the groups, the clusters and who survives, against slow and independent computations."""

import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to

from clozekit.pipelines.dataset.list_columns import list_column
from clozekit.pipelines.duplicates import near_pairs
from clozekit.pipelines.duplicates.components import CombineComponents, connected_components
from clozekit.pipelines.duplicates.deduplicate import Deduplicate
from clozekit.pipelines.duplicates.duplicate_groups import Found, Verdict, cluster_verdicts, label_members
from clozekit.pipelines.duplicates.words import fold_texts, hash_ngrams, hash_words, minhash_bands, text_hashes
from clozekit.pipelines.rows.split import SplitDocuments, is_validation
from clozekit.pipelines.running.documents import make_batch
from clozekit.pipelines.running.runners import LOCAL_RUNNER
from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings

WORDS = [f"{first}{second}" for first in "bcdfgklmnprst" for second in ("an", "el", "ist", "orn", "um")]


def texts_array(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def slow_components(edges: list[tuple[int, int]]) -> dict[int, int]:
    neighbours: dict[int, set[int]] = {}
    for one, other in edges:
        neighbours.setdefault(one, set()).add(other)
        neighbours.setdefault(other, set()).add(one)
    labels: dict[int, int] = {}
    for start in sorted(neighbours):
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if node not in labels:
                labels[node] = start
                waiting += neighbours[node]
    return labels


@pytest.mark.parametrize("num_edges", [0, 1, 30, 60, 120])
@pytest.mark.parametrize("seed", range(5))
def test_components_of_random_graphs(num_edges: int, seed: int) -> None:
    dice = random.Random(seed)
    edges = [(dice.randrange(80), dice.randrange(80)) for _ in range(num_edges)]
    edges = [(one, other) for one, other in edges if one != other]
    first, second = (np.array([edge[side] for edge in edges], np.uint64) for side in (0, 1))
    nodes, labels = connected_components(first, second)
    assert dict(zip(nodes.tolist(), labels.tolist(), strict=True)) == slow_components(edges)


def test_a_chain_of_a_hundred_thousand_is_one_component_however_it_is_combined() -> None:
    names = np.random.default_rng(0).permutation(100_001).astype(np.uint64)
    combine = CombineComponents()
    accumulators = [combine.create_accumulator() for _ in range(7)]
    for start in range(0, 100_000, 1000):
        turn = start // 1000 % 7
        edges = (names[start : start + 1000], names[start + 1 : start + 1001])
        accumulators[turn] = combine.add_input(accumulators[turn], edges)
    merged = combine.merge_accumulators([combine.compact(accumulator) for accumulator in accumulators])
    nodes, labels = combine.extract_output(merged)
    assert np.array_equal(nodes, np.arange(100_001))
    assert not labels.any()


def test_folding_and_words() -> None:
    folded = fold_texts(
        texts_array(["H\u00e9llo,\t\n WORLD ", "\uff21\uff22 \ufb01 \u0130", "\u65e5\u672c go!", "", "...", "e\u0301"])
    )
    texts = [
        bytes(folded.data[start:end]).decode()
        for start, end in zip(folded.offsets[:-1], folded.offsets[1:], strict=True)
    ]
    assert texts == ["h\u00e9llo, world", "ab fi \u0130", "\u65e5\u672c go!", "", "...", "\u00e9"]
    words = hash_words(folded)
    assert words.counts.tolist() == [2, 3, 3, 0, 0, 1]
    same = hash_words(fold_texts(texts_array(["world hello", "(hello) WORLD"]))).hashes.tolist()
    assert same[:2] == same[3:1:-1]
    assert hash_ngrams(words, 2, 1).counts.tolist() == [1, 2, 2, 0, 0, 1]
    assert hash_ngrams(words, 2, 2).counts.tolist() == [1, 2, 2, 0, 0, 0]
    hashes = text_hashes(folded)
    assert len({tuple(row) for row in hashes.tolist()}) == 6


def make_near_documents(num_originals: int, seed: int) -> list[str]:
    """Documents of 120 words, each with copies in which a share of the words was replaced."""
    dice = random.Random(seed)
    documents = []
    for _ in range(num_originals):
        words = dice.choices(WORDS, k=120)
        documents.append(" ".join(words))
        for rate in (0.01, 0.03, 0.06, 0.2):
            documents.append(" ".join(dice.choice(WORDS) if dice.random() < rate else word for word in words))
    return documents


def shingle_set(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def test_pairs_are_found_as_often_as_their_similarity_says() -> None:
    documents = make_near_documents(100, seed=1)
    shingles = hash_ngrams(hash_words(fold_texts(texts_array(documents))), 5, 1)
    bands = minhash_bands(shingles, 14, 8)
    sets = [shingle_set(text) for text in documents]
    expected = found = close = close_found = far_found = 0.0
    for group in range(0, len(documents), 5):
        for one, other in combinations(range(group, group + 5), 2):
            similarity = len(sets[one] & sets[other]) / len(sets[one] | sets[other])
            is_found = bool((bands[one] == bands[other]).any())
            expected += 1 - (1 - similarity**8) ** 14
            found += is_found
            close += similarity >= 0.85
            close_found += is_found and similarity >= 0.85
            far_found += is_found and similarity < 0.4
    assert abs(found - expected) < 0.06 * expected
    assert close > 50
    assert close_found / close >= 0.97
    assert far_found / found < 0.02
    strangers = [(bands[one] == bands[other]).any() for one, other in combinations(range(0, len(documents), 5), 2)]
    assert not any(strangers)


def slow_pairs(bands: list[int], numbers: list[int], most: int) -> tuple[set[frozenset[int]], set[int]]:
    """Pairs of each band and the crowded documents; the number is the order."""
    groups: dict[int, set[int]] = {}
    for band, number in zip(bands, numbers, strict=True):
        groups.setdefault(band, set()).add(number)
    pairs, crowded = set(), set()
    for group in groups.values():
        if len(group) > most:
            crowded |= group
            pairs |= {frozenset((min(group), other)) for other in group - {min(group)}}
        else:
            pairs |= {frozenset(pair) for pair in combinations(group, 2)}
    return pairs, crowded


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most", [1, 3, 64])
def test_each_pair_of_a_band_is_compared_once_and_of_a_crowded_one_a_star(
    seed: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_pairs, "MAX_COMPARED", most)
    dice = random.Random(seed)
    rows = sorted({(dice.randrange(12), number) for number in range(30) for _ in range(4)})
    dice.shuffle(rows)
    bands, numbers = [band for band, _ in rows], [number for _, number in rows]
    # Numbered otherwise, the same documents make the same pairs.
    for renumbered in (lambda number: number, lambda number: 7 * number % 31):
        columns = {"band": bands, "number": [renumbered(number) for number in numbers], "order": numbers}
        batch = pa.RecordBatch.from_pydict({name: pa.array(values, pa.uint64()) for name, values in columns.items()})
        (first, second), crowded = near_pairs.candidate_pairs(batch)
        pairs, expected_crowded = slow_pairs(bands, numbers, most)
        found = [frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)]
        assert len(set(found)) == len(found)
        assert set(found) == {frozenset(map(renumbered, pair)) for pair in pairs}
        assert set(crowded.tolist()) == set(map(renumbered, expected_crowded))
    none = near_pairs.candidate_pairs(batch.slice(0, 0))
    assert [len(side) for side in (*none.pairs, none.crowded)] == [0, 0, 0]


def test_similarities_of_sets_are_exact() -> None:
    dice = np.random.default_rng(3)
    lists = [
        dice.integers(0, 2**32, 40).astype(np.uint32)[dice.integers(0, 40, size)] for size in (0, 1, 5, 60, 60, 90)
    ]
    lists[4][:50] = lists[3][:50]
    lengths = np.array([len(values) for values in lists])
    numbers = np.array([9, 4, 7, 1, 3, 8], np.uint64)
    shingles = pa.RecordBatch.from_pydict(
        {"number": pa.array(numbers), "shingles": list_column(np.concatenate(lists), lengths)}
    )
    sets = near_pairs.make_sets(shingles, np.array([1, 3, 4, 7, 9], np.uint64))
    assert sets.column("number").to_pylist() == [9, 4, 7, 1, 3]
    assert [sorted(set(values.tolist())) for values in lists[:5]] == sets.column("shingles").to_pylist()
    pairs = list(combinations((1, 3, 4, 7, 9), 2))
    found = near_pairs.similarities(tuple(np.array(side, np.uint64) for side in zip(*pairs, strict=True)), sets)
    by_number = {number: set(values.tolist()) for number, values in zip(numbers.tolist(), lists, strict=True)}
    for (one, other), similarity in zip(pairs, found.tolist(), strict=True):
        both = by_number[one] | by_number[other]
        assert similarity == (len(by_number[one] & by_number[other]) / len(both) if both else 0)


def run_deduplicate(
    rows: list[tuple[str, str, int]],
    kind: str,
    batch_size: int,
    num_parts: int,
    directory: Path,
    min_similarity: float = 0.75,
) -> dict[str, bool]:
    """Id -> validation of what is kept of (id, text, source) rows, in batches of `batch_size`."""
    dice = random.Random(batch_size)
    rows = dice.sample(rows, len(rows))
    batches = [
        make_batch(
            range(start, start + len(part)),
            [row[0] for row in part],
            [row[1] for row in part],
            [row[2] for row in part],
            [0] * len(part),
        )
        for start in range(0, len(rows), batch_size)
        for part in [rows[start : start + batch_size]]
    ]
    path = directory / f"kept-{kind}-{batch_size}-{len(rows)}.jsonl"

    def note(batch: pa.RecordBatch) -> None:
        with open(path, "a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in batch.select(["id", "validation"]).to_pylist())

    with beam.Pipeline(runner=LOCAL_RUNNER) as root:
        deduplicated = (
            root
            | beam.Create(batches)
            | SplitDocuments(0, 0.5)
            | Deduplicate(DeduplicateSettings(kind, min_similarity=min_similarity), num_parts, ["a", "b"], ["file"])
        )
        _ = deduplicated.documents | beam.Map(note)
    kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in kept}) == len(kept)
    return {row["id"]: row["validation"] for row in kept}


@pytest.mark.parametrize(("batch_size", "num_parts"), [(1000, 1), (1, 1), (7, 5)])
def test_the_smallest_source_and_id_survives_and_train_absorbs_a_cluster(
    batch_size: int, num_parts: int, tmp_path: Path
) -> None:
    chain = [" ".join(WORDS[start : start + 60]) for start in range(6)]
    rows = [
        ("b", "One  two THREE", 1),
        ("c", "one two three", 0),
        ("d", "one two three!", 0),
        *((f"chain-{9 - number}", text, 0) for number, text in enumerate(chain)),
        ("alone", "something else entirely", 0),
        ("empty-1", "...", 0),
        ("empty-2", "!!!", 0),
    ]
    exact = run_deduplicate(rows, "exact", batch_size, num_parts, tmp_path)
    assert exact.keys() == {row[0] for row in rows} - {"b"}
    assert exact["c"] == (is_validation("b", 0, 0.5) and is_validation("c", 0, 0.5))
    near = run_deduplicate(rows, "near", batch_size, num_parts, tmp_path)
    assert near.keys() == {"c", "chain-4", "alone", "empty-1", "empty-2"}
    assert near["chain-4"] == all(is_validation(f"chain-{number}", 0, 0.5) for number in range(4, 10))
    assert near["alone"] == is_validation("alone", 0, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("most", [64, 3])
def test_new_documents_never_move_a_text_from_train_to_validation(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Also where bands are too crowded to compare each with each.
    monkeypatch.setattr(near_pairs, "MAX_COMPARED", most)
    documents = make_near_documents(20, seed=2)
    rows = [(f"{(37 * number) % 100:03d}", text, 0) for number, text in enumerate(documents)]
    before = run_deduplicate(rows[::2], "near", 50, 2, tmp_path)
    after = run_deduplicate(rows, "near", 50, 2, tmp_path)
    assert before and after
    for identifier, validation in after.items():
        assert not (validation and before.get(identifier) is False)
    everything = dict((row[0], row[1]) for row in rows)
    trained = [shingle_set(everything[identifier]) for identifier, validation in before.items() if not validation]
    for identifier, validation in after.items():
        if validation:
            own = shingle_set(everything[identifier])
            assert all(len(own & other) / len(own | other) < 0.85 for other in trained)


def test_a_document_of_a_crowded_band_is_kept_but_never_validation() -> None:
    rows = {
        "number": pa.array([4, 5, 6, 7], pa.uint64()),
        "batch": pa.array([4, 4, 4, 4], pa.uint64()),
        "source": pa.array([0] * 4, pa.int32()),
        "id": pa.array(list("abcd")),
        "content": pa.array([1, 2, 3, 4], pa.uint64()),
        "validation": pa.array([True, True, True, False]),
        "first": pa.array([True] * 4),
    }
    nothing = np.zeros(0, np.uint64)
    # b and c are duplicates, a and b and d crowded: a was compared with nobody it is like.
    found = Found(
        (np.array([5, 6], np.uint64), np.array([5, 5], np.uint64)),
        (np.array([5, 6], np.uint64), np.array([0.8, 0.8])),
        np.array([4, 5, 7], np.uint64),
    )
    labelled = label_members(pa.RecordBatch.from_pydict(rows), found)
    assert cluster_verdicts(labelled) == {
        4: [Verdict(4, None, "near", False), Verdict(5, None, "near", False, 0.8), Verdict(6, "b", "near", False, 0.8)]
    }
    assert (
        label_members(pa.RecordBatch.from_pydict(rows), Found((nothing, nothing), (nothing, nothing), nothing)).num_rows
        == 0
    )


def similarity_of(one: str, other: str) -> float:
    return len(shingle_set(one) & shingle_set(other)) / len(shingle_set(one) | shingle_set(other))


@pytest.mark.parametrize(("min_similarity", "num_parts"), [(0.75, 3), (0.6, 1), (0.0, 1)])
def test_near_duplicates_are_as_similar_as_asked_and_say_how_much(min_similarity: float, num_parts: int) -> None:
    dice = random.Random(7)
    originals = [dice.choices(WORDS, k=120) for _ in range(80)]
    # Each and a copy in which some words are others.
    pairs = [
        (" ".join(words), " ".join(dice.choice(WORDS) if dice.random() < 0.05 else word for word in words))
        for words in originals
    ]
    expected, unlike = {}, 0
    for number, (one, other) in enumerate(pairs):
        bands = minhash_bands(hash_ngrams(hash_words(fold_texts(texts_array([one, other]))), 5, 1), 14, 8)
        if (bands[0] == bands[1]).any():
            if similarity_of(one, other) >= min_similarity:
                similarity = {"similarity": round(similarity_of(one, other), 4)} if min_similarity else {}
                expected[f"b-{number:02d}"] = {"kind": "near", "kept": f"a-{number:02d}", **similarity}
            unlike += similarity_of(one, other) < 0.75
    assert unlike > 3 and len(expected) > 10
    texts = [text for pair in pairs for text in pair]
    names = [f"{side}-{number:02d}" for number in range(len(pairs)) for side in "ab"]
    batch = make_batch(range(len(texts)), names, texts, [0] * len(texts), [0] * len(texts))

    def fields(side: Any) -> list[tuple[str, dict[str, Any]]]:
        rows = [json.loads(line) for line in side.lines.splitlines()]
        return [(row["id"], {k: v for k, v in row.items() if k in ("kind", "kept", "similarity")}) for row in rows]

    with beam.Pipeline(runner=LOCAL_RUNNER) as root:
        outputs = (
            root
            | beam.Create([batch])
            | SplitDocuments(0, 0.0)
            | Deduplicate(DeduplicateSettings("near", min_similarity=min_similarity), num_parts, ["web"], ["f.txt"])
        )
        assert_that(outputs.side_lines | beam.FlatMap(fields), equal_to(list(expected.items())))


def test_duplicates_say_which_document_was_kept() -> None:
    batch = make_batch([0, 1, 2], ["b", "a", "c"], ["x y", "X  y", "z"], [0, 0, 0], [0, 4, 9])
    with beam.Pipeline(runner=LOCAL_RUNNER) as root:
        outputs = (
            root
            | beam.Create([batch])
            | SplitDocuments(0, 0.0)
            | Deduplicate(DeduplicateSettings("near"), 1, ["web"], ["f.txt"])
        )
        lines = outputs.side_lines | beam.Map(lambda side: (side.folder, side.lines))
        expected = b'{"id": "b", "source": "web", "input": "f.txt", "offset": 0, "kind": "exact", "kept": "a"}\n'
        assert_that(lines, equal_to([("duplicates", expected)]))

"""Deduplication: the groups, the clusters and who survives, against slow and independent computations."""

import json
import random
from itertools import combinations
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to

from clozekit.pipelines.components import CombineComponents, connected_components
from clozekit.pipelines.corpus_options import DeduplicateOptions
from clozekit.pipelines.deduplicate import Deduplicate
from clozekit.pipelines.documents import make_batch
from clozekit.pipelines.runners import LOCAL_RUNNER
from clozekit.pipelines.split import SplitDocuments, is_validation
from clozekit.pipelines.words import fold_texts, hash_ngrams, hash_words, minhash_bands, text_hashes

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


def run_deduplicate(
    rows: list[tuple[str, str, int]], kind: str, batch_size: int, num_parts: int, directory: Path
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
            | Deduplicate(DeduplicateOptions(kind), num_parts, ["a", "b"], ["file"])
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


def test_new_documents_never_move_a_text_from_train_to_validation(tmp_path: Path) -> None:
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


def test_duplicates_say_which_document_was_kept() -> None:
    batch = make_batch([0, 1, 2], ["b", "a", "c"], ["x y", "X  y", "z"], [0, 0, 0], [0, 4, 9])
    with beam.Pipeline(runner=LOCAL_RUNNER) as root:
        outputs = (
            root
            | beam.Create([batch])
            | SplitDocuments(0, 0.0)
            | Deduplicate(DeduplicateOptions("near"), 1, ["web"], ["f.txt"])
        )
        lines = outputs.side_lines | beam.Map(lambda side: (side.folder, side.lines))
        expected = b'{"id": "b", "source": "web", "input": "f.txt", "offset": 0, "kind": "exact", "kept": "a"}\n'
        assert_that(lines, equal_to([("duplicates", expected)]))

"""Splitting: the asked rate for documents without duplicates, the power of it for clusters, and nobody moves back."""

import numpy as np
import pyarrow as pa
import pytest

from clozekit.pipelines.duplicates.duplicate_groups import Groups
from clozekit.pipelines.rows.split import add_split, is_validation
from clozekit.pipelines.running.documents import make_batch

NAMES = [f"doc-{number}" for number in range(40_000)]


def drawn(rate: float, seed: int) -> np.ndarray:
    return np.array([is_validation(name, seed, rate) for name in NAMES])


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_a_higher_rate_takes_the_same_documents_and_more(seed: int) -> None:
    rates = (0.0, 0.001, 0.01, 0.1, 0.5, 1.0)
    shares = [drawn(rate, seed) for rate in rates]
    for lower, higher in zip(shares, shares[1:], strict=False):
        assert not (lower & ~higher).any()
    for rate, share in zip(rates, shares, strict=True):
        # Four standard deviations of a binomial draw.
        assert abs(share.mean() - rate) <= 4 * (rate * (1 - rate) / len(NAMES)) ** 0.5


def test_a_draw_depends_on_nothing_but_id_and_seed() -> None:
    batch = make_batch(range(500), NAMES[:500], ["x"] * 500, [0] * 500, [0] * 500)
    whole = add_split(batch, 3, 0.3).column("validation").to_pylist()
    assert whole == [add_split(batch.slice(row, 1), 3, 0.3).column("validation")[0].as_py() for row in range(500)]
    assert whole == drawn(0.3, 3)[:500].tolist() != drawn(0.3, 4)[:500].tolist()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_cluster_is_validation_at_the_rate_to_the_power_of_its_ids(size: int) -> None:
    own = drawn(0.3, 0)
    rows = pa.RecordBatch.from_pydict({"validation": pa.array(own)})
    clusters = Groups(rows, np.arange(len(NAMES)) // size * size).validation()[::size]
    expected = 0.3**size
    assert abs(clusters.mean() - expected) <= 4 * (expected * (1 - expected) / len(clusters)) ** 0.5
    # Without its last document the cluster was validation at least then.
    before = own[::size] if size > 1 else clusters
    assert not (clusters & ~before).any()


def test_equal_texts_without_a_key_are_one_draw() -> None:
    batch = make_batch([0, 1, 2], [None, None, "key"], ["same", "same", "same"], [0] * 3, [0, 9, 20])
    split = [add_split(batch, seed, 0.5).column("validation").to_pylist() for seed in range(64)]
    assert all(one == other for one, other, _ in split)
    assert any(one != key for one, _, key in split)

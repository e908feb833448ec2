"""Connected components of a graph given as pairs of nodes, exactly, however long its chains are."""

from collections.abc import Iterable

import apache_beam as beam
import numpy as np

Edges = tuple[np.ndarray, np.ndarray]

# An accumulator folds its waiting edges together when there are so many, so that it never holds more than the nodes.
_MAX_WAITING = 1_000_000


def connected_components(first: np.ndarray, second: np.ndarray) -> Edges:
    """(nodes, labels): every node of the edges once, sorted, and the smallest node of its component.

    first, second: uint64 (num_edges,). Every root hooks onto its smallest neighbouring root, then all paths are
    compressed, until no edge joins two roots (Shiloach and Vishkin 1982): about log2 of the nodes rounds.
    """
    nodes, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    left, right = places[: len(first)], places[len(first) :]
    labels = np.arange(len(nodes))
    while True:
        low, high = np.minimum(labels[left], labels[right]), np.maximum(labels[left], labels[right])
        apart = low != high
        if not apart.any():
            return nodes, nodes[labels]
        left, right = low[apart], high[apart]
        np.minimum.at(labels, right, left)
        while (labels[labels] != labels).any():
            labels = labels[labels]


def _star_edges(edges: list[Edges]) -> list[Edges]:
    """The same components with an edge a node: from each to the smallest of its component."""
    if not edges:
        return []
    nodes, labels = connected_components(*(np.concatenate(side) for side in zip(*edges, strict=True)))
    apart = nodes != labels
    return [(nodes[apart], labels[apart])]


class CombineComponents(beam.CombineFn):
    """Edges -> (nodes, labels) of all components.

    Its last step holds 16 bytes for every node that has an edge in one worker: 1.6 GB for 100 million of them.
    """

    def create_accumulator(self) -> list[Edges]:
        return []

    def add_input(self, accumulator: list[Edges], edges: Edges) -> list[Edges]:
        accumulator.append(edges)
        if sum(len(first) for first, _ in accumulator[1:]) > _MAX_WAITING:
            return _star_edges(accumulator)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[Edges]]) -> list[Edges]:
        merged: list[Edges] = []
        for accumulator in accumulators:
            merged = _star_edges(merged + accumulator)
        return merged

    def compact(self, accumulator: list[Edges]) -> list[Edges]:
        return _star_edges(accumulator)

    def extract_output(self, accumulator: list[Edges]) -> Edges:
        if not accumulator:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        return connected_components(*(np.concatenate(side) for side in zip(*accumulator, strict=True)))

"""Summing counts: dicts of name -> number into one, exactly, on any runner."""

from collections.abc import Iterable, Mapping

import apache_beam as beam


class MergeCounts(beam.CombineFn):
    """Sums dicts of counts, name by name."""

    def create_accumulator(self) -> dict[str, int]:
        return {}

    def add_input(self, accumulator: dict[str, int], counts: Mapping[str, int]) -> dict[str, int]:
        for name, number in counts.items():
            accumulator[name] = accumulator.get(name, 0) + number
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[str, int]]) -> dict[str, int]:
        merged: dict[str, int] = {}
        for accumulator in accumulators:
            self.add_input(merged, accumulator)
        return merged

    def extract_output(self, accumulator: dict[str, int]) -> dict[str, int]:
        return accumulator

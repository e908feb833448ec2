"""What crosses workers in a graph that runs in this process: bytes and elements of every GroupByKey, and its largest group."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.transforms import util


@dataclass
class Shuffled:
    """num_bytes, num_elements: of all; largest_element: bytes; groups: key -> bytes."""

    num_bytes: int = 0
    num_elements: int = 0
    largest_element: int = 0
    groups: dict[Any, int] = field(default_factory=lambda: defaultdict(int))


SHUFFLED: dict[str, Shuffled] = defaultdict(Shuffled)
_CODER = FastPrimitivesCoder()
_GroupByKey = beam.GroupByKey


def count(element: tuple[Any, Any], stage: str) -> tuple[Any, Any]:
    """What `element` takes on its way, as Beam encodes it where it knows no better."""
    size = len(_CODER.encode(element))
    found = SHUFFLED[stage]
    found.num_bytes += size
    found.num_elements += 1
    found.largest_element = max(found.largest_element, size)
    found.groups[element[0]] += size
    return element


class _Counted(beam.PTransform):
    def expand(self, elements: Any) -> Any:
        stage = elements.pipeline._current_transform().full_label
        return elements | beam.Map(count, stage) | _GroupByKey()


@contextmanager
def shuffles_counted() -> Iterator[dict[str, Shuffled]]:
    """Graphs that are made inside are counted when they run: stage -> what it moved."""
    SHUFFLED.clear()
    beam.GroupByKey = util.GroupByKey = _Counted
    try:
        yield SHUFFLED
    finally:
        beam.GroupByKey = util.GroupByKey = _GroupByKey

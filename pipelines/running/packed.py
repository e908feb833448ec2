"""What is known of every input, small enough for the graph of a job: a list of a million files travels with its stages."""

import pickle
import zlib
from collections.abc import Sequence
from typing import Any, overload

# Large enough to compress well, small enough to look one up.
_PATHS_A_BLOCK = 1024
# Beam compresses the graph with bz2, over a hundred times slower on what is not compressed yet.
_LEVEL = 1


def pack(value: Any) -> bytes:
    return zlib.compress(pickle.dumps(value), _LEVEL)


def unpack(packed: bytes) -> Any:
    return pickle.loads(zlib.decompress(packed))


class PackedPaths(Sequence[str]):
    """Paths by their number, compressed in memory and where they are pickled: each stage that names inputs has them, in every
    worker process.

    Example:

        >>> from clozekit.pipelines.running.packed import PackedPaths
        >>> paths = PackedPaths([f"gs://bucket/docs/part-{number:05d}.jsonl" for number in range(5000)])
        >>> paths[4999], len(paths)
        ('gs://bucket/docs/part-04999.jsonl', 5000)
    """

    def __init__(self, paths: Sequence[str]) -> None:
        starts = range(0, len(paths), _PATHS_A_BLOCK)
        # No path holds a zero byte; names that are no UTF-8 hold surrogates.
        blocks = ("\0".join(paths[start : start + _PATHS_A_BLOCK]) for start in starts)
        self._blocks = [zlib.compress(block.encode("utf-8", "surrogatepass"), _LEVEL) for block in blocks]
        self._length = len(paths)
        self._open: tuple[int, list[str]] = (-1, [])

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[index] for index in range(*number.indices(self._length))]
        if not -self._length <= number < self._length:
            raise IndexError(number)
        block, place = divmod(number % self._length, _PATHS_A_BLOCK)
        # Neighbours are asked for together.
        held, paths = self._open
        if held != block:
            paths = zlib.decompress(self._blocks[block]).decode("utf-8", "surrogatepass").split("\0")
            self._open = (block, paths)
        return paths[place]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": (-1, [])}

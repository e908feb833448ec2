"""Running the parts of `clozekit bench`, each in turn, in a temporary folder that goes with it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clozekit.deploy.bench import machine_parts, text_parts, training_parts
from clozekit.deploy.bench.measured import Measured, Workplace
from clozekit.pipelines.storage.locks import scratch_folder

# In this order: TensorFlow would take a GPU that the training step is to have, so the reader comes last.
_PARTS: dict[str, Callable[[Workplace], Iterator[Measured]]] = {
    "disk": machine_parts.measure_disk,
    "start": machine_parts.measure_start,
    "vocabulary": text_parts.measure_vocabulary,
    "tokenizers": text_parts.measure_tokenizers,
    "cleaning": text_parts.measure_cleaning,
    "duplicates": text_parts.measure_duplicates,
    "prepare": text_parts.measure_prepare,
    "step": training_parts.measure_step,
    "reader": training_parts.measure_reader,
}


def run_bench(parts: Sequence[str], seconds: float) -> Iterator[Measured]:
    """Measures the parts, each figure as soon as it is known. The folder is removed however it ends; what a killed one left,
    by the next."""
    with scratch_folder("bench") as folder:
        place = Workplace(Path(folder), seconds)
        for part in parts:
            yield from _PARTS[part](place)

"""Splitting: which documents are the validation split's, by the hash of their id.

What holds, and what can't:
- Every id is drawn for validation with exactly the asked rate, by itself: no other document, file or worker moves it, and a
  higher rate takes the same ones and more.
- A cluster of duplicates is validation only when all its k different ids are drawn, which happens at rate ** k. So documents
  without duplicates keep the rate, and of those with some fewer are validation than asked. (Equal texts without a key have one
  id, so k counts them once.)
- A document that was train never becomes validation when others are added, nor does a duplicate of it.
The second follows from the third: by it a cluster of two may be validation only where each of the two alone would be. Were
that as often as one alone, each of any two documents would be drawn whenever the other is: all or none.
"""

import apache_beam as beam
import pyarrow as pa

from clozekit.pipelines.running.documents import hash64
from clozekit.pipelines.settings.prepare_settings import check_rate

VALIDATION = "validation"
TRAIN = "train"


def is_validation(identifier: str, seed: int, validation_rate: float) -> bool:
    """Whether the document belongs to validation: a function of its id, so adding documents never moves another."""
    return hash64(b"split", seed.to_bytes(8, "little"), identifier.encode()) < validation_rate * 2**64


def add_split(documents: pa.RecordBatch, seed: int, validation_rate: float) -> pa.RecordBatch:
    """The documents with a bool column `validation`."""
    chosen = [is_validation(identifier, seed, validation_rate) for identifier in documents.column("id").to_pylist()]
    return documents.append_column(VALIDATION, pa.array(chosen, pa.bool_()))


class SplitDocuments(beam.PTransform):
    """Batches of documents -> the same with a column `validation`.

    `Deduplicate` behind it lowers the column over a cluster: one document of a cluster in train keeps all of it out of
    validation. So a text that was trained on never comes back as validation, not even as a duplicate of a new document.
    """

    def __init__(self, seed: int, validation_rate: float) -> None:
        super().__init__()
        check_rate("validation_rate", validation_rate)
        self._seed = seed
        self._validation_rate = validation_rate

    def expand(self, documents: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[pa.RecordBatch]:
        return documents | "Split" >> beam.Map(add_split, self._seed, self._validation_rate)

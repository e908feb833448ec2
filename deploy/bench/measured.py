"""What was measured of a part, and the temporary workplace that the parts share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clozekit.deploy.bench.bench_parts import COMPARABLE_SECONDS
from clozekit.deploy.bench.bench_text import generate_texts, write_texts

VOCABULARY_SIZE = 2000
SEQUENCE_LENGTH = 128
# A build of a short text is mostly its beginning: only the whole text's figures compare with another machine's.
TEXT_BYTES, SHORT_TEXT_BYTES = 3_000_000, 200_000


@dataclass(frozen=True)
class Measured:
    """A figure. clock_share: seconds by the clock for each CPU-second, of work on one core. compiled: whether kernels were
    compiled for it just before."""

    name: str
    value: float
    clock_share: float | None = None
    compiled: bool = False


class Workplace:
    """Text, vocabularies and a dataset in a folder, made when they are asked for. seconds: of all parts together."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds

    @cached_property
    def texts(self) -> list[str]:
        return list(generate_texts(SHORT_TEXT_BYTES if self.seconds < COMPARABLE_SECONDS else TEXT_BYTES))

    @cached_property
    def megabytes(self) -> float:
        return sum(len(text.encode()) for text in self.texts) / 1e6

    @cached_property
    def corpus(self) -> str:
        path = self.folder / "texts.jsonl"
        write_texts(self.texts, path)
        return str(path)

    @cached_property
    def tokenizer(self) -> str:
        """A WordPiece vocabulary, as the tour of the documents makes it."""
        return self.learn("bert")

    def learn(self, family: str) -> str:
        """Learns a vocabulary, once for a family; returns its directory."""
        from clozekit.pipelines.settings.prepare_settings import ReadSettings
        from clozekit.pipelines.vocabulary import VocabularySettings, make_vocabulary

        directory = self.folder / f"tokenizer-{family}"
        if not directory.exists():
            make_vocabulary(ReadSettings((self.corpus,)), str(directory), VocabularySettings(family, VOCABULARY_SIZE))
        return str(directory)

    @cached_property
    def dataset(self) -> str:
        return self.prepare("dataset")

    def prepare(self, name: str, corpus: Any = None) -> str:
        """Builds a dataset anew; returns its directory. corpus: CorpusSettings, None: as read."""
        from clozekit.pipelines.prepare import prepare
        from clozekit.pipelines.settings.corpus_settings import AS_READ
        from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings

        directory = str(self.folder / name)
        options = PrepareSettings(sequence_length=SEQUENCE_LENGTH, validation_rate=0.05, num_shards=2)
        prepare(ReadSettings((self.corpus,)), options, self.tokenizer, directory, corpus=corpus or AS_READ)
        return directory

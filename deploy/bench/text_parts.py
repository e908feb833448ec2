"""Measuring what the pipelines do: vocabularies, tokenizers, cleaning, near-duplicates, whole builds."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from clozekit.deploy.bench.measured import Measured, Workplace
from clozekit.deploy.bench.timing import repeated, taking, warm_up
from clozekit.pipelines.cleaning.clean_documents import add_tags, first_broken_rules, wanted_tags
from clozekit.pipelines.cleaning.clean_text import clean_texts
from clozekit.pipelines.cleaning.tags import tag_texts
from clozekit.pipelines.duplicates.duplicate_groups import exact_members, sign_documents
from clozekit.pipelines.duplicates.near_pairs import candidate_pairs, make_sets, similarities
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

CLEAN = CleanSettings(unicode=True, boilerplate_lines=True)
FILTER = FilterSettings(rule_sets=("gopher", "gopher-repetition"))
NEAR = DeduplicateSettings(kind="near")
# The learner of a family is that of others too: WordPiece, byte-level BPE, SentencePiece.
LEARNED = ("bert", "roberta", "albert")
TOKENIZED = ("bert", "roberta", "modern_bert", "albert", "xlm_roberta")
# The share of all seconds that each figure may take.
_SHARE = 0.02


def measure_vocabulary(place: Workplace) -> Iterator[Measured]:
    """Words counted on Beam, pieces learned."""
    for family in LEARNED:
        compiled = warm_up(partial(_learn_again, place, family))
        with taking() as taken:
            _learn_again(place, family)
        used = taken()
        yield Measured(f"vocabulary.{family}", place.megabytes / used.cpu_seconds, used.clock_share, compiled)


def _learn_again(place: Workplace, family: str) -> None:
    shutil.rmtree(place.folder / f"tokenizer-{family}", ignore_errors=True)
    place.learn(family)


def measure_tokenizers(place: Workplace) -> Iterator[Measured]:
    for family in TOKENIZED:
        tokenizer = load_tokenizer(place.learn(family))
        yield _of_text(place, f"tokenizers.{family}", partial(tokenizer.encode_batch, place.texts))


def measure_cleaning(place: Workplace) -> Iterator[Measured]:
    texts = pa.array(place.texts, pa.large_string())

    def clean() -> None:
        cleaned = clean_texts(texts, CLEAN)
        documents = pa.RecordBatch.from_pydict({"text": cleaned})
        first_broken_rules(add_tags(documents, tag_texts(cleaned, wanted_tags(FILTER))), FILTER)

    yield _of_text(place, "cleaning.texts", clean)


def measure_duplicates(place: Workplace) -> Iterator[Measured]:
    number = len(place.texts)
    documents = pa.RecordBatch.from_pydict(
        {
            "number": pa.array(np.arange(number, dtype=np.uint64)),
            "id": [str(one) for one in range(number)],
            "text": pa.array(place.texts, pa.large_string()),
            "source": pa.array(np.zeros(number, np.int32)),
            "validation": pa.array(np.zeros(number, bool)),
        }
    )

    def compare() -> None:
        signed = sign_documents(documents, NEAR)
        _, _, bands = exact_members(signed)
        pairs = candidate_pairs(bands).pairs
        similarities(pairs, make_sets(signed, np.unique(np.concatenate(pairs))))

    yield _of_text(place, "duplicates.near", compare)


def measure_prepare(place: Workplace) -> Iterator[Measured]:
    cleaned = CorpusSettings(clean=CLEAN, filter=FILTER, deduplicate=NEAR)
    for name, corpus in (("as_read", None), ("cleaned", cleaned)):

        def build(name: str = name, corpus: CorpusSettings | None = corpus) -> None:
            shutil.rmtree(place.folder / name, ignore_errors=True)
            place.prepare(name, corpus)

        yield _of_text(place, f"prepare.{name}", build)


def _of_text(place: Workplace, name: str, work: Callable[[], object]) -> Measured:
    compiled = warm_up(work)
    taken = repeated(work, place.seconds * _SHARE)
    return Measured(name, place.megabytes / taken.cpu_seconds, taken.clock_share, compiled)

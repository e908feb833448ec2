"""What the measured processes of the pipeline's benchmark run: Clozekit and its peers, each on the same corpus.

    python tests/benchmarks/pipeline_runs.py NAME CORPUS VOCABULARY OUT NUM_WORKERS

Prints a line of JSON: `start`, the CPU-seconds its imports took, and what came out.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

LENGTH = 512
# In lines of legal or technical notice, as the C4 filter of datatrove has them.
NOTICES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
    "javascript",
)


def clozekit(corpus: str, vocabulary: str, out: str, num_workers: int) -> dict[str, Any]:
    from clozekit.pipelines.settings.corpus_settings import AS_READ

    return _prepare(corpus, vocabulary, out, num_workers, AS_READ)


def clozekit_clean(corpus: str, vocabulary: str, out: str, num_workers: int) -> dict[str, Any]:
    """With Gopher's quality rules, without lines of notice, exact and near-duplicates; only rules that both can have."""
    from clozekit.pipelines.settings.corpus_settings import (
        CleanSettings,
        CorpusSettings,
        DeduplicateSettings,
        FilterSettings,
    )

    rules = {"alphabetic_word_rate": (None, None), "num_lorem_ipsum": (None, 0)}
    corpus_options = CorpusSettings(
        CleanSettings(boilerplate_lines=True, boilerplate_phrases=NOTICES),
        FilterSettings(rule_sets=("gopher",), rules=rules),
        deduplicate=DeduplicateSettings("near"),
    )
    return _prepare(corpus, vocabulary, out, num_workers, corpus_options)


def _prepare(corpus: str, vocabulary: str, out: str, num_workers: int, corpus_options: Any) -> dict[str, Any]:
    from clozekit.pipelines.prepare import prepare
    from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings

    started = time.process_time()
    manifest, _ = prepare(
        ReadSettings((corpus,), document_kind="file" if ".jsonl" in corpus else "line"),
        PrepareSettings(sequence_length=LENGTH, validation_rate=0.0),
        str(Path(vocabulary).parent),
        out,
        num_workers=num_workers,
        corpus=corpus_options,
    )
    split = manifest.splits["train"]
    return {
        "start": started,
        "tokens": split.tokens,
        "rows": split.rows,
        "fill": manifest.fill_rate("train"),
        "kept": manifest.counts["documents_train"],
    }


def _hugging_face_tokenizer(vocabulary: str) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    with open(vocabulary, encoding="utf-8") as lines:
        pieces = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", pieces["[SEP]"]), ("[CLS]", pieces["[CLS]"]))
    return tokenizer


def hugging_face(corpus: str, vocabulary: str, out: str, num_workers: int) -> dict[str, Any]:
    """Tokenized in batches, everything concatenated and cut into rows, as examples of masked-LM training do it."""
    import datasets
    import tokenizers  # noqa: F401

    datasets.disable_progress_bars()
    started = time.process_time()
    tokenizer = _hugging_face_tokenizer(vocabulary)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encodings = tokenizer.encode_batch(batch["text"])
        return {
            "input_ids": [one.ids for one in encodings],
            "attention_mask": [one.attention_mask for one in encodings],
            "special_tokens_mask": [one.special_tokens_mask for one in encodings],
        }

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        rows = {}
        for name, lists in batch.items():
            joined = [value for one in lists for value in one]
            end = len(joined) // LENGTH * LENGTH
            rows[name] = [joined[start : start + LENGTH] for start in range(0, end, LENGTH)]
        return rows

    data = datasets.load_dataset("json", data_files=corpus, split="train", cache_dir=out)
    encoded = data.map(encode, batched=True, remove_columns=data.column_names)
    grouped = encoded.map(group, batched=True)
    return {"start": started, "tokens": len(grouped) * LENGTH, "rows": len(grouped), "fill": 1.0}


def datatrove(corpus: str, vocabulary: str, out: str, num_workers: int) -> dict[str, Any]:
    """Words by spaCy, which is what datatrove does with English; its rules come with it and need no download."""
    import spacy.lang.en  # noqa: F401

    return _datatrove(corpus, vocabulary, out, "en")


def datatrove_plain_words(corpus: str, vocabulary: str, out: str, num_workers: int) -> dict[str, Any]:
    """The same with the cheapest words there are, between white space; it has no such tokenizer itself."""
    from datatrove.utils.word_tokenizers import WordTokenizer

    sentence_end = re.compile(r"[.!?]+(?=\s|$)")

    class PlainWords(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[start:end] for start, end in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            ends = [match.end() for match in sentence_end.finditer(text)]
            if not ends or ends[-1] < len(text):
                ends.append(len(text))
            return list(zip([0, *ends], ends, strict=False))

    return _datatrove(corpus, vocabulary, out, PlainWords())


def _datatrove(corpus: str, vocabulary: str, out: str, words: Any) -> dict[str, Any]:
    """As its examples do it, but for what costs it more: filtered texts are signed while they are written, nothing that
    waits on disk is compressed, all tasks run in this one process, and MinHash finds the exact duplicates too."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.logging import logger

    logger.remove()
    started = time.process_time()
    tokenizer = f"{out}/tokenizer.json"
    os.makedirs(out)
    _hugging_face_tokenizer(vocabulary).save(tokenizer)

    def run(steps: list[Any], tasks: int = 1) -> Any:
        return LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=f"{out}/logs/{steps[-1].name}").run()

    minhash = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    c4 = C4QualityFilter(
        filter_no_terminal_punct=False,
        remove_citations=False,
        filter_curly_bracket=False,
        min_words_per_line=-1,
        max_word_length=-1,
        # It takes a line without an end for a sentence.
        min_num_sentences=-1,
        language=words,
    )
    gopher = GopherQualityFilter(max_non_alpha_words_ratio=None, language=words)
    filtered = JsonlWriter(f"{out}/filtered", compression=None)
    reader = JsonlReader(str(Path(corpus).parent), glob_pattern=Path(corpus).name)
    run([reader, c4, gopher, filtered, MinhashDedupSignature(f"{out}/signatures", minhash, language=words)])
    run([MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=minhash)], minhash.num_buckets)
    run([MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=minhash)])
    tokens = DocumentTokenizer(f"{out}/tokens", tokenizer, seed=0)
    _, deduplicated, tokenized = run(
        [JsonlReader(f"{out}/filtered"), MinhashDedupFilter(f"{out}/remove"), tokens]
    ).stats
    return {
        "start": started,
        "tokens": int(tokenized.stats["tokens"].total),
        "kept": int(deduplicated.stats["forwarded"].total),
    }


RUNS = {
    "clozekit": clozekit,
    "clozekit-clean": clozekit_clean,
    "hugging-face": hugging_face,
    "datatrove": datatrove,
    "datatrove-plain-words": datatrove_plain_words,
}

if __name__ == "__main__":
    # Set before anything is imported: no peer may ask the network, and CPU time is that of one thread.
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TF_CPP_MIN_LOG_LEVEL="3")
    name, *paths, workers = sys.argv[1:]
    print(json.dumps(RUNS[name](*paths, int(workers))))

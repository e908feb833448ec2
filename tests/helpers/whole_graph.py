"""What takes every stage of `prepare`: settings with all of them on, and documents that each stage does something to."""

import json
from pathlib import Path

from clozekit.pipelines.settings.corpus_settings import (
    RULE_SETS,
    CleanSettings,
    CorpusSettings,
    DecontaminateSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings, Source

OPTIONS = PrepareSettings(sequence_length=32, validation_rate=0.1, num_shards=3, group_size=100)


def every_stage(folder: Path) -> CorpusSettings:
    """folder: where the lists go that stages read."""
    (folder / "evaluation.txt").write_text("the old cat sat on the house . " * 3 + "\n", encoding="utf-8")
    (folder / "bad.txt").write_text("darn\n", encoding="utf-8")
    return CorpusSettings(
        CleanSettings(unicode=True, fix_encoding=True, boilerplate_lines=True, sentence_lines=True, mask=("email",)),
        FilterSettings(
            ("gopher-repetition", "c4"),
            {"num_sentences": (1, None), **{name: (None, None) for name in RULE_SETS["gopher-repetition"]}},
            ("en",),
            min_language_probability=0.0,
            bad_words=str(folder / "bad.txt"),
        ),
        DecontaminateSettings((str(folder / "evaluation.txt"),)),
        DeduplicateSettings("near"),
    )


def two_sources(corpus: Path, folder: Path) -> ReadSettings:
    """Two weighted sources in several files: documents, near and exact copies, a contaminated and a bad one."""
    lines = corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    texts = [json.loads(line)["text"] for line in lines]
    long = " ".join(texts[:6])
    extra = [
        long,
        long.upper(),
        long.replace("red", "blue", 1),
        "the old cat sat on the house . " * 3,
        "Darn , the cat sat on the mat .",
    ]
    lines += [json.dumps({"id": f"extra-{number}", "text": text}) + "\n" for number, text in enumerate(extra)]
    for number in range(4):
        (folder / f"part-{number}.jsonl").write_text("".join(lines[number::4]), encoding="utf-8")
    return ReadSettings(
        sources=(Source("one", (f"{folder}/part-[01].jsonl",), 1.5), Source("two", (f"{folder}/part-[23].jsonl",), 0.9))
    )

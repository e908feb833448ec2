"""The corpora of the benchmarks: their texts, and larger ones made of them by repeating and perturbing."""

import gzip
import json
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

FILE_BYTES = 8_000_000
# Words that stay together in a perturbed copy. Five-word shingles rarely survive: it is no near-duplicate.
RUN_WORDS = 4


def records(corpus: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of a .jsonl[.gz], or of each line of a text."""
    open_ = gzip.open if corpus.suffix == ".gz" else open
    with open_(corpus, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if ".jsonl" in corpus.name:
                record = json.loads(line)
                yield record["id"], record["text"]
            else:
                yield str(number), line.rstrip("\n")


def text_megabytes(corpus: Path) -> float:
    return sum(len(text.encode()) for _, text in records(corpus)) / 1e6


def write_grown(corpus: Path, target: Path, megabytes: float) -> None:
    """Repeats the corpus up to so many MB of text as JSON lines in files of at most 8 MB, eight or more, in the folder
    `target`.

    Nine of ten documents have their words in another order, in runs of four; so they have the tokens of the original and
    are not its near-duplicates. Every tenth is one: it has nine of ten lines.
    """
    texts = [text for _, text in records(corpus)]
    dice = random.Random(0)
    file_bytes = min(FILE_BYTES, int(megabytes * 1e6 / 8))
    size = number = 0
    target.mkdir(parents=True)
    while size < megabytes * 1e6:
        with open(target / f"part-{number:08d}.jsonl", "wb") as stream:
            while stream.tell() < file_bytes and size < megabytes * 1e6:
                text = perturbed(texts[number % len(texts)], dice, number % 10 == 0) + f"\ncopy {number:x}"
                stream.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False).encode() + b"\n")
                size += len(text.encode())
                number += 1


def perturbed(text: str, dice: random.Random, near_duplicate: bool) -> str:
    if near_duplicate:
        return "\n".join(line for line in text.split("\n") if dice.random() > 0.1)
    # Cut at spaces alone, so that lines and their ends travel with their words.
    words = text.split(" ")
    runs = [words[start : start + RUN_WORDS] for start in range(0, len(words), RUN_WORDS)]
    dice.shuffle(runs)
    return " ".join(chain.from_iterable(runs))

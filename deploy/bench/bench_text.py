"""The text that `clozekit bench` measures on: Python's language reference, its words in another order in every document."""

import json
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

# Words that stay together: five-word shingles rarely survive, so a document is no near-duplicate of another.
RUN_WORDS = 4
# Every tenth document has all but some lines of the one before, and is its near-duplicate.
NEAR_DUPLICATE_EVERY = 10
LINES_DROPPED_RATE = 0.02


def generate_texts(num_bytes: int) -> Iterator[str]:
    """So many bytes of texts, the same in each run under one version of Python."""
    from pydoc_data.topics import topics

    pages = [topics[name] for name in sorted(topics)]
    dice = random.Random(0)
    made, number, text = 0, 0, ""
    while made < num_bytes:
        if number % NEAR_DUPLICATE_EVERY == NEAR_DUPLICATE_EVERY - 1:
            text = "\n".join(line for line in text.split("\n") if dice.random() >= LINES_DROPPED_RATE)
        else:
            text = _in_another_order(pages[number % len(pages)], dice)
        made += len(text.encode())
        number += 1
        yield text


def _in_another_order(text: str, dice: random.Random) -> str:
    # Cut at spaces alone, so that lines and their ends travel with their words.
    words = text.split(" ")
    runs = [words[start : start + RUN_WORDS] for start in range(0, len(words), RUN_WORDS)]
    dice.shuffle(runs)
    return " ".join(chain.from_iterable(runs))


def write_texts(texts: list[str], path: Path) -> None:
    lines = (json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

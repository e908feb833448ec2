"""What the tests of the trainer share: a small preset to start from, small labelled files."""

import random
from pathlib import Path

import keras
import pytest

from clozekit.model import BertBackbone, BertMaskedLM, BertMaskedLMPreprocessor
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


def sentences(seed: int, count: int) -> list[str]:
    """Sentences of a tiny grammar, so that a classifier has something to learn."""
    dice = random.Random(seed)
    verbs = {"cat": "sat on", "dog": "ran under", "bird": "flew over"}
    return [
        f"the {dice.choice(('red', 'blue', 'old'))} {animal} {verbs[animal]} the {dice.choice(('mat', 'house', 'tree'))} ."
        for animal in dice.choices(sorted(verbs), k=count)
    ]


@pytest.fixture(scope="session")
def start_preset(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A masked LM of one layer with fixed random weights and 48 positions."""
    keras.utils.set_random_seed(0)
    backbone = BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=48,
        dropout=0.1,
    )
    preprocessor = BertMaskedLMPreprocessor(tokenizer, sequence_length=16)
    directory = str(tmp_path_factory.mktemp("start") / "preset")
    BertMaskedLM(backbone, preprocessor, compile=False).save_to_preset(directory)
    return directory


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: train.tsv, dev.tsv and flipped.tsv (sentence, label: does a cat sit in it?), pairs.csv (do the sentences
    tell of one animal?), numbers.jsonl (how big is its animal?), test.tsv (sentences alone)."""
    folder = tmp_path_factory.mktemp("labelled")
    texts = sentences(0, 220)
    answers = ["happy" if "cat" in text else "sad" for text in texts]
    rows = [f"{text}\t{answer}\n" for text, answer in zip(texts, answers, strict=True)]
    swapped = [row.replace("happy", "?").replace("sad", "happy").replace("?", "sad") for row in rows]
    for name, part in (("train", rows[:160]), ("dev", rows[160:]), ("flipped", swapped[160:])):
        (folder / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(part), encoding="utf-8")
    (folder / "test.tsv").write_text("sentence\n" + "".join(f"{text}\n" for text in texts[160:164]), encoding="utf-8")
    pairs = zip(texts[:110], texts[110:], strict=True)
    lines = [f'"{a}","{b}",{"yes" if a.split()[2] == b.split()[2] else "no"}\n' for a, b in pairs]
    (folder / "pairs.csv").write_text("first,second,same\n" + "".join(lines), encoding="utf-8")
    size = {"bird": 0.0, "cat": 0.5, "dog": 1.0}
    numbers = [f'{{"text": "{text}", "size": {size[text.split()[2]]}}}\n' for text in texts]
    (folder / "numbers.jsonl").write_text("".join(numbers), encoding="utf-8")
    return folder

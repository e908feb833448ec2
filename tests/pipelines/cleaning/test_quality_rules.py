"""Quality rules: a text on each side of every threshold of Gopher and C4, and the repetition against a slow count."""

import random
from collections import Counter
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pytest

from clozekit.pipelines.cleaning.clean_documents import check_corpus, first_broken_rules, wanted_tags
from clozekit.pipelines.cleaning.tags import TAGS, bad_words_pattern, read_bad_words, tag_texts
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.running.documents import make_batch
from clozekit.pipelines.settings.corpus_settings import RULE_SETS, CorpusSettings, FilterSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError


def words(count: int, first: int = 0) -> str:
    """Different words of 5 letters."""
    return " ".join(f"w{number:04d}" for number in range(first, first + count))


def broken_rule(text: str, options: FilterSettings) -> str | None:
    batch = make_batch([0], ["a"], [text], [0], [0])
    bad_words = read_bad_words(options.bad_words) if options.bad_words else ()
    for name, column in tag_texts(batch.column("text"), wanted_tags(options), bad_words).items():
        batch = batch.append_column(f"tag.{name}", column)
    return first_broken_rules(batch, options)[0]


def ngram_case(size: int, repeated: int, others: int) -> str:
    """A run of `size` words `repeated` times between `others` other words."""
    run, parts = words(size, 9000), []
    for turn in range(repeated):
        parts += [run, words(1, turn)]
    return " ".join([*parts, words(others - repeated, 100)])


# set, rule, a text that just keeps it, one that just breaks it
CASES = [
    ("gopher", "num_words", words(50), words(49)),
    ("gopher", "num_words", "a " * 100_000, "a " * 100_001),
    ("gopher", "mean_word_length", "abc abc", "abc ab"),
    ("gopher", "mean_word_length", "a" * 10, "a" * 11),
    ("gopher", "symbol_to_word_rate", "# " + words(9), "# " + words(8)),
    ("gopher", "symbol_to_word_rate", words(10) + "...", words(9) + "\u2026"),
    ("gopher", "bullet_line_rate", "- a\n" * 9 + "b", "- a\n" * 10 + "\u2022 b"),
    ("gopher", "ellipsis_line_rate", "a...\n" * 3 + "b\n" * 7, "a...\n" * 2 + "a\u2026\n" * 2 + "b\n" * 6),
    ("gopher", "alphabetic_word_rate", "a b c d 5", "a b c 4 5"),
    ("gopher", "num_stop_words", "The cat AND dog", "the cat the dog"),
    ("gopher-repetition", "duplicate_line_rate", "a\n" * 4 + "b\nc\nd\ne\nf\ng", "a\n" * 5 + "b\nc\nd\ne\nf"),
    ("gopher-repetition", "duplicate_line_character_rate", "aa\naa\nbbbbbb", "aa\naa\nbbbbb"),
    (
        "gopher-repetition",
        "duplicate_paragraph_rate",
        "a\na\n\n" * 4 + "b\n\nc\n\nd\n\ne\n\nf\n\ng",
        "a\n\n" * 5 + "b\n\nc\n \nd\n\n\ne\n\nf",
    ),
    ("gopher-repetition", "duplicate_paragraph_character_rate", "aa\n\naa\n\nbbb\nbbb", "aa\n\naa\n\nbbb\nbb"),
    ("gopher-repetition", "top_2gram_rate", ngram_case(2, 2, 16), ngram_case(2, 2, 15)),
    ("gopher-repetition", "top_3gram_rate", ngram_case(3, 3, 41), ngram_case(3, 3, 40)),
    ("gopher-repetition", "top_4gram_rate", ngram_case(4, 2, 42), ngram_case(4, 2, 41)),
    ("gopher-repetition", "duplicate_5gram_rate", ngram_case(5, 3, 85), ngram_case(5, 3, 84)),
    ("gopher-repetition", "duplicate_6gram_rate", ngram_case(6, 7, 258), ngram_case(6, 7, 257)),
    ("gopher-repetition", "duplicate_7gram_rate", ngram_case(7, 13, 609), ngram_case(7, 13, 608)),
    ("gopher-repetition", "duplicate_8gram_rate", ngram_case(8, 3, 176), ngram_case(8, 3, 175)),
    ("gopher-repetition", "duplicate_9gram_rate", ngram_case(9, 11, 801), ngram_case(9, 11, 800)),
    ("gopher-repetition", "duplicate_10gram_rate", ngram_case(10, 2, 180), ngram_case(10, 2, 179)),
    ("c4", "num_sentences", "One. Two! Three?", "One. Two! Three"),
    ("c4", "num_braces", "x = ()", "x = {"),
    ("c4", "num_lorem_ipsum", "lorem, ipsum", "Lorem Ipsum"),
]


@pytest.mark.parametrize(("rule_set", "rule", "kept", "broken"), CASES)
def test_each_rule_holds_at_its_threshold_and_breaks_beyond(rule_set: str, rule: str, kept: str, broken: str) -> None:
    options = FilterSettings(rules={rule: RULE_SETS[rule_set][rule]})
    assert broken_rule(kept, options) is None
    assert broken_rule(broken, options) == rule


def test_every_rule_of_the_sets_is_in_the_table_and_is_a_tag() -> None:
    rules = {(name, rule) for name, rules in RULE_SETS.items() for rule in rules}
    assert {(rule_set, rule) for rule_set, rule, *_ in CASES} == rules
    assert {rule for _, rule in rules} <= set(TAGS)


def slow_repetition(text: str) -> dict[str, float]:
    found = {}
    lines = ["".join(line.split()) for line in text.split("\n")]
    paragraphs = ["".join(group) for filled, group in groupby(lines, bool) if filled]
    for name, parts in (("line", list(filter(None, lines))), ("paragraph", paragraphs)):
        again = [part for place, part in enumerate(parts) if part in parts[:place]]
        found[f"duplicate_{name}_rate"] = len(again) / max(1, len(parts))
        found[f"duplicate_{name}_character_rate"] = sum(map(len, again)) / max(1, sum(map(len, parts)))
    split = text.split()
    total = max(1, sum(map(len, split)))
    for size in range(2, 11):
        ngrams = [tuple(split[start : start + size]) for start in range(len(split) - size + 1)]
        counts = Counter(ngrams)
        if size < 5:
            most = max((count * sum(map(len, ngram)) for ngram, count in counts.items() if count > 1), default=0)
            found[f"top_{size}gram_rate"] = min(1, most / total)
        else:
            places = {start + step for start, ngram in enumerate(ngrams) if counts[ngram] > 1 for step in range(size)}
            found[f"duplicate_{size}gram_rate"] = sum(len(split[place]) for place in places) / total
    return found


@pytest.mark.parametrize("seed", range(6))
def test_repetition_is_what_a_slow_count_gives(seed: int) -> None:
    dice = random.Random(seed)
    pieces = ["a", "bcd", "\u00e9f", "\u65e5\u672c", "gh", "i.", " ", "\n", "\n\n", "\n \n"]
    texts = [" ".join(dice.choices(pieces, k=dice.choice((0, 3, 30, 300)))) for _ in range(30)]
    expected = [slow_repetition(text) for text in texts]
    names = list(expected[0])
    found = {name: column.to_pylist() for name, column in tag_texts(pa.array(texts, pa.large_string()), names).items()}
    for name in names:
        assert found[name] == pytest.approx([one[name] for one in expected], abs=1e-12), name


def test_bad_words_stand_alone_but_in_scripts_without_spaces(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("darn\nold rag\nC++\n\u60aa\u3044\n\nnai\u0308ve\n", encoding="utf-8")
    options = FilterSettings(bad_words=str(path))
    table = {
        "Darn!": "num_bad_words",
        "darned or undarn": None,
        "an old\nrag": None,
        "(old rag)": "num_bad_words",
        "c++ and": "num_bad_words",
        "C+": None,
        "\u672c\u5f53\u306b\u60aa\u3044\u672c": "num_bad_words",
        "darn_it darn1": None,
        "\u00e9darn": None,
    }
    assert {text: broken_rule(text, options) for text in table} == table
    assert bad_words_pattern(("a",)) == r"(?m:(?:^|[^\pL\pN_])(?:a)(?:$|[^\pL\pN_]))"
    with pytest.raises(InputError, match=r"a rule on num_bad_words needs the file"):
        FilterSettings(rules={"num_bad_words": (None, 3)})
    path.write_bytes(b"\n \n")
    with pytest.raises(InputError, match="bad words must be a word a line, .* has none"):
        check_corpus(CorpusSettings(filter=options))
    with pytest.raises(InputError, match="bad words must be a readable file"):
        check_corpus(CorpusSettings(filter=FilterSettings(bad_words=str(tmp_path / "missing"))))


def test_another_list_of_bad_words_is_another_dataset(tokenizer_directory: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat\nthe dog\nthe bird\n", encoding="utf-8")
    reading, options = ReadSettings((f"{tmp_path}/a.txt",), document_kind="line"), PrepareSettings(validation_rate=0.0)
    bad = tmp_path / "bad.txt"
    corpus, out = CorpusSettings(filter=FilterSettings(bad_words=str(bad))), str(tmp_path / "out")
    bad.write_text("cat\n", encoding="utf-8")
    manifest, _ = prepare(reading, options, tokenizer_directory, out, corpus=corpus)
    assert (manifest.counts["documents_train"], manifest.counts["rejected_num_bad_words"]) == (2, 1)
    bad.write_text("\ncat\n", encoding="utf-8")
    assert prepare(reading, options, tokenizer_directory, out, corpus=corpus) == (manifest, False)
    bad.write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds a dataset of other inputs or settings"):
        prepare(reading, options, tokenizer_directory, out, corpus=corpus)

"""Cleaning, tags, rules and decontamination: exact values on small texts."""

import re
import string
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clozekit.pipelines.cleaning import clean_documents as clean_module
from clozekit.pipelines.cleaning import tags as tags_module
from clozekit.pipelines.cleaning.clean_documents import check_corpus, first_broken_rules, wanted_tags
from clozekit.pipelines.cleaning.clean_text import clean_texts
from clozekit.pipelines.cleaning.tags import TAGS, tag_texts
from clozekit.pipelines.duplicates.decontaminate import count_shared, evaluation_ngrams
from clozekit.pipelines.duplicates.words import fold_texts, hash_words
from clozekit.pipelines.running.dead_letters import batch_or_rows
from clozekit.pipelines.running.documents import make_batch
from clozekit.pipelines.settings.corpus_file import build_options, load_fields
from clozekit.pipelines.settings.corpus_settings import (
    CLEANING_STEPS,
    MASK_KINDS,
    CleanSettings,
    CorpusSettings,
    DecontaminateSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import Source
from clozekit.tokenizers.common.errors import InputError


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        (CleanSettings(unicode=True), "e\u0301\r\na\rb\tc\x00\u200b\ufeff", "\u00e9\na\nb\tc"),
        # Joiners make words in some scripts.
        (CleanSettings(unicode=True), "\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        (CleanSettings(fix_encoding=True), "caf\u00c3\u00a9 &amp; \u201cx\u201d", "caf\u00e9 &amp; \u201cx\u201d"),
        (CleanSettings(boilerplate_lines=True), "one\nWe use Cookies.\ntwo", "one\ntwo"),
        (CleanSettings(boilerplate_lines=True), "use cookies " * 30, "use cookies " * 30),
        (CleanSettings(boilerplate_lines=True, boilerplate_phrases=("a.b",)), "a\u212ab\nA.B", "a\u212ab"),
        (
            CleanSettings(boilerplate_lines=True, boilerplate_phrases=("datenschutzerkl\u00e4rung",)),
            "x\nDATENSCHUTZERKL\u00c4RUNG",
            "x",
        ),
        (
            CleanSettings(sentence_lines=True),
            "Home\nThis is one whole sentence.\nToo short.",
            "This is one whole sentence.",
        ),
        (
            CleanSettings(sentence_lines=True, max_word_characters=9),
            "This goes on and on...\nThis goes on and on \u2026\nIt holds a verylongword too.\nA fact[12] is a fact.[citation needed]",
            "A fact is a fact.",
        ),
        (CleanSettings(mask=("email",)), "to a.b+c@mail.example.org, now", "to <email>, now"),
        (CleanSettings(mask=("ip",)), "at 10.0.0.255:80, not 300.1.1.1", "at <ip>:80, not 300.1.1.1"),
        (CleanSettings(mask=("ip",)), "2001:db8:0:0:0:0:2:1 fe80:1::2 std::string a::b", "<ip> <ip> std::string a::b"),
        (CleanSettings(mask=("phone",)), "+44 20 7946 0958, (555) 123-4567, 555-123-4567", "<phone>, <phone>, <phone>"),
        (CleanSettings(mask=("phone",)), "1998-2004, 12.5 and 1234567890123", "1998-2004, 12.5 and 1234567890123"),
        (CleanSettings(), "\x00a\r", "\x00a\r"),
    ],
)
def test_cleaning(options: CleanSettings, text: str, expected: str) -> None:
    assert clean_texts(pa.array([text, ""], pa.large_string()), options).to_pylist() == [expected, ""]


def test_a_step_is_a_field_and_a_file_and_works_on_no_texts() -> None:
    folder = Path(clean_module.__file__).parent / "steps"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(CLEANING_STEPS)
    every = CleanSettings(fix_encoding=True, unicode=True, boilerplate_lines=True, sentence_lines=True, mask=MASK_KINDS)
    assert all(getattr(every, name) for name in CLEANING_STEPS) and every.is_on
    assert clean_texts(pa.array([], pa.large_string()), every).to_pylist() == []


def test_boilerplate_has_any_case_that_python_knows() -> None:
    # No letter of a higher code point is an ASCII letter of another case.
    characters = [chr(code_point) for code_point in range(0x2200)]
    texts = pa.array(characters, pa.large_string())
    for letter in string.ascii_letters:
        cleaned = clean_texts(texts, CleanSettings(boilerplate_lines=True, boilerplate_phrases=(letter,)))
        same = re.compile(letter, re.IGNORECASE)
        assert cleaned.to_pylist() == ["" if same.search(character) else character for character in characters]


def test_tags_count_what_they_say() -> None:
    text = "The cat sat on that mat. And to be!\n- one...\n\n- one...\n# {x} 12\n"
    found = {
        name: column.to_pylist()
        for name, column in tag_texts(
            pa.array([text, "", "\u65e5\u672c\u3002"], pa.large_string()),
            [name for name in TAGS if name != "language_probability"],
        ).items()
    }
    assert [found[name][0] for name in ("num_characters", "num_words", "num_lines", "num_stop_words")] == [64, 16, 4, 4]
    assert found["mean_word_length"][0] == 47 / 16
    assert found["symbol_to_word_rate"][0] == 3 / 16
    assert found["alphabetic_word_rate"][0] == 12 / 16
    assert found["bullet_line_rate"][0] == found["ellipsis_line_rate"][0] == 0.5
    assert found["sentence_line_rate"][0] == 0.75
    assert [column[0] for name, column in found.items() if name in ("num_sentences", "num_braces")] == [4, 1]
    assert found["duplicate_line_rate"][0] == 0.25
    assert found["duplicate_line_character_rate"][0] == 7 / 47
    # "- one..." twice, 14 of the 47 characters in words.
    assert found["top_2gram_rate"][0] == 14 / 47
    assert found["top_3gram_rate"][0] == 0
    assert all(column[1] == 0 for column in found.values())
    assert found["num_sentences"][2] == 1


def test_repeated_runs_of_words_are_counted_once_where_they_overlap() -> None:
    words = "a b c d e f"
    tags = tag_texts(pa.array([f"{words} x {words} y"], pa.large_string()), ["duplicate_5gram_rate", "top_2gram_rate"])
    assert tags["duplicate_5gram_rate"].to_pylist() == [12 / 14]
    assert tags["top_2gram_rate"].to_pylist() == [4 / 14]


def test_rules_apply_late_and_the_first_broken_one_is_named() -> None:
    texts = ["one two three", "a", "", "one # two three four", "The cat sat on the mat and it was happy."]
    batch = make_batch(range(5), list("abcde"), texts, [0] * 5, [0] * 5)
    options = FilterSettings(
        ("gopher",), {"num_words": (3, None), "num_stop_words": (None, None)}, ("en",), min_language_probability=0.1
    )
    for name, column in tag_texts(batch.column("text"), wanted_tags(options)).items():
        batch = batch.append_column(f"tag.{name}", column)
    broken = first_broken_rules(batch, options)
    assert broken[1:] == ["num_words", "empty", "symbol_to_word_rate", None]
    german = FilterSettings((), {}, ("de",))
    assert first_broken_rules(batch, german)[4] == "language"
    assert list(options.all_rules())[:3] == ["num_words", "num_stop_words", "mean_word_length"]


def test_kept_tags_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch(range(3), list("abc"), ["one two", "three", "four five six"], [0] * 3, [0] * 3)

    def tag(options: FilterSettings) -> list[float]:
        work = clean_module._Tag(wanted_tags(options), options.tags, ["f"])
        (tagged,) = (output for output in work.process(batch) if isinstance(output, pa.RecordBatch))
        return tagged.column("tag.num_words").to_pylist()

    directory = str(tmp_path / "tags")
    assert tag(FilterSettings(rules={"num_words": (2, None)}, tags=directory)) == [2, 1, 3]
    assert len(list(Path(directory).iterdir())) == 1
    monkeypatch.setattr(tags_module, "tag_texts", None)
    assert tag(FilterSettings(rules={"mean_word_length": (2, None)}, tags=directory)) == [2, 1, 3]


def test_a_document_that_raises_is_alone_in_it() -> None:
    batch = make_batch(range(3), list("abc"), ["one", "bad", "two"], [0] * 3, [0] * 3)

    def work(part: pa.RecordBatch) -> pa.RecordBatch:
        if "bad" in part.column("text").to_pylist():
            raise KeyError("bad")
        return part

    done, failed = batch_or_rows(work, batch)
    assert done.column("id").to_pylist() == ["a", "c"]
    assert [(row, type(error)) for row, error in failed] == [(1, KeyError)]
    none_left, failed = batch_or_rows(work, batch.slice(1, 1))
    assert none_left.num_rows == 0 and len(failed) == 1


def test_shared_runs_of_words_are_found_whatever_their_case_and_place(tmp_path: Path) -> None:
    evaluation = tmp_path / "evaluation.txt"
    long = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    short = "alpha beta gamma delta epsilon zeta eta theta"
    evaluation.write_text(f"{long}\n{short}\ntoo short to matter\n", encoding="utf-8")
    ngrams = evaluation_ngrams(DecontaminateSettings((str(evaluation),)))
    assert {size: len(hashes) for size, hashes in ngrams.items()} == {8: 1, 13: 2}
    texts = [
        f"Before: {long.upper()}! After.",
        "one two three four five six seven eight nine ten eleven twelve",
        f"x {short}, y",
        "too short to matter",
    ]
    shared = count_shared(hash_words(fold_texts(pa.array(texts, pa.large_string()))), ngrams)
    assert np.array_equal(shared, [2, 0, 1, 0])
    evaluation.write_bytes(b"\xff")
    with pytest.raises(InputError, match="every evaluation text must be readable"):
        evaluation_ngrams(DecontaminateSettings((str(evaluation),)))


def test_the_configuration_file_makes_every_setting(tmp_path: Path) -> None:
    path = tmp_path / "corpus.yaml"
    path.write_text(
        """
sources:
  - {name: web, inputs: [a.jsonl], weight: 2}
read: {text_key: body, max_bad_rate: 0}
clean: {unicode: true, mask: [email]}
filter: {rule_sets: [c4], rules: {num_words: [20, null]}}
deduplicate: {kind: near, min_similarity: 0.8}
""",
        encoding="utf-8",
    )
    reading, corpus = build_options(load_fields(str(path)))
    assert reading.sources == (Source("web", ("a.jsonl",), 2.0),)
    assert (reading.text_key, reading.max_bad_rate) == ("body", 0.0)
    assert corpus.clean == CleanSettings(unicode=True, mask=("email",))
    assert corpus.filter == FilterSettings(("c4",), {"num_words": (20.0, None)})
    assert corpus.deduplicate == DeduplicateSettings("near", min_similarity=0.8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claen: {}", "has claen; did you mean clean"),
        ("clean: {unicod: true}", r"has clean.unicod; did you mean clean\.unicode"),
        ("clean: {unicode: 1}", "clean.unicode must be bool, the configuration has 1"),
        ("clean: {mask: email}", "clean.mask must be a list, got 'email'"),
        ("filter: {rules: {num_words: 3}}", "filter.rules.num_words must be a list of 2, null for nothing, got 3"),
        ("filter: {rules: {num_words: [3, 1]}}", r"num_words has \[3.0, 1.0\]; swap them"),
        ("filter: {rule_sets: [golfer]}", "filter.rule_sets must be one of gopher"),
        ("deduplicate: {kind: fuzzy}", "deduplicate.kind must be one of none, exact, near, got 'fuzzy'"),
        ("deduplicate: {min_similarity: 2}", "deduplicate.min_similarity must be a rate from 0 to 1, got 2"),
        ("sources: {web: a}", "must be a list of mappings"),
        ("sources: [{name: web}]", "the key sources.inputs is needed"),
        ("- a", "must be a mapping of sections"),
        ("a: [", "must be YAML"),
    ],
)
def test_a_wrong_configuration_is_refused_by_its_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        fields = load_fields(str(path))
        fields["read"]["inputs"] = ["x"]
        build_options(fields)


def test_a_rule_on_no_tag_and_an_unknown_language_are_refused() -> None:
    with pytest.raises(InputError, match="a rule must name a tag .*, got 'words'"):
        check_corpus(CorpusSettings(filter=FilterSettings(rules={"words": (1, None)})))
    with pytest.raises(InputError, match="a language must be one of .*, got 'english'"):
        check_corpus(CorpusSettings(filter=FilterSettings(languages=("english",))))

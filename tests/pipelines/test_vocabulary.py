"""Vocabularies of every family from a corpus: the same on one worker and on two, with an exact report."""

from pathlib import Path

import pytest
from long_variants import FULL

from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.vocabulary import VocabularySettings, describe_report, make_vocabulary
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

# SentencePiece finds no more than this in a corpus of twenty words.
SIZES = {"bert": 80, "roberta": 300, "albert": 30, "xlm_roberta": 30, "modern_bert": 300, "deberta_v3": 30}


# SentencePiece learns for three families.
@pytest.mark.parametrize("family", [name for name in SIZES if FULL or name not in ("xlm_roberta", "deberta_v3")])
def test_every_family_learns_the_same_on_one_worker_and_on_two(
    family: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clozekit.pipelines.reading.read_documents.MAX_BATCH_CHARACTERS", 1)
    lines = corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(4):
        (tmp_path / f"part-{number}.jsonl").write_text("".join(lines[number::4]), encoding="utf-8")
    options = VocabularySettings(family, SIZES[family])
    one, report, bad = make_vocabulary(ReadSettings((str(corpus),)), str(tmp_path / "one"), options)
    # RoBERTa's words are counted and learned by the same code.
    workers = 2 if FULL or family != "modern_bert" else 1
    two, _, _ = make_vocabulary(
        ReadSettings((f"{tmp_path}/part-*",)), str(tmp_path / "two"), options, num_workers=workers
    )
    assert one.sha256() == two.sha256() == load_tokenizer(tmp_path / "one").sha256()
    assert one.vocabulary_size() == report.vocabulary_size == SIZES[family]
    assert (report.coverage_rate, report.unknown_rate, bad) == (1.0, 0.0, 0)
    assert 1.0 <= report.tokens_per_word < 6.0
    assert len(describe_report(report)) == 6
    assert not (tmp_path / "one" / "_words").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("gpt",),
            "family must be one of bert, distil_bert, roberta, albert, xlm_roberta, electra, modern_bert, deberta_v3, got 'gpt'",
        ),
        (("bert", 0), "vocabulary_size must be at least 1, got 0"),
        (("roberta", 300, True), "byte-level BPE keeps every byte"),
    ],
)
def test_settings_are_checked(arguments: tuple[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VocabularySettings(*arguments)


def test_a_tokenizer_is_replaced_only_when_asked(corpus: Path, tmp_path: Path) -> None:
    reading, options = ReadSettings((str(corpus),)), VocabularySettings("bert", 80)
    make_vocabulary(reading, str(tmp_path), options)
    with pytest.raises(InputError, match="holds a tokenizer already; pass --overwrite"):
        make_vocabulary(reading, str(tmp_path), options)
    tokenizer, _, _ = make_vocabulary(reading, str(tmp_path), VocabularySettings("bert", 90), overwrite=True)
    assert load_tokenizer(tmp_path).sha256() == tokenizer.sha256()

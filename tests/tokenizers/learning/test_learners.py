"""Learning BPE and SentencePiece from counts: usable tokenizers, the same in every process; the report's numbers."""

import subprocess
import sys

import pytest
import sentencepiece

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.learning.learn_byte_pairs import count_byte_words, learn_byte_pairs
from clozekit.tokenizers.learning.learn_sentence_pieces import count_spaced_words, learn_albert, learn_xlm_roberta
from clozekit.tokenizers.learning.vocabulary_report import report_vocabulary

TEXT = "the quick brown fox jumped over the lazy dog, the Fox; I forgot my homework and the fox did not"


def test_words_of_both_kinds() -> None:
    assert count_byte_words(["a's  é a"]) == {"a": 1, "'s": 1, "Ġ": 1, "ĠÃ©": 1, "Ġa": 1}
    assert count_spaced_words(["a's  é\u3000a\0"]) == {"a's": 1, "é": 1, "a": 1}


def test_byte_pairs_merge_the_most_frequent_pair_first() -> None:
    pieces, merges = learn_byte_pairs({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 270)
    assert pieces[:4] == ["<s>", "<pad>", "</s>", "<unk>"] and pieces[-1] == "<mask>"
    # Sennrich et al. 2016 (arXiv 1508.07909, section 3.2); "e s" and "s t" are equally frequent.
    assert merges[:2] == [("e", "s"), ("es", "t")]
    tokenizer = RobertaTokenizer(pieces, merges)
    assert len(pieces) == 270 and tokenizer.detokenize(tokenizer.tokenize(TEXT)) == TEXT


def test_learned_models_have_the_size_asked_for() -> None:
    counts = count_spaced_words([TEXT])
    albert, xlmr = AlbertTokenizer(learn_albert(counts, 36, True)), XLMRobertaTokenizer(learn_xlm_roberta(counts, 36))
    assert albert.vocabulary_size() == xlmr.vocabulary_size() == 36
    assert albert.get_vocabulary()[:5] == ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    assert albert.detokenize(albert.tokenize(TEXT)) == TEXT.lower()
    assert xlmr.detokenize(xlmr.tokenize(TEXT)) == TEXT
    library = sentencepiece.SentencePieceProcessor(model_proto=albert.proto)
    assert library.encode(TEXT) == albert.tokenize(TEXT).tolist() and library.pad_id() == 0


def test_byte_pairs_and_sentence_pieces_are_the_same_from_every_process() -> None:
    program = (
        "import hashlib, random, sys\n"
        "from clozekit.tokenizers.learning.learn_byte_pairs import learn_byte_pairs\n"
        "from clozekit.tokenizers.learning.learn_sentence_pieces import learn_xlm_roberta\n"
        "words = [a + b + c for a in 'abcdef' for b in 'ghijkl' for c in 'mnopqr']\n"
        "random.Random(int(sys.argv[1])).shuffle(words)\n"
        "counts = dict.fromkeys(words, 1)\n"
        "print(hashlib.sha256(repr(learn_byte_pairs(counts, 300)).encode() + learn_xlm_roberta(counts, 60)).hexdigest())\n"
    )
    run = [sys.executable, "-c", program]
    outputs = {
        subprocess.run([*run, str(seed)], capture_output=True, text=True, check=True).stdout for seed in range(3)
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("learn", "message"),
    [
        (lambda: learn_byte_pairs({}, 300), "has none"),
        (lambda: learn_byte_pairs({"a": 1}, 260), "at least 261"),
        (lambda: learn_albert({}, 50, True), "has none"),
        (lambda: learn_albert({"a": 1}, 5000, True), "1 different words allow at most 7 pieces, .* 5000; lower it"),
        (lambda: learn_xlm_roberta({"a": 1}, 10**8), "allow at most 7 pieces"),
        (lambda: learn_xlm_roberta({"a": 1}, 10**12), "below 2\\^31, got 1000000000000"),
        (lambda: learn_xlm_roberta({"a": 1}, 2), "must be above 2"),
        (lambda: learn_albert({"abc": 1}, 5, True), "allow no fewer than 9, .* 5; raise it"),
        (lambda: learn_albert({"a": 1}, 8, True, 0.5), "character_coverage must be a rate from 0.9 to 1, got 0.5"),
        (lambda: learn_albert({"\u2585": 1}, 8, True), "has none"),
        (lambda: learn_albert({"\x01": 1}, 8, True), "has none"),
        (lambda: learn_albert({"a": -1, "b": 5}, 8, True), "1 to 2\\^53 times, 'a' has -1"),
        (lambda: learn_albert({"a": 2**64}, 8, True), "1 to 2\\^53 times"),
        (lambda: learn_xlm_roberta({"<s>" * 60: 1}, 11, False, 0.98), "character_coverage of 0.98 has; raise it"),
    ],
)
def test_impossible_requests_are_refused(learn: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        learn()


def test_byte_pairs_of_a_size_beyond_the_corpus_are_what_there_is() -> None:
    assert learn_byte_pairs({"low": 5, "lower": 2}, 10**12) == learn_byte_pairs({"low": 5, "lower": 2}, 500)


def test_a_character_that_the_library_reserves_costs_no_other() -> None:
    # It leaves out each line with a U+2585.
    counts = {"sun\u2585moon": 50, "sun": 1}
    assert "o" in XLMRobertaTokenizer(learn_xlm_roberta(counts, 12)).get_vocabulary()


def test_a_lone_surrogate_stops_no_learner() -> None:
    counts = {"a\ud800b": 3, "cat": 4, "car": 2}
    assert learn_xlm_roberta(counts, 12) == learn_xlm_roberta({"a\ufffd\ufffd\ufffdb": 3, "cat": 4, "car": 2}, 12)


def test_the_report_counts_words_and_pieces() -> None:
    tokenizer = BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "low", "##er", "##est"])
    report = report_vocabulary(tokenizer, {"low": 5, "lower": 2, "lowest": 2, "new": 1})
    assert report[:3] == (8, 10, 4)
    # 5 * 1 + 2 * 2 + 2 * 2 + 1 tokens, one of them unknown.
    assert (report.coverage_rate, report.unknown_rate, report.tokens_per_word) == (0.9, 1 / 14, 1.4)
    assert report.longest_pieces[:2] == ["[MASK]", "##est"]
    bytes_only = RobertaTokenizer(*learn_byte_pairs({"a": 1}, 261))
    assert report_vocabulary(bytes_only, {"Ã©": 3, "Ġa": 1})[3:6] == (1.0, 0.0, 2.0)

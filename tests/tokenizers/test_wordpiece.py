"""WordPiece: known pieces, files, fingerprints, bad vocabularies."""

from pathlib import Path

import numpy as np
import pytest

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import BertTokenizer, load_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "un", "##want", "##ed", "runn", "##ing", ",", "low", "lowest", "##er", "é", "e"]


@pytest.mark.parametrize(
    ("text", "lowercase", "pieces"),
    [
        # The example of google-research/bert's own test.
        ("unwanted running", True, ["un", "##want", "##ed", "runn", "##ing"]),
        ("unwantedX running", True, ["[UNK]", "runn", "##ing"]),
        ("UNwanted,running", True, ["un", "##want", "##ed", ",", "runn", "##ing"]),
        ("Lower lowest", False, ["[UNK]", "lowest"]),
        ("lower", True, ["low", "##er"]),
        ("É é", True, ["e", "e"]),
        ("é", False, ["é"]),
        ("un\u200bwanted", True, ["un", "##want", "##ed"]),
        ("low" * 34, True, ["[UNK]"]),
        ("", True, []),
    ],
)
def test_known_pieces(text: str, lowercase: bool, pieces: list[str]) -> None:
    tokenizer = BertTokenizer(PIECES, lowercase=lowercase)
    batch = tokenizer.encode_batch([text])
    assert [tokenizer.id_to_token(token_id) for token_id in batch.token_ids.tolist()] == pieces
    assert batch.row_lengths.tolist() == [len(pieces)]


def test_a_batch_is_its_texts_one_after_the_other() -> None:
    tokenizer = BertTokenizer(PIECES, lowercase=True)
    texts = ["unwanted", "", "low, lower"]
    batch = tokenizer.encode_batch(texts)
    alone = [tokenizer.encode_batch([text]).token_ids for text in texts]
    assert batch.row_lengths.tolist() == [len(ids) for ids in alone]
    assert batch.token_ids.tolist() == np.concatenate(alone).tolist()


def test_word_starts() -> None:
    starts = BertTokenizer(PIECES, lowercase=True).word_starts()
    assert [piece for piece, start in zip(PIECES, starts, strict=True) if not start] == [
        "[PAD]", "[CLS]", "[SEP]", "[MASK]", "##want", "##ed", "##ing", "##er",
    ]  # fmt: skip


def test_saving_and_loading_keeps_the_fingerprint(tmp_path: Path) -> None:
    tokenizer = BertTokenizer(PIECES, lowercase=True)
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.sha256() == tokenizer.sha256()
    assert loaded.get_vocabulary() == PIECES
    assert BertTokenizer(PIECES, lowercase=False).sha256() != tokenizer.sha256()
    assert BertTokenizer(PIECES[:-1], lowercase=True).sha256() != tokenizer.sha256()


def test_a_vocabulary_is_a_file_a_list_or_a_dict(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    as_dict = {piece: index for index, piece in enumerate(PIECES)}
    fingerprints = {BertTokenizer(v).sha256() for v in (path, str(path), PIECES, as_dict)}
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([*PIECES, "low"], "has 'low' on line 12 and again on line 17"),
        ([*PIECES[:7], "", *PIECES[7:]], "line 8 is empty"),
        ([piece for piece in PIECES if piece != "[MASK]"], "must hold the special token [MASK]"),
    ],
)
def test_a_bad_vocabulary_names_the_file_and_the_line(tmp_path: Path, pieces: list[str], message: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        BertTokenizer(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="it is damaged"):
        load_tokenizer(tmp_path)

"""The texts of files for fill, evaluate and predict: where lines end, which columns, what is refused with its line."""

import gzip
from pathlib import Path

import pytest

from clozekit.deploy.cli.texts_of_files import read_texts
from clozekit.tokenizers.common.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("t.txt", b"a\nb\n", ["a", "b"]),
        ("t.txt", b"a\r\nb", ["a", "b"]),
        ("t", "a\u2028b\x0cc\x85d\x1ce\n\nf\n".encode(), ["a\u2028b\x0cc\x85d\x1ce", "", "f"]),
        ("t.txt", b"\xef\xbb\xbfa\n \nb\n\n", ["a", "", "b", ""]),
        ("t.txt.gz", gzip.compress(b"a\nb\n", mtime=0), ["a", "b"]),
        ("t.tsv", b'label\ttext\n1\ta "b\n0\tc\n', ['a "b', "c"]),
        ("T.CSV", b'text,label\n"a, b",1\n', ["a, b"]),
        ("t.jsonl", b'{"text": "a\\nb"}\n{"text": ""}\n', ["a\nb", ""]),
    ],
)
def test_texts_of_files(name: str, content: bytes, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_texts(str(tmp_path / name), "--file") == [(text,) for text in texts]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", b"a\n\xff\n", "t.txt, line 2 is not"),
        ("t.jsonl", b'{"text": "a"}\n{"text": 5}\n', "t.jsonl, line 2: 'text' must hold text, it holds 5"),
        ("t.jsonl", b'{"text": "\\ud800"}\n', "t.jsonl, line 1"),
        ("t.jsonl", b'{"text": NaN}\n', "t.jsonl, line 1"),
        ("t.tsv", b"sentence\nx\n", "must have the column 'text', it has 'sentence'; name it with --text-key"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_texts(str(tmp_path / name), "--file")
    assert "data." not in str(error.value)


def test_pairs(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\tb\n\nc\td\n")
    assert read_texts(str(tmp_path / "t.txt"), "--file", None, 2) == [("a", "b"), ("", ""), ("c", "d")]
    (tmp_path / "t.csv").write_text("p,q\na,b\n")
    assert read_texts(str(tmp_path / "t.csv"), "--file", ("p", "q"), 2) == [("a", "b")]
    (tmp_path / "t.txt").write_text("a\tb\nc\n")
    with pytest.raises(InputError, match="line 2 is 'c'"):
        read_texts(str(tmp_path / "t.txt"), "--file", None, 2)

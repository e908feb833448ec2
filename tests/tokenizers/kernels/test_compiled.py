"""The kernels: kept on disk and compiled again when any of their files changes; usable where nothing can be written."""

import subprocess
import sys
from pathlib import Path

import numba

from clozekit.tokenizers.kernels import numba_functions, unicode_tables
from clozekit.tokenizers.kernels.trie import CHECK, VALUE, build_trie, child
from clozekit.tokenizers.kernels.wordpiece_kernel import encode_wordpiece


def test_machine_code_depends_on_every_source() -> None:
    # An attribute of Numba's own: if it moves, stale machine code would run after an update.
    assert encode_wordpiece.machine_code._cache._cache_file._source_stamp == numba_functions._sources_hash(
        encode_wordpiece.py_func.__code__.co_filename
    )


def test_a_read_only_installation_works(tmp_path: Path) -> None:
    # Neither the folder of the package nor a home: Numba finds no place for its cache.
    script = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from clozekit.tokenizers.kernels.compiled import compile_kernel\n"
        "print(compile_kernel(lambda x: x + 1)(1))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr


def test_tensorflow_stays_out_of_the_batch_face(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer\n"
        "RobertaTokenizer({'<s>': 0, '<pad>': 1, '</s>': 2, '<mask>': 3, 'a': 4}, []).tokenize('a')\n"
        "print(sorted({'tensorflow', 'keras', 'apache_beam'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_trie_finds_its_pieces_and_no_others() -> None:
    pieces = [b"a", b"ab", b"abc", b"b\xff", b"\x01", "é".encode()]
    units = build_trie(pieces, range(len(pieces)))
    # `child` is a part of kernels and cannot be called from Python.
    after = numba.njit(lambda units, state, byte: child(units, state, byte))

    def value(piece: bytes) -> int:
        state = 0
        for byte in piece:
            state = after(units, state, byte)
            if state < 0:
                return -1
        return int(units[state, VALUE])

    assert [value(piece) for piece in pieces] == list(range(len(pieces)))
    assert [value(piece) for piece in (b"abcd", b"b", b"c", b"\xff", b"\xc3")] == [-1] * 5
    assert (build_trie([], [])[:, CHECK] < 0).all()


def test_unicode_tables_are_those_of_unicode_16() -> None:
    tables = unicode_tables.unicode_tables()
    kept = [ord(c) for c in "aZ1½ \u00a0\u2028.،\u200b\u0301Σ'"]
    assert tables.properties[kept].tolist() == [65, 65, 2, 2, 4, 4, 4, 8 | 128, 8, 16 | 128, 32 | 128, 65, 8 | 128]
    assert tables.lower[0x130] == (0x69, 0x307) and tables.decomposed[0xAC01] == (0x1100, 0x1161, 0x11A8)
    # Assigned in 15.1 and in 16.0.
    assert tables.properties[0x2EBF0] & unicode_tables.LETTER and tables.properties[0x105C0] & unicode_tables.LETTER

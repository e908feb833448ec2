"""Writes tokenizers/kernels/script_data.py: the scripts of characters as SentencePiece's trainer knows them.

Run it with a checkout of google/sentencepiece, whose table is made of Unicode's Scripts.txt:
    python tests/tokenizers/kernels/make_script_data.py sentencepiece/src/unicode_script_map.h > tokenizers/kernels/script_data.py
"""

import base64
import re
import sys
import zlib
from pathlib import Path

import numpy as np

_ENTRY = re.compile(
    r"for \(char32(?:_t)? c = 0x([0-9A-F]+); c <= 0x([0-9A-F]+); \+\+c\)\s*\(\*smap\)\[c\] = U_(\w+);"
    r"|\(\*smap\)\[0x([0-9A-F]+)\] = U_(\w+);"
)
# To the trainer they are Han, as is the mark of long vowels between them.
_AS_HAN = ("Hiragana", "Katakana")
_LONG_VOWEL = 0x30FC


def main() -> None:
    scripts = np.full(0x110000, "Common", dtype=object)
    for first, last, script, single, its in _ENTRY.findall(Path(sys.argv[1]).read_text(encoding="utf-8")):
        scripts[int(first or single, 16) : int(last or single, 16) + 1] = script or its
    scripts[np.isin(scripts, _AS_HAN)] = "Han"
    scripts[_LONG_VOWEL] = "Han"
    # Inherited is 0: unicode scripts are only compared, so any numbers do.
    names = ["Inherited", *sorted({*scripts.tolist()} - {"Inherited"})]
    numbers = np.array([names.index(script) for script in scripts.tolist()])
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    raw = np.array([np.diff(starts, prepend=0), numbers[starts]], dtype="<i4").tobytes()
    text = base64.b85encode(zlib.compress(raw, 9)).decode()
    out = sys.stdout
    out.write(
        '"""Scripts of characters, written by tests/tokenizers/kernels/make_script_data.py; script_tables.py reads them."""\n\n'
    )
    out.write("DATA = (\n")
    for start in range(0, len(text), 108):
        out.write(f'    "{text[start : start + 108]}"\n')
    out.write(")\n")


if __name__ == "__main__":
    main()

"""Writes tokenizers/kernels/unicode_data.py: the Unicode properties that decide tokens, frozen at one version.

Run it with `pip install unicodedata2==16.0.0` and the `tokenizers` package:
    python tests/tokenizers/kernels/make_unicode_data.py > tokenizers/kernels/unicode_data.py
"""

import base64
import sys
import unicodedata
import zlib

import numpy as np
import unicodedata2
from tokenizers import normalizers

WHITE_SPACE = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
LETTER, NUMBER, SPACE, PUNCTUATION, CONTROL, NONSPACING_MARK, CASED, CASE_IGNORABLE = (1 << bit for bit in range(8))


def properties(code_point: int) -> int:
    character = chr(code_point)
    category = unicodedata2.category(character)
    value = {"L": LETTER, "N": NUMBER, "P": PUNCTUATION}.get(category[0], 0)
    value |= SPACE * (code_point in WHITE_SPACE)
    value |= CONTROL * (category in ("Cc", "Cf"))
    value |= NONSPACING_MARK * (category == "Mn")
    # Python tells whether a character is cased or case-ignorable only through how it lower-cases a sigma after it.
    if unicodedata.category(character) != "Cn":
        after_nothing = (character + "Σ").lower()[-1] == "ς"
        after_letter = ("A" + character + "Σ").lower()[-1] == "ς"
        value |= CASED * after_nothing | CASE_IGNORABLE * (after_letter and not after_nothing)
    else:
        value |= CASED * (category in ("Lu", "Ll", "Lt")) | CASE_IGNORABLE * (
            category in ("Mn", "Me", "Cf", "Lm", "Sk")
        )
    return value


def runs(values: list[int]) -> list[np.ndarray]:
    """Where the value changes, and the values."""
    array = np.array(values)
    starts = np.flatnonzero(np.diff(array, prepend=-1))
    return [np.diff(starts, prepend=0), array[starts]]


def mapping(pairs: dict[int, str]) -> list[np.ndarray]:
    """Code points, lengths of what they map to, and that one after the other."""
    keys = np.array(list(pairs))
    return [
        np.diff(keys, prepend=0),
        np.array([len(text) for text in pairs.values()]),
        np.array([ord(character) for text in pairs.values() for character in text]),
    ]


def main() -> None:
    lowercase = normalizers.Lowercase()
    assigned = [point for point in range(0x110000) if unicodedata2.category(chr(point)) not in ("Cn", "Cs")]
    lower = {point: lowercase.normalize_str(chr(point)) for point in assigned}
    # Python's own is one or two Unicode versions older; where it knows the character, both agree.
    assert all(lower[point] == chr(point).lower() for point in assigned if unicodedata.category(chr(point)) != "Cn")
    decomposed = {
        point: unicodedata2.normalize("NFD", chr(point)) for point in assigned if not 0xAC00 <= point < 0xD7A4
    }
    columns = [
        *runs([properties(point) for point in range(0x110000)]),
        *runs([unicodedata2.combining(chr(point)) for point in range(0x110000)]),
        *mapping({point: text for point, text in lower.items() if text != chr(point)}),
        *mapping({point: text for point, text in decomposed.items() if text != chr(point)}),
    ]
    raw = b"".join(np.array([len(column), *column], dtype="<i4").tobytes() for column in columns)
    text = base64.b85encode(zlib.compress(raw, 9)).decode()
    out = sys.stdout
    out.write(
        '"""Unicode properties, written by tests/tokenizers/kernels/make_unicode_data.py; unicode_tables.py reads them."""\n\n'
    )
    out.write(f'UNICODE_VERSION = "{unicodedata2.unidata_version}"\n\nDATA = (\n')
    for start in range(0, len(text), 108):
        out.write(f'    "{text[start : start + 108]}"\n')
    out.write(")\n")


if __name__ == "__main__":
    main()

"""JSON files of others: what is damaged, boundless or said twice is one line that names the file."""

from pathlib import Path

import pytest

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import MAX_DEPTH, parse_object, read_json, read_object

REFUSED = {
    "empty": (b"", "must be JSON"),
    "cut": (b'{"a": 1', "must be JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "UTF-8, it is damaged at byte 7"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "must be JSON"),
    "a list": (b"[]", "holds a list"),
    "null": (b"null", "holds null"),
    "a key twice": (b'{"a": {"b": 1, "b": 2}}', "has 'b' twice"),
    "NaN": (b'{"a": NaN}', "has nan"),
    "minus infinity": (b'{"a": [-Infinity]}', "has -inf"),
    "beyond all floats": (b'{"a": 1e999}', "has inf"),
    "half a character": (b'{"a": ["\\uD800"]}', "half of a character"),
    "half a character as a key": (b'{"\\udfff": 1}', "half of a character"),
    "a number of 5,000 digits": (b'{"a": ' + b"1" * 5000 + b"}", "few digits"),
    "lists one level too deep": (
        b'{"a": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}",
        "nested too deeply",
    ),
    "lists of 100,000 levels": (b"[" * 100_000, "nested too deeply"),
    "objects of 100,000 levels": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_file_is_one_line(name: str, tmp_path: Path) -> None:
    content, message = REFUSED[name]
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read_object(path, "preset: config.json")
    assert str(raised.value).count("preset: config.json") == 1
    assert "\n" not in str(raised.value)


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(InputError, match="must be a file"):
            read_json(path)


def test_whole_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, null, "\\ud83d\\ude00"], "b": {"c": 1e30}}')
    assert read_object(path) == {"a": [1, 2.5, None, "\U0001f600"], "b": {"c": 1e30}}


def test_what_a_diverged_run_logs_is_read() -> None:
    assert str(parse_object('{"loss": NaN}', "log")["loss"]) == "nan"

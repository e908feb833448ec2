"""The texts of `fill --file`, `evaluate --texts` and `predict --file`: lines, or a column of a table or of JSON lines."""

import sys
from collections.abc import Sequence

from clozekit.tokenizers.common.errors import InputError

_TABLES = (".tsv", ".csv", ".jsonl", ".ndjson", ".json")


def read_texts(
    path: str, option: str, keys: tuple[str, ...] | None = None, num_texts: int = 1
) -> list[tuple[str, ...]]:
    """The text, or with num_texts=2 the two texts, of each line or row of a file; "-" is the standard input.

    A .tsv, .csv or .jsonl file, compressed or not, is read as `finetune` reads it: by the columns `keys`. In any other
    one a line ends at \\n or \\r\\n and at nothing else, two texts have a tab between them, and an empty line is an empty
    text, so that results can be joined to lines. Raises InputError with the file and line.
    """
    # Arrow comes with it, which no command without a file needs.
    from clozekit.pipelines.text_files.open_input import bare_name

    keys = keys or ("text", "text_pair")[:num_texts]
    if path != "-" and bare_name(path).endswith(_TABLES):
        return _column_texts(path, keys)
    lines = _decoded(_content(path, option), path, option).split("\n")
    rows = []
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
        text = line.removesuffix("\r")
        row = tuple(text.split("\t")) if num_texts == 2 else (text,)
        if not text.strip():
            row = ("",) * num_texts
        if len(row) != num_texts:
            raise InputError(
                f"with --pairs a line must hold two texts with a tab between them, {path}, line {number} is {text!r:.80}"
            )
        rows.append(row)
    return rows


def _column_texts(path: str, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    from clozekit.model.training.finetuning.examples.labelled_texts import Columns, read_labelled_texts

    try:
        found = read_labelled_texts(path, Columns(keys[0], text_pair=keys[1] if len(keys) == 2 else None))
    except InputError as error:
        # Its advice names the keys of finetune's configuration.
        text = str(error).split("; name the columns in data.")[0].split("; correct the row, or set data.")[0]
        advice = "; name it with --text-key" if "must have the column" in text or "must have the key" in text else ""
        raise InputError(text.replace("labelled texts", "texts") + advice) from error
    return list(zip(found.texts, found.pairs, strict=True)) if found.pairs else [(text,) for text in found.texts]


def _content(path: str, option: str) -> bytes:
    from clozekit.pipelines.text_files.open_input import open_input
    from clozekit.tokenizers.storage.file_systems import reason_of

    try:
        if path == "-":
            buffer = getattr(sys.stdin, "buffer", None)
            return buffer.read() if buffer is not None else sys.stdin.read().encode("utf-8", "surrogatepass")
        with open_input(path, text=True) as stream:
            return stream.read()
    # The clients of stores share no class of errors.
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else reason_of(error)
        raise InputError(f"{option} must be a readable file of UTF-8 lines, {path} is not ({reason})") from error


def _decoded(content: bytes, path: str, option: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{option} must be a readable file of UTF-8 lines, {path}, line {line} is not; convert it"
        ) from error


def fill_texts(texts: Sequence[str], file: str | None, option: str = "--file", key: str | None = None) -> list[str]:
    """The texts of the command line, then those of `file`, its empty lines as empty texts."""
    found = list(texts)
    if file is not None:
        found += [row[0] for row in read_texts(file, option, (key,) if key else None)]
    if not any(map(str.strip, found)):
        raise InputError(f"there must be at least one text, got none; write it behind the preset or pass {option}")
    return found

"""Sentences of tagged words from CoNLL files (a word a line) and JSON lines (lists of words and of tags)."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clozekit.model.training.finetuning.examples.labelled_texts import content_of
from clozekit.model.training.settings.columns import Columns
from clozekit.pipelines.text_files.json_lines import numbered_lines, parse_object
from clozekit.pipelines.text_files.open_input import bare_name
from clozekit.tokenizers.common.errors import InputError

# Lines that tell documents apart.
_DOCUMENT = "-DOCSTART-"
_CONLL_SUFFIXES = (".conll", ".conll2003", ".conllu", ".iob", ".iob2", ".bio", ".txt")
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class TaggedWords:
    """The sentences of one file and the tags of their words, none in a file to predict; lines: where each begins."""

    source: str
    sentences: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    num_skipped: int
    sha256: str

    def __len__(self) -> int:
        return len(self.sentences)

    def taken(self, places: Sequence[int]) -> "TaggedWords":
        """The sentences at `places`, in that order."""
        return dataclasses.replace(
            self,
            sentences=tuple(self.sentences[place] for place in places),
            tags=tuple(self.tags[place] for place in places) if self.tags else (),
            lines=tuple(self.lines[place] for place in places),
        )


def read_tagged_words(path: str, columns: Columns, names: Sequence[str] = ()) -> TaggedWords:
    """Reads a local file or any fsspec URL, plain or compressed; names: of tags that are given as numbers.

    Raises InputError naming the file and the line for a row of another number of fields, lists of other lengths, a file
    without sentences. With skip_bad_rows such sentences are counted instead.
    """
    content = content_of(path)
    read = _json_sentences if _format(path, columns.file_format) == "jsonl" else _conll_sentences
    found: list[tuple[int, tuple[str, ...], tuple[str, ...]]] = []
    num_skipped = 0
    for line, sentence in read(content, columns, names):
        if isinstance(sentence, str):
            if not columns.skip_bad_rows:
                raise InputError(f"{path}, line {line}: {sentence}; correct it, or set data.skip_bad_rows=true")
            num_skipped += 1
        elif sentence[0]:
            found.append((line, *sentence))
    if not found:
        raise InputError(f"{path} must hold at least one sentence, it holds none; check the file")
    lines, sentences, tags = zip(*found, strict=True)
    sha256 = hashlib.sha256(content).hexdigest()
    return TaggedWords(path, sentences, () if columns.label is None else tags, lines, num_skipped, sha256)


def _format(path: str, file_format: str) -> str:
    if file_format in ("jsonl", "conll"):
        return file_format
    name = bare_name(path)
    if file_format == "auto" and name.endswith(_JSON_SUFFIXES):
        return "jsonl"
    if file_format == "auto" and name.endswith(_CONLL_SUFFIXES):
        return "conll"
    raise InputError(
        f"tagged words must be in CoNLL's format or JSON lines, {path} ({file_format}) is neither; set data.format=conll or"
        " data.format=jsonl"
    )


# A sentence is (its words, their tags), or what is wrong with it.
Sentence = tuple[tuple[str, ...], tuple[str, ...]] | str


def _conll_sentences(content: bytes, columns: Columns, names: Sequence[str]) -> Iterator[tuple[int, Sentence]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield content[: error.start].count(b"\n") + 1, f"text must be UTF-8, byte {error.start} is not"
        return
    word_place, tag_place = _place(columns.text, 0), None if columns.label is None else _place(columns.label, -1)
    begin, problem = 0, ""
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        # CoNLL-U has comments.
        if line.startswith("# ") or (fields and fields[0] == _DOCUMENT):
            continue
        if line.strip():
            begin = begin or number
            try:
                words.append(fields[word_place].strip())
                tags.append("" if tag_place is None else fields[tag_place].strip())
            except IndexError:
                problem = problem or f"line {number} has {len(fields)} fields, too few for the columns of word and tag"
            continue
        if begin:
            lacking = any(not word for word in words) or (tag_place is not None and any(not tag for tag in tags))
            problem = problem or ("a word or a tag is empty" if lacking else "")
            yield begin, problem or (tuple(words), tuple(tags))
        begin, problem, words, tags = 0, "", [], []


def _place(column: str, default: int) -> int:
    if column == "":
        return default
    try:
        return int(column)
    except ValueError as error:
        raise InputError(
            f"the columns of a CoNLL file are numbers from 0, or from the end below 0, got {column!r}; set data.text and"
            " data.label"
        ) from error


def _json_sentences(content: bytes, columns: Columns, names: Sequence[str]) -> Iterator[tuple[int, Sentence]]:
    word_key = columns.text or "tokens"
    tag_key = None if columns.label is None else columns.label or "ner_tags"
    for number, line in numbered_lines(content):
        try:
            fields = parse_object(line)
        except InputError as error:
            yield number, str(error).removesuffix("; correct it")
            continue
        missing = [key for key in (word_key, tag_key) if key is not None and key not in fields]
        if missing:
            yield number, f"a JSON line must have the key {missing[0]!r}, this one has {', '.join(map(repr, fields))}"
            continue
        words = fields[word_key]
        if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
            yield number, f"{word_key!r} must hold a list of words, it holds {json.dumps(words)[:40]}"
            continue
        tags = [] if tag_key is None else _named(fields[tag_key], names)
        if tag_key is not None and (tags is None or len(tags) != len(words)):
            held = json.dumps(fields[tag_key])[:40]
            yield (
                number,
                f"{tag_key!r} must hold a name, or a number of data.labels, for each of {len(words)} words, it holds {held}",
            )
            continue
        yield number, (tuple(words), tuple(tags or ()))


def _named(tags: Any, names: Sequence[str]) -> list[str] | None:
    """Names of tags; numbers are places in `names`. None for what is neither."""
    if not isinstance(tags, list):
        return None
    found = []
    for tag in tags:
        if isinstance(tag, str) and tag:
            found.append(tag)
        elif isinstance(tag, int) and not isinstance(tag, bool) and 0 <= tag < len(names):
            found.append(names[tag])
        else:
            return None
    return found

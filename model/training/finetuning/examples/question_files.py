"""Questions with texts and answers from files as SQuAD's, and from JSON lines as the datasets made of them."""

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
from clozekit.tokenizers.settings.json_files import parse_json


@dataclass(frozen=True)
class Questions:
    """The questions of one file. answers: of each question (text, its first character in the context), none where it has no
    answer; ids: the file's, or numbers."""

    source: str
    ids: tuple[str, ...]
    questions: tuple[str, ...]
    contexts: tuple[str, ...]
    answers: tuple[tuple[tuple[str, int], ...], ...]
    num_skipped: int
    sha256: str

    def __len__(self) -> int:
        return len(self.questions)

    def taken(self, places: Sequence[int]) -> "Questions":
        """The questions at `places`, in that order."""
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[place] for place in places),
            questions=tuple(self.questions[place] for place in places),
            contexts=tuple(self.contexts[place] for place in places),
            answers=tuple(self.answers[place] for place in places),
        )


def read_questions(path: str, columns: Columns) -> Questions:
    """Reads a local file or any fsspec URL, plain or compressed: SQuAD's JSON, or JSON lines with the keys question, context,
    answers and perhaps id.

    Raises InputError naming the file and the question for keys that are missing, and for an answer that does not stand in its
    context where it is said to. With skip_bad_rows such questions are counted instead.
    """
    content = content_of(path)
    read = _squad if _is_squad(path, columns.file_format, content) else _json_lines
    found: list[tuple[str, str, str, tuple[tuple[str, int], ...]]] = []
    num_skipped = 0
    for named, fields in read(content, path):
        question = fields if isinstance(fields, str) else _question(fields, str(len(found)), columns.label is not None)
        if isinstance(question, str):
            if not columns.skip_bad_rows:
                raise InputError(f"{path}, {named}: {question}; correct it, or set data.skip_bad_rows=true")
            num_skipped += 1
        else:
            found.append(question)
    if not found:
        raise InputError(f"{path} must hold at least one question, it holds none; check the file")
    ids, questions, contexts, answers = zip(*found, strict=True)
    if len(set(ids)) != len(ids):
        twice = next(one for number, one in enumerate(ids) if one in ids[:number])
        raise InputError(f"{path}: each question must have an id of its own, {twice!r} stands twice; change one")
    return Questions(path, ids, questions, contexts, answers, num_skipped, hashlib.sha256(content).hexdigest())


def _is_squad(path: str, file_format: str, content: bytes) -> bool:
    if file_format in ("squad", "jsonl"):
        return file_format == "squad"
    name = bare_name(path)
    if file_format == "auto" and name.endswith((".jsonl", ".ndjson")):
        return False
    if file_format == "auto" and name.endswith(".json"):
        # Files of lines are named so too: those have an object a line.
        first = content.split(b"\n", 1)[0].strip()
        return not (
            first.startswith(b"{") and first.endswith(b"}") and b'"question"' in first and b'"data"' not in first
        )
    raise InputError(
        f"questions must be in SQuAD's JSON or JSON lines, {path} ({file_format}) is neither; set data.format=squad or"
        " data.format=jsonl"
    )


def _json_lines(content: bytes, path: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    for number, line in numbered_lines(content):
        try:
            yield f"line {number}", parse_object(line)
        except InputError as error:
            yield f"line {number}", str(error).removesuffix("; correct it")


def _squad(content: bytes, path: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """The questions as the lines have them. Raises InputError for what is not of SQuAD's form."""
    whole = parse_json(content, path)
    articles = whole.get("data") if isinstance(whole, dict) else None
    if not isinstance(articles, list):
        raise InputError(f"{path} must be SQuAD's JSON with a list under 'data', it is not; or set data.format=jsonl")
    for number, article in enumerate(articles):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        for paragraph in paragraphs if isinstance(paragraphs, list) else [None]:
            asked = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(paragraph, dict) or not isinstance(asked, list):
                yield f"article {number}", "an article must have paragraphs with a list under 'qas'"
                continue
            for one in asked:
                if not isinstance(one, dict):
                    yield f"article {number}", "a question must be an object"
                    continue
                answers = [] if one.get("is_impossible") else one.get("answers", [])
                yield f"question {one.get('id', '?')}", {**one, "context": paragraph.get("context"), "answers": answers}


def _question(
    fields: dict[str, Any], number: str, has_answers: bool
) -> tuple[str, str, str, tuple[tuple[str, int], ...]] | str:
    """(id, question, context, answers), or what is wrong."""
    for key in ("question", "context"):
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            return f"{key!r} must hold text, it holds {json.dumps(fields.get(key))[:40]}"
    name, context = str(fields.get("id", number)), fields["context"]
    if not has_answers:
        return name, fields["question"], context, ()
    answers = _answers(fields.get("answers"))
    if answers is None:
        held = json.dumps(fields.get("answers"))[:60]
        return f"'answers' must hold texts and their places (text, answer_start), it holds {held}"
    for text, start in answers:
        if not text or context[start : start + len(text)] != text:
            there = context[max(start, 0) : max(start, 0) + len(text)]
            return f"the answer {text[:40]!r} must stand in its context at character {start}, there is {there[:40]!r}"
    return name, fields["question"], context, answers


def _answers(held: Any) -> tuple[tuple[str, int], ...] | None:
    """Answers as SQuAD lists them, or as the datasets made of it do (two lists); None for what is neither."""
    if isinstance(held, dict) and isinstance(held.get("text"), list) and isinstance(held.get("answer_start"), list):
        if len(held["text"]) != len(held["answer_start"]):
            return None
        held = [{"text": a, "answer_start": b} for a, b in zip(held["text"], held["answer_start"], strict=True)]
    if not isinstance(held, list):
        return None
    found = []
    for answer in held:
        text, start = (answer.get(key) if isinstance(answer, dict) else None for key in ("text", "answer_start"))
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool) or start < 0:
            return None
        found.append((text, start))
    return tuple(found)

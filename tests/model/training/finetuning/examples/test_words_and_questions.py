"""Files of tagged words and of questions: every format gives the same examples, and what is wrong is named by its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from clozekit.model.training.finetuning.examples.labelled_texts import read_labelled_texts
from clozekit.model.training.finetuning.examples.question_files import Questions, read_questions
from clozekit.model.training.finetuning.examples.tagged_words import TaggedWords, read_tagged_words
from clozekit.model.training.settings.columns import LABELS_BETWEEN, Columns
from clozekit.tokenizers.common.errors import InputError

WORDS = Columns("", label="")
CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"
SENTENCES = (("EU", "rejects"), ("Peter",))
TAGS = (("B-ORG", "O"), ("B-PER",))


def words_of(path: Path, content: str | bytes, columns: Columns = WORDS, names: tuple[str, ...] = ()) -> TaggedWords:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_tagged_words(str(path), columns, names)


def json_words(words: list[Any], tags: Any) -> str:
    return json.dumps({"tokens": words, "ner_tags": tags}) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "columns", "names"),
    [
        ("a.conll", CONLL, WORDS, ()),
        ("a.txt", CONLL.replace("\n", "\r\n"), WORDS, ()),
        ("a.conll.gz", gzip.compress(CONLL.encode(), mtime=0), WORDS, ()),
        (
            "a.conllu",
            "# text = x\n1\tEU\tB-ORG\t_\n2\trejects\tO\t_\n\n1\tPeter\tB-PER\t_\n",
            Columns("1", label="2"),
            (),
        ),
        ("a.jsonl", json_words(["EU", "rejects"], ["B-ORG", "O"]) + json_words(["Peter"], ["B-PER"]), WORDS, ()),
        ("a.jsonl", json_words(["EU", "rejects"], [1, 0]) + json_words(["Peter"], [2]), WORDS, ("O", "B-ORG", "B-PER")),
        ("a.dat", CONLL, Columns("0", label="-1", file_format="conll"), ()),
    ],
    ids=("conll", "line ends of Windows", "gzip", "CoNLL-U", "JSON lines", "numbers of labels", "format said"),
)
def test_every_format_gives_the_same_sentences(
    name: str, content: str | bytes, columns: Columns, names: tuple[str, ...], tmp_path: Path
) -> None:
    found = words_of(tmp_path / name, content, columns, names)
    assert (found.sentences, found.tags) == (SENTENCES, TAGS)
    assert found.taken([1]).sentences == SENTENCES[1:]
    untagged = words_of(tmp_path / name, content, Columns(columns.text, file_format=columns.file_format))
    assert (untagged.sentences, untagged.tags) == (SENTENCES, ())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.conll", "a O\nb\n", r"line 1: "),
        ("a.conll", "\n\n", "must hold at least one sentence"),
        ("a.conll", b"a O\n\xff O\n", "line 2: text must be UTF-8, byte 4 is not"),
        ("a.csv", "a,O\n", "must be in CoNLL's format or JSON lines"),
        ("a.jsonl", json_words(["a", "b"], ["O"]), "line 1: 'ner_tags' must hold a name"),
        ("a.jsonl", json_words(["a"], [0]), "or a number of data.labels"),
        ("a.jsonl", json_words(["a", 1], ["O", "O"]), "'tokens' must hold a list of words"),
        ("a.jsonl", '{"tokens": ["a"]}\n', "must have the key 'ner_tags'"),
        ("a.jsonl", "[1]\n", "line 1"),
    ],
    ids=range(9),
)
def test_sentences_that_are_none_are_named(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    columns = Columns("0", label="1") if name.endswith("conll") else WORDS
    with pytest.raises(InputError, match=message):
        words_of(tmp_path / name, content, columns)


def test_bad_sentences_are_counted_where_that_is_wanted(tmp_path: Path) -> None:
    content = json_words(["a"], ["O"]) + json_words(["a", "b"], ["O"])
    found = words_of(tmp_path / "a.jsonl", content, Columns("", label="", skip_bad_rows=True))
    assert (len(found), found.num_skipped) == (1, 1)


CONTEXT = "It was written by Ada in Paris."
ANSWERS: list[dict[str, Any]] = [{"text": "Ada", "answer_start": 18}]


def squad(*questions: dict[str, Any], context: str = CONTEXT) -> str:
    return json.dumps(
        {"version": "1.1", "data": [{"title": "x", "paragraphs": [{"context": context, "qas": list(questions)}]}]}
    )


def asked(name: str = "1", **changes: Any) -> dict[str, Any]:
    return {"id": name, "question": "Who?", "answers": ANSWERS, **changes}


def line(**changes: Any) -> str:
    return json.dumps({**asked(), "context": CONTEXT, **changes}) + "\n"


def questions_of(path: Path, content: str, **options: Any) -> Questions:
    path.write_text(content, encoding="utf-8")
    return read_questions(str(path), Columns("context", label="answers", **options))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", squad(asked(), asked("2", answers=[], is_impossible=True))),
        ("a.json", line() + line(id="2", answers=[])),
        ("a.jsonl", line() + line(id="2", answers=[])),
        (
            "a.jsonl",
            line(answers={"text": ["Ada"], "answer_start": [18]})
            + line(id="2", answers={"text": [], "answer_start": []}),
        ),
    ],
)
def test_every_format_gives_the_same_questions(name: str, content: str, tmp_path: Path) -> None:
    found = questions_of(tmp_path / name, content)
    assert found.ids == ("1", "2")
    assert found.questions == ("Who?", "Who?") and found.contexts == (CONTEXT, CONTEXT)
    assert found.answers == ((("Ada", 18),), ())
    assert found.taken([1]).ids == ("2",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            squad(asked(answers=[{"text": "Ada", "answer_start": 17}])),
            "question 1: the answer 'Ada' must stand in its context",
        ),
        ("a.json", squad(asked(), asked()), "each question must have an id of its own, '1' stands twice"),
        ("a.json", squad(asked(question=" ")), "'question' must hold text"),
        ("a.json", '{"data": 5}', "must be SQuAD's JSON with a list under 'data'"),
        ("a.json", '{"data": [{"paragraphs": [{"context": "x"}]}]}', "article 0: an article must have paragraphs"),
        ("a.json", squad(asked(answers="Ada")), "'answers' must hold texts and their places"),
        ("a.jsonl", line(answers={"text": ["Ada"], "answer_start": []}), "line 1: 'answers' must hold texts"),
        ("a.jsonl", line(context=None), "line 1: 'context' must hold text"),
        ("a.csv", "x", "questions must be in SQuAD's JSON or JSON lines"),
        ("a.jsonl", "", "must hold at least one question"),
    ],
    ids=range(10),
)
def test_questions_that_are_none_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        questions_of(tmp_path / name, content)
    if name == "a.jsonl" and content:
        assert questions_of(tmp_path / name, content + line(id="2"), skip_bad_rows=True).num_skipped == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "text\tlabels\nx\ta, b,a\ny\t\n"),
        ("a.jsonl", '{"text": "x", "labels": ["a", "b"]}\n{"text": "y", "labels": []}\n'),
    ],
)
def test_several_labels_of_a_text(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read_labelled_texts(str(tmp_path / name), Columns("text", label="labels", label_separator=","))
    assert found.labels == (f"a{LABELS_BETWEEN}b", "")


def test_labels_of_json_lines_are_lists(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "labels": "a,b"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 1: 'labels' must hold a list of names, it holds \"a,b\""):
        read_labelled_texts(str(tmp_path / "a.jsonl"), Columns("text", label="labels", label_separator=","))

"""`clozekit predict`: what a fine-tuned preset makes of texts: classes, numbers, tags, answers, vectors."""

import argparse
import dataclasses
import json
from typing import Any, NamedTuple

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.tokenizers.common.errors import InputError


def add(commands: Any) -> None:
    parser = command(
        commands,
        "predict",
        "What a fine-tuned preset makes of texts: classes or numbers, tags of words, answers to questions, vectors.",
        'clozekit predict runs/reviews/preset "A film to remember."\n'
        '  clozekit predict runs/answers/preset --pairs "Who wrote it?" "It was written by Ada."',
    )
    parser.add_argument("preset", metavar="PRESET", help=PRESET_HELP)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts; with --pairs two by two: question, text")
    parser.set_defaults(rest="texts")
    parser.add_argument("--file", default=None, metavar="FILE", help="more texts, one a line; - is the standard input")
    parser.add_argument(
        "--text-key",
        default=None,
        metavar="NAME",
        help="the column or key of the text in a .tsv, .csv or .jsonl file (default: text)",
    )
    parser.add_argument(
        "--text-pair-key",
        default=None,
        metavar="NAME",
        help="with --pairs, that of the second text (default: text_pair)",
    )
    parser.add_argument("--pairs", action="store_true", help="texts are pairs; in a file a tab is between the two")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object a text, a line each: text, and label, probability and probabilities, or labels, value,"
        " values, words, answer, vector, as the preset's task has them",
    )
    parser.add_argument(
        "--allow-none", action="store_true", help="of questions: no answer where none scores better, as in SQuAD 2"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    firsts, seconds = texts_to_classify(arguments)
    load_tensorflow()
    from clozekit.model.presets.finetuned_preset import load_finetuned

    task = load_finetuned(arguments.preset)
    if (task.kind == "question_answerer") and seconds is None:
        raise InputError(
            f"{arguments.preset} answers questions: pass --pairs, and each question with its text behind it, or in --file"
        )
    if task.kind in ("token_classifier", "text_embedder") and seconds is not None:
        raise InputError(f"{arguments.preset} takes single texts, got --pairs; leave it out")
    if arguments.allow_none and task.kind != "question_answerer":
        raise InputError(
            f"--allow-none is for a model that answers questions, {arguments.preset} does not; leave it out"
        )
    kept = [number for number, row in enumerate(zip(firsts, seconds or firsts, strict=True)) if "".join(row).strip()]
    pairs = None if seconds is None else [seconds[number] for number in kept]
    answers = predict(task, [firsts[number] for number in kept], pairs, arguments.allow_none)
    found = dict(zip(kept, answers, strict=True))
    for number, first in enumerate(firsts):
        both = [first, *([seconds[number]] if seconds else [])]
        named = dict(zip(("text", "text_pair"), both, strict=False))
        if number not in found:
            # An empty line of a file: nothing is predicted, and the results keep its place.
            print(json.dumps({**named, "label": None}, ensure_ascii=False) if arguments.json else "\t" * len(both))
        elif arguments.json:
            print(json.dumps(named | found[number].fields, ensure_ascii=False))
        else:
            print(found[number].shown if task.kind == "token_classifier" else "\t".join([found[number].shown, *both]))


class Found(NamedTuple):
    """What is predicted for a text: the fields of its JSON object, and what is shown in front of it."""

    fields: dict[str, Any]
    shown: str


def predict(task: Any, firsts: list[str], seconds: list[str] | None, allow_none: bool) -> list[Found]:
    """A prediction for each text, or for each pair, as the task has it."""
    if task.kind == "token_classifier":
        return tagged(task, firsts)
    if task.kind == "question_answerer":
        from clozekit.model.tasks.answer_questions import answer_questions

        answers = answer_questions(task, firsts, seconds or [], allow_none)
        named = ({"answer": one.text, "begin": one.begin, "end": one.end, "score": one.score} for one in answers)
        return [Found(fields, str(fields["answer"])) for fields in named]
    if task.kind == "text_embedder":
        vectors = [[round(value, 7) for value in row] for row in task.encode(firsts).tolist()]
        return [Found({"vector": vector}, " ".join(map(str, vector))) for vector in vectors]
    from clozekit.model.tasks.classify_texts import classify_texts

    return [classified(one) for one in classify_texts(task, firsts, seconds)]


def classified(found: Any) -> Found:
    values = {key: value for key, value in dataclasses.asdict(found).items() if value not in (None, {})}
    if found.value is not None:
        return Found(values, f"{found.value:.4f}")
    if found.values is not None:
        return Found(values, ", ".join(f"{name} {value:.4f}" for name, value in found.values.items()))
    if found.labels is not None:
        return Found(values, ", ".join(f"{name} {found.probabilities[name]:.1%}" for name in found.labels) or "none")
    return Found(values, f"{found.label} {found.probability:.1%}")


def tagged(task: Any, texts: list[str]) -> list[Found]:
    """Of texts whose words are told apart by white space: a word a line with its tag, an empty line behind the text."""
    from clozekit.model.tasks.tag_words import tag_words

    results = []
    for tags in tag_words(task, [text.split() for text in texts]):
        words = {"words": [tag.word for tag in tags], "labels": [tag.label for tag in tags]}
        shares = [tag.probability for tag in tags]
        lines = "".join(f"{tag.word}\t{tag.label or '-'}\n" for tag in tags)
        results.append(Found({**words, "probabilities": shares}, lines))
    return results


def texts_to_classify(arguments: argparse.Namespace) -> tuple[list[str], list[str] | None]:
    """First and second texts (None without --pairs), of the command line two by two and of the file."""
    from clozekit.deploy.cli.texts_of_files import fill_texts, read_texts

    if not arguments.pairs:
        return fill_texts(arguments.texts, arguments.file, key=arguments.text_key), None
    texts = arguments.texts
    if len(texts) % 2:
        raise InputError(f"with --pairs the texts come two by two, got {len(texts)}; add the other one")
    pairs: list[tuple[str, ...]] = list(zip(texts[::2], texts[1::2], strict=True))
    if arguments.file is not None:
        keys = (arguments.text_key or "text", arguments.text_pair_key or "text_pair")
        pairs += read_texts(arguments.file, "--file", keys, 2)
    if not any("".join(pair).strip() for pair in pairs):
        raise InputError("there must be at least one text, got none; write it behind the preset or pass --file")
    return [first for first, _ in pairs], [second for _, second in pairs]

"""The links of a lineage: the same bytes whatever the order, each under its own hash, and nothing printed that is not plain."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozekit.deploy.check_lineage import _heads, check_lineage
from clozekit.deploy.describe_lineage import card_rows, lineage_lines
from clozekit.model.presets.lineage import Lineage, lineage_from_json, lineage_to_json, linked
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.sealed_json import sha256_of_fields

HASH = "0123456789ab" + "0" * 52


def chain() -> Lineage:
    """Two runs, the second from the first, on one dataset."""
    corpus = linked("corpus", {"sha256": HASH, "num_files": 1, "num_bytes": 10, "documents": 3, "content_sha256": HASH})
    dataset = linked("dataset", {"dataset_sha256": HASH, "sequence_length": 8}, {"corpus": [corpus]})
    first = linked("run", {"kind": "train", "sha256": HASH}, {"dataset": [dataset]})
    checkpoint = linked("checkpoint", {"step": 1, "rows": 8, "tokens": 64, "weights_sha256": HASH}, {"run": [first]})
    second = linked("run", {"kind": "train", "sha256": HASH[::-1]}, {"dataset": [dataset], "init_from": [checkpoint]})
    return linked("preset", {"made_by": "train", "layout": "clozekit", "files": {}, "handle": None}, {"run": [second]})


def text_of(links: dict[str, Any], first: str) -> str:
    return json.dumps({"schema_version": 1, "sha256": first, "links": links})


def test_it_is_read_as_it_was_written_and_nothing_stands_twice() -> None:
    lineage = chain()
    text = lineage_to_json(lineage)
    assert lineage_from_json(text, "it") == lineage and lineage_to_json(lineage_from_json(text, "it")) == text
    assert [one.link["what"] for one in lineage.walk()] == ["preset", "run", "dataset", "corpus", "checkpoint", "run"]
    assert "handle" not in lineage.link
    assert list(lineage_lines(lineage)) == [
        f"preset {lineage.sha256[:12]}: train, clozekit",
        "  run 000000000000: train, recipe ?",
        "    dataset 0123456789ab: rows of up to 8 tokens, recipe ?",
        "      corpus 0123456789ab: 1 file, 10 bytes, 3 documents, content 0123456789ab",
        "    init_from: checkpoint 0123456789ab: step 1, 8 rows, 64 tokens",
        "      run 0123456789ab: train, recipe ?",
        "        dataset 0123456789ab: rows of up to 8 tokens, recipe ? (as above)",
    ]
    assert [row[0] for row in card_rows(lineage)] == [one.link["what"] for one in lineage.walk()]


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"what": "run", "before": {"dataset": [HASH]}}, "is missing"),
        ({"what": "run", "before": {"dataset": "all"}}, "does not say by hashes what it came from"),
        ({"what": "run", "before": []}, "does not say by hashes"),
        ({"what": "\x1b[2J", "before": {}}, "does not say what it is"),
        ({"what": "run", "before": {"\x1b[2J": []}}, "does not say by hashes"),
        ({"what": "run", "before": {}, "name": "a\nb"}, "'name' is no count, text or hash"),
        ({"what": "run", "before": {}, "sha256": "abc"}, "'sha256' is no count, text or hash"),
        ({"what": "run", "before": {}, "step": -1}, "'step' is no count"),
        ({"what": "run", "before": {}, "step": 1.5}, "'step' is no count"),
        ({"what": "run", "before": {}, "code": [[[[[["deep"]]]]]]}, "'code' is no count"),
        ([], "does not say what it is"),
    ],
)
def test_a_link_that_is_none_is_refused(link: Any, message: str) -> None:
    first = sha256_of_fields(link)
    with pytest.raises(InputError, match=f"it must be as it was written, it was changed: link .*{message}"):
        lineage_from_json(text_of({first: link}, first), "it")


def test_what_was_changed_or_is_none_is_refused_in_one_line() -> None:
    lineage = chain()
    text = lineage_to_json(lineage)
    for wrong, message in (
        (text.replace('"step": 1', '"step": 2'), "it is not what its hash says"),
        (text.replace('"schema_version": 1', '"schema_version": 2'), "the schema of a lineage must be 1, it has 2"),
        (text.replace(f'"sha256": "{lineage.sha256}"', f'"sha256": "{HASH}"'), "the link '0123456789ab' is missing"),
        ("[]", "must hold a JSON object"),
        ("{}", "another file of that name"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            lineage_from_json(wrong, "it")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"files": {"../secret": HASH}}, "must stay inside the preset, got '../secret'"),
        ({"files": {"config.json": 3}}, "description config.json: expected 3, found none"),
        ({"files": {"model.safetensors": HASH}}, "weights model.safetensors: expected 0123456789ab, found none"),
        ({"files": ["config.json"]}, ""),
        ({}, ""),
    ],
)
def test_what_a_preset_of_somebody_elses_says_of_its_files_is_taken_for_no_more(
    fields: dict[str, Any], found: str, tmp_path: Path
) -> None:
    (tmp_path / "lineage.json").write_text(lineage_to_json(linked("preset", fields)), encoding="utf-8")
    try:
        problems = check_lineage(str(tmp_path)).problems
    except InputError as error:
        assert found and found in str(error)
    else:
        assert [str(problem) for problem in problems] == ([found] if found else [])


def test_a_link_that_could_not_be_read_again_is_not_made() -> None:
    with pytest.raises(ValueError, match="a link must be one that can be read again, of run: 'name' is no count"):
        linked("run", {"name": "a\nb"})


def test_chains_without_end_are_refused() -> None:
    lineage = linked("preset", {})
    for _ in range(400):
        lineage = Lineage(
            *(lambda link: (sha256_of_fields(link), {**lineage.links, sha256_of_fields(link): link}))(
                {"what": "preset", "before": {"source": [lineage.sha256]}}
            )
        )
    with pytest.raises(InputError, match="it goes back more than 400 steps"):
        lineage_from_json(lineage_to_json(lineage), "it")


PLAIN = st.recursive(
    st.one_of(st.integers(0, 9), st.sampled_from(["train", "\x1b", HASH, ""]), st.none(), st.booleans()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "sha256", "use"]), inner),
    max_leaves=4,
)
NAMES = (
    *(
        "made_by",
        "layout",
        "files",
        "tokenizer",
        "handle",
        "num_tokens",
        "step",
        "rows",
        "heads",
        "kind",
        "code",
        "splits",
    ),
    *("sha256", "weights_sha256", "dataset_sha256", "recipe_sha256", "num_files", "sequence_length", "class_name"),
)
WHATS = ("preset", "checkpoint", "run", "dataset", "stream", "corpus", "tokenizer", "examples", "else")


@given(
    st.lists(st.tuples(st.sampled_from(WHATS), st.dictionaries(st.sampled_from(NAMES), PLAIN)), min_size=1, max_size=3)
)
def test_whatever_is_plain_can_be_printed(parts: list[tuple[str, dict[str, Any]]]) -> None:
    lineage: Lineage | None = None
    for what, fields in parts:
        link = {**fields, "what": what, "before": {} if lineage is None else {"source": [lineage.sha256]}}
        sha256 = sha256_of_fields(link)
        lineage = Lineage(sha256, {**({} if lineage is None else lineage.links), sha256: link})
    assert lineage is not None
    try:
        read = lineage_from_json(lineage_to_json(lineage), "it")
    except InputError as error:
        assert "\n" not in str(error)
        return
    lines = list(lineage_lines(read))
    assert len(lines) == len(parts) and all(line.isprintable() for line in lines)
    assert len(card_rows(read)) == len({one.sha256 for one in read.walk()})
    list(_heads(read))

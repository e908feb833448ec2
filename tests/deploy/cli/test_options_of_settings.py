"""Options and settings are one thing: names, choices, defaults and help of every option come from a field of settings."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from clozekit.deploy.cli.corpus_options import SECTIONS, parse_rule, parse_source
from clozekit.deploy.cli.costs_command import COSTS
from clozekit.deploy.cli.field_descriptions import Described, Paragraph, descriptions_of, paragraphs_of
from clozekit.deploy.cli.options_of_settings import OptionTable, Spelling
from clozekit.deploy.cli.parser import build_parser, parse
from clozekit.deploy.cli.prepare_command import ROWS, prepare_order
from clozekit.deploy.cli.running_options import RUNNING
from clozekit.deploy.cli.submit_command import STATUS, SUBMIT
from clozekit.deploy.cli.vocab_command import VOCABULARY
from clozekit.pipelines.settings.choices import check_choices, choice, choices_of
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    CorpusSettings,
    DecontaminateSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import ReadSettings, RowSettings, Source
from clozekit.pipelines.settings.recipe import Recipe
from clozekit.pipelines.settings.running_settings import RunningSettings
from clozekit.tokenizers.common.errors import InputError

CORPUS = [section.table for section in SECTIONS]
PLATFORMS = [["submit", name] for name in ("dataflow", "vertex", "gke", "tpu", "slurm")]
# Words of a verb -> its tables, and the options that are no settings: where a recipe is, where its result goes.
# --json is every verb's that has an answer.
VERBS: list[tuple[list[str], list[OptionTable], set[str]]] = [
    (["prepare"], [*CORPUS, ROWS, RUNNING], {"--config", "--tokenizer", "--output"}),
    (["vocab"], [*CORPUS, VOCABULARY, RUNNING], {"--config", "--output"}),
    (["export"], [RUNNING], {"--to"}),
    (["costs"], [COSTS], set()),
    *((words, [SUBMIT], set[str]()) for words in PLATFORMS),
    (["submit", "status"], [STATUS], set()),
    (["submit", "cancel"], [], set()),
]
TABLES = [*CORPUS, ROWS, VOCABULARY, RUNNING, COSTS, SUBMIT]
# Fields that only a recipe, an argument or what stands behind `--` gives.
NO_OPTIONS = {
    "DecontaminateSettings": {"text_key", "document_kind", "ngram_words", "min_words", "action"},
    "DeduplicateSettings": {"shingle_words", "num_bands", "rows_per_band"},
    "RunningSettings": {"beam_arguments"},
    "SubmitSettings": {"backend", "job", "changes", "action", "words", "json"},
}
# Scripts of users hold these: a name may come, none may go.
KEPT = {
    "prepare": "bad-words clean config decontaminate deduplicate document drop-boilerplate fix-encoding id-key input"
    " input-format keep-tags language long-documents mask max-bad-rate max-document-mb max-documents-per-row"
    " min-similarity num-shards num-workers output overwrite packing pairs quality quoting rule runner seed"
    " sequence-length shard-size-mb source text-key tokenizer validation-rate",
    "vocab": "alphabet-size bad-words character-coverage clean config decontaminate deduplicate document drop-boilerplate"
    " family fix-encoding id-key input input-format keep-tags language lowercase mask max-bad-rate max-document-mb"
    " min-similarity no-lowercase num-workers output overwrite quality quoting rule runner source text-key"
    " vocabulary-size",
}


def actions_of(words: list[str]) -> dict[str, argparse.Action]:
    """Option -> its action, of a verb; help and --debug are every verb's."""
    parser = build_parser()
    for word in words:
        (choices,) = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = choices[word]
    hidden = {"-h", "--help", "--debug", *(["--json"] if words != ["submit", "status"] else [])}
    return {name: action for action in parser._actions for name in action.option_strings if name not in hidden}


@pytest.mark.parametrize(("words", "tables", "others"), VERBS, ids=[" ".join(words) for words, _, _ in VERBS])
def test_every_option_is_a_field_and_every_field_an_option(
    words: list[str], tables: list[OptionTable], others: set[str]
) -> None:
    names = [name for table in tables for name in table.options().values()]
    assert len(set(names)) == len(names)
    assert {name for name in actions_of(words) if not name.startswith("--no-")} == {*names, *others}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.settings.__name__)
def test_a_table_says_which_fields_are_no_options(table: OptionTable) -> None:
    fields = {field.name for field in dataclasses.fields(table.settings)}
    without = NO_OPTIONS.get(table.settings.__name__, set())
    assert set(table.options()) == fields - without and set(table.without) == without
    assert set(table.spellings) <= fields - without


@pytest.mark.parametrize("verb", KEPT)
def test_no_name_of_an_option_goes(verb: str) -> None:
    assert {f"--{name}" for name in KEPT[verb].split()} <= set(actions_of([verb]))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.settings.__name__)
def test_choices_defaults_and_help_are_those_of_the_field(table: OptionTable) -> None:
    parser = argparse.ArgumentParser()
    table.add_to(parser)
    actions = {action.option_strings[0]: action for action in parser._actions}
    for field in dataclasses.fields(table.settings):
        if field.name not in table.options():
            continue
        action = actions[table.options()[field.name]]
        assert action.choices == choices_of(field) and action.default is None
        assert action.help and len(descriptions_of(table.settings)[field.name]) > 5
        if isinstance(field.default, str | float) and not isinstance(field.default, bool):
            assert action.help.endswith(f"(default: {field.default:g})" if isinstance(field.default, float) else f"(default: {field.default})")  # fmt: skip
    # Nothing given: the settings' own defaults.
    needed = [name for action in parser._actions if action.required for name in (action.option_strings[0], "1")]
    assert needed == (["--corpus-gb", "1"] if table is COSTS else [])
    assert set(table.given(parser.parse_args(needed)).values()) <= {None, 1.0}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.settings.__name__)
def test_a_word_that_is_no_choice_is_refused_by_settings_and_option(
    table: OptionTable, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {"inputs": ("a",)} if table.settings is ReadSettings else {}
    for field in dataclasses.fields(table.settings):
        if choices_of(field) is None:
            continue
        wrong = ("wrong",) if isinstance(field.default, tuple) else "wrong"
        with pytest.raises(InputError, match=f"{field.name} must be one of .*, got 'wrong'"):
            # The rows' own rules are looked at when a build is planned.
            made = table.settings(**{**needed, field.name: wrong})
            made.options()
        if field.name in table.options():
            parser = argparse.ArgumentParser()
            table.add_to(parser)
            with pytest.raises(SystemExit):
                parser.parse_args([table.options()[field.name], "wrong"])
            assert "invalid choice: 'wrong'" in capsys.readouterr().err


def test_every_option_of_prepare_arrives_in_its_field(tmp_path: Path) -> None:
    words = [
        "prepare",
        "--tokenizer",
        "t",
        "--output",
        "o",
        "--input",
        "a",
        "b",
        "--input",
        "c",
        "--source",
        "web=w:0.5",
    ]
    words += [
        "--source",
        "books=x",
        "--input-format",
        "csv",
        "--document",
        "line",
        "--text-key",
        "body",
        "--id-key",
        "key",
    ]
    words += ["--max-bad-rate", "0.1", "--max-document-mb", "2", "--quoting", "none", "--fix-encoding", "--clean"]
    words += ["--drop-boilerplate", "--boilerplate-phrases", "buy now", "--sentence-lines", "--min-line-words", "3"]
    words += [
        "--max-word-characters",
        "99",
        "--mask",
        "email",
        "ip",
        "--quality",
        "gopher",
        "c4",
        "--rule",
        "num_words=5..",
    ]
    words += [
        "--rule",
        "num_lines=..9",
        "--language",
        "en",
        "de",
        "--min-language-probability",
        "0.7",
        "--keep-tags",
        "tags",
    ]
    words += ["--bad-words", "bad.txt", "--decontaminate", "d", "e", "--deduplicate", "near", "--min-similarity", "0"]
    words += ["--sequence-length", "64", "128", "--validation-rate", "0", "--seed", "7", "--shard-size-mb", "1.5"]
    words += ["--num-shards", "3", "--group-size", "100", "--long-documents", "sentences", "--packing", "best_fit"]
    words += ["--pairs", "order", "--max-documents-per-row", "4", "--runner", "FlinkRunner", "--num-workers", "2"]
    words += ["--overwrite", "--", "--parallelism=16"]
    reading = ReadSettings(
        ("a", "b", "c"), "csv", "line", "body", "key", 0.1, (Source("web", ("w",), 0.5), Source("books", ("x",))), 2.0, "none"
    )  # fmt: skip
    rules = {"num_words": (5.0, None), "num_lines": (None, 9.0)}
    corpus = CorpusSettings(
        CleanSettings(True, True, True, ("buy now",), True, 3, 99, ("email", "ip")),
        FilterSettings(("gopher", "c4"), rules, ("en", "de"), 0.7, "tags", "bad.txt"),
        DecontaminateSettings(("d", "e")),
        DeduplicateSettings("near", min_similarity=0.0),
    )
    rows = RowSettings((64, 128), 0.0, 7, 1.5, 3, 100, "sentences", "order", "best_fit", 4)
    recipe, running = prepare_order(parse(words))
    assert recipe == Recipe("t", "o", reading, corpus, rows)
    assert running == RunningSettings("FlinkRunner", 2, True, ("--parallelism=16",))


def test_what_is_not_given_leaves_the_defaults() -> None:
    recipe, running = prepare_order(parse(["prepare", "--input", "a", "--tokenizer", "t", "--output", "o"]))
    assert recipe == Recipe("t", "o", ReadSettings(("a",)), CorpusSettings(), RowSettings())
    assert running == RunningSettings()


def test_a_second_one_comes_in_the_place_of_the_first_where_it_always_did() -> None:
    words = ["prepare", "--input", "a", "--tokenizer", "t", "--output", "o", "--mask", "email", "--mask", "ip"]
    recipe, _ = prepare_order(parse([*words, "--sequence-length", "64", "--sequence-length", "32"]))
    assert (recipe.corpus.clean.mask, recipe.rows.sequence_length) == (("ip",), (32,))


@dataclasses.dataclass(frozen=True)
class Toy:
    """A toy.

    Of 5% of all. num_parts, num_ends: how many (`color`). color (of the toy): red or blue; none: see
    elsewhere.
    lights: whether it has any.
    """

    num_parts: int = 0
    num_ends: int | None = None
    color: str = choice("red", ("red", "blue"))
    lights: bool = True
    sizes: tuple[float, ...] = (1.0, 2.5)

    def __post_init__(self) -> None:
        check_choices(self, "toy.")


def test_the_rule_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    table = OptionTable(Toy, {"color": Spelling("--paint")})
    parser = argparse.ArgumentParser(prog="x", usage="x")
    table.add_to(parser)
    said = ["--num-parts", "3", "--paint", "blue", "--no-lights", "--sizes", "4", "5"]
    assert table.settings_from(parser.parse_args(said)) == Toy(3, None, "blue", False, (4.0, 5.0))
    assert table.settings_from(parser.parse_args([])) == Toy()
    helped = " ".join(parser.format_help().split())
    assert "--num-parts N how many (--paint) (default: 0) --num-ends N how many (--paint) --paint {red,blue}" in helped
    assert "red or blue; none: see elsewhere (default: red) --lights, --no-lights" in helped
    with pytest.raises(InputError, match="toy.color must be one of red, blue, got 'green'"):
        Toy(color="green")


def test_a_docstring_says_what_fields_mean() -> None:
    parts = Described(("num_parts", "num_ends"), "", "how many (`color`)")
    color = Described(("color",), " (of the toy)", "red or blue; none: see elsewhere")
    lights = Described(("lights",), "", "whether it has any")
    names = [field.name for field in dataclasses.fields(Toy)]
    assert paragraphs_of(Toy.__doc__ or "", names) == [
        Paragraph("A toy.", ()),
        Paragraph("Of 5% of all.", (parts, color, lights)),
    ]


def test_sources_and_rules_of_the_command_line() -> None:
    assert parse_source("web=gs://bucket/a:0.5") == Source("web", ("gs://bucket/a",), 0.5)
    assert parse_source("web=gs://bucket/a") == Source("web", ("gs://bucket/a",))
    assert parse_rule("num_words=5..") == ("num_words", [5.0, None])
    for wrong in ("web", "=a", "web="):
        with pytest.raises(InputError, match="must look like NAME=PATH"):
            parse_source(wrong)
    with pytest.raises(InputError, match="the weight of a source"):
        parse_source("web=a:-1")
    with pytest.raises(InputError, match="must look like num_words=50"):
        parse_rule("num_words=5")

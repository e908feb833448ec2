"""What `help(...)` says at the doors: every public name explains itself, and all its examples run, in one process.

The examples start from the files that the last program of docs/models-and-presets.md makes, and from its names.
"""

import ast
import contextlib
import doctest
import importlib
import inspect
import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from documents import ROOT, blocks

import clozekit.model
from clozekit.deploy.cli.field_descriptions import descriptions_of
from clozekit.tokenizers.common.family_names import FAMILIES

TOKENIZERS = {
    "byte_pair": "BytePairTokenizer",
    "families.load_tokenizer": "load_tokenizer tokenizer_class",
    "formats.added_tokens": "AddedToken",
    "sentence_piece": "SentencePieceTokenizer",
    "tokenizer": "TokenBatch",
    "wordpiece": "WordPieceTokenizer",
}
PIPELINES = {
    "count_words": "count_corpus_words",
    "dataset.chain": "Fragment Genesis read_chain read_genesis",
    "dataset.describe": "describe_manifest rows_of sample_rows",
    "dataset.manifest": "Manifest ShardInfo SplitInfo TokenizerInfo read_manifest",
    "dataset.records": "records_to_rows rows_to_records",
    "dataset.tfrecord": "frame_records read_records",
    "export": "export_dataset",
    "prepare": "prepare prepare_lengths",
    "select_documents": "SelectDocuments",
    "streaming.compact": "compact",
    "streaming.compact_windows": "compact_windows",
    "streaming.follow_recipe": "follow",
    "streaming.prune_windows": "Removal planned_removal prune_windows",
    "streaming.verify_stream": "VerifiedStream repair_stream verify_stream",
    "verify": "Problem Verified verify_dataset",
    "vocabulary": "describe_report learn make_vocabulary",
}
TRAINER = {
    "layers.gated_encoder": "GatedEncoder",
    "layers.masked_lm_head": "MaskedLMHead",
    "masking.mask_rows": "RowsToMask",
    "layers.masked_lm_mask_generator": "MaskedLMMaskGenerator",
    "layers.prediction_head": "PredictionHead",
    "layers.rotary_positions": "RotaryPositions",
    "layers.transformer_layers": "PositionEmbedding TokenAndPositionEmbedding TransformerEncoder",
    "preprocessing.multi_segment_packer": "MultiSegmentPacker",
    "reading.dataset_reader": "training_batches validation_batches",
    "tasks.fill_mask": "Guess",
    "training.watching.callbacks": "Callback",
    "training.controller": "Run",
    "training.evaluate_preset": "evaluate_dataset evaluate_texts",
    "training.finetuning.evaluate_examples": "evaluate_examples",
    "training.finetuning.finetune": "FinetuneRun",
    "training.settings.finetune_settings": "load_finetune_config",
    "training.settings.run_file": "load_config",
}
SETTINGS = {
    "model.reading.reader_settings": "ReaderSettings",
    "model.training.settings.evaluate_settings": "EvaluatePresetSettings",
    "model.training.settings.finetune_settings": "DataSettings EmbeddingSettings FinetuneCheckpointSettings FinetuneDivergenceSettings"
    " FinetuneEvaluateSettings FinetuneOptimizerSettings FinetuneSettings FinetuneTrainSettings",
    "model.training.settings.follow_settings": "FollowSettings",
    "model.training.settings.loop_settings": "CheckpointSettings ClusterSettings DivergenceSettings LogSettings"
    " OptimizerSettings",
    "model.training.settings.run_settings": "BatchRampSettings EvaluateSettings MaskingSettings ModelSettings PhaseSettings"
    " RunSettings TrainSettings",
    "pipelines.settings.corpus_settings": "CleanSettings CorpusSettings DecontaminateSettings DeduplicateSettings"
    " FilterSettings",
    "pipelines.settings.prepare_settings": "PrepareSettings ReadSettings Source",
    "pipelines.settings.compact_settings": "CompactSettings PruneSettings ReplaceSettings",
    "pipelines.settings.source_settings": "SourceSettings",
    "pipelines.settings.stream_settings": "WatchSettings WindowSettings",
    "pipelines.settings.vocabulary_settings": "VocabularySettings",
}
# What docs/extending.md asks for.
SEAMS = {
    "deploy.check_lineage": "check_lineage",
    "deploy.publish.publish_preset": "publish",
    "deploy.publish.publish_settings": "PublishSettings",
    "deploy.submit.backend": "Backend",
    "model.families.family": "Family HuggingFaceNames",
    "model.families.grow_vocabulary": "with_added_tokens",
    "model.presets.huggingface_preset": "save_huggingface_backbone",
    "model.presets.lineage": "Lineage",
    "model.presets.mean_of_presets": "mean_of_presets",
    "model.presets.named_lineage": "lineage_of",
    "model.training.objectives.objective": "Objective objective_named",
    "model.training.optimizers.adafactor": "change",
    "model.training.optimizers.adamw": "change",
    "model.training.optimizers.lamb": "change",
    "model.training.optimizers.lion": "change",
    "model.training.optimizers.muon": "change",
    "model.training.optimizers.optimizer": "Optimizer",
    "model.training.optimizers.stable_adamw": "change",
    "model.training.schedules": "learning_rate",
    "model.training.watching.tracker": "Tracker",
    "pipelines.cleaning.clean_text": "clean_texts",
    "pipelines.export_formats": "ExportFormat",
    "pipelines.vocabulary": "Learner",
    "tokenizers.common.family_names": "FamilyName",
}
# What a paper defined. The classes of a family are such too.
FROM_PAPERS = {
    *("MaskedLM", "MaskedLMPreprocessor", "WordPieceTokenizer", "BytePairTokenizer", "SentencePieceTokenizer"),
    *("adafactor.change", "adamw.change", "lamb.change", "lion.change", "muon.change", "stable_adamw.change"),
    *("learning_rate", "MaskingSettings"),
    *("EmbeddingSettings", "FinetuneSettings", "DecontaminateSettings", "FilterSettings", "PrepareSettings"),
    "FollowSettings",
}


class Door(NamedTuple):
    """A public name: how it is called here, and what it is."""

    name: str
    value: Any
    is_settings: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def word(self) -> str:
        """As code calls it."""
        return self.value.__name__

    @property
    def text(self) -> str:
        return (
            inspect.cleandoc(vars(self.value).get("__doc__") or "")
            if self.is_class
            else inspect.getdoc(self.value) or ""
        )

    @property
    def is_class(self) -> bool:
        return isinstance(self.value, type)


def doors() -> Iterator[Door]:
    yield from (Door(name, getattr(clozekit.model, name)) for name in clozekit.model.__all__)
    for folder, table in (
        ("tokenizers.", TOKENIZERS),
        ("pipelines.", PIPELINES),
        ("model.", TRAINER),
        ("", SEAMS),
        ("", SETTINGS),
    ):
        for place, names in table.items():
            module = importlib.import_module(f"clozekit.{folder}{place}")
            for name in names.split():
                shown = f"{module.__name__.rpartition('.')[2]}.{name}" if name == "change" else name
                yield Door(shown, getattr(module, name), table is SETTINGS)


DOORS = tuple(doors())
BY_NAME = {door.name: door for door in DOORS}
_HEADING = re.compile(r"^(Args|Returns|Raises|Source|Example):", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """Heading -> what stands below it; "" -> what stands before the first."""
    before, *rest = _HEADING.split(text)
    return {"": before, **dict(zip(rest[::2], rest[1::2], strict=True))}


def explained(door: Door) -> list[str]:
    """Its own docstring and those to which it sends the reader ("see `Backbone`"), each of a base of it that is a door."""
    texts, sent = [door.text], re.findall(r"see `(\w+)`", door.text)
    for known in (BY_NAME[name] for name in sent if name in BY_NAME):
        if door.is_class and known.is_class and issubclass(door.value, known.value):
            texts += explained(known)
        elif not door.is_class and not known.is_class:
            texts.append(known.text)
    return texts


def said(door: Door, heading: str) -> str:
    return "\n".join(sections(text).get(heading, "") for text in explained(door))


def source_of(value: Any) -> str:
    """The code of a function; of a class, of what runs when one is made."""
    if not isinstance(value, type):
        return inspect.getsource(value)
    made = (vars(cls).get(name) for cls in value.__mro__ for name in ("__init__", "__post_init__"))
    ours = (one for one in made if inspect.isfunction(one) and one.__module__.startswith("clozekit."))
    return "\n".join(inspect.getsource(one) for one in ours if one.__code__.co_filename.endswith(".py"))


def takes_arrays(door: Door) -> bool:
    """Whether an array or a tensor goes in or out of a function, or of what a class does when it is called."""
    if door.is_settings:
        return False
    called = [door.value]
    if door.is_class:
        called = [getattr(door.value, name, None) for name in ("call", "preprocess", "encode_batch", "apply")]
        called = [one for one in called if inspect.isfunction(one) and one.__module__.startswith("clozekit.")]
        fields = getattr(door.value, "__annotations__", {}).values() if issubclass(door.value, tuple) else ()
        if any("ndarray" in str(kind) for kind in fields):
            return True
    return any(
        re.search(r"\b(Tensor|ndarray|Array|tf\.data)\b|Rows\b|Outputs\b|TokenBatch", str(inspect.signature(one)))
        for one in called
    )


def parameters(door: Door) -> list[str]:
    """What a caller may pass, without `self` and what is passed on."""
    passed_on = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in inspect.signature(door.value).parameters.values() if p.kind not in passed_on]


@pytest.mark.parametrize("door", DOORS, ids=str)
def test_a_door_says_what_it_is(door: Door) -> None:
    first, _, rest = door.text.partition("\n")
    assert not first.startswith(f"{door.word}("), "the docstring is the signature that dataclass or NamedTuple made"
    assert 20 <= len(first) <= 120, first
    assert first.endswith((".", ":")), first
    assert not rest or rest.startswith("\n"), "an empty line follows the first"


@pytest.mark.parametrize("door", DOORS, ids=str)
def test_a_door_explains_every_argument(door: Door) -> None:
    """One of settings in its prose, from which the reference of the configuration is made too."""
    if door.is_settings:
        known = set(descriptions_of(door.value))
    else:
        found = re.findall(r"^ {4}((?:\w+, )*\w+): ", said(door, "Args"), re.MULTILINE)
        known = {name for names in found for name in names.split(", ")}
    assert [name for name in parameters(door) if name not in known] == []


@pytest.mark.parametrize("door", [door for door in DOORS if not door.is_class], ids=str)
def test_a_function_says_what_it_returns(door: Door) -> None:
    gives = inspect.signature(door.value).return_annotation
    assert gives in (None, "None") or len(said(door, "Returns").strip()) >= 20


@pytest.mark.parametrize("door", [door for door in DOORS if takes_arrays(door)], ids=str)
def test_a_door_for_arrays_says_their_shapes_and_dtypes(door: Door) -> None:
    text = "\n".join(explained(door))
    assert re.search(r"\((?:B|[a-z]+_\w+|num_\w+|T|N)\b[^)]*,[^)]*\)|of the variable's shape|scalar", text), "no shape"
    assert re.search(r"\b(u?int(8|32|64)|float32|bool|string|list<\w+>)\b", text), "no dtype"


@pytest.mark.parametrize("door", DOORS, ids=str)
def test_a_door_says_which_errors_it_raises(door: Door) -> None:
    text = said(door, "Raises")
    raises = re.search(r"\braise InputError|\bcheck\w*\(", source_of(door.value))
    assert not raises or "InputError: " in text
    # Something that can be wrong is named, not only the class of the error.
    for line in re.findall(r"^ {4}\w+Error: (.*)", text, re.MULTILINE):
        assert len(line.split()) >= 3, line
    if re.search(r"^ {4}InputError: ", text, re.MULTILINE) is None:
        assert not re.search("InputError", said(door, ""))


def is_from_a_paper(door: Door) -> bool:
    return door.name in FROM_PAPERS or door.name.startswith(tuple(family.prefix for family in FAMILIES.values()))


@pytest.mark.parametrize("door", [door for door in DOORS if is_from_a_paper(door)], ids=str)
def test_what_a_paper_defined_names_paper_and_section(door: Door) -> None:
    text = said(door, "Source")
    assert re.search(r"\b\w+(?: et al\.| and \w+)? (?:19|20)\d\d\b", text), text
    assert re.search(r"arXiv \d{4}\.\d{4,5}|`[\w./-]+\.(?:py|cc)`", text), text
    assert re.search(r"\b(?:section|appendix|algorithm|table|equation) [A-Z0-9]|`[\w./-]+\.(?:py|cc)`", text), text


@pytest.mark.parametrize("door", [door for door in DOORS if door.is_class], ids=str)
def test_public_methods_say_what_they_do(door: Door) -> None:
    mute = [
        name
        for name, member in inspect.getmembers(door.value)
        if not name.startswith("_")
        and (inspect.isfunction(member) or inspect.ismethod(member))
        and str(member.__module__).startswith("clozekit.")
        and "<lambda>" not in member.__qualname__
        and not inspect.getdoc(member)
    ]
    assert mute == []


# Examples


def set_up() -> str:
    """The program of the guide from which all examples start."""
    return blocks("docs/models-and-presets.md", "python")[-1].text


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names of the program, in the folder where it was run."""
    folder, names = tmp_path_factory.mktemp("examples"), {"__name__": "examples"}
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(set_up(), "set_up", "exec"), names)
        yield names


def examples(door: Door) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(sections(door.text).get("Example", ""))


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS, ids=str)
def test_examples_run_and_give_what_they_show(door: Door, desk: dict[str, Any]) -> None:
    shown = examples(door)
    used = {node.id for one in shown for node in ast.walk(ast.parse(one.source)) if isinstance(node, ast.Name)}
    used |= {node.attr for one in shown for node in ast.walk(ast.parse(one.source)) if isinstance(node, ast.Attribute)}
    assert door.word in used, "the example must use what it explains"
    assert any(one.want for one in shown), "the example must show an output"
    run(doctest.DocTest(shown, dict(desk), door.name, None, None, None))


def run(test: doctest.DocTest) -> None:
    heard = io.StringIO()
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=heard.write)
    assert heard.getvalue() == ""


def examples_elsewhere() -> list[doctest.DocTest]:
    """The examples of what is no door."""
    found, at_doors = [], {id(door.value) for door in DOORS}
    for folder in ("deploy", "model", "pipelines", "tokenizers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>>" in path.read_text(encoding="utf-8"):
                module = importlib.import_module(".".join(["clozekit", *path.relative_to(ROOT).with_suffix("").parts]))
                tests = doctest.DocTestFinder().find(module, extraglobs=None)
                found += [test for test in tests if test.examples and id(named(module, test.name)) not in at_doors]
    return found


def named(module: Any, name: str) -> Any:
    value = module
    for part in name.removeprefix(module.__name__).split(".")[1:]:
        value = inspect.getattr_static(value, part)
    return value


@pytest.mark.parametrize("test", examples_elsewhere(), ids=lambda test: test.name.removeprefix("clozekit."))
def test_examples_elsewhere_run_too(test: doctest.DocTest, desk: dict[str, Any]) -> None:
    test.globs = {**desk, **test.globs}
    run(test)

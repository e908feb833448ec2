"""`clozekit adapt`: one command from a preset and texts to an adapted preset; its recipe is printed, edited and run."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from run_commands import run_command

from clozekit.deploy.adapt.adapt_recipe import load_adapt_recipe
from clozekit.deploy.adapt.choose_documents import choose_documents
from clozekit.deploy.check_lineage import check_lineage
from clozekit.deploy.cli.main import main
from clozekit.deploy.convert import convert
from clozekit.deploy.describe_lineage import known_by
from clozekit.deploy.publish.publish_preset import publish
from clozekit.deploy.publish.publish_settings import PublishSettings
from clozekit.model import BertBackbone, BertMaskedLM, BertMaskedLMPreprocessor, MaskedLM
from clozekit.model.presets.lineage import LINEAGE_FILE
from clozekit.model.training.finetuning.finetune import FinetuneRun
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

# What makes a run of seconds of it.
SMALL = [
    *("rows.sequence_length=24", "train.global_batch_size=8", "train.micro_batch_size=null", "train.steps_per_loop=10"),
    *("train.xla=false", "evaluate.max_rows=32", "evaluate.every_steps=20", "checkpoint.every_steps=10"),
    *("train.steps=40", "optimizer.learning_rate=0.01"),
]


@pytest.fixture(scope="module")
def preset(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Relu, an epsilon of its own, more positions than the rows need: nothing that a configuration says by itself."""
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": 40}
    own = {"activation": "relu", "layer_norm_epsilon": 1e-3}
    backbone = BertBackbone(tokenizer.vocabulary_size(), **sizes, **own)
    directory = str(tmp_path_factory.mktemp("adapt") / "preset")
    preprocessor = BertMaskedLMPreprocessor(tokenizer, sequence_length=40)
    BertMaskedLM(backbone, preprocessor, compile=False, head_activation="relu").save_to_preset(directory)
    return directory


@pytest.fixture(scope="module")
def adapted(preset: str, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one file of lines."""
    directory = tmp_path_factory.mktemp("adapted") / "out"
    texts = [json.loads(line)["text"] for line in corpus.read_text(encoding="utf-8").splitlines()]
    text = directory.with_name("texts.txt")
    text.write_text("\n".join(texts), encoding="utf-8")
    tokens = directory.with_name("tokens.txt")
    tokens.write_text("MAT\nhouse\n\ntree-top\n", encoding="utf-8")
    words = ["adapt", preset, "--input", str(text), "--output", str(directory), "--add-tokens", str(tokens), *SMALL]
    (directory.with_name("screen.txt")).write_text(run_command(words), encoding="utf-8")
    return directory


def test_the_model_is_better_on_the_texts_and_is_what_it_was(adapted: Path, preset: str) -> None:
    measured = json.loads((adapted / "evaluation.json").read_text(encoding="utf-8"))
    assert measured["after"]["loss"] < measured["before"]["loss"] - 0.3
    assert measured["after"]["num_predictions"] == measured["before"]["num_predictions"]
    before, after = MaskedLM.from_preset(preset), MaskedLM.from_preset(str(adapted / "preset"))
    ours, theirs = after.backbone.settings(), before.backbone.settings()
    # mat and house are pieces already, MAT is mat in normalized text.
    assert ours.pop("vocabulary_size") == theirs.pop("vocabulary_size") + 2
    assert ours == theirs
    assert after.head_settings() == before.head_settings()
    tokenizer = after.preprocessor.tokenizer  # type: ignore[union-attr]
    assert tokenizer.detokenize(tokenizer.tokenize("The tree-top")) == "the tree-top"
    assert len(tokenizer.tokenize("tree-top")) == 1
    screen = adapted.with_name("screen.txt").read_text(encoding="utf-8")
    assert "tokens: 2 of 3 are new" in screen
    assert [line.split()[0] for line in screen.splitlines()[-4:]] == ["before", "after", "preset", "report"]


def test_run_again_it_goes_on_where_it_was_stopped(adapted: Path, tmp_path: Path) -> None:
    whole = MaskedLM.from_preset(str(adapted / "preset")).get_weights()
    lineage = (adapted / "preset" / LINEAGE_FILE).read_bytes()
    shutil.rmtree(adapted / "preset")
    shutil.rmtree(adapted / "run" / "checkpoints" / "step-00000040")
    recipe = adapted / "adapt.yaml"
    screen = run_command(["adapt", str(recipe), "--json"])
    again = MaskedLM.from_preset(json.loads(screen)["preset"]).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    assert (adapted / "preset" / LINEAGE_FILE).read_bytes() == lineage
    # Another course is not that run's.
    assert main(["adapt", str(recipe), "optimizer.learning_rate=0.02"]) == 2


@pytest.mark.filterwarnings("ignore:transformers will compute")
def test_the_lineage_of_a_published_model_goes_back_to_the_first_preset(
    adapted: Path, preset: str, tmp_path: Path
) -> None:
    """adapt, with tokens added -> finetune -> convert -> publish."""
    rows = "".join(f"the {animal} sat on the mat\t{animal}\n" for animal in ("cat", "dog") * 10)
    (tmp_path / "train.tsv").write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    told = [
        *(
            f"init_from={adapted / 'preset'}",
            f"directory={tmp_path / 'finetuned'}",
            f"data.train={tmp_path / 'train.tsv'}",
        ),
        *("data.text=text", "data.label=label", "data.validation_rate=0.4", "train.epochs=1", "train.xla=false"),
    ]
    FinetuneRun(load_finetune_config(None, told)).train()
    convert(str(tmp_path / "finetuned"), str(tmp_path / "hugging"), "huggingface")
    runs = [str(adapted / "run"), str(tmp_path / "finetuned")]
    checked = check_lineage(str(tmp_path / "hugging"), runs, [str(adapted / "dataset")])
    assert checked.problems == () and len(checked.checked) == 6
    converted = checked.lineage
    (tuned,) = converted.before("source")
    (run,) = tuned.of("run")[:1]
    (begun,) = run.before("init_from")
    (start,) = begun.of("run")[0].before("init_from")
    (first,) = start.before("init_from")
    assert [one.link.get("made_by") for one in (converted, tuned, begun, start, first)] == [
        "convert", "finetune", "train", "adapt", None,
    ]  # fmt: skip
    assert (converted.link["layout"], start.link["num_tokens"]) == ("huggingface", 3)
    assert set(first.link["files"]) == {"model.weights.h5", "task.weights.h5"} and first.link["before"] == {}
    assert [file["name"] for file in run.before("examples")[0].link["files"]] == ["train.tsv"]
    published = publish(PublishSettings(str(tmp_path / "hugging"), "hf://me/mine"), dry_run=True)
    section = published.card.partition("## Lineage")[2].partition("## Limits")[0]
    assert LINEAGE_FILE in published.files
    # It is a preset of its own, of the same links.
    for one in converted.walk():
        assert one.sha256[:12] in section or known_by(one) in section
    assert str(tmp_path) not in published.card and str(preset) not in published.card


def test_a_recipe_that_is_printed_is_the_same_recipe(preset: str, tmp_path: Path) -> None:
    printed = run_command(["adapt", preset, "--input", "a.txt", "--output", "out", "--print-recipe", "epochs=2"])
    (tmp_path / "adapt.yaml").write_text(printed, encoding="utf-8")
    assert yaml.safe_load(printed)["masking"] == {"train_rate": 0.15}
    assert run_command(["adapt", str(tmp_path / "adapt.yaml"), "--print-recipe"]) == printed
    recipe = load_adapt_recipe(str(tmp_path / "adapt.yaml"), [], {})
    assert recipe.preparing("tokenizer", 40).rows.sequence_length == (40,)
    assert recipe.preparing("tokenizer", 4000).rows.sequence_length == (512,)
    # Twice over 100 rows, 32 at a time.
    assert recipe.training(preset).train.epochs == 2.0
    assert load_adapt_recipe(str(tmp_path / "adapt.yaml"), ["train.steps=9"], {}).training(preset).train.steps == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["row.sequence_length=16"], "the command line has row; did you mean rows"),
        (["optimiser.learning_rate=1"], "did you mean optimizer"),
        (["optimizer.learningrate=1"], "optimizer.learningrate; did you mean optimizer.learning_rate"),
        (["rows.sequence_length=[16,32]"], "rows of `adapt` have one length"),
        (["epochs=0"], "epochs must be a number above 0"),
        (["rows=3"], "section 'rows' of the command line must be a mapping"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_before_anything_begins(changes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_adapt_recipe(None, changes, {"init_from": "p", "output": "o", "inputs": ["a.txt"]})


def test_what_is_needed_is_named() -> None:
    with pytest.raises(InputError, match="the key output is needed"):
        load_adapt_recipe(None, [], {"init_from": "p", "inputs": ["a.txt"]})
    with pytest.raises(InputError, match="at least one input is needed"):
        load_adapt_recipe(None, [], {"init_from": "p", "output": "o"})


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["one\ntwo\n\nthree\n"], "block"),
        (["one\ntwo\n \t\r\nthree\n"], "block"),
        (["one\n", "two\n\nthree"], "block"),
        # Blank lines before and behind a text stand between nothing.
        (["\n\none\ntwo\n\n"], "line"),
        ([""], "line"),
        (["one\n\ntwo\n"] * 20, None),
    ],
)
def test_few_text_files_are_cut(texts: list[str], kind: str | None, tmp_path: Path) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    assert choose_documents(ReadSettings((str(tmp_path),))) == kind


def test_other_formats_are_not_cut(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    assert choose_documents(ReadSettings((str(tmp_path),))) == "block"
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n', encoding="utf-8")
    assert choose_documents(ReadSettings((str(tmp_path),))) is None


def test_one_file_of_lines_is_enough(adapted: Path) -> None:
    screen = adapted.with_name("screen.txt").read_text(encoding="utf-8")
    assert "a line is one (read.document_kind=line)" in screen
    recipe = yaml.safe_load((adapted / "adapt.yaml").read_text(encoding="utf-8"))
    assert recipe["read"]["document_kind"] == "line"


def test_inputs_that_are_not_there_are_refused_before_anything_is_written(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["adapt", preset, "--input", str(tmp_path / "no.txt"), "--output", str(out)]) == 2
    assert "does not exist; check the path or the glob" in capsys.readouterr().err
    assert not out.exists()

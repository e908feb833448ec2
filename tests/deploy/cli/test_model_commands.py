"""evaluate, finetune, predict and the dry run, through the command alone."""

import json
from pathlib import Path

import keras
import pytest

from clozekit.deploy.cli.file_and_changes import file_and_changes
from clozekit.deploy.cli.finetune_command import options_as_keys
from clozekit.deploy.cli.main import main
from clozekit.deploy.cli.parser import parse
from clozekit.deploy.cli.predict_command import texts_to_classify
from clozekit.model import (
    BertBackbone,
    BertMaskedLM,
    BertMaskedLMPreprocessor,
    BertTextClassifier,
    BertTextClassifierPreprocessor,
)
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


@pytest.mark.parametrize("verb", ["fill", "evaluate"])
def test_a_preset_without_a_masked_lm_head_is_refused(
    verb: str, tokenizer: BertTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = BertBackbone(tokenizer.vocabulary_size(), 1, 2, 16, 32, max_sequence_length=32)
    preprocessor = BertTextClassifierPreprocessor(tokenizer, sequence_length=32)
    BertTextClassifier(backbone, 2, preprocessor).save_to_preset(str(tmp_path / "preset"))
    (tmp_path / "texts.txt").write_text("the [MASK]\n", encoding="utf-8")
    option = {"fill": "--file", "evaluate": "--texts"}[verb]
    assert main([verb, str(tmp_path / "preset"), option, str(tmp_path / "texts.txt")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "must hold a masked-LM head" in said and "guess at random" in said


@pytest.fixture(scope="module")
def preset(tokenizer: BertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    keras.utils.set_random_seed(0)
    backbone = BertBackbone(tokenizer.vocabulary_size(), 1, 2, 16, 32, max_sequence_length=32)
    path = str(tmp_path_factory.mktemp("model") / "preset")
    BertMaskedLM(backbone, BertMaskedLMPreprocessor(tokenizer, sequence_length=32)).save_to_preset(path)
    return path


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_evaluate_prints_and_writes_json(
    preset: str, dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    assert main(["evaluate", preset, "--dataset", dataset[0], "--max-rows", "4", "--output", str(output)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads(output.read_text(encoding="utf-8"))
    assert {"loss", "perplexity", "accuracy", "num_predictions", "dataset_sha256"} <= set(result)
    texts = tmp_path / "texts.txt"
    texts.write_text("the cat\n\nthe dog ran\n", encoding="utf-8")
    assert main(["evaluate", preset, "--texts", str(texts)]) == 0
    assert [entry["num_tokens"] for entry in json.loads(capsys.readouterr().out)["texts"]] == [2, 3]
    assert main(["evaluate", preset, "--texts", str(tmp_path / "none")]) == 2
    assert "--texts must be a readable file of UTF-8 lines" in last_line(capsys)
    assert main(["evaluate", preset, "--dataset", str(tmp_path)]) == 2
    assert "must hold manifest.json" in last_line(capsys)


@pytest.mark.slow
def test_finetune_and_predict(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{text}\t{label}" for text, label in (("the red cat", "yes"), ("the old dog", "no"))] * 8
    (tmp_path / "train.tsv").write_text("\n".join(["text here\tanswer", *rows]) + "\n", encoding="utf-8")
    directory, train = str(tmp_path / "run"), str(tmp_path / "train.tsv")
    options = ["--init-from", preset, "--train", train, "--text", "text here", "--label", "answer"]
    # A change may stand anywhere between the options.
    arguments = [
        "finetune",
        *options,
        "train.epochs=1",
        "--directory",
        directory,
        "train.xla=false",
        "train.global_batch_size=4",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert f"preset {directory}/preset\nreport {directory}/report.html" in out
    assert "14 examples of up to 32 tokens" in out
    # Run again, it says the same in JSON.
    assert main([*arguments, "--json"]) == 0
    written = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    places = {"preset": f"{directory}/preset", "report": f"{directory}/report.html"}
    assert json.loads(capsys.readouterr().out) == written | places
    assert "files sha256" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")

    assert main(["predict", f"{directory}/preset", "--json", "the red cat", "the old dog"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["text"], second["text"]) == ("the red cat", "the old dog")
    assert set(first["probabilities"]) == {"yes", "no"} and first["label"] in ("yes", "no")
    lines = tmp_path / "pairs.txt"
    lines.write_text("the cat\tthe dog\n", encoding="utf-8")
    assert main(["predict", f"{directory}/preset", "--pairs", "--file", str(lines), "a", "b"]) == 0
    assert [line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()] == [
        ["a", "b"],
        ["the cat", "the dog"],
    ]
    # Results have the lines of the file; a table has a header and columns.
    lines.write_text("the cat\n\nthe dog\n", encoding="utf-8")
    assert main(["predict", f"{directory}/preset", "--file", str(lines)]) == 0
    assert [line.split("\t")[-1] for line in capsys.readouterr().out.split("\n")] == ["the cat", "", "the dog", ""]
    assert main(["predict", f"{directory}/preset", "--json", "--file", str(lines)]) == 0
    assert json.loads(capsys.readouterr().out.split("\n")[1]) == {"text": "", "label": None}
    assert main(["predict", f"{directory}/preset", "--file", train, "--text-key", "text here"]) == 0
    assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()] == [
        row.split("\t")[0] for row in rows
    ]
    assert main(["predict", f"{directory}/preset", "--file", train]) == 2
    assert "must have the column 'text'" in last_line(capsys)
    assert main(["predict", preset, "the cat"]) == 2
    assert "predictions need a preset with the head of a task" in last_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["glue/rte"], "the key init_from is needed, glue/rte does not have it"),
        (["none.yaml"], "must be a readable YAML file, none.yaml is not"),
        (["epoch=1"], "the command line has epoch; did you mean train.epochs?"),
        (["--init-from", "x", "--directory", "y"], "the key data is needed"),
        (
            ["--init-from", "x", "--directory", "y", "--train", "none.tsv", "--text", "a", "--label", "b"],
            "none.tsv is not",
        ),
    ],
)
def test_finetune_refuses_bad_input_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", *arguments]) == 2
    assert message in last_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_options_are_keys_as_they_are() -> None:
    arguments = parse(
        ["finetune", "glue/mrpc", "--text", "#1 String", "--test", "a.tsv", "--test", "b.tsv", "train.epochs=2"]
    )
    assert options_as_keys(arguments) == {"data.text": "#1 String", "data.test": ["a.tsv", "b.tsv"]}
    assert file_and_changes(arguments.config) == ("glue/mrpc", ["train.epochs=2"])
    with pytest.raises(SystemExit):
        parse(["finetune", "--nonsense", "x"])
    with pytest.raises(SystemExit):
        parse(["inspect", "dataset", "more"])


def test_an_option_may_stand_between_names() -> None:
    converted = [
        parse(words.split())
        for words in ("convert a b c --to onnx", "convert a b --to onnx c", "convert a --to onnx b c")
    ]
    assert [(one.sources, one.target) for one in converted] == [(["a", "b"], "c")] * 3
    assert (
        parse(["convert", "--to", "onnx", "a", "b"]).sources,
        parse(["convert", "a", "--to", "onnx", "b"]).target,
    ) == (
        ["a"],
        "b",
    )
    assert parse(["compare", "a", "--loss", "3", "b", "c"]).runs == ["a", "b", "c"]
    with pytest.raises(SystemExit):
        parse(["convert", "a", "--to", "onnx"])


def test_pairs_come_two_by_two(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("e\tf\n\n", encoding="utf-8")
    asked = parse(["predict", "p", "--pairs", "--file", str(path), "a", "b", "c", "d"])
    assert texts_to_classify(asked) == (["a", "c", "e", ""], ["b", "d", "f", ""])
    with pytest.raises(InputError, match="come two by two, got 1"):
        texts_to_classify(parse(["predict", "p", "--pairs", "a"]))
    path.write_text("a\tb\tc\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"two texts with a tab between them, .* line 1 is 'a\\tb\\tc'"):
        texts_to_classify(parse(["predict", "p", "--pairs", "--file", str(path)]))


@pytest.mark.slow
def test_a_dry_run_says_it_all_and_writes_nothing(
    dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        f"dataset: {dataset[0]}\ndirectory: {tmp_path}/run\n"
        "model: {num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32}\n"
        "train: {steps: 30, global_batch_size: 8, xla: false}\n",
        encoding="utf-8",
    )
    assert main(["train", str(config), "--dry-run", "train.micro_batch_size=4"]) == 0
    out = capsys.readouterr().out
    assert "  micro_batch_size: 4\n" in out
    assert dataset[1].dataset_sha256[:12] in out
    assert f"{dataset[1].splits['train'].rows:,} rows of up to 32 tokens in 3 shards" in out
    # 10 slots a row of 32, 70 pieces filled up to 128: 3 x (8 x 256 + 4 x 512 + 4 x 16 x 32 + 10/32 x (2 x 16 x 128 + 2 x 256)).
    assert "FLOPs a token    22,752 = " in out
    assert "for micro-batches of 4 rows" in out
    assert "masked           0.3 of the tokens\n" in out
    assert "compile check    one step on rows of padding" in out
    assert not (tmp_path / "run").exists()
    assert main(["train", str(config), "--dry-run", "model.family=roberta"]) == 2
    assert "needs a dataset of RobertaTokenizer" in last_line(capsys)

"""The command: help with an example each, one line and exit status 2 for bad input, nothing half-written."""

import io
import json
import shutil
from pathlib import Path

import pytest

from clozekit.deploy.cli.main import main
from clozekit.deploy.cli.parser import build_parser
from clozekit.model import BertBackbone, BertMaskedLM, BertMaskedLMPreprocessor, BertTokenizer
from clozekit.pipelines.dataset.manifest import Manifest

COMMANDS = [
    "demo",
    "vocab",
    "prepare",
    "inspect",
    "verify",
    "export",
    "train",
    "adapt",
    "fill",
    "evaluate",
    "finetune",
    "predict",
    "lineage",
    "doctor",
    "bench",
    "costs",
    "submit",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"example:\n  clozekit {command}" in capsys.readouterr().out


def test_the_help_names_every_command() -> None:
    assert all(f"    {command} " in build_parser().format_help() for command in COMMANDS)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command prints to standard error."""
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("clozekit ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (None, ["--input", "{}/*.none"], "matches no file"),
        ("empty directory", ["--input", "{}/docs"], "holds none; name the files with a glob"),
        ("invalid utf8", ["--input", "{}/docs"], "text must be UTF-8, byte 4 (ff) is not; convert the file to UTF-8"),
        ("no text", ["--input", "{}/docs"], "a JSON line must hold text under 'text', this one has the keys ['body']"),
        ("no json", ["--input", "{}/docs"], "a line must be one JSON object, this one is not"),
        ("blank", ["--input", "{}/docs"], "must hold at least one document with text"),
        ("cut gzip", ["--input", "{}/docs/a.txt.gz"], "must be whole gzip"),
        ("good", ["--input", "{}/docs", "--sequence-length", "4"], "sequence_length must be at least 8, got 4"),
        ("good", ["--input", "{}/docs", "--tokenizer", "{}/docs"], "a tokenizer directory must hold tokenizer.json"),
        ("good", ["--input", "{}/docs", "--num-workers", "0"], "num_workers must be at least 1, got 0"),
        ("good", ["--input", "{}/docs", "--", "--nonsense"], "it does not know --nonsense"),
        ("good", [], "at least one input is needed"),
        ("good", ["--source", "docs"], "--source must look like NAME=PATH"),
        ("good", ["--input", "{}/docs", "--rule", "words=1.."], "a rule must name a tag"),
        ("good", ["--input", "{}/docs", "--config", "{}/none.yaml"], "must be a readable YAML file"),
        ("good", ["--input", "{}/docs", "--decontaminate", "{}/*.none"], "matches no file"),
    ],
)
def test_prepare_refuses_bad_input_in_one_line_and_leaves_no_dataset(
    make: str | None,
    options: list[str],
    message: str,
    tokenizer_directory: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    documents = tmp_path / "docs"
    documents.mkdir()
    content = {
        "invalid utf8": ("a.txt", b"the \xff cat"),
        "no text": ("a.jsonl", b'{"text": "the cat"}\n{"body": "x"}\n'),
        "no json": ("a.jsonl", b"the cat\n"),
        "blank": ("a.txt", b" \n"),
        "cut gzip": ("a.txt.gz", b"\x1f\x8b\x08\x00"),
        "good": ("a.txt", b"the cat"),
    }.get(make or "")
    if content:
        (documents / content[0]).write_bytes(content[1])
    arguments = [option.format(tmp_path) for option in options]
    out = tmp_path / "out"
    line = refused(
        ["prepare", "--tokenizer", tokenizer_directory, "--output", str(out), *arguments],
        capsys,
    )
    assert message in line
    assert "Traceback" not in line
    assert not (out / "manifest.json").exists()
    assert list(out.glob("*.tfrecord")) == []


def test_the_commands_refuse_what_is_no_dataset_preset_or_configuration(
    dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "must hold manifest.json" in refused(["inspect", str(tmp_path)], capsys)
    assert "must hold config.json" in refused(["fill", str(tmp_path), "a [MASK]"], capsys)
    around = tmp_path / "around"
    (around / "preset").mkdir(parents=True)
    (around / "preset" / "config.json").write_text("{}", encoding="utf-8")
    line = refused(["fill", str(around), "a [MASK]"], capsys)
    assert f"{around} does not; pass {around}/preset, which does" in line
    assert "must be a readable YAML file" in refused(["train", str(tmp_path / "none.yaml")], capsys)
    config = tmp_path / "c.yaml"
    config.write_text(f"dataset: {dataset[0]}\ndirectory: {tmp_path}/run\n", encoding="utf-8")
    line = refused(["train", str(config), "train.step=5"], capsys)
    assert "has train.step; did you mean train.steps?" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_prepare_selects_as_its_options_and_its_file_say(
    tokenizer_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("name,body\n1,the cat sat on the mat\n2,THE CAT sat on  the mat\n3,the dog\n")
    (tmp_path / "b.txt").write_text("the red bird flew\nit was a cat of x@y.org\n", encoding="utf-8")
    config = tmp_path / "corpus.yaml"
    config.write_text("read: {text_key: body, document_kind: line}\nfilter: {rules: {num_words: [3, null]}}\n")
    out = tmp_path / "out"
    arguments = ["--source", f"table={tmp_path}/a.csv", "--source", f"lines={tmp_path}/b.txt:1", "--id-key", "name"]
    selecting = ["--config", str(config), "--clean", "--mask", "email", "--deduplicate", "exact"]
    common = ["--tokenizer", tokenizer_directory, "--output", str(out), "--validation-rate", "0"]
    assert main(["prepare", *arguments, *selecting, *common]) == 0
    counts = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["counts"]
    assert {name: number for name, number in counts.items() if number} == {
        "documents_in": 5,
        "documents_train": 3,
        "pieces_train": 3,
        "rejected_num_words": 1,
        "duplicates_exact": 1,
    }
    assert f"duplicates_exact{1:>20}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("manifest", "it is damaged"),
        ("edited", "the file was edited"),
        ("shard", "fails the checksum"),
        ("gone", "is missing"),
    ],
)
def test_inspect_names_the_damage(
    damage: str, message: str, dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = shutil.copytree(dataset[0], tmp_path / "copy")
    manifest = directory / "manifest.json"
    shard = directory / dataset[1].splits["train"].shards[0].name
    if damage == "manifest":
        manifest.write_text(manifest.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    elif damage == "edited":
        fields = json.loads(manifest.read_text(encoding="utf-8"))
        fields["splits"]["train"]["shards"][0]["sha256"] = "0" * 64
        manifest.write_text(json.dumps(fields), encoding="utf-8")
    elif damage == "shard":
        content = shard.read_bytes()
        shard.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    else:
        shard.unlink()
    assert message in refused(["inspect", str(directory)], capsys)


def test_inspect_shows_counts_histogram_and_rows(
    dataset: tuple[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", dataset[0], "--rows", "2"]) == 0
    out = capsys.readouterr().out
    manifest = dataset[1]
    assert manifest.dataset_sha256 in out
    assert f"documents_in{300:>24}" in out
    assert "row 0: " in out and "row 1: " in out and "row 2: " not in out
    assert "  | [CLS] the " in out
    counts = [int(line.split()[3].replace(",", "")) for line in out.splitlines() if " - " in line]
    assert sum(counts) == sum(split.pieces for split in manifest.splits.values())


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "##s"]
    backbone = BertBackbone(len(pieces), 1, 2, 8, 16, max_sequence_length=16)
    preprocessor = BertMaskedLMPreprocessor(BertTokenizer(pieces), sequence_length=16)
    directory = str(tmp_path_factory.mktemp("preset") / "bert")
    BertMaskedLM(backbone, preprocessor).save_to_preset(directory)
    return directory


def test_fill_takes_texts_from_a_file_and_gives_json(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").write_text("the [MASK] sat\n\n[MASK] [MASK]\n", encoding="utf-8")
    arguments = ["fill", preset, "[MASK] cats", "--file", str(tmp_path / "texts"), "--top-k", "2"]
    assert main([*arguments, "--json"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["text"] for entry in objects] == ["[MASK] cats", "the [MASK] sat", "", "[MASK] [MASK]"]
    assert [[len(best) for best in entry["masks"]] for entry in objects] == [[2], [2], [], [2, 2]]
    assert set(objects[0]["masks"][0][0]) == {"piece", "probability", "token_id", "text"}
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[4] == "" and lines[-1].startswith("  mask 2: ") and lines[-1].count("%") == 2


def test_fill_reads_the_standard_input(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("the [MASK]\n"))
    assert main(["fill", preset, "--file", "-"]) == 0
    assert capsys.readouterr().out.startswith("the [MASK]\n  mask: ")


def test_fill_refuses_what_it_cannot_fill(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there must be at least one text, got none" in refused(["fill", preset], capsys)
    assert "must be a readable file" in refused(["fill", preset, "--file", str(tmp_path / "none")], capsys)
    assert "must hold [MASK] at least once, got 'the cat'" in refused(["fill", preset, "the cat"], capsys)
    assert "did you mean bert_base_en" in refused(["fill", "bert_base_eng", "[MASK]"], capsys)

"""Rules of every option: no number that is none, nothing negative, no empty path, no bytes that are not UTF-8; the version."""

import importlib.metadata
from pathlib import Path

import pytest

from clozekit.deploy.cli.main import main
from clozekit.deploy.cli.parser import build_parser, parse

PREPARE = ["prepare", "--input", "x", "--tokenizer", "y", "--output", "z"]
VOCAB = ["vocab", "--input", "x", "--output", "z"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PREPARE, "--shard-size-mb", "nan"], "prepare: shard size mb must be a finite number, got nan"),
        ([*PREPARE, "--max-bad-rate", "inf"], "prepare: max bad rate must be a finite number, got inf"),
        ([*PREPARE, "--min-similarity=-inf"], "prepare: min similarity must be a finite number, got -inf"),
        ([*PREPARE, "--max-document-mb=-1"], "prepare: max document mb must be at least 0 and below 2**63, got -1.0"),
        ([*PREPARE, "--seed=-1"], "prepare: seed must be at least 0 and below 2**63, got -1"),
        ([*PREPARE, "--num-shards", str(10**30)], f"prepare: num shards must be at least 0 and below 2**63, got {10**30}"),
        ([*PREPARE, "--sequence-length", "64", str(10**8)], "sequence_length must be at most 131,072 tokens, got 100000000"),
        ([*PREPARE, "--source", "a=b:nan"], "the weight of a source must be from 0 to 1000, 'a' has nan"),
        ([*VOCAB, "--vocabulary-size", str(10**8)], "vocabulary_size must be at most 2,000,000, got 100000000"),
        ([*VOCAB, "--vocabulary-size=-5"], "vocabulary size must be at least 0"),
        (["costs", "--corpus-gb", "nan"], "costs: corpus gb must be a finite number, got nan"),
        (["costs", "--corpus-gb", "1e300"], "costs: corpus gb must be at least 0 and below 2**63, got 1e+300"),
        (["costs", "--corpus-gb", "1", "--vcpu-price=-3"], "costs: vcpu price must be at least 0"),
        (["evaluate", "p", "--dataset", "d", "--mask-rate", "nan"], "mask rate must be a finite number, got nan"),
        (["fill", "p", "t", "--top-k=-1"], "fill: top k must be at least 0"),
        (["demo", "--steps", "0"], "demo: --steps must be from 1 to 2**31 - 1, got 0"),
        (["demo", "--steps=-3"], "demo: steps must be at least 0 and below 2**63, got -3"),
        (["demo", "--directory", ""], "demo: directory must not be empty"),
        (["prepare", "--input", "", "--tokenizer", "y", "--output", "z"], "prepare: input must not be empty"),
        (["prepare", "--input", "x", "--tokenizer", "", "--output", "z"], "prepare: tokenizer must not be empty"),
        (["prepare", "--input", "x", "--tokenizer", "y", "--output="], "prepare: output must not be empty"),
        ([*PREPARE, "--decontaminate", "a", ""], "prepare: decontaminate must not be empty"),
        (["vocab", "--input", "x", "--output", ""], "vocab: output must not be empty"),
        (["inspect", ""], "inspect: dataset must not be empty"),
        (["verify", ""], "verify: dataset must not be empty"),
        (["export", "d", "", "--to", "padded"], "export: output must not be empty"),
        (["train", ""], "train: config must not be empty"),
        (["convert", "a", "", "--to", "clozekit"], "convert: target must not be empty"),
        (["fill", "", "x"], "fill: preset must not be empty"),
        (["finetune", "--init-from", "", "--directory", "x"], "finetune: init from must not be empty"),
        (["doctor", "--directory", ""], "doctor: directory must not be empty"),
        (["submit", "slurm", ""], "submit: job must not be empty"),
        ([*PREPARE[:-1], "a\x00b"], "prepare: output must not hold a NUL character, got 'a\\x00b'"),
        (["convert", "a\x00", "b", "--to", "clozekit"], "convert: sources must not hold a NUL character"),
        (["fill", "p", "a \udcff b"], "fill: every argument must be UTF-8, got b'a \\xff b'"),
        (["predict", "p", "a \ud800 b"], "predict: every argument must be UTF-8, got b'a \\xed\\xa0\\x80 b'"),
        (["prepare", "--input", "\udcff"], "prepare: every argument must be UTF-8"),
    ],
)  # fmt: skip
def test_what_no_option_takes_is_refused_in_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("clozekit ") and message in line
    # Nothing was begun: no corpus of the demo, no folder.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["convert", "a", "b", "--to", "onnx"], ["inspect", "dataset"], ["submit", "flink", "job.yaml"], ["train", "c"]],
)
def test_an_unknown_option_is_refused_by_its_own_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--outptu", "c"])
    assert stopped.value.code == 2
    usage, *_, line = capsys.readouterr().err.splitlines()
    verb = arguments[0]
    assert usage.startswith(f"usage: clozekit {verb}")
    assert line.startswith(f"clozekit {verb}") and ": error: unrecognized arguments: --outptu" in line


def test_an_empty_text_is_a_text() -> None:
    assert parse(["predict", "preset", ""]).texts == [""]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"clozekit {importlib.metadata.version('clozekit')}\n"


def test_the_usage_of_export_names_its_arguments_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["export", "--help"])
    usage = capsys.readouterr().out.splitlines()[0]
    assert usage == "usage: clozekit export DATASET DST --to FORMAT [OPTIONS] [-- BEAM OPTIONS]"

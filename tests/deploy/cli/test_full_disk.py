"""What the system refuses to write is named with its path in one line, whoever writes. Files that may not grow stand for a
full disk: the system says so at the same place."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clozekit.deploy.convert import convert
from clozekit.deploy.demo.demo_corpus import write_corpus
from clozekit.deploy.storage_errors import refusal
from clozekit.model import BertBackbone, BertMaskedLM, BertMaskedLMPreprocessor
from clozekit.model.training.run_directory.run_log import MetricsLog
from clozekit.model.training.run_directory.small_files import write_text as write_run_text
from clozekit.pipelines.running.block_store import BlockStore, BlockWriter
from clozekit.pipelines.running.progress import Progress, ProgressReporter
from clozekit.tokenizers.storage.conditional_writes import write_if_unchanged
from clozekit.tokenizers.storage.file_systems import write_bytes_whole, write_text
from clozekit.tokenizers.tokenizer import Tokenizer


@contextmanager
def full(num_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def task(tokenizer: Tokenizer) -> BertMaskedLM:
    backbone = BertBackbone(
        tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=16,
    )
    return BertMaskedLM(backbone, BertMaskedLMPreprocessor(tokenizer, sequence_length=16), compile=False)


@pytest.fixture(scope="module")
def preset(task: BertMaskedLM, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("preset") / "preset"
    task.save_to_preset(str(folder))
    return str(folder)


def block(folder: Path) -> None:
    writer = BlockWriter(BlockStore(str(folder)))
    writer.put(b"x" * 99)


def log(folder: Path) -> None:
    opened = MetricsLog(str(folder), 0)
    for step in range(20):
        opened.write("event", step, {"loss": 1.0})


WRITERS: dict[str, Callable[[Path], object]] = {
    "a text": lambda path: write_text(path / "file", "x" * 99),
    "a text of a run": lambda path: write_run_text(str(path / "file"), "x" * 99),
    "a file of a dataset": lambda path: write_bytes_whole(str(path / "file"), b"x" * 99),
    "a manifest": lambda path: write_if_unchanged(str(path / "file"), b"x" * 99, None),
    "blocks": block,
    "progress": lambda path: ProgressReporter(Progress(str(path)), "read").add(10**60),
    "the demo's corpus": lambda path: write_corpus(path / "file.jsonl"),
    "a log": log,
}


def line_of(write: Callable[[], object], num_bytes: int) -> str:
    """What the command says."""
    with pytest.raises(Exception) as caught, full(num_bytes):
        write()
    error = caught.value
    return str(error) if isinstance(error, OSError) and error.strerror else str(refusal(error))


@pytest.mark.parametrize("writer", WRITERS)
def test_the_path_is_named(writer: str, tmp_path: Path) -> None:
    line = line_of(lambda: WRITERS[writer](tmp_path), 50)
    assert line.startswith(f"[Errno 27] File too large: '{tmp_path}/") and "\n" not in line


@pytest.mark.slow
def test_the_path_of_a_tokenizer_or_preset_is_named(task: BertMaskedLM, preset: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name, write in (
        ("tokenizer", lambda path: task.preprocessor.tokenizer.save(path)),
        ("preset", lambda path: task.save_to_preset(path)),
        ("huggingface", lambda path: convert(preset, path, "huggingface")),
        ("saved_model", lambda path: convert(preset, path, "saved_model")),
    ):
        place = str(tmp_path / name)
        line = line_of(lambda write=write, place=place: write(place), 100)  # type: ignore[misc]
        assert line.startswith(f"[Errno 27] File too large: '{place}") and "\n" not in line
        # A preset is there whole or not at all.
        assert name == "tokenizer" or not Path(place).exists()

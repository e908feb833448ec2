"""Courses of a run: phases, a growing batch, a time that is given, strategies; each stopped and gone on as if never."""

import dataclasses
import itertools
import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from long_variants import FULL

from clozekit.model import MaskedLM
from clozekit.model.presets.lineage import LINEAGE_FILE
from clozekit.model.reading.reader_settings import ReaderSettings
from clozekit.model.training import time_budget, training_loop
from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.settings.loop_settings import (
    OPTIMIZERS,
    CheckpointSettings,
    GroupSettings,
    OptimizerSettings,
)
from clozekit.model.training.settings.run_settings import (
    BatchRampSettings,
    EvaluateSettings,
    MaskingSettings,
    ModelSettings,
    PhaseSettings,
    RunSettings,
    TrainSettings,
)
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.tokenizers.common.errors import InputError

MODEL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.1)
STEPS = 12


@pytest.fixture(scope="module")
def short_dataset(corpus: Path, tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The corpus as rows of 16 tokens."""
    directory = str(tmp_path_factory.mktemp("short"))
    options = PrepareSettings(sequence_length=16, validation_rate=0.1, num_shards=2)
    prepare(ReadSettings((str(corpus),)), options, tokenizer_directory, directory)
    return directory


def config_for(dataset: str, directory: Path, train: dict[str, Any], **changes: Any) -> RunSettings:
    length = {} if "hours" in train else {"steps": STEPS}
    fields = {
        "model": MODEL,
        "train": TrainSettings(**{**length, "global_batch_size": 8, "steps_per_loop": 2, "xla": False, **train}),
        "optimizer": OptimizerSettings(learning_rate=0.01),
        "checkpoint": CheckpointSettings(every_steps=4, keep=9, background=False),
        "evaluate": EvaluateSettings(every_steps=6, max_rows=32),
        "reader": ReaderSettings(open_shards=2, shuffle_block_rows=64),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


def curve(directory: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    names = ("loss", "accuracy", "learning_rate", "gradient_norm", "tokens_seen", "rows_seen", "step", "kind")
    names += ("masked_share",)
    return [{name: entry.get(name) for name in names} for entry in read_metrics(directory / METRICS_FILE)]


def cut_back(directory: Path, step: int) -> None:
    """What a run that was killed after the checkpoint of `step` leaves."""
    shutil.rmtree(directory / "preset")
    for path in (directory / "checkpoints").iterdir():
        if int(path.name[len("step-") :][:8]) > step:
            shutil.rmtree(path)


COURSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # Its first phase has a batch of its own, which grows.
    "phases": (
        {
            "phases": (PhaseSettings(7, "short", 16, 4), PhaseSettings(5, mask_rate=0.05)),
            "batch_ramp": BatchRampSettings(4, 3, 1),
        },
        {},
    ),
    "ramp": (
        {"batch_ramp": BatchRampSettings(4, 6, 2), "global_batch_size": 12, "micro_batch_size": 4},
        {"masking": MaskingSettings(final_rate=0.05)},
    ),
    "bins": ({}, {"reader": ReaderSettings(open_shards=2, shuffle_block_rows=64, length_bins=(12, 24))}),
    "lamb on spans": (
        {},
        {"optimizer": OptimizerSettings(name="lamb", schedule="cosine"), "masking": MaskingSettings(strategy="span")},
    ),
    "groups": (
        {},
        {
            "optimizer": OptimizerSettings(
                "muon",
                0.01,
                groups=(GroupSettings("embeddings", 0.5, name="adafactor"), GroupSettings("bias$", 2.0, 0.1)),
            )
        },
    ),
    **{
        name: ({}, {"optimizer": OptimizerSettings(name, 0.01)}) for name in OPTIMIZERS if name not in ("adamw", "lamb")
    },
}


# Half a minute each.
SOME_COURSES = list(COURSES) if FULL else ["phases"]


@pytest.mark.parametrize("name", SOME_COURSES)
def test_gone_on_anywhere_it_is_as_if_never_stopped(
    name: str, dataset: tuple[str, Manifest], short_dataset: str, tmp_path: Path
) -> None:
    train, changes = COURSES[name]
    if "phases" in train:
        first = dataclasses.replace(train["phases"][0], dataset=short_dataset)
        train = {**train, "phases": (first, *train["phases"][1:])}
    config = config_for(dataset[0], tmp_path / "whole", train, **changes)
    run = Run(config)
    run.train()
    whole = curve(tmp_path / "whole")
    if name == "phases":
        # Rows of 16 tokens, 4 of them and then 16, and rows of 32; a stage ends a loop, as a checkpoint does.
        rows = [(entry["step"], entry["rows_seen"]) for entry in whole if entry["kind"] == "train"]
        assert rows == [(2, 8), (3, 12), (4, 28), (6, 60), (7, 76), (8, 84), (10, 100), (12, 116)]
        assert run.task.backbone.max_sequence_length == 32
        shares = {entry["step"]: entry["masked_share"] for entry in whole if entry["kind"] == "train"}
        # Special tokens are never masked, and what remains is rounded up.
        assert 0.22 < shares[7] < 0.32
        assert 0.04 < shares[12] < 0.10
    expected = MaskedLM.from_preset(str(tmp_path / "whole" / "preset")).get_weights()
    # From before the end of the first phase, and from behind it.
    for step in (4, 8) if FULL else (4,):
        directory = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / "whole", directory)
        cut_back(directory, step)
        Run(dataclasses.replace(config, directory=str(directory))).train()
        assert curve(directory) == whole
        weights = MaskedLM.from_preset(str(directory / "preset")).get_weights()
        assert all((a == b).all() for a, b in zip(weights, expected, strict=True))
        first, second = (path / "preset" / LINEAGE_FILE for path in (tmp_path / "whole", directory))
        assert first.read_bytes() == second.read_bytes()


SECONDS = 8.0


@pytest.fixture(scope="module")
def timed(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, float]:
    """A run of eight seconds with too few slots for predictions, and what its clock said at the end."""
    directory = tmp_path_factory.mktemp("timed") / "run"
    run = Run(
        config_for(
            dataset[0],
            directory,
            {"hours": SECONDS / 3600, "steps_per_loop": 5},
            evaluate=EvaluateSettings(every_steps=10**6, max_rows=8),
            checkpoint=CheckpointSettings(every_steps=10**6, background=False),
            masking=MaskingSettings(num_slots=3),
        )
    )
    # A clock that goes on by a tenth of a second whenever it is looked at, so that a slow machine changes nothing.
    ticks = itertools.count()
    clock = types.SimpleNamespace(monotonic=lambda: next(ticks) / 10)
    with pytest.MonkeyPatch.context() as patch:
        for module in (time_budget, training_loop):
            patch.setattr(module, "time", clock)
        run.train()
    return run, clock.monotonic()


def test_a_run_ends_in_its_time_with_the_schedule_at_its_end(timed: tuple[Run, float]) -> None:
    run, ended = timed
    directory = Path(run.directory)
    assert SECONDS <= ended < SECONDS + 1
    entries = read_metrics(directory / METRICS_FILE)
    rates = [entry["learning_rate"] for entry in entries if entry["kind"] == "train"]
    assert max(rates) == pytest.approx(0.01, rel=0.3)
    assert rates[-1] < 0.1 * max(rates)
    assert (directory / "preset").is_dir()
    saved = run.checkpoints.found()[-1]
    assert saved.position.used_seconds >= SECONDS
    # Its time is used up: started again it has nothing left to do.
    metrics = Run(run.config).train()
    assert metrics["loss"] == pytest.approx(entries[-1]["loss"])
    assert read_metrics(directory / METRICS_FILE) == entries


def test_the_vocabulary_is_filled_up_inside_and_cut_when_it_is_saved(
    dataset: tuple[str, Manifest], timed: tuple[Run, float]
) -> None:
    run, size = timed[0], dataset[1].tokenizer.vocabulary_size
    assert run.task.backbone.vocabulary_size == 64 * -(-size // 64) > size
    saved = MaskedLM.from_preset(run.preset_directory)
    assert saved.backbone.vocabulary_size == size
    batch = {name: value for name, value in next(iter(run.evaluator._batches)).items() if name != "mask_overflow"}
    padded, cut = run.task.masked_logits(batch), saved.masked_logits(batch)
    np.testing.assert_allclose(padded[..., :size], cut, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.task.masked_sums(batch)[0], saved.masked_sums(batch)[0], rtol=1e-5)
    # What no text reaches never changed.
    assert (np.asarray(run.task.backbone.token_embedding.embeddings)[size:] == 0).all()


@pytest.mark.skipif(not FULL, reason="three runs; CLOZEKIT_FULL=1 runs it")
def test_the_filled_up_vocabulary_trains_alike(dataset: tuple[str, Manifest], tmp_path: Path) -> None:
    preset = tmp_path / "begin" / "preset"
    Run(config_for(dataset[0], tmp_path / "begin", {"steps": 1})).train()
    results = []
    for multiple in (1, 64):
        model = dataclasses.replace(MODEL, vocabulary_multiple=multiple, dropout=0.0)
        directory = tmp_path / f"multiple-{multiple}"
        config = config_for(dataset[0], directory, {"steps": 6}, model=model, init_from=str(preset))
        Run(config).train()
        results.append(MaskedLM.from_preset(str(directory / "preset")).get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)


def test_a_damaged_shard_is_left_out_and_counted_when_the_configuration_says_so(
    dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = shutil.copytree(dataset[0], tmp_path / "data")
    shard = dataset[1].splits["train"].shards[0]
    (directory / shard.name).unlink()
    reader = ReaderSettings(open_shards=2, shuffle_block_rows=64, on_damage="skip")
    steps = dataset[1].splits["train"].rows // 8
    Run(config_for(str(directory), tmp_path / "run", {"steps": steps}, reader=reader)).train()
    assert f"{shard.name} is missing" in capsys.readouterr().out
    entries = [entry for entry in read_metrics(tmp_path / "run" / METRICS_FILE) if entry["kind"] == "train"]
    lost = sum(entry["unreadable_rows"] for entry in entries)
    assert shard.rows - 7 <= lost <= shard.rows


def test_slots_that_are_too_few_show_in_the_log(timed: tuple[Run, float]) -> None:
    path = Path(timed[0].directory) / METRICS_FILE
    entries = [entry for entry in read_metrics(path) if entry["kind"] == "train"]
    assert all(entry["slot_overflow"] > 0 and entry["slot_use"] > 0.9 for entry in entries)


def test_datasets_of_two_tokenizers_are_refused(dataset: tuple[str, Manifest], corpus: Path, tmp_path: Path) -> None:
    from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

    BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the"]).save(tmp_path / "tokenizer")
    options = PrepareSettings(sequence_length=16, validation_rate=0.1, num_shards=1)
    prepare(ReadSettings((str(corpus),)), options, str(tmp_path / "tokenizer"), str(tmp_path / "other"))
    train = {"steps": 4, "phases": (PhaseSettings(2, str(tmp_path / "other")), PhaseSettings(2))}
    with pytest.raises(InputError, match="must be made with one tokenizer"):
        Run(config_for(dataset[0], tmp_path / "run", train))

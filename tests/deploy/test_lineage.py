"""`clozekit lineage`: what a preset came from in every layout, and which link is named when something is another one."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clozekit.deploy.check_lineage import check_lineage
from clozekit.deploy.cli.main import main
from clozekit.deploy.convert import convert
from clozekit.deploy.preset_formats import PRESET_FORMATS
from clozekit.model import MaskedLM
from clozekit.model.presets.lineage import LINEAGE_FILE, lineage_from_json
from clozekit.model.presets.lineage_file import read_lineage
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest, dataset_fingerprint, manifest_to_json
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_files import LocalFiles

pytestmark = pytest.mark.slow


def train(dataset: str, directory: Path, **changes: Any) -> Path:
    """A run of four steps, saved at the second and the fourth."""
    model = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
    fields = {
        "model": ModelSettings() if "init_from" in changes else model,
        "train": TrainSettings(steps=4, global_batch_size=8, steps_per_loop=2, xla=False),
        "checkpoint": CheckpointSettings(every_steps=2, keep=9),
        "evaluate": EvaluateSettings(every_steps=2, max_rows=16),
    }
    Run(RunSettings(dataset, str(directory), **{**fields, **changes})).train()
    return directory


@pytest.fixture(scope="module")
def run(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(dataset[0], tmp_path_factory.mktemp("lineage") / "run")


@pytest.fixture(scope="module")
def other_run(dataset: tuple[str, Manifest], run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another seed; it begins with the model of the first at its second step."""
    return train(dataset[0], tmp_path_factory.mktemp("lineage") / "other", init_from=f"{run}/step-2", seed=7)


@pytest.fixture(scope="module")
def converted(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's model in every layout, a folder each."""
    root = tmp_path_factory.mktemp("layouts")
    for layout in PRESET_FORMATS:
        convert(str(run), str(root / layout), layout)
    return root


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """What a refused command prints, without the chain, and its line on standard error."""
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    (line,) = [one for one in err.splitlines() if one.startswith("clozekit ")]
    return [one for one in out.splitlines() if ": expected " in one], line


def test_a_run_says_what_its_model_came_from(run: Path, dataset: tuple[str, Manifest], corpus: Path) -> None:
    manifest, preset = dataset[1], run / "preset"
    lineage = lineage_of(preset)
    (checkpoint,) = lineage.before("checkpoint")
    last = [entry for entry in read_metrics(run / "metrics.jsonl") if entry["kind"] == "train"][-1]
    assert {**checkpoint.link, "weights_sha256": None, "before": None} == {
        "what": "checkpoint", "step": 4, "rows": 32, "tokens": last["tokens_seen"], "weights_sha256": None, "before": None,
    }  # fmt: skip
    (of_run,) = checkpoint.before("run")
    assert of_run.link["kind"] == "train" and set(of_run.link["before"]) == {"dataset"}
    (of_data,) = of_run.before("dataset")
    assert of_data.link["dataset_sha256"] == manifest.dataset_sha256
    assert of_data.link["splits"]["train"]["rows"] == manifest.splits["train"].rows
    (tokenizer,), (texts,) = of_data.before("tokenizer"), of_data.before("corpus")
    assert tokenizer.link["sha256"] == lineage.link["tokenizer"]["sha256"] == manifest.tokenizer.sha256
    assert (texts.link["num_files"], texts.link["documents"]) == (1, 300)
    assert texts.link["num_bytes"] == corpus.stat().st_size
    # Nothing of this machine: no folder, no time, and a name of a file only where it is the preset's.
    written = (preset / LINEAGE_FILE).read_text(encoding="utf-8")
    assert "/tmp" not in written and corpus.name not in written and run.name not in json.loads(written)["links"]
    files = {path.relative_to(preset).as_posix() for path in preset.rglob("*") if path.is_file()}
    assert set(lineage.link["files"]) == files - {LINEAGE_FILE, ".clozekit-files.json"}


@pytest.fixture
def gone(run: Path) -> Iterator[Path]:
    """The first run's folder, which is not there for a while."""
    run.rename(run.with_name("away"))
    yield run
    run.with_name("away").rename(run)


def test_gone_on_elsewhere_without_what_it_began_from_it_says_the_same(
    other_run: Path, gone: Path, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    directory = tmp_path / "moved"
    shutil.copytree(other_run, directory)
    shutil.rmtree(directory / "preset")
    shutil.rmtree(directory / "checkpoints" / "step-00000004")
    train(dataset[0], directory, init_from=f"{gone}/step-2", seed=7)
    assert (directory / "preset" / LINEAGE_FILE).read_bytes() == (other_run / "preset" / LINEAGE_FILE).read_bytes()
    # A run that an earlier version began says that it does not know.
    (directory / "model" / LINEAGE_FILE).unlink()
    train(dataset[0], directory, init_from=f"{gone}/step-2", seed=7)
    (start,) = lineage_of(directory / "preset").of("run")[0].before("init_from")
    assert start.link["made_by"] == "unknown"


def test_the_chain_is_printed_and_what_is_here_is_checked(
    other_run: Path, run: Path, dataset: tuple[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lineage", f"{other_run}/preset", "--run", str(other_run), "--run", str(run), "--dataset", dataset[0]]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    whats = [line.split()[0 if not line.lstrip().startswith("init_from") else 1] for line in lines]
    indents = [len(line) - len(line.lstrip()) for line in lines]
    begun = [(0, "preset"), (2, "checkpoint"), (4, "run"), (6, "dataset"), (8, "corpus"), (8, "tokenizer")]
    start = [(6, "checkpoint"), (8, "run"), (10, "dataset")]
    assert list(zip(indents, whats, strict=True))[:9] == [*begun, *start]
    assert lines[6].lstrip().startswith("init_from: checkpoint ") and "step 2, 16 rows" in lines[6]
    assert lines[8].endswith("(as above)")
    assert [line.partition(": ")[2] for line in lines if line.startswith("as it says: ")] == [
        *("9 files of the preset", f"run {other_run}", f"checkpoint of step 4 in {other_run}"),
        *(f"run {run}", f"checkpoint of step 2 in {run}", f"dataset {dataset[0]}"),
    ]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["whole"], answer["problems"]) == (True, [])
    assert lineage_from_json(json.dumps({"schema_version": 1, **answer["lineage"]}), "it") == lineage_of(
        f"{other_run}/preset"
    )


@pytest.mark.parametrize("layout", PRESET_FORMATS)
def test_every_layout_keeps_the_chain_and_a_planted_file_is_named(
    layout: str, converted: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = tmp_path / layout
    shutil.copytree(converted / layout, preset)
    checked = check_lineage(str(preset), [str(run)])
    assert checked.problems == ()
    assert checked.lineage.link["layout"] == layout
    assert checked.lineage.before("source") == [lineage_of(run / "preset")]
    weights = {"saved_model": "variables/variables.data-00000-of-00001", "onnx": "model.onnx", "litert": "model.tflite"}
    name = weights.get(layout, "model.safetensors" if layout == "huggingface" else "model.weights.h5")
    content = bytearray((preset / name).read_bytes())
    content[len(content) // 2] ^= 1
    (preset / name).write_bytes(content)
    (line,), error = refused(["lineage", str(preset)], capsys)
    expected = checked.lineage.link["files"][name][:12]
    assert line.startswith(f"weights {name}: expected {expected}, found ")
    assert f"{preset} is not in 1 link (above)" in error


@pytest.mark.parametrize("layout", ["clozekit", "huggingface"])
def test_a_planted_tokenizer_or_one_more_file_is_named(
    layout: str, converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = tmp_path / "preset"
    shutil.copytree(converted / layout, preset)
    vocabulary = "assets/tokenizer/vocabulary.txt" if layout == "clozekit" else "vocab.txt"
    with (preset / vocabulary).open("a", encoding="utf-8") as stream:
        stream.write("another\n")
    (preset / "model-00001-of-00002.safetensors").write_bytes(b"more")
    (preset / "README.md").write_text("A card is not a part of the model.", encoding="utf-8")
    (preset / "config.json").unlink()
    lines, _ = refused(["lineage", str(preset)], capsys)
    assert [line.partition(": ")[0] for line in lines] == [
        *(["tokenizer assets/tokenizer/vocabulary.txt"] if layout == "clozekit" else []),
        "description config.json",
        *([] if layout == "clozekit" else ["tokenizer vocab.txt"]),
        "weights model-00001-of-00002.safetensors",
    ]
    assert [line.rpartition("found ")[2] for line in lines if "config.json" in line] == ["none"]


def test_another_run_and_another_dataset_are_named(
    run: Path, other_run: Path, dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Another dataset: without its validation split.
    other, manifest = tmp_path / "dataset", dataset[1]
    other.mkdir()
    splits = {"train": manifest.splits["train"]}
    less = dataclasses.replace(manifest, splits=splits, dataset_sha256=dataset_fingerprint(splits))
    (other / "manifest.json").write_text(manifest_to_json(less), encoding="utf-8")
    (line,), _ = refused(["lineage", f"{run}/preset", "--dataset", str(other)], capsys)
    expected, found = manifest.dataset_sha256[:12], less.dataset_sha256[:12]
    assert line == f"dataset {other}: expected {expected}, found {found}"
    (line,), _ = refused(["lineage", f"{run}/preset", "--run", str(other_run)], capsys)
    assert line.startswith(f"run {other_run}: expected {lineage_of(run / 'preset').of('run')[0].link['sha256'][:12]}, ")
    # Another checkpoint in the place of the run's own: its state is that run's, its weights are not.
    planted = tmp_path / "planted"
    shutil.copytree(run, planted)
    for path in (run / "checkpoints" / "step-00000002").glob("variables*"):
        shutil.copy(path, planted / "checkpoints" / "step-00000004" / path.name)
    (line,), _ = refused(["lineage", f"{run}/preset", "--run", str(planted)], capsys)
    assert line.startswith(f"checkpoint of step 4 in {planted}: expected ")
    shutil.rmtree(planted / "checkpoints" / "step-00000004")
    assert main(["lineage", f"{run}/preset", "--run", str(planted)]) == 0
    assert f"not checked: checkpoint of step 4 in {planted}: it is no longer kept there" in capsys.readouterr().out
    for option, what in (("--run", "must be a run with a checkpoint"), ("--dataset", "must hold manifest.json")):
        _, error = refused(["lineage", f"{run}/preset", option, str(tmp_path)], capsys)
        assert what in error


def test_a_mean_names_all_that_it_is_of_and_a_checkpoint_is_known_by_its_weights(run: Path, tmp_path: Path) -> None:
    convert(f"{run}/step-2", str(tmp_path / "mean"), "clozekit", [f"{run}/best", str(run)])
    lineage = check_lineage(str(tmp_path / "mean")).lineage
    sources = lineage.before("source")
    assert [one.link["what"] for one in sources] == ["checkpoint", "checkpoint", "preset"]
    assert sources == [lineage_of(one) for one in (f"{run}/step-2", f"{run}/best", run)]
    # What the run ended with is its last checkpoint.
    assert sources[2].before("checkpoint") == [lineage_of(f"{run}/latest")]
    assert len(lineage.of("run")) == 1
    checked = check_lineage(f"{run}/step-2")
    assert checked.checked == (f"run of {run}/step-2",) and checked.problems == ()


def test_a_preset_of_somebody_else_is_known_by_its_weights(
    run: Path, dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Saved by hand: nobody knows what it came from."""
    foreign = tmp_path / "foreign"
    MaskedLM.from_preset(str(run)).save_to_preset(str(foreign))
    assert read_lineage(LocalFiles(foreign)) is None
    assert main(["lineage", str(foreign)]) == 2
    assert "has none: another program or an earlier version wrote it" in capsys.readouterr().err
    theirs = lineage_of(run / "preset").link["files"]
    begun = train(dataset[0], tmp_path / "run", init_from=str(foreign))
    (start,) = lineage_of(begun / "preset").of("run")[0].before("init_from")
    assert start.link == {
        "what": "preset", "files": {name: theirs[name] for name in ("model.weights.h5", "task.weights.h5")}, "before": {},
    }  # fmt: skip
    assert main(["lineage", str(begun / "preset")]) == 0
    assert "init_from: preset" in capsys.readouterr().out


def test_a_lineage_of_other_weights_or_no_lineage_at_all_is_left_out(run: Path, tmp_path: Path) -> None:
    preset, target = tmp_path / "preset", str(tmp_path / "target")
    shutil.copytree(run / "preset", preset)
    whole = (preset / LINEAGE_FILE).read_text(encoding="utf-8")
    planted = {
        "of other weights than it holds": None,
        "it was changed": whole.replace('"step": 4', '"step": 5'),
        "another file of that name": '{"nodes": []}',
        "it is damaged": "{",
    }
    for message, text in planted.items():
        if text is None:
            MaskedLM.from_preset(str(run / "preset"), load_weights=False).save_to_preset(str(tmp_path / "fresh"))
            shutil.copy(tmp_path / "fresh" / "model.weights.h5", preset / "model.weights.h5")
        else:
            (preset / LINEAGE_FILE).write_text(text, encoding="utf-8")
            with pytest.raises(InputError, match=message):
                check_lineage(str(preset))
        (note,) = [note for note in convert(str(preset), target, "clozekit").notes if message in note]
        (source,) = lineage_of(target).before("source")
        assert source.link["before"] == {} and set(source.link["files"]) == {"model.weights.h5", "task.weights.h5"}

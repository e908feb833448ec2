"""Code of the user's own in a run: refused when it can't be called, exact when a run goes on, told when it changed; callbacks."""

import shutil
import sys
from pathlib import Path

import finetune_runs
import numpy as np
import own_rules
import pytest
import tensorflow as tf
from recording import Recorder

from clozekit.model import MaskedLM
from clozekit.model.common.own_code import load_own, source_sha256
from clozekit.model.masking.mask_rows import mask_rows
from clozekit.model.masking.masking_rule import MaskingRule
from clozekit.model.presets.lineage_file import lineage_in
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.model.training import Run
from clozekit.model.training.cluster.endings import StoppedError
from clozekit.model.training.finetuning import FinetuneRun
from clozekit.model.training.objectives.objective import objective_named
from clozekit.model.training.own_functions import check_optimizer, masking_function, objective_of
from clozekit.model.training.run_directory.run_state import read_run
from clozekit.model.training.settings.loop_settings import OptimizerSettings
from clozekit.model.training.settings.run_settings import MaskingSettings, RunSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError

STEPS = 12
CONFIG = """
dataset: {dataset}
directory: {directory}
objective: own_rules:smoothed
model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32, dropout: 0.1}}
train: {{steps: 12, global_batch_size: 8, steps_per_loop: 2, xla: false}}
optimizer: {{name: own_rules:momentum, schedule: own_rules:inverse_square_root, learning_rate: 0.05}}
masking: {{strategy: own_rules:later_words}}
checkpoint: {{every_steps: 4, keep: 9}}
evaluate: {{every_steps: 6, max_rows: 32}}
"""


def config_file(dataset: str, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "run.yaml"
    path.write_text(CONFIG.format(dataset=dataset, directory=directory / "run"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    """A run on code of one's own that never stopped, and what its callback heard."""
    directory = tmp_path_factory.mktemp("whole")
    recorder = Recorder()
    Run(config_file(dataset[0], directory), callbacks=[recorder]).train()
    return directory / "run", recorder


def test_a_callback_hears_of_everything(whole: tuple[Path, Recorder]) -> None:
    heard = [entry[:2] for entry in whole[1].heard]
    assert heard[0] == ("begin", 0) and heard[-1] == ("end", "finished")
    assert [step for what, step in heard if what == "log"] == [2, 4, 6, 8, 10, 12]
    assert [step for what, step in heard if what == "evaluate"] == [6, 12]
    # Every four steps, and at each evaluation that is the best so far.
    assert [step for what, step in heard if what == "checkpoint"] in ([4, 6, 8, 12], [4, 8, 12])


def test_code_of_ones_own_does_what_it_says(whole: tuple[Path, Recorder]) -> None:
    entries = finetune_runs.curve(whole[0])
    (event,) = [entry for entry in entries if entry["kind"] == "event"]
    sha256 = source_sha256("own_rules:momentum")[:12]
    names = (
        "masking.strategy=own_rules:later_words",
        "objective=own_rules:smoothed",
        "optimizer.name=own_rules:momentum",
    )
    assert all(f"{name} sha256 {sha256}" in event["reason"] for name in names)
    rates = [entry["learning_rate"] for entry in entries if entry["kind"] == "train"]
    # One step of warm-up; (t + 1) / 13 of the run is done at step t.
    np.testing.assert_allclose(rates, [0.05 / np.sqrt(step) for step in (2, 4, 6, 8, 10, 12)], rtol=1e-5)
    config = (whole[0] / "config.yaml").read_text(encoding="utf-8")
    assert "name: own_rules:momentum" in config and "objective: own_rules:smoothed" in config


def test_stopped_failed_and_gone_on_it_is_as_if_never_stopped(
    whole: tuple[Path, Recorder], dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    path = config_file(dataset[0], tmp_path)
    stopped, failed, finished = Recorder(4, "signal"), Recorder(10, "raise"), Recorder()
    with pytest.raises(StoppedError):
        Run(path, callbacks=[stopped]).train()
    assert stopped.heard[-2:] == [("checkpoint", 4), ("end", "stopped")]
    assert read_run(str(tmp_path / "run")).state == "stopped"
    first = Recorder()
    with pytest.raises(LookupError, match="mine"):
        Run(path, callbacks=[first, failed]).train()
    assert read_run(str(tmp_path / "run")).state == "killed"
    assert failed.heard[0] == ("begin", 4) and failed.heard[-2:] == [("log", 10), ("end", "failed")]
    assert first.heard == failed.heard
    Run(path, callbacks=[finished]).train()
    assert (read_run(str(tmp_path / "run")).state, read_run(str(tmp_path / "run")).step) == ("finished", 12)
    assert finished.heard[0] == ("begin", 8)
    assert finetune_runs.curve(tmp_path / "run") == finetune_runs.curve(whole[0])
    a, b = (MaskedLM.from_preset(str(folder / "preset")).get_weights() for folder in (tmp_path / "run", whole[0]))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    first, second = (lineage_of(folder / "preset") for folder in (tmp_path / "run", whole[0]))
    assert first == second
    (code,) = first.of("run")[0].link["code"]
    assert code["functions"]["objective"] == {
        "name": "own_rules:smoothed", "sha256": source_sha256("own_rules:smoothed"),
    }  # fmt: skip


@pytest.fixture
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a module `my_focal` that can be imported, gone again afterwards."""
    folder = tmp_path / "code"
    folder.mkdir()
    shutil.copy(own_rules.__file__, folder / "my_focal.py")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("my_focal", None)


@pytest.mark.slow
def test_fine_tuning_with_code_of_ones_own_says_when_it_changed(
    start_preset: str, labelled: Path, tmp_path: Path, on_the_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["objective=my_focal:focal", "optimizer.schedule=my_focal:inverse_square_root", "train.steps_per_loop=5"]
    settings = finetune_runs.settings_of(start_preset, labelled, tmp_path / "run", *own, "train.epochs=2")
    recorder = Recorder(15, "stop")
    FinetuneRun(settings, callbacks=[recorder]).train()
    assert "stopping: it is enough" in capsys.readouterr().out
    # It was evaluated and saved, and has its preset and its result.
    assert [entry[:2] for entry in recorder.heard[-3:]] == [("evaluate", 15), ("checkpoint", 15), ("end", "finished")]
    assert (tmp_path / "run" / "result.json").is_file()
    assert (read_run(str(tmp_path / "run")).state, read_run(str(tmp_path / "run")).kind) == ("finished", "finetune")
    before = source_sha256("my_focal:focal")
    with (on_the_path / "my_focal.py").open("a", encoding="utf-8") as stream:
        stream.write("# Another one.\n")
    now = source_sha256("my_focal:focal")
    FinetuneRun(settings).train()
    screen = capsys.readouterr().out
    assert "warning: code of your own is not what it was (before: objective=my_focal:focal sha256" in screen
    entries = finetune_runs.curve(tmp_path / "run")
    events = [(entry["step"], entry["event"]) for entry in entries if entry["kind"] == "event"]
    assert events == [(0, "own_code"), (15, "own_code")]
    assert [entry["step"] for entry in entries if entry["kind"] == "train"] == [5, 10, 15, 20]
    # Its lineage has both, each once, when it is started once more too.
    FinetuneRun(settings).train()
    codes = lineage_in(str(tmp_path / "run" / "model"), "run").link["code"]  # type: ignore[union-attr]
    assert [code["functions"]["objective"]["sha256"] for code in codes] == [before, now]
    assert "not what it was" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_module:make",
            r"is not \(there is no such module\); start the command in the folder of no_such_module.py",
        ),
        ("own_rules:nothing", "own_rules has no nothing"),
        ("own_rules:NOT_A_FUNCTION", "must name a function, own_rules:NOT_A_FUNCTION is of the type int"),
        ("own_rules:too_few_arguments", r"is called as too_few_arguments\(value, gradient, .*, takes|takes \(value"),
        ("own_rules:change_alone", "must return the change of the variable and its two moments"),
        ("own_rules:fails", r"it failed \(ZeroDivisionError: by my own fault\); mend it"),
        ("broken_module:make", r"is not \(SyntaxError: "),
    ],
)
def test_what_can_not_be_an_optimizer_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("def make(:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=message) as caught:
        check_optimizer(OptimizerSettings(name))
    assert "optimizer.name" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["loss_alone", "loss_and_count", "losses_of_rows"])
def test_an_objective_must_return_its_sums(name: str) -> None:
    objective = objective_of(f"own_rules:{name}", objective_named("masked_lm"))
    with pytest.raises(
        InputError, match=rf"objective=own_rules:{name} must return Sums\(loss, count, correct\), three scalars"
    ):
        objective.sums(None, {}, True)


def test_what_can_not_be_a_schedule_a_masking_or_a_name_is_refused() -> None:
    with pytest.raises(InputError, match="optimizer.schedule=own_rules:no_number must return a finite learning rate"):
        check_optimizer(OptimizerSettings(schedule="own_rules:no_number"))
    with pytest.raises(InputError, match=r"masking.strategy must return bool \(B, T\), which positions"):
        masking_function("own_rules:numbers")
    for name in ("adam", "a:b:c", "a b:c", ":c", "a:", "a.:c"):
        with pytest.raises(
            InputError,
            match="optimizer.name must be adafactor, adamw, lamb, lion, muon, stable_adamw or module:function, got",
        ):
            OptimizerSettings(name)
    with pytest.raises(InputError, match="masking.strategy must be token, whole_word, span, ngram or module:function"):
        MaskingSettings(strategy="words")
    with pytest.raises(InputError, match="objective must be pairs, replaced or module:function, got 'mine'"):
        RunSettings("data", "run", objective="mine")


def test_a_module_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_the_config.py").write_text(
        "def rate(progress, warmup, config):\n    return 1.0\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    rate = load_own("optimizer.schedule", "beside_the_config:rate", ["progress", "warmup", "config"])
    assert rate(0, 0, 0) == 1.0
    # Behind all other places.
    assert sys.path[-1] == str(tmp_path)
    del sys.modules["beside_the_config"]


def test_a_masking_of_ones_own_selects_what_may_be_selected() -> None:
    ids = tf.constant([[2, 5, 6, 7, 8, 9, 10, 3], [2, 5, 6, 3, 0, 0, 0, 0]])
    starts = np.ones(16, bool)
    rule = MaskingRule(
        4, 16, (0, 1, 2, 3, 4), 0.5, 1.0, 0.0, strategy="x", word_starts=starts, select=own_rules.later_words
    )
    masked = mask_rows(ids, tf.constant([0, 1], tf.int64), tf.constant(0, tf.int64), rule)
    shown = masked["token_ids"].numpy()
    # Three of the six are wanted, and three stand in the second half; the second row has none there.
    assert shown.tolist() == [[2, 5, 6, 7, 4, 4, 4, 3], [2, 5, 6, 3, 0, 0, 0, 0]]
    everything = MaskingRule(
        4,
        16,
        (0, 1, 2, 3, 4),
        0.5,
        1.0,
        0.0,
        strategy="x",
        word_starts=starts,
        num_slots=6,
        select=lambda rows: tf.ones_like(rows.selectable),
    )
    shown = mask_rows(ids, tf.constant([0, 1], tf.int64), tf.constant(0, tf.int64), everything)["token_ids"].numpy()
    assert shown.tolist() == [[2, 4, 4, 4, 4, 4, 4, 3], [2, 4, 4, 3, 0, 0, 0, 0]]

"""The configuration: defaults, changes, and one clear line for what is wrong in it."""

import json
from pathlib import Path

import pytest

from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import BatchRampSettings, PhaseSettings, RunSettings, TrainSettings
from clozekit.tokenizers.common.errors import InputError

TEXT = "dataset: data\ndirectory: run\nmodel: {num_layers: 2}\noptimizer: {learning_rate: 1e-3}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_defaults_file_and_changes(path: Path) -> None:
    config = load_config(path, ["train.steps=7", "model.dropout=0", "seed=3"])
    assert (config.model.num_layers, config.model.dropout, config.model.num_heads) == (2, 0.0, 4)
    assert (config.optimizer.learning_rate, config.train.steps, config.seed) == (0.001, 7, 3)


def test_the_resolved_configuration_reads_back_equal(path: Path, tmp_path: Path) -> None:
    config = load_config(path, ["train.micro_batch_size=16"])
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(resolved) == config


def test_the_fingerprint_is_of_what_decides_the_run() -> None:
    config = RunSettings("data", "run")
    assert config.course() == RunSettings("elsewhere/data", "other").course()
    other = RunSettings("data", "run", train=TrainSettings(steps=7)).course()
    assert {key for key, value in config.course().items() if other[key] != value} == {"train.steps"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["modle.num_layers=2"], r"has modle; did you mean model\?"),
        (["model.num_layer=2"], r"has model\.num_layer; did you mean model\.num_layers\?"),
        (["steps=5"], r"has steps; did you mean train\.steps\?"),
        (["learning_rate=5"], r"did you mean optimizer\.learning_rate\?"),
        (["train.learning_rate=5"], r"has train\.learning_rate; did you mean optimizer\.learning_rate\?"),
        (["optimizer.lr=5"], r"has optimizer\.lr; the keys there are name, learning_rate, beta_1"),
        (["train.steps=["], r"must be YAML, got 'train\.steps=\['"),
        (["seed=-1"], "seed must be from 0 to"),
        (["masking.random_token_rate=0.5"], "must be at most 1, got 1.3"),
        (["train.steps=many"], r"train\.steps must be int or nothing, .* has 'many'"),
        (["train.steps=true"], r"train\.steps must be int or nothing, .* has True"),
        (["train.micro_batch_size=7"], "must be a multiple of train.micro_batch_size, got 64 and 7"),
        (["model.hidden_dim=30"], "must be a multiple of model.num_heads, got 30 and 4"),
        (["train.steps=0"], "train.steps must be at least 1, got 0"),
        (["train"], "must look like key=value"),
        (["model=5"], "model must be a group of keys"),
        (["masking.train_rate=0"], "masking.train_rate must be above 0 and at most 1, got 0"),
        (["masking.final_rate=1.5"], "masking.final_rate must be above 0 and at most 1, got 1.5"),
        (
            ["masking.final_rate=0.1", "train.hours=1"],
            "must be known in steps, got 'train.hours'; leave it out, or give",
        ),
        (
            ["masking.final_rate=0.1", "train.phases=[{steps: 2, mask_rate: 0.3}]", "train.steps=2"],
            r"or by the mask_rate of phases, not by both, got 0.1 and \[0.3\]; leave one out",
        ),
        (["train.phases=[{steps: 2, mask_rate: 0}]"], "the mask_rate of a phase must be above 0 and at most 1, got 0"),
    ],
)
def test_a_wrong_setting_of_a_run_is_named(path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(path, changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: [", "must be YAML"),
        ("- a", "must be a mapping"),
        ("directory: run", "the key dataset is needed"),
        ("dataset: 5\ndirectory: x", "dataset must be str"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="must be a readable YAML file"):
        load_config(tmp_path / "missing.yaml")


def test_lists_and_groups_that_may_be_missing(path: Path) -> None:
    changes = [
        "train.steps=30",
        "train.phases=[{steps: 10, dataset: short}, {steps: 20, global_batch_size: 8}]",
        "train.batch_ramp={first_batch_size: 8, steps: 4}",
        "reader.length_bins=[8, 16]",
    ]
    config = load_config(path, changes)
    assert config.train.phases == (PhaseSettings(10, "short"), PhaseSettings(20, None, 8))
    assert config.train.batch_ramp == BatchRampSettings(8, 4)
    assert config.reader.length_bins == (8, 16)
    assert load_config(path, [*changes, "train.batch_ramp=null"]).train.batch_ramp is None
    resolved = path.with_name("resolved.yaml")
    resolved.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(resolved) == config
    # What a checkpoint keeps of it, through JSON, and without the places of things.
    course = config.course()
    assert json.loads(json.dumps(course)) == course
    assert course["train.phases"][0]["steps"] == 10
    # Runs that began before phases had rates go on.
    assert "mask_rate" not in course["train.phases"][0]
    rates = [changes[0], "train.phases=[{steps: 10, mask_rate: 0.3}, {steps: 20, mask_rate: 0.05}]"]
    assert [phase["mask_rate"] for phase in load_config(path, rates).course()["train.phases"]] == [0.3, 0.05]
    moved = load_config(path, [*changes[:1], changes[1].replace("short", "elsewhere/short"), *changes[2:]])
    assert moved.course() == course
    assert load_config(path, [*changes, "reader.on_damage=skip"]).course() == course


def test_a_built_in_preset_gives_its_dimensions(path: Path) -> None:
    path.write_text("dataset: data\ndirectory: run\n", encoding="utf-8")
    model = load_config(path, ["model.preset=albert_base_en_uncased", "model.dropout=0.2"]).model
    assert (model.family, model.num_layers, model.hidden_dim, model.embedding_dim) == ("albert", 12, 768, 128)
    assert model.dropout == 0.2
    model = load_config(path, ["model.preset=bert_base_en"]).model
    assert (model.family, model.num_heads, model.intermediate_dim, model.dropout) == ("bert", 12, 3072, 0.1)
    with pytest.raises(InputError, match="model.preset must be one of bert_tiny_en_uncased, .* got 'bert_huge'"):
        load_config(path, ["model.preset=bert_huge"])
    with pytest.raises(InputError, match="model.family must be bert for the preset bert_base_en, got 'roberta'"):
        load_config(path, ["model.preset=bert_base_en", "model.family=roberta"])

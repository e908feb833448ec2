"""`replaced.generator`: a run that begins with a discriminator and with its generator, each a preset of its own."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families

from clozekit.deploy.cli.main import main
from clozekit.deploy.recipes import find_recipe
from clozekit.model import MaskedLM, ReplacedTokenDetector
from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.presets.huggingface_preset import save_huggingface, save_huggingface_backbone
from clozekit.model.presets.load_presets import open_source
from clozekit.model.training.controller import Run
from clozekit.model.training.join_halves import open_generator
from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics
from clozekit.model.training.settings.loop_settings import CheckpointSettings
from clozekit.model.training.settings.replaced_settings import ReplacedSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.electra_tokenizer import ElectraTokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.families.preset_tokenizer import of_class

SIZES = {
    "num_generator_layers": 2,
    "num_generator_heads": 1,
    "generator_hidden_dim": 4,
    "generator_intermediate_dim": 6,
}


def new_task(tokenizer_directory: str, seed: int = 3, **changes: Any) -> Any:
    """A discriminator with its generator, of the dataset's tokenizer."""
    tokenizer = of_class(ElectraTokenizer, load_tokenizer(tokenizer_directory))
    backbone = families.backbone(
        "electra", **{"vocabulary_size": tokenizer.vocabulary_size(), "dropout": 0.1, **changes}
    )
    of_family = families.family("electra")
    task = of_family.masked_lm(
        backbone, of_family.masked_lm_preprocessor(tokenizer, sequence_length=16), compile=False, **SIZES
    )
    families.randomize(task, seed)
    return task


@pytest.fixture(scope="module")
def both(tokenizer_directory: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A task, and a folder with its preset `own` and the two that transformers knows: `theirs` and `theirs/generator`."""
    folder, task = tmp_path_factory.mktemp("halves"), new_task(tokenizer_directory)
    task.save_to_preset(str(folder / "own"))
    save_huggingface(task, folder / "theirs")
    return task, folder


def config_for(dataset: str, directory: Path, init_from: Path, generator: Path | None, **changes: Any) -> RunSettings:
    fields = {
        "objective": "replaced",
        "init_from": str(init_from),
        "replaced": ReplacedSettings(generator=None if generator is None else str(generator)),
        "train": TrainSettings(steps=4, global_batch_size=8, steps_per_loop=1, xla=False),
        "checkpoint": CheckpointSettings(every_steps=2, keep=99, background=False),
        "evaluate": EvaluateSettings(every_steps=2, max_rows=8),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


def words_for(dataset: str, directory: Path, init_from: Path, generator: Path) -> list[str]:
    words = [
        f"dataset={dataset}",
        f"directory={directory}",
        "train.steps=2",
        "train.global_batch_size=8",
        "train.xla=false",
    ]
    return ["train", *words, "objective=replaced", f"init_from={init_from}", f"replaced.generator={generator}"]


def begun(config: RunSettings) -> tuple[Any, list[str]]:
    """The task that a run begins with, its vocabulary no longer filled up, and what was said."""
    run, said = Run(config), []
    run.say = said.append  # type: ignore[method-assign]
    assert run.task.backbone.vocabulary_size % 64 == 0
    run.begin_anew()
    return with_vocabulary(run.task, run.vocabulary_size), said


def same_weights(a: Any, b: Any) -> bool:
    return all((x == y).all() for x, y in zip(families.kept_weights(a), families.kept_weights(b), strict=True))


def curve(directory: Path) -> list[dict[str, Any]]:
    left_out = ("seconds", "memory", "tokens_per", "rows_per", "wait", "mfu", "flops", "cost", "steps_per")
    return [
        {name: value for name, value in entry.items() if not any(word in name for word in left_out)}
        for entry in read_metrics(directory / METRICS_FILE)
    ]


@pytest.fixture(scope="module")
def trained(both: tuple[Any, Path], dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that began with both halves."""
    directory, theirs = tmp_path_factory.mktemp("trained") / "run", both[1] / "theirs"
    Run(config_for(dataset[0], directory, theirs, theirs / "generator")).train()
    return directory


def test_the_two_that_convert_wrote_are_the_model_that_was_converted(
    both: tuple[Any, Path], dataset: tuple[str, Manifest], trained: Path, tmp_path: Path
) -> None:
    task, folder = both
    again, said = begun(config_for(dataset[0], tmp_path / "run", folder / "theirs", folder / "theirs" / "generator"))
    assert same_weights(again, task) and said == []
    assert (again.head_settings(), again.backbone.settings()) == (task.head_settings(), task.backbone.settings())
    # Going on from either is one run, from the first step on.
    Run(config_for(dataset[0], tmp_path / "own", folder / "own", None)).train()
    assert curve(tmp_path / "own") == curve(trained)


def test_a_run_that_was_killed_goes_on_bit_for_bit_without_the_presets(
    both: tuple[Any, Path], trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "preset")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-00000004")
    theirs = both[1] / "theirs"
    theirs.rename(both[1] / "away")
    try:
        run = Run(dataclasses.replace(load_config(trained / "config.yaml"), directory=str(tmp_path / "again")))
        run.train()
    finally:
        (both[1] / "away").rename(theirs)
    assert curve(tmp_path / "again") == curve(trained)
    for name in ("model.weights.h5", "task.weights.h5", "lineage.json"):
        one, other = (place / "preset" / name for place in (trained, tmp_path / "again"))
        assert one.read_bytes() == other.read_bytes(), name


def test_the_lineage_names_both_beginnings(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", str(trained / "preset")]) == 0
    said = capsys.readouterr().out
    assert "init_from: preset" in said and "generator: preset" in said


def test_where_the_embeddings_differ_the_discriminators_are_taken_and_one_line_says_so(
    both: tuple[Any, Path], dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    task, folder = both
    # Another run of the generator alone: what is named is a checkpoint of it.
    alone = tmp_path / "alone"
    changes = {"objective": None, "replaced": None, "train": TrainSettings(steps=1, global_batch_size=8, xla=False)}
    Run(config_for(dataset[0], alone, folder / "theirs" / "generator", None, **changes)).train()
    again, said = begun(config_for(dataset[0], tmp_path / "run", folder / "theirs", alone / "step-1"))
    tables = ("token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm")
    (line,) = said
    assert "\n" not in line and all(name in line for name in tables)
    kept = "replaced.disentangled=true keeps both"
    assert line.endswith(f"from here on both models have those of {folder / 'theirs'}; {kept}")
    each = ReplacedSettings(generator=str(alone / "step-1"), disentangled=True)
    config = config_for(dataset[0], tmp_path / "each", folder / "theirs", None, replaced=each)
    apart, nothing = begun(config)
    assert nothing == [] and same_weights(apart.discriminator_alone(), task.discriminator_alone())
    trained = MaskedLM.from_preset(str(alone / "step-1"))
    assert same_weights(apart.generator_alone(), trained) and not same_weights(trained, task.generator_alone())
    assert same_weights(again.discriminator_alone(), task.discriminator_alone())
    ours, theirs = np.asarray(again.generator.weights[-1]), np.asarray(task.generator.weights[-1])
    assert not np.array_equal(ours, theirs)


def test_a_discriminator_without_its_head_gets_a_fresh_one_that_the_seed_decides(
    both: tuple[Any, Path], dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    task, folder = both
    save_huggingface_backbone(task.discriminator_alone().backbone, tmp_path / "body", task.preprocessor)
    config = config_for(dataset[0], tmp_path / "run", tmp_path / "body", folder / "theirs" / "generator")
    (first, _), (second, _) = begun(config), begun(config)
    assert all((a == b).all() for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    heads = [[np.asarray(weight) for weight in one.detection_head.weights] for one in (first, task)]
    assert not np.array_equal(heads[0][0], heads[1][0])
    rows = {**families.batch("electra"), "token_ids": np.ones((3, 12), "int32")}
    np.testing.assert_array_equal(np.asarray(first.masked_logits(rows)), np.asarray(task.masked_logits(rows)))


def test_positions_are_repeated_for_longer_rows(
    tokenizer_directory: str, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    task = new_task(tokenizer_directory, max_sequence_length=24)
    save_huggingface(task, tmp_path / "both")
    places = (tmp_path / "run", tmp_path / "both", tmp_path / "both" / "generator")
    with pytest.raises(InputError, match="has 24, got rows of 32 tokens"):
        Run(config_for(dataset[0], *places))
    old = np.asarray(task.backbone.position_embedding.position_embeddings)
    for is_disentangled in (False, True):
        replaced = ReplacedSettings(generator=str(places[2]), disentangled=is_disentangled)
        changes = {"model": ModelSettings(extend_positions="repeat"), "replaced": replaced}
        longer, _ = begun(config_for(dataset[0], *places, **changes))
        assert len(longer.position_tables()) == 1 + is_disentangled
        for table in longer.position_tables():
            np.testing.assert_array_equal(table, np.concatenate([old, old[:8]]))


def test_a_dry_run_shows_the_generator_and_writes_nothing(
    both: tuple[Any, Path], dataset: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = both[1] / "theirs"
    assert main([*words_for(dataset[0], tmp_path / "run", theirs, theirs / "generator"), "--dry-run"]) == 0
    assert "masked tokens by a generator of 2 layers of 4" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_what_is_no_pair_is_refused_in_one_line(
    both: tuple[Any, Path],
    tokenizer_directory: str,
    dataset: tuple[str, Manifest],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task, folder = both
    theirs = folder / "theirs"

    def saved(name: str, **changes: Any) -> Path:
        save_huggingface(new_task(tokenizer_directory, **changes).generator_alone(), tmp_path / name)
        return tmp_path / name

    bert, body = tmp_path / "bert", tmp_path / "body"
    families.masked_lm("bert", families.masked_lm_preprocessor("bert")).save_to_preset(str(bert))
    save_huggingface_backbone(task.generator_alone().backbone, body, task.preprocessor)
    other = tmp_path / "other"
    families.masked_lm("electra", families.masked_lm_preprocessor("electra")).save_to_preset(str(other))
    eighths, quantized = task.generator_alone(), tmp_path / "eighths"
    eighths.quantize("int8")
    eighths.save_to_preset(str(quantized))
    with pytest.raises(InputError, match="is of the family electra and init_from .* of bert; take the two"):
        open_generator(str(theirs / "generator"), open_source(bert))
    refused = [
        (theirs, quantized, "are trained in floats, .* is quantized; take its original"),
        (
            theirs,
            bert,
            "must be of the family of its discriminator, .* is of the family bert and init_from .* of electra",
        ),
        (theirs, theirs, "is a discriminator; give that as init_from"),
        (theirs, body, "is a model without a masked-LM head"),
        (theirs, folder / "own", "is one with its discriminator; give it as init_from alone"),
        (folder / "own", theirs / "generator", "has a generator already; leave it out"),
        (theirs, saved("narrow", embedding_dim=6), "has embedding_dim 6 and not 8 of"),
        (theirs, saved("longer", max_sequence_length=40), "has max_sequence_length 40 and not 32 of"),
        (theirs, saved("relu", activation="relu"), "has activation relu and not gelu_approximate of"),
        (theirs, other, "has vocabulary_size [0-9]+ and not [0-9]+ of"),
    ]
    for init_from, generator, message in refused:
        with pytest.raises(InputError, match=message):
            Run(config_for(dataset[0], tmp_path / "run", init_from, generator))
    capsys.readouterr()
    # All of them are one line of the command, and status 2.
    assert main(words_for(dataset[0], tmp_path / "run", theirs, bert)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clozekit train:")]
    assert "replaced.generator must be of the family of its discriminator" in line
    assert not (tmp_path / "run").exists()


def test_a_generator_of_another_vocabulary_as_large_is_refused(
    both: tuple[Any, Path], dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    task, folder = both
    alone, preprocessor = task.generator_alone(), families.family("electra").masked_lm_preprocessor
    first, *pieces = task.preprocessor.tokenizer.get_vocabulary()
    tokenizer = ElectraTokenizer([first, *pieces[:-2], pieces[-1], pieces[-2]], lowercase=True)
    alone.preprocessor = preprocessor(tokenizer, sequence_length=16)
    alone.save_to_preset(str(tmp_path / "turned"))
    with pytest.raises(InputError, match="must be prepared with the tokenizer of replaced.generator, .*turned has a"):
        Run(config_for(dataset[0], tmp_path / "run", folder / "theirs", tmp_path / "turned"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["replaced.generator=g", "init_from=d"],
            "replaced.* are settings of objective=replaced, got None; leave them out",
        ),
        (["replaced.generator=g", "objective=replaced"], "goes beside the discriminator of init_from, got 'g'"),
        (
            ["replaced.generator=g", "objective=replaced", "init_from=d", "replaced.generator_size=0.5"],
            "replaced.generator_size is for a fresh generator, .* got 0.5; leave it out",
        ),
        (
            ["replaced.generator=g", "objective=replaced", "init_from=d", "replaced.generator_layers=1.0"],
            "replaced.generator_layers is for a fresh generator",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(None, ["dataset=d", "directory=r", "train.steps=2", *words])


def test_a_recipe_with_sizes_takes_a_generator_where_they_are_null() -> None:
    words = ["replaced.generator=g", "init_from=d", "replaced.generator_size=null", "replaced.generator_layers=null"]
    config = load_config(find_recipe("electra_small", "train"), words)
    assert config.generator == "g" and config.replaced is not None and config.replaced.generator_size is None
    small = ReplacedSettings(generator_size=0.25, generator_layers=1.0)
    assert ReplacedSettings().spelled_out({"embedding_dim": 8}) == small == small.spelled_out({"embedding_dim": 8})


def test_a_discriminator_in_clozekits_own_layout_brings_its_head_too(
    both: tuple[Any, Path], dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    task, folder = both
    alone = task.discriminator_alone()
    of_family = families.family("electra")
    preprocessor = of_family.text_classifier_preprocessor(task.preprocessor.tokenizer, sequence_length=16)
    detector = ReplacedTokenDetector(alone.backbone, preprocessor, compile=False)
    detector.detection_head.set_weights(alone.detection_head.get_weights())
    detector.save_to_preset(str(tmp_path / "discriminator"))
    task.generator_alone().save_to_preset(str(tmp_path / "generator"))
    again, _ = begun(config_for(dataset[0], tmp_path / "run", tmp_path / "discriminator", tmp_path / "generator"))
    # In this layout the pooler comes along too.
    assert all((a == b).all() for a, b in zip(again.get_weights(), task.get_weights(), strict=True))

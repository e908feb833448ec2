"""Fuzz of presets: whatever is damaged in their files, they load, or one line says what is wrong."""

import json
import math
import random
import resource
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
import small_families as small
from fuzzing import damaged_bytes, damaged_json, dice_of_cases

from clozekit.model import MaskedLM, TextClassifier
from clozekit.model.families.family_table import family_of_backbone
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.model.presets.load_presets import open_source
from clozekit.tokenizers.common.errors import InputError

KINDS = {"masked_lm": MaskedLM, "text_classifier": TextClassifier}
LAYOUTS = ("keras_hub", "hugging_face")
WEIGHTS = (".h5", ".safetensors")
# Of the process, over what it had before the fuzz.
MAX_GROWTH_KB = 500 * 1024


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Path]:
    """A tiny preset of each family, task and layout."""
    root, made = tmp_path_factory.mktemp("presets"), {}
    for name in small.NAMES:
        for kind in KINDS:
            task = getattr(small, kind)(name, getattr(small, f"{kind}_preprocessor")(name))
            for layout in LAYOUTS:
                path = made[name, kind, layout] = root / f"{name}-{kind}-{layout}"
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    task.save_to_preset(str(path)) if layout == "keras_hub" else save_huggingface(task, path)
    return made


def damage(path: Path, dice: random.Random) -> None:
    """Damages a file: JSON as text or in its values, others in their bytes."""
    content = path.read_bytes()
    if path.suffix == ".json" and dice.random() < 0.8:
        path.write_text(json.dumps(damaged_json(json.loads(content), dice)), encoding="utf-8")
    else:
        path.write_bytes(damaged_bytes(content, dice))


def files_of(preset: Path, is_weights: bool) -> list[Path]:
    return sorted(path for path in preset.rglob("*") if path.is_file() and (path.suffix in WEIGHTS) == is_weights)


def check(preset: Path, kind: str, load_weights: bool) -> None:
    """Loads a preset: that works, or ends in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            KINDS[kind].from_preset(str(preset), load_weights=load_weights)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 3000
        except TypeError as error:
            # The call, not the preset: it was saved without this head.
            assert "needs num_classes" in str(error)
        finally:
            keras.backend.clear_session()


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KB


def cases(
    presets: dict[tuple[str, str, str], Path], number: int, into: Path, is_weights: bool
) -> Iterator[tuple[random.Random, str, Path, Path]]:
    """(dice, kind, copy of a preset, one of its files) of each case."""
    for _, dice in dice_of_cases(number):
        one = dice.choice(sorted(presets))
        shutil.rmtree(into / "preset", ignore_errors=True)
        preset = Path(shutil.copytree(presets[one], into / "preset"))
        yield dice, one[1], preset, dice.choice(files_of(preset, is_weights))


@pytest.mark.slow
def test_fuzz_settings_of_presets(
    presets: dict[tuple[str, str, str], Path], tmp_path: Path, bounded_memory: None
) -> None:
    for dice, kind, preset, path in cases(presets, 12, tmp_path, is_weights=False):
        damage(path, dice)
        check(preset, kind, load_weights=dice.random() < 0.7)


@pytest.mark.slow
def test_fuzz_what_is_read_before_a_model_is_built(presets: dict[tuple[str, str, str], Path], tmp_path: Path) -> None:
    """Many more cases a second: everything but the model itself."""
    for dice, kind, preset, path in cases(presets, 300, tmp_path, is_weights=False):
        damage(path, dice)
        try:
            source = open_source(preset)
            settings = source.backbone_settings()
            source.head_settings(kind)
            source.preprocessor_settings(kind)
            source.weight_files()
            assert all(math.isfinite(value) for value in settings.values() if isinstance(value, int | float))
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.slow
def test_fuzz_weights_of_presets(
    presets: dict[tuple[str, str, str], Path], tmp_path: Path, bounded_memory: None
) -> None:
    for dice, kind, preset, path in cases(presets, 8, tmp_path, is_weights=True):
        content = path.read_bytes()
        # The headers are in front; the arrays behind have no checksum.
        cut = dice.choice((min(len(content), 2048), len(content)))
        path.write_bytes(damaged_bytes(content[:cut], dice) + content[cut:])
        check(preset, kind, load_weights=True)


@pytest.mark.slow
def test_fuzz_weights_read_into_one_model(presets: dict[tuple[str, str, str], Path], tmp_path: Path) -> None:
    """Many more cases a second: the model is built once for each layout."""
    for layout in LAYOUTS:
        whole = presets["bert", "masked_lm", layout]
        task = MaskedLM.from_preset(str(whole), preprocessor=None)
        preset = Path(shutil.copytree(whole, tmp_path / layout))
        for _, dice in dice_of_cases(60):
            path = dice.choice(files_of(preset, is_weights=True))
            content = path.read_bytes()
            cut = dice.choice((min(len(content), 2048), len(content)))
            path.write_bytes(damaged_bytes(content[:cut], dice) + content[cut:])
            try:
                source = open_source(preset)
                source.load_backbone_weights(task.backbone)
                source.load_head_weights(task)
            except InputError as error:
                assert "\n" not in str(error)
            path.write_bytes(content)


def test_fuzz_names_of_classes() -> None:
    for _, dice in dice_of_cases(200):
        name = "".join(dice.choice("BertRoAlXLMBackbone>._\x00\n\ud800") for _ in range(dice.randint(0, 20)))
        with pytest.raises(InputError) as raised:
            family_of_backbone(name, "config.json")
        assert "\n" not in str(raised.value)
